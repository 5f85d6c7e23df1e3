"""Where wants go: which peer is asked for which block, who is probed, and who is asked instead. Sans-I/O."""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from itertools import islice
from typing import TYPE_CHECKING

from ipfs_kit_py.bitswap.peers import HOPED_LATENCY
from ipfs_kit_py.core.config import COLD_PROBES, REBROADCAST_SECONDS, RETRY_SECONDS

if TYPE_CHECKING:
    from ipfs_kit_py.bitswap.neighbours import Neighbours
    from ipfs_kit_py.bitswap.peers import Peer
    from ipfs_kit_py.bitswap.wants import Session, Want
    from ipfs_kit_py.core.cid import PeerID

TURN_WANTS = 8  # wants of one session that are asked before the next session's turn
SCAN_WANTS = 16  # wants of one session looked at whose peers are all busy
OFFERED_WANTS = 32  # wants that a new peer hears of: once it has one of them, it is asked for the others
WORTH_WAITING = 2.0  # a busy peer is waited for where all free ones would take so many times longer
OLD_PEERS_ASKED = 2  # peers of old versions asked for a block at once: they cannot say whether they have it
SECOND_PROBES = 16  # peers of a session that are asked who has a block, once one that should have it has not
HEAD_START_LATENCIES = 1.5  # round trips that candidates have to say HAVE before providers are searched for
HEAD_START_MIN, HEAD_START_MAX = 0.02, 0.1  # seconds; a search costs dozens of messages, but nobody waits long for it
MAX_HEDGED_SHARE = 0.03  # of the bytes received may be asked for twice because they were late


class Placing:
    """The sessions' idle wants and the peers with room for them. Feed it with ``queue``, then call ``assign``."""

    def __init__(self, neighbours: Neighbours) -> None:
        self.sessions: dict[int, Session] = {}
        self.busy: dict[PeerID, Peer] = {}  # peers that blocks are asked of
        self.dirty: dict[PeerID, None] = {}  # peers with something to be told
        self.received = 0  # bytes
        self.broadcasts = self.hedged = 0
        self._hedged_bytes = 0
        self._neighbours = neighbours
        self._retries: list[tuple[float, int, Want]] = []
        self._count = 0

    # --- the queue ----------------------------------------------------------------------------------------------------

    def queue(self, want: Want) -> None:
        """A want that is asked of nobody is to be placed."""
        if not want.queued and not want.sources:
            want.queued = True
            self._count += 1
            heappush(want.sessions[0].idle, (-want.priority, want.number, self._count, want))

    def assign(self, now: float) -> None:
        """Give wants to peers that have room, session by session, until there is none."""
        turns = deque(session for session in self.sessions.values() if session.idle)
        while turns:
            session = turns.popleft()
            if self._serve(session, now):
                turns.append(session)

    def _serve(self, session: Session, now: float) -> bool:
        """One session's turn; whether it may have another."""
        given = 0
        blocked: list[tuple[int, int, int, Want]] = []
        while session.idle and given < TURN_WANTS and len(blocked) < SCAN_WANTS:
            item = heappop(session.idle)
            want = item[-1]
            if not want.queued:
                continue  # it is over, or was queued elsewhere too
            want.queued = False
            if self._place(want, now):
                given += 1
            else:
                want.queued = True
                blocked.append(item)
        for item in blocked:
            heappush(session.idle, item)
        if given:  # next time another session is the first
            self.sessions[session.number] = self.sessions.pop(session.number)
        return given == TURN_WANTS

    # --- one want -----------------------------------------------------------------------------------------------------

    def _place(self, want: Want, now: float) -> bool:
        """Ask somebody for a want; false where it has to wait for room, or for what others of its session find."""
        size = want.size
        known = self._known(want)
        if known:
            best = min(known, key=lambda item: item[0].expected_seconds(size) / item[1])
            limit = WORTH_WAITING * best[0].expected_seconds(size) / best[1]
            free = [item for item in known if item[0].room(size) and item[0].expected_seconds(size) / item[1] <= limit]
            if free:
                peer, chance = min(free, key=lambda item: item[0].expected_seconds(size) / item[1])
                self._ask(want, peer, now)
                if chance < 1.0 and want.lacking:
                    for other, _ in known[:SECOND_PROBES]:
                        self._ask_whether(want, other, now)
                return True
            if not best[0].silent:
                return False
        elif len(want.sessions[0].probing) >= COLD_PROBES:
            return False  # the answers to those will say whom to ask
        self._probe(want, now)
        return True

    def _known(self, want: Want) -> list[tuple[Peer, float]]:
        """Connected peers that have the block, or had others of its sessions, with the chance of it."""
        found = [
            (peer, 1.0)
            for number in want.have
            if number not in want.lacking and (peer := self._neighbours.get(number)) is not None
        ]
        for session in want.sessions:
            for number, score in session.peers.items():
                if number not in want.have and number not in want.lacking and score.trusted:
                    peer = self._neighbours.get(number)
                    if peer is not None:
                        found.append((peer, min(score.chance, 0.99)))
        return found

    def _ask(self, want: Want, peer: Peer, now: float) -> None:
        want.sources.add(peer.id)
        want.told.add(peer.id)
        for session in want.sessions:
            session.probing.pop(want.cid, None)
        peer.ask(want.cid, want.size, want.priority, now)
        self.busy[peer.id] = peer
        self.mark(peer)

    def _ask_whether(self, want: Want, peer: Peer, now: float) -> None:
        if peer.has_presences and not peer.wantlist.full and peer.probe(want.cid, want.priority, now):
            want.told.add(peer.id)
            self.mark(peer)

    def _probe(self, want: Want, now: float) -> None:
        """Ask the candidates that have not heard of a want yet, and prepare for none of them having it."""
        session = want.sessions[0]
        members = [peer for other in want.sessions for peer in other.peers]
        fresh = [
            peer
            for peer in self._neighbours.candidates(members, session.random)
            if peer.id not in want.lacking and not peer.wantlist.asked(want.cid)
        ]
        for peer in fresh:
            self._ask_whether(want, peer, now)
        if fresh:
            self.broadcasts += 1
            self._venture(want, fresh, now)
        until = now + self._head_start(want)
        if not want.sources and self.awaits(want):
            session.probing[want.cid] = until
        self._seek(want, session, now, until)
        if want.retry_at is None:
            want.retry_at = now + min(RETRY_SECONDS * (1 << min(want.retries, 10)), REBROADCAST_SECONDS)
            heappush(self._retries, (want.retry_at, self._count, want))
            self._count += 1

    def _venture(self, want: Want, fresh: list[Peer], now: float) -> None:
        """Ask for the block at once where there is reason to think that it is there."""
        size = want.size
        free = sorted((peer for peer in fresh if peer.room(size)), key=lambda peer: peer.expected_seconds(size))
        likely = free if len(fresh) == 1 else [peer for peer in free if self._neighbours.is_likely(peer)]
        if likely:
            self._ask(want, likely[0], now)
        if not want.sources or want.retries:
            for peer in [peer for peer in free if not peer.has_presences][:OLD_PEERS_ASKED]:
                self._ask(want, peer, now)

    def _head_start(self, want: Want) -> float:
        """How long those that were told may take to say HAVE."""
        peers = [peer for number in want.told if (peer := self._neighbours.get(number)) is not None]
        fastest = min((HOPED_LATENCY if peer.latency is None else peer.latency for peer in peers), default=0.0)
        return min(max(HEAD_START_LATENCIES * fastest, HEAD_START_MIN), HEAD_START_MAX)

    def _seek(self, want: Want, session: Session, now: float, until: float) -> None:
        """Have providers searched for: at once where nobody is left who might answer."""
        if want.sought:
            return
        if want.sources or self.awaits(want):
            session.seeking.setdefault(want.cid, until)
        else:
            session.seeking[want.cid] = now
            session.seeking.move_to_end(want.cid, last=False)

    def awaits(self, want: Want) -> bool:
        """Whether a peer that was asked whether it has a block has yet to answer."""
        for number in want.told:
            peer = self._neighbours.get(number)
            if peer is not None and number not in want.lacking and peer.wantlist.asked(want.cid):
                return True
        return False

    # --- what changes it ----------------------------------------------------------------------------------------------

    def joined(self, want: Want, peer: PeerID, *, hits: int = 0) -> None:
        """A peer has a block. If that is news to a session, its other wants may be asked of it too."""
        for session in want.sessions:
            news = peer not in session.peers
            session.join(peer).hits += hits
            if news:
                for other in session.wants.values():
                    self.queue(other)
        if want.sessions[0].wants.get(want.cid) is want:
            self.queue(want)

    def lacks(self, want: Want, peer: Peer) -> None:
        """A peer has not got a block. It keeps the want, and may still send it one day."""
        peer.release(want.cid)
        want.lacking.add(peer.id)
        want.have.discard(peer.id)
        for session in want.sessions:
            score = session.peers.get(peer.id)
            if score is not None:
                score.misses += 1
        self.without(want, peer.id)
        self.rest(peer)

    def without(self, want: Want, peer: PeerID) -> None:
        """A block does not come from this peer."""
        want.sources.discard(peer)
        self.queue(want)

    def offer(self, peer: Peer) -> None:
        """A peer is new, or speaks again: wants that wait for one may be asked of it."""
        for session in self.sessions.values():
            waiting = (want for want in session.wants.values() if not want.sources and not want.queued)
            for want in list(waiting if peer.id in session.peers else islice(waiting, OFFERED_WANTS)):
                self.queue(want)

    def hedge(self, want: Want, waited: float, now: float) -> None:
        """A block is late. Where its session has nothing else to ask for, a faster peer is asked for it too."""
        size = want.size
        if want.sessions[0].idle or self._hedged_bytes + size > MAX_HEDGED_SHARE * self.received:
            return
        others = [
            (peer.expected_seconds(size) / chance, peer.id)
            for peer, chance in self._known(want)
            if peer.id not in want.sources and peer.room(size)
        ]
        best = min(others, default=None)
        if best is not None and best[0] < waited:
            peer = self._neighbours.get(best[1])
            if peer is not None:
                self._ask(want, peer, now)
                self.hedged += 1
                self._hedged_bytes += size

    def next_retry(self) -> float | None:
        """When the next want is asked anew."""
        return self._retries[0][0] if self._retries else None

    def due_retries(self, now: float) -> list[Want]:
        """Wants whose time to be asked anew has come; some of them may be over."""
        due = []
        while self._retries and self._retries[0][0] <= now:
            due.append(heappop(self._retries)[-1])
        return due

    def retry(self, want: Want, now: float) -> None:
        """Ask everyone again, and other random peers than before, for a want that nobody had."""
        want.retry_at = None
        if want.sources or want.queued:
            return
        want.retries += 1
        want.sought = False
        want.lacking.clear()
        for number in want.told:
            peer = self._neighbours.get(number)
            if peer is not None:
                peer.release(want.cid)
                peer.wantlist.forget(want.cid)
        session = want.sessions[0]
        if now - session.stirred_at >= RETRY_SECONDS:
            session.stirred_at = now
            session.random.clear()
        self.queue(want)

    def untell(self, want: Want) -> None:
        """A want is over: those that were told and have not answered with the block hear a cancel."""
        for number in want.told:
            peer = self._neighbours.get(number)
            if peer is not None:
                peer.release(want.cid)
                peer.wantlist.cancel(want.cid)
                self.mark(peer)
                self.rest(peer)

    def mark(self, peer: Peer) -> None:
        """There may be something to tell a peer."""
        if peer.wantlist.dirty:
            self.dirty[peer.id] = None

    def rest(self, peer: Peer) -> None:
        """A peer may have nothing more to do."""
        if not peer.asked:
            self.busy.pop(peer.id, None)
