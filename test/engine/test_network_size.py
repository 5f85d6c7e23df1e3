from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_kit_py.core.config import SIZE_LOOKUPS, SIZE_MAX_SECONDS, SIZE_MIN_LOOKUPS
from ipfs_kit_py.routing.keys import kad_key
from ipfs_kit_py.routing.network_size import NetworkSize
from test.engine.sweep_world import SweepWorld


def measured(world: SweepWorld, size: NetworkSize, lookups: int, now: float = 0.0) -> None:
    for _ in range(lookups):
        target = world.rng.getrandbits(256)
        size.on_closest(target, [kad_key(info.peer.raw) for info in world.closest(target)], now)


@pytest.mark.parametrize("peers", [100, 3_000, 20_000])
def test_many_lookups_tell_the_size_within_a_tenth(peers: int) -> None:
    size = NetworkSize()
    measured(SweepWorld(peers, 1), size, SIZE_LOOKUPS)
    assert size.estimate() == pytest.approx(peers, rel=0.1)


@given(st.integers(1, 19), st.integers(1, 200), st.integers(0, 1 << 32))
def test_a_small_network_is_counted(peers: int, lookups: int, seed: int) -> None:
    size = NetworkSize()
    measured(SweepWorld(peers, seed, even=False), size, lookups)
    assert size.estimate() == peers


def test_too_little_is_nothing() -> None:
    world, size = SweepWorld(500, 1), NetworkSize()
    assert size.estimate() is None
    measured(world, size, SIZE_MIN_LOOKUPS - 1)
    assert size.estimate() is None
    assert not size.on_closest(0, [], 0.0)
    assert size.estimate() is None


def test_a_key_that_was_surrounded_hardly_counts() -> None:
    world, size = SweepWorld(2_000, 1), NetworkSize()
    measured(world, size, SIZE_LOOKUPS)
    size.on_closest(0, range(20), 0.0)
    assert size.estimate() == pytest.approx(2_000, rel=0.12)


def test_few_answers_are_all_where_they_come_from_everywhere() -> None:
    world, size = SweepWorld(2_000, 1), NetworkSize()
    measured(world, size, 10)
    target = world.rng.getrandbits(256)
    near = [kad_key(info.peer.raw) for info in world.closest(target)]
    assert not size.on_closest(target, near[:5], 0.0)  # fifteen were silent, or all are of one network
    assert not size.on_closest(target ^ 1, near[:1], 0.0)
    assert size.estimate() == pytest.approx(2_000, rel=0.25)
    assert size.on_closest(target ^ 2, [target ^ 1 << 255], 0.0)  # the network is another one now
    assert size.estimate() == 1
    measured(world, size, 10)
    assert size.estimate() == pytest.approx(2_000, rel=0.25)


def test_a_lookup_that_is_told_of_twice_counts_once() -> None:
    size = NetworkSize()
    for _ in range(SIZE_MIN_LOOKUPS):
        assert not size.on_closest(0, [1 << 250] * 20, 0.0)
    assert size.estimate() is None


def test_what_is_old_is_forgotten() -> None:
    size = NetworkSize()
    measured(SweepWorld(500, 1), size, 10)
    assert size.estimate(SIZE_MAX_SECONDS) is not None
    assert size.estimate(SIZE_MAX_SECONDS + 1.0) is None


def test_no_more_than_the_last_are_kept() -> None:
    size = NetworkSize()
    measured(SweepWorld(100, 1), size, 500)
    measured(SweepWorld(3_000, 1), size, SIZE_LOOKUPS)
    assert size.estimate() == pytest.approx(3_000, rel=0.1)
