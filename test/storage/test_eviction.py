"""What leaves the disk: the coldest of the oldest, in the background, and never what is kept or read in place."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from ipfs_kit_py.core.config import STORE_HIGH_WATER, STORE_LOW_WATER
from ipfs_kit_py.core.errors import NotRunning
from ipfs_kit_py.storage.base import TierState
from ipfs_kit_py.storage.disk import DiskStore
from ipfs_kit_py.storage.leases import Leases
from test.storage.blocks import block, false_block

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ipfs_kit_py.core.cid import Block

QUOTA, SIZE = 200_000, 2000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DiskStore]:
    with DiskStore(tmp_path, quota=QUOTA) as made:
        yield made


def put(store: DiskStore, first: int, count: int, size: int = SIZE) -> list[Block]:
    blocks = [block(number, size) for number in range(first, first + count)]
    for one in blocks:
        store.put_many([one])
    return blocks


def here(store: DiskStore, blocks: list[Block]) -> int:
    return sum(store.has_many([cid for cid, _data in blocks]))


def read(store: DiskStore, blocks: list[Block], times: int = 3) -> None:
    for _ in range(times):
        assert None not in store.get_many([cid for cid, _data in blocks])


def test_hot_blocks_outlive_newer_cold_ones(store: DiskStore) -> None:
    hot = put(store, 0, 40)
    read(store, hot)
    put(store, 1000, 400)
    assert here(store, hot) == 40


def test_heat_of_another_time_counts(tmp_path: Path) -> None:
    with DiskStore(tmp_path, quota=QUOTA) as first:
        hot = put(first, 0, 20)
        read(first, hot)
    with DiskStore(tmp_path, quota=QUOTA) as second:
        cold = put(second, 100, 80)
        put(second, 1000, 60)
        assert here(second, hot) == 20
        assert here(second, cold) < 40


def test_what_was_hot_goes_when_others_are_hotter(store: DiskStore) -> None:
    old = put(store, 0, 100)
    read(store, old, 2)
    fresh = []
    for number in range(1000, 1050):
        fresh += put(store, number, 1)
        read(store, fresh[-1:], 5)
    put(store, 2000, 200)
    assert here(store, fresh) > here(store, old)


def test_what_takes_long_to_fetch_stays_longer(store: DiskStore) -> None:
    blocks = put(store, 0, 100)
    dear, cheap = blocks[::2], blocks[1::2]
    store.heat.on_fetched([cid.multihash for cid, _data in dear], 30.0)
    store.heat.on_fetched([cid.multihash for cid, _data in cheap], 0.01)
    read(store, blocks, 1)
    put(store, 1000, 40)
    assert here(store, dear) > here(store, cheap)


def test_of_blocks_used_alike_the_larger_one_goes(store: DiskStore) -> None:
    small, large = put(store, 0, 50, 200), put(store, 100, 18, 10_000)
    read(store, small + large, 1)
    put(store, 1000, 10, 10_000)
    assert here(store, small) == 50
    assert here(store, large) < 18


def test_trimming_goes_from_the_high_water_to_the_low_one(store: DiskStore) -> None:
    put(store, 0, 90)
    assert store.trim() == 0
    put(store, 90, 9)
    assert store.statistics().bytes > STORE_HIGH_WATER * QUOTA
    assert store.tiers()[0].state is TierState.FULL
    before = store.mark().fetched
    gone = store.trim()
    found = store.statistics()
    assert (STORE_LOW_WATER - 0.04) * QUOTA < found.bytes <= STORE_LOW_WATER * QUOTA
    assert gone == found.evicted == 9
    assert store.mark().fetched - before > 1, "in more than one transaction"
    assert store.tiers()[0].state is TierState.OPEN
    put(store, 1000, 5)
    assert store.statistics().evicted == 9, "there was room"


def test_trimming_takes_nothing_that_is_kept(store: DiskStore) -> None:
    kept = [block(number, SIZE) for number in range(97)]
    store.put_many(kept, kept=True)
    put(store, 1000, 3)
    assert store.trim() <= 3
    assert here(store, kept) == 97


def test_what_is_read_in_place_is_not_trimmed(tmp_path: Path, store: DiskStore) -> None:
    blocks = put(store, 0, 99)
    with Leases(tmp_path) as reader, reader.lease([cid for cid, _data in blocks[:30]]) as views:
        assert None not in views
        assert store.trim() == 9
        assert here(store, blocks[:30]) == 30
        assert [bytes(view) for view in views if view is not None] == [data for _cid, data in blocks[:30]]


def test_trimming_stops_neither_writers_nor_readers(tmp_path: Path) -> None:
    quota, data, failures, done = 8 << 20, bytes(16_384), list[BaseException](), threading.Event()
    with DiskStore(tmp_path, quota=quota) as store:
        kept = block(1, 50_000)
        store.put_many([kept], kept=True)

        def trim() -> None:
            try:
                while not done.is_set():
                    store.trim()
                    assert store.get_many([kept.cid]) == [kept.data]
            except BaseException as error:  # noqa: BLE001 - told to the main thread
                failures.append(error)

        threads = [threading.Thread(target=trim) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            for number in range(0, 3000, 8):
                batch = [false_block(at, data) for at in range(number, number + 8)]
                store.put_many(batch)
                assert store.has_many([batch[-1].cid]) == [True]
                assert store.statistics().bytes <= quota
        finally:
            done.set()
            for thread in threads:
                thread.join()
        assert not failures
        assert store.trim() >= 0
        assert store.statistics().bytes <= STORE_HIGH_WATER * quota


def test_tiers_count_and_time_what_they_are_asked_for(store: DiskStore) -> None:
    blocks = put(store, 0, 10)
    read(store, blocks, 4)
    store.get_many([block(99, SIZE).cid])
    (found,) = store.tiers()
    assert (found.name, found.hits, found.misses, found.served_bytes) == ("disk", 40, 1, 40 * SIZE)
    assert (found.blocks, found.bytes, found.quota) == (10, 10 * SIZE, QUOTA)
    assert found.p50 is not None
    assert found.p99 is not None
    assert 0 < found.p50 <= found.p99
    store.close()
    with pytest.raises(NotRunning):
        store.tiers()
