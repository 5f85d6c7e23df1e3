"""Which blocks of one environment were hashed since this process opened it, and which of them were false."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING

from ipfs_kit_py.core.config import STORE_MAX_CORRUPT, STORE_VERIFIED_SLOTS
from ipfs_kit_py.storage.base import Problem
from ipfs_kit_py.storage.verify import check_block

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Buffer


class Verified:
    """Blocks known to be whole, and those known to be false.

    The whole ones are a table of hashes of multihashes, two places for each: where both are taken one is forgotten, and
    that block is hashed again. Python's hash has 64 bits and a secret, so nobody finds two multihashes that share one.
    The memory is taken as it is used.
    """

    def __init__(self, slots: int = STORE_VERIFIED_SLOTS) -> None:
        self._mask = slots - 1
        self._slots = memoryview(mmap.mmap(-1, 8 * slots)).cast("q")
        self.bad: dict[bytes, None] = {}  # false ones, oldest first
        self.found_bad = 0

    def put(self, multihashes: Iterable[bytes]) -> None:
        """Blocks whose bytes were hashed were stored or read."""
        slots, mask = self._slots, self._mask
        for key in multihashes:
            name = hash(key) or 1
            first = name & mask
            second = (name >> 32) & mask
            if slots[first] in (0, name) or slots[second] not in (0, name):
                slots[first] = name
            else:
                slots[second] = name
            if self.bad:
                self.bad.pop(key, None)

    def forget(self, multihashes: Iterable[bytes]) -> None:
        """Blocks were deleted."""
        slots, mask = self._slots, self._mask
        for key in multihashes:
            name = hash(key) or 1
            for at in (name & mask, (name >> 32) & mask):
                if slots[at] == name:
                    slots[at] = 0
            self.bad.pop(key, None)

    def check(self, key: bytes, data: Buffer) -> bool:
        """Whether a block is whole as far as can be told; it is hashed unless that was done before."""
        name = hash(key) or 1
        if self._slots[name & self._mask] == name or self._slots[(name >> 32) & self._mask] == name:
            return True
        return self.judge(key, check_block(key, data))

    def judge(self, key: bytes, problem: Problem | None) -> bool:
        """Note what hashing a block has shown; whether it may be served. A block whose hash function is not known here
        may."""
        if problem is None:
            self.put((key,))
        elif problem is Problem.CORRUPT and key not in self.bad:
            self.found_bad += 1
            self.bad[key] = None
            if len(self.bad) > STORE_MAX_CORRUPT:
                del self.bad[next(iter(self.bad))]
        return problem is not Problem.CORRUPT

    def __repr__(self) -> str:
        return f"<Verified {len(self.bad)} blocks are false>"
