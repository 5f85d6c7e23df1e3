"""Killed while it evicts, promotes, trims or collects garbage, and with many threads and processes at once: nothing
that was acknowledged is lost, and nothing false is served."""

from __future__ import annotations

import os
import random
import select
import signal
from typing import TYPE_CHECKING

import pytest

from ipfs_kit_py.storage.disk import DiskStore
from test.storage.blocks import block
from test.storage.children import CHURN_QUOTA

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from test.storage.conftest import Child

ROUNDS = 40
MAX_MILLISECONDS = 80.0


def one_life(child: Child, seed: int, milliseconds: float) -> list[str]:
    """What a process told until it was killed."""
    child.go_on(str(seed))
    victim = int(child.read().split()[1])
    assert child.process.stdout is not None
    select.select([child.process.stdout], [], [], 10)  # it has opened the store
    select.select([], [], [], milliseconds / 1000)
    os.kill(victim, signal.SIGKILL)
    lines = []
    while (line := child.read()) != "ended":
        lines.append(line)
    return lines


def must_be_there(lines: list[str]) -> list[tuple[int, int]]:
    """Numbers and sizes of the kept blocks that no collection, however far it came, may have taken."""
    kept: list[tuple[int, int]] = []
    for line in lines:
        verb, *numbers = line.split()
        if verb == "kept":
            first, count, size = map(int, numbers)
            kept += [(at, size) for at in range(first, first + count)]
        else:
            kept = kept[-int(numbers[0]) :] if int(numbers[0]) else []
    return kept


@pytest.mark.slow
def test_killed_in_a_full_cache(tmp_path: Path, spawn: Callable[..., Child]) -> None:
    rng, child, evicted = random.Random(7), spawn("churn_nursery", tmp_path), 0
    acknowledged = 0
    for seed in range(1, ROUNDS + 1):
        lines = one_life(child, seed, rng.uniform(0, MAX_MILLISECONDS))
        wanted = [block(*one) for one in must_be_there(lines)]
        acknowledged += len(wanted)
        with DiskStore(tmp_path, quota=CHURN_QUOTA) as store:
            assert store.get_many([cid for cid, _data in wanted]) == [data for _cid, data in wanted]
            checked = list(store.verify())
            assert not [each for each in checked if each.problem]
            found = store.statistics()
            assert found.bytes <= CHURN_QUOTA
            assert (len(checked), sum(each.size for each in checked)) == (found.blocks, found.bytes)
            evicted += found.bytes > CHURN_QUOTA * 8 // 10
            if seed % 10 == 0:
                list(store.sweep(frozenset(), store.mark()))
    assert acknowledged > ROUNDS
    assert evicted > ROUNDS // 4, "the cache was seldom near full: this tested nothing"


def test_64_threads_in_4_processes(tmp_path: Path, spawn: Callable[..., Child]) -> None:
    children = [spawn("crowd", tmp_path, seed, 16) for seed in range(4)]
    assert [child.read() for child in children] == ["ready"] * 4
    for child in children:
        child.go_on()
    for child in children:
        verb, _, number = child.read().partition(" ")
        assert verb == "most", f"{verb} {number}"
        assert int(number) <= CHURN_QUOTA + 4 * 2000
    with DiskStore(tmp_path, quota=CHURN_QUOTA) as store:
        assert not [checked for checked in store.verify() if checked.problem]
        assert store.heat.hottest(1)[0][1] > 1
        found = store.statistics()
        assert found.kept_blocks == 64 * 9, "all that were kept and not deleted"
        assert len(list(store.keys())) == found.blocks
