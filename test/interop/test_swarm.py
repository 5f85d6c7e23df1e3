"""Connections, identify and ping with every real peer, both ways, below everything else that a node does."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio

from ipfs_kit_py.core.cid import PeerID
from ipfs_kit_py.crypto.envelope import open_peer_record
from ipfs_kit_py.crypto.keys import PrivateKey, PublicKey
from ipfs_kit_py.net.identify import IDENTIFY, IDENTIFY_PUSH
from ipfs_kit_py.net.ping import PING
from ipfs_kit_py.net.swarm import Swarm
from test.net.swarms import echo, running, settle

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from test.peers.kubo import Kubo
    from test.peers.kubo022 import Kubo022
    from test.peers.pylibp2p import PyLibp2p

pytestmark = pytest.mark.interop

SECONDS = 60.0


def run(scenario: Callable[[Swarm], Awaitable[None]]) -> None:
    async def main() -> None:
        with trio.fail_after(SECONDS):
            swarm = Swarm(PrivateKey.generate())
            async with running(swarm):
                await scenario(swarm)

    trio.run(main)


async def in_thread(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    return await trio.to_thread.run_sync(partial(function, *args, **options))


def ours(swarm: Swarm) -> str:
    return f"{swarm.addresses()[0]}/p2p/{swarm.peer_id}"


@pytest.mark.parametrize("name", ["kubo", "kubo022", "helia", "pylibp2p"])
def test_each_dials_the_other_and_learns_who_it_is(name: str, request: pytest.FixtureRequest) -> None:
    peer: Any = request.getfixturevalue(name)
    them = PeerID.parse(peer.peer_id)

    async def identified(swarm: Swarm) -> None:
        await settle(lambda: swarm.identity(them) is not None)
        identity = swarm.identity(them)
        assert identity is not None
        assert identity.agent
        assert {IDENTIFY, PING} <= identity.protocols
        assert PublicKey.decode(identity.public_key).peer_id() == them
        if identity.signed_record:
            assert open_peer_record(identity.signed_record, signer=them).addresses
        assert 0 < await swarm.ping(them) < 5

    async def scenario(swarm: Swarm) -> None:
        connection = await swarm.connect(them, [peer.address])
        assert connection.outbound
        await identified(swarm)
        assert await connection.ping() < 5
        await swarm.disconnect(them)
        await settle(lambda: not swarm.connected())
        with trio.fail_after(20):
            while not swarm.connected():  # a peer that has not noticed the end yet takes itself for connected
                await in_thread(peer.connect, ours(swarm))
                await trio.sleep(0.2)
        assert not swarm.connections()[0].outbound
        await identified(swarm)

    run(scenario)


def test_kubo_shows_us_pings_us_and_hears_of_our_changes(kubo: Kubo) -> None:
    them = PeerID.parse(kubo.peer_id)

    async def scenario(swarm: Swarm) -> None:
        me = str(swarm.peer_id)

        async def seen() -> dict[str, Any]:
            return dict((await in_thread(kubo.peers)).get(me, {}))

        await in_thread(kubo.connect, ours(swarm))
        with trio.fail_after(20):
            while not (await seen()).get("Identify", {}).get("AgentVersion"):
                await trio.sleep(0.05)
        row = await seen()
        assert row["Addr"] == swarm.addresses()[0]
        assert row["Identify"]["AgentVersion"] == swarm.config.agent
        assert set(row["Identify"]["Protocols"]) == {IDENTIFY, IDENTIFY_PUSH, PING}
        assert row["Identify"]["Addresses"] == [ours(swarm)]
        pings = await in_thread(kubo.lines, "ping", me, count=3)
        assert sum(line["Success"] and line["Time"] > 0 for line in pings) == 3
        await settle(lambda: IDENTIFY_PUSH in swarm.protocols_of(them))
        swarm.set_handler("/interop/new/1.0.0", echo)
        with trio.fail_after(20):
            while "/interop/new/1.0.0" not in (await seen())["Identify"]["Protocols"]:
                await trio.sleep(0.05)
        await in_thread(kubo.disconnect, me)
        await settle(lambda: not swarm.connected())

    run(scenario)


def test_a_kubo_with_an_rsa_key_keeps_its_connection(kubo022: Kubo022) -> None:
    async def scenario(swarm: Swarm) -> None:
        await in_thread(kubo022.connect, ours(swarm))
        await settle(lambda: bool(swarm.connected()))
        assert str(swarm.peer_id) in await in_thread(kubo022.peers)

    run(scenario)


def test_py_libp2p_pings_us_and_finds_our_record_in_order(pylibp2p: PyLibp2p) -> None:
    async def scenario(swarm: Swarm) -> None:
        await in_thread(pylibp2p.connect, ours(swarm))
        assert len(await in_thread(pylibp2p.ping, str(swarm.peer_id), 3)) == 3
        told = await in_thread(pylibp2p.identify, str(swarm.peer_id))
        assert told["agent"] == swarm.config.agent

    run(scenario)
