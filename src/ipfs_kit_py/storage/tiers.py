"""The tiers of one node: small blocks that are used stay in memory, all are on the disk below."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from ipfs_kit_py.core.cid import Block
from ipfs_kit_py.core.config import HOT_BLOCK_BYTES, HOT_HEAT, HOT_SHARE
from ipfs_kit_py.core.errors import NotFound, QuotaExceeded

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from ipfs_kit_py.core.cid import CID
    from ipfs_kit_py.storage.base import Checked, LocalStore, Mark, StoreStatistics, TierStatistics
    from ipfs_kit_py.storage.heat_store import HeatBook
    from ipfs_kit_py.storage.memory import MemoryStore
    from ipfs_kit_py.storage.pins import Pins
    from ipfs_kit_py.storage.records import Records
    from ipfs_kit_py.storage.shm import SharedMemoryStore

T = TypeVar("T")

WARM_BLOCKS = 16  # brought to memory at once: 32 MiB at the most


class TieredStore:
    """``memory``, a cache of blocks up to ``hot_bytes`` each, and of larger ones that are hot, over ``below``, which
    has them all.

    Where ``below`` has no room for fetched blocks they go to memory alone, so that a full disk does not end a fetch.
    Pins, marks and all else are those of ``below``. Closing closes both.
    """

    def __init__(
        self, memory: MemoryStore | SharedMemoryStore, below: LocalStore, *, hot_bytes: int = HOT_BLOCK_BYTES
    ) -> None:
        self.memory = memory
        self.below = below
        memory.use_heat(below.heat)
        self._hot_bytes = hot_bytes

    @property
    def pins(self) -> Pins:
        return self.below.pins

    @property
    def records(self) -> Records:
        return self.below.records

    @property
    def heat(self) -> HeatBook:
        return self.below.heat

    def _find(
        self,
        cids: Sequence[CID],
        above: Callable[[Sequence[CID]], list[T | None]],
        below: Callable[[Sequence[CID]], list[T | None]],
    ) -> tuple[list[T | None], list[int]]:
        """What ``above`` finds, else ``below``; and the places of those that came from ``below``."""
        found = above(cids)
        missing = [at for at, value in enumerate(found) if value is None]
        if missing:
            for at, value in zip(missing, below([cids[at] for at in missing]), strict=True):
                found[at] = value
        return found, [at for at in missing if found[at] is not None]

    def get_many(self, cids: Sequence[CID]) -> list[bytes | None]:
        found, fresh = self._find(cids, self.memory.get_many, self.below.get_many)
        self._heat(Block(cids[at], data) for at in fresh if (data := found[at]) is not None)
        return found

    def _heat(self, blocks: Iterable[Block]) -> None:
        hot = [block for block in blocks if self._is_hot(block)]
        if hot:
            self._to_memory(hot)

    def _is_hot(self, block: Block) -> bool:
        size = memoryview(block.data).nbytes
        if size <= self._hot_bytes:
            return True
        return size <= self.memory.quota // HOT_SHARE and self.heat.heat_of(block.cid.multihash) >= HOT_HEAT

    def _to_memory(self, blocks: Sequence[Block]) -> bool:
        try:
            self.memory.put_many(blocks)
        except QuotaExceeded:
            return False
        return True

    def warm(self, cids: Sequence[CID]) -> tuple[int, int]:
        """Bring blocks of any size from below to memory, until it is full; how many are there then, and their bytes."""
        for start in range(0, len(cids), WARM_BLOCKS):
            part = cids[start : start + WARM_BLOCKS]
            absent = [cid for cid, size in zip(part, self.memory.sizes(part), strict=True) if size is None]
            found = zip(absent, self.below.get_many(absent), strict=True)
            if not self._to_memory([Block(cid, data) for cid, data in found if data is not None]):
                break
        sizes = [size for size in self.memory.sizes(cids) if size is not None]
        return len(sizes), sum(sizes)

    def cool(self, cids: Sequence[CID]) -> tuple[int, int]:
        """Drop blocks from memory that are below too; how many there were, and their bytes."""
        below = self.below.has_many(cids)
        both = [cid for cid, there in zip(cids, below, strict=True) if there]
        sizes = [size for size in self.memory.sizes(both) if size is not None]
        self.memory.discard(cid.multihash for cid in both)
        return len(sizes), sum(sizes)

    def has_many(self, cids: Sequence[CID]) -> list[bool]:
        return [size is not None for size in self.sizes(cids)]

    def sizes(self, cids: Sequence[CID]) -> list[int | None]:
        return self._find(cids, self.memory.sizes, self.below.sizes)[0]

    def view(self, cids: Sequence[CID]) -> TieredView:
        return TieredView(self, cids)

    def put_many(self, blocks: Iterable[Block], *, kept: bool = False) -> None:
        batch = list(blocks)
        try:
            self.below.put_many(batch, kept=kept)
        except QuotaExceeded:
            if kept or not self._to_memory(batch):
                raise
        else:
            self._heat(batch)

    def delete_many(self, cids: Sequence[CID]) -> int:
        here = {cid.multihash for cid, found in zip(cids, self.has_many(cids), strict=True) if found}
        try:
            self.below.delete_many(cids)
        finally:  # some may be read in place below; those that are gone there go here too
            self.memory.delete_many(cids)
        return len(here)

    def keys(self) -> Iterator[bytes]:
        """Those on the disk; what is in memory alone may go at any time."""
        return self.below.keys()

    def promote(self, cids: Sequence[CID]) -> None:
        try:
            self.below.promote(cids)
        except NotFound:
            found = zip(cids, self.memory.get_many(cids), strict=True)
            self.below.put_many([Block(cid, data) for cid, data in found if data is not None], kept=True)
            self.below.promote(cids)

    def hold(self) -> AbstractContextManager[None]:
        return self.below.hold()

    def mark(self) -> Mark:
        return self.below.mark()

    def sweep(self, reachable: Container[bytes], mark: Mark) -> Iterator[list[bytes]]:
        for gone in self.below.sweep(reachable, mark):
            self.memory.discard(gone)
            yield gone

    def verify(self) -> Iterator[Checked]:
        return self.below.verify()

    def statistics(self) -> StoreStatistics:
        """Those of ``below``, with the hits in memory added; ``memory.statistics()`` has the rest."""
        found = self.below.statistics()
        return replace(found, hits=found.hits + self.memory.statistics().hits)

    def trim(self) -> int:
        return self.below.trim()

    def tiers(self) -> list[TierStatistics]:
        return [*self.memory.tiers(), *self.below.tiers()]

    def close(self) -> None:
        self.memory.close()
        self.below.close()

    def __repr__(self) -> str:
        return f"<TieredStore {self.memory!r} over {self.below!r}>"


class TieredView:
    """Blocks in place, of both tiers; entered and left once, each on any thread."""

    def __init__(self, store: TieredStore, cids: Sequence[CID]) -> None:
        self._store = store
        self._cids = cids
        self._below: AbstractContextManager[list[memoryview | None]] | None = None
        self._own: list[memoryview] = []

    def __enter__(self) -> list[memoryview | None]:
        found = self._store.memory.get_many(self._cids)
        views = [None if data is None else memoryview(data) for data in found]
        self._own = [view for view in views if view is not None]
        missing = [at for at, view in enumerate(views) if view is None]
        if missing:
            below = self._store.below.view([self._cids[at] for at in missing])
            for at, view in zip(missing, below.__enter__(), strict=True):
                views[at] = view
            self._below = below
        return views

    def __exit__(self, *error: object) -> None:
        try:
            for view in self._own:
                view.release()
        finally:
            if self._below is not None:
                self._below.__exit__(None, None, None)
