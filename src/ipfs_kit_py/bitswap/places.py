"""So many at once; of those that wait, whoever matters most goes next, and of equals who came first."""

from __future__ import annotations

from contextlib import asynccontextmanager
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Places:
    """``most`` places."""

    def __init__(self, most: int) -> None:
        self._free = most
        self._waiting: list[tuple[float, int, trio.Event]] = []
        self._numbers = count()

    @asynccontextmanager
    async def take(self, weight: float) -> AsyncIterator[None]:
        """A place, waited for where there is none; the greatest ``weight`` gets the next."""
        if self._free:
            self._free -= 1
        else:
            turn = trio.Event()
            heappush(self._waiting, (-weight, next(self._numbers), turn))
            try:
                await turn.wait()
            except trio.Cancelled:
                if turn.is_set():
                    self._pass_on()
                else:
                    turn.set()  # who waits no longer is passed over
                raise
        try:
            yield
        finally:
            self._pass_on()

    def _pass_on(self) -> None:
        while self._waiting:
            turn = heappop(self._waiting)[-1]
            if not turn.is_set():
                turn.set()
                return
        self._free += 1

    def __repr__(self) -> str:
        return f"<Places: {self._free} free, {len(self._waiting)} waiting>"
