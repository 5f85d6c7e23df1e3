from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_kit_py.core.config import OPTIMISTIC_CERTAINTY
from ipfs_kit_py.routing.kad_wire import PeerInfo
from ipfs_kit_py.routing.keys import kad_key
from ipfs_kit_py.routing.optimistic import Optimistic, Store, near_share
from test.engine.kad_world import near_to, peer_id
from test.engine.sweep_world import SweepWorld, multihash


def test_the_distance_is_that_of_the_gamma_distribution() -> None:
    """As go's ``mathext.GammaIncRegInv(20, 0.1)`` has it."""
    assert near_share(20, 0.9) == pytest.approx(14.525, abs=0.005)
    assert near_share(1, 0.5) == pytest.approx(0.6931, abs=0.001)
    assert near_share(20, 0.5) == pytest.approx(19.668, abs=0.005)


@given(st.integers(20, 2_000), st.integers(0, 1 << 32))
def test_those_who_are_told_are_the_closest_and_few_others(size: int, seed: int) -> None:
    world = SweepWorld(size, seed, even=False)
    target = kad_key(multihash(world.rng))
    engine, told = Optimistic(target, float(size)), []
    everybody = list(world.infos.values())
    world.rng.shuffle(everybody)
    for info in everybody:
        engine.on_answered(info)
    engine.on_closest(world.closest(target))
    while isinstance(action := engine.next_action(), Store):
        told.append(action.info)
        engine.on_stored(action.info.peer)
    assert engine.finished
    assert len({info.peer for info in told}) == len(told) <= 40
    assert {info.peer for info in world.closest(target)} <= {info.peer for info in told}


def test_most_early_ones_are_among_the_closest() -> None:
    world, early, wrong, keys = SweepWorld(3_000, 1), 0, 0, 300
    for _ in range(keys):
        target = world.rng.getrandbits(256)
        engine, closest = Optimistic(target, 3_000.0), {info.peer for info in world.closest(target)}
        for info in world.infos.values():
            engine.on_answered(info)
        while isinstance(action := engine.next_action(), Store):
            early += 1
            wrong += action.info.peer not in closest
    assert early / keys == pytest.approx(14.5, abs=0.6)
    assert wrong / early < 1 - OPTIMISTIC_CERTAINTY


def test_the_caller_has_its_answer_when_half_are_told() -> None:
    world = SweepWorld(1_000, 1)
    target = world.rng.getrandbits(256)
    engine, closest = Optimistic(target, 1_000.0), world.closest(target)
    for count, info in enumerate(closest[:12], 1):
        engine.on_answered(info)
        action = engine.next_action()
        assert action == Store(info)
        assert engine.next_action() is None
        engine.on_stored(info.peer)
        assert engine.enough == (count >= 10)
    engine.on_closest(closest)
    assert not engine.finished
    rest = [engine.next_action() for _ in range(8)]
    assert rest == [Store(info) for info in closest[12:]]
    for info in closest[12:]:
        assert not engine.finished
        engine.on_failed(info.peer)
    assert engine.finished
    assert (engine.statistics().told, engine.statistics().early, engine.statistics().failed) == (12, 12, 8)


def test_without_an_estimate_nobody_is_told_early() -> None:
    rng = random.Random(0)
    engine, info = Optimistic(rng.getrandbits(256), None), PeerInfo(peer_id(rng))
    engine.on_answered(info)
    assert engine.next_action() is None
    engine.on_closest([info])
    assert engine.next_action() == Store(info)


def test_nobody_there_is_an_end() -> None:
    engine = Optimistic(0, None)
    engine.on_closest([])
    assert engine.finished
    assert engine.enough
    assert engine.told == 0


def test_a_crowd_around_the_key_gets_no_more_than_k_early() -> None:
    rng = random.Random(0)
    target = rng.getrandbits(256)
    engine = Optimistic(target, 100.0)
    for _ in range(100):
        engine.on_answered(PeerInfo(near_to(target, 6, rng)))
    assert sum(engine.next_action() is not None for _ in range(100)) == 20
