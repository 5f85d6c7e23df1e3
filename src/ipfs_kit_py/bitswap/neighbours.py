"""Which connected peers hear of a want that nobody is known to have. Sans-I/O.

Always: those that the caller chose, and those on the local network. Besides them a few that delivered blocks lately,
and a few others at random, the same ones for a whole session. Nobody else hears of it, however many are connected.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol

from ipfs_kit_py.bitswap.peers import Peer
from ipfs_kit_py.core.config import (
    LORE_SECONDS,
    MAX_CHOSEN_PEERS,
    MAX_PROVEN_PEERS,
    SESSION_PROVEN_PEERS,
    SESSION_RANDOM_PEERS,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.core.interfaces import PeerLore


class Chance(Protocol):
    """The part of ``random.Random`` that is used."""

    def sample(self, population: Sequence[PeerID], k: int) -> list[PeerID]: ...


class Neighbours:
    """The connected peers that speak bitswap, and what is remembered of those that did."""

    def __init__(self, rng: Chance, lore: PeerLore | None = None) -> None:
        self._rng = rng
        self._lore = lore
        self._peers: dict[PeerID, Peer] = {}
        self._local: set[PeerID] = set()  # of those connected
        self._chosen: OrderedDict[PeerID, None] = OrderedDict()  # by the caller; outlives a connection
        self._proven: OrderedDict[PeerID, Peer] = OrderedDict()  # delivered; those that did last come last

    def __len__(self) -> int:
        return len(self._peers)

    def __iter__(self) -> Iterator[Peer]:
        return iter(self._peers.values())

    def __contains__(self, peer: object) -> bool:
        return peer in self._peers

    def get(self, peer: PeerID) -> Peer | None:
        """A peer while it is connected."""
        return self._peers.get(peer)

    def connect(self, peer: PeerID, *, has_presences: bool, local: bool) -> Peer | None:
        """A peer can be asked; ``None`` if it could before. What was measured of it earlier is remembered."""
        if local:
            self._local.add(peer)
        if peer in self._peers:
            return None
        found = self._peers[peer] = Peer(peer, has_presences=has_presences)
        past = self._proven.get(peer)
        if self._lore is not None:
            found.latency, found.throughput = self._lore.measured(peer)
            found.doubt = self._lore.doubt(peer)
        if past is not None:
            found.latency, found.throughput = past.latency, past.throughput
            self._proven[peer] = found
        return found

    def disconnect(self, peer: PeerID) -> Peer | None:
        """A peer has gone."""
        self._local.discard(peer)
        gone = self._peers.pop(peer, None)
        if gone is not None and self._lore is not None:
            if gone.untold:
                self._lore.on_delivered(peer, gone.topic, gone.untold)
            self._lore.on_measured(peer, gone.latency, gone.throughput)
        return gone

    def credit(self, peer: Peer, topic: bytes, size: int, now: float) -> None:
        """A peer delivered. It is told of once in a while, with how fast it was, so that it costs nothing per block."""
        peer.untold += size
        peer.topic = topic
        if self._lore is not None and now - peer.told_at >= LORE_SECONDS:
            self._lore.on_delivered(peer.id, topic, peer.untold)
            self._lore.on_measured(peer.id, peer.latency, peer.throughput)
            peer.untold, peer.told_at = 0, now
            if peer.doubt > 1.0:
                peer.doubt = self._lore.doubt(peer.id)

    def choose(self, peer: PeerID) -> None:
        """The caller wants this peer to be asked whenever it is connected."""
        self._chosen[peer] = None
        self._chosen.move_to_end(peer)
        if len(self._chosen) > MAX_CHOSEN_PEERS:
            away = (other for other in self._chosen if other not in self._peers)
            del self._chosen[next(away, next(iter(self._chosen)))]

    def prove(self, peer: Peer) -> None:
        """A peer delivered what was asked for."""
        self._proven[peer.id] = peer
        self._proven.move_to_end(peer.id)
        if len(self._proven) > MAX_PROVEN_PEERS:
            self._proven.popitem(last=False)

    def is_likely(self, peer: Peer) -> bool:
        """Whether there is a reason to ask this peer before others."""
        return peer.id in self._chosen or peer.id in self._proven or peer.id in self._local

    def candidates(self, session: Iterable[PeerID], others: list[PeerID], topic: bytes = b"") -> list[Peer]:
        """Who hears of a want of a session with these peers. ``others`` are its own besides those, filled up here: of
        them half are such as speak for themselves (``PeerLore.prefer``), the rest by chance. ``topic`` is its own."""
        asked: dict[PeerID, None] = dict.fromkeys(session)
        asked.update(dict.fromkeys(peer for peer in self._chosen if peer in self._peers))
        asked.update(dict.fromkeys(self._local))
        proven = 0
        for peer in reversed(self._proven):
            if peer in self._peers and peer not in asked:
                asked[peer] = None
                proven += 1
                if proven >= SESSION_PROVEN_PEERS:
                    break
        others[:] = [peer for peer in others if peer in self._peers]
        missing = SESSION_RANDOM_PEERS - len(others)
        if missing > 0 and len(asked) < len(self._peers):
            rest = [peer for peer in self._peers if peer not in asked and peer not in others]
            if self._lore is not None:
                best = self._lore.prefer(rest, topic, missing // 2)
                others += best
                missing -= len(best)
                rest = [peer for peer in rest if peer not in best]
            others += self._rng.sample(rest, min(missing, len(rest)))
        asked.update(dict.fromkeys(others))
        return [self._peers[peer] for peer in asked if peer in self._peers]
