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

    def _forget(self, name: str) -> _File:
        self._leased = None
        return self._files.pop(name)

    def _take(self, name: str) -> None:
        file = self._forget(name)
        os.pwrite(file.fd, layout.REVOKED.pack(1), layout.REVOKED_AT)
        os.close(file.fd)
        (self._folder / name).unlink(missing_ok=True)

    def _read(self) -> None:
        """Learn which leases there are; those that count no longer are removed."""
        try:
            with os.scandir(self._folder) as entries:
                inodes = {entry.name: entry.inode() for entry in entries if entry.name.endswith(layout.SUFFIX)}
        except FileNotFoundError:
            inodes = {}
        for name, file in list(self._files.items()):
            if inodes.get(name) != file.inode:
                os.close(self._forget(name).fd)
        now = layout.now_ns()
        for name in inodes:
            self._look(name, now)
        if len(self._files) > LEASE_MAX_FILES:
            newest_first = sorted(self._files, key=lambda name: self._files[name].content.since, reverse=True)
            for name in newest_first[LEASE_MAX_FILES:]:
                self._take(name)

    def _look(self, name: str, now: int) -> None:
        file = self._files.get(name)
        if file is None:
            try:
                file = self._open(name, now)
            except OSError:
                return  # it ended meanwhile, or is no file
            if file is None:
                return
            self._files[name] = file
            self._leased = None
        if file.content.until <= now or not _alive(file.fd):
            self._take(name)

    def _open(self, name: str, now: int) -> _File | None:
        path = self._folder / name
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            content = layout.parse(os.pread(fd, layout.MAX_FILE_BYTES + 1, 0), now)
            if content is not None:
                return _File(fd, os.fstat(fd).st_ino, content)
            logger.warning("%s is no lease and is removed", path)
            path.unlink(missing_ok=True)
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return None

    def close(self) -> None:
        """Let go of the files."""
        for name in list(self._files):
            os.close(self._forget(name).fd)

    def __repr__(self) -> str:
        return f"<LeaseGuard {self._folder} leases={len(self._files)}>"


def _alive(fd: int) -> bool:
    """Whether a reader holds the lock of its lease."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
