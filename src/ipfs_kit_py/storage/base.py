"""What every local store offers beyond ``BlockStore``, and the values that it answers with."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ipfs_kit_py.core.histogram import Histogram
from ipfs_kit_py.core.interfaces import BlockStore

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence
    from contextlib import AbstractContextManager

    from ipfs_kit_py.core.cid import CID
    from ipfs_kit_py.storage.heat_store import HeatBook
    from ipfs_kit_py.storage.pins import Pins
    from ipfs_kit_py.storage.records import Records


class Problem(StrEnum):
    """What ``verify`` finds wrong with a block."""

    CORRUPT = "does not have the hash that its key names"
    MISSING = "is listed, but its bytes are missing"
    WRONG_SIZE = "is listed with a size that it does not have"
    UNKNOWN_HASH = "has a key whose hash function cannot be verified"


@dataclass(frozen=True, slots=True)
class Checked:
    """One verified block: its multihash, its bytes, and what is wrong with it (``None``: nothing)."""

    multihash: bytes
    size: int
    problem: Problem | None


class Mark(NamedTuple):
    """A moment in a store's life: blocks put after it are never swept."""

    kept: int
    fetched: int


@dataclass(frozen=True, slots=True)
class StoreStatistics:
    """Numbers of a store. Sizes are bytes; ``hits``, ``misses``, ``evicted`` and ``refused`` count blocks of this
    process since it was opened; ``file_bytes`` is what the files take (0 in memory). ``corrupt`` blocks were found
    damaged in that time, read or verified, and count as missing."""

    kept_blocks: int
    kept_bytes: int
    fetched_blocks: int
    fetched_bytes: int
    file_bytes: int
    quota: int
    hits: int
    misses: int
    evicted: int
    refused: int
    open_views: int
    corrupt: int = 0

    @property
    def blocks(self) -> int:
        """Blocks, kept and fetched."""
        return self.kept_blocks + self.fetched_blocks

    @property
    def bytes(self) -> int:
        """Bytes of blocks, kept and fetched."""
        return self.kept_bytes + self.fetched_bytes


class TierState(StrEnum):
    """How a local tier is."""

    OPEN = "open"
    FULL = "full"  # above its high water: what comes pushes others out
    DAMAGED = "damaged"  # it has found false blocks that were not replaced yet
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class TierStatistics:
    """Numbers of one local tier. ``hits``, ``misses`` and ``evicted`` count blocks, ``served_bytes`` those of hits, of
    this process since it was opened; ``bytes`` are stored, of at most ``quota``. Percentiles are seconds of one batch
    that was asked for, ``None`` before the first."""

    name: str
    state: TierState
    hits: int
    misses: int
    served_bytes: int
    evicted: int
    blocks: int
    bytes: int
    quota: int
    p50: float | None
    p90: float | None
    p99: float | None


class TierCounter:
    """Counts what a tier is asked for."""

    def __init__(self) -> None:
        self.hits = self.misses = self.served_bytes = 0
        self._seconds = Histogram()

    def add(self, asked: int, misses: int, size: int, seconds: float) -> None:
        """A batch of ``asked`` blocks: so many were not there, the others have ``size`` bytes."""
        self.hits += asked - misses
        self.misses += misses
        self.served_bytes += size
        self._seconds.add(seconds)

    def statistics(self, name: str, found: StoreStatistics, state: TierState) -> TierStatistics:
        """Together with what the store counts."""
        p50, p90, p99 = (self._seconds.quantile(q) for q in (0.5, 0.9, 0.99))
        return TierStatistics(
            name, state, self.hits, self.misses, self.served_bytes, found.evicted, found.blocks, found.bytes,
            found.quota, p50, p90, p99,
        )  # fmt: skip


class LocalStore(BlockStore, Protocol):
    """A block store of this machine: with pins, collection of garbage, and verification."""

    @property
    def pins(self) -> Pins:
        """The pins that are stored beside the blocks."""
        ...

    @property
    def records(self) -> Records:
        """Metadata and other records that are stored beside the blocks."""
        ...

    @property
    def heat(self) -> HeatBook:
        """How warm blocks are; reading them counts by itself."""
        ...

    def promote(self, cids: Sequence[CID]) -> None:
        """Make blocks that are here kept ones, on the disk when it returns. ``NotFound`` naming the first that is
        missing; ``QuotaExceeded`` where there is no room."""
        ...

    def hold(self) -> AbstractContextManager[None]:
        """While it is entered no block that was put since is swept, whenever the mark was made: for putting blocks
        that are pinned at the end."""
        ...

    def mark(self) -> Mark:
        """The moment before which blocks may be garbage. Take it before the reachable blocks are gathered."""
        ...

    def sweep(self, reachable: Container[bytes], mark: Mark) -> Iterator[list[bytes]]:
        """Delete blocks put before ``mark`` whose multihash is not in ``reachable`` (a set, or a bloom filter with
        ``in``), in small transactions between which others write. Yields the multihashes of each."""
        ...

    def verify(self) -> Iterator[Checked]:
        """Hash every block again, in batches."""
        ...

    def statistics(self) -> StoreStatistics: ...

    def trim(self) -> int:
        """Evict in the background: above the high water, down to the low one, in small transactions between which
        others write; and store what is known of heat. Returns the blocks that went. Call it on a worker thread, every
        few seconds; where there is nothing to do it takes microseconds. ``QuotaExceeded`` on a disk so full that
        not even deleting works."""
        ...

    def tiers(self) -> list[TierStatistics]:
        """Numbers of each local tier, the fastest first."""
        ...
