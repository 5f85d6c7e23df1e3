"""The store in shared memory: where it lies, how it ends, and that it stays small. What it does is in the conformance
suite."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ipfs_kit_py.core.config import SHM_SLACK, STORE_GROWTH_FLOOR
from ipfs_kit_py.core.errors import BlockLeased, ConfigError
from ipfs_kit_py.storage.disk import DiskStore
from ipfs_kit_py.storage.leases import Leases
from ipfs_kit_py.storage.shm import SHARED_MEMORY, SharedMemoryStore, prefix, reap
from ipfs_kit_py.storage.tiers import TieredStore
from test.storage.blocks import block

if TYPE_CHECKING:
    from collections.abc import Callable

    from test.storage.conftest import Child

MIB = 1 << 20


def folders(parent: Path) -> list[Path]:
    return sorted(parent.glob(prefix() + "*"))


def test_it_lies_in_shared_memory_and_ends_when_it_closes() -> None:
    store = SharedMemoryStore(MIB)
    assert store.path.parent == SHARED_MEMORY
    assert store.path.stat().st_mode & 0o777 == 0o700
    assert (store.path / "format").exists()
    store.put_many([block(1, 5000)])
    with store.view([block(1, 5000).cid]) as views:
        store.close()
        store.close()
        assert views[0] == block(1, 5000).data
    assert not store.path.exists()


def test_two_of_one_process_have_each_their_own(tmp_path: Path) -> None:
    with SharedMemoryStore(MIB, parent=tmp_path) as one, SharedMemoryStore(MIB, parent=tmp_path) as other:
        one.put_many([block(1, 5000)])
        assert other.has_many([block(1, 5000).cid]) == [False]
        assert folders(tmp_path) == sorted([one.path, other.path])
    assert folders(tmp_path) == []


def test_those_of_dead_processes_are_removed(tmp_path: Path, spawn: Callable[..., Child]) -> None:
    dead, living = spawn("shared_memory", tmp_path), spawn("shared_memory", tmp_path)
    dead_path, living_path = Path(dead.read()), Path(living.read())
    dead.kill()
    assert dead_path.exists()
    with SharedMemoryStore(MIB, parent=tmp_path) as store:
        assert folders(tmp_path) == sorted([living_path, store.path])
        with DiskStore(living_path) as same:
            assert same.get_many([block(1, 5000).cid]) == [block(1, 5000).data]
    living.go_on()
    assert living.read() == "closed"
    assert folders(tmp_path) == []


def test_only_folders_of_ours_are_removed(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / (prefix() + "file")).write_bytes(b"")
    (tmp_path / (prefix() + "link")).symlink_to(elsewhere)
    (tmp_path / (prefix() + "dead")).mkdir()
    assert reap(tmp_path) == 1
    assert sorted(os.listdir(tmp_path)) == sorted(["elsewhere", prefix() + "file", prefix() + "link", "other"])


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    space = os.statvfs(tmp_path)
    with pytest.raises(ConfigError, match="larger"):
        SharedMemoryStore(space.f_blocks * space.f_frsize // 2, parent=tmp_path)
    with pytest.raises(ConfigError, match="missing"):
        SharedMemoryStore(MIB, parent=tmp_path / "nowhere")
    assert folders(tmp_path) == []


def test_the_files_stay_small(tmp_path: Path) -> None:
    with SharedMemoryStore(8 * MIB) as store:
        for number in range(400):
            store.put_many([block(number, 100_000)])
        for number in range(5000):
            store.put_many([block(number, 100)])
        found = store.statistics()
        assert found.bytes <= 8 * MIB
        assert found.evicted > 300
        assert found.file_bytes <= 8 * MIB * SHM_SLACK + STORE_GROWTH_FLOOR


def test_leases_hold_there_too() -> None:
    with SharedMemoryStore(MIB) as store, Leases(store.path) as leases:
        kept, fetched = block(1, 50_000), block(2, 50_000)
        store.put_many([kept], kept=True)
        store.put_many([fetched, block(3, 50_000)])
        keys = [entry.cid.multihash for entry in (kept, fetched, block(3, 50_000), block(4, 1))]
        with leases.lease([kept.cid, fetched.cid]) as views:
            for number in range(100, 150):
                store.put_many([block(number, 50_000)])
            assert views == [kept.data, fetched.data]
            with pytest.raises(BlockLeased):
                store.delete_many([kept.cid])
            assert store.discard(keys) == 0
        assert store.discard(keys) == 2
        assert store.discard(keys) == 0


def test_leased_blocks_of_both_tiers(tmp_path: Path) -> None:
    entries = [block(number, 5000) for number in range(3)]
    cids = [cid for cid, _data in entries]
    memory, disk = SharedMemoryStore(MIB), DiskStore(tmp_path)
    store = TieredStore(memory, disk)
    store.put_many(entries)
    with Leases(memory.path) as above, Leases(tmp_path) as below:
        with above.lease([cids[0]]) as high, below.lease([cids[1]]) as low:
            assert store.cool(cids[:1]) == (1, 5000)
            with pytest.raises(BlockLeased):
                store.delete_many(cids)
            assert memory.has_many(cids) == [True, False, False]
            assert disk.has_many(cids) == [False, True, False]
            assert (high[0], low[0]) == (entries[0].data, entries[1].data)
        assert store.delete_many(cids) == 2
    store.close()
