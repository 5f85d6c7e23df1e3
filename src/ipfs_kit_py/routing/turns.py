"""One at a time for each name, and different names at once."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ipfs_kit_py.core.cid import PeerID


class Turn:
    """A name's turn. ``gone`` once the name is forgotten while somebody has or awaits it."""

    def __init__(self) -> None:
        self.lock = trio.Lock()
        self.users = 0
        self.gone = False


class Turns:
    """Locks by name, there for as long as somebody uses them."""

    def __init__(self) -> None:
        self._turns: dict[PeerID, Turn] = {}

    def __len__(self) -> int:
        return len(self._turns)

    @asynccontextmanager
    async def of(self, name: PeerID) -> AsyncIterator[Turn]:
        """Wait until nobody else has this name."""
        turn = self._turns.setdefault(name, Turn())
        turn.users += 1
        try:
            async with turn.lock:
                yield turn
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[name]

    def forget(self, name: PeerID) -> None:
        """Tell those who have or await this name that it is forgotten."""
        if name in self._turns:
            self._turns[name].gone = True
