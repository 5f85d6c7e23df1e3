"""The tables of blocks in one environment. Methods that take a transaction run in one of the caller's.

blocks   multihash -> bytes
meta     multihash -> number of the commit that put it, its place in that commit, its bytes
state    "counts"  -> blocks, bytes, bytes ever freed
order    commit and place -> multihash (fetched blocks only: oldest first)
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from ipfs_kit_py.core.config import STORE_RECENT_KEYS
from ipfs_kit_py.storage.growth import GrowthGuard

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence

    import lmdb
    from typing_extensions import Buffer

    from ipfs_kit_py.storage.environment import Environment
    from ipfs_kit_py.storage.leases_guard import LeaseGuard

    Txn = lmdb.Transaction[memoryview]

T = TypeVar("T")

_META = Struct(">QII")
_PASSED_OVER = 1024  # used blocks that one eviction may pass over, each of which it writes anew
_PLACE = Struct(">QI")
_COUNTS = Struct(">QQQ")


class Counts(NamedTuple):
    """Blocks, their bytes, and the bytes that were ever freed, so that a difference tells what was since."""

    blocks: int = 0
    bytes: int = 0
    freed: int = 0


class Recent:
    """Multihashes used lately, in two generations; the older one is forgotten when the younger is full."""

    def __init__(self, size: int = STORE_RECENT_KEYS) -> None:
        self._half = max(1, size // 2)
        self._young: set[bytes] = set()
        self._old: set[bytes] = set()

    def add(self, key: bytes) -> None:
        self._young.add(key)
        if len(self._young) >= self._half:
            self._young, self._old = set(), self._young

    def take(self, key: bytes) -> bool:
        """Whether the block was used since it was asked for the last time."""
        found = key in self._young or key in self._old
        self._young.discard(key)
        self._old.discard(key)
        return found


class BlockTable:
    """Blocks of one environment; ``leases`` tells which of them are being read in place."""

    def __init__(self, environment: Environment, leases: LeaseGuard) -> None:
        self.environment = environment
        self.guard = GrowthGuard(environment)
        self.leases = leases
        tables = environment.tables
        self._blocks, self._meta, self._state = tables["blocks"], tables["meta"], tables["state"]

    def write(self, job: Callable[[Txn], T], doing: str = "writing") -> T:
        """``Environment.write``, with what it freed remembered."""

        def noted(txn: Txn) -> tuple[T, int, int]:
            return job(txn), txn.id(), self.counts(txn).freed

        result, number, freed = self.environment.write(noted, doing)
        self.guard.committed(number, freed)
        return result

    def counts(self, txn: Txn) -> Counts:
        row = txn.get(b"counts", db=self._state)
        return Counts() if row is None else Counts(*_COUNTS.unpack(row))

    def current_counts(self) -> Counts:
        """The counts of the newest commit."""
        with self.environment.reading() as txn:
            return self.counts(txn)

    def _set_counts(self, txn: Txn, counts: Counts) -> None:
        txn.put(b"counts", _COUNTS.pack(*counts), db=self._state)

    def get(self, txn: Txn, key: bytes) -> memoryview | None:
        """The block in place, its pages touched."""
        return txn.get(key, db=self._blocks)

    def size(self, txn: Txn, key: bytes) -> int | None:
        """Bytes of a block; its own pages are not touched."""
        row = txn.get(key, db=self._meta)
        return None if row is None else int(_META.unpack(row)[2])

    def put(self, txn: Txn, blocks: Sequence[tuple[bytes, Buffer, int]]) -> list[bytes]:
        """Store blocks (multihash, bytes, size); those that are here count as put now. Returns the new ones."""
        counts, number, fresh, added = self.counts(txn), txn.id(), [], 0
        for place, (key, data, size) in enumerate(blocks):
            if self._enter(txn, key, number, place, size):
                txn.put(key, data, db=self._blocks)
                fresh.append(key)
                added += size
        self._set_counts(txn, Counts(counts.blocks + len(fresh), counts.bytes + added, counts.freed))
        return fresh

    def touch(self, txn: Txn, keys: Sequence[bytes]) -> list[bytes]:
        """Count blocks as put now. Returns those that are not here."""
        number, missing = txn.id(), []
        for place, key in enumerate(keys):
            size = self.size(txn, key)
            if size is None:
                missing.append(key)
            else:
                self._enter(txn, key, number, place, size)
        return missing

    def _enter(self, txn: Txn, key: bytes, number: int, place: int, size: int) -> bool:
        """Write a block's row; whether there was none."""
        fresh = txn.get(key, db=self._meta) is None
        txn.put(key, _META.pack(number, place, size), db=self._meta)
        return fresh

    def delete(self, txn: Txn, keys: Sequence[bytes], *, until: int | None = None) -> list[bytes]:
        """Delete blocks, of those put after the commit ``until`` and of those that are leased none. Returns those that
        were deleted."""
        return self._delete(txn, keys, until, self.leases.held(txn.id()))

    def _delete(self, txn: Txn, keys: Sequence[bytes], until: int | None, spare: Container[bytes]) -> list[bytes]:
        counts, gone, freed = self.counts(txn), [], 0
        for key in keys:
            row = txn.get(key, db=self._meta)
            if row is None or key in spare:
                continue
            number, place, size = _META.unpack(row)
            if until is None or number <= until:
                self._remove(txn, key, number, place)
                gone.append(key)
                freed += size
        if gone:
            self._set_counts(txn, Counts(counts.blocks - len(gone), counts.bytes - freed, counts.freed + freed))
        return gone

    def _remove(self, txn: Txn, key: bytes, number: int, place: int) -> None:
        txn.delete(key, db=self._meta)
        txn.delete(key, db=self._blocks)

    def scan(self, after: bytes, count: int) -> list[tuple[bytes, int, int]]:
        """Up to ``count`` blocks behind a multihash: multihash, commit, bytes."""
        rows = self.environment.scan("meta", after, count)
        return [(key, *_META.unpack(row)[::2]) for key, row in rows]


class FetchedTable(BlockTable):
    """Blocks of the cache, which the oldest leave first unless they were used meanwhile."""

    def __init__(self, environment: Environment, leases: LeaseGuard) -> None:
        super().__init__(environment, leases)
        self._order = environment.tables["order"]
        self.recent = Recent()

    def _enter(self, txn: Txn, key: bytes, number: int, place: int, size: int) -> bool:
        row = txn.get(key, db=self._meta)
        if row is not None:
            txn.delete(bytes(row[: _PLACE.size]), db=self._order)
        txn.put(key, _META.pack(number, place, size), db=self._meta)
        txn.put(_PLACE.pack(number, place), key, db=self._order)
        return row is None

    def _remove(self, txn: Txn, key: bytes, number: int, place: int) -> None:
        super()._remove(txn, key, number, place)
        txn.delete(_PLACE.pack(number, place), db=self._order)

    def evict(self, txn: Txn, need: int, place: int, spare: Container[bytes] = ()) -> list[bytes]:
        """Delete the oldest blocks until ``need`` bytes are free. Those in ``spare`` stay, and those used since they
        came this far begin again as the youngest (the clock algorithm); their places are counted from ``place``.
        Leased ones stay too, as long as there are others: then those leased longest ago lose their leases."""
        leased = self.leases.held(txn.id())
        going: list[bytes] = []
        used: list[tuple[bytes, int]] = []
        with txn.cursor(self._order) as cursor:
            for _place, value in cursor:
                if need <= 0:
                    break
                key = bytes(value)
                size = self.size(txn, key) or 0
                if key in spare or key in leased:
                    continue
                if len(used) < _PASSED_OVER and self.recent.take(key):
                    used.append((key, size))
                else:
                    going.append(key)
                    need -= size
        while need > 0 and used:
            key, size = used.pop(0)
            going.append(key)
            need -= size
        if need > 0 and leased:
            going += self._revoke(txn, [key for key in leased if key not in spare], need)
        number = txn.id()
        for key, size in used:
            self._enter(txn, key, number, place, size)
            place += 1
        return self._delete(txn, going, None, ())

    def _revoke(self, txn: Txn, leased: Sequence[bytes], need: int) -> list[bytes]:
        """Take leases away until their blocks make ``need`` bytes; returns those blocks."""
        going = []
        for key in leased:
            size = self.size(txn, key)
            if need <= 0:
                break
            if size is not None:
                going.append(key)
                need -= size
        self.leases.revoke(going)
        return going
