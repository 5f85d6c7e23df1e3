"""Keeping the open connections within the role's water marks, and closing those that are spare."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Generic

import trio

from ipfs_kit_py.core.config import DUPLICATE_LINGER_SECONDS
from ipfs_kit_py.net.limits import Held, Values, next_trim, plan_trim
from ipfs_kit_py.net.pool import C, Pool, streams_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.core.interfaces import Connection
    from ipfs_kit_py.core.roles import Role

log = logging.getLogger(__name__)


class Housekeeper(Generic[C]):
    """Trims a pool. ``protect`` keeps a peer's connections whatever they are worth."""

    def __init__(self, pool: Pool[C], role: Role) -> None:
        self._pool = pool
        self._role = role
        self._tags: dict[PeerID, set[str]] = {}
        self._wake = trio.Event()
        self.values = Values()
        self.trimmed = 0

    def protect(self, peer: PeerID, tag: str) -> None:
        """Keep a peer; each ``tag`` is a reason of its own."""
        self._tags.setdefault(peer, set()).add(tag)

    def unprotect(self, peer: PeerID, tag: str) -> bool:
        """Take one reason back; whether others remain."""
        tags = self._tags.get(peer, set())
        tags.discard(tag)
        if not tags:
            self._tags.pop(peer, None)
        return bool(tags)

    def wake(self) -> None:
        """A connection came: look whether it is one too many."""
        self._wake.set()

    async def run(self) -> None:
        """Trim when there is reason to, until cancelled."""
        while True:
            now = trio.current_time()
            if self._pool.has_spare:
                await _close(self._pool.spare(now))
            # below the mark there is nothing to weigh: a busy node has hundreds of connections, and they come and go
            rows = self._rows(now) if len(self._pool) > self._role.high_water else []
            doomed = plan_trim(rows, self._role, now)
            if doomed:
                self.trimmed += len(doomed)
                log.debug("closing %d of %d connections", len(doomed), len(rows))
                await _close([self._pool[key].connection for key in doomed])
            with trio.move_on_at(self._deadline(rows, now)):
                await self._wake.wait()
            self._wake = trio.Event()

    def _deadline(self, rows: list[Held], now: float) -> float:
        due = next_trim(rows, self._role, now)
        deadline = due if due is not None else float("inf")
        return min(deadline, now + DUPLICATE_LINGER_SECONDS) if self._pool.has_spare else deadline

    def _rows(self, now: float) -> list[Held]:
        return [
            Held(
                key=entry.key,
                opened=entry.opened,
                value=self.values.get(entry.connection.peer_id, now),
                protected=entry.connection.peer_id in self._tags,
                streams=streams_of(entry.connection),
                outbound=entry.connection.outbound,
            )
            for entry in self._pool
            if not entry.connection.is_closed
        ]


async def _close(doomed: Iterable[Connection]) -> None:
    async with trio.open_nursery() as nursery:
        for connection in doomed:
            nursery.start_soon(connection.close)
