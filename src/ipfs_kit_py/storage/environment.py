"""One LMDB environment: its tables, transactions, errors, and the size of its map and its file.

Every read transaction here has ``buffers``; py-lmdb opens with ``MDB_NOTLS``, so that one may end on another thread
than it began on. ``Transaction.get`` touches all pages of a value with the GIL released.
"""

from __future__ import annotations

import errno
import os
import resource
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import lmdb

from ipfs_kit_py.core.config import MIB, STORE_GATE_SECONDS, STORE_READERS
from ipfs_kit_py.core.errors import BackendError, QuotaExceeded, StorageError
from ipfs_kit_py.storage.gate import Gate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

T = TypeVar("T")
Reader = tuple[int, int]  # process id, number of the snapshot that it holds

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_ALMOST_FULL = 16 * MIB  # a short write has used up what was there, but pages of other files may come free
_SMALLEST_MAP = 64 * MIB
_RESIZES = 16  # doublings of the map in one transaction: from the smallest map to 4 TiB


def _is_full(path: Path) -> bool:
    """Whether an error was a short write: LMDB calls that an I/O error."""
    space = os.statvfs(path)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    size = (path / "data.mdb").stat().st_size
    return space.f_bavail * space.f_frsize < _ALMOST_FULL or (limit != resource.RLIM_INFINITY and size >= limit - MIB)


def typed(error: lmdb.Error, path: Path, doing: str) -> StorageError:
    """The error of this package for one of LMDB's."""
    if error.code in _FULL or (error.code == errno.EIO and _is_full(path)):
        return QuotaExceeded(
            f"no space left for {path} while {doing}; free space on its disk or collect garbage, then try again"
        )
    if isinstance(error, lmdb.MapFullError):
        return QuotaExceeded(f"{path} cannot grow beyond its memory map while {doing}; raise the address space limit")
    if isinstance(error, lmdb.CorruptedError | lmdb.PageNotFoundError | lmdb.InvalidError | lmdb.VersionMismatchError):
        return BackendError(f"{path} is damaged ({error}) while {doing}; move it away and fetch or add anew")
    return BackendError(f"{path}: {error} while {doing}")


class Environment:
    """An open environment. ``durable``: a commit's pages are on the disk before its root is written, and ``flush``
    makes the root durable too; otherwise nothing is synced. Raises ``BackendError`` where it cannot be opened."""

    def __init__(self, path: Path, tables: Sequence[str], *, durable: bool, map_bytes: int) -> None:
        self.path = path
        self.gate = Gate()
        self._env = self._open(durable, map_bytes, len(tables))
        try:
            self.tables: dict[str, Any] = {name: self._env.open_db(name.encode()) for name in tables}
        except lmdb.Error as error:
            self._env.close()
            raise typed(error, path, "opening it") from error
        self.page_bytes: int = self._env.stat()["psize"]

    def _open(self, durable: bool, map_bytes: int, tables: int) -> lmdb.Environment:
        """Open with the largest map up to ``map_bytes`` that the limit of this process's address space allows."""
        while True:
            try:
                return lmdb.open(
                    str(self.path), map_size=map_bytes, max_dbs=tables, max_readers=STORE_READERS, mode=0o600,
                    metasync=False, sync=durable, max_spare_txns=1,
                )  # fmt: skip
            except lmdb.Error as error:
                if error.code != errno.ENOMEM or map_bytes <= _SMALLEST_MAP:
                    raise typed(error, self.path, "opening it") from error
            map_bytes = max(map_bytes // 4, _SMALLEST_MAP)

    def begin(self, *, again: bool = False) -> lmdb.Transaction[memoryview]:
        """A read transaction; give it back to ``end``. ``again``: the caller has one open already."""
        while True:
            self.gate.enter(again=again)
            try:
                return self._env.begin(buffers=True)
            except lmdb.Error as error:
                freed = isinstance(error, lmdb.ReadersFullError) and self._env.reader_check()
                self.gate.leave()
                if isinstance(error, lmdb.MapResizedError) and not again:
                    self._resize(0)  # another process grew the file beyond our map
                elif not freed:
                    raise typed(error, self.path, "reading") from error

    def end(self, txn: lmdb.Transaction[memoryview]) -> None:
        """End a read transaction, on any thread."""
        txn.abort()
        del txn
        self.gate.leave()

    @contextmanager
    def reading(self) -> Iterator[lmdb.Transaction[memoryview]]:
        """A short read transaction; its values die with it."""
        txn = self.begin()
        try:
            yield txn
        except lmdb.Error as error:
            raise typed(error, self.path, "reading") from error
        finally:
            self.end(txn)

    def write(self, job: Callable[[lmdb.Transaction[memoryview]], T], doing: str = "writing") -> T:
        """Run ``job`` in a write transaction and commit it; an error in either undoes it. ``job`` may run again,
        where the map had to grow. Raises ``QuotaExceeded`` where the disk is full, ``BackendError``."""
        for _attempt in range(_RESIZES):
            self.gate.enter()
            try:
                size = self._env.info()["map_size"]
                with self._env.begin(write=True, buffers=True) as txn:
                    return job(txn)
            except lmdb.MapFullError:
                wanted = 2 * size
            except lmdb.MapResizedError:
                wanted = 0
            except lmdb.Error as error:
                raise typed(error, self.path, doing) from error
            finally:
                self.gate.leave()
            self._resize(wanted)
        raise QuotaExceeded(f"{self.path} cannot grow beyond its memory map while {doing}")

    def _resize(self, map_bytes: int) -> None:
        """Change the map; 0 takes the size that another process gave it."""
        with self.gate.alone(STORE_GATE_SECONDS, f"{self.path} must be mapped anew"):
            if map_bytes and self._env.info()["map_size"] >= map_bytes:
                return
            try:
                self._env.set_mapsize(map_bytes)
            except lmdb.Error as error:
                raise typed(error, self.path, "mapping it anew") from error

    def scan(self, table: str, after: bytes, count: int) -> list[tuple[bytes, bytes]]:
        """Up to ``count`` entries behind the key ``after``, from one snapshot."""
        with self.reading() as txn, txn.cursor(self.tables[table]) as cursor:
            found: list[tuple[bytes, bytes]] = []
            if not cursor.set_range(after + b"\0" if after else b"\0"):
                return found
            for key, value in cursor:
                found.append((bytes(key), bytes(value)))
                if len(found) == count:
                    break
            return found

    def flush(self) -> None:
        """Return once all that was committed before is on the disk."""
        self.gate.enter()
        try:
            self._env.sync(True)
        except lmdb.Error as error:
            raise typed(error, self.path, "syncing") from error
        finally:
            self.gate.leave()

    @property
    def last_txn(self) -> int:
        """Number of the newest commit, of any process."""
        self.gate.enter()
        try:
            return int(self._env.info()["last_txnid"])
        finally:
            self.gate.leave()

    @property
    def file_bytes(self) -> int:
        """Bytes of the file that pages were ever put in; it never shrinks."""
        self.gate.enter()
        try:
            return int(self._env.info()["last_pgno"] + 1) * self.page_bytes
        finally:
            self.gate.leave()

    def used_bytes(self) -> int:
        """Bytes of the file's pages that the newest snapshot uses."""
        with self.reading() as txn:
            rows = [txn.stat(table) for table in self.tables.values()]
        return self.page_bytes * sum(row["branch_pages"] + row["leaf_pages"] + row["overflow_pages"] for row in rows)

    def lagging(self, before: int) -> list[Reader]:
        """The living readers, of all processes, that hold a snapshot older than ``before``."""
        self.gate.enter()
        try:
            self._env.reader_check()
            table = self._env.readers()
        finally:
            self.gate.leave()
        rows = [line.split() for line in table.splitlines()]
        found = [(int(row[0]), int(row[2])) for row in rows if len(row) == 3 and row[0].isdigit() and row[2].isdigit()]
        return [reader for reader in found if reader[1] < before]

    def close(self) -> None:
        """Close now, or when the last open view ends."""
        self.gate.close(self._env.close)

    def __repr__(self) -> str:
        return f"<Environment {self.path} {self.file_bytes} bytes>"
