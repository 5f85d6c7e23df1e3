"""A clock that jumps from event to event."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

HOUR = 3600.0


class Clock:
    """``now`` in seconds since the simulation began. Events of one time happen in the order in which they were set."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Call then; now, if that is past."""
        self._count += 1
        heapq.heappush(self._events, (max(when, self.now), self._count, call))

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Call after so long."""
        self.at(self.now + seconds, call)

    def run(self, until: float) -> None:
        """Let all happen that happens until then."""
        events = self._events
        while events and events[0][0] <= until:
            self.now, _, call = heapq.heappop(events)
            call()
        self.now = until

    def __repr__(self) -> str:
        return f"<Clock at {self.now / HOUR:.2f} h, {len(self._events)} events ahead, {self._count} in all>"
