"""Leases: blocks that are read in place stay until they are left, their time is over, or their reader is dead."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_kit_py.core.config import LEASE_KEY_BYTES, LEASE_KEYS, LEASE_MAX_FILES, LEASE_MAX_SECONDS
from ipfs_kit_py.core.errors import BlockLeased, LeaseLost, LocalError, NotFound, NotRunning, QuotaExceeded
from ipfs_kit_py.storage import leases_layout as layout
from ipfs_kit_py.storage.base import Problem
from ipfs_kit_py.storage.disk import DiskStore
from ipfs_kit_py.storage.leases import LeaseFile, Leases
from test.storage.blocks import block

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ipfs_kit_py.core.cid import Block
    from ipfs_kit_py.storage.blocktable import Txn
    from test.storage.conftest import Child

SIZE = 100_000
QUOTA = 1_000_000
FIRST, SECOND = block(1, SIZE), block(2, SIZE)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DiskStore]:
    with DiskStore(tmp_path, quota=QUOTA) as store:
        yield store


@pytest.fixture
def leases(tmp_path: Path, store: DiskStore) -> Iterator[Leases]:
    with Leases(tmp_path) as leases:
        yield leases


def press(store: DiskStore, count: int = 40) -> None:
    """Put many times what the quota takes."""
    for number in range(1000, 1000 + count):
        store.put_many([block(number, SIZE)])


def has(store: DiskStore, *blocks: object) -> list[bool]:
    return store.has_many([entry.cid for entry in blocks])  # type: ignore[attr-defined]


def names(store: DiskStore) -> list[str]:
    return sorted(name for name in os.listdir(store.path / layout.FOLDER) if name != layout.STAMPS)


# --- what they hold off -----------------------------------------------------------------------------------------------


def test_eviction_leaves_leased_blocks(store: DiskStore, leases: Leases) -> None:
    store.put_many([FIRST, SECOND])
    lease = leases.lease([FIRST.cid, block(9, SIZE).cid])
    with lease as views:
        assert views[1] is None
        press(store)
        assert has(store, FIRST, SECOND) == [True, False]
        assert views[0] == FIRST.data
        lease.check()
    assert names(store) == []
    assert store.delete_many([FIRST.cid]) == 1
    assert store.statistics().open_views == 0


def test_leases_do_not_hold_the_file_up(store: DiskStore, leases: Leases) -> None:
    """A view of the same length would: what is freed after it began cannot be used again."""
    store.put_many([FIRST])
    press(store, 20)
    with leases.lease([block(1019, SIZE).cid]) as views:
        size = store.statistics().file_bytes
        press(store, 100)
        assert views[0] == block(1019, SIZE).data
        assert store.statistics().file_bytes < size + 4_000_000
        assert not store._use().fetched.environment.lagging(store._use().fetched.environment.last_txn)


def test_deletion_names_leased_blocks(store: DiskStore, leases: Leases) -> None:
    store.put_many([FIRST, SECOND])
    store.put_many([block(3, SIZE), block(4, SIZE)], kept=True)
    cids = [FIRST.cid, SECOND.cid, block(3, SIZE).cid, block(4, SIZE).cid]
    with leases.lease([cids[0], cids[2]]) as views:
        with pytest.raises(BlockLeased) as caught:
            store.delete_many(cids)
        assert caught.value.cids == (cids[0], cids[2])
        assert store.has_many(cids) == [True, False, True, False]
        assert views == [FIRST.data, block(3, SIZE).data]
    assert store.delete_many(cids) == 2


def test_collection_leaves_leased_blocks_for_the_next_time(store: DiskStore, leases: Leases) -> None:
    store.put_many([FIRST])
    store.put_many([SECOND, block(3, SIZE)], kept=True)
    with leases.lease([FIRST.cid, SECOND.cid]) as views:
        gone = [key for batch in store.sweep(frozenset(), store.mark()) for key in batch]
        assert gone == [block(3, SIZE).cid.multihash]
        assert views == [FIRST.data, SECOND.data]
    assert sum(map(len, store.sweep(frozenset(), store.mark()))) == 2


def test_a_leased_block_becomes_a_kept_one(store: DiskStore, leases: Leases) -> None:
    store.put_many([FIRST])
    with leases.lease([FIRST.cid]) as views:
        store.promote([FIRST.cid])
        press(store)
        assert views[0] == FIRST.data
    press(store)
    found = store.statistics()
    assert has(store, FIRST) == [True]
    assert found.bytes == found.kept_bytes + found.fetched_bytes <= QUOTA
    assert found.kept_blocks == 1


def test_small_blocks_do_not_move_with_their_neighbours(store: DiskStore, leases: Leases) -> None:
    store.put_many([block(number, 200) for number in range(50)])
    with leases.lease([block(number, 200).cid for number in range(50)]) as views:
        store.put_many([block(number, 200) for number in range(50, 500)])
        press(store)
        assert views == [block(number, 200).data for number in range(50)]


def test_reading_under_a_lease_warms(store: DiskStore, leases: Leases) -> None:
    store.put_many([FIRST, SECOND])
    for _ in range(5):
        with leases.lease([FIRST.cid]):
            pass
    assert store.heat.heat_of(FIRST.cid.multihash) > 3 > store.heat.heat_of(SECOND.cid.multihash)


# --- how they end -----------------------------------------------------------------------------------------------------


def test_time_ends_a_lease(store: DiskStore, leases: Leases, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put_many([FIRST])
    lease = leases.lease([FIRST.cid], 10)
    views = lease.__enter__()
    began = layout.now_ns()
    monkeypatch.setattr(layout, "now_ns", lambda: began + int(9e9))
    press(store)
    assert views[0] == FIRST.data
    lease.check()
    monkeypatch.setattr(layout, "now_ns", lambda: began + int(10e9))
    assert store.delete_many([FIRST.cid]) == 1
    assert names(store) == []
    with pytest.raises(LeaseLost, match="time is over"):
        lease.check()
    with pytest.raises(LeaseLost, match="time is over"):
        lease.__exit__(None, None, None)
    with pytest.raises(NotRunning):
        lease.check()


def test_the_lease_of_a_killed_process_ends(tmp_path: Path, store: DiskStore, spawn: Callable[..., Child]) -> None:
    store.put_many([FIRST])
    child = spawn("lease", tmp_path, SIZE, 1)
    assert child.read() == "ready"
    with pytest.raises(BlockLeased):
        store.delete_many([FIRST.cid])
    child.kill()
    assert store.delete_many([FIRST.cid]) == 1
    assert names(store) == []


def test_a_lease_is_its_lock_and_no_process_id(store: DiskStore) -> None:
    """So a process that got the number of a dead one holds nothing."""
    store.put_many([FIRST])
    file = LeaseFile(store.path / layout.FOLDER, [FIRST.cid.multihash], 10)
    (name,) = names(store)
    left_behind = (store.path / layout.FOLDER / name).read_bytes()
    file.close()
    (store.path / layout.FOLDER / name).write_bytes(left_behind)
    assert store.delete_many([FIRST.cid]) == 1
    assert names(store) == []


def test_a_stopped_reader_blocks_nobody(tmp_path: Path, store: DiskStore, spawn: Callable[..., Child]) -> None:
    store.put_many([block(number, SIZE) for number in range(10)])
    child = spawn("lease", tmp_path, SIZE, *range(10))
    assert child.read() == "ready"
    child.process.send_signal(signal.SIGSTOP)
    press(store)
    assert store.has_many([block(1039, SIZE).cid]) == [True]
    assert store.statistics().bytes <= QUOTA
    child.process.send_signal(signal.SIGCONT)
    child.go_on()
    child.read()
    assert "had to go" in child.read()


def test_eviction_takes_the_oldest_lease_where_all_is_leased(store: DiskStore, leases: Leases) -> None:
    store.put_many([block(number, SIZE) for number in range(10)])
    with ExitStack() as stack:
        older = leases.lease([block(0, SIZE).cid, block(1, SIZE).cid])
        newer = leases.lease([block(number, SIZE).cid for number in range(1, 10)])
        older.__enter__()
        views = stack.enter_context(newer)
        store.put_many([block(100, SIZE)])
        assert store.has_many([block(0, SIZE).cid, block(1, SIZE).cid, block(100, SIZE).cid]) == [False, True, True]
        assert views == [block(number, SIZE).data for number in range(1, 10)]
        newer.check()
        with pytest.raises(LeaseLost, match="had to go"):
            older.__exit__(None, None, None)


def test_a_false_block_is_mended_under_a_lease(store: DiskStore, leases: Leases) -> None:
    """Its reader finds out; what it reads was false anyway."""
    store.put_many([FIRST, SECOND], kept=True)
    kept = store._use().kept
    with leases.lease([SECOND.cid]):
        lease = leases.lease([FIRST.cid])
        lease.__enter__()
        kept.verified.forget([FIRST.cid.multihash])
        kept.verified.judge(FIRST.cid.multihash, Problem.CORRUPT)
        store.put_many([FIRST], kept=True)
        with pytest.raises(LeaseLost, match="had to go"):
            lease.__exit__(None, None, None)


# --- what readers can do wrong ----------------------------------------------------------------------------------------


def test_a_flood_of_leases_costs_the_oldest(store: DiskStore, leases: Leases) -> None:
    blocks = [block(number, 5000) for number in range(3 * LEASE_MAX_FILES)]
    store.put_many(blocks)
    cids = [cid for cid, _data in blocks]
    taken = [leases.lease([cid]) for cid in cids]
    for lease in taken:
        lease.__enter__()
    with pytest.raises(BlockLeased) as caught:
        store.delete_many(cids)
    assert list(caught.value.cids) == cids[-LEASE_MAX_FILES:]
    assert len(names(store)) == LEASE_MAX_FILES
    for lease in taken[:-LEASE_MAX_FILES]:
        with pytest.raises(LeaseLost):
            lease.__exit__(None, None, None)
    for lease in taken[-LEASE_MAX_FILES:]:
        lease.__exit__(None, None, None)


def test_files_that_are_no_leases_are_removed(store: DiskStore) -> None:
    folder = store.path / layout.FOLDER
    now = layout.now_ns()
    key = FIRST.cid.multihash
    wrong = [
        b"",
        b"hello" * 20,
        layout.pack(now, now + int(1e9), [key])[:-1],
        layout.pack(now, now + int(1e9), [key] * (LEASE_KEYS + 1)),
        layout.pack(now, now + int(LEASE_MAX_SECONDS * 1e9) + 1, [key]),
        layout.pack(now + int(3600e9), now + int(3601e9), [key]),  # a clock that does not count like ours
    ]
    store.put_many([FIRST])
    with ExitStack() as stack:
        for number, data in enumerate(wrong):
            file = LeaseFile(folder, [], 10)  # its lock is held: the content alone is wrong
            stack.callback(file.close)
            os.pwrite(file._fd, data.ljust(layout.HEADER.size, b"\1"), 0)
            assert len(names(store)) == 1, number
            assert store.delete_many([FIRST.cid]) == 1
            assert names(store) == []
            store.put_many([FIRST])
    (folder / ("folder" + layout.SUFFIX)).mkdir()
    (folder / ("link" + layout.SUFFIX)).symlink_to(folder / layout.STAMPS)
    os.mkfifo(folder / ("pipe" + layout.SUFFIX))
    assert store.delete_many([FIRST.cid]) == 1


@pytest.mark.parametrize(
    ("count", "seconds"), [(LEASE_KEYS + 1, 1.0), (1, 0.0), (1, -1.0), (1, LEASE_MAX_SECONDS + 0.1), (1, float("nan"))]
)
def test_leases_have_limits(leases: Leases, count: int, seconds: float) -> None:
    with pytest.raises(LocalError):
        leases.lease([FIRST.cid] * count, seconds)


def test_a_deletion_that_never_ended_is_not_waited_for(store: DiskStore, leases: Leases) -> None:
    """Its process was killed before it committed."""
    store.put_many([FIRST])
    store._use()._stamps[layout.FETCHED] = store._use().fetched.environment.last_txn + 1
    with leases.lease([FIRST.cid]) as views:
        press(store)
        assert views[0] == FIRST.data


def test_a_deletion_that_has_looked_already_harms_nobody(store: DiskStore, leases: Leases) -> None:
    """It did not see the lease, and commits after the reader has looked."""
    store.put_many([FIRST])
    table = store._use().fetched
    looked, leased = threading.Event(), threading.Event()

    def delete(txn: Txn) -> None:
        assert not table.leases.held(txn.id())
        looked.set()
        assert leased.wait(60)
        table._delete(txn, [FIRST.cid.multihash], None, ())

    deleter = threading.Thread(target=table.write, args=(delete,))
    deleter.start()
    assert looked.wait(60)
    with leases.lease([FIRST.cid]) as views:
        leased.set()
        deleter.join()
        press(store)
        assert has(store, FIRST) == [False]
        assert views[0] == FIRST.data


def test_opening_alone_forgets_deletions_and_drafts_but_no_lease(tmp_path: Path) -> None:
    folder = tmp_path / layout.FOLDER
    with DiskStore(tmp_path) as store:
        store.put_many([FIRST])
        store._use()._stamps[layout.KEPT] = 77
        (folder / ("half" + layout.DRAFT)).write_bytes(b"")
        reader = LeaseFile(folder, [FIRST.cid.multihash], 10)
    with DiskStore(tmp_path) as store:
        assert (folder / layout.STAMPS).read_bytes() == bytes(layout.STAMPS_BYTES)
        assert len(names(store)) == 1
        with pytest.raises(BlockLeased):
            store.delete_many([FIRST.cid])
        assert reader.lost() is None
        reader.close()


@given(st.binary(max_size=200), st.integers(0, 1 << 40))
def test_whatever_a_file_says_is_a_lease_or_none(data: bytes, now: int) -> None:
    for content in (data, layout.MAGIC + data, layout.pack(now, now + 1, [b"key"])[:24] + data):
        found = layout.parse(content, now)
        if found is not None:
            assert found.since <= now
            assert found.until - found.since <= LEASE_MAX_SECONDS * 1e9
            assert layout.pack(*found) == content[: layout.HEADER.size + sum(2 + len(key) for key in found.keys)]


@given(st.lists(st.binary(max_size=LEASE_KEY_BYTES), max_size=20), st.integers(1, int(LEASE_MAX_SECONDS * 1e9)))
def test_a_lease_is_read_as_it_was_written(keys: list[bytes], length: int) -> None:
    data = layout.pack(1000, 1000 + length, keys)
    assert layout.parse(data, 1000) == (1000, 1000 + length, tuple(keys))
    assert layout.parse(data, 999) is None
    assert layout.parse(data[:-1], 1000) is None


def test_closing_leaves_entered_leases_alone(tmp_path: Path) -> None:
    store, leases = DiskStore(tmp_path), Leases(tmp_path)
    store.put_many([FIRST])
    lease = leases.lease([FIRST.cid])
    with lease as views:
        leases.close()
        store.close()
        assert views[0] == FIRST.data
        with pytest.raises(LocalError):
            lease.__enter__()
    with DiskStore(tmp_path) as again:
        assert has(again, FIRST) == [True]


def test_closed_leases_raise(tmp_path: Path, store: DiskStore) -> None:
    leases = Leases(tmp_path)
    leases.close()
    leases.close()
    with pytest.raises(NotRunning):
        leases.lease([FIRST.cid])
    assert "closed" in repr(leases)


# --- all at once ------------------------------------------------------------------------------------------------------


def evict(store: DiskStore, blocks: list[Block], at: int) -> None:
    with suppress(QuotaExceeded):  # on a busy machine a reader may stand still for a second within a snapshot
        store.put_many([blocks[at]])


def delete(store: DiskStore, blocks: list[Block], at: int) -> None:
    """Blocks come, fetched or kept, are promoted, deleted and collected; those that are leased stay."""
    with suppress(NotFound, QuotaExceeded):
        store.put_many([blocks[at]], kept=at % 3 == 0)
        store.promote([blocks[at - 1].cid])
    with suppress(BlockLeased):
        store.delete_many([blocks[number].cid for number in range(at - 12, at - 4)])
    if at % 10 == 0:
        for _gone in store.sweep({blocks[at].cid.multihash}, store.mark()):
            evict(store, blocks, at - 1)


@pytest.mark.parametrize("work", [evict, delete])
def test_readers_see_no_false_byte_while_a_store_works(
    tmp_path: Path, spawn: Callable[..., Child], work: Callable[[DiskStore, list[Block], int], None]
) -> None:
    span, rounds = 120, 250
    blocks = [block(number, SIZE) for number in range(span)]
    with DiskStore(tmp_path, quota=4_000_000) as store:
        readers = [spawn("read_leased", tmp_path, seed, rounds, span, SIZE) for seed in range(4)]
        for reader in readers:
            assert reader.read() == "ready"
        for entry in blocks:
            store.put_many([entry])
        for reader in readers:
            reader.go_on()
        at = turns = 0
        while any(reader.process.poll() is None for reader in readers):
            at, turns = (at + 7) % span, turns + 1
            work(store, blocks, at)
        counts = [tuple(map(int, reader.read().split())) for reader in readers]
        assert turns > 10
        assert sum(right for right, _false, _lost in counts) > 100
        assert sum(false for _right, false, _lost in counts) == 0
        assert store.statistics().bytes <= 4_000_000


def test_a_reader_holds_what_another_process_evicts_around(
    tmp_path: Path, store: DiskStore, spawn: Callable[..., Child]
) -> None:
    store.put_many([FIRST, SECOND])
    child = spawn("lease", tmp_path, SIZE, 1, 2)
    assert child.read() == "ready"
    for _ in range(3):
        press(store)
        child.go_on()
        assert child.read() == hashlib.sha256(bytes(FIRST.data) + bytes(SECOND.data)).hexdigest()
        assert child.read() == "held"
