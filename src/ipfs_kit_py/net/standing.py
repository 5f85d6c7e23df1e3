"""Standing: what a peer has done wrong lately, and for how long it is refused. Sans-I/O."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ipfs_kit_py.core.config import (
    STANDING_HALF_LIFE_SECONDS,
    STANDING_MAX_PEERS,
    STANDING_REFUSE_SECONDS,
    STANDING_THRESHOLD,
)

if TYPE_CHECKING:
    from ipfs_kit_py.core.cid import PeerID


@dataclass(frozen=True)
class StandingStatistics:
    """``marked`` peers have a penalty, ``refused`` are kept out."""

    marked: int
    refused: int


@dataclass(slots=True)
class _Mark:
    penalty: float
    at: float
    refused_until: float


def decayed(value: float, since: float, half_life: float) -> float:
    """``value`` after ``since`` seconds."""
    return value * math.exp2(-max(0.0, since) / half_life)


class Standing:
    """Penalties that fade, at most ``capacity`` peers of them. 1.0 is one false block."""

    def __init__(self, *, capacity: int = STANDING_MAX_PEERS) -> None:
        self._capacity = capacity
        self._marks: dict[PeerID, _Mark] = {}

    def penalise(self, peer: PeerID, amount: float, now: float) -> bool:
        """Add to a peer's penalty; whether it is to be disconnected and refused from now on."""
        if not amount > 0:  # NaN too
            return False
        mark = self._marks.get(peer)
        if mark is None:
            if len(self._marks) >= self._capacity:
                self._forget(now)
            mark = self._marks[peer] = _Mark(0.0, now, 0.0)
        mark.penalty = decayed(mark.penalty, now - mark.at, STANDING_HALF_LIFE_SECONDS) + min(
            amount, STANDING_THRESHOLD
        )
        mark.at = now
        if mark.penalty < STANDING_THRESHOLD:
            return False
        mark.refused_until = now + STANDING_REFUSE_SECONDS
        return True

    def refuses(self, peer: PeerID, now: float) -> float:
        """Seconds for which the peer is still refused; 0 where it is not."""
        mark = self._marks.get(peer)
        return max(0.0, mark.refused_until - now) if mark is not None else 0.0

    def penalty(self, peer: PeerID, now: float) -> float:
        """The peer's penalty as it is now."""
        mark = self._marks.get(peer)
        return decayed(mark.penalty, now - mark.at, STANDING_HALF_LIFE_SECONDS) if mark is not None else 0.0

    def _forget(self, now: float) -> None:
        """Make room: an eighth, the least bad first, so that new culprits cannot wash out the worst."""
        worst_last = sorted(self._marks, key=lambda peer: (self.refuses(peer, now) > 0, self.penalty(peer, now)))
        for peer in worst_last[: max(1, self._capacity // 8)]:
            del self._marks[peer]

    def statistics(self, now: float) -> StandingStatistics:
        return StandingStatistics(len(self._marks), sum(mark.refused_until > now for mark in self._marks.values()))

    def __repr__(self) -> str:
        return f"<Standing of {len(self._marks)} peers>"
