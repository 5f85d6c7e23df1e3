"""What is fetched ahead, in a scripted world: readers of several habits, a line with latency, a moved clock."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipfs_kit_py.core import multihash
from ipfs_kit_py.core.cid import CID, RAW
from ipfs_kit_py.core.config import (
    MIB,
    PREFETCH_AFFINITY_ROOTS,
    PREFETCH_AFFINITY_SECONDS,
    PREFETCH_BATCH,
    PREFETCH_CANDIDATES,
    PREFETCH_LINKS,
    PREFETCH_PENDING,
    PREFETCH_RECENT,
    PREFETCH_SECONDS,
    PREFETCH_SEQUENCES,
    PREFETCH_STREAMS,
    PREFETCH_WATCHED,
)
from ipfs_kit_py.core.multihash import IDENTITY
from ipfs_kit_py.storage.prefetch import Fetch, Prefetcher, PrefetchStatistics
from ipfs_kit_py.storage.prefetch_guesses import Affinity, Family, Sequences

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ipfs_kit_py.storage.prefetch_worth import PredictorStatistics

BLOCK = 64 * 1024


def cid(number: int) -> CID:
    return CID.of(number.to_bytes(8, "big"), RAW)


def cids(count: int, start: int = 0) -> list[CID]:
    return [cid(number) for number in range(start, start + count)]


class World:
    """A store that keeps all, a line with ``latency`` and ``rate``, and a reader that may have the engine's help."""

    def __init__(self, engine: Prefetcher | None, *, latency: float = 0.1, rate: float = 50e6) -> None:
        self.engine = engine
        self.latency, self.rate = latency, rate
        self.now = 0.0
        self.here: set[CID] = set()
        self.links: dict[CID, Sequence[CID]] = {}
        self.misses = 0  # reads that waited
        self.demanded = self.ahead = 0  # bytes
        self._flight: tuple[float, float, Fetch] | None = None

    def read(self, wanted: CID, think: float = 0.001) -> None:
        self._pass(think)
        waited = None
        if wanted not in self.here:
            begun = self.now
            self.misses += 1
            if self._flight is not None and wanted in self._flight[2].cids:
                self._pass(self._flight[0] - self.now)
            else:
                self._pass(self.latency + BLOCK / self.rate)
                self.demanded += BLOCK
            self.here.add(wanted)
            waited = self.now - begun
        if self.engine is not None:
            self.engine.on_read(wanted, self.links.get(wanted, ()), BLOCK, self.now, waited=waited)
            self._start()

    def _pass(self, seconds: float) -> None:
        until = self.now + seconds
        while self._flight is not None and self._flight[0] <= until:
            at, begun, fetch = self._flight
            self._flight, self.now = None, at
            assert self.engine is not None
            for one in fetch.cids:
                self.here.add(one)
                self.engine.on_fetched(one, BLOCK, at)
            self.engine.on_done(fetch.cids, BLOCK * len(fetch.cids), at - begun)
            self._start()
        self.now = until

    def _start(self) -> None:
        assert self.engine is not None
        while self._flight is None and (fetch := self.engine.next_action(self.now)) is not None:
            assert 0 < len(fetch.cids) <= PREFETCH_BATCH
            known = [one for one in fetch.cids if one in self.here]
            self.engine.on_here(known)
            wanted = tuple(one for one in fetch.cids if one not in self.here)
            if not wanted:
                self.engine.on_done(fetch.cids, 0, 0.0)
                continue
            self.ahead += BLOCK * len(wanted)
            took = self.latency + BLOCK * len(wanted) / self.rate
            self._flight = (self.now + took, self.now, Fetch(wanted, fetch.size_hint))


def of(found: PrefetchStatistics, name: str) -> PredictorStatistics:
    return next(one for one in found.predictors if one.name == name)


def tree(world: World, root: CID, leaves: Sequence[CID]) -> None:
    world.links[root] = leaves


def test_a_reader_of_siblings_waits_far_less() -> None:
    root, leaves = cid(10_000), cids(400)
    times = []
    for engine in (None, Prefetcher(64 * MIB)):
        world = World(engine)
        tree(world, root, leaves)
        for one in [root, *leaves]:
            world.read(one)
        times.append((world.now, world.misses))
    (alone, misses), (helped, fewer) = times
    assert misses == 401
    assert helped < alone / 5
    assert fewer < misses / 5
    assert engine is not None
    found = engine.statistics()
    assert of(found, "siblings").state == "on"
    assert found.wasted == 0
    assert found.used > 300
    assert of(found, "siblings").precision > 0.9


def test_who_reads_nodes_with_their_first_children_is_helped_by_these() -> None:
    engine = Prefetcher(64 * MIB)
    world = World(engine)
    roots = cids(100, 10_000)
    for number, root in enumerate(roots):
        world.links[root] = cids(2, 2 * number)
    for number, root in enumerate(roots):
        world.read(root)
        for child in cids(2, 2 * number):
            world.read(child, think=0.2)
    children = of(engine.statistics(), "children")
    assert children.used > 150
    assert children.wasted == 0
    assert world.misses < 130


@pytest.mark.parametrize("seed", range(5))
def test_a_random_reader_switches_it_off_and_wastes_little(seed: int) -> None:
    engine = Prefetcher(64 * MIB)
    world = World(engine)
    root, leaves = cid(100_000), cids(5000)
    tree(world, root, leaves)
    world.read(root)
    for one in random.Random(seed).sample(leaves, 2000):
        world.read(one)
    found = engine.statistics()
    assert {one.state for one in found.predictors} == {"watching"}
    assert sum(one.watched for one in found.predictors) > 1000
    assert world.ahead < 0.05 * (world.demanded + world.ahead)


def test_a_reader_that_stops_reading_in_order_switches_it_off() -> None:
    engine = Prefetcher(64 * MIB)
    world = World(engine)
    root, leaves = cid(100_000), cids(6000)
    tree(world, root, leaves)
    for one in [root, *leaves[:500]]:
        world.read(one)
    assert of(engine.statistics(), "siblings").state == "on"
    ahead = world.ahead
    for one in random.Random(1).sample(leaves[1000:], 3000):
        world.read(one)
    siblings = of(engine.statistics(), "siblings")
    assert siblings.state == "watching"
    assert siblings.wasted > 0
    assert world.ahead - ahead < 0.05 * 3000 * BLOCK
    for one in leaves[500:1000]:  # it pays again: guesses that were only watched say so
        world.read(one)
    assert of(engine.statistics(), "siblings").state == "on"


def test_a_sequence_without_a_dag_is_learned() -> None:
    engine = Prefetcher(64 * MIB)
    world = World(engine)
    order = cids(60)
    random.Random(4).shuffle(order)
    for _ in range(4):
        world.here.clear()  # as another cache would: they come over the line again
        engine.on_evicted(one.multihash for one in order)
        world.misses = 0
        for one in order:
            world.read(one)
        world.now += 10 * PREFETCH_AFFINITY_SECONDS
    assert of(engine.statistics(), "sequences").used > 20
    assert world.misses < 30


def test_roots_that_are_read_together_are_learned_whatever_their_order() -> None:
    engine = Prefetcher(64 * MIB)
    world = World(engine)
    rng = random.Random(2)
    groups = [cids(5, 10 * number) for number in range(10)]
    total = 0
    for _round in range(12):
        for group in rng.sample(groups, len(groups)):
            world.here.clear()
            engine.on_evicted(one.multihash for one in group)
            world.misses = 0
            for one in rng.sample(group, len(group)):
                world.read(one, think=0.2)
            total = world.misses
            world.now += 2 * PREFETCH_AFFINITY_SECONDS
    affinity = of(engine.statistics(), "affinity")
    assert affinity.state == "on"
    assert affinity.used > 50
    assert total <= 2
    assert affinity.wasted < affinity.used / 10


def test_what_is_here_all_the_time_is_not_worth_guessing() -> None:
    engine = Prefetcher(64 * MIB)
    world = World(engine)
    root, leaves = cid(10_000), cids(500)
    tree(world, root, leaves)
    world.here.update([root, *leaves])
    for one in [root, *leaves]:
        world.read(one)
    found = engine.statistics()
    assert found.issued == 0
    assert {one.state for one in found.predictors} == {"watching"}


def test_what_is_fetched_ahead_and_unread_stays_within_the_budget() -> None:
    engine = Prefetcher(8 * MIB)
    world = World(engine, latency=0.5, rate=1e9)
    root, leaves = cid(10_000), cids(1000)
    tree(world, root, leaves)
    most = 0
    for one in [root, *leaves]:
        world.read(one)
        found = engine.statistics()
        assert found.held <= found.budget <= MIB
        most = max(most, found.held)
    assert most > MIB // 2


def test_pressure_and_eviction_of_the_unread_halve_the_budget_and_use_raises_it() -> None:
    engine = Prefetcher(64 * MIB)
    world = World(engine)
    root, leaves = cid(10_000), cids(200)
    tree(world, root, leaves)
    for one in [root, *leaves[:100]]:
        world.read(one)
    assert engine.statistics().budget == 8 * MIB
    engine.on_pressure()
    assert engine.statistics().budget == 4 * MIB
    assert engine.statistics().paused == 1
    assert engine.next_action(world.now) is None
    world.read(leaves[100], think=1.0)
    assert engine.statistics().budget > 4 * MIB
    world._pass(1.0)
    before, wasted = engine.statistics().budget, engine.statistics().wasted
    engine.on_evicted(one.multihash for one in leaves[101:103])
    assert engine.statistics().wasted > wasted
    assert engine.statistics().budget < before


def test_a_block_that_went_before_it_was_read_was_fetched_for_nothing() -> None:
    engine = Prefetcher(64 * MIB)
    world = World(engine)
    root, leaves = cid(10_000), cids(200)
    tree(world, root, leaves)
    for one in [root, *leaves[:100]]:
        world.read(one)
    world._pass(1.0)
    before = engine.statistics()
    assert before.wasted == 0
    world.here.discard(leaves[101])
    world.read(leaves[101])
    assert engine.statistics().wasted == 1
    assert engine.statistics().budget < before.budget


def test_a_fetch_that_is_given_up_frees_its_part_of_the_budget_and_says_nothing_of_the_guess() -> None:
    engine = Prefetcher(64 * MIB)
    root, leaves = cid(10_000), cids(100)
    engine.on_read(root, leaves, BLOCK, 0.0, waited=0.1)
    fetch = None
    for number, one in enumerate(leaves):
        engine.on_read(one, (), BLOCK, float(number), waited=0.1)
        if (fetch := engine.next_action(float(number))) is not None:
            break
    assert fetch is not None
    assert engine.statistics().held == len(fetch.cids) * BLOCK
    assert engine.next_action(number + 1.0) is None  # one at a time
    engine.on_done(fetch.cids, 0, 0.5)
    found = engine.statistics()
    assert (found.held, found.in_flight, found.wasted) == (0, 0, 0)


def test_a_guess_is_wrong_after_its_time_or_after_many_other_reads() -> None:
    engine = Prefetcher(64 * MIB)
    engine.on_read(cid(1), cids(2, 10), BLOCK, 5.0, waited=0.1)
    assert engine.deadline() == 5.0 + PREFETCH_SECONDS
    engine.on_timeout(4.9 + PREFETCH_SECONDS)
    assert of(engine.statistics(), "children").watched == 0
    engine.on_timeout(5.0 + PREFETCH_SECONDS)
    assert of(engine.statistics(), "children").watched == 2
    assert engine.deadline() is None
    engine.on_read(cid(2), cids(2, 20), BLOCK, 100.0, waited=0.1)
    for one in cids(PREFETCH_WATCHED + 1, 1000):
        engine.on_read(one, (), BLOCK, 100.0, waited=0.1)
    assert of(engine.statistics(), "children").watched == 4


def test_blocks_that_are_their_own_name_are_no_guesses() -> None:
    engine = Prefetcher(64 * MIB)
    own = CID(1, RAW, multihash.of(b"own", IDENTITY))
    engine.on_read(cid(1), [own], BLOCK, 0.0, waited=0.1)
    assert engine.remembered()["watched"] == 0
    engine.on_read(own, [], 3, 0.0)
    assert engine.statistics().size == BLOCK


def test_all_that_is_remembered_is_bounded() -> None:
    engine = Prefetcher(64 * MIB)
    for number in range(30_000):
        links = cids(20, 1_000_000 + 20 * number) if number % 2 else ()
        engine.on_read(cid(number), links, 1, number * 1e-4, waited=0.1, stream=number)
        engine.next_action(number * 1e-4)
    sizes = engine.remembered()
    caps = {
        "links": PREFETCH_LINKS, "sequences": PREFETCH_SEQUENCES, "affinity": PREFETCH_AFFINITY_ROOTS,
        "guesses": PREFETCH_PENDING, "watched": PREFETCH_PENDING, "queue": PREFETCH_CANDIDATES,
        "recent": PREFETCH_RECENT, "streams": PREFETCH_STREAMS, "flying": PREFETCH_BATCH,
    }  # fmt: skip
    assert sizes.keys() == caps.keys()
    assert all(sizes[name] <= most for name, most in caps.items())
    for name in ("links", "sequences", "affinity", "recent", "streams"):
        assert sizes[name] > caps[name] * 0.9, name  # the cap was met


def test_a_family_forgets_whole_nodes() -> None:
    family = Family(10)
    family.learn(cid(1), cids(6, 100))
    family.learn(cid(2), cids(6, 200))
    assert len(family) == 6
    assert not family.knows(cid(100))
    assert list(family.siblings(cid(203))) == cids(2, 204)
    assert list(family.children(cid(1))) == []
    family.learn(cid(3), cids(100, 300))
    assert len(family) == 10


def test_a_follower_is_named_once_it_came_in_half_of_the_cases() -> None:
    table = Sequences()
    table.learn(cid(1), cid(2))
    assert list(table.after(cid(1))) == []
    table.learn(cid(1), cid(2))
    assert list(table.after(cid(1))) == [cid(2)]
    for number in range(3, 13):
        table.learn(cid(1), cid(number))
    assert list(table.after(cid(1))) == []


def test_a_chain_of_followers_that_closes_ends() -> None:
    table = Sequences()
    for _ in range(3):
        for before, after in pairwise([*cids(3), cid(0)]):
            table.learn(before, after)
    assert list(table.after(cid(0))) == [cid(1), cid(2)]


def test_roots_far_apart_in_time_are_not_together() -> None:
    table = Affinity()
    for number in range(5):
        at = number * 10 * PREFETCH_AFFINITY_SECONDS
        table.learn(cid(1), at)
        table.learn(cid(2), at + 2 * PREFETCH_AFFINITY_SECONDS)
    assert list(table.together(cid(1))) == []


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["read", "act", "come", "done", "evict", "pressure", "here", "time"]), st.integers(0, 30)
    ),
    max_size=200,
)


@settings(max_examples=150, deadline=None)
@given(EVENTS)
def test_whatever_happens_the_books_balance(events: Iterable[tuple[str, int]]) -> None:
    engine = Prefetcher(8 * MIB)
    now = 0.0
    fetch: Fetch | None = None
    for name, number in events:
        now += 0.05
        match name:
            case "read":
                links = cids(5, number + 1) if number % 3 == 0 else ()
                engine.on_read(cid(number), links, 100_000, now, waited=0.5 if number % 4 else None, stream=number % 2)
            case "act" if fetch is None:
                fetch = engine.next_action(now)
            case "come" if fetch is not None:
                engine.on_fetched(fetch.cids[number % len(fetch.cids)], 120_000, now)
            case "done" if fetch is not None:
                engine.on_done(fetch.cids, 100_000, 0.1)
                fetch = None
            case "here" if fetch is not None:
                engine.on_here(fetch.cids[:1])
            case "evict":
                engine.on_evicted([cid(number).multihash])
            case "pressure":
                engine.on_pressure()
            case "time":
                now += PREFETCH_SECONDS * (number % 2)
                engine.on_timeout(now)
        found = engine.statistics()
        assert 0 <= found.held <= found.budget + PREFETCH_BATCH * 120_000
        assert found.used + found.wasted <= found.issued
        assert found.in_flight == 0 or fetch is not None
        for one in found.predictors:
            assert 0.0 <= one.precision <= 1.0
            assert one.used_bytes <= one.bytes or one.used
    now += 2 * PREFETCH_SECONDS
    if fetch is not None:
        engine.on_done(fetch.cids, 0, 0.1)
    engine.on_timeout(now)
    assert engine.statistics().held == 0
    assert engine.remembered()["guesses"] == 0
