"""How warm blocks are: a number for each, that a use raises and time lowers. Sans-I/O.

heat     the sum over all uses of 2 ** -(age / half-life): 1 right after a first use, half of that a half-life later.
score    its logarithm on a scale that moves with time, log2(sum of 2 ** (time of use / half-life)). A use adds to it in
         O(1) and nothing else ever changes it, so that scores order blocks without being computed anew, and those of
         several processes add up. heat = 2 ** (score - now / half-life).
worth    score + log2(cost) - SIZE_WEIGHT * log2(size): how dear it is to lose a block. ``cost`` is how many seconds it
         took to come from the tier below. With a weight of 0 a size would not count, and one of 1 would let the
         most seconds be saved by each byte but drive out all large blocks; 1/2 is between fewest bytes and
         fewest blocks fetched again.

Times are seconds on a clock of the caller's that may stand still, but whose jumps this does not follow: backwards it
counts as standing still.
"""

from __future__ import annotations

import heapq
from math import inf, log2
from typing import TYPE_CHECKING, Final, NamedTuple

from ipfs_kit_py.core.config import HEAT_HALF_LIFE_SECONDS, HEAT_KEYS, MISS_PEERS_PRIOR_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SIZE_WEIGHT: Final = 0.5
COLDEST: Final = -32.0  # logarithm of the heat that a block without any is taken to have
HOTTEST: Final = 64.0  # logarithm of the highest; a score above it is of a clock that was wrong
_LEAST_COST: Final = 1e-4  # seconds


class Warmth(NamedTuple):
    """What is known of a block: its score, and the seconds that it took to come (0: not known)."""

    score: float
    cost: float = 0.0


class HeatStatistics(NamedTuple):
    """``keys`` have a heat; uses of ``pending`` more are not stored yet; ``lost`` uses could not be. ``half_life`` in
    seconds."""

    keys: int
    pending: int
    lost: int
    half_life: float


def together(one: float, other: float) -> float:
    """The score of all uses of both."""
    low, high = (one, other) if one < other else (other, one)
    return high + log2(1.0 + 2.0 ** (low - high)) if high - low < 48.0 else high


def merged(old: Warmth | None, new: Warmth, when: float) -> Warmth:
    """What two know of a block, ``when`` half-lives after the beginning; the newer cost counts."""
    if old is None:
        return new
    return Warmth(together(min(old.score, when + HOTTEST), new.score), new.cost or old.cost)


def heat_at(score: float, when: float) -> float:
    """The heat ``when`` half-lives after the beginning of the scale."""
    return float(2.0 ** min(score - when, HOTTEST)) if score - when > COLDEST else 0.0


def worth(found: Warmth | None, size: int, when: float) -> float:
    """What a block of ``size`` bytes is worth beside others at the same moment."""
    score, cost = (when + COLDEST, 0.0) if found is None else found
    seconds = max(cost or MISS_PEERS_PRIOR_SECONDS, _LEAST_COST)
    return min(max(score, when + COLDEST), when + HOTTEST) + log2(seconds) - SIZE_WEIGHT * log2(size + 1)


class Heat:
    """The heat of at most ``most`` blocks; where there are more, the coldest eighth is forgotten. Not thread safe."""

    def __init__(self, half_life: float = HEAT_HALF_LIFE_SECONDS, most: int = HEAT_KEYS) -> None:
        self.half_life = half_life
        self._most = most
        self._scores: dict[bytes, float] = {}
        self._costs: dict[bytes, float] = {}  # of some of them
        self._when = 0.0

    def __len__(self) -> int:
        return len(self._scores)

    def _at(self, now: float) -> float:
        self._when = max(self._when, now / self.half_life)
        return self._when

    def on_access(self, multihashes: Iterable[bytes], now: float) -> None:
        """Blocks are used."""
        scores, when = self._scores, self._at(now)
        for key in multihashes:  # ``together``, in place: this is the path of every read
            past = scores.get(key, -inf) - when
            scores[key] = when + log2(1.0 + 2.0**past) if past > -48.0 else when
        if len(scores) > self._most:
            self._forget()

    def on_fetched(self, multihashes: Iterable[bytes], seconds: float, now: float) -> None:
        """Blocks came from the tier below, each in so many seconds; that is no use of them."""
        coldest = self._at(now) + COLDEST
        for key in multihashes:
            self._scores.setdefault(key, coldest)
            self._costs[key] = seconds
        if len(self._scores) > self._most:
            self._forget()

    def _forget(self) -> None:
        for key in heapq.nsmallest(max(1, self._most // 8), self._scores, key=self._scores.__getitem__):
            del self._scores[key]
            self._costs.pop(key, None)

    def get(self, multihash: bytes) -> Warmth | None:
        """What is known of a block."""
        score = self._scores.get(multihash)
        return None if score is None else Warmth(score, self._costs.get(multihash, 0.0))

    def heat_of(self, multihash: bytes, now: float) -> float:
        """The heat of a block, 0 where it was never used or that is long ago."""
        return heat_at(self._scores.get(multihash, -inf), self._at(now))

    def _rows(self) -> Iterator[tuple[bytes, Warmth]]:
        return ((key, Warmth(score, self._costs.get(key, 0.0))) for key, score in self._scores.items())

    def hottest(self, count: int, now: float) -> list[tuple[bytes, float]]:
        """The ``count`` hottest blocks with their heat."""
        return hottest(self._rows(), count, self._at(now))

    def coldest(self, count: int, now: float) -> list[tuple[bytes, float]]:
        """The ``count`` coldest of those that have a heat."""
        return coldest(self._rows(), count, self._at(now))

    def take(self) -> dict[bytes, Warmth]:
        """All of it, which is forgotten here."""
        found = dict(self._rows())
        self._scores, self._costs = {}, {}
        return found

    def statistics(self) -> HeatStatistics:
        return HeatStatistics(len(self._scores), 0, 0, self.half_life)

    def __repr__(self) -> str:
        return f"<Heat of {len(self._scores)} blocks, half-life {self.half_life:g} s>"


def hottest(rows: Iterable[tuple[bytes, Warmth]], count: int, when: float) -> list[tuple[bytes, float]]:
    """The ``count`` rows of the highest score, with their heat."""
    return list(_heats(heapq.nlargest(count, rows, key=lambda row: row[1].score), when))


def coldest(rows: Iterable[tuple[bytes, Warmth]], count: int, when: float) -> list[tuple[bytes, float]]:
    """The ``count`` rows of the lowest score, with their heat."""
    return list(_heats(heapq.nsmallest(count, rows, key=lambda row: row[1].score), when))


def _heats(rows: Iterable[tuple[bytes, Warmth]], when: float) -> Iterator[tuple[bytes, float]]:
    for key, found in rows:
        yield key, heat_at(found.score, when)
