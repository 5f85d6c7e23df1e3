"""What every local store offers beyond ``BlockStore``, and the values that it answers with."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ipfs_kit_py.core.interfaces import BlockStore

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence
    from contextlib import AbstractContextManager

    from ipfs_kit_py.core.cid import CID
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
    process since it was opened; ``file_bytes`` is what the files take (0 in memory)."""

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

    @property
    def blocks(self) -> int:
        """Blocks, kept and fetched."""
        return self.kept_blocks + self.fetched_blocks

    @property
    def bytes(self) -> int:
        """Bytes of blocks, kept and fetched."""
        return self.kept_bytes + self.fetched_bytes


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
