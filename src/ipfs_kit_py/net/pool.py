"""The open connections by peer, which of several to one peer is used, and who is told when peers come and go."""

from __future__ import annotations

import itertools
import logging
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from ipfs_kit_py.core.config import DUPLICATE_LINGER_SECONDS, HANDSHAKE_SECONDS, MAX_CONNECTIONS_PER_PEER
from ipfs_kit_py.core.interfaces import Connection

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from ipfs_kit_py.core.cid import PeerID

log = logging.getLogger(__name__)

# the side that does not decide closes a spare connection only when the other has long had its chance
_FOLLOWER_FACTOR = 15


class Counts(Protocol):
    """Streams open on a connection, each way."""

    @property
    def inbound(self) -> int: ...
    @property
    def outbound(self) -> int: ...


class Pooled(Connection, Protocol):
    """What the pool asks of a connection."""

    @property
    def is_closing(self) -> bool:
        """Whether no more streams can be opened on it."""
        ...

    def statistics(self) -> Counts: ...


def streams_of(connection: Pooled) -> int:
    """How many streams are open on a connection."""
    counts = connection.statistics()
    return counts.inbound + counts.outbound


C = TypeVar("C", bound=Pooled)


class Entry(Generic[C]):
    """A connection in the pool: ``key`` is unique in the process, ``opened`` in seconds of the loop's clock."""

    __slots__ = ("connection", "idle_since", "key", "opened")

    def __init__(self, key: int, connection: C, opened: float) -> None:
        self.key = key
        self.connection = connection
        self.opened = opened
        self.idle_since: float | None = None  # as a spare one


class Pool(Generic[C]):
    """Open connections. Belongs to the loop; nothing here waits."""

    def __init__(self, own: PeerID) -> None:
        self._own = own
        self._by_peer: dict[PeerID, list[Entry[C]]] = {}
        self._by_key: dict[int, Entry[C]] = {}
        self._keys = itertools.count(1)
        self._listeners: dict[int, tuple[Callable[[PeerID], None], Callable[[PeerID], None]]] = {}

    def add(self, connection: C, now: float) -> tuple[Entry[C], bool, list[C]]:
        """Take a connection in: its entry, whether it is the peer's first, and those that are now too many."""
        entry = Entry(next(self._keys), connection, now)
        rows = self._by_peer.setdefault(connection.peer_id, [])
        rows.append(entry)
        self._by_key[entry.key] = entry
        spare = [row.connection for row in rows[: max(0, len(rows) - MAX_CONNECTIONS_PER_PEER)]]
        return entry, len(rows) == 1, spare

    def remove(self, entry: Entry[C]) -> bool:
        """Let a connection go; whether it was the peer's last."""
        if self._by_key.pop(entry.key, None) is None:
            return False
        peer = entry.connection.peer_id
        rows = self._by_peer[peer]
        rows.remove(entry)
        if rows:
            return False
        del self._by_peer[peer]
        return True

    def best(self, peer: PeerID) -> Entry[C] | None:
        """The connection to use for new streams, ``None`` where none takes any."""
        rows = [row for row in self._by_peer.get(peer, ()) if not row.connection.is_closing]
        if len(rows) < 2:
            return rows[0] if rows else None
        # Of two that were made at about the same time, because both sides dialled, both sides choose the one that the
        # smaller peer id dialled. Otherwise the newer: a peer that dials again has lost the old one.
        newest = max(row.opened for row in rows)
        twins = [row for row in rows if newest - row.opened < HANDSHAKE_SECONDS]
        ours = self._own < peer
        return max(twins, key=lambda row: (row.connection.outbound == ours, row.opened, row.key))

    def spare(self, now: float) -> list[C]:
        """Connections that another one to the same peer has replaced and that had no stream for a while.

        The side with the smaller peer id decides, so that never both close the other's choice.
        """
        found = []
        for peer, rows in self._by_peer.items():
            if len(rows) < 2:
                continue
            best = self.best(peer)
            linger = DUPLICATE_LINGER_SECONDS * (1 if self._own < peer else _FOLLOWER_FACTOR)
            for row in rows:
                if row is best or row.connection.is_closed or streams_of(row.connection):
                    row.idle_since = None
                elif row.idle_since is None:
                    row.idle_since = now
                elif now - row.idle_since >= linger:
                    found.append(row.connection)
        return found

    @property
    def has_spare(self) -> bool:
        """Whether a peer has more than one connection."""
        return len(self._by_key) > len(self._by_peer)

    def peers(self) -> Collection[PeerID]:
        """The connected peers."""
        return self._by_peer.keys()

    def of(self, peer: PeerID) -> list[Entry[C]]:
        """The connections to a peer."""
        return list(self._by_peer.get(peer, ()))

    def __iter__(self) -> Iterator[Entry[C]]:
        return iter(list(self._by_key.values()))

    def __getitem__(self, key: int) -> Entry[C]:
        return self._by_key[key]

    def __len__(self) -> int:
        return len(self._by_key)

    def on_change(
        self, connected: Callable[[PeerID], None], disconnected: Callable[[PeerID], None]
    ) -> Callable[[], None]:
        """Call back about first and last connections; returns the function that ends it."""
        key = next(self._keys)
        self._listeners[key] = (connected, disconnected)

        def end() -> None:
            self._listeners.pop(key, None)

        return end

    def tell(self, peer: PeerID, *, connected: bool) -> None:
        """Tell the listeners. One that raises is logged: the others and the network go on."""
        for came, went in list(self._listeners.values()):
            try:
                (came if connected else went)(peer)
            except Exception:
                log.exception("a listener for connections raised")
