"""What a session's peers would take for a block of one size: computed once for many wants. Sans-I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ipfs_kit_py.bitswap.neighbours import Neighbours
    from ipfs_kit_py.bitswap.peers import Peer
    from ipfs_kit_py.bitswap.wants import Session, Want
    from ipfs_kit_py.core.cid import PeerID

WORTH_WAITING = 2.0  # a busy peer is waited for where all free ones would take so many times longer
HIGHEST_CHANCE = 0.99  # of a peer having a block that it was not heard to have


class Row:
    """One peer: ``cost`` is the seconds that it would take, divided by its chance of having the block."""

    __slots__ = ("chance", "cost", "peer", "room")

    cost: float
    room: bool

    def __init__(self, peer: Peer, chance: float, size: int) -> None:
        self.peer = peer
        self.chance = chance
        self.update(size)

    def update(self, size: int) -> None:
        """The peer was asked for something."""
        self.cost = self.peer.expected_seconds(size) / self.chance
        self.room = self.peer.room(size)


class Best(NamedTuple):
    """The best peer for a want, and the best of those that have room, where it is worth asking."""

    row: Row | None
    free: Row | None


class Market:
    """The peers of one session, for blocks of ``size`` bytes."""

    def __init__(self, session: Session, neighbours: Neighbours, size: int) -> None:
        self.size = size
        self._session = session
        self._neighbours = neighbours
        self._rows = {
            number: Row(peer, min(score.chance, HIGHEST_CHANCE), size)
            for number, score in session.peers.items()
            if score.trusted and (peer := neighbours.get(number)) is not None
        }

    def update(self, row: Row) -> None:
        """A row's peer was asked."""
        known = self._rows.get(row.peer.id)
        if known is not None:
            known.update(self.size)

    def any_room(self) -> bool:
        """Whether a peer of the session has room for something."""
        return any(row.room for row in self._rows.values())

    def best(self, want: Want) -> Best:
        """Whom to ask for a want."""
        first = free = None
        for row in self._candidates(want):
            if first is None or row.cost < first.cost:
                first = row
            if row.room and (free is None or row.cost < free.cost):
                free = row
        if free is not None and first is not None and free.cost > WORTH_WAITING * first.cost:
            free = None
        return Best(first, free)

    def another(self, want: Want) -> Row | None:
        """The best peer with room that a want is not asked of yet."""
        rows = [row for row in self._candidates(want) if row.room and row.peer.id not in want.sources]
        return min(rows, key=lambda row: row.cost, default=None)

    def _candidates(self, want: Want) -> Iterable[Row]:
        if not want.have and not want.lacking and len(want.sessions) == 1:
            return self._rows.values()
        rows = self.without(want)
        for other in want.sessions:
            if other is not self._session:
                rows = {**Market(other, self._neighbours, self.size).without(want), **rows}
        for number in want.have:
            peer = None if number in want.lacking else self._neighbours.get(number)
            if peer is not None:
                rows[number] = Row(peer, 1.0, self.size)
        return rows.values()

    def without(self, want: Want) -> dict[PeerID, Row]:
        """The rows of peers that may have a want."""
        return {number: row for number, row in self._rows.items() if number not in want.lacking}
