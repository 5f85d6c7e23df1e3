"""One group of missing blocks and the race of their sources, hedged: who is asked for which block, and when. Sans-I/O.

The source from which a block is expected first is asked first. When it has had its usual time the next one is asked
as well, and so on; one that says no, or fails, makes room at once. The first block to come ends the race for it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import TYPE_CHECKING

from ipfs_kit_py.core.config import MISS_RECHECK_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ipfs_kit_py.content.miss.origin import Absent, Origin
    from ipfs_kit_py.core.cid import CID

_CHECK_FIRST, _CHECK_MOST = 0.004, 1.0  # seconds until a patient source is asked whether it has any hope, doubling


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask a source for blocks. A place of the source (``in_flight``) is taken for each, unless it is patient."""

    origin: Origin
    cids: tuple[CID, ...]


@dataclass(frozen=True, slots=True)
class Drop:
    """Another was faster: the source need not give the block any more."""

    origin: Origin
    cid: CID


@dataclass(frozen=True, slots=True)
class Check:
    """Find out whether a patient source has any hope of these blocks, and tell ``on_unlikely`` of those without."""

    origin: Origin
    cids: tuple[CID, ...]


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Nobody has the block. ``failed`` says of each source that could not be asked why; empty: all said no."""

    cid: CID
    failed: dict[str, str]


Action = Ask | Drop | Check | GiveUp


@dataclass(frozen=True)
class RaceStatistics:
    """``wanted`` blocks are not here yet; ``waiting`` of them wait for a place at a source."""

    wanted: int
    waiting: int
    hedges: int


class _Hunt:
    """One block: the sources that were asked and when, those that are out and until when, and why."""

    __slots__ = ("asked", "at", "cid", "failed", "out", "unlikely", "waits_for")

    def __init__(self, cid: CID) -> None:
        self.cid = cid
        self.asked: dict[Origin, float] = {}
        self.out: dict[Origin, float] = {}
        self.failed: dict[str, str] = {}
        self.at = inf  # when the next source is due
        self.unlikely = False
        self.waits_for: Origin | None = None  # that had no place when it was looked at last


class Race:
    """The missing blocks of one caller. ``origins`` and ``absent`` are shared with the other races of the node."""

    def __init__(self, origins: Sequence[Origin], absent: Absent) -> None:
        self._origins = origins
        self._absent = absent
        self._hunts: dict[CID, _Hunt] = {}
        self._due: dict[CID, _Hunt] = {}  # those for which another source is to be asked
        self._timers: list[tuple[float, int, _Hunt]] = []
        self._numbers = count()
        self._actions: deque[Action] = deque()
        self._stale = False  # whether those that are due may have a place now
        self._check_at = inf
        self._check_pause = _CHECK_FIRST
        self._hedges = 0

    # --- events -------------------------------------------------------------------------------------------------------

    def on_want(self, cids: Iterable[CID], now: float) -> None:
        """Blocks are wanted."""
        for cid in cids:
            if cid not in self._hunts:
                self._due[cid] = self._hunts[cid] = _Hunt(cid)
        self._stale = True

    def on_block(self, cid: CID, now: float, origin: Origin | None = None, size: int = 0) -> None:
        """A block has come, from ``origin`` or (``None``) by another way."""
        hunt = self._hunts.pop(cid, None)
        if hunt is None:
            return
        self._due.pop(cid, None)
        hunt.at = inf
        for other, since in hunt.asked.items():
            if other is origin:
                other.on_block(now - since, size)
            else:
                other.on_lost(now - since)
                if not other.patient:
                    self._actions.append(Drop(other, cid))

    def on_absent(self, origin: Origin, cid: CID, now: float) -> None:
        """A source has not got a block."""
        self._absent.add(origin, cid.multihash, now)
        self._out(origin, cid, now, inf)

    def on_failure(self, origin: Origin, cid: CID, why: str, now: float) -> None:
        """A source failed in giving a block. It is asked again only while peers are waited for anyway."""
        hunt = self._hunts.get(cid)
        if hunt is None:
            return
        hunt.failed[origin.name] = why
        waits = any(other.patient for other in hunt.asked if other is not origin)
        self._out(origin, cid, now, now + MISS_RECHECK_SECONDS if waits else inf)

    def on_unlikely(self, origin: Origin, cids: Iterable[CID], now: float) -> None:
        """A patient source has no hope of these blocks: the next is asked, while it goes on."""
        for cid in cids:
            hunt = self._hunts.get(cid)
            if hunt is not None and not hunt.unlikely:
                hunt.unlikely = True
                origin.on_unlikely()
                self._make_due(hunt)

    def on_place(self, now: float) -> None:
        """A source has a place again, or is no longer left alone."""
        self._stale = bool(self._due)

    def cancel(self, now: float) -> None:
        """The caller leaves."""
        for cid in list(self._hunts):
            hunt = self._hunts.pop(cid)
            hunt.at = inf
            self._actions.extend(Drop(origin, cid) for origin in hunt.asked if not origin.patient)
        self._due.clear()

    def _out(self, origin: Origin, cid: CID, now: float, until: float) -> None:
        hunt = self._hunts.get(cid)
        if hunt is None or hunt.asked.pop(origin, None) is None:
            return
        hunt.out[origin] = until
        if all(other.patient for other in hunt.asked):
            self._make_due(hunt)

    def _make_due(self, hunt: _Hunt) -> None:
        hunt.at = inf
        hunt.waits_for = None
        self._due[hunt.cid] = hunt
        self._stale = True

    # --- time ---------------------------------------------------------------------------------------------------------

    def deadline(self) -> float | None:
        """When to call ``on_timeout``."""
        while self._timers and self._timers[0][2].at != self._timers[0][0]:
            heappop(self._timers)
        at = min(self._timers[0][0] if self._timers else inf, self._check_at if self._hunts else inf)
        return None if at == inf else at

    def on_timeout(self, now: float) -> None:
        """Sources have had their time."""
        while (at := self.deadline()) is not None and at <= now:
            if at == self._check_at:
                self._check(now)
                continue
            _at, _number, hunt = heappop(self._timers)
            self._make_due(hunt)

    def _check(self, now: float) -> None:
        """Have the hope of patient sources checked for the blocks that nobody else is asked for."""
        asked: dict[Origin, list[CID]] = {}
        for cid, hunt in self._hunts.items():
            if hunt.asked and not hunt.unlikely:
                for origin in hunt.asked:
                    if origin.patient:
                        asked.setdefault(origin, []).append(cid)
        self._actions.extend(Check(origin, tuple(cids)) for origin, cids in asked.items())
        self._check_pause = min(2 * self._check_pause, _CHECK_MOST)
        self._check_at = now + self._check_pause if asked else inf

    # --- what to do ---------------------------------------------------------------------------------------------------

    def next_action(self, now: float) -> Action | None:
        """The next thing to do, ``None`` where there is nothing."""
        if self._stale:
            self._stale = False
            self._place(now)
        return self._actions.popleft() if self._actions else None

    def _place(self, now: float) -> None:
        asks: dict[Origin, list[CID]] = {}
        ahead: dict[Origin, int] = {}
        full = {origin for origin in self._origins if not origin.free and not origin.open}
        for hunt in list(self._due.values()):
            if hunt.waits_for in full:  # still: what it waits for was the best, and it goes on from there
                origin: Origin | None = hunt.waits_for
            else:
                origin = self._choose(hunt, ahead, now)
            if origin is None:
                del self._due[hunt.cid]
                self._rest(hunt, now)
            elif origin in full:
                hunt.waits_for = origin
                ahead[origin] = ahead.get(origin, 0) + 1
            else:
                del self._due[hunt.cid]
                hunt.waits_for = None
                asks.setdefault(origin, []).append(hunt.cid)
                self._hedges += bool(hunt.asked)
                hunt.asked[origin] = now
                self._set_timer(hunt, now + origin.lead())
                if not origin.patient:
                    origin.in_flight += 1
                    if not origin.free:
                        full.add(origin)
        for origin, cids in asks.items():
            self._actions.append(Ask(origin, tuple(cids)))
            if origin.patient:
                self._check_pause = _CHECK_FIRST
                self._check_at = min(self._check_at, now + _CHECK_FIRST)

    def _choose(self, hunt: _Hunt, ahead: dict[Origin, int], now: float) -> Origin | None:
        """The source from which the block is expected first, of those that were not asked; it may have no place."""
        best, least = None, inf
        for origin in self._origins:
            if origin in hunt.asked or origin.open or hunt.out.get(origin, 0.0) > now:
                continue
            if self._absent.until(origin, hunt.cid.multihash, now) is not None:
                continue
            waiting = ahead.get(origin, 0) + (0 if origin.free else 1)
            seconds = origin.expected(waiting)
            if seconds < least:
                best, least = origin, seconds
        return best

    def _rest(self, hunt: _Hunt, now: float) -> None:
        """Nobody is left who can be asked now: wait for those that were, or give up."""
        if hunt.asked:
            patient_only = all(origin.patient for origin in hunt.asked)
            self._set_timer(hunt, now + MISS_RECHECK_SECONDS if patient_only else inf)
            return
        del self._hunts[hunt.cid]
        for origin in self._origins:
            if origin.open and origin.name not in hunt.failed:
                hunt.failed[origin.name] = f"is left alone for {origin.breaker.until - now:.0f} s after failures"
        self._actions.append(GiveUp(hunt.cid, hunt.failed))

    def _set_timer(self, hunt: _Hunt, at: float) -> None:
        hunt.at = at
        if at < inf:
            heappush(self._timers, (at, next(self._numbers), hunt))

    # --- state --------------------------------------------------------------------------------------------------------

    def is_wanted(self, cid: CID) -> bool:
        """Whether a block is still waited for."""
        return cid in self._hunts

    def statistics(self) -> RaceStatistics:
        """What is under way."""
        return RaceStatistics(wanted=len(self._hunts), waiting=len(self._due), hedges=self._hedges)

    def __repr__(self) -> str:
        return f"<Race {len(self._hunts)} wanted, {len(self._due)} waiting, {len(self._origins)} sources>"
