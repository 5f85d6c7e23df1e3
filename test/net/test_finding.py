"""Nodes that find content through their DHT and their connected peers, and fetch it whole."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio

from ipfs_kit_py.bitswap.exchange import Bitswap
from ipfs_kit_py.content.source import BlockSource
from ipfs_kit_py.core.cid import CID, DAG_CBOR
from ipfs_kit_py.core.config import KIB, NodeConfig
from ipfs_kit_py.core.errors import NotAFile, NotFound, NotRunning, TimedOut, TooLarge
from ipfs_kit_py.core.interfaces import Provider
from ipfs_kit_py.crypto.keys import PrivateKey
from ipfs_kit_py.net.memory import MemoryNetwork
from ipfs_kit_py.node.adding import AddingVerbs
from ipfs_kit_py.node.finding import FindingVerbs
from ipfs_kit_py.node.routers import build_finding, build_searches
from ipfs_kit_py.routing.dht import Dht
from ipfs_kit_py.routing.discovery.listed import Listed
from ipfs_kit_py.storage.memory import MemoryStore
from test.net.choosers import Book
from test.net.dhts import wall
from test.net.exchanges import play
from test.net.swarms import in_memory, settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence


class Tells:
    """Tells the DHT, and keeps what waits."""

    def __init__(self, dht: Dht) -> None:
        self.dht, self.waiting = dht, list[bytes]()

    async def provide(self, multihashes: Sequence[bytes]) -> None:
        await self.dht.provide(multihashes)

    def add_once(self, multihashes: Sequence[bytes]) -> None:
        self.waiting += multihashes


class FoundNode(AddingVerbs, FindingVerbs):
    """As much of a node as is needed."""


class Member:
    """A node on the host ``ip``: its network, DHT, exchange and verbs."""

    def __init__(self, network: MemoryNetwork, ip: str) -> None:
        self.address = f"/ip4/{ip}/tcp/4001"
        self.key = PrivateKey.generate()
        self.swarm = in_memory(network, ip, key=self.key)
        self.dht = Dht(self.swarm, server=True, clock=wall, rng=random.Random(ip))
        self.chooser = Book()
        self.searches = build_searches(self.chooser)
        self.store = MemoryStore()
        self.bitswap = Bitswap(
            self.swarm, self.store, random.Random(7), find_providers=self.searches.find,
            on_dialled=self.searches.on_dialled,
        )  # fmt: skip
        self.node: FoundNode

    @property
    def peer_id(self):
        return self.key.peer_id()

    async def start(self, nursery: trio.Nursery) -> None:
        await nursery.start(self.swarm.run)
        await nursery.start(self.dht.run)
        await nursery.start(self.bitswap.run)
        source = BlockSource(self.store, self.bitswap)
        self.node = FoundNode(
            NodeConfig(), self.key, source, self.store, nursery, network=self.swarm, exchange=self.bitswap, dht=self.dht
        )
        self.tells = Tells(self.dht)
        finding = build_finding(
            self.swarm, self.bitswap, self.chooser, self.searches, dht=self.dht, tells=self.tells
        )  # fmt: skip
        await nursery.start(finding.router.run)
        self.node.set_finding(finding)

    async def join(self, other: Member) -> None:
        await self.swarm.connect(other.peer_id, [other.address])
        await settle(lambda: any(len(side.table) for side in self.dht.sides))
        await settle(lambda: any(len(side.table) for side in other.dht.sides))


@asynccontextmanager
async def members(count: int) -> AsyncIterator[list[Member]]:
    """Nodes of which all know the first one alone."""
    network = MemoryNetwork()
    found = [Member(network, f"10.0.0.{number + 1}") for number in range(count)]
    async with trio.open_nursery() as nursery:
        for member in found:
            await member.start(nursery)
        for member in found[1:]:
            await member.join(found[0])
        yield found
        nursery.cancel_scope.cancel()


def content(size: int, number: int = 1) -> bytes:
    return random.Random(number).randbytes(size)


def test_what_one_announces_another_finds_and_fetches_through_a_third():
    async def scenario():
        async with members(4) as (_hub, alice, bob, _carol):
            data = content(700 * KIB)
            cid = await alice.node.add_bytes(data)
            assert await alice.node.announce_content(cid) is True
            choices = await bob.node.find_content(cid)
            assert [choice.provider.peer for choice in choices] == [alice.peer_id]
            assert alice.address in choices[0].provider.addresses
            await bob.swarm.disconnect(alice.peer_id)  # the DHT has met it
            steps: list[tuple[int, int]] = []
            assert await bob.node.retrieve_content(cid, progress=lambda *step: steps.append(step)) == data
            assert steps[-1] == (len(data), len(data))
            assert [done for done, _ in steps] == sorted({done for done, _ in steps})
            assert {whole for _, whole in steps} == {len(data)}
            assert alice.peer_id in bob.swarm.connected()
            assert [(peer, ok) for peer, ok, *_ in bob.chooser.stats] == [(alice.peer_id, True)]
            report = bob.node.routing_metrics()
            assert report.counts.retrievals.bytes == len(data)
            assert report.counts.retrievals.success_rate == 1.0
            assert report.counts.lookups.succeeded == report.counts.lookups.count >= 2
            assert report.counts.lookups.first.p50 is not None
            assert report.counts.dials.succeeded == 1
            assert report.hops is not None
            assert alice.node.routing_metrics().announcements.told == 1

    play(scenario)


def test_who_is_connected_is_found_without_a_dht():
    async def scenario():
        async with members(3) as (hub, alice, _bob):
            data = content(1000)
            cid = await hub.node.add_bytes(data)  # nobody was told
            [choice] = await alice.node.find_content(cid)
            assert choice.provider == Provider(hub.peer_id, (), "connected")
            [near, dht] = alice.node.routing_metrics().routers
            assert (near.name, near.answered) == ("connected", 1)
            assert (dht.name, dht.answered) == ("dht", 0)

    play(scenario)


def test_the_best_are_chosen_and_the_preferred_come_first():
    async def scenario():
        async with members(5) as (_hub, *holders, asker):
            data = content(1000)
            for holder in holders:
                cid = await holder.node.add_bytes(data)
                await holder.node.announce_content(cid)
            worst, best, mean = holders
            asker.chooser.reputation = {worst.peer_id: 0.2, best.peer_id: 0.9, mean.peer_id: 0.5}

            async def chosen(**options: Any):
                found = await asker.node.find_content(cid, **options)
                return [choice.provider.peer for choice in found]

            assert await chosen() == [best.peer_id, mean.peer_id, worst.peer_id]
            assert await chosen(count=2, preferred={worst.peer_id}) == [worst.peer_id, best.peer_id]
            asker.chooser.reputation[worst.peer_id] = 0.0  # not to be asked at all
            assert await chosen() == [best.peer_id, mean.peer_id]
            asker.chooser.reputation[best.peer_id] = 0.0
            for holder in holders:
                await asker.swarm.disconnect(holder.peer_id)
            assert await asker.node.retrieve_content(cid) == data
            assert {peer for peer, *_ in asker.chooser.stats} == {mean.peer_id}

    play(scenario)


def test_a_provider_that_is_gone_is_noted_and_another_serves():
    async def scenario():
        async with members(3) as (_hub, alice, bob):
            data = content(1000)
            cid = await alice.node.add_bytes(data)
            await alice.node.announce_content(cid)
            gone = PrivateKey.generate().peer_id()
            bob.chooser.known[cid.multihash] = [Provider(gone, ("/ip4/10.0.0.99/tcp/4001",))]
            bob.chooser.reputation = {gone: 0.9}
            await bob.swarm.disconnect(alice.peer_id)
            assert await bob.node.retrieve_content(cid) == data
            assert {(peer, ok) for peer, ok, *_ in bob.chooser.stats} == {(gone, False), (alice.peer_id, True)}
            dials = bob.node.routing_metrics().counts.dials
            assert (dials.succeeded, dials.failed) == (1, 1)

    play(scenario)


def test_a_content_that_is_too_large_is_refused_by_its_root():
    async def scenario():
        async with members(3) as (_hub, alice, bob):
            data = content(900 * KIB)
            cid = await alice.node.add_bytes(data)
            await alice.node.announce_content(cid)
            with pytest.raises(TooLarge, match=str(len(data))):
                await bob.node.retrieve_content(cid, max_size=len(data) - 1)
            assert bob.store.statistics().blocks == 1
            assert bob.node.routing_metrics().counts.retrievals.too_large == 1
            assert await bob.node.retrieve_content(cid, max_size=len(data)) == data
            with pytest.raises(TooLarge):
                await bob.node.retrieve_content(cid, max_size=100)
            assert bob.node.routing_metrics().counts.retrievals.local == 1

    play(scenario)


def test_content_that_nobody_has_times_out():
    async def scenario():
        async with members(2) as (_hub, bob):
            begun = trio.current_time()
            with pytest.raises(TimedOut, match="7 s"):
                await bob.node.retrieve_content(CID.of(b"nobody"), timeout=7)
            assert trio.current_time() - begun == pytest.approx(7)
            counts = bob.node.routing_metrics().counts.retrievals
            assert (counts.timed_out, counts.succeeded, counts.success_rate) == (1, 0, 0.0)

    play(scenario)


def test_a_block_of_another_codec_and_what_is_no_file():
    async def scenario():
        async with members(2) as (_hub, bob):
            block = b"\xa1aax"
            cid = CID.of(block, DAG_CBOR)
            bob.store.put_many([(cid, block)])
            assert await bob.node.retrieve_content(cid) == block
            with pytest.raises(TooLarge):
                await bob.node.retrieve_content(cid, max_size=3)
            folder = CID.parse("QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn")  # the empty directory
            bob.store.put_many([(folder, b"\x0a\x02\x08\x01")])
            with pytest.raises(NotAFile):
                await bob.node.retrieve_content(folder)

    play(scenario)


def test_an_announcement_without_a_network_waits():
    async def scenario():
        async with members(1) as (alone,):
            cid = await alone.node.add_bytes(content(1000))
            assert await alone.node.announce_content(cid) is False
            assert alone.node.routing_metrics().announcements.queued == 1
            with pytest.raises(NotFound, match="in vain"):
                await alone.node.announce_content(CID.of(b"not here"))

    play(scenario)


def test_peers_of_a_list_are_met():
    async def scenario():
        network = MemoryNetwork()
        alice, bob = Member(network, "10.0.0.1"), Member(network, "10.0.0.2")
        async with trio.open_nursery() as nursery:
            await alice.start(nursery)
            await bob.start(nursery)
            gone = PrivateKey.generate().peer_id()
            peers = Listed("bootstrap", [f"{bob.address}/p2p/{bob.peer_id}", f"/ip4/10.0.0.9/tcp/4001/p2p/{gone}"])
            assert await alice.node.meet(peers) == 1
            assert bob.peer_id in alice.swarm.connected()
            nursery.cancel_scope.cancel()

    play(scenario)


def test_a_node_that_finds_nothing_says_so():
    async def scenario():
        async with trio.open_nursery() as nursery:
            store = MemoryStore()
            node = FoundNode(
                NodeConfig(offline=True), PrivateKey.generate(), BlockSource(store, None), store, nursery,
                network=None, exchange=None,
            )  # fmt: skip
            with pytest.raises(NotRunning):
                await node.find_content(CID.of(b"x"))
            assert node.dht_mode == "off"
            cid = await node.add_bytes(b"here")
            with pytest.raises(NotRunning):
                await node.announce_content(cid)
            assert await node.retrieve_content(cid) == b"here"

    play(scenario)
