"""How leases lie in the folder ``leases`` of a store, the same for every language: see docs/store-format.md.

stamps         for each environment the number of the last transaction that deletes and has looked at the leases
NAME.lease     one lease: a file that its reader holds a shared flock on, so that it ends with the reader's process

Numbers are in the machine's byte order. A lease's file is written before it gets its name, and never after. The side
that deletes takes a lease away by removing the name.
"""

from __future__ import annotations

import sys
import time
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from ipfs_kit_py.core.config import LEASE_KEY_BYTES, LEASE_KEYS, LEASE_MAX_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDER: Final = "leases"
KEPT, FETCHED = 0, 1  # places in the file of stamps
STAMPS: Final = "stamps"
STAMP: Final = Struct("=Q")
STAMPS_BYTES: Final = 2 * STAMP.size
SUFFIX: Final = ".lease"
DRAFT: Final = ".new"

MAGIC: Final = b"IPFSLEA1"
HEADER: Final = Struct("=8sQQQ")  # magic, since, until, multihashes; then each with its length before it
_LENGTH: Final = Struct("=H")
MAX_FILE_BYTES: Final = HEADER.size + LEASE_KEYS * (_LENGTH.size + LEASE_KEY_BYTES)

_MAX_NS = int(LEASE_MAX_SECONDS * 1e9)
_CLOCK = time.CLOCK_BOOTTIME if sys.platform == "linux" else time.CLOCK_MONOTONIC


class Content(NamedTuple):
    """What a lease says: its beginning and end in nanoseconds, and the multihashes of its blocks."""

    since: int
    until: int
    keys: tuple[bytes, ...]


def now_ns() -> int:
    """Nanoseconds of the clock that all processes of a machine share and nobody sets; it runs on while it sleeps."""
    return time.clock_gettime_ns(_CLOCK)


def pack(since: int, until: int, keys: Sequence[bytes]) -> bytes:
    """The file of a lease."""
    parts = [HEADER.pack(MAGIC, since, until, len(keys))]
    for key in keys:
        parts += (_LENGTH.pack(len(key)), key)
    return b"".join(parts)


def parse(data: bytes, now: int) -> Content | None:
    """What a file says; ``None`` for one that is no lease, asks for too much, or began after ``now``."""
    if len(data) < HEADER.size:
        return None
    magic, since, until, count = HEADER.unpack_from(data)
    if magic != MAGIC or since > now or until > since + _MAX_NS:
        return None
    keys = _parse_keys(data, count)
    return None if keys is None else Content(since, until, keys)


def _parse_keys(data: bytes, count: int) -> tuple[bytes, ...] | None:
    if count > LEASE_KEYS or len(data) > MAX_FILE_BYTES:
        return None
    keys, at = [], HEADER.size
    for _ in range(count):
        begin = at + _LENGTH.size
        if begin > len(data):
            return None
        at = begin + _LENGTH.unpack_from(data, begin - _LENGTH.size)[0]
        keys.append(data[begin:at])
    return None if at > len(data) else tuple(keys)
