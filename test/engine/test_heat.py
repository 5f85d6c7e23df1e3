"""Heat: the sum of decayed uses, O(1), whatever the clock does."""

from __future__ import annotations

import random
from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_kit_py.storage.heat import COLDEST, HOTTEST, SIZE_WEIGHT, Heat, Warmth, heat_at, merged, together, worth

DAY = 86_400.0
A, B, C = b"a", b"b", b"c"

times = st.lists(st.floats(0, 100 * DAY), min_size=1, max_size=40).map(sorted)


@given(times, st.floats(0, 40 * DAY))
def test_heat_is_the_sum_of_decayed_uses(uses: list[float], later: float) -> None:
    heat, now = Heat(DAY), uses[-1] + later
    for use in uses:
        heat.on_access([A], use)
    naive = sum(2.0 ** ((use - now) / DAY) for use in uses)
    assert heat.heat_of(A, now) == pytest.approx(naive, rel=1e-6, abs=2.0**COLDEST)


@given(times, times)
def test_what_two_processes_saw_adds_up(ours: list[float], theirs: list[float]) -> None:
    one, other, both = Heat(DAY), Heat(DAY), Heat(DAY)
    for heat, uses in ((one, ours), (other, theirs), (both, sorted(ours + theirs))):
        for use in uses:
            heat.on_access([A], use)
    first, second, whole = one.get(A), other.get(A), both.get(A)
    assert first is not None
    assert second is not None
    assert whole is not None
    when = max(ours[-1], theirs[-1]) / DAY
    assert merged(first, second, when).score == pytest.approx(whole.score, abs=1e-6)
    assert together(first.score, second.score) == together(second.score, first.score)


def test_a_use_counts_half_after_a_half_life() -> None:
    heat = Heat(DAY)
    heat.on_access([A], 0.0)
    assert heat.heat_of(A, 0.0) == 1.0
    assert heat.heat_of(A, DAY) == 0.5
    assert heat.heat_of(B, DAY) == 0.0
    assert heat.heat_of(A, 1000 * DAY) == 0.0


def test_a_clock_that_goes_back_stands_still() -> None:
    heat = Heat(DAY)
    heat.on_access([A], 10 * DAY)
    heat.on_access([B], 2 * DAY)
    assert heat.heat_of(B, 2 * DAY) == heat.heat_of(A, 2 * DAY) == 1.0


def test_a_score_from_the_future_is_cut() -> None:
    """As a clock that was far ahead leaves it."""
    mended = merged(Warmth(1e6), Warmth(10.0), 10.0)
    assert mended.score <= 10.0 + HOTTEST + 1
    assert heat_at(1e6, 10.0) == 2.0**HOTTEST
    assert worth(Warmth(1e6), 100, 10.0) == worth(Warmth(10.0 + HOTTEST), 100, 10.0)


def test_order_is_that_of_heat() -> None:
    heat = Heat(DAY)
    heat.on_access([A, B, C], 0.0)
    heat.on_access([B, C], 1.0)
    heat.on_access([C], 2.0)
    assert [key for key, _heat in heat.hottest(2, 3.0)] == [C, B]
    assert [key for key, _heat in heat.coldest(2, 3.0)] == [A, B]
    assert heat.hottest(1, 2.0)[0][1] == pytest.approx(3.0, abs=1e-4)


def test_worth_is_heat_by_cost_by_size() -> None:
    used = Warmth(5.0, 0.5)
    assert worth(used, 99, 5.0) == pytest.approx(5 - 1 - SIZE_WEIGHT * log2(100))
    assert worth(Warmth(6.0, 0.5), 99, 5.0) == worth(used, 99, 5.0) + 1, "twice as hot"
    assert worth(Warmth(5.0, 1.0), 99, 5.0) == worth(used, 99, 5.0) + 1, "twice as long to fetch"
    assert worth(used, 399, 5.0) == pytest.approx(worth(used, 99, 5.0) - 2 * SIZE_WEIGHT), "four times as large"
    assert worth(None, 99, 5.0) < worth(Warmth(-20.0), 99, 5.0)


def test_fetching_is_no_use_but_tells_the_cost() -> None:
    heat = Heat(DAY)
    heat.on_fetched([A], 2.0, 0.0)
    assert heat.heat_of(A, 0.0) == 0.0
    heat.on_access([A], 0.0)
    assert heat.heat_of(A, 0.0) == pytest.approx(1.0)
    found = heat.get(A)
    assert found is not None
    assert found.cost == 2.0


def test_it_is_bounded_and_forgets_the_coldest() -> None:
    heat, rng = Heat(DAY, most=800), random.Random(1)
    for at in range(10_000):
        heat.on_access([b"hot", b"%d" % rng.randrange(5000)], float(at))
        assert len(heat) <= 800
    assert heat.heat_of(b"hot", 10_000.0) > 9000
    assert heat.statistics().keys == len(heat)
    assert repr(heat) == f"<Heat of {len(heat)} blocks, half-life 86400 s>"


def test_what_is_taken_is_no_longer_there() -> None:
    heat = Heat(DAY)
    heat.on_access([A], 0.0)
    assert list(heat.take()) == [A]
    assert len(heat) == 0
