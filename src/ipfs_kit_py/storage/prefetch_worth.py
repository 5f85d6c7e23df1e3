"""Whether a kind of guess pays: how often it was right, against what a miss and a useless block cost. Sans-I/O."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ipfs_kit_py.core.config import (
    PREFETCH_LEAST_PRECISION,
    PREFETCH_PROVEN,
    PREFETCH_WINDOW_MAX,
    PREFETCH_WINDOW_MIN,
)

_GAIN = 0.0625  # of a new sample in the precision
_STAYS = 0.8  # of what it takes to begin is enough to go on
_PRIOR, _PRIOR_SAMPLES = 0.1, 4  # what is taken for granted before anything was seen: not enough to begin


class State(StrEnum):
    """Of a predictor. ``WATCHING``: its guesses are only compared with what is read. ``ON``: they are fetched."""

    WATCHING = "watching"
    ON = "on"


@dataclass(frozen=True, slots=True)
class PredictorStatistics:
    """Of one predictor since the start. ``issued``, ``used`` and ``wasted`` are blocks that were fetched ahead, the
    bytes those of them; ``watched`` guesses that were only looked at. ``precision`` is of the recent ones of both
    kinds, ``window`` how many blocks it looks ahead."""

    name: str
    state: str
    issued: int
    used: int
    wasted: int
    watched: int
    bytes: int
    used_bytes: int
    wasted_bytes: int
    precision: float
    window: int


class Worth:
    """One predictor's record. It is switched on by guesses that came true while it only watched, so that a reader
    whom nobody can guess costs no traffic; and off when what it fetches is not read."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.state = State.WATCHING
        self.precision = _PRIOR
        self.window = PREFETCH_WINDOW_MIN
        self.open = 0  # guesses that are fetched, or being so, and not settled
        self._settled = 0  # guesses, fetched or only watched
        self._issued = self._used = self._wasted = self._watched = 0
        self._bytes = self._used_bytes = self._wasted_bytes = 0

    @property
    def on(self) -> bool:
        """Whether its guesses are fetched."""
        return self.state is State.ON

    @property
    def free(self) -> bool:
        """Whether one more of its guesses may be fetched: not more are unread than it looks ahead."""
        return self.on and self.open < self.window

    def on_surprise(self) -> None:
        """A reader waited for a block that nobody had guessed: look less far ahead."""
        self.window = max(self.window // 2, PREFETCH_WINDOW_MIN)

    def on_issued(self) -> None:
        """A guess is being fetched."""
        self._issued += 1
        self.open += 1

    def on_fetched(self, size: int) -> None:
        """One came, with ``size`` bytes."""
        self._bytes += size

    def on_used(self, size: int) -> None:
        """One that was fetched was read."""
        self._used += 1
        self._used_bytes += size
        self.window = min(self.window + 1, PREFETCH_WINDOW_MAX)
        self._sample(1.0)

    def on_wasted(self, size: int) -> None:
        """One that was fetched was not read while it mattered."""
        self._wasted += 1
        self._wasted_bytes += size
        self.window = max(self.window // 2, PREFETCH_WINDOW_MIN)
        self._sample(0.0)

    def on_watched(self, *, right: bool) -> None:
        """A guess that was not fetched turned out so."""
        self._watched += 1
        self._sample(float(right))

    def _sample(self, value: float) -> None:
        self._settled += 1
        self.precision += max(_GAIN, 1.0 / (self._settled + _PRIOR_SAMPLES)) * (value - self.precision)

    def judge(self, benefit: float, cost: float) -> None:
        """Switch it on or off. ``benefit``: seconds that a miss takes; ``cost``: seconds that a block which nobody
        reads keeps the line busy."""
        least = max(PREFETCH_LEAST_PRECISION, cost / (benefit + cost) if benefit > 0 else 1.0)
        if self.on:
            if self.precision < _STAYS * least or benefit <= 0:
                self.state = State.WATCHING
                self.window = PREFETCH_WINDOW_MIN
        elif benefit > 0 and self._settled >= PREFETCH_PROVEN and self.precision >= least:
            self.state = State.ON

    def statistics(self) -> PredictorStatistics:
        """Counters."""
        return PredictorStatistics(
            name=self.name, state=self.state.value, issued=self._issued, used=self._used, wasted=self._wasted,
            watched=self._watched, bytes=self._bytes, used_bytes=self._used_bytes, wasted_bytes=self._wasted_bytes,
            precision=self.precision, window=self.window,
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"<Worth {self.name} {self.state.value} {self.precision:.2f}>"
