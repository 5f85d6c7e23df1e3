"""Numbers of finding and fetching."""

from __future__ import annotations

import pytest

from ipfs_kit_py.routing.metrics import Percentiles, RoutingMetrics


def test_nothing_happened():
    counts = RoutingMetrics().counts()
    assert counts.lookups.success_rate == counts.retrievals.success_rate == 0.0
    assert counts.lookups.first == Percentiles(0, None, None, None)


def test_each_search_is_one_of_three():
    metrics = RoutingMetrics()
    metrics.on_lookup(5, 0.2, complete=False)
    metrics.on_lookup(1, 0.0, complete=False, cached=True)
    metrics.on_lookup(0, None, complete=True)
    metrics.on_lookup(0, None, complete=True, cached=True)
    metrics.on_lookup(0, None, complete=False)
    found = metrics.counts().lookups
    assert (found.count, found.succeeded, found.absent, found.failed) == (5, 2, 2, 1)
    assert (found.cache_hits, found.known_absent, found.providers) == (1, 1, 6)
    assert found.success_rate == pytest.approx(0.4)
    assert found.first.count == 2


def test_percentiles_are_those_of_the_times():
    metrics = RoutingMetrics()
    for number in range(1, 101):
        metrics.on_lookup(1, number / 100, complete=False)
    first = metrics.counts().lookups.first
    for share, true in ((first.p50, 0.5), (first.p95, 0.95), (first.p99, 0.99)):
        assert share is not None
        assert true <= share <= 1.1 * true


def test_contents_and_connections():
    metrics = RoutingMetrics()
    metrics.on_retrieved(1000, 0.5, local=False)
    metrics.on_retrieved(24, 0.1, local=True)
    metrics.on_not_retrieved(timed_out=True)
    metrics.on_not_retrieved(too_large=True)
    metrics.on_not_retrieved()
    metrics.on_dial(0.2, ok=True)
    metrics.on_dial(5.0, ok=False)
    found = metrics.counts()
    retrieved = found.retrievals
    assert (retrieved.count, retrieved.succeeded, retrieved.local, retrieved.bytes) == (5, 2, 1, 1024)
    assert (retrieved.failed, retrieved.timed_out, retrieved.too_large) == (1, 1, 1)
    assert retrieved.success_rate == pytest.approx(0.4)
    assert (found.dials.succeeded, found.dials.failed, found.dials.seconds.count) == (1, 1, 1)
