"""When each part of the key space is told of again: at a time of its own in each interval. Sans-I/O."""

from __future__ import annotations

import struct
from array import array
from math import log2
from typing import TYPE_CHECKING, NamedTuple

from ipfs_kit_py.core.config import (
    PROVIDE_INTERVAL_SECONDS,
    SWEEP_BITS,
    SWEEP_REGION_KEYS,
    SWEEP_REGION_PEERS,
    SWEEP_RETRY_MAX_SECONDS,
    SWEEP_RETRY_SECONDS,
    SWEEP_SIZE,
)
from ipfs_kit_py.routing.sweep_keys import BINS, KeyBins

if TYPE_CHECKING:
    from collections.abc import Iterable

_SLACK = 1 / 8  # of an interval by which a part that was told of early is told of late once: regions change their size
_NEAR_BITS = 0.8  # an estimate that wavers about one half does not change all regions each time
_PACKED = struct.Struct(f"<4sB{BINS}I{BINS}Q")
_MAGIC = b"swp1"


class Turn(NamedTuple):
    """A region, the bins from ``first`` to before ``last``, and when it is due."""

    due: float
    first: int
    last: int


class Schedule:
    """When each bin was done. ``phase``, 0 to 1, is where in the key space an interval begins: another place for each
    node, so that not all of them come to the same peers at the same time."""

    def __init__(self, phase: float, interval: float = PROVIDE_INTERVAL_SECONDS) -> None:
        self.interval, self.phase = interval, phase
        self.done = array("d", bytes(8 * BINS))  # 0: never, or it is to be done at once

    def due(self, first: int, done: float) -> float:
        """When the region that begins with a bin is due, having been done then."""
        if done <= 0.0:
            return 0.0
        slot = (first / BINS + self.phase) % 1.0 * self.interval
        after = done + self.interval * _SLACK
        return slot + ((after - slot) // self.interval + 1) * self.interval

    def turns(self, keys: KeyBins, bits: int) -> list[Turn]:
        """The regions of ``bits`` bits that have keys, the first due last."""
        width, counts, found = BINS >> bits, keys.counts(), []
        for first in range(0, BINS, width):
            done = [self.done[number] for number in range(first, first + width) if counts[number]]
            if done:
                found.append(Turn(self.due(first, min(done)), first, first + width))
        found.sort(reverse=True)
        return found

    def due_of(self, first: int, last: int, now: float) -> list[int]:
        """The bins of a region that are due: all of them but where regions were smaller before."""
        return [number for number in range(first, last) if self.due(first, self.done[number]) <= now]


def region_bits(size: float | None, keys: int, before: int = -1) -> int:
    """Of how many first bits the regions are, for that many peers and keys; as ``before`` where that is near enough."""
    exact = log2(max(1.0, (size or SWEEP_SIZE) / SWEEP_REGION_PEERS))
    by_peers = before if abs(before - exact) < _NEAR_BITS else round(exact)
    by_keys = max(0, (keys - 1) // SWEEP_REGION_KEYS).bit_length()
    return min(SWEEP_BITS, max(by_peers, by_keys))


def pause_after(failures: int) -> float:
    """How long to wait after one failure more than so many in a row."""
    return min(SWEEP_RETRY_MAX_SECONDS, SWEEP_RETRY_SECONDS * 2.0 ** min(max(0, failures), 20))


def pack(done: Iterable[float], marks: Iterable[int]) -> bytes:
    """When each bin was done and what was in it, in under 50 KB."""
    return _PACKED.pack(_MAGIC, SWEEP_BITS, *(max(0, int(seconds)) for seconds in done), *marks)


def unpack(data: bytes) -> tuple[array[float], array[int]] | None:
    """What ``pack`` was given; ``None`` where it cannot be read."""
    if len(data) != _PACKED.size:
        return None
    magic, bits, *rest = _PACKED.unpack(data)
    if magic != _MAGIC or bits != SWEEP_BITS:
        return None
    return array("d", map(float, rest[:BINS])), array("Q", rest[BINS:])
