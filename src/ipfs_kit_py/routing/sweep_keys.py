"""Very many multihashes by where they lie in the key space: a few dozen bytes for each. Sans-I/O.

They are kept in bins by the first bits of their keys, one after another in plain bytes, those of one length together:
an object of Python for each would take five times the memory. Keys are hashed again when a bin's turn comes.
"""

from __future__ import annotations

from array import array
from hashlib import sha256
from typing import TYPE_CHECKING

from ipfs_kit_py.core.config import PROVIDE_MAX_MULTIHASH, SWEEP_BITS
from ipfs_kit_py.routing.keys import KEY_BITS, kad_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

BINS = 1 << SWEEP_BITS
_NEAR_BINS = BINS // 16
_IDENTITY = 0x00  # the code of a multihash that is its own content: nobody has to look for that


def worth_telling(multihash: bytes) -> bool:
    """Whether anybody could look for a multihash in the DHT: it is no content by itself, and of a length that is
    taken."""
    return 2 < len(multihash) <= PROVIDE_MAX_MULTIHASH and multihash[0] != _IDENTITY


def bin_of(multihash: bytes) -> int:
    """The bin of a multihash: the first ``SWEEP_BITS`` bits of its key."""
    return _place(multihash)[0]


def _place(multihash: bytes) -> tuple[int, int]:
    """The bin of a multihash and what it adds to the bin's mark."""
    digest = sha256(multihash).digest()
    return int.from_bytes(digest[:4], "big") >> (32 - SWEEP_BITS), int.from_bytes(digest[24:], "big")


class KeyBins:
    """A set of multihashes in ``BINS`` parts of the key space, in the order of these."""

    def __init__(self) -> None:
        self._rows: dict[int, list[bytearray | None]] = {}  # length of a multihash -> those of each bin
        self._counts = array("L", bytes(array("L").itemsize * BINS))
        self._marks = array("Q", bytes(8 * BINS))
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __contains__(self, multihash: object) -> bool:
        return isinstance(multihash, bytes) and self._find(multihash, bin_of(multihash)) >= 0

    def __iter__(self) -> Iterator[bytes]:
        return self.rows(range(BINS))

    def __repr__(self) -> str:
        return f"<KeyBins {self._size} in {sum(map(bool, self._counts))} of {BINS} bins>"

    def add(self, multihash: bytes) -> bool:
        """Put a multihash in its bin; whether it is new."""
        number, mark = _place(multihash)
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
        self._count(number, mark, 1)
        return True

    def update(self, multihashes: Iterable[bytes]) -> None:
        """Put in many, those alone that are ``worth_telling``."""
        for multihash in multihashes:
            if worth_telling(multihash):
                self.add(multihash)

    def discard(self, multihash: bytes) -> bool:
        """Take a multihash out; whether it was there."""
        number, mark = _place(multihash)
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
        self._count(number, mark, -1)
        return True

    def counts(self) -> array[int]:
        """How many there are in each bin; not to be changed."""
        return self._counts

    def marks(self) -> array[int]:
        """A number for what is in each bin, 64 bits: equal for equal sets; not to be changed."""
        return self._marks

    def rows(self, bins: Iterable[int]) -> Iterator[bytes]:
        """The multihashes of these bins, in no order within a bin. What is added or taken out meanwhile may be missed,
        or others seen twice."""
        for number in bins:
            if not self._counts[number]:
                continue
            for size, columns in list(self._rows.items()):
                rows = bytes(columns[number] or b"")
                for at in range(0, len(rows), size):
                    yield rows[at : at + size]

    def nearest(self, point: int) -> bytes | None:
        """The multihash whose key is nearest to a point of the key space; ``None`` where none is in ``_NEAR_BINS``."""
        home = point >> (KEY_BITS - SWEEP_BITS)
        for away in range(_NEAR_BINS):  # the nearest bins first: each has another prefix in common with the point
            if self._counts[home ^ away]:
                return min(self.rows([home ^ away]), key=lambda multihash: kad_key(multihash) ^ point)
        return None

    def beyond(self, other: KeyBins) -> Iterator[bytes]:
        """Those that are not in another set. Bins that are alike are not looked into."""
        for number in range(BINS):
            if self._marks[number] != other._marks[number] or self._counts[number] != other._counts[number]:
                for multihash in self.rows([number]):
                    if multihash not in other:
                        yield multihash

    def _count(self, number: int, mark: int, change: int) -> None:
        self._marks[number] ^= mark
        self._counts[number] += change
        self._size += change

    def _find(self, multihash: bytes, number: int) -> int:
        bins = self._rows.get(len(multihash))
        rows = None if bins is None else bins[number]
        if rows is None:
            return -1
        at = rows.find(multihash)
        while at > 0 and at % len(multihash):
            at = rows.find(multihash, at + 1)
        return at
