"""Which blocks to fetch before they are asked for, within a budget, and whether that pays. Sans-I/O.

Four predictors guess: the children of a node that was read, the siblings that come after a block, the blocks that
followed it before, the roots that were read together with it. While a predictor only watches, its guesses are compared
with what is read and cost nothing; one that is often enough right is switched on, and off again when what it has
brought is not read. So a reader whom nobody can guess has no traffic of it, and trying again is free.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from ipfs_kit_py.core import multihash
from ipfs_kit_py.core.config import (
    PREFETCH_BATCH,
    PREFETCH_CANDIDATES,
    PREFETCH_HORIZON,
    PREFETCH_MAX_BYTES,
    PREFETCH_MIN_BYTES,
    PREFETCH_PENDING,
    PREFETCH_RECENT,
    PREFETCH_SECONDS,
    PREFETCH_SHARE,
    PREFETCH_STREAMS,
    PREFETCH_WATCHED,
    SESSION_UNKNOWN_BLOCK_BYTES,
)
from ipfs_kit_py.storage.prefetch_guesses import Affinity, Family, Sequences
from ipfs_kit_py.storage.prefetch_worth import PredictorStatistics, Worth

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ipfs_kit_py.core.cid import CID

_GAIN = 0.125  # of a new sample in what is measured
_LEAST_BYTES = 1024  # that a block counts against the budget: a request costs too


@dataclass(frozen=True, slots=True)
class Fetch:
    """Blocks worth fetching now, the likeliest first; ``size_hint`` is what one is expected to weigh in bytes."""

    cids: tuple[CID, ...]
    size_hint: int


@dataclass(frozen=True, slots=True)
class PrefetchStatistics:
    """Of all predictors. ``budget`` bytes may be under way or unread, ``held`` are; ``latency`` is the seconds of a
    miss, ``rate`` the bytes a second of what was fetched ahead, ``size`` the bytes of a block, all smoothed; ``paused``
    counts the times that it made way for misses."""

    predictors: tuple[PredictorStatistics, ...]
    budget: int
    held: int
    in_flight: int
    waiting: int
    latency: float | None
    rate: float | None
    size: int
    paused: int

    @property
    def issued(self) -> int:
        """Blocks fetched ahead."""
        return sum(one.issued for one in self.predictors)

    @property
    def used(self) -> int:
        """Of them, those that were read."""
        return sum(one.used for one in self.predictors)

    @property
    def wasted(self) -> int:
        """Of them, those that were not read while it mattered."""
        return sum(one.wasted for one in self.predictors)

    @property
    def wasted_bytes(self) -> int:
        """Bytes of blocks that were fetched for nothing."""
        return sum(one.wasted_bytes for one in self.predictors)


class _Guess:
    """One guess that is not settled, made at time ``at``, wrong after read number ``until``. ``size`` is what it counts
    against the budget, 0 for one that is only watched."""

    __slots__ = ("at", "came", "size", "until", "worth")

    def __init__(self, worth: Worth, now: float, until: int, size: int) -> None:
        self.worth = worth
        self.at = now
        self.until = until
        self.size = size
        self.came: float | None = None

    def gone(self, at: float) -> bool:
        """Whether it had come by then: who did not find it in the store knows that it went again."""
        return self.came is not None and self.came < at


class _Candidate(NamedTuple):
    cid: CID
    worth: Worth


class Prefetcher:
    """The engine. ``memory`` is the memory tier's size in bytes, which the budget is a part of."""

    def __init__(self, memory: int) -> None:
        self._most = max(PREFETCH_MIN_BYTES, min(memory // PREFETCH_SHARE, PREFETCH_MAX_BYTES))
        self._budget = self._most
        self._family, self._sequences, self._affinity = Family(), Sequences(), Affinity()
        self._children, self._siblings = Worth("children"), Worth("siblings")
        self._followers, self._together = Worth("sequences"), Worth("affinity")
        self._worths = (self._children, self._siblings, self._followers, self._together)
        self._guesses: OrderedDict[bytes, _Guess] = OrderedDict()  # being fetched or unread, by multihash
        self._watched: OrderedDict[bytes, _Guess] = OrderedDict()  # likewise those that are only looked at
        self._queue: OrderedDict[bytes, _Candidate] = OrderedDict()
        self._flying: set[bytes] = set()
        self._recent: OrderedDict[bytes, None] = OrderedDict()
        self._last: OrderedDict[int, CID] = OrderedDict()
        self._latest: CID | None = None
        self._held = 0  # bytes of guesses that are fetched or being so
        self._reads = self._paused = 0
        self._latency: float | None = None
        self._rate: float | None = None
        self._size = float(SESSION_UNKNOWN_BLOCK_BYTES)
        self._sized = False

    # --- events -------------------------------------------------------------------------------------------------------

    def on_read(
        self,
        cid: CID,
        links: Sequence[CID],
        size: int,
        now: float,
        *,
        waited: float | None = None,
        stream: int = 0,
    ) -> None:
        """A reader got a block of ``size`` bytes: from the store, or after it ``waited`` so many seconds for it.
        ``links`` are the block's own, in order; ``stream`` tells readers apart."""
        if cid.hash_code == multihash.IDENTITY:
            return
        self._reads += 1
        self._weigh(size)
        self._settle(cid, size, now, waited)
        self._remember(cid)
        before = self._before(stream, cid)
        root = not self._family.knows(cid)
        if before is not None and before != cid and not self._family.follows(before, cid):
            self._sequences.learn(before, cid)
        if root:
            self._affinity.learn(cid, now)
        self._family.learn(cid, links)
        for worth in self._worths:
            worth.judge(*self._stakes())
        self._guess(self._children, self._family.children(cid), now)
        self._guess(self._siblings, self._family.siblings(cid), now)
        self._guess(self._followers, self._sequences.after(cid), now)
        if root:
            self._guess(self._together, self._affinity.together(cid), now)
        self.on_timeout(now)

    def on_here(self, cids: Iterable[CID]) -> None:
        """Blocks of a ``Fetch`` need not be fetched: they are in the store. This says nothing about the guess."""
        for cid in cids:
            guess = self._drop(cid.multihash)
            if guess is not None:
                self._remember(cid)

    def on_fetched(self, cid: CID, size: int, now: float) -> None:
        """A block of a ``Fetch`` came and is stored."""
        self._flying.discard(cid.multihash)
        self._weigh(size)
        guess = self._guesses.get(cid.multihash)
        if guess is not None and guess.came is None:
            self._held += max(size, _LEAST_BYTES) - guess.size
            guess.size = max(size, _LEAST_BYTES)
            guess.came = now
            guess.worth.on_fetched(size)

    def on_done(self, cids: Iterable[CID], size: int, seconds: float) -> None:
        """A ``Fetch`` has ended, after ``seconds``, in which blocks of ``size`` bytes came. Of its blocks those that
        did not come are given up: they are no longer wanted, or nobody has them."""
        if size and seconds > 0:
            rate = size / seconds
            self._rate = rate if self._rate is None else self._rate + _GAIN * (rate - self._rate)
        for cid in cids:
            self._flying.discard(cid.multihash)
            guess = self._guesses.get(cid.multihash)
            if guess is not None and guess.came is None:
                self._drop(cid.multihash)

    def on_evicted(self, keys: Iterable[bytes]) -> None:
        """Blocks went from the store, by multihash. One that was not read yet says that the budget is too large."""
        for key in keys:
            self._recent.pop(key, None)
            guess = self._guesses.get(key)
            if guess is not None and guess.came is not None:
                self._waste(key)
                self._budget = max(self._budget // 2, min(PREFETCH_MIN_BYTES, self._most))

    def on_pressure(self) -> None:
        """Readers wait for longer than usual: what waits for its turn is forgotten, and less is fetched at once."""
        self._paused += 1
        self._queue.clear()
        self._budget = max(self._budget // 2, min(PREFETCH_MIN_BYTES, self._most))

    # --- time ---------------------------------------------------------------------------------------------------------

    def deadline(self) -> float | None:
        """When to call ``on_timeout``."""
        first = [next(iter(table.values())).at for table in (self._guesses, self._watched) if table]
        return min(first) + PREFETCH_SECONDS if first else None

    def on_timeout(self, now: float) -> None:
        """Guesses that did not come true in time were wrong."""
        while (key := self._late(self._guesses, now)) is not None:
            self._waste(key)
        while (key := self._late(self._watched, now)) is not None:
            self._watched.pop(key).worth.on_watched(right=False)

    def _late(self, table: OrderedDict[bytes, _Guess], now: float) -> bytes | None:
        """The oldest guess, where its time is over: in seconds, in reads, or because there are too many."""
        if not table:
            return None
        key, guess = next(iter(table.items()))
        late = guess.at + PREFETCH_SECONDS <= now or self._reads > guess.until
        return key if late or len(table) > PREFETCH_PENDING else None

    # --- what to do ---------------------------------------------------------------------------------------------------

    def next_action(self, now: float) -> Fetch | None:
        """Blocks to fetch now, ``None`` where nothing is worth it or the budget is used up."""
        if self._flying:
            return None
        batch: list[CID] = []
        size = max(int(self._size), _LEAST_BYTES)
        while self._queue and len(batch) < PREFETCH_BATCH and self._held + size <= self._budget:
            key, (cid, worth) = self._queue.popitem(last=False)
            if not worth.free or key in self._recent or key in self._guesses:
                continue
            self._watched.pop(key, None)
            self._guesses[key] = _Guess(worth, now, self._reads + PREFETCH_HORIZON + 2 * worth.window, size)
            self._held += size
            self._flying.add(key)
            worth.on_issued()
            batch.append(cid)
        return Fetch(tuple(batch), int(self._size)) if batch else None

    def _stakes(self) -> tuple[float, float]:
        """Seconds that a right guess saves, and seconds of the line that a wrong one costs."""
        benefit = self._latency or 0.0
        cost = self._size / self._rate if self._rate else benefit / 2
        return benefit, cost

    def _guess(self, worth: Worth, likely: Iterator[CID], now: float) -> None:
        for cid in islice(likely, worth.window):
            key = cid.multihash
            if key in self._recent or key in self._queue or cid.hash_code == multihash.IDENTITY:
                continue
            if key in self._guesses:
                continue
            if worth.on:
                self._queue[key] = _Candidate(cid, worth)
                if len(self._queue) > PREFETCH_CANDIDATES:
                    self._queue.popitem(last=False)
            elif key not in self._watched:
                self._watched[key] = _Guess(worth, now, self._reads + PREFETCH_WATCHED, 0)

    # --- settling -----------------------------------------------------------------------------------------------------

    def _settle(self, cid: CID, size: int, now: float, waited: float | None) -> None:
        self._queue.pop(cid.multihash, None)
        watched = self._watched.pop(cid.multihash, None)
        if watched is not None:  # what was here all the time would have been fetched for nothing
            watched.worth.on_watched(right=waited is not None)
        if waited is not None and (guess := self._guesses.get(cid.multihash)) is not None and guess.gone(now - waited):
            self.on_evicted([cid.multihash])
        elif (guess := self._drop(cid.multihash)) is not None:
            if guess.came is None:
                guess.worth.on_fetched(size)
            guess.worth.on_used(size)
            self._budget = min(self._budget + max(self._budget // 16, 1), self._most)
        elif waited is not None:
            self._latency = waited if self._latency is None else self._latency + _GAIN * (waited - self._latency)
            for worth in self._worths:
                worth.on_surprise()

    def _waste(self, key: bytes) -> None:
        guess = self._drop(key)
        if guess is not None and guess.came is not None:
            guess.worth.on_wasted(guess.size)

    def _drop(self, key: bytes) -> _Guess | None:
        guess = self._guesses.pop(key, None)
        if guess is not None:
            self._held -= guess.size
            guess.worth.open -= 1
        return guess

    def _weigh(self, size: int) -> None:
        self._size = self._size + _GAIN * (size - self._size) if self._sized else float(size)
        self._sized = True

    def _remember(self, cid: CID) -> None:
        self._recent.pop(cid.multihash, None)
        self._recent[cid.multihash] = None
        if len(self._recent) > PREFETCH_RECENT:
            self._recent.popitem(last=False)

    def _before(self, stream: int, cid: CID) -> CID | None:
        """What the reader read before this; one that has only begun goes on from where the last one was."""
        before = self._last.pop(stream, self._latest)
        self._last[stream] = self._latest = cid
        if len(self._last) > PREFETCH_STREAMS:
            self._last.popitem(last=False)
        return before

    # --- state --------------------------------------------------------------------------------------------------------

    def statistics(self) -> PrefetchStatistics:
        """Counters and what was measured."""
        return PrefetchStatistics(
            predictors=tuple(worth.statistics() for worth in self._worths), budget=self._budget, held=self._held,
            in_flight=len(self._flying), waiting=len(self._queue), latency=self._latency, rate=self._rate,
            size=int(self._size), paused=self._paused,
        )  # fmt: skip

    def remembered(self) -> dict[str, int]:
        """How many entries each of its tables has."""
        return {
            "links": len(self._family), "sequences": len(self._sequences), "affinity": len(self._affinity),
            "guesses": len(self._guesses), "watched": len(self._watched), "queue": len(self._queue),
            "recent": len(self._recent), "streams": len(self._last), "flying": len(self._flying),
        }  # fmt: skip

    def __repr__(self) -> str:
        return f"<Prefetcher {self._held} of {self._budget} bytes, {', '.join(map(repr, self._worths))}>"
