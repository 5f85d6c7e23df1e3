"""The client's engine: which peer is asked for which block, and when somebody else is.

A session is a group of wants whose blocks probably live together. A want goes through this:

    new ──▶ asked of the session's best peer with room (``want-block``)          a peer of the session delivered before
        └─▶ probed: ``want-have`` of the candidates, ``want-block`` of the best   the session knows no peer yet
    DONT_HAVE, silence beyond the peer's own timeout, or a lost peer ──▶ the next peer; none left ──▶ probed again,
    and providers are searched for
    a block ──▶ done; the others that were told hear a cancel

Candidates are the peers of the session, those that are always asked (the caller's own, and local ones), those that have
delivered before, and a few random others; nobody else hears of a want. Sans-I/O; every time is ``now`` in seconds.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from ipfs_kit_py.bitswap.peers import Peer
from ipfs_kit_py.core.config import (
    MAX_SESSION_PEERS,
    PROVIDER_SEARCH_SECONDS,
    REBROADCAST_SECONDS,
    SESSION_RANDOM_PEERS,
    SESSION_UNKNOWN_BLOCK_BYTES,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ipfs_kit_py.bitswap.wire import Entry
    from ipfs_kit_py.core.cid import CID, PeerID

OFFERED_WANTS = 32  # wants that a peer hears of when it connects
MAX_EXTENSIONS = 3  # times that a want's timeout is put off because its peer delivers other blocks


class Chance(Protocol):
    """The part of ``random.Random`` that is used."""

    def sample(self, population: Sequence[PeerID], k: int) -> list[PeerID]: ...


@dataclass(frozen=True)
class Send:
    """There is something to tell a peer: ``take`` it when it can be sent."""

    peer: PeerID


@dataclass(frozen=True)
class FindProviders:
    """No connected peer is known to have a block."""

    cid: CID


Action = Send | FindProviders


@dataclass(frozen=True)
class Statistics:
    """Counters since the start, and what is open now."""

    wants: int
    peers: int
    sessions: int
    blocks: int
    duplicates: int
    timeouts: int
    broadcasts: int


class Session:
    """A group of wants; ``peers`` have had blocks of it, the best are tried first."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.peers: dict[PeerID, int] = {}  # -> blocks delivered
        self.random: list[PeerID] = []
        self.sizes = SESSION_UNKNOWN_BLOCK_BYTES  # what its blocks weigh, a running mean
        self.searched_at: float | None = None
        self.wants: set[CID] = set()


class Want:
    """A block that is wanted by one session or more."""

    __slots__ = ("cid", "have", "lacking", "priority", "probed_at", "sessions", "size", "source", "told")

    def __init__(self, cid: CID, size: int, priority: int) -> None:
        self.cid = cid
        self.size = size
        self.priority = priority
        self.sessions: list[Session] = []
        self.source: PeerID | None = None  # whom the block is asked of
        self.have: set[PeerID] = set()
        self.lacking: set[PeerID] = set()  # said so, or were silent
        self.told: set[PeerID] = set()
        self.probed_at: float | None = None


class Wants:
    """All wants of a node. Feed it what happens, then ask for actions until there are none."""

    def __init__(self, rng: Chance) -> None:
        self._rng = rng
        self._wants: dict[CID, Want] = {}
        self._by_hash: dict[bytes, list[CID]] = {}
        self._peers: dict[PeerID, Peer] = {}
        self._sessions: dict[int, Session] = {}
        self._idle: deque[CID] = deque()  # wants without a source, in their order
        self._dirty: dict[PeerID, None] = {}
        self._searches: deque[CID] = deque()
        self._always: set[PeerID] = set()
        self._next_session = 0
        self._blocks = self._duplicates = self._timeouts = self._broadcasts = 0

    # --- commands -----------------------------------------------------------------------------------------------------

    def open_session(self) -> int:
        """A new session's number."""
        self._next_session += 1
        self._sessions[self._next_session] = Session(self._next_session)
        return self._next_session

    def close_session(self, number: int, now: float) -> None:
        """End a session; wants that no other session has are cancelled."""
        session = self._sessions.pop(number, None)
        if session is not None:
            for cid in list(session.wants):
                self._drop(cid, session, now)

    def want(self, number: int, cids: Iterable[CID], now: float, *, size: int | None = None, priority: int = 1) -> None:
        """Ask for blocks. ``size`` is what one is expected to weigh, in bytes."""
        session = self._sessions[number]
        for cid in cids:
            want = self._wants.get(cid)
            if want is None:
                want = self._wants[cid] = Want(cid, size or session.sizes, priority)
                self._by_hash.setdefault(cid.multihash, []).append(cid)
                self._idle.append(cid)
            if session not in want.sessions:
                want.sessions.append(session)
                session.wants.add(cid)
        self._assign(now)

    def cancel(self, number: int, cids: Iterable[CID], now: float) -> None:
        """A session no longer wants blocks."""
        session = self._sessions.get(number)
        if session is not None:
            for cid in cids:
                self._drop(cid, session, now)

    def always_ask(self, peer: PeerID, now: float) -> None:
        """A peer that the caller chose, or a local one: it hears of every want that must be probed."""
        self._always.add(peer)
        if peer in self._peers:
            self._offer(self._peers[peer], now)

    def is_wanted(self, multihash: bytes) -> bool:
        """Whether a block with this multihash is wanted. Safe to call from another thread."""
        return multihash in self._by_hash

    def cids_of(self, multihash: bytes) -> tuple[CID, ...]:
        """The CIDs under which a multihash is wanted."""
        return tuple(self._by_hash.get(multihash, ()))

    # --- events -------------------------------------------------------------------------------------------------------

    def on_peer_connected(self, peer: PeerID, now: float, *, has_presences: bool = True) -> None:
        """A peer can be asked."""
        if peer not in self._peers:
            self._peers[peer] = Peer(peer, has_presences=has_presences)
            self._offer(self._peers[peer], now)

    def on_peer_disconnected(self, peer: PeerID, now: float) -> None:
        """A peer has gone: what was asked of it is asked of others. Wants outlive it."""
        gone = self._peers.pop(peer, None)
        self._always.discard(peer)
        self._dirty.pop(peer, None)
        if gone is None:
            return
        for want in self._wants.values():
            want.told.discard(peer)
            want.have.discard(peer)
            want.lacking.discard(peer)
            if want.source == peer:
                self._orphan(want)
        for session in self._sessions.values():
            session.peers.pop(peer, None)
        self._assign(now)

    def on_stream_lost(self, peer: PeerID) -> None:
        """What a peer was told may be lost: it is told again, as a full list."""
        found = self._peers.get(peer)
        if found is not None:
            found.wantlist.reset()
            self._mark(found)

    def on_presences(self, peer: PeerID, haves: Iterable[CID], dont_haves: Iterable[CID], now: float) -> None:
        """A peer says what it has and what it has not."""
        found = self._peers.get(peer)
        if found is None:
            return
        found.heard(now)
        for cid in haves:
            want = self._wants.get(cid)
            if want is not None and peer in want.told:
                want.have.add(peer)
                want.lacking.discard(peer)
                self._join(want, peer)
                if want.source is None:
                    self._idle.append(cid)
        for cid in dont_haves:
            want = self._wants.get(cid)
            if want is not None and peer in want.told:
                self._lacks(want, found)
        self._assign(now)

    def on_blocks(self, peer: PeerID | None, blocks: Iterable[tuple[bytes, int]], now: float) -> None:
        """Verified blocks came: multihash and size in bytes; ``peer`` is ``None`` where they came from elsewhere."""
        sender = self._peers.get(peer) if peer is not None else None
        for multihash, size in blocks:
            cids = self._by_hash.pop(multihash, None)
            if cids is None:
                self._duplicates += 1
                continue
            self._blocks += 1
            for cid in cids:
                self._settle(self._wants.pop(cid), sender, size, now)
        self._assign(now)

    def on_timeout(self, now: float) -> None:
        """Time has passed: what peers were silent about is asked of others, and what nobody has is asked again."""
        for peer in self._peers.values():
            for cid, asked in list(peer.asked.items()):
                if asked.expires > now:
                    continue
                if peer.last_heard > asked.sent and asked.extended < MAX_EXTENSIONS:
                    asked.extended += 1
                    asked.expires = now + peer.timeout()
                    continue
                self._timeouts += 1
                peer.timeouts += 1
                self._lacks(self._wants[cid], peer)
        for want in self._wants.values():
            if want.source is None and want.probed_at is not None and want.probed_at + REBROADCAST_SECONDS <= now:
                want.lacking.clear()
                want.probed_at = None
                self._idle.append(want.cid)
        self._assign(now)

    # --- what to do ---------------------------------------------------------------------------------------------------

    def next_action(self, now: float) -> Action | None:
        """The next thing to do, ``None`` where there is nothing."""
        if self._dirty:
            peer = next(iter(self._dirty))
            del self._dirty[peer]
            return Send(peer)
        if self._searches:
            return FindProviders(self._searches.popleft())
        return None

    def take(self, peer: PeerID) -> tuple[list[Entry], bool]:
        """The entries of the next message to a peer, and whether they are its full list."""
        found = self._peers.get(peer)
        if found is None:
            return [], False
        taken = found.wantlist.take()
        if found.wantlist.dirty:
            self._mark(found)
        return taken

    def deadline(self) -> float | None:
        """When to call ``on_timeout``."""
        times = [asked.expires for peer in self._peers.values() for asked in peer.asked.values()]
        times += [
            want.probed_at + REBROADCAST_SECONDS
            for want in self._wants.values()
            if want.source is None and want.probed_at is not None
        ]
        return min(times, default=None)

    def statistics(self) -> Statistics:
        """Counters."""
        return Statistics(
            wants=len(self._wants),
            peers=len(self._peers),
            sessions=len(self._sessions),
            blocks=self._blocks,
            duplicates=self._duplicates,
            timeouts=self._timeouts,
            broadcasts=self._broadcasts,
        )

    def __repr__(self) -> str:
        asked = sum(len(peer.asked) for peer in self._peers.values())
        return f"<Wants {len(self._wants)} open, {asked} asked of {len(self._peers)} peers, {len(self._idle)} idle>"

    # --- inside -------------------------------------------------------------------------------------------------------

    def _assign(self, now: float) -> None:
        """Give every want without a source to the best peer that has room for it."""
        waiting: list[CID] = []
        while self._idle:
            cid = self._idle.popleft()
            want = self._wants.get(cid)
            if want is None or want.source is not None:
                continue
            if not self._give(want, now):
                waiting.append(cid)
                if len(waiting) > 64 and not self._any_room():
                    break
        self._idle.extendleft(reversed(waiting))

    def _any_room(self) -> bool:
        return any(peer.room(1) for peer in self._peers.values())

    def _give(self, want: Want, now: float) -> bool:
        """Ask a peer for a want; whether it may leave the queue of the idle."""
        known = [
            self._peers[peer]
            for peer in dict.fromkeys([*want.have, *(peer for session in want.sessions for peer in session.peers)])
            if peer in self._peers and peer not in want.lacking
        ]
        free = [peer for peer in known if peer.room(want.size)]
        if free:
            self._ask(want, min(free, key=lambda peer: peer.expected_seconds(want.size)), now)
            return True
        if known:
            return False  # they are busy with blocks that were asked for before
        self._probe(want, now)
        return True

    def _ask(self, want: Want, peer: Peer, now: float) -> None:
        want.source = peer.id
        want.told.add(peer.id)
        peer.ask(want.cid, want.size, want.priority, now)
        self._mark(peer)

    def _probe(self, want: Want, now: float) -> None:
        """Ask the candidates whether they have a block, and the most promising of them for the block itself."""
        want.probed_at = now
        fresh = [peer for peer in self._candidates(want) if peer.id not in want.lacking and peer.id not in want.told]
        for peer in fresh:
            self._tell(want, peer)
        if fresh:
            self._broadcasts += 1
            best = min(fresh, key=lambda peer: (not peer.delivered, peer.expected_seconds(want.size)))
            if best.delivered or len(fresh) == 1 or not best.has_presences:
                self._ask(want, best, now)
        self._search(want, now)

    def _tell(self, want: Want, peer: Peer) -> None:
        if peer.has_presences:
            want.told.add(peer.id)
            if peer.wantlist.want(want.cid, block=False, priority=want.priority):
                self._mark(peer)

    def _candidates(self, want: Want) -> list[Peer]:
        chosen: dict[PeerID, None] = {}
        for session in want.sessions:
            chosen.update(dict.fromkeys(session.peers))
        chosen.update(dict.fromkeys(peer for peer in self._always if peer in self._peers))
        chosen.update(dict.fromkeys(peer.id for peer in self._peers.values() if peer.delivered))
        for session in want.sessions:
            session.random = [peer for peer in session.random if peer in self._peers]
            lacking = SESSION_RANDOM_PEERS - len(session.random)
            if lacking > 0:
                others = [peer for peer in self._peers if peer not in chosen and peer not in session.random]
                session.random += self._rng.sample(others, min(lacking, len(others)))
            chosen.update(dict.fromkeys(session.random))
        return [self._peers[peer] for peer in chosen if peer in self._peers]

    def _search(self, want: Want, now: float) -> None:
        for session in want.sessions:
            if session.searched_at is None or now - session.searched_at >= PROVIDER_SEARCH_SECONDS:
                session.searched_at = now
                self._searches.append(want.cid)
                return

    def _offer(self, peer: Peer, now: float) -> None:
        """A peer is new: it may be a candidate of wants that wait for one."""
        waiting = (want for want in self._wants.values() if want.source is None and peer.id not in want.told)
        for want in list(islice(waiting, OFFERED_WANTS)):  # once it has one of them, it is asked for the others
            if peer in self._candidates(want):
                want.lacking.discard(peer.id)
                self._tell(want, peer)
                if not peer.has_presences or len(self._wants) == 1:
                    self._ask(want, peer, now)

    def _lacks(self, want: Want, peer: Peer) -> None:
        """A peer has not got a block, or was silent for too long. It is not asked again, but may still send it."""
        peer.release(want.cid)
        want.lacking.add(peer.id)
        want.have.discard(peer.id)
        if want.source == peer.id:
            self._orphan(want)

    def _orphan(self, want: Want) -> None:
        if want.source in self._peers:
            self._peers[want.source].release(want.cid)
        want.source = None
        self._idle.appendleft(want.cid)

    def _join(self, want: Want, peer: PeerID, delivered: int = 0) -> None:
        for session in want.sessions:
            if peer in session.peers or len(session.peers) < MAX_SESSION_PEERS:
                session.peers[peer] = session.peers.get(peer, 0) + delivered

    def _settle(self, want: Want, sender: Peer | None, size: int, now: float) -> None:
        """A want is fulfilled."""
        if sender is not None:
            sender.received(want.cid, size, now)
            self._join(want, sender.id, 1)
        for session in want.sessions:
            session.wants.discard(want.cid)
            session.sizes += (size - session.sizes) // 8
        self._untell(want)

    def _untell(self, want: Want) -> None:
        for told in want.told:
            peer = self._peers.get(told)
            if peer is not None:
                peer.release(want.cid)
                peer.wantlist.cancel(want.cid)
                self._mark(peer)

    def _drop(self, cid: CID, session: Session, now: float) -> None:
        want = self._wants.get(cid)
        session.wants.discard(cid)
        if want is None or session not in want.sessions:
            return
        want.sessions.remove(session)
        if want.sessions:
            return
        del self._wants[cid]
        rest = self._by_hash[cid.multihash]
        rest.remove(cid)
        if not rest:
            del self._by_hash[cid.multihash]
        self._untell(want)

    def _mark(self, peer: Peer) -> None:
        if peer.wantlist.dirty:
            self._dirty[peer.id] = None
