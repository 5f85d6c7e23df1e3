"""The side of leases that deletes: which blocks are being read in place and stay.

A deleting transaction calls ``held`` before it deletes. That first writes the transaction's number into the stamps and
then reads the leases. A reader writes its lease and then reads the stamp: so either its lease is seen here, or it sees
the number of a transaction whose end it has to wait for. The flock of each lease file, which both sides call, orders
the one's write and the other's read on every processor.
"""

from __future__ import annotations

import fcntl
import logging
import mmap
import os
import sys
from typing import TYPE_CHECKING, NamedTuple

from ipfs_kit_py.core.config import LEASE_KEY_BYTES, LEASE_MAX, LEASE_MAX_FILES, LEASE_MAX_SECONDS, LEASE_SLOTS
from ipfs_kit_py.core.errors import BackendError
from ipfs_kit_py.storage import leases_layout as layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

logger = logging.getLogger(__name__)

_MAX_NS = int(LEASE_MAX_SECONDS * 1e9)
_ORDER = sys.byteorder
_ONE = (1).to_bytes(4, _ORDER)


class Lease(NamedTuple):
    """A lease that another holds, as it was read; it began at ``since`` nanoseconds."""

    since: int
    key: bytes
    fd: int
    slot: int
    sequence: int


class Stamps:
    """The file of stamps, mapped."""

    def __init__(self, folder: Path) -> None:
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
        """Begin anew; only while no other process has the store open."""
        self._words[layout.KEPT] = self._words[layout.FETCHED] = 0

    def close(self) -> None:
        self._words.release()
        self._map.close()


class LeaseGuard:
    """The leases on the blocks of one environment, ``which`` of the stamps. Called within its write transactions."""

    def __init__(self, folder: Path, stamps: Stamps, which: int) -> None:
        self._folder = folder
        self._stamps = stamps
        self._which = which
        self._fds: dict[str, int] = {}
        self._living: list[Lease] = []

    def held(self, number: int, size: Callable[[bytes], int | None], most: int | None = None) -> set[bytes]:
        """The multihashes of leased blocks that the write transaction ``number`` must leave, at most ``most`` bytes of
        them by ``size`` (the newest lease alone may exceed that). Older leases lose, and can find that out."""
        self._stamps[self._which] = number
        self._living = leases = self._read()
        if not leases:
            return set()
        leases.sort(reverse=True)
        held: set[bytes] = set()
        total = 0
        for at, lease in enumerate(leases):
            if lease.key in held:
                continue
            length = size(lease.key)
            if length is None:
                continue
            if at >= LEASE_MAX or (held and most is not None and total + length > most):
                self._take(lease)
                continue
            held.add(lease.key)
            total += length
        return held

    def revoke(self, keys: Iterable[bytes]) -> None:
        """Take the leases on blocks away, of those that ``held`` has just read; only then delete them."""
        going = set(keys)
        for lease in self._living:
            if lease.key in going:
                self._take(lease)

    def oldest_first(self, keys: set[bytes]) -> list[bytes]:
        """Leased multihashes, that of the longest ago leased first, by what ``held`` has just read."""
        newest = {lease.key: lease.since for lease in reversed(self._living) if lease.key in keys}
        return sorted(newest, key=newest.__getitem__)

    def _take(self, lease: Lease) -> None:
        os.pwrite(lease.fd, lease.sequence.to_bytes(4, _ORDER), layout.slot_at(lease.slot) + layout.REVOKED_AT)

    def _read(self) -> list[Lease]:
        try:
            names = [name for name in os.listdir(self._folder) if name.endswith(layout.SUFFIX)]
        except FileNotFoundError:
            return []
        for name in self._fds.keys() - set(names):
            os.close(self._fds.pop(name))
        living = [fd for name in names if (fd := self._open(name)) is not None]
        if len(living) > LEASE_MAX_FILES:
            living.sort(key=lambda fd: os.fstat(fd).st_mtime_ns, reverse=True)
            for fd in living[LEASE_MAX_FILES:]:
                os.pwrite(fd, _ONE, layout.FILE_REVOKED_AT)
        found: list[Lease] = []
        now = layout.now_ns()
        for fd in living[:LEASE_MAX_FILES]:
            found += self._parse(fd, now)
        return found

    def _open(self, name: str) -> int | None:
        """The descriptor of a lease file whose process lives; that of a dead one is removed."""
        fd = self._fds.get(name)
        try:
            if fd is None:
                fd = self._fds[name] = os.open(self._folder / name, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return fd
        except OSError:
            logger.warning("%s cannot be read; its leases do not count", self._folder / name, exc_info=True)
            return None
        (self._folder / name).unlink(missing_ok=True)
        os.close(self._fds.pop(name))
        return None

    def _parse(self, fd: int, now: int) -> list[Lease]:
        data = os.pread(fd, layout.HEADER_BYTES, 0)
        if len(data) < layout.HEADER_BYTES:
            return []
        magic, version, slots, high, revoked, _pid = layout.HEADER.unpack_from(data)
        if magic != layout.MAGIC or version != layout.VERSION or revoked or not high:
            return []
        data = os.pread(fd, min(slots, high, LEASE_SLOTS) * layout.SLOT_BYTES, layout.HEADER_BYTES)
        found = []
        for slot in range(len(data) // layout.SLOT_BYTES):
            at = slot * layout.SLOT_BYTES
            state, sequence, taken, length, _zero, since, until = layout.SLOT.unpack_from(data, at)
            if state != layout.HELD or taken == sequence or length > LEASE_KEY_BYTES:
                continue
            lease = Lease(since, data[at + layout.KEY_AT : at + layout.KEY_AT + length], fd, slot, sequence)
            if now < until <= since + _MAX_NS and since <= now:
                found.append(lease)
            else:
                self._take(lease)
        return found

    def close(self) -> None:
        """Let go of the files."""
        while self._fds:
            os.close(self._fds.popitem()[1])

    def __repr__(self) -> str:
        return f"<LeaseGuard {self._folder} files={len(self._fds)} leases={len(self._living)}>"
