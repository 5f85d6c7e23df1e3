"""The side of leases that deletes: which blocks are being read in place and stay.

A deleting transaction calls ``held`` before it deletes. That writes the transaction's number into the stamps and then
lists the leases. A reader gives its lease a name and then reads the stamp: so either its lease is seen here, or it
sees the number of a transaction whose end it waits for. The kernel's lock of the folder, under which it lists and
renames, orders the one's write and the other's read on every processor.

Nothing here waits for a reader: a lease that has expired, whose process is dead, or that is one too many is taken away.
"""

from __future__ import annotations

import fcntl
import logging
import mmap
import os
from typing import TYPE_CHECKING, NamedTuple

from ipfs_kit_py.core.config import LEASE_MAX_FILES
from ipfs_kit_py.core.errors import BackendError
from ipfs_kit_py.storage import leases_layout as layout

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

logger = logging.getLogger(__name__)


class _File(NamedTuple):
    """A lease of a living process, as it was read."""

    fd: int
    inode: int
    content: layout.Content


class Stamps:
    """The file of stamps, mapped. ``BackendError`` where it cannot be."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        path = folder / layout.STAMPS
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if os.fstat(fd).st_size < layout.STAMPS_BYTES:
                    os.ftruncate(fd, layout.STAMPS_BYTES)
                self._map = mmap.mmap(fd, layout.STAMPS_BYTES)
            finally:
                os.close(fd)
        except OSError as error:
            raise BackendError(f"{path} cannot be used: {error.strerror}") from error
        self._words = memoryview(self._map).cast("Q")

    def __getitem__(self, which: int) -> int:
        return self._words[which]

    def __setitem__(self, which: int, number: int) -> None:
        self._words[which] = number

    def forget(self) -> None:
        """No deletion is under way, and drafts of dead processes go; only while no other process has the store open
        to write it."""
        for which in (layout.KEPT, layout.FETCHED):
            self._words[which] = 0
        for draft in self._folder.glob("*" + layout.DRAFT):
            draft.unlink(missing_ok=True)

    def close(self) -> None:
        self._words.release()
        self._map.close()


class LeaseGuard:
    """The leases on the blocks of one environment, place ``which`` of the stamps. Call it inside that environment's
    write transactions alone: their lock is its lock."""

    def __init__(self, folder: Path, stamps: Stamps, which: int) -> None:
        self._folder = folder
        self._stamps = stamps
        self._which = which
        self._files: dict[str, _File] = {}
        self._leased: dict[bytes, int] | None = {}  # None: to be put together anew

    def held(self, number: int) -> Mapping[bytes, int]:
        """The multihashes of leased blocks, which the write transaction ``number`` leaves alone, each with when it was
        last leased in nanoseconds; those leased longest ago come first. Call it before anything is deleted."""
        self._stamps[self._which] = number
        self._read()
        if self._leased is None:
            leased: dict[bytes, int] = {}
            for file in sorted(self._files.values(), key=lambda file: file.content.since):
                for key in file.content.keys:
                    leased.pop(key, None)
                    leased[key] = file.content.since
            self._leased = leased
        return self._leased

    def revoke(self, keys: Iterable[bytes]) -> None:
        """Take away the leases that ``held`` has just told of on any of these blocks; only then delete them. Their
        readers find that out."""
        going = set(keys)
        for name, file in list(self._files.items()):
            if not going.isdisjoint(file.content.keys):
                self._take(name)

    def _forget(self, name: str) -> None:
        self._leased = None
        os.close(self._files.pop(name).fd)

    def _take(self, name: str) -> None:
        """Remove the name of a lease: that is how its reader finds out."""
        self._unlink(name)
        self._forget(name)

    def _unlink(self, name: str) -> None:
        try:
            (self._folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise BackendError(f"{self._folder / name} cannot be removed: {error.strerror}") from error

    def _read(self) -> None:
        """Learn which leases there are; those that count no longer are removed."""
        inodes = self._list()
        for name, file in list(self._files.items()):
            if inodes.get(name) != file.inode:
                self._forget(name)
        now = layout.now_ns()
        for name in inodes:
            self._look(name, now)
            if len(self._files) > 2 * LEASE_MAX_FILES:
                self._trim()
        self._trim()

    def _list(self) -> dict[str, int]:
        try:
            with os.scandir(self._folder) as entries:
                return {
                    entry.name: entry.inode()
                    for entry in entries
                    if entry.name.endswith(layout.SUFFIX) and entry.is_file(follow_symlinks=False)
                }
        except FileNotFoundError:
            return {}

    def _look(self, name: str, now: int) -> None:
        file = self._files.get(name)
        if file is None:
            try:
                file = self._open(name, now)
            except FileNotFoundError:
                return  # it ended meanwhile
            except OSError:
                file = None
            if file is None:
                logger.warning("%s is no lease and is removed", self._folder / name)
                return self._unlink(name)
            self._files[name] = file
            self._leased = None
        if file.content.until <= now or not _alive(file.fd):
            self._take(name)

    def _open(self, name: str, now: int) -> _File | None:
        fd = os.open(self._folder / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            content = layout.parse(os.pread(fd, layout.MAX_FILE_BYTES + 1, 0), now)
            if content is not None:
                return _File(fd, os.fstat(fd).st_ino, content)
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return None

    def _trim(self) -> None:
        """The newest leases stay."""
        excess = len(self._files) - LEASE_MAX_FILES
        if excess > 0:
            for name in sorted(self._files, key=lambda name: self._files[name].content.since)[:excess]:
                self._take(name)

    def close(self) -> None:
        """Let go of the files."""
        for name in list(self._files):
            self._forget(name)

    def __repr__(self) -> str:
        return f"<LeaseGuard {self._folder} leases={len(self._files)}>"


def _alive(fd: int) -> bool:
    """Whether a reader holds the lock of its lease."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
