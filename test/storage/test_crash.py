"""Killed at any moment, a store loses no acknowledged block and serves no torn one."""

from __future__ import annotations

import os
import random
import select
import signal
from typing import TYPE_CHECKING

import pytest

from ipfs_kit_py.storage.disk import DiskStore
from test.storage.blocks import block
from test.storage.children import WRITERS_QUOTA

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from test.storage.conftest import Child

ROUNDS = 200
MAX_MILLISECONDS = 60.0  # how long a writer lives at most: some tens of transactions

Acknowledged = list[tuple[str, int, int, int]]  # kind, first number, count, size


def check(store: DiskStore, acknowledged: Acknowledged) -> None:
    for kind, number, count, size in acknowledged:
        wanted = [block(at, size) for at in range(number, number + count)]
        cids = [cid for cid, _data in wanted]
        assert store.get_many(cids) == [data for _cid, data in wanted]
        if kind == "pin":
            pin = store.pins.get(cids[0])
            assert pin is not None
            assert pin.name == str(number)


def one_life(child: Child, seed: int, milliseconds: float) -> Acknowledged:
    """A writer's acknowledgements until it was killed."""
    child.go_on(str(seed))
    victim = int(child.read().split()[1])
    assert child.process.stdout is not None
    poller = select.poll()
    poller.register(child.process.stdout, select.POLLIN)
    poller.poll(1000 * 10)  # its first acknowledgement: it has opened the store
    lines = []
    select.select([], [], [], milliseconds / 1000)
    os.kill(victim, signal.SIGKILL)
    while (line := child.read()) != "ended":
        kind, *numbers = line.split()
        lines.append((kind, *map(int, numbers)))
    return lines  # type: ignore[return-value]


@pytest.mark.slow
def test_killed_200_times(tmp_path: Path, spawn: Callable[..., Child]) -> None:
    rng = random.Random(2025)
    child = spawn("nursery", tmp_path)
    everything: Acknowledged = []
    for seed in range(1, ROUNDS + 1):
        acknowledged = one_life(child, seed, rng.uniform(0, MAX_MILLISECONDS))
        assert acknowledged
        everything += acknowledged
        with DiskStore(tmp_path, quota=WRITERS_QUOTA) as store:
            check(store, acknowledged)
            assert not [checked for checked in store.verify() if checked.problem]
        if seed % 10 == 0:  # the quota must not fill: begin with an empty store
            with DiskStore(tmp_path, quota=WRITERS_QUOTA) as store:
                check(store, everything)
                list(store.sweep(frozenset(), store.mark()))
                found = store.statistics()
                assert (found.blocks, found.bytes) == (0, 0)
            everything.clear()
