"""Where wants go: which peer is asked for which block, who is probed, and who is asked instead. Sans-I/O."""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

from ipfs_kit_py.bitswap.market import Market
from ipfs_kit_py.bitswap.peers import HOPED_LATENCY
from ipfs_kit_py.bitswap.wants import COLD, NOWHERE, PARKED, QUEUED
from ipfs_kit_py.core.config import COLD_PROBES, REBROADCAST_SECONDS, RETRY_SECONDS

if TYPE_CHECKING:
    from ipfs_kit_py.bitswap.market import Row
    from ipfs_kit_py.bitswap.neighbours import Neighbours
    from ipfs_kit_py.bitswap.peers import Peer
    from ipfs_kit_py.bitswap.wants import Session, Want
    from ipfs_kit_py.core.cid import PeerID

TURN_WANTS_ALONE = 64  # the same where no other session waits
TURN_WANTS = 8  # wants of one session that are asked before the next session's turn
UNPARK_WANTS = 16  # wants looked at again when the peer that they wait for has room
HEAP_SLACK = 64  # entries of wants that are over, in a heap of as many others
OFFERED_WANTS = 32  # wants that a new peer hears of: once it has one of them, it is asked for the others
OLD_PEERS_ASKED = 2  # peers of old versions asked for a block at once: they cannot say whether they have it
SECOND_PROBES = 16  # peers of a session that are asked who has a block, once one that should have it has not
HEAD_START_LATENCIES = 1.5  # round trips that candidates have to say HAVE before providers are searched for
HEAD_START_MIN, HEAD_START_MAX = 0.02, 0.1  # seconds; a search costs dozens of messages, but nobody waits long for it
BUSY_SECONDS = 1.0  # until a want is asked anew that no candidate had room for in its list
MAX_HEDGED_SHARE = 0.03  # of the bytes received may be asked for twice because they were late

Item: TypeAlias = "tuple[int, int, int, Want]"  # of a heap: by priority, then age


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
        self._parked: dict[PeerID, dict[int, Want]] = {}  # wants that wait for room at one peer, by number
        self._retries: list[tuple[float, int, Want]] = []
        self._armed = 0  # of them those of wants that are not over
        self._count = 0

    # --- the queue ----------------------------------------------------------------------------------------------------

    def queue(self, want: Want) -> None:
        """A want that is asked of nobody is to be placed."""
        if want.state != QUEUED and not want.sources:
            want.state = QUEUED
            self._push(want.sessions[0].idle, want, len(want.sessions[0].wants))

    def _push(self, heap: list[Item], want: Want, live: int) -> None:
        if len(heap) > 2 * live + HEAP_SLACK:
            state = want.state
            latest = {item[1]: item for item in heap if item[-1].state == state and item[-1] is not want}
            heap[:] = latest.values()
            heapify(heap)
        self._count += 1
        heappush(heap, (-want.priority, want.number, self._count, want))

    def assign(self, now: float) -> None:
        """Give wants to peers that have room, session by session, until there is none."""
        while True:
            self._unpark()
            turns = deque(session for session in self.sessions.values() if session.idle or session.cold)
            while turns:
                session = turns.popleft()
                if self._serve(session, now, TURN_WANTS if turns else TURN_WANTS_ALONE):
                    turns.append(session)
            if not any(self._has_room(peer) for peer in self._parked):
                return

    def _serve(self, session: Session, now: float, turn: int) -> bool:
        """One session's turn; whether it may have another."""
        given = 0
        market: Market | None = None
        while given < turn and (want := self._next(session)) is not None:
            if market is None or market.size != want.size:
                market = Market(session, self._neighbours, want.size)
            best = market.best(want)
            if best.free is not None:
                self._buy(want, best.free, now)
                market.update(best.free)
                given += 1
            elif best.row is not None and not best.row.peer.silent:
                if not (want.have or want.lacking) or not market.any_room():
                    self.queue(want)  # those behind it have no more choice than it has
                    self._recruit(session, now)
                    break
                want.state = PARKED  # others of the session may have something to do
                self._parked.setdefault(best.row.peer.id, {})[want.number] = want
            elif len(session.probing) >= COLD_PROBES:
                want.state = COLD  # the answers to the others will say whom to ask
                self._push(session.cold, want, len(session.wants))
            else:
                self._probe(want, now)
                market = None
                given += 1
        if given:  # next time another session is the first
            self.sessions[session.number] = self.sessions.pop(session.number)
        return given == turn

    def _next(self, session: Session) -> Want | None:
        """The want with the highest priority, of those the oldest, that can be placed."""
        idle, cold = session.idle, session.cold
        while True:
            if cold and len(session.probing) < COLD_PROBES and not (idle and idle[0] < cold[0]):
                heap, state = cold, COLD
            elif idle:
                heap, state = idle, QUEUED
            else:
                return None
            want = heappop(heap)[-1]
            if want.state == state:  # else it is over, or was placed by other means
                want.state = NOWHERE
                return want

    def _buy(self, want: Want, row: Row, now: float) -> None:
        self._ask(want, row.peer, now)
        if row.chance < 1.0 and want.lacking:
            for number in islice(want.sessions[0].peers, SECOND_PROBES):
                other = self._neighbours.get(number)
                if other is not None and number not in want.lacking:
                    self._ask_whether(want, other, now)

    def _recruit(self, session: Session, now: float) -> None:
        """All trusted peers of a session are busy: ask others now and then whether they have some of what waits."""
        if now < session.recruit_at:
            return
        count = session.next_recruits(now)
        step = max(len(session.idle) // count, 1)
        wants = [item[-1] for item in session.idle[::step] if item[-1].state == QUEUED]
        for peer in self._neighbours.candidates(session.peers, session.random, session.topic):
            score = session.peers.get(peer.id)
            if (score is None or not score.trusted) and not peer.silent and peer.room(session.mean):
                for want in wants:
                    if peer.id not in want.told:
                        self._ask_whether(want, peer, now)

    def promised(self, want: Want, peer: Peer, now: float) -> None:
        """A peer said HAVE. One that is not asked unseen gets the want now: others may stand before it in the queue."""
        want.have.add(peer.id)
        want.lacking.discard(peer.id)
        self.joined(want, peer.id)
        session = want.sessions[0]
        score = session.peers.get(peer.id)
        if want.state == NOWHERE or not peer.room(want.size) or (score is not None and score.trusted):
            return
        session.recruited = True
        free = Market(session, self._neighbours, want.size).best(want).free
        if free is not None:
            want.state = NOWHERE
            self._ask(want, free.peer, now)

    def _has_room(self, peer: PeerID) -> bool:
        """Whether the first want that waits for a peer need not do so any longer."""
        waiting = self._parked[peer]
        found = self._neighbours.get(peer)
        while waiting:
            want = next(iter(waiting.values()))
            if want.state == PARKED:
                return found is None or found.silent > 0 or found.room(want.size)
            del waiting[want.number]
        return False

    def _unpark(self) -> None:
        """Queue some of the wants of peers that have room again, and all of those that will have none."""
        for peer in list(self._parked):
            waiting = self._parked[peer]
            if self._has_room(peer):
                found = self._neighbours.get(peer)
                count = UNPARK_WANTS if found is not None and not found.silent else len(waiting)
                for number in list(islice(waiting, count)):
                    want = waiting.pop(number)
                    if want.state == PARKED:
                        self.queue(want)
            if not waiting:
                del self._parked[peer]

    # --- one want -----------------------------------------------------------------------------------------------------

    def _ask(self, want: Want, peer: Peer, now: float) -> None:
        want.sources.add(peer.id)
        want.told.add(peer.id)
        for session in want.sessions:
            session.probing.pop(want.cid, None)
        peer.ask(want.cid, want.size, want.priority, now)
        self.busy[peer.id] = peer
        self.mark(peer)

    def _ask_whether(self, want: Want, peer: Peer, now: float) -> None:
        if peer.has_presences and peer.probe(want.cid, want.priority, now):
            want.told.add(peer.id)
            self.mark(peer)

    def _probe(self, want: Want, now: float) -> None:
        """Ask the candidates that have not heard of a want yet, and prepare for none of them having it."""
        session = want.sessions[0]
        members = [peer for other in want.sessions for peer in other.peers]
        fresh = [
            peer
            for peer in self._neighbours.candidates(members, session.random, session.topic)
            if peer.id not in want.lacking and not peer.wantlist.asked(want.cid)
        ]
        told = len(want.told)
        for peer in fresh:
            self._ask_whether(want, peer, now)
        if fresh:
            self.broadcasts += 1
            self._venture(want, fresh, now)
        until = now + self._head_start(want)
        if want.sources or self.awaits(want):
            session.probing[want.cid] = until
        else:
            session.probing.pop(want.cid, None)
        if fresh and not want.sources and len(want.told) == told:  # they hold as many as they can
            wait = BUSY_SECONDS
        else:
            self._seek(want, session, now, until)
            wait = min(RETRY_SECONDS * (1 << min(want.retries, 10)), REBROADCAST_SECONDS)
        if want.retry_at is None:
            self._arm(want, now + wait)

    def _arm(self, want: Want, at: float) -> None:
        if len(self._retries) > 2 * self._armed + HEAP_SLACK:
            self._retries = [item for item in self._retries if item[-1].retry_at == item[0]]
            heapify(self._retries)
        want.retry_at = at
        self._armed += 1
        self._count += 1
        heappush(self._retries, (at, self._count, want))

    def _disarm(self, want: Want) -> None:
        if want.retry_at is not None:
            want.retry_at = None
            self._armed -= 1

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
            score = session.join(peer, self._neighbours)
            if score is not None:
                score.hits += hits
                if news:
                    for other in session.wants.values():
                        self.queue(other)
        if want.sessions[0].wants.get(want.cid) is want:
            self.queue(want)

    def lacks(self, want: Want, peer: Peer) -> None:
        """A peer has not got a block. It keeps the want, and may still send it one day."""
        peer.release(want.cid)
        peer.refuse(want.cid)
        want.lacking.add(peer.id)
        want.have.discard(peer.id)
        for session in want.sessions:
            score = session.peers.get(peer.id)
            if score is not None:
                score.misses += 1
        self.without(want, peer.id)
        self.rest(peer)

    def without(self, want: Want, peer: PeerID) -> None:
        """A block does not come from this peer. One that others may yet say HAVE to stays where it is."""
        if peer in want.sources or want.state != NOWHERE or not self.awaits(want):
            want.sources.discard(peer)
            self.queue(want)

    def offer(self, peer: Peer, now: float) -> None:
        """A peer is new, or speaks again: wants that wait for one may be asked of it."""
        member = [session for session in self.sessions.values() if peer.id in session.peers]
        for session in self.sessions.values():
            waiting = (want for want in session.wants.values() if not want.sources and want.state != QUEUED)
            for want in list(waiting if session in member else islice(waiting, OFFERED_WANTS)):
                if want.state == NOWHERE and peer.id not in want.told:  # the others were asked
                    self._introduce(want, peer, now)
                self.queue(want)

    def _introduce(self, want: Want, peer: Peer, now: float) -> None:
        if peer.has_presences:
            self._ask_whether(want, peer, now)
        elif peer.room(want.size):
            self._ask(want, peer, now)

    def hedge(self, want: Want, waited: float, now: float) -> None:
        """A block is late. Where its session has nothing else to ask for, a faster peer is asked for it too."""
        size = want.size
        if want.sessions[0].idle or self._hedged_bytes + size > MAX_HEDGED_SHARE * self.received:
            return
        row = Market(want.sessions[0], self._neighbours, size).another(want)
        if row is not None and row.cost < waited:
            self._ask(want, row.peer, now)
            self.hedged += 1
            self._hedged_bytes += size

    def next_retry(self) -> float | None:
        """When the next want is asked anew."""
        while self._retries and self._retries[0][-1].retry_at != self._retries[0][0]:
            heappop(self._retries)
        return self._retries[0][0] if self._retries else None

    def due_retries(self, now: float) -> list[Want]:
        """Wants whose time to be asked anew has come."""
        due = []
        while self._retries and self._retries[0][0] <= now:
            at, _, want = heappop(self._retries)
            if want.retry_at == at:
                self._disarm(want)
                due.append(want)
        return due

    def retry(self, want: Want, now: float) -> None:
        """Ask everyone again, and other random peers than before, for a want that nobody had."""
        if want.sources or want.state != NOWHERE:
            return
        want.retries += 1
        want.sought = False
        want.lacking.clear()
        connected = [peer for number in want.told if (peer := self._neighbours.get(number)) is not None]
        for peer in connected:
            peer.release(want.cid)
            peer.forget(want.cid)
        want.told = {peer.id for peer in connected}
        want.have = {number for number in want.have if self._neighbours.get(number) is not None}
        session = want.sessions[0]
        if now - session.stirred_at >= RETRY_SECONDS:
            session.stirred_at = now
            session.random.clear()
        self.queue(want)

    def untell(self, want: Want, sender: Peer | None) -> None:
        """A want is over: those that were told and have not answered with the block hear a cancel."""
        want.state = NOWHERE
        self._disarm(want)
        if sender is not None:
            self.rest(sender)
        for number in want.told:
            peer = self._neighbours.get(number)
            if peer is not None and peer is not sender:
                peer.release(want.cid)
                peer.untell(want.cid)
                self.mark(peer)
                self.rest(peer)

    def mark(self, peer: Peer) -> None:
        """There may be something to tell a peer."""
        if peer.wantlist.dirty:
            self.dirty[peer.id] = None

    def rest(self, peer: Peer) -> None:
        """A peer may have nothing more to do."""
        if peer.waits:
            self.busy[peer.id] = peer
        else:
            self.busy.pop(peer.id, None)
