"""Heat that outlives the process: in the environment of fetched blocks, shared by all processes that have it open.

heat     multihash -> score, cost (see ``heat``)
state    "heat"    -> where the clock of heat stands

Uses are gathered in memory and added to what is stored a batch at a time, in transactions that nothing waits for. What
was gathered goes with a process that is killed; what was stored stays, as the cache itself does.

The clock of heat is one that nobody can set: seconds since the machine started, on top of where it stood before. What
passes between two starts of the machine is taken from its clock of days, if that went forward, and up to
``HEAT_AWAY_HALF_LIVES``: a date that is wrong cools nothing down to nothing, and heats nothing up.
"""

from __future__ import annotations

import logging
import threading
import time
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ipfs_kit_py.core.config import (
    HEAT_AWAY_HALF_LIVES,
    HEAT_HALF_LIFE_SECONDS,
    HEAT_KEYS,
    HEAT_PENDING,
    HEAT_STORED,
    HEAT_TXN_KEYS,
    STORE_SCAN_BATCH,
)
from ipfs_kit_py.core.errors import NotRunning, StorageError
from ipfs_kit_py.storage.heat import Heat, HeatStatistics, Warmth, coldest, heat_at, hottest, merged
from ipfs_kit_py.storage.leases_layout import now_ns
from ipfs_kit_py.storage.unclean import boot_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import lmdb

    from ipfs_kit_py.storage.environment import Environment

    Txn = lmdb.Transaction[memoryview]

logger = logging.getLogger(__name__)

_ROW = Struct(">df")
_CLOCK = Struct(">40sddd")  # boot, offset, where it stood when it was written, the clock of days at that time
_CLOCK_KEY = b"heat"


class HeatBook(Protocol):
    """The heat of a store's blocks, as its owner asks for it. Thread safe."""

    def on_access(self, multihashes: Sequence[bytes]) -> None:
        """Blocks are used now."""
        ...

    def on_fetched(self, multihashes: Sequence[bytes], seconds: float) -> None:
        """Blocks came from the tier below, each in so many seconds."""
        ...

    def heat_of(self, multihash: bytes) -> float:
        """The heat of a block, 0 where there is none."""
        ...

    def hottest(self, count: int) -> list[tuple[bytes, float]]:
        """The ``count`` hottest blocks, here or not, with their heat."""
        ...

    def coldest(self, count: int) -> list[tuple[bytes, float]]:
        """The ``count`` coldest of those with a heat, here or not."""
        ...

    def statistics(self) -> HeatStatistics: ...


def machine_seconds() -> float:
    """Seconds of the clock that all processes share and nobody sets."""
    return now_ns() / 1e9


class MemoryHeat:
    """Heat that ends with the process."""

    def __init__(self, clock: Callable[[], float] = machine_seconds, most: int = HEAT_KEYS) -> None:
        self._clock = clock
        self._heat = Heat(most=most)
        self._lock = threading.Lock()

    def on_access(self, multihashes: Sequence[bytes]) -> None:
        with self._lock:
            self._heat.on_access(multihashes, self._clock())

    def on_fetched(self, multihashes: Sequence[bytes], seconds: float) -> None:
        with self._lock:
            self._heat.on_fetched(multihashes, seconds, self._clock())

    def heat_of(self, multihash: bytes) -> float:
        with self._lock:
            return self._heat.heat_of(multihash, self._clock())

    def hottest(self, count: int) -> list[tuple[bytes, float]]:
        with self._lock:
            return self._heat.hottest(count, self._clock())

    def coldest(self, count: int) -> list[tuple[bytes, float]]:
        with self._lock:
            return self._heat.coldest(count, self._clock())

    def statistics(self) -> HeatStatistics:
        with self._lock:
            return self._heat.statistics()

    def __repr__(self) -> str:
        return f"<MemoryHeat {self._heat!r}>"


class Clocks(NamedTuple):
    """What tells the time: seconds since the machine started and a name of that start, and seconds of the day's
    clock."""

    machine: Callable[[], float] = machine_seconds
    boot: Callable[[], str | None] = boot_id
    days: Callable[[], float] = time.time


class HeatStore:
    """The heat of blocks in one environment. ``writing`` is called before it is written. Thread safe.

    Heat is a hint: where it cannot be stored, on a full disk, it is lost and counted, and no read or write fails.
    """

    def __init__(
        self,
        environment: Environment,
        writing: Callable[[], None],
        *,
        half_life: float = HEAT_HALF_LIFE_SECONDS,
        most: int = HEAT_STORED,
        clocks: Clocks | None = None,
    ) -> None:
        self._environment = environment
        self._writing = writing
        self._table, self._state = environment.tables["heat"], environment.tables["state"]
        self._half_life = half_life
        self._most = most
        self._clocks = clocks or Clocks()
        self._boot = (self._clocks.boot() or "").encode()
        self._pending = Heat(half_life, 2 * HEAT_PENDING)
        self._flushing: dict[bytes, Warmth] = {}
        self._lock = threading.Lock()  # of what is in memory; held for moments
        self._turn = threading.Lock()  # held while storing
        self._lost = 0
        self._hand = b""
        with environment.reading() as txn:
            self._offset = self._set_clock(txn)

    # --- its clock ----------------------------------------------------------------------------------------------------

    def _set_clock(self, txn: Txn) -> float:
        """What is added to the machine's seconds."""
        row = txn.get(_CLOCK_KEY, db=self._state)
        if row is None:
            return 0.0
        boot, offset, stood, day = _CLOCK.unpack(row)
        if self._boot and boot.rstrip(b"\0") == self._boot:
            return float(offset)
        away = min(max(self._clocks.days() - day, 0.0), HEAT_AWAY_HALF_LIVES * self._half_life)
        return float(stood + away - self._clocks.machine())

    def _clock_row(self, txn: Txn) -> bytes:
        """Where the clock stands; the offset of the process that was first since the machine started counts."""
        row = txn.get(_CLOCK_KEY, db=self._state)
        if row is not None and self._boot and bytes(row[:40]).rstrip(b"\0") == self._boot:
            self._offset = float(_CLOCK.unpack(row)[1])
        return _CLOCK.pack(self._boot, self._offset, self._now(), self._clocks.days())

    def _now(self) -> float:
        return self._clocks.machine() + self._offset

    @property
    def when(self) -> float:
        """Half-lives since the beginning of the scale."""
        return self._now() / self._half_life

    # --- uses ---------------------------------------------------------------------------------------------------------

    def on_access(self, multihashes: Sequence[bytes]) -> None:
        with self._lock:
            self._pending.on_access(multihashes, self._now())
            full = len(self._pending) >= HEAT_PENDING
        if full and not self._turn.locked():
            self.flush()

    def on_fetched(self, multihashes: Sequence[bytes], seconds: float) -> None:
        with self._lock:
            self._pending.on_fetched(multihashes, seconds, self._now())
            full = len(self._pending) >= HEAT_PENDING
        if full and not self._turn.locked():
            self.flush()

    def flush(self) -> None:
        """Store what was gathered; not within a write transaction."""
        with self._turn:
            with self._lock:
                if not len(self._pending):
                    return
                self._flushing = self._pending.take()
            rows = list(self._flushing.items())
            try:
                self._writing()
                for start in range(0, len(rows), HEAT_TXN_KEYS):
                    part = rows[start : start + HEAT_TXN_KEYS]
                    self._environment.write(lambda txn, part=part: self._store(txn, part), "storing heat")  # type: ignore[misc]
            except (StorageError, NotRunning):
                logger.debug("heat of %d blocks is lost", len(rows), exc_info=True)
                self._lost += len(rows)
            finally:
                with self._lock:
                    self._flushing = {}

    def _store(self, txn: Txn, rows: list[tuple[bytes, Warmth]]) -> None:
        when = self.when
        for key, new in rows:
            txn.put(key, _ROW.pack(*merged(self._stored(txn, key), new, when)), db=self._table)
        txn.put(_CLOCK_KEY, self._clock_row(txn), db=self._state)
        excess = txn.stat(self._table)["entries"] - self._most
        while excess > 0:
            excess -= self._forget(txn)

    def _forget(self, txn: Txn) -> int:
        """Of the next keys in their order, which is that of chance, the colder half goes; how many those are."""
        batch: list[tuple[float, bytes]] = []
        with txn.cursor(self._table) as cursor:
            if not cursor.set_range(self._hand + b"\0"):
                cursor.first()
            for name, row in cursor:
                batch.append((_ROW.unpack(row)[0], bytes(name)))
                if len(batch) == 256:
                    break
        self._hand = batch[-1][1] if len(batch) == 256 else b""
        going = sorted(batch)[: (len(batch) + 1) // 2]
        for _score, key in going:
            txn.delete(key, db=self._table)
        return len(going)

    # --- asking -------------------------------------------------------------------------------------------------------

    def _stored(self, txn: Txn, key: bytes) -> Warmth | None:
        row = txn.get(key, db=self._table)
        return None if row is None else Warmth(*_ROW.unpack(row))

    def find(self, txn: Txn, key: bytes) -> Warmth | None:
        """What is known of a block, stored or gathered; ``txn`` is any of the environment."""
        found = self._stored(txn, key)
        for gathered in (self._flushing.get(key), self._pending.get(key)):
            if gathered is not None:
                found = merged(found, gathered, self.when)
        return found

    def heat_of(self, multihash: bytes) -> float:
        with self._environment.reading() as txn:
            found = self.find(txn, multihash)
        return 0.0 if found is None else heat_at(found.score, self.when)

    def _rows(self) -> Iterator[tuple[bytes, Warmth]]:
        after = b""
        while batch := self._environment.scan("heat", after, STORE_SCAN_BATCH):
            for key, row in batch:
                yield key, Warmth(*_ROW.unpack(row))
            after = batch[-1][0]

    def hottest(self, count: int) -> list[tuple[bytes, float]]:
        self.flush()
        return hottest(self._rows(), count, self.when)

    def coldest(self, count: int) -> list[tuple[bytes, float]]:
        self.flush()
        return coldest(self._rows(), count, self.when)

    def statistics(self) -> HeatStatistics:
        with self._environment.reading() as txn:
            stored = int(txn.stat(self._table)["entries"])
        return HeatStatistics(stored, len(self._pending), self._lost, self._half_life)

    def __repr__(self) -> str:
        return f"<HeatStore {self._environment.path} pending={len(self._pending)}>"
