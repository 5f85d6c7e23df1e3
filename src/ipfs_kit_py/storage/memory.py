"""Blocks in memory: the reference that every other store is compared with, the hot tier, the store of a node without
a repo."""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ipfs_kit_py.core.config import MEMORY_ONLY_BYTES, SWEEP_BATCH
from ipfs_kit_py.core.errors import NotFound, NotRunning, QuotaExceeded
from ipfs_kit_py.storage.base import Checked, Mark, StoreStatistics
from ipfs_kit_py.storage.pins import MemoryPins
from ipfs_kit_py.storage.records import MemoryRecords
from ipfs_kit_py.storage.verify import check_block

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Sequence

    from ipfs_kit_py.core.cid import CID, Block

    Entry = tuple[bytes, int]  # data, number of the batch that put it


class MemoryStore:
    """Blocks in memory, at most ``quota`` bytes of them.

    With ``evict`` the fetched blocks used longest ago make room; without it a batch that does not fit raises
    ``QuotaExceeded``. Kept blocks are never evicted (and end with the process all the same).
    """

    def __init__(self, quota: int = MEMORY_ONLY_BYTES, *, evict: bool = True) -> None:
        self.quota = quota
        self.pins = MemoryPins()
        self.records = MemoryRecords()
        self._evict = evict
        self._lock = threading.Lock()
        self._kept: dict[bytes, Entry] = {}
        self._fetched: OrderedDict[bytes, Entry] = OrderedDict()
        self._bytes = {True: 0, False: 0}
        self._batch = 0
        self._holds: dict[object, int] = {}
        self._closed = False
        self._hits = self._misses = self._evicted = self._refused = self._views = 0

    def _check(self) -> None:
        if self._closed:
            raise NotRunning("the store is closed")

    def _find(self, key: bytes) -> bytes | None:
        entry = self._kept.get(key)
        if entry is None:
            entry = self._fetched.get(key)
            if entry is None:
                self._misses += 1
                return None
            self._fetched.move_to_end(key)
        self._hits += 1
        return entry[0]

    def get_many(self, cids: Sequence[CID]) -> list[bytes | None]:
        with self._lock:
            self._check()
            return [self._find(cid.multihash) for cid in cids]

    def has_many(self, cids: Sequence[CID]) -> list[bool]:
        return [size is not None for size in self.sizes(cids)]

    def sizes(self, cids: Sequence[CID]) -> list[int | None]:
        with self._lock:
            self._check()
            found = [self._kept.get(cid.multihash) or self._fetched.get(cid.multihash) for cid in cids]
        return [None if entry is None else len(entry[0]) for entry in found]

    @contextmanager
    def view(self, cids: Sequence[CID]) -> Iterator[list[memoryview | None]]:
        views = [None if data is None else memoryview(data) for data in self.get_many(cids)]
        self._views += 1
        try:
            yield views
        finally:
            self._views -= 1
            for view in views:
                if view is not None:
                    view.release()

    def put_many(self, blocks: Iterable[Block], *, kept: bool = False) -> None:
        fresh = {cid.multihash: data if isinstance(data, bytes) else bytes(data) for cid, data in blocks}
        with self._lock:
            self._check()
            self._batch += 1
            target = self._kept if kept else self._fetched
            known = {key: entry for key in fresh if (entry := self._kept.get(key) or self._fetched.get(key))}
            self._make_room(sum(len(data) for key, data in fresh.items() if key not in known), known)
            for key, data in fresh.items():
                if key in known:
                    self._touch(key, known[key], kept=kept)
                else:
                    target[key] = (data, self._batch)
                    self._bytes[kept] += len(data)

    def _touch(self, key: bytes, entry: Entry, *, kept: bool) -> None:
        """A block that is here already was put again, or is to be kept from now on."""
        entry = (entry[0], self._batch)
        if key in self._kept:
            self._kept[key] = entry
        elif kept:
            del self._fetched[key]
            self._kept[key] = entry
            self._bytes[False] -= len(entry[0])
            self._bytes[True] += len(entry[0])
        else:
            self._fetched[key] = entry
            self._fetched.move_to_end(key)

    def _make_room(self, need: int, spare: Container[bytes]) -> None:
        used = sum(self._bytes.values())
        going: list[bytes] = []
        if self._evict:
            for key, (data, _batch) in self._fetched.items():
                if used + need <= self.quota:
                    break
                if key not in spare:
                    going.append(key)
                    used -= len(data)
        if used + need > self.quota:
            self._refused += 1
            raise QuotaExceeded(
                f"{need} bytes do not fit into the {self.quota} bytes of memory: {used} are taken by blocks that must "
                "stay; unpin and collect garbage, or allow more"
            )
        for key in going:
            self._drop(key)
        self._evicted += len(going)

    def _drop(self, key: bytes) -> bool:
        kept = key in self._kept
        entry = self._kept.pop(key, None) or self._fetched.pop(key, None)
        if entry is None:
            return False
        self._bytes[kept] -= len(entry[0])
        return True

    def delete_many(self, cids: Sequence[CID]) -> int:
        return self.discard(cid.multihash for cid in cids)

    def discard(self, keys: Iterable[bytes]) -> int:
        """Delete blocks by multihash; how many there were."""
        with self._lock:
            self._check()
            return sum(map(self._drop, keys))

    def keys(self) -> Iterator[bytes]:
        with self._lock:
            self._check()
            found = [*self._kept, *self._fetched]
        return iter(found)

    def promote(self, cids: Sequence[CID]) -> None:
        with self._lock:
            self._check()
            self._batch += 1
            entries = []
            for cid in cids:
                entry = self._kept.get(cid.multihash) or self._fetched.get(cid.multihash)
                if entry is None:
                    raise NotFound(f"block {cid} is not in the store", cid=cid)
                entries.append(entry)
            for cid, entry in zip(cids, entries, strict=True):
                self._touch(cid.multihash, entry, kept=True)

    @contextmanager
    def hold(self) -> Iterator[None]:
        token = object()
        with self._lock:
            self._holds[token] = self._batch
        try:
            yield
        finally:
            with self._lock:
                del self._holds[token]

    def mark(self) -> Mark:
        with self._lock:
            oldest = min(self._holds.values(), default=self._batch)
        return Mark(oldest, oldest)

    def sweep(self, reachable: Container[bytes], mark: Mark) -> Iterator[list[bytes]]:
        names = list(self.keys())
        for start in range(0, len(names), SWEEP_BATCH):
            gone = []
            with self._lock:
                for key in names[start : start + SWEEP_BATCH]:
                    entry = self._kept.get(key) or self._fetched.get(key)
                    if entry is not None and entry[1] <= mark.kept and key not in reachable:
                        self._drop(key)
                        gone.append(key)
            if gone:
                yield gone

    def verify(self) -> Iterator[Checked]:
        for key in self.keys():
            entry = self._kept.get(key) or self._fetched.get(key)
            if entry is not None:
                yield Checked(key, len(entry[0]), check_block(key, entry[0]))

    def statistics(self) -> StoreStatistics:
        with self._lock:
            return StoreStatistics(
                kept_blocks=len(self._kept), kept_bytes=self._bytes[True], fetched_blocks=len(self._fetched),
                fetched_bytes=self._bytes[False], file_bytes=0, quota=self.quota, hits=self._hits,
                misses=self._misses, evicted=self._evicted, refused=self._refused, open_views=self._views,
            )  # fmt: skip

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._kept.clear()
            self._fetched.clear()
            self._bytes = {True: 0, False: 0}

    def __repr__(self) -> str:
        found = self.statistics()
        return f"<MemoryStore {found.blocks} blocks, {found.bytes} of {self.quota} bytes>"
