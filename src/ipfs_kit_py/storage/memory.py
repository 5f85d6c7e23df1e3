"""Blocks in memory: the reference that every other store is compared with, the hot tier, the store of a node without
a repo."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ipfs_kit_py.core.config import MEMORY_ONLY_BYTES, STORE_HIGH_WATER, SWEEP_BATCH
from ipfs_kit_py.core.errors import NotFound, NotRunning, QuotaExceeded
from ipfs_kit_py.storage.arc import AdaptiveReplacement
from ipfs_kit_py.storage.base import Checked, Mark, StoreStatistics, TierCounter, TierState, TierStatistics
from ipfs_kit_py.storage.heat_store import MemoryHeat
from ipfs_kit_py.storage.pins import MemoryPins
from ipfs_kit_py.storage.records import MemoryRecords
from ipfs_kit_py.storage.verify import check_block

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Sequence

    from ipfs_kit_py.core.cid import CID, Block
    from ipfs_kit_py.storage.arc import PolicyStatistics
    from ipfs_kit_py.storage.heat_store import HeatBook

    Entry = tuple[bytes, int]  # data, number of the batch that put it


class MemoryStore:
    """Blocks in memory, at most ``quota`` bytes of them.

    With ``evict`` fetched blocks make room, which of them ``arc`` decides; without it a batch that does not fit raises
    ``QuotaExceeded``. Kept blocks are never evicted (and end with the process all the same): what they take is taken
    off what the policy may fill.
    """

    def __init__(self, quota: int = MEMORY_ONLY_BYTES, *, evict: bool = True) -> None:
        self.quota = quota
        self.pins = MemoryPins()
        self.records = MemoryRecords()
        self.heat: HeatBook = MemoryHeat()
        self._evict = evict
        self._counter = TierCounter()
        self._lock = threading.Lock()
        self._kept: dict[bytes, Entry] = {}
        self._fetched: dict[bytes, Entry] = {}
        self._policy = AdaptiveReplacement(quota)  # has the keys of fetched blocks
        self._kept_bytes = 0
        self._batch = 0
        self._holds: dict[object, int] = {}
        self._closed = False
        self._evicted = self._refused = self._views = 0

    def _check(self) -> None:
        if self._closed:
            raise NotRunning("the store is closed")

    def _find(self, key: bytes) -> bytes | None:
        entry = self._kept.get(key)
        if entry is None:
            entry = self._fetched.get(key)
            if entry is None:
                return None
            self._policy.reuse(key)
        return entry[0]

    def get_many(self, cids: Sequence[CID]) -> list[bytes | None]:
        begun = time.perf_counter()
        keys = [cid.multihash for cid in cids]
        with self._lock:
            self._check()
            found = [self._find(key) for key in keys]
            here = [key for key, data in zip(keys, found, strict=True) if data is not None]
            size = sum([len(data) for data in found if data is not None])
            self._counter.add(len(keys), len(keys) - len(here), size, time.perf_counter() - begun)
        if here:
            self.heat.on_access(here)
        return found

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
            known = [key for key in fresh if key in self._kept or key in self._fetched]
            added = {key: data for key, data in fresh.items() if key not in self._kept and key not in self._fetched}
            try:
                self._keep(known, added) if kept else self._cache(known, added)
            except QuotaExceeded:
                self._refused += 1
                raise

    def _keep(self, known: Sequence[bytes], added: dict[bytes, bytes]) -> None:
        """Keep blocks that are here and new ones, or none of them."""
        moving = {key: entry[0] for key in known if (entry := self._fetched.get(key)) is not None}
        moved = sum(map(len, moving.values()))
        need = sum(map(len, added.values()))
        self._admit(need, self._kept_bytes + moved + need)
        for key in moving:
            self._policy.remove(key)
            del self._fetched[key]
        self._kept_bytes += moved + need
        for key, data in (moving | added).items():
            self._kept[key] = (data, self._batch)
        for key in known:
            self._kept[key] = (self._kept[key][0], self._batch)
        self._let_go(self._policy.resize(self.quota - self._kept_bytes))

    def _cache(self, known: Sequence[bytes], added: dict[bytes, bytes]) -> None:
        """Store new blocks as fetched ones; those that are here count as put and used now."""
        again = [key for key in known if key in self._fetched]
        need = sum(map(len, added.values()))
        self._admit(need, self._kept_bytes + sum(len(self._fetched[key][0]) for key in again) + need)
        going = self._policy.add_many([(key, len(data)) for key, data in added.items()], again)
        for key, data in added.items():
            self._fetched[key] = (data, self._batch)
        for key in again:
            self._policy.reuse(key)
        for key in known:
            home = self._fetched if key in self._fetched else self._kept
            home[key] = (home[key][0], self._batch)
        self._let_go(going)

    def _admit(self, need: int, staying: int) -> None:
        """``QuotaExceeded`` where ``need`` more bytes do not fit, ``staying`` of all having to be here then."""
        most = staying if self._evict else self._kept_bytes + self._policy.used + need
        if most > self.quota:
            raise QuotaExceeded(
                f"{need} bytes do not fit into the {self.quota} bytes of memory: {most - need} are taken by blocks "
                "that must stay; unpin and collect garbage, or allow more"
            )

    def _let_go(self, going: Sequence[bytes]) -> None:
        """The policy has let go of blocks."""
        for key in going:
            del self._fetched[key]
        self._evicted += len(going)

    def _drop(self, key: bytes) -> bool:
        entry = self._kept.pop(key, None)
        if entry is not None:
            self._kept_bytes -= len(entry[0])
            self._policy.resize(self.quota - self._kept_bytes)
            return True
        return self._fetched.pop(key, None) is not None and self._policy.remove(key)

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
            for cid in cids:
                if cid.multihash not in self._kept and cid.multihash not in self._fetched:
                    raise NotFound(f"block {cid} is not in the store", cid=cid)
            self._keep(list(dict.fromkeys(cid.multihash for cid in cids)), {})

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
                    entry = self._kept.get(key)
                    until = mark.fetched if entry is None else mark.kept
                    entry = entry or self._fetched.get(key)
                    if entry is not None and entry[1] <= until and key not in reachable:
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
                kept_blocks=len(self._kept), kept_bytes=self._kept_bytes, fetched_blocks=len(self._fetched),
                fetched_bytes=self._policy.used, file_bytes=0, quota=self.quota,
                hits=self._counter.hits, misses=self._counter.misses, evicted=self._evicted,
                refused=self._refused, open_views=self._views,
            )  # fmt: skip

    def use_heat(self, heat: HeatBook) -> None:
        """Count uses there from now on: with those of the tier below."""
        self.heat = heat

    def trim(self) -> int:
        """There is nothing to do: whatever is put makes room by itself."""
        return 0

    def tiers(self) -> list[TierStatistics]:
        found = self.statistics()
        state = TierState.FULL if found.bytes > STORE_HIGH_WATER * self.quota else TierState.OPEN
        return [self._counter.statistics("memory", found, TierState.CLOSED if self._closed else state)]

    def policy(self) -> PolicyStatistics:
        """Numbers of what decides which fetched blocks stay."""
        with self._lock:
            return self._policy.statistics()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._kept.clear()
            self._fetched.clear()
            self._kept_bytes = 0
            self._policy = AdaptiveReplacement(self.quota)

    def __repr__(self) -> str:
        found = self.statistics()
        return f"<MemoryStore {found.blocks} blocks, {found.bytes} of {self.quota} bytes>"
