"""A simulated network of bitswap engines: pairs of ``Wants`` and ``Ledger`` with links between them and a moved clock.

Links have latency and bandwidth, and may lose, repeat and reorder messages; peers come and go. Everything is decided by
the seed. Blocks are numbers with a size: their bytes are never made.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from functools import cache
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from ipfs_kit_py.bitswap.ledger import Answer, Ledger
from ipfs_kit_py.bitswap.session import Wants
from ipfs_kit_py.bitswap.wants import NOWHERE, FindProviders, Penalise, Send, Want
from ipfs_kit_py.bitswap.wire import V120, Entry, Message, decode, encode
from ipfs_kit_py.core import multihash
from ipfs_kit_py.core.cid import CID, RAW, PeerID
from ipfs_kit_py.core.config import MAX_WANTLIST_ENTRIES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

WIRE_OVERHEAD = 100  # bytes of a message besides its blocks


@cache
def cid_of(number: int) -> CID:
    """A CID that stands for the block of this number."""
    return CID(1, RAW, multihash.wrap(multihash.SHA2_256, number.to_bytes(32, "big")))


@cache
def peer_of(number: int) -> PeerID:
    """The id of the peer of this number."""
    return PeerID(multihash.wrap(multihash.SHA2_256, number.to_bytes(32, "little")))


@dataclass
class Link:
    """One direction. Seconds, bytes a second, and chances."""

    latency: float = 0.01
    bandwidth: float = 1e8
    loss: float = 0.0
    repeat: float = 0.0
    jitter: float = 0.0  # seconds; more than the time between two messages reorders them
    free_at: float = 0.0
    epoch: int = 0  # messages of an earlier one are lost


@dataclass
class Node:
    """One peer, what it has (multihash to bytes), and what it was seen to do."""

    id: PeerID
    wants: Wants
    ledger: Ledger = field(default_factory=Ledger)
    store: dict[bytes, int] = field(default_factory=dict)
    protocol: str = V120
    stalled: bool = False  # its answers never leave
    deaf: bool = False  # it never reads
    tick: int = 0
    searches: list[tuple[float, CID]] = field(default_factory=list)
    penalties: list[Penalise] = field(default_factory=list)
    got: list[tuple[float, PeerID, bytes, int]] = field(default_factory=list)  # blocks taken
    surplus: int = 0  # bytes of blocks that nobody wanted

    def have(self, numbers: Iterable[int], size: int) -> None:
        """Blocks are in the store."""
        self.store.update((cid_of(number).multihash, size) for number in numbers)


class World:
    """All nodes, and what is under way between them."""

    def __init__(self, seed: int = 0, *, check: bool = False) -> None:
        self.rng = random.Random(seed)
        self.now = 0.0
        self.nodes: dict[PeerID, Node] = {}
        self.links: dict[tuple[PeerID, PeerID], Link] = {}
        self.messages: Counter[tuple[PeerID, PeerID]] = Counter()  # with wants
        self.entries: dict[tuple[PeerID, PeerID], list[tuple[float, Entry]]] = defaultdict(list)
        self.providers: dict[CID, list[PeerID]] = {}  # what a search finds
        self.search_seconds = 0.05
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._check = check

    # --- making it ----------------------------------------------------------------------------------------------------

    def node(self, *, protocol: str = V120, seed: int = 1) -> Node:
        """A new peer."""
        number = len(self.nodes)
        node = Node(peer_of(number), Wants(random.Random(seed + number)), protocol=protocol)
        self.nodes[node.id] = node
        return node

    def connect(self, a: Node, b: Node, link: Link | None = None, *, known_rtt: bool = False) -> None:
        """Two nodes are connected, by a link like this one in each direction."""
        for one, other in ((a, b), (b, a)):
            old = self.links.get((one.id, other.id))
            epoch = 0 if old is None else old.epoch + 1
            self.links[one.id, other.id] = replace(link or Link(), epoch=epoch, free_at=self.now)
        rtt = 2 * self.links[a.id, b.id].latency if known_rtt else None
        for one, other in ((a, b), (b, a)):
            one.ledger.on_peer_connected(other.id)
            one.wants.on_peer_connected(other.id, self.now, has_presences=other.protocol == V120, rtt=rtt)
            self.act(one)

    def disconnect(self, a: Node, b: Node) -> None:
        """They are connected no longer; what was under way is lost."""
        for one, other in ((a, b), (b, a)):
            self.links[one.id, other.id].epoch += 1
            one.wants.on_peer_disconnected(other.id, self.now)
            one.ledger.on_peer_disconnected(other.id)
            self.act(one)

    def connected(self, a: Node, b: Node) -> bool:
        """Whether a's engine has b as a peer."""
        return a.wants._neighbours.get(b.id) is not None

    def fetch(self, node: Node, numbers: Iterable[int], *, size: int | None = None, session: int | None = None) -> int:
        """A session's wants."""
        if session is None:
            session = node.wants.open_session()
        node.wants.want(session, [cid_of(number) for number in numbers], self.now, size=size)
        self.act(node)
        return session

    def give(self, node: Node, numbers: Iterable[int], size: int) -> None:
        """Blocks come into a node's store by another way."""
        blocks = [(cid_of(number).multihash, size) for number in numbers]
        node.store.update(blocks)
        node.ledger.on_blocks_stored(blocks)
        self.act(node)

    # --- time ---------------------------------------------------------------------------------------------------------

    def at(self, when: float, what: Callable[[], None]) -> None:
        """Do something later."""
        self._count += 1
        heappush(self._events, (when, self._count, what))

    def run(self, *, until: Callable[[], bool] | None = None, seconds: float = 300.0, steps: int = 1 << 20) -> bool:
        """Go on until the condition holds (then ``True``), nothing is left to happen, or time is over."""
        end = self.now + seconds
        while self._events and self._events[0][0] <= end and steps:
            if until is not None and until():
                return True
            when, _, what = heappop(self._events)
            self.now = max(self.now, when)
            what()
            steps -= 1
        assert steps, "the engines are busy without end"
        if until is None or not until():
            self.now = end if until is None else self.now
            return until is None
        return True

    # --- the driver ---------------------------------------------------------------------------------------------------

    def act(self, node: Node) -> None:
        """Do what a node's engines say."""
        while (action := node.wants.next_action(self.now)) is not None:
            match action:
                case Send(peer):
                    while (message := node.wants.take(peer)) is not None:
                        self._tell(node, self.nodes[peer], *message)
                case FindProviders(cid):
                    node.searches.append((self.now, cid))
                    self.at(self.now + self.search_seconds, lambda cid=cid: self._found(node, cid))  # type: ignore[misc]
                case Penalise():
                    node.penalties.append(action)
        while not node.stalled and (answer := node.ledger.next_action()) is not None:
            self._answer(node, self.nodes[answer.peer], answer)
        deadline = node.wants.deadline()
        node.tick += 1
        if deadline is not None:
            self.at(max(deadline, self.now) + 0.001, lambda tick=node.tick: self._ring(node, tick))  # type: ignore[misc]
        if self._check:
            check(node.wants)

    def _ring(self, node: Node, tick: int) -> None:
        if tick == node.tick:
            node.wants.on_timeout(self.now)
            self.act(node)

    def _found(self, node: Node, cid: CID) -> None:
        for peer in self.providers.get(cid, ()):
            if not self.connected(node, self.nodes[peer]):
                self.connect(node, self.nodes[peer])
            node.wants.on_provider(cid, peer, self.now)
        node.wants.on_search_done(cid)
        self.act(node)

    def _tell(self, source: Node, target: Node, entries: list[Entry], full: bool) -> None:
        """A message with wants, as the wire has it."""
        data = b"".join(encode(Message(entries=entries, full=full), target.protocol))
        if not data:
            return
        self.messages[source.id, target.id] += 1
        self.entries[source.id, target.id] += [(self.now, entry) for entry in entries]

        def arrive() -> None:
            if not target.deaf:
                message = decode(data)
                found = target.ledger.on_message(source.id, message.entries, full=message.full)
                target.ledger.on_lookup(source.id, {cid.multihash: target.store.get(cid.multihash) for cid in found})
                self.act(target)

        self._send(source, target, len(data), arrive)

    def _answer(self, source: Node, target: Node, answer: Answer) -> None:
        haves, dont_haves = answer.haves, answer.dont_haves
        if source.protocol != V120 or target.protocol != V120:
            haves = dont_haves = ()

        def arrive() -> None:
            if haves or dont_haves:
                target.wants.on_presences(source.id, haves, dont_haves, self.now)
            self.receive(target, source, answer.blocks)
            self.act(target)

        size = answer.size + 40 * len(haves + dont_haves)
        done = self._send(source, target, size, arrive)

        def sent() -> None:
            source.ledger.on_sent(answer, done=True)
            self.act(source)

        self.at(done, sent)

    def receive(self, target: Node, source: Node, blocks: Iterable[tuple[CID, int]]) -> None:
        """Blocks arrive, and are true."""
        taken: list[tuple[bytes, int, float]] = []
        for cid, size in blocks:
            if target.wants.is_wanted(cid.multihash) and cid.multihash not in {item[0] for item in taken}:
                taken.append((cid.multihash, size, self.now))
                target.got.append((self.now, source.id, cid.multihash, size))
                target.store[cid.multihash] = size
                target.ledger.on_received(source.id, size)
            else:
                target.surplus += size
                target.wants.on_unwanted(source.id, cid.multihash, self.now)
        target.wants.on_blocks(source.id, taken, self.now)
        target.ledger.on_blocks_stored([(key, size) for key, size, _ in taken])

    def _send(self, source: Node, target: Node, size: int, arrive: Callable[[], None]) -> float:
        """Put a message on its way; when the last of its bytes leaves."""
        link = self.links[source.id, target.id]
        link.free_at = max(link.free_at, self.now) + (size + WIRE_OVERHEAD) / link.bandwidth
        epoch = link.epoch

        def land() -> None:
            if self.links[source.id, target.id].epoch == epoch:
                arrive()

        for _ in range(1 + (self.rng.random() < link.repeat)):
            if self.rng.random() >= link.loss:
                self.at(link.free_at + link.latency + self.rng.random() * link.jitter, land)
        return link.free_at


# --- what must always hold --------------------------------------------------------------------------------------------


def check(wants: Wants) -> None:
    """What the client's engine knows in two places agrees, and no want is forgotten."""
    placing = wants._placing
    for peer in wants._neighbours:
        under_way = [*peer.asked.values(), *peer.overdue.values()]
        assert peer.outstanding == sum(asked.size for asked in under_way)
        assert not set(peer.asked) & set(peer.overdue)
        assert all(peer.id in wants._wants[cid].sources for cid in peer.asked)
        assert all(cid in wants._wants for cid in peer.overdue)
        assert len(peer.wantlist) == len(peer.wantlist.cids()) <= MAX_WANTLIST_ENTRIES
        assert all(peer.wantlist.asked(cid) for cid in peer.refused)
        assert all(cid in wants._wants for cid in peer.wantlist.cids())
        assert all(peer.wantlist.asked(cid) for cid in peer.asked)
        assert (peer.id in placing.busy) >= peer.waits
    for cid, want in wants._wants.items():
        _check_want(wants, cid, want)
    assert {cid for cids in wants._by_hash.values() for cid in cids} == set(wants._wants)
    assert placing._armed == sum(want.retry_at is not None for want in wants._wants.values())
    if wants._wants and len(wants._neighbours):
        assert wants.deadline() is not None


def _check_want(wants: Wants, cid: CID, want: Want) -> None:
    assert want.cid == cid
    assert want.sessions
    assert all(session.wants[cid] is want for session in want.sessions)
    for number in want.sources:
        peer = wants._neighbours.get(number)
        assert peer is not None
        assert cid in peer.asked
        assert number in want.told
    # a want without a source waits for room, or for a probe's turn, or has a time at which it is asked anew
    assert want.sources or want.state != NOWHERE or want.retry_at is not None, f"{cid} is stuck"
    assert not (want.sources and want.state != NOWHERE)


def check_empty(wants: Wants) -> None:
    """Nothing is left of sessions that were closed."""
    placing = wants._placing
    assert not wants._wants
    assert not wants._by_hash
    assert not wants._sessions
    assert not placing.busy
    assert not placing._parked
    assert wants.deadline() is None
    assert not placing._retries
    for peer in wants._neighbours:
        assert not peer.asked
        assert not peer.overdue
        assert not peer.refused
        assert peer.outstanding == 0
        assert not peer.wantlist.cids()
