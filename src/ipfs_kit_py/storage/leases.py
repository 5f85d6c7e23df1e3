"""Reading blocks in place for longer than a transaction may last, in this process or beside a node's.

A view holds a snapshot, and while it does no freed page is used again: fine for milliseconds. A lease names the blocks
in a file instead (``leases_layout``); who deletes leaves those blocks alone, and the snapshot can end.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from typing import TYPE_CHECKING

from ipfs_kit_py.core.config import (
    LEASE_KEY_BYTES,
    LEASE_KEYS,
    LEASE_MAX_SECONDS,
    LEASE_POLL_SECONDS,
    LEASE_SECONDS,
    LEASE_SETTLE_SECONDS,
    STORE_MAP_BYTES,
)
from ipfs_kit_py.core.errors import BackendError, LeaseLost, LocalError, NotRunning
from ipfs_kit_py.storage import leases_layout as layout
from ipfs_kit_py.storage.blocktable import BlockTable
from ipfs_kit_py.storage.databases import Databases, acquire, release
from ipfs_kit_py.storage.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from ipfs_kit_py.core.cid import CID

_ATTEMPTS = 16  # drafts that a store, while it opens, may take for those of a dead process


class LeaseFile:
    """One lease, as its reader has it. ``BackendError`` where its file cannot be written."""

    def __init__(self, folder: Path, keys: Sequence[bytes], seconds: float) -> None:
        since = layout.now_ns()
        self.until = since + int(seconds * 1e9)
        self._path = folder / (os.urandom(8).hex() + layout.SUFFIX)
        data = layout.pack(since, self.until, keys)
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            self._fd = self._create(data)
        except OSError as error:
            raise BackendError(f"{self._path} cannot be written: {error.strerror}") from error

    def _create(self, data: bytes) -> int:
        """Others see the lease from the first moment whole and locked."""
        draft = self._path.with_suffix(layout.DRAFT)
        for attempt in range(_ATTEMPTS):
            fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_SH)
                os.write(fd, data)
                draft.rename(self._path)
            except FileNotFoundError:
                os.close(fd)
                if attempt == _ATTEMPTS - 1:
                    raise
            except BaseException:
                os.close(fd)
                draft.unlink(missing_ok=True)
                raise
            else:
                return fd
        raise AssertionError("the last attempt returns or raises")

    def stamps(self) -> tuple[int, int]:
        """The numbers of the deletions, of kept and of fetched blocks, that may not have seen this lease."""
        try:
            data = (self._path.parent / layout.STAMPS).read_bytes()
        except FileNotFoundError:
            data = b""
        data = data[: layout.STAMPS_BYTES].ljust(layout.STAMPS_BYTES, b"\0")
        kept, fetched = (number for (number,) in layout.STAMP.iter_unpack(data))
        return kept, fetched

    def lost(self) -> str | None:
        """Why what is read now may be other bytes; ``None`` while it is not."""
        if layout.now_ns() >= self.until:
            return "its time is over"
        if not os.fstat(self._fd).st_nlink:
            return "its blocks had to go"
        return None

    def close(self) -> None:
        """End the lease."""
        self._path.unlink(missing_ok=True)
        os.close(self._fd)


class Lease:
    """Blocks in place: entering finds them, leaving ends them; each on any thread.

    Blocks smaller than a page are copied, as they move when their neighbours change. Leaving, or ``check``, raises
    ``LeaseLost`` where the lease ended first: what was read may then be false, and has to be read again.
    """

    def __init__(self, databases: Databases, keys: Sequence[bytes], seconds: float) -> None:
        self._databases = databases
        self._keys = keys
        self._seconds = seconds
        self._views: list[memoryview | None] = []
        self._file: LeaseFile | None = None
        self._snapshot: Snapshot | None = None

    def __enter__(self) -> list[memoryview | None]:
        if self._file is not None:
            raise LocalError("the lease is entered already: take another one")
        self._file = LeaseFile(self._databases.path / layout.FOLDER, self._keys, self._seconds)
        try:
            self._views = self._find(self._file.stamps())
        except BaseException:
            self._end()
            raise
        return list(self._views)

    def _find(self, stamps: tuple[int, int]) -> list[memoryview | None]:
        """Look in a snapshot that no deletion comes after which has not seen the lease. Where one lasts, or was
        given up, the blocks are copied: nobody waits for anybody."""
        deadline = time.monotonic() + LEASE_SETTLE_SECONDS
        while True:
            self._snapshot = snapshot = Snapshot(self._databases)
            found = snapshot.find(self._keys, BlockTable.get)
            settled = snapshot.covers(*stamps)
            if settled or time.monotonic() >= deadline:
                break
            del found
            snapshot.close()
            time.sleep(LEASE_POLL_SECONDS)
        moving = self._databases.kept.environment.page_bytes if settled else sys.maxsize
        found = [memoryview(bytes(view)) if view is not None and view.nbytes < moving else view for view in found]
        snapshot.let_go()
        return found

    def check(self) -> None:
        """``LeaseLost`` where what was read up to now may be false; ``NotRunning`` where it is not entered."""
        if self._file is None:
            raise NotRunning("the lease is not entered")
        if reason := self._file.lost():
            raise LeaseLost(f"a lease on {len(self._keys)} blocks of {self._databases.path} ended early: {reason}")

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        used = [key for key, view in zip(self._keys, self._views, strict=False) if view is not None]
        try:
            if kind is None:
                self.check()
        finally:
            self._end()
        self._databases.heat.on_access(used)  # may write, which what is open here would hold up

    def _end(self) -> None:
        views, self._views = self._views, []
        try:
            for view in views:
                if view is not None:
                    view.release()
        finally:
            if self._snapshot is not None:
                self._snapshot.close()
            if self._file is not None:
                self._file.close()
            self._snapshot = self._file = None


class Leases:
    """Leases on the blocks of the store in the folder ``path``. ``BackendError`` where it cannot be opened."""

    def __init__(self, path: Path, *, map_bytes: int = STORE_MAP_BYTES) -> None:
        self.path = path
        self._databases: Databases | None = acquire(path, map_bytes)

    def lease(self, cids: Sequence[CID], seconds: float = LEASE_SECONDS) -> Lease:
        """``with leases.lease(cids) as views:`` reads them in place, ``None`` for each that is not there. At most
        ``LEASE_KEYS`` blocks and ``LEASE_MAX_SECONDS``: else ``LocalError``."""
        if self._databases is None:
            raise NotRunning(f"the leases of {self.path} are closed")
        self._databases.check_process()
        keys = [cid.multihash for cid in cids]
        if len(keys) > LEASE_KEYS:
            raise LocalError(f"a lease of {len(keys)} blocks: at most {LEASE_KEYS} fit; take several")
        if not 0 < seconds <= LEASE_MAX_SECONDS:
            raise LocalError(f"a lease of {seconds} s: it lasts over 0 and at most {LEASE_MAX_SECONDS:g} s")
        if any(len(key) > LEASE_KEY_BYTES for key in keys):
            raise LocalError(f"a multihash of over {LEASE_KEY_BYTES} bytes cannot be leased")
        return Lease(self._databases, keys, seconds)

    def close(self) -> None:
        """Close; leases that are entered last until they are left. Closing again does nothing."""
        databases, self._databases = self._databases, None
        if databases is not None:
            release(databases)

    def __enter__(self) -> Leases:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Leases {self.path}{' closed' if self._databases is None else ''}>"
