"""Memory over disk: what is hot, and what happens where the disk has no room."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ipfs_kit_py.core.errors import NotFound, QuotaExceeded
from ipfs_kit_py.storage.disk import DiskStore
from ipfs_kit_py.storage.memory import MemoryStore
from ipfs_kit_py.storage.tiers import TieredStore
from test.storage.blocks import block

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NODE, LEAF = block(1, 500), block(2, 5000)


@pytest.fixture
def tiers(tmp_path: Path) -> Iterator[TieredStore]:
    store = TieredStore(MemoryStore(20_000), DiskStore(tmp_path, quota=30_000), hot_bytes=1000)
    yield store
    store.close()


def hot(store: TieredStore) -> set[bytes]:
    return set(store.memory.keys())


def test_small_blocks_are_hot_when_put(tiers: TieredStore) -> None:
    tiers.put_many([NODE, LEAF], kept=True)
    assert hot(tiers) == {NODE.cid.multihash}
    assert tiers.below.get_many([NODE.cid, LEAF.cid]) == [NODE.data, LEAF.data]


def test_small_blocks_become_hot_when_read(tiers: TieredStore) -> None:
    tiers.below.put_many([NODE, LEAF])
    assert tiers.get_many([LEAF.cid, NODE.cid]) == [LEAF.data, NODE.data]
    assert hot(tiers) == {NODE.cid.multihash}
    before = tiers.below.statistics().hits
    assert tiers.get_many([NODE.cid]) == [NODE.data]
    assert tiers.below.statistics().hits == before
    assert tiers.statistics().hits == before + 1


def test_large_blocks_become_hot_when_they_are_used_often(tmp_path: Path) -> None:
    store = TieredStore(MemoryStore(100_000), DiskStore(tmp_path), hot_bytes=1000)
    huge = block(3, 7000)
    store.put_many([LEAF, huge])
    for turn in range(5):
        assert hot(store) == ({LEAF.cid.multihash} if turn > 2 else set())
        assert store.get_many([LEAF.cid, huge.cid]) == [LEAF.data, huge.data]
    assert hot(store) == {LEAF.cid.multihash}, "one that is too large a part of the memory stays below"
    store.close()


def test_views_of_both_tiers(tiers: TieredStore) -> None:
    tiers.put_many([NODE, LEAF])
    with tiers.view([LEAF.cid, NODE.cid, block(3, 10).cid]) as views:
        assert [None if view is None else bytes(view) for view in views] == [LEAF.data, NODE.data, None]


def test_fetched_blocks_that_the_disk_refuses_stay_in_memory(tiers: TieredStore) -> None:
    tiers.put_many([block(number, 9000) for number in range(10, 13)], kept=True)
    tiers.put_many([LEAF])
    assert tiers.below.has_many([LEAF.cid]) == [False]
    assert tiers.get_many([LEAF.cid]) == [LEAF.data]
    with pytest.raises(QuotaExceeded):
        tiers.put_many([LEAF], kept=True)
    with pytest.raises(QuotaExceeded):
        tiers.put_many([block(5, 25_000)])


def test_promotes_what_is_in_memory_alone(tiers: TieredStore) -> None:
    tiers.memory.put_many([NODE])
    tiers.promote([NODE.cid])
    assert tiers.below.statistics().kept_blocks == 1
    with pytest.raises(NotFound):
        tiers.promote([LEAF.cid])


def test_swept_and_deleted_blocks_leave_memory_too(tiers: TieredStore) -> None:
    tiers.put_many([NODE, LEAF], kept=True)
    assert [len(gone) for gone in tiers.sweep({LEAF.cid.multihash}, tiers.mark())] == [1]
    assert tiers.has_many([NODE.cid, LEAF.cid]) == [False, True]
    tiers.put_many([NODE])
    assert tiers.delete_many([NODE.cid, NODE.cid]) == 1
    assert hot(tiers) == set()


def test_memory_is_bounded(tiers: TieredStore) -> None:
    for number in range(100):
        tiers.put_many([block(number, 900)])
        assert tiers.memory.statistics().bytes <= 20_000
    assert tiers.memory.statistics().bytes > 19_000


def test_memory_that_does_not_evict_refuses() -> None:
    store = MemoryStore(10_000, evict=False)
    store.put_many([block(number, 1000) for number in range(10)])
    with pytest.raises(QuotaExceeded):
        store.put_many([block(11, 1000)])
    assert store.statistics().blocks == 10


def test_kept_blocks_are_never_evicted_whatever_comes() -> None:
    memory = MemoryStore(100_000)
    kept = [block(number, 1000) for number in range(40)]
    memory.put_many(kept, kept=True)
    memory.put_many([block(99, 1000)])
    memory.promote([block(99, 1000).cid])
    for number in range(1000, 3000):
        memory.put_many([block(number, 700 + number % 600)])
        assert memory.statistics().bytes <= 100_000
    assert memory.get_many([cid for cid, _data in kept]) == [data for _cid, data in kept]
    assert memory.policy().budget == 59_000
    memory.delete_many([cid for cid, _data in kept])
    assert memory.policy().budget == 99_000


def test_a_scan_leaves_what_is_used_in_memory() -> None:
    memory = MemoryStore(100_000)
    used = [block(number, 1000) for number in range(40)]
    memory.put_many(used)
    for _ in range(10):
        memory.get_many([cid for cid, _data in used])
    for number in range(1000, 1500):
        memory.put_many([block(number, 1000)])
    assert all(memory.has_many([cid for cid, _data in used]))
