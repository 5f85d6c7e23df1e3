"""Fetching ahead over a remote tier with latency and over peers: fewer waits, never in the way, off when no use."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio
import trio.testing

from ipfs_kit_py.content.miss.misses import Misses
from ipfs_kit_py.content.prefetching import Prefetching
from ipfs_kit_py.content.source import BlockSource
from ipfs_kit_py.core.cid import CID, DAG_PB, Block
from ipfs_kit_py.core.config import MIB, PREFETCH_IDLE_SECONDS
from ipfs_kit_py.dag import dag_pb
from ipfs_kit_py.net.memory import Link, MemoryNetwork
from ipfs_kit_py.storage.memory import MemoryStore
from ipfs_kit_py.storage.prefetch import Prefetcher, PrefetchStatistics
from test.content.test_misses import ToldTier
from test.net.exchanges import Side, block, blocks, exchanging, play

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from ipfs_kit_py.core.interfaces import Exchange

SECONDS = 0.1  # of one round trip to the tier


def node(children: Sequence[Block]) -> Block:
    data = dag_pb.encode(dag_pb.PBNode([dag_pb.PBLink(one.cid, f"{at:05}", 1000) for at, one in enumerate(children)]))
    return Block(CID.of(data, DAG_PB), data)


@asynccontextmanager
async def ahead(
    store: MemoryStore, exchange: Exchange, *, help_: bool = True
) -> AsyncIterator[tuple[BlockSource, Prefetching]]:
    source = BlockSource(store, exchange)
    async with trio.open_nursery() as nursery:
        prefetching = Prefetching(source, exchange, Prefetcher(64 * MIB))
        if help_:
            await nursery.start(prefetching.run)
        yield source, prefetching
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def over(tier: ToldTier, *, help_: bool = True) -> AsyncIterator[tuple[BlockSource, Prefetching]]:
    store = MemoryStore()
    misses = Misses(store, None, [tier], random.Random(3))
    async with trio.open_nursery() as nursery:
        await nursery.start(misses.run)
        async with ahead(store, misses, help_=help_) as both:
            yield both
        nursery.cancel_scope.cancel()


async def read_one_by_one(source: BlockSource, wanted: Sequence[Block], think: float = 0.01) -> float:
    """Seconds that it took to read blocks, each after the one before."""
    begun = trio.current_time()
    with source.session() as session:
        for one in wanted:
            assert await session.get(one.cid) == one.data
            await trio.sleep(think)
    return trio.current_time() - begun


def siblings(found: PrefetchStatistics) -> str:
    return next(one.state for one in found.predictors if one.name == "siblings")


def test_siblings_come_from_a_tier_before_they_are_read() -> None:
    async def scenario() -> None:
        leaves = blocks(300)
        wanted = [node(leaves), *leaves]
        times = []
        for help_ in (False, True):
            tier = ToldTier("tier", wanted, SECONDS)
            async with over(tier, help_=help_) as (source, prefetching):
                times.append(await read_one_by_one(source, wanted))
                found = prefetching.statistics()
                assert len(tier.asked) == len(set(tier.asked)) == 301  # nothing twice
        alone, helped = times
        assert alone > 300 * SECONDS
        assert helped < alone / 4
        assert found.used > 250
        assert found.wasted == 0
        assert siblings(found) == "on"

    play(scenario)


def test_ranges_read_by_sessions_of_their_own_are_one_sequence_of_siblings() -> None:
    async def scenario() -> None:
        leaves = blocks(200)
        root = node(leaves)
        tier = ToldTier("tier", [root, *leaves], SECONDS)
        async with over(tier) as (source, prefetching):
            for at in range(0, 200, 4):
                await read_one_by_one(source, [root, *leaves[at : at + 4]])
            assert prefetching.statistics().used > 150

    play(scenario)


def test_siblings_come_from_peers_before_they_are_read() -> None:
    async def scenario() -> None:
        leaves = blocks(200)
        wanted = [node(leaves), *leaves]
        network = MemoryNetwork(default=Link(latency=0.025))
        server, client = Side(network, "10.0.0.1", wanted), Side(network, "10.0.0.2")
        async with exchanging(server, client):
            await client.connect(server)
            async with ahead(client.store, client.bitswap) as (source, prefetching):
                took = await read_one_by_one(source, wanted)
                found = prefetching.statistics()
            assert found.used > 150
            assert took < 200 * 0.05
            assert all(client.store.has_many([one.cid for one in wanted]))

    play(scenario)


def test_a_random_reader_has_no_traffic_of_it() -> None:
    async def scenario() -> None:
        leaves = blocks(2000)
        root = node(leaves)
        tier = ToldTier("tier", [root, *leaves], SECONDS)
        async with over(tier) as (source, prefetching):
            await read_one_by_one(source, [root, *random.Random(5).sample(leaves, 400)])
            found = prefetching.statistics()
            assert len(tier.asked) < 401 * 1.05
            assert siblings(found) == "watching"
            assert sum(one.watched for one in found.predictors) > 300

    play(scenario)


def test_it_stops_when_reads_become_random_and_begins_again() -> None:
    async def scenario() -> None:
        leaves = blocks(3000)
        tier = ToldTier("tier", [node(leaves), *leaves], SECONDS)
        async with over(tier) as (source, prefetching):
            await read_one_by_one(source, [node(leaves), *leaves[:200]])
            assert siblings(prefetching.statistics()) == "on"
            await read_one_by_one(source, random.Random(5).sample(leaves[500:], 600))
            before = prefetching.statistics()
            assert siblings(before) == "watching"
            asked = len(tier.asked)
            await read_one_by_one(source, random.Random(6).sample(leaves[500:], 100))
            assert len(tier.asked) - asked <= 100
            await read_one_by_one(source, leaves[300:400])
            assert prefetching.statistics().used > before.used + 20

    play(scenario)


class SlowFor(ToldTier):
    """Takes very long for one block."""

    slow: CID | None = None

    async def get(self, cid: CID) -> bytes:
        if cid == self.slow:
            self.asked.append(cid)
            await trio.sleep(20.0)
            return self.blocks[cid]
        return await super().get(cid)


def test_nothing_is_fetched_ahead_while_a_reader_waits_longer_than_usual() -> None:
    async def scenario() -> None:
        leaves = blocks(400)
        other = block(9999)
        tier = SlowFor("tier", [node(leaves), *leaves, other], SECONDS)
        async with over(tier) as (source, prefetching), trio.open_nursery() as nursery:
            await read_one_by_one(source, [node(leaves), *leaves[:100]])
            assert siblings(prefetching.statistics()) == "on"
            tier.slow = other.cid
            nursery.start_soon(read_one_by_one, source, [other])
            await trio.sleep(5.0)  # longer than usual
            issued = prefetching.statistics().issued
            await read_one_by_one(source, leaves[100:150])
            assert prefetching.statistics().issued == issued
            await trio.sleep(20.0)
            await read_one_by_one(source, leaves[150:300])
            assert prefetching.statistics().issued > issued + 50

    play(scenario)


def test_a_fetch_in_the_way_of_a_slow_read_is_given_up() -> None:
    async def scenario() -> None:
        leaves = blocks(400)
        other = block(9999)
        tier = SlowFor("tier", [node(leaves), *leaves, other], SECONDS)
        async with over(tier) as (source, prefetching), trio.open_nursery() as nursery:
            await read_one_by_one(source, [node(leaves), *leaves[:100]])
            tier.slow = other.cid
            tier.seconds = 8.0
            nursery.start_soon(read_one_by_one, source, [other])
            await trio.testing.wait_all_tasks_blocked()
            await read_one_by_one(source, leaves[100:101])  # here: it starts the next fetch
            await trio.sleep(4.0)
            found = prefetching.statistics()
            assert found.paused == 1
            assert found.in_flight == 0
            assert tier.cancelled

    play(scenario)


def test_what_nobody_has_does_not_end_it() -> None:
    async def scenario() -> None:
        leaves = blocks(300)
        tier = ToldTier("tier", [node(leaves), *leaves[:100], *leaves[200:]], SECONDS)
        async with over(tier) as (source, prefetching):
            await read_one_by_one(source, [node(leaves), *leaves[:100]])
            used = prefetching.statistics().used
            await trio.sleep(1.0)
            await read_one_by_one(source, leaves[200:])
            assert prefetching.statistics().used > used + 50

    play(scenario)


def test_reads_of_what_is_here_are_not_looked_at_when_nothing_was_missing_for_long() -> None:
    async def scenario() -> None:
        leaves = blocks(100)
        wanted = [node(leaves), *leaves]
        tier = ToldTier("tier", wanted, SECONDS)
        async with over(tier) as (source, prefetching):
            await read_one_by_one(source, wanted)
            await trio.sleep(2 * PREFETCH_IDLE_SECONDS)
            before = prefetching._engine.remembered(), prefetching.statistics()
            await read_one_by_one(source, wanted)
            assert (prefetching._engine.remembered(), prefetching.statistics()) == before

    play(scenario)


def test_a_reader_that_leaves_in_the_middle_leaves_nothing_behind() -> None:
    async def scenario() -> None:
        leaves = blocks(10)
        tier = ToldTier("tier", leaves[:5], SECONDS)
        async with over(tier) as (source, prefetching):
            with trio.move_on_after(SECONDS / 2), source.session() as session:
                async for _one in session.get_many([one.cid for one in leaves[:5]]):
                    raise AssertionError("nothing can have come yet")
            assert not prefetching._waits
            await read_one_by_one(source, leaves[:5])

    play(scenario)
