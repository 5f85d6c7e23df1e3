"""Percentiles of durations in constant memory: counts in buckets whose widths grow with the value. Sans-I/O."""

from __future__ import annotations

from math import ceil, exp2, log2
from typing import Final

_LEAST: Final = 1e-6  # seconds; the first bucket has all that is shorter
_PER_DOUBLING: Final = 8  # buckets: a quantile is at most 9 % above the true one
_BUCKETS: Final = 32 * _PER_DOUBLING  # up to 71 minutes; the last has all that is longer


class Histogram:
    """Durations in seconds, from 1 µs to over an hour, in 256 buckets of 9 % each."""

    __slots__ = ("_buckets", "count")

    def __init__(self) -> None:
        self.count = 0
        self._buckets = [0] * _BUCKETS

    def add(self, seconds: float, times: int = 1) -> None:
        """``times`` durations of ``seconds`` each were measured."""
        at = int(_PER_DOUBLING * log2(seconds / _LEAST)) if seconds > _LEAST else 0
        self._buckets[min(at, _BUCKETS - 1)] += times
        self.count += times

    def quantile(self, q: float) -> float | None:
        """The duration that a share ``q`` of all is not longer than: a bucket's upper edge. ``None`` without any."""
        left = max(1, ceil(q * self.count))
        for at, count in enumerate(self._buckets):
            left -= count
            if left <= 0:
                return _LEAST * exp2((at + 1) / _PER_DOUBLING)
        return None

    def __repr__(self) -> str:
        if not self.count:
            return "<Histogram of nothing>"
        return f"<Histogram of {self.count}, p50 {self.quantile(0.5):.3g} s, p99 {self.quantile(0.99):.3g} s>"
