"""The DHT with real peers on loopback: each finds what only the other provides, and fetches it."""

from __future__ import annotations

import random
import time
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio

from ipfs_kit_py.core.cid import CID, PeerID
from ipfs_kit_py.core.config import NodeConfig
from ipfs_kit_py.core.errors import NotFound
from ipfs_kit_py.crypto import ipns
from ipfs_kit_py.crypto.keys import PrivateKey
from ipfs_kit_py.net.swarm import Swarm
from ipfs_kit_py.node.name_records import StoredRecords
from ipfs_kit_py.routing.dht import Dht
from ipfs_kit_py.routing.naming import Naming
from ipfs_kit_py.storage.records import MemoryRecords
from test.interop.suite import in_thread
from test.net.swarms import settle
from test.peers.helia import Helia
from test.peers.kubo import Kubo

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from ipfs_kit_py.core.interfaces import Provider
    from test.peers.kubo022 import Kubo022

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


def test_peers_are_found_both_ways(kubos: list[Kubo]) -> None:
    async def scenario() -> None:
        async with members(2) as (one, two):
            for kubo in kubos[1:]:
                await trio.to_thread.run_sync(kubo.connect, kubos[0].address)
            await one.join(kubos[0].address)
            await two.join(kubos[1].address)
            found = await one.dht.find_peer(PeerID.parse(kubos[2].peer_id))
            assert any(kubos[2].address.startswith(text) for text in found.addresses)
            found = await one.dht.find_peer(two.peer_id)
            assert two.swarm.addresses()[0] in found.addresses
            rows = await trio.to_thread.run_sync(lambda: kubos[2].lines("routing/findpeer", str(two.peer_id)))
            [told] = [peer for row in rows if row["Type"] == 2 for peer in row["Responses"]]
            assert two.swarm.addresses()[0] in told["Addrs"]
            with pytest.raises(NotFound):
                await one.dht.find_peer(PrivateKey.generate().peer_id())

    trio.run(scenario)


def in_memory() -> StoredRecords:
    return StoredRecords(MemoryRecords())


def test_names_are_published_and_resolved_both_ways(kubos: list[Kubo]) -> None:
    async def scenario() -> None:
        async with members(2) as (one, two):
            for kubo in kubos[1:]:
                await trio.to_thread.run_sync(kubo.connect, kubos[0].address)
            await one.join(kubos[0].address)
            await two.join(kubos[1].address)
            first, second = (Naming(member.dht, in_memory(), time.time) for member in (one, two))
            key = PrivateKey.generate()
            for data in (b"one", b"two"):
                path = f"/ipfs/{CID.of(data)}"
                await second.publish(key, path)
                name = f"/ipns/{ipns.name_text(key.peer_id())}"
                rows = await trio.to_thread.run_sync(
                    lambda name=name: kubos[2].lines("name/resolve", name, nocache=True)
                )
                assert rows[-1]["Path"] == path
                assert await first.resolve(name) == path or data == b"two"  # the second time from its cache
            assert await Naming(one.dht, in_memory(), time.time).resolve(name) == path
            value = "/ipfs/" + await trio.to_thread.run_sync(kubos[2].add_bytes, b"theirs")
            theirs = (await trio.to_thread.run_sync(lambda: kubos[2].lines("name/publish", value)))[0]["Name"]
            assert await first.resolve(f"/ipns/{theirs}") == value

    trio.run(scenario)


def test_a_network_of_thirty_by_four_implementations(kubos: list[Kubo], helia_dht: Helia, kubo022_dht: Kubo022) -> None:
    """25 of ours, three Kubos, one of 2023, and js-libp2p: what one provides, each of the others finds."""

    async def scenario() -> None:
        async with members(25) as ours:
            rng, peers = random.Random(5), [*kubos, helia_dht, kubo022_dht]
            for number, member in enumerate(ours):
                await member.join(kubos[number % 3].address)
                if number:
                    await member.join(rng.choice(ours[:number]).address)
            for kubo in kubos[1:]:
                await in_thread(kubo.connect, kubos[0].address)
            for other in (helia_dht, kubo022_dht):
                first = rng.choice(ours)
                await in_thread(other.connect, first.address)
                await settle(lambda: PeerID.parse(other.peer_id) in first.dht.sides[1].table)  # noqa: B023
            cid = CID.of(b"at one of ours alone")
            await ours[-1].dht.provide([cid.multihash])
            for kubo in kubos:
                assert await in_thread(found_by_kubo, kubo, cid) == [str(ours[-1].peer_id)]
            assert list(await in_thread(helia_dht.find_providers, str(cid))) == [str(ours[-1].peer_id)]
            assert await in_thread(kubo022_dht.find_peer, str(ours[-1].peer_id))
            for peer in peers:
                theirs = await in_thread(provided_by, peer)
                for member in rng.sample(ours, 4):
                    assert str((await member.providers(theirs))[0].peer) == peer.peer_id
                assert await in_thread(found_by_kubo, kubos[1], theirs) == [peer.peer_id]

    trio.run(scenario)


def found_by_kubo(kubo: Kubo, cid: CID) -> list[str]:
    rows = kubo.lines("routing/findprovs", str(cid))
    return [peer["ID"] for row in rows if row["Type"] == 4 for peer in row["Responses"]]


def provided_by(peer: Kubo | Helia | Kubo022) -> CID:
    """What a peer alone has, and has told of."""
    data = peer.peer_id.encode()
    if isinstance(peer, Kubo):
        cid = peer.add_bytes(data)
        peer.lines("routing/provide", cid)
        return CID.parse(cid)
    path = peer.folder / "file"
    path.write_bytes(data)
    cid = peer.add(path)
    if isinstance(peer, Helia):
        peer.provide(cid)
    else:
        time.sleep(3.0)  # it tells by itself, and nothing says when it has
    return CID.parse(cid)
