"""The DHT with real peers on loopback: each finds what only the other provides, and fetches it."""

from __future__ import annotations

import random
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio

from ipfs_kit_py.core.cid import CID, PeerID
from ipfs_kit_py.core.config import NodeConfig
from ipfs_kit_py.crypto.keys import PrivateKey
from ipfs_kit_py.net.swarm import Swarm
from ipfs_kit_py.routing.dht import Dht
from test.net.swarms import settle
from test.peers.kubo import Kubo

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from ipfs_kit_py.core.interfaces import Provider

pytestmark = pytest.mark.interop

DHT = {
    "Routing.Type": "dht", "Routing.LoopbackAddressesOnLanDHT": True, "Provide.Enabled": True,
}  # fmt: skip


@pytest.fixture
def kubos(kubo_path: Path, tmp_path: Path) -> Iterator[list[Kubo]]:
    made: list[Kubo] = []
    try:
        for number in range(3):
            made.append(Kubo(kubo_path, tmp_path / str(number), settings=DHT))
        yield made
    finally:
        for one in made:
            one.close()


class Member:
    """A node of ours: the network and the DHT alone."""

    def __init__(self, **settings: Any) -> None:
        self.swarm = Swarm(PrivateKey.generate(), NodeConfig(**settings))
        self.dht = Dht(self.swarm, rng=random.Random(1))

    @property
    def peer_id(self) -> PeerID:
        return self.swarm.peer_id

    @property
    def address(self) -> str:
        return f"{self.swarm.addresses()[0]}/p2p/{self.peer_id}"

    async def join(self, address: str) -> None:
        where, _mark, peer = address.rpartition("/p2p/")
        await self.swarm.connect(PeerID.parse(peer), [where])
        await settle(lambda: PeerID.parse(peer) in self.dht.sides[1].table)

    async def providers(self, cid: CID, count: int = 20) -> list[Provider]:
        async with aclosing(self.dht.find_providers(cid.multihash, count=count)) as found:
            return [provider async for provider in found]


@asynccontextmanager
async def members(count: int) -> AsyncIterator[list[Member]]:
    made = [Member() for _ in range(count)]
    async with trio.open_nursery() as nursery:
        for member in made:
            await nursery.start(member.swarm.run)
            await nursery.start(member.dht.run)
        yield made
        nursery.cancel_scope.cancel()


def test_providers_are_found_both_ways(kubos: list[Kubo]) -> None:
    async def scenario() -> None:
        async with members(2) as (one, two):
            for kubo in kubos[1:]:
                await trio.to_thread.run_sync(kubo.connect, kubos[0].address)
            await one.join(kubos[0].address)
            await two.join(kubos[1].address)
            cid = CID.parse(await trio.to_thread.run_sync(kubos[2].add_bytes, b"only there"))
            await trio.to_thread.run_sync(lambda: kubos[2].lines("routing/provide", str(cid)))
            [found] = await one.providers(cid)
            assert str(found.peer) == kubos[2].peer_id
            assert any("/ip4/127.0.0.1/tcp/" in text for text in found.addresses)
            ours = CID.of(b"only here")
            await two.dht.provide([ours.multihash])
            rows = await trio.to_thread.run_sync(lambda: kubos[2].lines("routing/findprovs", str(ours)))
            providers = [peer["ID"] for row in rows if row["Type"] == 4 for peer in row["Responses"]]
            assert providers == [str(two.peer_id)]
            [found] = await one.providers(ours)
            assert found.peer == two.peer_id

    trio.run(scenario)
