"""The client's engine: wants of all sessions, and what is made of what peers say. Where a want goes is ``placing``'s.

A session is a group of wants whose blocks probably live together. A want goes through this:

    idle ──▶ asked (``want-block``) of one peer that has it, or of one that had others of its session,
    │        where it is expected soonest; waits while the windows of those peers are full
    └─▶ probed (``want-have``) where nobody is known: the most promising candidate is asked for the block itself, so
        that the first one costs one round trip, and providers are searched for unless somebody soon says HAVE
    DONT_HAVE, silence beyond the peer's own timeout, a lost peer ──▶ idle; nobody left ──▶ asked anew after a while
    a block ──▶ done; the others that were told hear a cancel

Sans-I/O; every time is ``now`` in seconds. Source: ipfs/specs src/bitswap-protocol.md.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ipfs_kit_py.bitswap.inquiries import Inquiries
from ipfs_kit_py.bitswap.neighbours import Chance, Neighbours
from ipfs_kit_py.bitswap.placing import Placing
from ipfs_kit_py.bitswap.wants import (
    NOWHERE,
    Action,
    FindProviders,
    LateAnswers,
    Penalise,
    Send,
    Session,
    Statistics,
    Want,
)
from ipfs_kit_py.core.config import PROVIDER_SEARCH_SECONDS
from ipfs_kit_py.core.errors import NotRunning

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ipfs_kit_py.bitswap.peers import Peer
    from ipfs_kit_py.bitswap.wire import Entry
    from ipfs_kit_py.core.cid import CID, PeerID
    from ipfs_kit_py.core.interfaces import PeerLore

LONELY_SEARCH_SECONDS = 1.0  # between two searches by one session where nobody is left who might have the second
FALSE_BLOCK = 1.0  # standing; a block that was never asked for is a false one
REPEATED_BLOCK = 0.1  # standing; a block that its peer sent before


class Wants:
    """All wants of a node. Feed it what happens, then ask for actions until there are none."""

    def __init__(self, rng: Chance, lore: PeerLore | None = None) -> None:
        self._lore = lore
        self._neighbours = Neighbours(rng, lore)
        self._placing = Placing(self._neighbours)
        self._sessions = self._placing.sessions
        self._wants: dict[CID, Want] = {}
        self._by_hash: dict[bytes, list[CID]] = {}
        self._actions: deque[FindProviders | Penalise] = deque()
        self._late = LateAnswers()
        self.inquiries = Inquiries(self._neighbours, self._placing, self._late, self._wants, self._by_hash)
        self._next_session = self._next_want = 0
        self._blocks = self._duplicates = self._timeouts = self._searches = 0

    # --- commands -----------------------------------------------------------------------------------------------------

    def open_session(self) -> int:
        """A new session's number."""
        self._next_session += 1
        self._sessions[self._next_session] = Session(self._next_session)
        return self._next_session

    def close_session(self, number: int, now: float) -> None:
        """End a session; wants that no other session has are cancelled."""
        session = self._sessions.get(number)
        if session is not None:
            for want in list(session.wants.values()):
                self._leave(want, session)
            del self._sessions[number]
            self._placing.assign(now)

    def want(self, number: int, cids: Iterable[CID], now: float, *, size: int | None = None, priority: int = 1) -> None:
        """Ask for blocks. ``size`` is what one is expected to weigh, in bytes. ``NotRunning`` on a closed session."""
        session = self._sessions.get(number)
        if session is None:
            raise NotRunning("the session is closed")
        for cid in cids:
            session.topic = session.topic or cid.multihash
            want = self._wants.get(cid)
            if want is None:
                self._next_want += 1
                want = self._wants[cid] = Want(cid, self._next_want, size, priority)
                self._by_hash.setdefault(cid.multihash, []).append(cid)
                self.inquiries.on_wanted(cid)
            if cid not in session.wants:
                want.sessions.append(session)
                session.wants[cid] = want
                self._placing.queue(want)
        self._placing.assign(now)

    def cancel(self, number: int, cids: Iterable[CID], now: float) -> None:
        """A session no longer wants blocks."""
        session = self._sessions.get(number)
        if session is not None:
            for cid in cids:
                if cid in session.wants:
                    self._leave(session.wants[cid], session)
            self._placing.assign(now)

    def always_ask(self, peer: PeerID, now: float) -> None:
        """The caller chose this peer: it hears of every want that nobody is known to have, whenever it is connected."""
        self._neighbours.choose(peer)
        found = self._neighbours.get(peer)
        if found is not None:
            self._placing.offer(found, now)
            self._placing.assign(now)

    def is_wanted(self, multihash: bytes) -> bool:
        """Whether a block with this multihash is wanted. Safe to call from another thread."""
        return multihash in self._by_hash

    def cids_of(self, multihash: bytes) -> tuple[CID, ...]:
        """The CIDs under which a multihash is wanted."""
        return tuple(self._by_hash.get(multihash, ()))

    # --- events: peers ------------------------------------------------------------------------------------------------

    def owed(self, peer: PeerID) -> int:
        """Bytes that are asked of a peer and not here yet."""
        found = self._neighbours.get(peer)
        return 0 if found is None else found.outstanding

    def on_peer_connected(
        self, peer: PeerID, now: float, *, has_presences: bool = True, local: bool = False, rtt: float | None = None
    ) -> None:
        """A peer can be asked. ``rtt`` in seconds, where it was measured."""
        found = self._neighbours.connect(peer, has_presences=has_presences, local=local)
        if found is None:
            return
        if found.latency is None:
            found.latency = rtt
        self._placing.offer(found, now)
        self._placing.assign(now)

    def on_peer_disconnected(self, peer: PeerID, now: float) -> None:
        """A peer has gone, or turned out not to speak bitswap: others are asked. Wants outlive it."""
        gone = self._neighbours.disconnect(peer)
        self.inquiries.on_gone(peer)
        self._placing.busy.pop(peer, None)
        self._placing.dirty.pop(peer, None)
        if gone is not None:
            for cid in {*gone.wantlist.cids(), *gone.asked, *gone.overdue}:
                want = self._wants.get(cid)
                if want is not None:
                    self._placing.without(want, peer)
                    want.lacking.discard(peer)
            self._placing.assign(now)

    def on_protocol(self, peer: PeerID, now: float, *, has_presences: bool) -> None:
        """The version of a peer's stream is known: an old one cannot be asked what it has, only for blocks."""
        found = self._neighbours.get(peer)
        if found is None or found.has_presences == has_presences:
            return
        found.has_presences = has_presences
        for cid in [] if has_presences else found.wantlist.cids():
            if cid not in found.asked:
                found.forget(cid)
                if cid in self._wants:
                    self._placing.queue(self._wants[cid])
        self._placing.assign(now)

    def on_stream_lost(self, peer: PeerID) -> None:
        """What a peer was told may be lost: it is told again, as a full list."""
        found = self._neighbours.get(peer)
        if found is not None:
            found.wantlist.reset()
            self._placing.mark(found)

    def on_provider(self, cid: CID, peer: PeerID, now: float) -> None:
        """A search says that a connected peer has a block."""
        want, found = self._wants.get(cid), self._neighbours.get(peer)
        if want is None or found is None:
            return
        if peer not in want.lacking:
            want.have.add(peer)
        self._placing.joined(want, peer)
        self._placing.assign(now)

    def on_search_done(self, cid: CID) -> None:
        """A search for providers of a block is over."""
        want = self._wants.get(cid)
        if want is not None and want.searching:
            want.searching -= 1

    # --- events: messages ---------------------------------------------------------------------------------------------

    def on_presences(self, peer: PeerID, haves: Iterable[CID], dont_haves: Iterable[CID], now: float) -> None:
        """A peer says what it has and what it has not. What it was not asked about is ignored."""
        found = self._neighbours.get(peer)
        if found is None:
            return
        self._heard(found, now)
        for cid in haves:
            self.inquiries.on_presence(found, cid, has=True, now=now)
            want = self._wants.get(cid)
            if want is not None and peer in want.told:
                found.answered(cid, now)
                self._placing.promised(want, found, now)
        for cid in dont_haves:
            self.inquiries.on_presence(found, cid, has=False, now=now)
            want = self._wants.get(cid)
            if want is not None and peer in want.told:
                found.answered(cid, now)
                self._placing.lacks(want, found)
        self._placing.assign(now)

    def on_blocks(self, peer: PeerID | None, blocks: Iterable[tuple[bytes, int, float]], now: float) -> None:
        """Verified blocks: multihash, bytes, and when they came; ``peer`` is ``None`` if they are from elsewhere."""
        sender = self._neighbours.get(peer) if peer is not None else None
        total, topic = 0, b""
        for multihash, size, at in blocks:
            cids = self._by_hash.pop(multihash, None)
            if cids is None:
                self._duplicates += peer is not None
                continue
            if peer is not None:
                self._blocks += 1
                self._placing.received += size
                total += size
                topic = topic or self._wants[cids[0]].sessions[0].topic
            if sender is not None:
                self._heard(sender, at)
                sender.received(cids[0], size, at)
                self._neighbours.prove(sender)
                for other in cids[1:]:
                    sender.delivered(other)
            for cid in cids:
                self._settle(self._wants.pop(cid), sender, size)
        if peer is not None and total and self._lore is not None:
            if sender is None:
                self._lore.on_delivered(peer, topic, total)
            else:
                self._neighbours.credit(sender, topic, total, now)
        self._placing.assign(now)

    def on_unwanted(self, peer: PeerID, multihash: bytes, now: float) -> None:
        """A peer sent a block that nobody wants: late, repeated, or false. ``multihash`` is that of its bytes, empty
        where it cannot be known. A peer that has gone cannot be told from one that just answers late."""
        found = self._neighbours.get(peer)
        if found is not None:
            self._heard(found, now)
        if self.inquiries.on_block(peer, multihash):
            return
        self._duplicates += 1
        if found is None or self._late.forgive(multihash, peer) or self._asked_for(multihash, peer):
            return
        if self._late.knows(multihash):
            self._actions.append(Penalise(peer, REPEATED_BLOCK, "sent a block again"))
        else:
            self._actions.append(Penalise(peer, FALSE_BLOCK, "sent a block that was not asked for"))
            if self._lore is not None:
                self._lore.on_lie(peer)
                found.doubt = self._lore.doubt(peer)

    # --- events: time -------------------------------------------------------------------------------------------------

    def on_timeout(self, now: float) -> None:
        """Time has passed: what peers were silent about is asked of others, and what nobody has is asked again."""
        for peer in list(self._placing.busy.values()):
            for cid, waited in peer.take_late(now):
                self._placing.hedge(self._wants[cid], waited, now)
            silent = peer.silent
            overdue = peer.take_overdue(now)
            if peer.silent > silent and self._lore is not None:
                self._lore.on_silent(peer.id)
            for cid in overdue:
                self._timeouts += 1
                want = self._wants[cid]
                want.lacking.add(peer.id)
                self._placing.without(want, peer.id)
            self._placing.rest(peer)
        for want in self._placing.due_retries(now):
            self._placing.retry(want, now)
        for session in self._sessions.values():
            session.end_probes(now)
        self._placing.assign(now)

    def deadline(self) -> float | None:
        """When to call ``on_timeout``; ``None`` where there is nothing to wait for."""
        retry_at = self._placing.next_retry()
        times = [] if retry_at is None else [retry_at]
        times += [at for peer in self._placing.busy.values() if (at := peer.deadline()) is not None]
        times += [self._search_at(session) for session in self._sessions.values() if session.seeking]
        times += [min(held.probing.values()) for held in self._sessions.values() if held.cold and held.probing]
        return min(times, default=None)

    # --- what to do ---------------------------------------------------------------------------------------------------

    def next_action(self, now: float) -> Action | None:
        """The next thing to do, ``None`` where there is nothing."""
        if self._placing.dirty:
            peer = next(iter(self._placing.dirty))
            del self._placing.dirty[peer]
            return Send(peer)
        if not self._actions:
            for session in self._sessions.values():
                self._search(session, now)
        return self._actions.popleft() if self._actions else None

    def take(self, peer: PeerID) -> tuple[list[Entry], bool] | None:
        """The entries of the next message to a peer and whether they are its full list; ``None`` for no message."""
        found = self._neighbours.get(peer)
        if found is None or not found.wantlist.dirty:
            return None
        return found.wantlist.take()

    def nobody_has(self, cid: CID) -> bool:
        """Whether everyone who was asked for a block has not got it, and no search is under way."""
        want = self._wants.get(cid)
        if want is None or want.sources or want.state != NOWHERE or want.searching:
            return False
        return not self._placing.awaits(want) and not any(cid in session.seeking for session in want.sessions)

    def expected_seconds(self, number: int, size: int) -> float:
        """How long ``size`` bytes more would take a session, as its peers were measured."""
        session = self._sessions.get(number)
        peers = [self._neighbours.get(peer) for peer in session.peers] if session is not None else []
        connected = [peer for peer in peers if peer is not None]
        rate = sum(peer.throughput or 0.0 for peer in connected)
        delay = max((peer.timeout() for peer in connected), default=0.0)
        return delay + (size / rate if rate else 0.0)

    def holders(self, number: int) -> int:
        """How many peers had something of what a session wants."""
        session = self._sessions.get(number)
        return 0 if session is None else len(session.peers)

    def statistics(self) -> Statistics:
        """Counters."""
        return Statistics(
            wants=len(self._wants),
            peers=len(self._neighbours),
            sessions=len(self._sessions),
            blocks=self._blocks,
            duplicates=self._duplicates,
            timeouts=self._timeouts,
            broadcasts=self._placing.broadcasts,
            searches=self._searches,
            hedged=self._placing.hedged,
        )

    def __repr__(self) -> str:
        asked = sum(len(peer.asked) for peer in self._placing.busy.values())
        idle = sum(want.state != NOWHERE for want in self._wants.values())
        return f"<Wants {len(self._wants)} open, {asked} asked of {len(self._placing.busy)} peers, {idle} idle>"

    # --- inside -------------------------------------------------------------------------------------------------------

    def _heard(self, peer: Peer, now: float) -> None:
        was_silent = peer.silent
        peer.heard(now)
        if was_silent:
            self._placing.rest(peer)
            self._placing.offer(peer, now)

    def _asked_for(self, multihash: bytes, peer: PeerID) -> bool:
        """Whether a peer was told of a want that still stands: its block could not be kept, which is not its fault."""
        return any(peer in self._wants[cid].told for cid in self._by_hash.get(multihash, ()))

    def _search_at(self, session: Session) -> float:
        """When the first of the wants that a session seeks may be searched for."""
        cid, due = next(iter(session.seeking.items()))
        want = self._wants.get(cid)
        alone = want is not None and not want.sources and not self._placing.awaits(want)
        return max(due, session.searched_at + (LONELY_SEARCH_SECONDS if alone else PROVIDER_SEARCH_SECONDS))

    def _search(self, session: Session, now: float) -> None:
        """Search for providers of the session's want that nobody has said to have for the longest time."""
        while session.seeking:
            cid = next(iter(session.seeking))
            want = self._wants.get(cid)
            if want is not None and not want.sought and not want.have - want.lacking:
                if now < self._search_at(session):
                    return
                want.sought = True
                want.searching += 1
                session.searched_at = now
                self._searches += 1
                self._actions.append(FindProviders(cid))
            del session.seeking[cid]

    def _settle(self, want: Want, sender: Peer | None, size: int) -> None:
        """A want is fulfilled."""
        for session in want.sessions:
            del session.wants[want.cid]
            session.probing.pop(want.cid, None)
            session.seeking.pop(want.cid, None)
            session.mean += (size - session.mean) // 8
        if sender is not None:
            self._placing.joined(want, sender.id, hits=1)
        self._over(want, sender)

    def _leave(self, want: Want, session: Session) -> None:
        """A session no longer has a want; it is over where no other has it."""
        want.sessions.remove(session)
        del session.wants[want.cid]
        session.probing.pop(want.cid, None)
        seek_at = session.seeking.pop(want.cid, None)
        if not want.sessions:
            del self._wants[want.cid]
            rest = self._by_hash[want.cid.multihash]
            rest.remove(want.cid)
            if not rest:
                del self._by_hash[want.cid.multihash]
            self._over(want, None)
            return
        if seek_at is not None:
            want.sessions[0].seeking[want.cid] = seek_at
        if want.state != NOWHERE:
            want.state = NOWHERE
            self._placing.queue(want)  # in the heap of another session

    def _over(self, want: Want, sender: Peer | None) -> None:
        self._placing.untell(want, sender)
        if want.told:
            self._late.expect(want.cid.multihash, want.told)
