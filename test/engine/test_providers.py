"""Reputation, choice, affinity, demand and the cache of providers."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipfs_kit_py.core.cid import PeerID
from ipfs_kit_py.core.config import (
    AFFINITY_PEERS,
    CHOICE_BACKOFF_MAX_SECONDS,
    CHOICE_BACKOFF_SECONDS,
    PROVIDER_ABSENT_SECONDS,
    PROVIDER_CACHE_ADDRESSES,
    PROVIDER_CACHE_PROVIDERS,
    PROVIDER_CACHE_SECONDS,
    REPUTATION_CLOCK_SECONDS,
    REPUTATION_LIARS,
    REPUTATION_MAX_GOOD,
    REPUTATION_MEASURED_SECONDS,
    REPUTATION_METER_BYTES,
)
from ipfs_kit_py.core.interfaces import Provider
from ipfs_kit_py.routing.affinity import Affinity
from ipfs_kit_py.routing.choice import Candidate, choose, weigh
from ipfs_kit_py.routing.demand import Demand
from ipfs_kit_py.routing.provider_cache import ProviderCache
from ipfs_kit_py.routing.providers import Providers
from ipfs_kit_py.routing.reputation import Belief, Reputation

DAY = 86400.0
NOW = 1.8e9
MIB = 1 << 20


def peer(number: int) -> PeerID:
    return PeerID(b"\x12\x20" + number.to_bytes(32, "big"))


def provider(number: int, *texts: str) -> Provider:
    return Provider(peer(number), texts or ("/ip4/192.0.2.1/tcp/1",), "dht")


def reputation(**more: int) -> Reputation:
    return Reputation(random.Random(1), **more)


# --- reputation -------------------------------------------------------------------------------------------------------


def test_a_stranger_is_between_who_is_known_to_be_good_and_who_is_known_to_be_bad() -> None:
    known = reputation()
    for number in range(20):
        known.on_delivered(peer(1), MIB, NOW + number)
        known.on_failed(peer(2), NOW + number)
    good, bad, new = (known.get(peer(number)).reputation(NOW + 20) for number in (1, 2, 3))
    assert bad < new < good
    assert not known.knows(peer(3))
    assert known.doubt(peer(1), NOW) == known.doubt(peer(3), NOW) == 1.0 < known.doubt(peer(2), NOW)
    assert known.trusts(peer(1), NOW + 20)
    assert not known.trusts(peer(2), NOW + 20)
    assert not known.trusts(peer(3), NOW + 20)


@given(lies=st.integers(1, 20), crumbs=st.integers(0, 2000), size=st.integers(1, 64 * MIB), gap=st.floats(0.0, 3600.0))
@settings(max_examples=50)
def test_no_deliveries_make_up_for_lies(lies: int, crumbs: int, size: int, gap: float) -> None:
    known, now = reputation(), NOW
    for _number in range(10):
        known.on_delivered(peer(1), MIB, now)
        known.on_delivered(peer(2), size, now)
    for _number in range(lies):
        known.on_lie(peer(2), now)
        for _ in range(crumbs // lies):
            known.on_delivered(peer(2), size, now)
        now += gap
    assert known.get(peer(2)).honest.sure(now) < known.get(peer(1)).honest.sure(now)
    if gap * lies < DAY:
        assert known.get(peer(2)).honest.sure(now) < known.get(peer(3)).honest.sure(now)


def test_crumbs_buy_no_honesty() -> None:
    known = reputation()
    for _ in range(1000):
        known.on_delivered(peer(1), 100, NOW)
    assert known.get(peer(1)).honest.good < 0.2


def test_a_liar_heals_slowly() -> None:
    known = reputation()
    for _ in range(3):
        known.on_lie(peer(1), NOW)
    new = known.get(peer(2)).honest
    honest = known.get(peer(1)).honest
    assert honest.sure(NOW + 30 * DAY) < new.sure(NOW)
    assert honest.sure(NOW + 3 * 365 * DAY) == pytest.approx(new.sure(NOW), rel=0.05)


def test_what_is_known_of_answering_fades_sooner_than_of_honesty() -> None:
    known = reputation()
    for _ in range(10):
        known.on_delivered(peer(1), MIB, NOW)
    row, new = known.get(peer(1)), known.get(peer(2))
    later = NOW + 5 * DAY
    assert row.answers.sure(later) == pytest.approx(new.answers.sure(later), abs=0.02)
    assert row.honest.sure(later) > new.honest.sure(later) + 0.05


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["answer", "delivered", "failed", "refused", "lie", "measured"]),
            st.integers(0, 5),
            st.floats(allow_nan=True, allow_infinity=True),
            st.floats(-1e9, 1e9),
        ),
        max_size=60,
    )
)
def test_whatever_is_told_beliefs_are_chances(events: list[tuple[str, int, float, float]]) -> None:
    known = reputation(most=4)
    for kind, number, value, step in events:
        now = NOW + step
        match kind:
            case "answer":
                known.on_answer(peer(number), now, latency=value)
            case "delivered":
                known.on_delivered(peer(number), int(value) if math.isfinite(value) else -1, now, seconds=value)
            case "failed":
                known.on_failed(peer(number), now)
            case "refused":
                known.on_refused(peer(number), now)
            case "lie":
                known.on_lie(peer(number), now)
            case _:
                known.on_measured(peer(number), now, value, value)
        row = known.get(peer(number))
        for belief in (row.answers, row.delivers, row.honest):
            assert 0.0 <= belief.sure(now) <= belief.mean(now) <= 1.0
            assert belief.good <= REPUTATION_MAX_GOOD
        assert row.latency is None or 0.0 <= row.latency < math.inf
        assert row.throughput is None or 0.0 < row.throughput < math.inf
        assert len(known) <= 4


def test_of_too_many_the_neutral_ones_are_forgotten_first_and_liars_last() -> None:
    known = reputation(most=100)
    for number in range(20):
        known.on_lie(peer(number), NOW)
    for number in range(30, 60):
        for _ in range(5):
            known.on_delivered(peer(number), MIB, NOW)
    for number in range(1000, 5000):
        known.on_answer(peer(number), NOW)
    assert len(known) <= 100
    assert all(known.knows(peer(number)) for number in [*range(20), *range(30, 60)])
    for number in range(10_000, 10_200):
        for _ in range(9):
            known.on_delivered(peer(number), MIB, NOW)
    assert all(known.knows(peer(number)) for number in range(20))
    assert known.statistics(NOW).liars == 20


def test_new_names_that_lie_do_not_push_out_who_is_known_to_be_good() -> None:
    known = reputation(most=200)
    for number in range(100):
        for _ in range(5):
            known.on_delivered(peer(number), MIB, NOW)
    for number in range(1000, 3000):
        for _ in range(3):
            known.on_lie(peer(number), NOW)
    assert all(known.knows(peer(number)) for number in range(100))
    assert REPUTATION_LIARS * 200 <= known.statistics(NOW).liars <= 100


def test_measurements_fade_to_what_is_thought_of_strangers() -> None:
    known = reputation()
    known.on_measured(peer(1), NOW, 2.0, 1e4)
    row = known.get(peer(1))
    assert row.expected(NOW, 0.1, 1e6) == (2.0, pytest.approx(1e4))
    assert row.expected(NOW + REPUTATION_MEASURED_SECONDS, 0.1, 1e6) == pytest.approx((1.05, 1e5))
    assert row.expected(NOW + 40 * REPUTATION_MEASURED_SECONDS, 0.1, 1e6) == pytest.approx((0.1, 1e6))
    assert row.expected(NOW - DAY, 0.1, 1e6) == row.expected(NOW, 0.1, 1e6)
    assert known.get(peer(2)).expected(NOW, 0.1, 1e6) == (0.1, 1e6)


def test_crumbs_do_not_measure_throughput() -> None:
    known = reputation()
    known.on_delivered(peer(1), REPUTATION_METER_BYTES - 1, NOW, seconds=1e-6)
    assert known.get(peer(1)).throughput is None
    known.on_delivered(peer(1), REPUTATION_METER_BYTES, NOW, seconds=1.0)
    assert known.get(peer(1)).throughput == REPUTATION_METER_BYTES


def test_a_clock_that_was_wrong_for_a_while_leaves_nothing_behind() -> None:
    known = reputation()
    ahead = NOW + 3650 * DAY
    known.on_failed(peer(1), ahead)
    assert known.get(peer(1)).wait(NOW) == 0.0
    assert known.statistics(NOW).waiting == 0
    known.on_lie(peer(2), ahead)
    known.on_lie(peer(2), NOW)
    honest = known.get(peer(2)).honest
    assert honest.at == NOW
    assert honest.sure(NOW + 360 * DAY) > honest.sure(NOW)
    belief = Belief(1.0, 1.0, 3600.0)
    belief.see(1.0, 0.0, NOW + REPUTATION_CLOCK_SECONDS)
    belief.see(1.0, 0.0, NOW)
    assert belief.at == NOW + REPUTATION_CLOCK_SECONDS
    cache = ProviderCache()
    cache.put(b"a", [provider(1)], ahead)
    assert cache.get(b"a", NOW) is None


def test_a_failing_peer_is_left_alone_for_longer_each_time_until_it_delivers() -> None:
    known, waits = reputation(), []
    for _ in range(16):
        known.on_failed(peer(1), NOW)
        waits.append(known.get(peer(1)).until - NOW)
    assert CHOICE_BACKOFF_SECONDS / 2 <= waits[0] <= CHOICE_BACKOFF_SECONDS
    assert all(later > earlier / 2.01 for earlier, later in pairwise(waits))
    assert CHOICE_BACKOFF_MAX_SECONDS / 2 <= waits[-1] <= CHOICE_BACKOFF_MAX_SECONDS
    assert len({round(wait / 2 ** min(number, 9), 6) for number, wait in enumerate(waits[:9])}) > 3  # by chance
    known.on_delivered(peer(1), 1, NOW)
    assert known.get(peer(1)).until <= NOW


def test_reputations_outlive_a_restart() -> None:
    known = reputation()
    known.on_delivered(peer(1), 5 * MIB, NOW, seconds=2.0)
    known.on_answer(peer(1), NOW, latency=0.1)
    known.on_lie(peer(2), NOW)
    again = reputation()
    assert again.load(known.dump(), NOW + DAY) == 2
    for number in (1, 2):
        assert again.get(peer(number)).reputation(NOW + DAY) == known.get(peer(number)).reputation(NOW + DAY)
    assert again.get(peer(1)).throughput == 2.5 * MIB
    assert (again.get(peer(1)).verified, again.get(peer(2)).false_blocks) == (5 * MIB, 1)


@pytest.mark.parametrize(
    "row",
    [
        None, 5, [], ["x"], {}, ["not a peer", [[0, 0, 0]] * 3, [None, None, 0], [0, 0, 0, 0], 0],
        [str(peer(1)), [[0, 0, 0]] * 2, [None, None, 0], [0, 0, 0, 0], 0],
        [str(peer(1)), [[math.nan, 0, 0]] * 3, [None, None, 0], [0, 0, 0, 0], 0],
        [str(peer(1)), [[-1, 0, 0]] * 3, [None, None, 0], [0, 0, 0, 0], 0],
        [str(peer(1)), [[10**400, 0, 0]] * 3, [None, None, 0], [0, 0, 0, 0], 0],
        [str(peer(1)), [[0, 0, 0]] * 3, ["x", None, 0], [0, 0, 0, 0], 0],
        [str(peer(1)), [[0, 0, 0]] * 3, [None, 10**400, 0], [0, 0, 0, 0], 0],
        [str(peer(1)), [[0, 0, 0]] * 3, [None, None, math.inf], [0, 0, 0, 0], 0],
        [str(peer(1)), [[0, 0, 0]] * 3, [None, None, 0], [0, 0, 0, math.inf], 0],
    ],
)  # fmt: skip
def test_damaged_rows_are_skipped(row: object) -> None:
    known = reputation()
    assert known.load([row], NOW) == 0
    assert len(known) == 0


def test_a_belief_from_the_future_is_no_better_than_one_of_now() -> None:
    belief = Belief(1.0, 1.0, 3600.0)
    belief.see(10.0, 0.0, NOW + 1e6)
    assert belief.mean(NOW) == belief.mean(NOW + 1e6)


# --- the choice -------------------------------------------------------------------------------------------------------


def candidate(number: int, **more: object) -> Candidate:
    return Candidate(provider(number), **more)  # type: ignore[arg-type]


def measured(known: Reputation, number: int, latency: float, rate: float) -> None:
    for _ in range(10):
        known.on_answer(peer(number), NOW, latency=latency)
        known.on_delivered(peer(number), MIB, NOW, seconds=MIB / rate)


def test_small_contents_come_from_the_nearest_and_large_ones_from_the_fastest() -> None:
    known, rng = reputation(), random.Random(1)
    measured(known, 1, 0.01, 1e6)
    measured(known, 2, 0.3, 50e6)
    rows = [candidate(1), candidate(2)]
    assert [one.peer for one in choose(rows, known, rng, NOW, size=1000)] == [peer(1), peer(2)]
    assert [one.peer for one in choose(rows, known, rng, NOW, size=100 * MIB)] == [peer(2), peer(1)]


def test_a_loaded_peer_is_passed_over_and_a_relay_is_slow() -> None:
    known, rng = reputation(), random.Random(1)
    for number in (1, 2):
        measured(known, number, 0.05, 10e6)
    [first, _second] = choose([candidate(1, load=50 * MIB), candidate(2)], known, rng, NOW, size=MIB)
    assert first.peer == peer(2)
    [first, second] = choose([candidate(1, relayed=True), candidate(2)], known, rng, NOW, size=MIB)
    assert (first.peer, second.transfer > 5) == (peer(2), True)
    [first, _second] = choose([candidate(3), candidate(4, local=True)], known, rng, NOW, size=MIB)
    assert first.peer == peer(4)


def test_liars_come_last_and_those_that_are_left_alone_are_left_out_while_there_are_others() -> None:
    known, rng = reputation(), random.Random(1)
    measured(known, 1, 0.001, 1e9)
    known.on_lie(peer(1), NOW)
    known.on_lie(peer(1), NOW)
    measured(known, 2, 0.2, 1e6)
    known.on_failed(peer(4), NOW)
    rows = [candidate(number) for number in (1, 2, 3, 4)]
    assert [one.peer for one in choose(rows, known, rng, NOW, size=1000, count=9)] == [peer(2), peer(3), peer(1)]
    [only] = choose([candidate(4)], known, rng, NOW)
    assert only.wait > 0
    assert [one.peer for one in choose(rows, known, rng, NOW + 60, size=1000, count=9)][-1] != peer(3)


def test_who_is_preferred_comes_first_unless_something_speaks_against_it() -> None:
    known, rng = reputation(), random.Random(1)
    measured(known, 1, 0.01, 50e6)
    rows = [candidate(1), candidate(2), candidate(3)]
    assert choose(rows, known, rng, NOW, preferred=[peer(3)])[0].peer == peer(3)
    for _ in range(20):
        known.on_lie(peer(3), NOW)
    assert choose(rows, known, rng, NOW, preferred=[peer(3)])[0].peer == peer(1)


def test_a_stranger_is_tried_now_and_then_where_three_are_chosen() -> None:
    known, rng = reputation(), random.Random(1)
    for number in range(5):
        measured(known, number, 0.01, 50e6)
    rows = [candidate(number) for number in range(8)]
    tried = [choose(rows, known, rng, NOW, size=MIB) for _ in range(1000)]
    explored = [chosen for chosen in tried if chosen[-1].explored]
    assert 150 < len(explored) < 350
    assert all(not chosen[0].explored and not chosen[1].explored for chosen in tried)
    assert not any(one.explored for _ in range(200) for one in choose(rows, known, rng, NOW, count=2))


def test_fresh_names_gain_nothing_over_known_good_ones() -> None:
    """Sybil: a thousand new names among three that are known to be good."""
    known, rng = reputation(), random.Random(1)
    for number in range(3):
        measured(known, number, 0.1, 5e6)
    rows = [candidate(number) for number in range(1003)]
    chosen = [one.peer for _ in range(40) for one in choose(rows, known, rng, NOW, size=MIB)[:2]]
    assert set(chosen) <= {peer(0), peer(1), peer(2)}


@given(
    size=st.one_of(st.none(), st.integers(-5, 1 << 50)), count=st.integers(-1, 30), number=st.integers(0, 12),
    events=st.lists(st.tuples(st.sampled_from("adfrl"), st.integers(0, 11)), max_size=40),
)  # fmt: skip
def test_a_choice_is_of_the_candidates_and_its_terms_add_up(
    size: int | None, count: int, number: int, events: list[tuple[str, int]]
) -> None:
    known, rng = reputation(), random.Random(3)
    for kind, who in events:
        match kind:
            case "a":
                known.on_answer(peer(who), NOW, latency=0.1)
            case "d":
                known.on_delivered(peer(who), 1000, NOW)
            case "f":
                known.on_failed(peer(who), NOW)
            case "r":
                known.on_refused(peer(who), NOW)
            case _:
                known.on_lie(peer(who), NOW)
    rows = [candidate(one, load=one * 1000) for one in range(number)]
    chosen = choose(rows, known, rng, NOW, size=size, count=count)
    assert len({one.peer for one in chosen}) == len(chosen) <= max(0, count)
    assert {one.peer for one in chosen} <= {row.provider.peer for row in rows}
    for one in chosen:
        terms = one.queue + one.connect + one.answer + one.transfer + one.risk
        assert one.seconds == pytest.approx(terms)
        assert 0.0 < one.chance <= 1.0


@given(
    lies=st.integers(2, 12), crumbs=st.integers(0, 600), crumb=st.integers(1, 64 * 1024), size=st.integers(0, 1 << 40),
    liar=st.tuples(st.floats(0.0, 10.0), st.floats(1e-3, 1e12)),
    own=st.tuples(st.floats(0.0, 10.0), st.floats(1.0, 1e9)),
    favoured=st.booleans(), affinity=st.floats(0.0, 1.0),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_a_liar_never_outranks_who_is_known_to_be_honest(
    lies: int, crumbs: int, crumb: int, size: int, liar: tuple[float, float], own: tuple[float, float],
    favoured: bool, affinity: float,
) -> None:  # fmt: skip
    """However fast it is, however many small deliveries come between its lies, however near it says that it is."""
    known, now = reputation(), NOW
    for _ in range(lies):
        known.on_lie(peer(1), now)
        for _ in range(crumbs // lies):
            known.on_delivered(peer(1), crumb, now, seconds=1e-6)
        now += 600.0
    known.on_measured(peer(1), now, *liar)
    known.on_delivered(peer(2), MIB, now)
    known.on_measured(peer(2), now, *own)
    rows = [candidate(1, local=True, connected=True, affinity=affinity, rtt=1e-4), candidate(2, load=10 * MIB)]
    chosen = choose(rows, known, random.Random(1), now, size=size, preferred=[peer(1)] if favoured else [])
    assert [one.peer for one in chosen] == [peer(2), peer(1)]
    assert chosen[1].lies


@given(size=st.integers(0, 1 << 34), local=st.booleans(), affinity=st.floats(0.0, 1.0))
def test_a_new_name_gains_nothing_by_what_it_says_of_itself(size: int, local: bool, affinity: float) -> None:
    """Whitewashing: who left as a liar comes back after those known to be good, as fast as strangers are taken for."""
    known = reputation()
    measured(known, 2, 0.15, 2e6)
    rows = [candidate(1, local=local, affinity=affinity), candidate(2)]
    assert choose(rows, known, random.Random(1), NOW, size=size)[0].peer == peer(2)


def test_who_drips_is_known_to_be_slow() -> None:
    known, rng = reputation(), random.Random(1)
    for number in range(20):
        known.on_delivered(peer(1), 1000, NOW + number)
        known.on_measured(peer(1), NOW + number, 0.01, 100.0)
    measured(known, 2, 0.3, 1e5)
    assert choose([candidate(1), candidate(2)], known, rng, NOW + 20, size=MIB)[0].peer == peer(2)
    known.on_measured(peer(3), NOW, None, 5e-324)
    assert choose([candidate(3)], known, rng, NOW, size=MIB)[0].seconds < math.inf


def test_equals_come_by_chance_not_as_they_were_named() -> None:
    known, rng = reputation(), random.Random(1)
    rows = [candidate(number) for number in range(4)]
    first = {choose(rows, known, rng, NOW, count=1)[0].peer for _ in range(100)}
    assert first == {row.provider.peer for row in rows}


def test_a_liar_is_not_asked_because_the_others_failed_lately() -> None:
    known, rng = reputation(), random.Random(1)
    known.on_lie(peer(1), NOW)
    known.on_failed(peer(2), NOW)
    assert [one.peer for one in choose([candidate(1), candidate(2)], known, rng, NOW)] == [peer(2), peer(1)]


def test_affinity_makes_a_provider_more_likely_to_have_it() -> None:
    known = reputation()
    row = known.get(peer(1))
    near, far = (weigh(candidate(1, affinity=value), row, MIB, NOW, known=False) for value in (1.0, 0.0))
    assert near.seconds < far.seconds


# --- affinity, demand, cache ------------------------------------------------------------------------------------------


def test_who_had_one_block_of_a_dag_is_near_to_the_others() -> None:
    affinity = Affinity()
    affinity.relate([b"leaf 1", b"leaf 2"], b"root")
    for _ in range(3):
        affinity.record(peer(1), b"leaf 1", NOW)
    affinity.record(peer(2), b"root", NOW)
    assert affinity.of(peer(1), b"leaf 2", NOW) == 1.0
    assert affinity.holders(b"leaf 2", NOW) == [peer(1), peer(2)]
    assert affinity.of(peer(1), b"other", NOW) == 0.0
    assert affinity.of(peer(1), b"root", NOW + 5 * DAY) < 0.05
    affinity.forget(peer(1), b"leaf 2")
    assert affinity.holders(b"root", NOW) == [peer(2)]


def test_affinity_is_bounded() -> None:
    affinity = Affinity(contents=10, links=20)
    for number in range(100):
        affinity.relate([b"%d" % number], b"root %d" % number)
        for one in range(50):
            affinity.record(peer(one), b"root %d" % number, NOW)
    assert len(affinity) == 10
    assert len(affinity._roots) == 20
    assert len(affinity.holders(b"root 99", NOW)) == AFFINITY_PEERS


def test_what_is_in_demand_is_never_missed_and_fades() -> None:
    demand, rng = Demand(keys=50), random.Random(1)
    for number in range(5000):
        demand.on_wanted(b"hot %d" % (number % 5), NOW + number)
        demand.on_wanted(b"cold %d" % rng.randrange(100_000), NOW + number)
    assert {key for key, _count in demand.most(5, NOW + 5000)} == {b"hot %d" % number for number in range(5)}
    assert len(demand) <= 50
    count = demand.of(b"hot 1", NOW + 5000)
    assert demand.of(b"hot 1", NOW + 5000 + 3600) == pytest.approx(count / 2)


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0.0, 1e8)), max_size=80))
def test_demand_stays_finite_over_any_time(steps: list[tuple[int, float]]) -> None:
    demand, now = Demand(keys=8), NOW
    for key, step in steps:
        now += step
        demand.on_wanted(b"%d" % key, now)
        assert 0.0 <= demand.of(b"%d" % key, now) < 1e6
        assert len(demand) <= 8


def test_finds_are_believed_for_a_while_and_absence_for_less() -> None:
    cache = ProviderCache()
    cache.put(b"a", [provider(1)], NOW)
    cache.put(b"b", [], NOW)
    assert cache.get(b"a", NOW + PROVIDER_CACHE_SECONDS - 1) == (provider(1),)
    assert cache.get(b"b", NOW + PROVIDER_ABSENT_SECONDS - 1) == ()
    assert cache.get(b"b", NOW + PROVIDER_ABSENT_SECONDS) is None
    assert cache.get(b"a", NOW + PROVIDER_CACHE_SECONDS) is None
    assert cache.get(b"c", NOW) is None
    cache.put(b"a", [provider(1), provider(2)], NOW)
    cache.drop(b"a", peer(1))
    assert cache.get(b"a", NOW) == (provider(2),)
    cache.drop(b"a", peer(2))
    assert cache.get(b"a", NOW) is None
    cache.put(b"b", [], NOW)
    cache.forget(b"b")
    assert cache.get(b"b", NOW) is None


def test_the_cache_is_bounded() -> None:
    cache = ProviderCache(keys=10)
    texts = tuple(f"/ip4/192.0.2.1/tcp/{1 + number}" for number in range(100))
    for number in range(100):
        cache.put(b"%d" % number, [provider(one, *texts) for one in range(200)], NOW)
    assert len(cache) == 10
    found = cache.get(b"99", NOW)
    assert found is not None
    assert len(found) == PROVIDER_CACHE_PROVIDERS
    assert all(len(one.addresses) == PROVIDER_CACHE_ADDRESSES for one in found)


# --- all of it --------------------------------------------------------------------------------------------------------


class Around:
    def __init__(self, connected: set[PeerID]) -> None:
        self._connected = connected

    def connected(self) -> set[PeerID]:
        return self._connected

    def rtt(self, _peer: PeerID) -> float | None:
        return 0.02

    def is_local(self, peer_: PeerID) -> bool:
        return peer_ == peer(2)


def test_a_choice_is_explained_term_by_term() -> None:
    now = [NOW]
    known = Providers(Around({peer(1)}), random.Random(1), lambda: now[0])
    known.owed = lambda one: 5_000_000 if one == peer(1) else 0
    for _ in range(5):
        known.update_stats(peer(1), True, latency=0.05, size=MIB, seconds=0.5)
        known.update_stats(peer(3), False)
    rows = [
        provider(1),
        provider(2, "/ip4/192.168.1.2/tcp/1"),
        provider(3),
        provider(4, "/ip4/192.0.2.9/tcp/1/p2p-circuit"),
    ]
    chosen = known.optimal(b"key", rows, size=MIB, count=4)
    assert [one.peer for one in chosen][-1] == peer(4)
    [(key, told)] = known.explained()
    assert (key, told) == (b"key", chosen)
    by = {one.peer: one for one in chosen}
    assert by[peer(1)].queue > 2.0
    assert (by[peer(1)].connect, by[peer(1)].latency) == (0.0, 0.02)
    assert by[peer(2)].local
    assert peer(3) not in by
    assert known.statistics().choices == 1
    assert known.judge(provider(1)).reputation > known.judge(provider(9)).reputation


def test_what_the_exchange_tells_is_remembered_and_used() -> None:
    known = Providers(Around(set()), random.Random(1), lambda: NOW)
    for _ in range(3):
        known.on_delivered(peer(1), b"block", MIB)
        known.on_delivered(peer(2), b"other", MIB)
    known.on_measured(peer(1), 0.05, 3e6)
    known.on_measured(peer(2), 0.05, 9e6)
    known.on_lie(peer(4))
    known.on_silent(peer(5))
    assert known.measured(peer(1)) == (0.05, 3e6)
    assert known.measured(peer(9)) == (None, None)
    everybody = [peer(number) for number in range(1, 8)]
    assert known.prefer(everybody, b"block", 5) == [peer(1), peer(2)]
    assert known.prefer(everybody, b"unknown", 5) == [peer(2), peer(1)]
    assert known.prefer(everybody, b"block", 1) == [peer(1)]
    assert known.doubt(peer(4)) > known.doubt(peer(5)) > known.doubt(peer(1)) == 1.0
    again = Providers(Around(set()), random.Random(1), lambda: NOW)
    assert again.load(known.dump()) == 4
    assert again.measured(peer(1)) == (0.05, 3e6)


def test_a_refusal_ends_what_was_believed_of_a_content() -> None:
    known = Providers(Around(set()), random.Random(1), lambda: NOW)
    known.remember(b"key", [provider(1), provider(2)])
    known.record_affinity(peer(1), b"key")
    known.on_refused(peer(1), b"key")
    assert known.find_cached(b"key") == (provider(2),)
    assert known.affinity.of(peer(1), b"key", NOW) == 0.0
    assert [known.wanted(b"key") for _ in range(3)] == [1.0, 2.0, 3.0]
    assert known.wanted(b"other") == 1.0
