"""Very many multihashes by where they lie in the key space: a few dozen bytes for each. Sans-I/O.

They are kept in bins by the first bits of their keys, one after another in plain bytes, those of one length together:
an object of Python for each would take five times the memory. Keys are hashed again when a bin's turn comes.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from ipfs_kit_py.core.config import PROVIDE_MAX_MULTIHASH, SWEEP_BITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

BINS = 1 << SWEEP_BITS
_IDENTITY = 0x00  # the code of a multihash that is its own content: nobody has to look for that


def worth_telling(multihash: bytes) -> bool:
    """Whether anybody could look for a multihash in the DHT: it is no content by itself, and of a length that is
    taken."""
    return 2 < len(multihash) <= PROVIDE_MAX_MULTIHASH and multihash[0] != _IDENTITY


def bin_of(multihash: bytes) -> int:
    """The bin of a multihash: the first ``SWEEP_BITS`` bits of its key."""
    return int.from_bytes(sha256(multihash).digest()[:4], "big") >> (32 - SWEEP_BITS)


class KeyBins:
    """A set of multihashes, ``BINS`` parts of the key space in the order of their keys."""

    def __init__(self) -> None:
        self._rows: dict[int, list[bytearray | None]] = {}  # length of a multihash -> those of each bin
        self._counts = [0] * BINS
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __contains__(self, multihash: object) -> bool:
        return isinstance(multihash, bytes) and self._find(multihash, bin_of(multihash)) >= 0

    def __repr__(self) -> str:
        return f"<KeyBins {self._size} in {sum(map(bool, self._counts))} of {BINS} bins>"

    def add(self, multihash: bytes, number: int) -> bool:
        """Put a multihash in its bin (``bin_of``); whether it is new."""
        if self._find(multihash, number) >= 0:
            return False
        size = len(multihash)
        bins = self._rows.get(size)
        if bins is None:
            bins = self._rows[size] = [None] * BINS
        rows = bins[number]
        if rows is None:
            bins[number] = bytearray(multihash)
        else:
            rows += multihash
        self._counts[number] += 1
        self._size += 1
        return True

    def update(self, multihashes: Iterable[bytes]) -> None:
        """Put many in their bins, those alone that are ``worth_telling``."""
        for multihash in multihashes:
            if worth_telling(multihash):
                self.add(multihash, bin_of(multihash))

    def discard(self, multihash: bytes, number: int) -> bool:
        """Take a multihash out of its bin; whether it was there."""
        at = self._find(multihash, number)
        if at < 0:
            return False
        size = len(multihash)
        rows = self._rows[size][number]
        assert rows is not None
        rows[at : at + size] = rows[-size:]  # the last one takes its place
        del rows[-size:]
        if not rows:
            self._rows[size][number] = None
        self._counts[number] -= 1
        self._size -= 1
        return True

    def count(self, first: int, last: int) -> int:
        """How many are in the bins from ``first`` to before ``last``."""
        return sum(self._counts[first:last])

    def counts(self) -> list[int]:
        """How many there are in each bin; not to be changed."""
        return self._counts

    def rows(self, first: int, last: int) -> Iterator[bytes]:
        """The multihashes of the bins from ``first`` to before ``last``, in no order within a bin."""
        for number in range(first, last):
            if not self._counts[number]:
                continue
            for size, bins in self._rows.items():
                rows = bins[number]
                if rows is not None:
                    for at in range(0, len(rows), size):
                        yield bytes(rows[at : at + size])

    def __iter__(self) -> Iterator[bytes]:
        return self.rows(0, BINS)

    def _find(self, multihash: bytes, number: int) -> int:
        bins = self._rows.get(len(multihash))
        rows = None if bins is None else bins[number]
        if rows is None:
            return -1
        at = rows.find(multihash)
        while at > 0 and at % len(multihash):
            at = rows.find(multihash, at + 1)
        return at
