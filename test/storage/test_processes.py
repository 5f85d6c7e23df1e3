"""Several processes on one store, and several stores of one process on one folder."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from ipfs_kit_py.core.errors import StorageError
from ipfs_kit_py.storage.disk import DiskStore
from test.storage.blocks import block, false_block

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from test.storage.conftest import Child

MIB = 1 << 20


@pytest.mark.parametrize("count", [2, 4])
def test_processes_write_at_once(tmp_path: Path, spawn: Callable[..., Child], count: int) -> None:
    children = [spawn("fill", tmp_path, 1000 * number, 256, 1 << 30) for number in range(count)]
    assert [child.read() for child in children] == ["ready"] * count
    for child in children:
        child.go_on()
    assert [child.read().split()[1] for child in children] == ["0"] * count
    with DiskStore(tmp_path) as store:
        numbers = [1000 * child + at for child in range(count) for at in range(256)]
        assert all(store.has_many([false_block(at, b"").cid for at in numbers]))
        found = store.statistics()
        assert (found.blocks, found.bytes) == (256 * count, 65_536 * 256 * count)
        assert found.kept_blocks == 64 * count


def test_writers_together_exceed_the_quota_by_at_most_a_batch(tmp_path: Path, spawn: Callable[..., Child]) -> None:
    quota, batch = 8 * MIB, 8 * 65_536
    children = [spawn("fill", tmp_path, 1000 * number, 320, quota) for number in range(4)]
    for child in children:
        assert child.read() == "ready"
        child.go_on()
    most = [int(child.read().split()[0]) for child in children]
    assert max(most) > quota // 2
    assert max(most) <= quota + batch


def test_one_sees_what_the_other_stores(tmp_path: Path, spawn: Callable[..., Child]) -> None:
    with DiskStore(tmp_path) as store:
        assert not store.has_many([false_block(7, b"").cid])[0]
        child = spawn("fill", tmp_path, 0, 8, 1 << 30)
        child.read()
        child.go_on()
        child.read()
        assert store.sizes([false_block(7, b"").cid]) == [65_536]


def test_a_map_that_another_process_made_larger(tmp_path: Path, spawn: Callable[..., Child]) -> None:
    """The child's map grows in steps while its file does; ours, opened small, follows."""
    with DiskStore(tmp_path, map_bytes=64 * MIB) as store:
        store.put_many([block(1, 1000)], kept=True)
        child = spawn("small_map", tmp_path)
        child.read()
        child.go_on()
        assert child.read() == "grown"
        assert store.sizes([false_block(number, b"").cid for number in (0, 99)]) == [MIB, MIB]
        store.put_many([block(2, 1000)])
        store.put_many([block(3, 1000)], kept=True)
        assert store.has_many([block(number, 1000).cid for number in (1, 2, 3)]) == [True] * 3
        child.go_on()


def test_opening_twice_in_one_process_shares(tmp_path: Path) -> None:
    first = DiskStore(tmp_path / "store")
    (tmp_path / "link").symlink_to(tmp_path / "store")
    second = DiskStore(tmp_path / "link")
    first.put_many([block(1, 1000)], kept=True)
    first.close()
    assert second.get_many([block(1, 1000).cid]) == [block(1, 1000).data]
    second.close()
    with DiskStore(tmp_path / "store") as third:
        assert third.has_many([block(1, 1000).cid]) == [True]


def test_closing_leaves_open_views_alone(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    store.put_many([block(1, 100_000)])
    with store.view([block(1, 100_000).cid]) as views:
        store.close()
        assert views[0] == block(1, 100_000).data
        with pytest.raises(StorageError):
            DiskStore(tmp_path)
    DiskStore(tmp_path).close()


def test_a_block_that_becomes_kept_is_never_out_of_sight(tmp_path: Path) -> None:
    blocks = [block(number, 2000) for number in range(400)]
    with DiskStore(tmp_path) as store, DiskStore(tmp_path) as other:
        store.put_many(blocks)
        cids = [cid for cid, _data in blocks]
        done = threading.Event()
        missing: list[int] = []

        def look() -> None:
            while not done.is_set():
                missing.append(other.has_many(cids).count(False))

        reader = threading.Thread(target=look)
        reader.start()
        for cid in cids:
            store.promote([cid])
        done.set()
        reader.join()
        assert len(missing) > 1
        assert not any(missing)
        assert store.statistics().kept_blocks == 400


def test_a_forked_child_is_told(tmp_path: Path, spawn: Callable[..., Child]) -> None:
    child = spawn("fork", tmp_path)
    assert child.read() == "refused"
    assert child.read() == "parent goes on"


def test_little_address_space(tmp_path: Path, spawn: Callable[..., Child]) -> None:
    """The map is as large as the process may have one."""
    assert spawn("little_address_space", tmp_path).read() == "passed"


def test_holds_of_dead_processes_are_forgotten(tmp_path: Path, spawn: Callable[..., Child]) -> None:
    with DiskStore(tmp_path) as store:
        child = spawn("hold_garbage", tmp_path)
        assert child.read() == "ready"
        list(store.sweep(frozenset(), store.mark()))
        assert store.has_many([block(1, 1000).cid]) == [True]
        child.kill()
        list(store.sweep(frozenset(), store.mark()))
        assert store.has_many([block(1, 1000).cid]) == [False]
        assert not list((tmp_path / "holds").iterdir())
