"""How leases lie in the folder ``leases`` of a store, the same for every language: see docs/store-format.md.

stamps         for each environment the number of the last transaction that deletes and has read the leases
NAME.lease     the leases of one process, which holds a shared flock on it: a header, then slots of one block each

Numbers are in the machine's byte order. Only its process writes a file, except for the two words ``revoked``.
"""

from __future__ import annotations

import sys
import time
from struct import Struct
from typing import Final

KEPT, FETCHED = 0, 1  # places in the file of stamps
STAMPS: Final = "stamps"
STAMPS_BYTES: Final = 16  # two numbers of 64 bits
SUFFIX: Final = ".lease"

MAGIC: Final = b"IPFSLEAS"
VERSION: Final = 1
HEADER: Final = Struct("=8sIIIIQ")  # magic, version, slots, high, revoked, process id
HEADER_BYTES: Final = 128
HIGH_AT: Final = 16  # slots from this number on are free
FILE_REVOKED_AT: Final = 20  # 1: no lease of this file counts any more

SLOT: Final = Struct("=IIIHHQQ")  # state, sequence, revoked, bytes of the multihash, 0, since, until; the multihash
SLOT_BYTES: Final = 128
KEY_AT: Final = 32
REVOKED_AT: Final = 8  # the sequence number of a lease that was taken away
FREE, HELD = 0, 1

_CLOCK = time.CLOCK_BOOTTIME if sys.platform == "linux" else time.CLOCK_MONOTONIC


def now_ns() -> int:
    """Nanoseconds of the clock that all processes of a machine share and nobody sets; it runs on while it sleeps."""
    return time.clock_gettime_ns(_CLOCK)


def slot_at(slot: int) -> int:
    """Where a slot begins in its file."""
    return HEADER_BYTES + slot * SLOT_BYTES
