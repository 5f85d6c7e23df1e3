"""A circuit breaker: a source that fails again and again is left alone, then tried with one request. Sans-I/O."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from ipfs_kit_py.core.config import BREAKER_BASE_SECONDS, BREAKER_FAILURES, BREAKER_LIE_SECONDS, BREAKER_MAX_SECONDS


class Chance(Protocol):
    """What is asked of an rng."""

    def random(self) -> float:
        """From 0 to 1, less than 1."""
        ...


class State(StrEnum):
    """Of a breaker. ``CLOSED``: requests flow. ``OPEN``: none. ``TRIAL``: one at a time, until one has succeeded."""

    CLOSED = "ok"
    OPEN = "left alone"
    TRIAL = "on trial"


class Breaker:
    """Opens after ``BREAKER_FAILURES`` failures in a row. When its pause is over a check of health is ``due``; after
    one that went well requests are let through one by one, and the first that succeeds closes it. A failure on the
    way doubles the pause: 1 s, 2 s … 5 min, less up to half by chance."""

    def __init__(self, rng: Chance) -> None:
        self._rng = rng
        self.state = State.CLOSED
        self.failures = 0  # in a row
        self.until = 0.0  # while open: when health is to be checked
        self._pauses = 0

    def allows(self, in_flight: int) -> bool:
        """Whether a request may be sent while ``in_flight`` are under way."""
        return self.state is State.CLOSED or (self.state is State.TRIAL and not in_flight)

    def due(self) -> float | None:
        """When its health is to be checked; ``None`` unless it is open."""
        return self.until if self.state is State.OPEN else None

    def on_success(self) -> None:
        """A request was answered, be it with a no."""
        self.failures = self._pauses = 0
        self.state = State.CLOSED

    def on_failure(self, now: float, *, after: float = 0.0) -> None:
        """A request failed; the source asked to be left alone for ``after`` seconds."""
        self.failures += 1
        if self.state is State.TRIAL or (self.state is State.CLOSED and self.failures >= BREAKER_FAILURES):
            self._open(now, after)

    def on_lie(self, now: float) -> None:
        """It gave a false block."""
        self._open(now, BREAKER_LIE_SECONDS)

    def on_health(self, now: float, *, ok: bool) -> None:
        """The check that was due."""
        if self.state is not State.OPEN:
            return
        if ok:
            self.state = State.TRIAL
        else:
            self._open(now, 0.0)

    def _open(self, now: float, least: float) -> None:
        pause = min(BREAKER_MAX_SECONDS, BREAKER_BASE_SECONDS * 2.0 ** min(self._pauses, 30))
        self._pauses += 1
        self.state = State.OPEN
        self.until = now + max(least, pause * (0.5 + 0.5 * self._rng.random()))
