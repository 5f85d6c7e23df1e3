"""Blocks on the disk: two LMDB environments in one folder, for any number of threads and processes at once.

Kept blocks are on the disk when ``put_many`` returns. Fetched blocks are a cache: never synced, evicted to make room,
and dropped where the machine stopped in the middle. Lock order: the writer of kept blocks may take the lock of the
fetched ones, never the other way round.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from ipfs_kit_py.core.config import (
    DEFAULT_STORAGE_MAX,
    PUT_BATCH_BYTES,
    STORE_FETCHED_SHARE,
    STORE_HIGH_WATER,
    STORE_KEPT_TXN_BYTES,
    STORE_LOW_WATER,
    STORE_MAP_BYTES,
    STORE_SCAN_BATCH,
    STORE_STALL_SECONDS,
    SWEEP_BATCH,
)
from ipfs_kit_py.core.errors import BlockLeased, NotFound, NotRunning, QuotaExceeded, StorageError
from ipfs_kit_py.storage.base import StoreStatistics, TierCounter, TierState
from ipfs_kit_py.storage.blocktable import BlockTable
from ipfs_kit_py.storage.databases import Databases, acquire, release
from ipfs_kit_py.storage.pins import DiskPins
from ipfs_kit_py.storage.records import DiskRecords
from ipfs_kit_py.storage.snapshot import Snapshot, View
from ipfs_kit_py.storage.verify import verify_table

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Sequence
    from pathlib import Path

    from typing_extensions import Buffer

    from ipfs_kit_py.core.cid import CID, Block
    from ipfs_kit_py.storage.base import Checked, Mark, TierStatistics
    from ipfs_kit_py.storage.blocktable import Txn
    from ipfs_kit_py.storage.heat_store import HeatBook

    Row = tuple[bytes, Buffer, int]  # multihash, bytes, their number


T = TypeVar("T")


def _call(flush: Callable[[], None]) -> None:
    flush()


class DiskStore:
    """Blocks in the folder ``path``, kept and fetched together at most ``quota`` bytes of them.

    ``sync`` is called with the function that flushes kept blocks to the disk, and nothing is acknowledged before it
    returns. ``stall_seconds`` is how long a write waits for a reader that would make the file grow. Opening raises
    ``BackendError``.
    """

    def __init__(
        self,
        path: Path,
        *,
        quota: int = DEFAULT_STORAGE_MAX,
        sync: Callable[[Callable[[], None]], None] = _call,
        stall_seconds: float = STORE_STALL_SECONDS,
        map_bytes: int | None = None,
    ) -> None:
        self.path = path
        self.quota = quota
        self._sync = sync
        self._stall_seconds = stall_seconds
        self._lock = threading.Lock()
        self._evicted = self._refused = 0
        self._counter = TierCounter()
        self._heat: HeatBook | None = None
        self._databases: Databases | None = acquire(path, map_bytes or max(STORE_MAP_BYTES, 2 * quota))
        self.pins = DiskPins(lambda: self._use().kept.environment, self._acknowledge)
        self.records = DiskRecords(lambda: self._use().kept.environment, self._acknowledge)

    def _use(self) -> Databases:
        if self._databases is None:
            raise NotRunning(f"the block store {self.path} is closed")
        self._databases.check_process()
        return self._databases

    # --- reading ------------------------------------------------------------------------------------------------------

    def get_many(self, cids: Sequence[CID]) -> list[bytes | None]:
        with self.view(cids) as views:
            return [None if view is None else bytes(view) for view in views]

    def has_many(self, cids: Sequence[CID]) -> list[bool]:
        return [size is not None for size in self.sizes(cids)]

    def sizes(self, cids: Sequence[CID]) -> list[int | None]:
        return self._sizes([cid.multihash for cid in cids])

    def _sizes(self, keys: Sequence[bytes]) -> list[int | None]:
        with Snapshot(self._use()) as snapshot:
            return snapshot.find(keys, BlockTable.whole_size)

    def view(self, cids: Sequence[CID]) -> View:
        return View(self._use(), [cid.multihash for cid in cids], self._counter.add, self.heat)

    def keys(self) -> Iterator[bytes]:
        """A block that is made a kept one meanwhile may come twice; none is left out."""
        for table in (self._use().fetched, self._use().kept):
            after = b""
            while rows := table.scan(after, STORE_SCAN_BATCH):
                after = rows[-1][0]
                names = [row[0] for row in rows]
                if table is not self._use().kept:
                    names = self._not_kept(names)
                yield from names

    def _not_kept(self, keys: Sequence[bytes]) -> list[bytes]:
        kept = self._use().kept
        with kept.environment.reading() as txn:
            return [key for key in keys if kept.size(txn, key) is None]

    @property
    def heat(self) -> HeatBook:
        return self._heat or self._use().heat

    def use_heat(self, heat: HeatBook) -> None:
        """Count uses there from now on, as a memory tier does: with those of the tier below."""
        self._heat = heat

    # --- writing ------------------------------------------------------------------------------------------------------

    def put_many(self, blocks: Iterable[Block], *, kept: bool = False) -> None:
        rows = {cid.multihash: _row(cid.multihash, data) for cid, data in blocks}
        if not rows:
            return
        try:
            if kept:
                self._put_kept(list(rows.values()))
            else:
                self._mend([row for key, row in rows.items() if key in self._use().kept.verified.bad])
                self._put_fetched([rows[key] for key in self._not_kept(list(rows))])
        except QuotaExceeded:
            self._refused += len(rows)
            raise

    def _mend(self, rows: list[Row]) -> None:
        """Replace kept blocks that were found to be false."""
        if rows:
            kept = self._use().kept
            self._put_parts(kept, rows, STORE_KEPT_TXN_BYTES, lambda part, txn: kept.put(txn, part))
            self._acknowledge()

    def _put_kept(self, rows: list[Row]) -> None:
        databases = self._use()
        keys = [row[0] for row in rows]
        absent = set(self._not_kept(keys))
        counts = databases.kept.current_counts()
        need = sum(row[2] for row in rows if row[0] in absent)
        self._check_room(counts.bytes + need, need)

        def job(part: list[Row], txn: Txn) -> list[bytes]:
            self._make_room(txn, part, keys)
            return databases.kept.put(txn, part)

        self._put_parts(databases.kept, rows, STORE_KEPT_TXN_BYTES, job)
        self._acknowledge()
        self._forget_fetched(keys)

    def _make_room(self, txn: Txn, part: list[Row], spare: Sequence[bytes]) -> None:
        """Evict fetched blocks so that a part of kept ones fits."""
        kept, fetched = self._use().kept, self._use().fetched
        need = sum(size for key, _data, size in part if kept.size(txn, key) is None)
        wanted = kept.counts(txn).bytes + need
        self._check_room(wanted, need)
        if wanted + fetched.current_counts().bytes > self.quota:

            def evict(inner: Txn) -> int:
                excess = wanted + fetched.counts(inner).bytes - self.quota
                return len(fetched.evict(inner, excess, set(spare)))

            self._evicted += fetched.write(evict, "evicting")

    def _check_room(self, wanted: int, need: int) -> None:
        if wanted > self.quota:
            raise QuotaExceeded(
                f"{need} bytes do not fit into {self.path}: its quota is {self.quota} bytes, of which kept blocks take "
                f"{wanted - need}; unpin and collect garbage, or raise storage_max"
            )

    def _put_fetched(self, rows: list[Row]) -> None:
        databases = self._use()
        databases.writing_fetched()
        need = sum(size for _key, _data, size in rows)
        self._check_room(databases.kept.current_counts().bytes + need, need)

        def job(part: list[Row], txn: Txn) -> list[bytes]:
            fetched = databases.fetched
            added = sum(size for key, _data, size in part if fetched.size(txn, key) is None)
            excess = fetched.counts(txn).bytes + added + databases.kept.current_counts().bytes - self.quota
            if excess > 0:
                self._evicted += len(fetched.evict(txn, excess, {row[0] for row in part}))
            return fetched.put(txn, part)

        share = max(self.quota // STORE_FETCHED_SHARE, 1)
        self._put_parts(databases.fetched, rows, min(share, PUT_BATCH_BYTES), job)
        databases.recent.add(need)

    def _put_parts(
        self, table: BlockTable, rows: list[Row], most: int, job: Callable[[list[Row], Txn], list[bytes]]
    ) -> None:
        """Store rows in transactions of at most ``most`` bytes; where one fails the ones before are undone."""
        fresh: list[bytes] = []
        try:
            for part in _parts(rows, most):
                need = sum(size for _key, _data, size in part)
                self._admit(table, need)
                written = table.write(partial(job, part), f"storing {len(part)} blocks of {need} bytes")
                table.verified.put(written)
                fresh += written
        except StorageError:
            self._undo(table, fresh)
            raise

    def _admit(self, table: BlockTable, need: int) -> None:
        counts = table.current_counts()
        kept = self._use().kept
        room = self.quota if table is kept else self.quota - kept.current_counts().bytes
        table.guard.admit(need, min(counts.bytes + need, room), counts.freed, self._stall_seconds)

    def _undo(self, table: BlockTable, keys: list[bytes]) -> None:
        """Delete what a batch stored before it failed. On a full disk even this may fail: they stay, whole."""
        if keys:
            try:
                table.write(lambda txn: table.delete(txn, keys), "undoing a batch")
            except StorageError:
                return

    def _acknowledge(self) -> None:
        """Return once all kept blocks and pins committed before are on the disk."""
        databases = self._use()
        databases.sync.acknowledge(lambda: self._sync(databases.kept.environment.flush))

    def _forget_fetched(self, keys: Sequence[bytes]) -> None:
        """Delete blocks from the fetched ones that are kept now."""
        fetched = self._use().fetched
        with fetched.environment.reading() as txn:
            double = [key for key in keys if fetched.size(txn, key) is not None]
        if double:
            self._use().writing_fetched()
            fetched.write(lambda txn: fetched.delete(txn, double))

    def promote(self, cids: Sequence[CID]) -> None:
        kept = self._use().kept
        for start in range(0, len(cids), SWEEP_BATCH):
            by_key = {cid.multihash: cid for cid in cids[start : start + SWEEP_BATCH]}
            absent = kept.write(partial(kept.touch, keys=list(by_key)))
            sizes = self._sizes(absent)
            rows = [(key, by_key[key], size or 0) for key, size in zip(absent, sizes, strict=True)]
            for part in _parts(rows, PUT_BATCH_BYTES):
                self._keep([row[1] for row in part])
        self._acknowledge()

    def _keep(self, cids: list[CID]) -> None:
        found = self.get_many(cids)
        for cid, data in zip(cids, found, strict=True):
            if data is None:
                raise NotFound(f"block {cid} is not in the store", cid=cid)
        self._put_kept([_row(cid.multihash, data) for cid, data in zip(cids, found, strict=True) if data is not None])

    def delete_many(self, cids: Sequence[CID]) -> int:
        """``BlockLeased`` naming those that somebody reads in place; the others are deleted."""
        keys = list({cid.multihash for cid in cids})
        gone: set[bytes] = set()
        left: set[bytes] = set()
        for table in (self._use().kept, self._use().fetched):
            with table.environment.reading() as txn:
                here = [key for key in keys if table.size(txn, key) is not None]
            if here:
                deleted = self._delete(table, here)
                gone.update(deleted)
                left.update(set(here).difference(deleted))
        stayed = [cid for cid in cids if cid.multihash in left]
        if leased := tuple(cid for cid, size in zip(stayed, self.sizes(stayed), strict=True) if size is not None):
            raise BlockLeased(f"{len(leased)} blocks of {self.path} are being read in place; try again later", leased)
        return len(gone)

    def _delete(self, table: BlockTable, keys: list[bytes], until: int | None = None) -> list[bytes]:
        if table is self._use().fetched:
            self._use().writing_fetched()
        return table.write(lambda txn: table.delete(txn, keys, until=until), "deleting")

    # --- keeping house ------------------------------------------------------------------------------------------------

    @contextmanager
    def hold(self) -> Iterator[None]:
        with self._use().holds.hold():
            yield

    def mark(self) -> Mark:
        return self._use().holds.limit()

    def sweep(self, reachable: Container[bytes], mark: Mark) -> Iterator[list[bytes]]:
        databases = self._use()
        for table, until in ((databases.kept, mark.kept), (databases.fetched, mark.fetched)):
            after = b""
            while rows := table.scan(after, STORE_SCAN_BATCH):
                after = rows[-1][0]
                garbage = [key for key, number, _size in rows if number <= until and key not in reachable]
                for start in range(0, len(garbage), SWEEP_BATCH):
                    if gone := self._delete(table, garbage[start : start + SWEEP_BATCH], until):
                        yield gone

    def trim(self) -> int:
        databases = self._use()
        databases.heat.flush()
        kept, fetched = databases.kept, databases.fetched

        def taken() -> int:
            return kept.current_counts().bytes + fetched.current_counts().bytes

        if taken() <= STORE_HIGH_WATER * self.quota:
            return 0
        gone = 0
        part = max(min(self.quota // STORE_FETCHED_SHARE, PUT_BATCH_BYTES), 1)
        while (excess := taken() - int(STORE_LOW_WATER * self.quota)) > 0:
            databases.writing_fetched()
            need = min(excess, part)
            evicted = len(fetched.write(lambda txn, need=need: fetched.evict(txn, need, revoke=False), "evicting"))  # type: ignore[misc]
            gone += evicted
            if not evicted:
                break  # all that is left is kept, or being read in place
        self._evicted += gone
        return gone

    def tiers(self) -> list[TierStatistics]:
        if self._databases is None:
            raise NotRunning(f"the block store {self.path} is closed")
        found = self.statistics()
        bad = self._databases.kept.verified.bad or self._databases.fetched.verified.bad
        full = found.bytes > STORE_HIGH_WATER * self.quota
        state = TierState.DAMAGED if bad else TierState.FULL if full else TierState.OPEN
        return [self._counter.statistics("disk", found, state)]

    def verify(self) -> Iterator[Checked]:
        for table in (self._use().fetched, self._use().kept):
            yield from verify_table(table)

    def statistics(self) -> StoreStatistics:
        databases = self._use()
        kept, fetched = databases.kept.current_counts(), databases.fetched.current_counts()
        environments = (databases.kept.environment, databases.fetched.environment)
        return StoreStatistics(
            kept_blocks=kept.blocks, kept_bytes=kept.bytes, fetched_blocks=fetched.blocks, fetched_bytes=fetched.bytes,
            file_bytes=sum(environment.file_bytes for environment in environments), quota=self.quota,
            hits=self._counter.hits, misses=self._counter.misses, evicted=self._evicted, refused=self._refused,
            open_views=sum(environment.gate.inside for environment in environments),
            corrupt=databases.kept.verified.found_bad + databases.fetched.verified.found_bad,
        )  # fmt: skip

    def close(self) -> None:
        """Close; views that are open stay valid until they end. Closing again does nothing."""
        with self._lock:
            databases, self._databases = self._databases, None
        if databases is not None:
            release(databases)

    def __enter__(self) -> DiskStore:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        if self._databases is None:
            return f"<DiskStore {self.path} closed>"
        found = self.statistics()
        return f"<DiskStore {self.path} {found.blocks} blocks, {found.bytes} of {self.quota} bytes>"


def _row(key: bytes, data: Buffer) -> Row:
    if isinstance(data, bytes):
        return key, data, len(data)
    view = memoryview(data)
    return key, (view if view.c_contiguous else bytes(view)), view.nbytes


def _parts(rows: list[tuple[bytes, T, int]], most: int) -> Iterator[list[tuple[bytes, T, int]]]:
    """Rows in lists of at most ``most`` bytes, or of one row."""
    part: list[tuple[bytes, T, int]] = []
    total = 0
    for row in rows:
        if part and total + row[2] > most:
            yield part
            part, total = [], 0
        part.append(row)
        total += row[2]
    if part:
        yield part
