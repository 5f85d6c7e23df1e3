"""Which blocks of the memory tier make room: never too many bytes, scans pass through, and the books are true."""

from __future__ import annotations

import random
from math import inf, log2

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipfs_kit_py.core.config import POLICY_MAX_GHOSTS
from ipfs_kit_py.core.errors import QuotaExceeded
from ipfs_kit_py.storage.arc import ARMS, WINDOW_SHARE, AdaptiveReplacement
from ipfs_kit_py.storage.ranks import BEGIN, FORGOTTEN, MIN_LENGTH, MORE_GHOSTS, Arm, Shelf


def key(number: int) -> bytes:
    return b"\x12\x20" + number.to_bytes(32, "big")


def use(policy: AdaptiveReplacement, number: int, size: int = 100) -> bool:
    """A use of a block, fetched where it is not here; whether it was."""
    if policy.reuse(key(number)):
        return True
    policy.add(key(number), size)
    return False


def steps(seed: int, count: int, names: int) -> list[int]:
    """Requests, a few names much more often than the others."""
    rng = random.Random(seed)
    return [min(int(rng.paretovariate(0.8)), names) for _ in range(count)]


STEP = st.tuples(st.sampled_from(["use", "use", "use", "batch", "remove", "resize"]), st.integers(0, 60))


@settings(deadline=None, max_examples=150)
@given(st.lists(STEP, max_size=120), st.lists(st.integers(0, 500), min_size=61, max_size=61))
def test_its_books_are_those_of_a_plain_model(script: list[tuple[str, int]], sizes: list[int]) -> None:
    policy, budget = AdaptiveReplacement(2000), 2000
    model: dict[bytes, int] = {}
    for what, number in script:
        name, size = key(number), sizes[number]
        going: list[bytes] = []
        if what == "remove":
            assert policy.remove(name) == (model.pop(name, None) is not None)
        elif what == "resize":
            budget = 50 * number
            going = policy.resize(budget)
        elif what == "batch":
            batch = {key(each): sizes[each] for each in range(number, min(number + 4, 61))}
            again = [each for each in batch if each in model]
            fresh = [(each, size) for each, size in batch.items() if each not in model]
            if sum(batch.values()) > budget:
                with pytest.raises(QuotaExceeded):
                    policy.add_many(fresh, again)
            else:
                going = policy.add_many(fresh, again)
                assert not batch.keys() & set(going)
                model.update(fresh)
        elif policy.reuse(name) != (name in model):
            raise AssertionError("it and the model disagree on what is here")
        elif name not in model:
            if size > budget:
                with pytest.raises(QuotaExceeded):
                    policy.add(name, size)
            else:
                going = policy.add(name, size)
                assert name not in going
                model[name] = size
        assert len(set(going)) == len(going)
        for each in going:
            del model[each]
        assert set(policy) == model.keys()
        assert policy.used == sum(model.values()) <= budget
        found = policy.statistics()
        assert 0 <= found.window_bytes <= found.used
        assert (found.blocks, len(policy), policy.budget) == (len(model), len(model), budget)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=200), st.sampled_from([1.0, 4.0, 16.0, inf]))
def test_scores_are_sums_of_decayed_uses(uses: list[int], half_life: float) -> None:
    shelf = Shelf(10_000, Arm(half_life))
    for number in uses:
        if shelf.reuse(key(number)) is None:
            shelf.settle(shelf.enter(key(number), 100))
    step = 1.0 / (half_life * MIN_LENGTH)
    for name, entry in shelf.entries.items():
        naive = sum(2.0 ** (at * step) for at, number in enumerate(uses, 1) if key(number) == name)
        assert entry.score - BEGIN == pytest.approx(log2(naive), abs=2.0**FORGOTTEN * len(uses))


def test_a_scan_leaves_what_is_used_where_it_is() -> None:
    policy = AdaptiveReplacement(100 * 100)
    for _ in range(20):
        for number in range(50):
            use(policy, number)
    for number in range(1000, 2000):
        use(policy, number)
    assert sum(key(number) in policy for number in range(50)) >= 48


def test_a_loop_longer_than_the_cache_still_hits() -> None:
    """LRU never does."""
    policy = AdaptiveReplacement(200 * 100)
    hits = [use(policy, number % 250) for number in range(250 * 120)]
    assert sum(hits[-2500:]) > 0.6 * 2500


def test_what_was_popular_makes_way_when_that_changes() -> None:
    policy = AdaptiveReplacement(100 * 100)
    for number in steps(1, 20_000, 90):
        use(policy, number)
    hits = [use(policy, 1000 + number) for number in steps(2, 20_000, 90)]
    assert sum(hits[-5000:]) > 0.95 * 5000


def test_of_blocks_used_alike_the_larger_one_goes() -> None:
    policy = AdaptiveReplacement(10_000)
    for _ in range(3):
        for number in range(20):
            use(policy, number, 20)
        for number in range(20, 24):
            use(policy, number, 1900)
    for number in range(100, 200):
        use(policy, number, 150)
        use(policy, number, 150)
    assert all(key(number) in policy for number in range(20))
    assert not all(key(number) in policy for number in range(20, 24))


def test_no_more_ghosts_than_blocks_and_a_few() -> None:
    policy = AdaptiveReplacement(50 * 100)
    for number in range(20_000):
        use(policy, number)
        found = policy.statistics()
        assert found.ghosts <= 2 * (found.blocks + MORE_GHOSTS + 1)
    assert found.ghosts > found.blocks
    assert 2 * (found.blocks + MORE_GHOSTS + 1) < POLICY_MAX_GHOSTS


def test_one_that_comes_back_is_known_by_its_ghost() -> None:
    shelf = Shelf(10 * 100, Arm(16.0))
    for number in range(11):
        shelf.access(key(number), 100)
    gone = next(number for number in range(11) if key(number) not in shelf.entries)
    assert shelf.enter(key(gone), 100).returning
    assert not shelf.enter(key(999), 100).returning


def test_trials_begin_when_there_is_enough_to_try_and_cost_little() -> None:
    policy = AdaptiveReplacement(200 * 100)
    assert policy.statistics().trials == 0
    for number in steps(3, 30_000, 5000):
        use(policy, number)
    found = policy.statistics()
    assert found.trials == len(ARMS)
    assert found.sampled >= 4
    assert found.window_bytes <= WINDOW_SHARE * found.budget


def test_removed_blocks_do_not_stay_in_queues() -> None:
    """Else what is put and deleted all the time would fill the memory."""
    policy = AdaptiveReplacement(1 << 30)
    for number in range(5000):
        use(policy, number)
        assert policy.remove(key(number))
    queued = len(policy._window) + sum(map(len, policy._shelf._queues.values()))
    assert queued <= 4 * MIN_LENGTH


def test_one_larger_than_all_is_refused_and_nothing_changes() -> None:
    policy = AdaptiveReplacement(1000)
    use(policy, 1)
    with pytest.raises(QuotaExceeded, match="1001 bytes"):
        policy.add(key(2), 1001)
    assert list(policy) == [key(1)]
    assert repr(policy) == "<AdaptiveReplacement 1 blocks, 100 of 1000 bytes, half-life 1024>"
