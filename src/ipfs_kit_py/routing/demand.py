"""Which contents are in demand: counts that fade, of the most wanted alone. Sans-I/O.

Source: Metwally and others, *Efficient Computation of Frequent and Top-k Elements in Data Streams*, 2005
(Space-Saving), with counts that decay.
"""

from __future__ import annotations

import math

from ipfs_kit_py.core.config import DEMAND_KEYS, DEMAND_SECONDS


class Demand:
    """Counts by multihash. A newcomer takes the place of the least wanted, and its count: what is really in demand is
    never missed, what is not may be overrated by so much."""

    def __init__(self, *, keys: int = DEMAND_KEYS, half_life: float = DEMAND_SECONDS) -> None:
        self._most, self._half_life = keys, half_life
        self._counts: dict[bytes, float] = {}  # in units of the moment `_at`
        self._at = 0.0

    def __len__(self) -> int:
        return len(self._counts)

    def on_wanted(self, multihash: bytes, now: float) -> None:
        """It was asked for."""
        unit = self._unit(now)
        count = self._counts.get(multihash)
        if count is None and len(self._counts) >= self._most:
            least = min(self._counts, key=self._counts.__getitem__)
            count = self._counts.pop(least)
        self._counts[multihash] = (count or 0.0) + unit

    def of(self, multihash: bytes, now: float) -> float:
        """How often it was asked for lately; each counts half after a half-life."""
        return self._counts.get(multihash, 0.0) / self._unit(now)

    def most(self, count: int, now: float) -> list[tuple[bytes, float]]:
        """The most wanted with their counts."""
        unit = self._unit(now)
        rows = sorted(self._counts.items(), key=lambda row: -row[1])[: max(0, count)]
        return [(key, value / unit) for key, value in rows]

    def _unit(self, now: float) -> float:
        """What one use counts now: later ones count more instead of earlier ones less, until the numbers grow large."""
        if not self._counts or now < self._at:
            self._at = now if not self._counts else self._at
            return 1.0
        age = (now - self._at) / self._half_life
        if age > 500.0:
            kept = math.exp2(-age) if age < 1000.0 else 0.0
            self._counts = {key: value * kept for key, value in self._counts.items() if value * kept > 1e-3}
            self._at = now
            return 1.0
        return math.exp2(age)

    def __repr__(self) -> str:
        return f"<Demand for {len(self._counts)} contents>"
