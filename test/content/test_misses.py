"""The miss path over tiers that answer as they are told, and over peers on the network in memory."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from ipfs_kit_py.content.miss.misses import Misses
from ipfs_kit_py.content.source import BlockSource
from ipfs_kit_py.core.cid import CID, Block
from ipfs_kit_py.core.config import ABSENT_SECONDS, BREAKER_FAILURES, MISS_TIER_SECONDS
from ipfs_kit_py.core.errors import BackendError, IPFSKitError, NotFound, NotRunning, PeerUnreachable, QuotaExceeded
from ipfs_kit_py.net.memory import MemoryNetwork
from ipfs_kit_py.storage.memory import MemoryStore
from ipfs_kit_py.storage.remote.base import Health, Status
from test.net.exchanges import Side, block, blocks, cids, exchanging, play
from test.net.swarms import settle

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence

    from ipfs_kit_py.core.interfaces import BlockStore, Exchange


class ToldTier:
    """Gives its blocks ``seconds`` after it was asked; ``error`` instead, while there is one; false bytes if told."""

    verbs = frozenset({"get"})

    def __init__(self, name: str, have: Iterable[Block] = (), seconds: float = 0.1) -> None:
        self.name = name
        self.blocks = {one.cid: bytes(one.data) for one in have}
        self.seconds = seconds
        self.error: Exception | None = None
        self.healthy = True
        self.lies = False
        self.asked: list[CID] = []
        self.cancelled: list[CID] = []
        self.checks = 0
        self.most = self._now = 0

    async def get(self, cid: CID) -> bytes:
        self.asked.append(cid)
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            await trio.sleep(self.seconds if cid in self.blocks else 1.5 * self.seconds)
        except trio.Cancelled:
            self.cancelled.append(cid)
            raise
        finally:
            self._now -= 1
        if self.error is not None:
            raise self.error
        if cid not in self.blocks:
            raise NotFound(f"no {cid}", cid=cid)
        return self.blocks[cid] + (b"!" if self.lies else b"")

    def get_dag(self, root: CID) -> AsyncGenerator[Block, None]:
        raise AssertionError("not in its verbs")

    async def has(self, cid: CID) -> bool:
        return cid in self.blocks

    async def put(self, root: CID, blocks: AsyncIterable[Block], *, label: str = "") -> Status:
        raise AssertionError("not in its verbs")

    async def remove(self, root: CID) -> None:
        raise AssertionError("not in its verbs")

    async def status(self, root: CID) -> Status:
        raise AssertionError("not in its verbs")

    async def health(self) -> Health:
        self.checks += 1
        return Health(self.healthy, 0.0)

    async def aclose(self) -> None:
        pass


@asynccontextmanager
async def over(
    *tiers: ToldTier, store: BlockStore | None = None, exchange: Exchange | None = None
) -> AsyncIterator[tuple[BlockSource, Misses]]:
    """A source whose misses go to ``tiers`` and ``exchange``."""
    store = store if store is not None else MemoryStore()
    misses = Misses(store, exchange, tiers, random.Random(3))
    async with trio.open_nursery() as nursery:
        await nursery.start(misses.run)
        yield BlockSource(store, misses), misses
        nursery.cancel_scope.cancel()


async def read(source: BlockSource, wanted: Sequence[CID]) -> dict[CID, bytes]:
    with source.session() as session:
        return {cid: bytes(data) async for cid, data in session.get_many(wanted)}


def contents(items: Iterable[Block]) -> dict[CID, bytes]:
    return {one.cid: bytes(one.data) for one in items}


def test_what_a_tier_gives_is_stored_and_served_from_then_on() -> None:
    async def scenario() -> None:
        some = blocks(300)
        tier = ToldTier("tier", some)
        async with over(tier) as (source, misses):
            assert await read(source, cids(some)) == contents(some)
            assert await read(source, cids(some)) == contents(some)
            assert sorted(map(str, tier.asked)) == sorted(map(str, cids(some)))
            assert 1 < tier.most <= 16
            [found] = misses.statistics()
            assert (found.hits, found.bytes, found.in_flight) == (300, 300_000, 0)
            assert found.p50 == pytest.approx(0.1, rel=0.5)

    play(scenario)


def test_the_second_tier_starts_when_the_first_is_late_and_the_loser_is_cancelled() -> None:
    async def scenario() -> None:
        one = block(1)
        late, other = ToldTier("late", [one], 30.0), ToldTier("other", [one], 0.2)
        async with over(late, other) as (source, misses):
            begun = trio.current_time()
            assert await read(source, [one.cid]) == contents([one])
            assert trio.current_time() - begun < 2.0
            await trio.testing.wait_all_tasks_blocked()
            assert late.cancelled == [one.cid]
            assert misses.statistics()[0].lost == 1

    play(scenario)


def test_misses_for_one_block_at_once_are_one_request() -> None:
    async def scenario() -> None:
        one = block(1)
        tier = ToldTier("tier", [one])
        async with over(tier) as (source, _misses), trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(read, source, [one.cid])
        assert tier.asked == [one.cid]

    play(scenario)


def test_a_request_goes_on_while_one_caller_wants_it_and_ends_with_the_last() -> None:
    async def scenario() -> None:
        one = block(1)
        tier = ToldTier("tier", [one], 5.0)
        async with over(tier) as (source, misses):
            got: list[dict[CID, bytes]] = []

            async def patient() -> None:
                got.append(await read(source, [one.cid]))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(patient)
                with trio.move_on_after(1.0):
                    await read(source, [one.cid])
            assert got == [contents([one])]
            assert not tier.cancelled

            two = block(2)
            tier.blocks[two.cid] = bytes(two.data)
            with trio.move_on_after(1.0):
                await read(source, [two.cid])
            assert await read(source, [two.cid]) == contents([two])  # not the request that was being cancelled
            await trio.testing.wait_all_tasks_blocked()
            assert tier.cancelled == [two.cid]
            assert misses.statistics()[0].in_flight == 0

    play(scenario)


def test_a_false_block_is_never_served_and_its_tier_is_left_alone() -> None:
    async def scenario() -> None:
        some = blocks(40)
        liar, honest = ToldTier("liar", some, 0.01), ToldTier("honest", some, 1.0)
        liar.lies = True
        store = MemoryStore()
        async with over(liar, honest, store=store) as (source, misses):
            assert await read(source, cids(some)) == contents(some)
            assert all(one.problem is None for one in store.verify())
            assert misses.statistics()[0].lies >= 1
            assert misses.statistics()[0].state == "left alone"
            asked = len(liar.asked)
            await read(source, [block(99).cid for _ in ()])
            liar.blocks[block(50).cid] = honest.blocks[block(50).cid] = bytes(block(50).data)
            await read(source, [block(50).cid])
            assert len(liar.asked) == asked

    play(scenario)


def test_a_tier_that_fails_is_left_alone_and_comes_back_by_itself() -> None:
    async def scenario() -> None:
        some = blocks(60)
        tier, other = ToldTier("tier", some, 0.01), ToldTier("other", some, 2.0)
        tier.error = BackendError("it is broken")
        tier.healthy = False
        async with over(tier, other) as (source, misses):
            assert await read(source, cids(some[:20])) == contents(some[:20])
            assert misses.statistics()[0].state == "left alone"
            assert misses.statistics()[0].failures >= BREAKER_FAILURES
            asked = len(tier.asked)
            await read(source, cids(some[20:40]))
            assert len(tier.asked) == asked
            checks = tier.checks
            await trio.sleep(400)
            assert tier.checks > checks
            tier.error, tier.healthy = None, True
            await trio.sleep(400)
            assert misses.statistics()[0].state == "on trial"
            await read(source, cids(some[40:]))
            assert misses.statistics()[0].state == "ok"
            assert len(tier.asked) > asked

    play(scenario)


def test_what_nobody_has_is_not_found_and_not_asked_for_again_for_a_while() -> None:
    async def scenario() -> None:
        one = block(1)
        tiers = ToldTier("a"), ToldTier("b")
        async with over(*tiers) as (source, misses):
            for _ in range(3):
                with pytest.raises(NotFound, match="a, b has not got it"):
                    await read(source, [one.cid])
            assert [tier.asked for tier in tiers] == [[one.cid], [one.cid]]
            tiers[1].blocks[one.cid] = bytes(one.data)
            await trio.sleep(ABSENT_SECONDS)
            assert await read(source, [one.cid]) == contents([one])

            tiers[0].blocks[block(2).cid] = bytes(block(2).data)
            with pytest.raises(NotFound):
                await read(source, [block(3).cid])
            tiers[0].blocks[block(3).cid] = bytes(block(3).data)
            misses.forget_absent("a", [block(3).cid])
            assert await read(source, [block(3).cid]) == contents([block(3)])

    play(scenario)


def test_not_found_is_not_said_while_a_tier_that_failed_may_have_it() -> None:
    async def scenario() -> None:
        broken, empty = ToldTier("broken"), ToldTier("empty")
        broken.error = BackendError("no route")
        async with over(broken, empty) as (source, _misses):
            with pytest.raises(BackendError, match=r"may be there \(broken: no route\)"):
                await read(source, [block(1).cid])

    play(scenario)


def test_a_plug_in_that_raises_anything_is_a_tier_that_failed() -> None:
    async def scenario() -> None:
        one = block(1)
        odd, good = ToldTier("odd", [one], 0.01), ToldTier("good", [one], 1.0)
        odd.error = ZeroDivisionError("its own fault")
        async with over(odd, good) as (source, misses):
            assert await read(source, [one.cid]) == contents([one])
            assert misses.statistics()[0].failures == 1

    play(scenario)


def test_a_tier_that_hangs_is_given_up_in_the_end() -> None:
    async def scenario() -> None:
        tier = ToldTier("tier", blocks(3), 1e9)
        async with over(tier) as (source, misses):
            begun = trio.current_time()
            with pytest.raises(BackendError, match="tier"):
                await read(source, cids(blocks(3)))
            assert trio.current_time() - begun == pytest.approx(MISS_TIER_SECONDS)
            assert misses.statistics()[0].in_flight == 0

    play(scenario)


def test_what_came_before_a_failure_is_kept_and_completed_later() -> None:
    async def scenario() -> None:
        some = blocks(10)
        tier = ToldTier("tier", some[:6])
        store = MemoryStore()
        async with over(tier, store=store) as (source, _misses):
            with pytest.raises(NotFound):
                await read(source, cids(some))
            assert sum(store.has_many(cids(some))) == 6
            tier.blocks = contents(some)
            await trio.sleep(ABSENT_SECONDS)
            tier.asked.clear()
            assert await read(source, cids(some)) == contents(some)
            assert sorted(map(str, tier.asked)) == sorted(map(str, cids(some[6:])))

    play(scenario)


def test_a_full_store_ends_the_fetch_and_says_so() -> None:
    async def scenario() -> None:
        some = blocks(10)
        store = MemoryStore(2500, evict=False)
        async with over(ToldTier("tier", some), store=store) as (source, misses):
            with pytest.raises(QuotaExceeded):
                await read(source, cids(some))
            assert misses.statistics()[0].failures == 0  # not its fault

    play(scenario)


def test_a_block_that_is_added_here_ends_the_wait_for_it() -> None:
    async def scenario() -> None:
        one = block(1)
        tier = ToldTier("tier", [], 20.0)
        async with over(tier) as (source, _misses):
            got: list[dict[CID, bytes]] = []

            async def reader() -> None:
                got.append(await read(source, [one.cid, CID(1, 0x71, one.cid.multihash)]))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(reader)
                await trio.sleep(1.0)
                await source.put_many([one])
            assert got == [{one.cid: one.data, CID(1, 0x71, one.cid.multihash): one.data}]
            assert tier.cancelled

    play(scenario)


def test_peers_that_have_a_block_come_first_and_a_tier_helps_where_they_have_not() -> None:
    async def scenario() -> None:
        theirs, elsewhere = blocks(20), blocks(20, first=100)
        network = MemoryNetwork()
        mine, other = Side(network, "10.0.0.1"), Side(network, "10.0.0.2", theirs)
        tier = ToldTier("tier", [*theirs, *elsewhere], 0.3)
        async with exchanging(mine, other):
            await mine.connect(other)
            async with over(tier, store=mine.store, exchange=mine.bitswap) as (source, misses):
                assert await read(source, cids(theirs)) == contents(theirs)
                assert not tier.asked
                begun = trio.current_time()
                assert await read(source, cids(elsewhere)) == contents(elsewhere)
                assert trio.current_time() - begun < 3.0
                peers, remote = misses.statistics()
                assert (peers.hits, remote.hits) == (20, 20)
            await settle(mine.idle)

    play(scenario)


class FailingPeers:
    """An exchange whose fetches end with an error, a moment after they begin."""

    def __init__(self, error: IPFSKitError) -> None:
        self.error = error

    @contextmanager
    def session(self) -> Iterator[FailingPeers]:
        yield self

    def nobody_has(self, cid: CID) -> bool:
        return False

    async def fetch_many(self, cids: Sequence[CID], *, size_hint: int | None = None) -> AsyncGenerator[Block, None]:
        await trio.sleep(0.01)
        raise self.error
        yield  # what makes it a generator

    async def announce_have(self, blocks: Sequence[Block]) -> None:
        pass


def test_an_error_of_the_peers_leaves_the_block_to_the_tiers() -> None:
    async def scenario() -> None:
        some = blocks(20)
        peers = FailingPeers(PeerUnreachable("the network is down"))
        async with over(ToldTier("tier", some, 1.0), exchange=peers) as (source, _misses):
            assert await read(source, cids(some)) == contents(some)
        async with over(ToldTier("tier", []), exchange=peers) as (source, _misses):
            with pytest.raises(BackendError, match="peers: the network is down"):
                await read(source, cids(some[:1]))

    play(scenario)


@pytest.mark.parametrize("error", [NotRunning("closed"), QuotaExceeded("full")])
def test_an_error_of_our_own_ends_the_fetch(error: IPFSKitError) -> None:
    async def scenario() -> None:
        async with over(ToldTier("tier", [], 30.0), exchange=FailingPeers(error)) as (source, _misses):
            with trio.fail_after(1.0), pytest.raises(type(error)):
                await read(source, cids(blocks(1)))

    play(scenario)


def test_what_a_tier_gives_is_handed_to_the_peers_that_wait_for_it() -> None:
    async def scenario() -> None:
        one = block(1)
        network = MemoryNetwork()
        mine, other = Side(network, "10.0.0.1"), Side(network, "10.0.0.2")
        async with exchanging(mine, other):
            await mine.connect(other)
            async with over(ToldTier("tier", [one]), store=mine.store, exchange=mine.bitswap) as (source, _misses):
                got: list[dict[CID, bytes]] = []

                async def waiting() -> None:
                    got.append(await other.fetch([one.cid]))

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(waiting)
                    await trio.sleep(5.0)
                    await read(source, [one.cid])
                assert got == [contents([one])]

    play(scenario)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1 << 30))
def test_whatever_tiers_and_callers_do_every_caller_gets_true_blocks_or_is_told(seed: int) -> None:
    async def scenario() -> None:
        rng = random.Random(seed)
        some = blocks(30)
        tiers = [ToldTier(f"t{n}", rng.sample(some, rng.randint(0, 30)), rng.uniform(0.01, 5.0)) for n in range(3)]
        for tier in tiers:
            tier.lies = rng.random() < 0.2
            tier.error = BackendError("broken") if rng.random() < 0.2 else None
        good = [tier for tier in tiers if not tier.lies and tier.error is None]
        ended = 0

        async def caller() -> None:
            nonlocal ended
            wanted = cids(rng.sample(some, rng.randint(1, 30)))
            with trio.move_on_after(rng.choice([0.5, 3000.0])) as scope:
                try:
                    found = await read(source, wanted)
                except NotFound as error:
                    if any(error.cid in tier.blocks for tier in good):
                        raise AssertionError(f"{error.cid} was there") from error
                except BackendError:
                    assert len(good) < len(tiers)
                else:
                    assert found == {cid: data for cid, data in contents(some).items() if cid in wanted}
            assert not scope.cancelled_caught or scope.deadline - trio.current_time() < 3000.0
            ended += 1

        async with over(*tiers) as (source, misses):
            async with trio.open_nursery() as nursery:
                for _ in range(8):
                    nursery.start_soon(caller)
                    await trio.sleep(rng.uniform(0.0, 2.0))
            assert ended == 8
            await trio.testing.wait_all_tasks_blocked()
            assert all(found.in_flight == 0 for found in misses.statistics())
            assert not any((misses._callers, misses._flights, misses._waiting))

    play(scenario)
