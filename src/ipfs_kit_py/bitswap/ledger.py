"""The server's engine: what each peer wants, what it is owed, and whose turn it is.

Peers take turns by virtual time: each answer moves its peer's clock on by the bytes sent, slower for peers that have
sent us more than we sent them (at most by half), and the peer whose clock is lowest is next. A peer that was away
starts at the lowest clock of those that wait. Within a peer, higher priorities go first, then older wants. Sans-I/O.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from ipfs_kit_py.bitswap.wire import presence_size
from ipfs_kit_py.core import multihash
from ipfs_kit_py.core.config import (
    HAVE_REPLACE_BYTES,
    MAX_BLOCK_BYTES,
    MAX_LEDGERS,
    MAX_OUTSTANDING_PER_PEER,
    MAX_WANTLIST_ENTRIES,
    TARGET_MESSAGE_BYTES,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ipfs_kit_py.bitswap.wire import Entry
    from ipfs_kit_py.core.cid import CID, PeerID

MAX_MESSAGE_BLOCKS = 1024  # in one answer: small blocks are many


@dataclass(frozen=True)
class Answer:
    """A message to build and send: blocks with their sizes, and presences. Tell ``on_sent`` what became of it."""

    peer: PeerID
    blocks: tuple[tuple[CID, int], ...]
    haves: tuple[CID, ...]
    dont_haves: tuple[CID, ...]
    pending_bytes: int

    @property
    def size(self) -> int:
        """Bytes of its blocks."""
        return sum(size for _, size in self.blocks)


@dataclass(frozen=True)
class Account:
    """Bytes of blocks sent to a peer and received from it."""

    sent: int = 0
    received: int = 0

    @property
    def debt_ratio(self) -> float:
        """Bytes sent for each received: above 1 the peer owes us."""
        return self.sent / (self.received + 1)


@dataclass(frozen=True)
class LedgerStatistics:
    """Counters since the start, and what is open now."""

    peers: int
    wants: int
    blocks_sent: int
    bytes_sent: int
    evicted: int


class _Want:
    __slots__ = ("cid", "number", "priority", "queued", "send_dont_have", "want_have")

    def __init__(self, entry: Entry, number: int) -> None:
        self.cid = entry.cid
        self.priority = entry.priority
        self.want_have = entry.want_have
        self.send_dont_have = entry.send_dont_have
        self.number = number
        self.queued = False  # an answer is in the queue or on its way


class _Peer:
    def __init__(self, sent: int = 0, received: int = 0) -> None:
        self.wants: OrderedDict[bytes, _Want] = OrderedDict()
        self.queue: list[tuple[int, int, bytes, int]] = []  # (-priority, number, multihash, size)
        self.queued_bytes = 0
        self.haves: dict[CID, None] = {}
        self.dont_haves: dict[CID, None] = {}
        self.sent = sent
        self.received = received
        self.outstanding = 0
        self.clock = 0.0

    @property
    def ready(self) -> bool:
        return bool(self.queue or self.haves or self.dont_haves) and self.outstanding < MAX_OUTSTANDING_PER_PEER

    @property
    def pace(self) -> float:
        """How fast its clock runs: 1 for a stranger, down to 1/2 for one that has given more than it took."""
        return 1.0 - 0.5 * min(self.received / (self.sent + 1), 1.0)


class Ledger:
    """All peers' wants. Feed it messages and look-ups, then ask for answers until there are none."""

    def __init__(self) -> None:
        self._peers: dict[PeerID, _Peer] = {}
        self._waiting: dict[bytes, dict[PeerID, None]] = {}  # multihash -> peers that want it and have no answer yet
        self._past: OrderedDict[PeerID, Account] = OrderedDict()
        self._number = 0
        self._clock = 0.0
        self._blocks_sent = self._bytes_sent = self._evicted = 0

    # --- events -------------------------------------------------------------------------------------------------------

    def on_peer_connected(self, peer: PeerID) -> None:
        """A peer may send wants; its account goes on where it ended."""
        if peer not in self._peers:
            past = self._past.pop(peer, Account())
            self._peers[peer] = _Peer(past.sent, past.received)

    def on_peer_disconnected(self, peer: PeerID) -> None:
        """A peer has gone: its wants are dropped, its account is kept."""
        gone = self._peers.pop(peer, None)
        if gone is None:
            return
        for found in gone.wants:
            self._unwait(found, peer)
        if gone.sent or gone.received:
            self._past[peer] = Account(gone.sent, gone.received)
            while len(self._past) > MAX_LEDGERS:
                self._past.popitem(last=False)

    def on_message(self, peer: PeerID, entries: Iterable[Entry], *, full: bool) -> list[CID]:
        """A wantlist came; returns the CIDs to look up in the store, for ``on_lookup``."""
        self.on_peer_connected(peer)
        found = self._peers[peer]
        if full:
            for old in list(found.wants):
                self._remove(found, peer, old)
        look_up: list[CID] = []
        for entry in entries:
            if entry.cancel:
                self._remove(found, peer, entry.cid.multihash)
            elif entry.cid.multihash[0] == multihash.IDENTITY:
                if entry.send_dont_have:  # its bytes are in the CID: nobody needs to be asked for them
                    found.dont_haves[entry.cid] = None
            elif self._insert(found, peer, entry):
                look_up.append(entry.cid)
        return look_up

    def _insert(self, found: _Peer, peer: PeerID, entry: Entry) -> bool:
        key = entry.cid.multihash
        known = found.wants.get(key)
        if known is not None:
            if known.queued and (not known.want_have or entry.want_have):
                return False  # it is being answered already
            self._remove(found, peer, key)
        if len(found.wants) >= MAX_WANTLIST_ENTRIES and not self._evict(found, peer):
            return False
        self._number += 1
        found.wants[key] = _Want(entry, self._number)
        self._waiting.setdefault(key, {})[peer] = None
        return True

    def _evict(self, found: _Peer, peer: PeerID) -> bool:
        """Make room: the oldest want that we cannot satisfy goes, so that those that we can are never stalled."""
        for key, want in found.wants.items():
            if not want.queued:
                self._remove(found, peer, key)
                self._evicted += 1
                return True
        return False

    def on_lookup(self, peer: PeerID, sizes: Mapping[bytes, int | None]) -> None:
        """What the store has of the multihashes that ``on_message`` named: bytes, ``None`` where it has not."""
        found = self._peers.get(peer)
        if found is None:
            return
        for key, size in sizes.items():
            want = found.wants.get(key)
            if want is not None and not want.queued:
                self._answer(found, peer, key, want, size)

    def on_blocks_stored(self, blocks: Iterable[tuple[bytes, int]]) -> None:
        """Blocks came into the store: multihash and size. Peers that wait for them get them."""
        for key, size in blocks:
            for peer in tuple(self._waiting.get(key, ())):
                found = self._peers[peer]
                want = found.wants.get(key)
                if want is not None and not want.queued:
                    self._answer(found, peer, key, want, size)

    def on_received(self, peer: PeerID, size: int) -> None:
        """A peer gave us so many bytes of blocks."""
        self.on_peer_connected(peer)
        self._peers[peer].received += size

    def on_sent(self, answer: Answer, *, done: bool) -> None:
        """An answer was sent, or could not be."""
        found = self._peers.get(answer.peer)
        if found is None:
            return
        found.outstanding -= answer.size
        if done:
            found.sent += answer.size
            self._blocks_sent += len(answer.blocks)
            self._bytes_sent += answer.size

    # --- what to do ---------------------------------------------------------------------------------------------------

    def next_action(self) -> Answer | None:
        """The next answer, of the peer whose turn it is; ``None`` where nobody is to be answered now."""
        while ready := [(found.clock, found.sent, peer) for peer, found in self._peers.items() if found.ready]:
            self._clock, _, peer = min(ready)
            answer = self._fill(peer, self._peers[peer])
            if answer.blocks or answer.haves or answer.dont_haves:
                return answer  # else all that was queued was cancelled since
        return None

    def _fill(self, peer: PeerID, found: _Peer) -> Answer:
        blocks: list[tuple[CID, int]] = []
        size = 0
        while found.queue and len(blocks) < MAX_MESSAGE_BLOCKS:
            _, number, key, weight = found.queue[0]
            want = found.wants.get(key)
            if want is None or want.number != number:
                heappop(found.queue)  # cancelled or asked for anew since
                continue
            if blocks and size + weight > TARGET_MESSAGE_BYTES:
                break
            heappop(found.queue)
            del found.wants[key]
            found.queued_bytes -= weight
            blocks.append((want.cid, weight))
            size += weight
        haves, found.haves = tuple(found.haves), {}
        dont_haves, found.dont_haves = tuple(found.dont_haves), {}
        presences = sum(map(presence_size, haves + dont_haves))
        found.outstanding += size
        found.clock += (size + presences) * found.pace
        return Answer(peer, tuple(blocks), haves, dont_haves, found.queued_bytes)

    def account(self, peer: PeerID) -> Account:
        """Bytes each way, also of a peer that has gone."""
        found = self._peers.get(peer)
        return self._past.get(peer, Account()) if found is None else Account(found.sent, found.received)

    def wantlist(self, peer: PeerID) -> list[CID]:
        """What a peer wants now."""
        found = self._peers.get(peer)
        return [] if found is None else [want.cid for want in found.wants.values()]

    def statistics(self) -> LedgerStatistics:
        """Counters."""
        wants = sum(len(found.wants) for found in self._peers.values())
        return LedgerStatistics(len(self._peers), wants, self._blocks_sent, self._bytes_sent, self._evicted)

    def __repr__(self) -> str:
        queued = sum(len(found.queue) for found in self._peers.values())
        return f"<Ledger {len(self._peers)} peers, {queued} answers queued>"

    # --- inside -------------------------------------------------------------------------------------------------------

    def _answer(self, found: _Peer, peer: PeerID, key: bytes, want: _Want, size: int | None) -> None:
        if size is None or size > MAX_BLOCK_BYTES:
            if want.send_dont_have:
                found.dont_haves[want.cid] = None
                found.haves.pop(want.cid, None)
            return  # the want stays: the block may come
        self._wait_over(found)
        if want.want_have and size > HAVE_REPLACE_BYTES:
            found.haves[want.cid] = None
            found.dont_haves.pop(want.cid, None)
            del found.wants[key]
            self._unwait(key, peer)
            return
        want.queued = True
        self._unwait(key, peer)
        found.dont_haves.pop(want.cid, None)
        found.queued_bytes += size
        heappush(found.queue, (-want.priority, want.number, key, size))

    def _wait_over(self, found: _Peer) -> None:
        """A peer that had nothing to get does not carry over the time that it did not use."""
        if not found.queue:
            found.clock = max(found.clock, self._clock)

    def _remove(self, found: _Peer, peer: PeerID, key: bytes) -> None:
        want = found.wants.pop(key, None)
        if want is None:
            return
        found.haves.pop(want.cid, None)
        found.dont_haves.pop(want.cid, None)
        if want.queued:
            entry = next((item for item in found.queue if item[1] == want.number), None)
            found.queued_bytes -= entry[3] if entry is not None else 0
        self._unwait(key, peer)

    def _unwait(self, key: bytes, peer: PeerID) -> None:
        waiting = self._waiting.get(key)
        if waiting is not None:
            waiting.pop(peer, None)
            if not waiting:
                del self._waiting[key]
