"""The tables of blocks in one environment. Methods that take a transaction run in one of the caller's.

blocks   multihash -> bytes
meta     multihash -> number of the commit that put it, its place in that commit, its bytes
state    "counts"  -> blocks, bytes, bytes ever freed
order    commit and place -> multihash (fetched blocks only: oldest first)
heat     see ``heat_store`` (with the fetched blocks, of all blocks)
"""

from __future__ import annotations

from itertools import islice
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from ipfs_kit_py.core.config import EVICT_LEAST, EVICT_LOOKS, EVICT_SAMPLE, EVICT_SPARED
from ipfs_kit_py.storage.growth import GrowthGuard
from ipfs_kit_py.storage.heat import heat_at, worth
from ipfs_kit_py.storage.verified import Verified

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Sequence

    import lmdb
    from typing_extensions import Buffer

    from ipfs_kit_py.storage.environment import Environment
    from ipfs_kit_py.storage.heat_store import HeatStore
    from ipfs_kit_py.storage.leases_guard import LeaseGuard

    Txn = lmdb.Transaction[memoryview]

T = TypeVar("T")

_META = Struct(">QII")
_IN_USE = 1.0  # heat above which the next eviction does not look at a block again: of two uses lately
_PLACE = Struct(">QI")
_COUNTS = Struct(">QQQ")


class Counts(NamedTuple):
    """Blocks, their bytes, and the bytes that were ever freed, so that a difference tells what was since."""

    blocks: int = 0
    bytes: int = 0
    freed: int = 0


class BlockTable:
    """Blocks of one environment; ``leases`` tells which of them are being read in place."""

    def __init__(self, environment: Environment, leases: LeaseGuard) -> None:
        self.environment = environment
        self.guard = GrowthGuard(environment)
        self.leases = leases
        self.verified = Verified()
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

    def peek(self, txn: Txn, key: bytes) -> memoryview | None:
        """The block in place, whatever it is, its pages touched."""
        return txn.get(key, db=self._blocks)

    def get(self, txn: Txn, key: bytes) -> memoryview | None:
        """The block in place, its pages touched. Hashed when it is read for the first time since this process opened
        the environment; a false one is none."""
        data = txn.get(key, db=self._blocks)
        if data is not None and not self.verified.check(key, data):
            data.release()
            return None
        return data

    def whole_size(self, txn: Txn, key: bytes) -> int | None:
        """As ``size``, but ``None`` for a block that is known to be false."""
        return None if key in self.verified.bad else self.size(txn, key)

    def size(self, txn: Txn, key: bytes) -> int | None:
        """Bytes of a block; its own pages are not touched."""
        row = txn.get(key, db=self._meta)
        return None if row is None else int(_META.unpack(row)[2])

    def put(self, txn: Txn, blocks: Sequence[tuple[bytes, Buffer, int]]) -> list[bytes]:
        """Store blocks (multihash, bytes, size); those that are here count as put now. Returns the new ones,
        and those that replaced false ones."""
        counts, number, written, fresh, added = self.counts(txn), txn.id(), [], 0, 0
        for place, (key, data, size) in enumerate(blocks):
            if self._enter(txn, key, number, place, size):
                fresh += 1
                added += size
            elif key not in self.verified.bad:
                continue
            else:  # who reads the false one in place learns that it goes
                self.leases.held(number)
                self.leases.revoke((key,))
            txn.put(key, data, db=self._blocks)
            written.append(key)
        self._set_counts(txn, Counts(counts.blocks + fresh, counts.bytes + added, counts.freed))
        return written

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
            self.verified.forget(gone)
            self._set_counts(txn, Counts(counts.blocks - len(gone), counts.bytes - freed, counts.freed + freed))
        return gone

    def _remove(self, txn: Txn, key: bytes, number: int, place: int) -> None:
        txn.delete(key, db=self._meta)
        txn.delete(key, db=self._blocks)

    def scan(self, after: bytes, count: int) -> list[tuple[bytes, int, int]]:
        """Up to ``count`` blocks behind a multihash: multihash, commit, bytes."""
        rows = self.environment.scan("meta", after, count)
        return [(key, *_META.unpack(row)[::2]) for key, row in rows]


class _Candidate(NamedTuple):
    """A block that may be evicted; its place, and how many follow that are older than the youngest part."""

    worth: float
    key: bytes
    size: int
    used: bool
    place: bytes
    left: int


class FetchedTable(BlockTable):
    """Blocks of the cache, of which the coldest leave."""

    def __init__(self, environment: Environment, leases: LeaseGuard, heat: HeatStore) -> None:
        super().__init__(environment, leases)
        self._order = environment.tables["order"]
        self.heat = heat
        self._hand = b""  # where the next eviction begins to look
        self._left = 0  # so many blocks are older than the youngest part, from there on

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

    def evict(self, txn: Txn, need: int, spare: Container[bytes] = (), *, revoke: bool = True) -> list[bytes]:
        """Delete blocks until ``need`` bytes are free, ``spare`` ones excepted.

        Of a sample, at least ``EVICT_SAMPLE`` times what is needed, those go that are worth least (see ``heat``). It is
        taken in the order in which blocks came, from where the last one ended, around and around, and the youngest are
        left out (a clock: blocks that are in use cost a look for each turn, and nothing is written for them). Leased
        ones stay, as long as there are others: then, with ``revoke``, those leased longest ago lose their leases.
        """
        if need <= 0:
            return []
        leased = self.leases.held(txn.id())
        sample = self._sample(txn, need, spare, leased)
        going: list[bytes] = []
        for candidate in sorted(sample, key=lambda each: each.worth):
            if need <= 0:
                break
            going.append(candidate.key)
            need -= candidate.size
        self._move_hand(sample, set(going))
        if need > 0 and leased and revoke:
            going += self._revoke(txn, [key for key in leased if key not in spare], need)
        return self._delete(txn, going, None, ())

    def _sample(self, txn: Txn, need: int, spare: Container[bytes], leased: Container[bytes]) -> list[_Candidate]:
        """Blocks in the order of the clock: so many that ``need`` bytes of them are not in use, as far as that does
        not take too long."""
        found: dict[bytes, _Candidate] = {}
        total, unused, beyond, when = 0, 0, 0, self.heat.when
        for place, key, left in self._walk(txn):
            enough = unused >= need and total >= EVICT_SAMPLE * need and len(found) >= EVICT_LEAST
            if enough or beyond == EVICT_LOOKS or (total >= need and not left):
                break
            beyond += total >= need
            if key in spare or key in leased or key in found:
                continue
            size = self.size(txn, key) or 0
            warmth = self.heat.find(txn, key)
            used = warmth is not None and heat_at(warmth.score, when) > _IN_USE
            found[key] = _Candidate(worth(warmth, size, when), key, size, used, place, left)
            total += size
            unused += 0 if used else size
        return list(found.values())

    def _walk(self, txn: Txn) -> Iterator[tuple[bytes, bytes, int]]:
        """Place, multihash, and how many follow before the youngest part: from the hand on, then from the oldest on,
        and at last all there are, with none that follow."""
        blocks = self.counts(txn).blocks
        with txn.cursor(self._order) as cursor:
            for begin, most in ((self._hand, self._left), (b"", blocks - blocks // EVICT_SPARED)):
                if most and cursor.set_range(begin or b"\0"):
                    for at, (place, key) in enumerate(islice(cursor, most)):
                        yield bytes(place), bytes(key), most - at
            if cursor.first():
                for place, key in cursor:
                    yield bytes(place), bytes(key), 0

    def _move_hand(self, sample: list[_Candidate], gone: set[bytes]) -> None:
        """To the first of the sample that is neither gone nor in use, or behind all of it."""
        for candidate in sample:
            if not candidate.used and candidate.key not in gone:
                self._hand, self._left = candidate.place, candidate.left
                return
        if sample:
            self._hand, self._left = sample[-1].place + b"\0", max(sample[-1].left - 1, 0)

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
