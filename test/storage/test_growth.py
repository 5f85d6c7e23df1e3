"""A stalled reader cannot make the file grow beyond 1.3 times the live bytes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from ipfs_kit_py.core.errors import QuotaExceeded
from ipfs_kit_py.storage.disk import DiskStore
from test.storage.blocks import false_block

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from test.storage.conftest import Child

    Holding = Callable[..., AbstractContextManager[None]]

MIB = 1 << 20
BATCH = 4
MOST = 1.3


def put(store: DiskStore, first: int, count: int, size: int = MIB // 4, *, kept: bool = False) -> int:
    """Churn; how many batches were refused."""
    refused, data = 0, bytes(size)
    for number in range(first, first + count, BATCH):
        blocks = [false_block(at, data) for at in range(number, number + BATCH)]
        try:
            store.put_many(blocks, kept=kept)
        except QuotaExceeded:
            refused += 1
            assert not any(store.has_many([cid for cid, _data in blocks]))
    return refused


def ratio(store: DiskStore) -> float:
    found = store.statistics()
    return found.file_bytes / found.bytes


@pytest.fixture(params=["this process", "another process"])
def holding(request: pytest.FixtureRequest, tmp_path: Path, spawn: Callable[..., Child]) -> Holding:
    @contextmanager
    def hold(store: DiskStore, number: int = 0) -> Iterator[None]:
        if request.param == "this process":
            with store.view([false_block(number, b"").cid]) as views:
                yield
                assert views[0] is not None
                assert bytes(views[0]) == bytes(views[0].nbytes)
        else:
            child = spawn("hold_view", tmp_path, number)
            assert child.read() == "ready"
            yield
            child.go_on()
            assert int(child.read()) > 0
            child.process.wait()

    return hold


@pytest.mark.parametrize("quota", [16 * MIB, 128 * MIB])
def test_churn_under_a_stalled_reader(tmp_path: Path, holding: Holding, quota: int) -> None:
    size = quota // 256
    with DiskStore(tmp_path, quota=quota, stall_seconds=0.01) as store:
        assert put(store, 0, 8, size, kept=True) == 0
        assert put(store, 8, 700, size) == 0
        assert ratio(store) < MOST
        with holding(store, 707):
            assert put(store, 1000, 1000, size) > 100
            assert ratio(store) < MOST
            with pytest.raises(QuotaExceeded, match=r"process \d+ has held a view"):
                store.put_many([false_block(5000, bytes(size))])
        assert put(store, 2000, 1000, size) == 0
        assert ratio(store) < MOST


def test_kept_churn_under_a_stalled_reader(tmp_path: Path, holding: Holding) -> None:
    with DiskStore(tmp_path, quota=1 << 30, stall_seconds=0.01) as store:
        assert put(store, 0, 200, kept=True) == 0
        with holding(store):
            refused = 0
            for start in range(200, 600, BATCH):
                refused += put(store, start, BATCH, kept=True)
                store.delete_many([false_block(at, b"").cid for at in range(start, start + BATCH)])
            assert refused
            assert ratio(store) < MOST
        assert put(store, 1000, 40, kept=True) == 0


def test_growing_stores_need_not_wait_for_readers(tmp_path: Path, holding: Holding) -> None:
    with DiskStore(tmp_path, stall_seconds=0.0) as store:
        put(store, 0, 40)
        with holding(store):
            assert put(store, 100, 400) == 0
            assert put(store, 1000, 400, kept=True) == 0


def test_space_freed_before_the_reader_began_is_used(tmp_path: Path, holding: Holding) -> None:
    with DiskStore(tmp_path, stall_seconds=0.0) as store:
        put(store, 0, 400)
        store.delete_many([false_block(at, b"").cid for at in range(40, 400)])
        put(store, 400, BATCH)
        put(store, 404, BATCH)
        size = store.statistics().file_bytes
        with holding(store):
            assert put(store, 1000, 200) == 0
            assert store.statistics().file_bytes == size


def test_small_blocks_need_not_wait(tmp_path: Path) -> None:
    """They take more of the file than their bytes; that alone stalls nobody."""
    with DiskStore(tmp_path, quota=8 * MIB, stall_seconds=0.0) as store:
        for start in range(0, 12_000, 200):
            with store.view([false_block(start, b"").cid]):
                store.put_many([false_block(at, b"x" * 900) for at in range(start, start + 200)])
        assert store.statistics().refused < 2000


def test_a_view_that_ends_lets_the_writer_go_on(tmp_path: Path, spawn: Callable[..., Child]) -> None:
    with DiskStore(tmp_path, quota=16 * MIB, stall_seconds=60.0) as store:
        put(store, 0, 300, MIB // 16)
        child = spawn("hold_view", tmp_path, 299)
        assert child.read() == "ready"
        child.go_on()  # it ends on its own while we write
        assert put(store, 1000, 1000, MIB // 16) == 0
        assert ratio(store) < MOST


def test_dead_readers_do_not_count(tmp_path: Path, spawn: Callable[..., Child]) -> None:
    with DiskStore(tmp_path, quota=16 * MIB, stall_seconds=0.0) as store:
        put(store, 0, 300, MIB // 16)
        child = spawn("hold_view", tmp_path, 299)
        assert child.read() == "ready"
        child.kill()
        assert put(store, 1000, 1000, MIB // 16) == 0
        assert ratio(store) < MOST
