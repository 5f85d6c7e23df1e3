"""Percentiles in buckets."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from ipfs_kit_py.core.histogram import Histogram


def test_an_empty_histogram_has_no_quantile() -> None:
    assert Histogram().quantile(0.5) is None


@given(st.lists(st.floats(2e-6, 4000.0), min_size=1, max_size=200), st.sampled_from([0.01, 0.5, 0.95, 0.99, 1.0]))
def test_a_quantile_is_at_most_a_bucket_above_the_true_one(values: list[float], q: float) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    true = sorted(values)[max(0, -int(-q * len(values) // 1) - 1)]
    found = histogram.quantile(q)
    assert found is not None
    assert true * 0.999 <= found <= true * 1.1


def test_what_is_out_of_range_goes_to_the_ends() -> None:
    histogram = Histogram()
    histogram.add(0.0)
    histogram.add(-1.0)
    histogram.add(1e9, times=3)
    assert histogram.count == 5
    assert (histogram.quantile(0.2) or 1) < 1e-5
    assert (histogram.quantile(1.0) or 0) > 3600


def test_many_at_once_count_as_many() -> None:
    rng = random.Random(1)
    one, other = Histogram(), Histogram()
    for _ in range(100):
        value = rng.expovariate(10)
        one.add(value, times=4)
        for _ in range(4):
            other.add(value)
    assert [one.quantile(q) for q in (0.1, 0.5, 0.9)] == [other.quantile(q) for q in (0.1, 0.5, 0.9)]
