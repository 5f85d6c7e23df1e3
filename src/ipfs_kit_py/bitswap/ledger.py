"""The server's engine: what each peer wants, what it is owed, and whose turn it is.

Peers take turns by virtual time: each answer moves its peer's clock on by the bytes sent, slower for peers that have
sent us more than we sent them (at most by half), and the peer whose clock is lowest is next. A peer that was away
starts at the lowest clock of those that wait, and one that reads slowly falls behind by no more than what may be on its
way to it. Within a peer, higher priorities go first, then older wants. Sans-I/O.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from ipfs_kit_py.bitswap.wire import presence_size
from ipfs_kit_py.core import multihash
from ipfs_kit_py.core.config import (
    HAVE_REPLACE_BYTES,
    MAX_BLOCK_BYTES,
    MAX_LEDGERS,
    MAX_OUTSTANDING_PER_PEER,
    MAX_PRESENCES_PER_MESSAGE,
    MAX_WANTLIST_ENTRIES,
    TARGET_MESSAGE_BYTES,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ipfs_kit_py.bitswap.wire import Entry
    from ipfs_kit_py.core.cid import CID, PeerID

MAX_MESSAGE_BLOCKS = 1024  # in one answer: small blocks are many
MAX_PRESENCES = MAX_PRESENCES_PER_MESSAGE // 2  # in one answer, and waiting for a peer that does not read
MAX_ANSWERS = MAX_OUTSTANDING_PER_PEER // TARGET_MESSAGE_BYTES  # on their way to one peer, however small
STALE_ANSWERS = 64  # cancelled ones that a queue may hold besides as many as there are live ones


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
    __slots__ = ("cid", "number", "priority", "queued", "send_dont_have", "size", "want_have")

    def __init__(self, entry: Entry, number: int, *, want_have: bool) -> None:
        self.cid = entry.cid
        self.priority = entry.priority
        self.want_have = want_have
        self.send_dont_have = entry.send_dont_have
        self.number = number
        self.queued = False  # the block is in the queue
        self.size = 0  # bytes, once it is


class _Peer:
    def __init__(self, sent: int = 0, received: int = 0) -> None:
        self.wants: dict[bytes, _Want] = {}
        self.absent: OrderedDict[bytes, None] = OrderedDict()  # of them those that we have not got, oldest first
        self.queue: list[tuple[int, int, bytes]] = []  # a heap of (-priority, number, multihash)
        self.stale = 0  # entries of the queue whose wants are over
        self.queued_bytes = 0
        self.haves: dict[CID, None] = {}
        self.dont_haves: dict[CID, None] = {}
        self.sent = sent
        self.received = received
        self.flight: list[Answer] = []  # answers on their way
        self.outstanding = 0  # bytes of them
        self.clock = 0.0

    @property
    def open(self) -> bool:
        """Whether there may be something to answer."""
        return bool(self.queue or self.haves or self.dont_haves)

    @property
    def ready(self) -> bool:
        """Whether it may be answered now."""
        return self.outstanding < MAX_OUTSTANDING_PER_PEER and len(self.flight) < MAX_ANSWERS

    @property
    def pace(self) -> float:
        """How fast its clock runs: 1 for a stranger, down to 1/2 for one that has given more than it took."""
        return 1.0 - 0.5 * min(self.received / (self.sent + 1), 1.0)


class Ledger:
    """All peers' wants. Feed it messages and look-ups, then ask for answers until there are none."""

    def __init__(self) -> None:
        self._peers: dict[PeerID, _Peer] = {}
        self._open: dict[PeerID, _Peer] = {}  # those with something to be answered
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
        self._open.pop(peer, None)
        for found in gone.wants:
            self._unwait(found, peer)
        self._remember(peer, Account(gone.sent, gone.received))

    def on_message(self, peer: PeerID, entries: Iterable[Entry], *, full: bool) -> list[CID]:
        """A wantlist came; returns the CIDs to look up in the store, for ``on_lookup``."""
        self.on_peer_connected(peer)
        found = self._peers[peer]
        if full:
            entries = list(entries)
            kept = {entry.cid.multihash for entry in entries if not entry.cancel}
            for old in [key for key in found.wants if key not in kept]:
                self._remove(found, peer, old)
        look_up: list[CID] = []
        for entry in entries:
            if entry.cancel:
                self._remove(found, peer, entry.cid.multihash)
                found.haves.pop(entry.cid, None)
                found.dont_haves.pop(entry.cid, None)
            elif entry.cid.multihash[0] == multihash.IDENTITY:
                if entry.send_dont_have:  # its bytes are in the CID: nobody needs to be asked for them
                    self._say(found, peer, entry.cid, have=False)
            elif self._insert(found, peer, entry, full=full):
                look_up.append(entry.cid)
        return look_up

    def _insert(self, found: _Peer, peer: PeerID, entry: Entry, *, full: bool) -> bool:
        key = entry.cid.multihash
        known = found.wants.get(key)
        want_have = entry.want_have
        if known is not None:
            if known.queued:
                return False  # the block is about to be sent
            if not full:
                want_have = want_have and known.want_have  # what was asked for is not asked down
            self._remove(found, peer, key)
        if len(found.wants) >= MAX_WANTLIST_ENTRIES and not self._evict(found, peer):
            self._evicted += 1
            if entry.send_dont_have:  # its sender asks elsewhere, instead of waiting for what was forgotten
                self._say(found, peer, entry.cid, have=False)
            return False
        self._number += 1
        found.wants[key] = _Want(entry, self._number, want_have=want_have)
        self._waiting.setdefault(key, {})[peer] = None
        return True

    def _evict(self, found: _Peer, peer: PeerID) -> bool:
        """Make room: the oldest want that we cannot satisfy goes, so that those that we can are never stalled. Its
        DONT_HAVE, if it was not sent yet, is."""
        if not found.absent:
            return False
        key = next(iter(found.absent))
        cid = found.wants[key].cid
        told = cid in found.dont_haves
        self._remove(found, peer, key)
        if told:
            found.dont_haves[cid] = None
        self._evicted += 1
        return True

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
        """A peer gave us so many bytes of blocks; it may have gone meanwhile."""
        found = self._peers.get(peer)
        if found is not None:
            found.received += size
        else:
            past = self.account(peer)
            self._remember(peer, Account(past.sent, past.received + size))

    def on_sent(self, answer: Answer, *, done: bool) -> None:
        """An answer was sent, or could not be. It may be one of an earlier connection."""
        peer, size = answer.peer, answer.size
        found = self._peers.get(peer)
        if found is not None:
            flight = [other for other in found.flight if other is not answer]
            if len(flight) < len(found.flight):
                found.flight = flight
                found.outstanding -= size
        if not done:
            return
        self._blocks_sent += len(answer.blocks)
        self._bytes_sent += size
        if found is not None:
            found.sent += size
        else:
            past = self.account(peer)
            self._remember(peer, Account(past.sent + size, past.received))

    # --- what to do ---------------------------------------------------------------------------------------------------

    def next_action(self) -> Answer | None:
        """The next answer, of the peer whose turn it is; ``None`` where nobody is to be answered now."""
        while ready := [(found.clock, found.sent, peer) for peer, found in self._open.items() if found.ready]:
            clock, _, peer = min(ready)
            self._clock = max(self._clock, clock)
            found = self._peers[peer]
            found.clock = max(clock, self._clock - MAX_OUTSTANDING_PER_PEER)
            answer = self._fill(peer, found)
            if not found.open:
                del self._open[peer]
            if answer.blocks or answer.haves or answer.dont_haves:
                return answer  # else all that was queued was cancelled since
        return None

    def _fill(self, peer: PeerID, found: _Peer) -> Answer:
        blocks: list[tuple[CID, int]] = []
        size = 0
        while found.queue and len(blocks) < MAX_MESSAGE_BLOCKS:
            _, number, key = found.queue[0]
            want = found.wants.get(key)
            if want is None or want.number != number:
                heappop(found.queue)  # cancelled or asked for anew since
                found.stale -= 1
                continue
            if blocks and size + want.size > TARGET_MESSAGE_BYTES:
                break
            heappop(found.queue)
            del found.wants[key]
            found.queued_bytes -= want.size
            blocks.append((want.cid, want.size))
            size += want.size
        haves, found.haves = tuple(found.haves), {}
        dont_haves, found.dont_haves = tuple(found.dont_haves), {}
        answer = Answer(peer, tuple(blocks), haves, dont_haves, found.queued_bytes)
        if blocks or haves or dont_haves:
            found.outstanding += size
            found.flight.append(answer)
            found.clock += (size + sum(map(presence_size, haves + dont_haves))) * found.pace
        return answer

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
            found.absent[key] = None
            if want.send_dont_have:
                self._say(found, peer, want.cid, have=False)
            return  # the want stays: the block may come
        self._unwait(key, peer)
        found.absent.pop(key, None)
        if want.want_have and size > HAVE_REPLACE_BYTES:
            del found.wants[key]
            self._say(found, peer, want.cid, have=True)
            return
        found.dont_haves.pop(want.cid, None)
        self._wake(found, peer)
        want.queued, want.size = True, size
        found.queued_bytes += size
        heappush(found.queue, (-want.priority, want.number, key))

    def _say(self, found: _Peer, peer: PeerID, cid: CID, *, have: bool) -> None:
        """A HAVE or DONT_HAVE with the next answer; what a peer that does not read is not told is nobody's loss."""
        said, other = (found.haves, found.dont_haves) if have else (found.dont_haves, found.haves)
        other.pop(cid, None)
        if len(said) + len(other) < MAX_PRESENCES:
            self._wake(found, peer)
            said[cid] = None

    def _wake(self, found: _Peer, peer: PeerID) -> None:
        """A peer that had nothing to get does not carry over the time that it did not use."""
        if peer not in self._open:
            self._open[peer] = found
            found.clock = max(found.clock, self._clock)

    def _remove(self, found: _Peer, peer: PeerID, key: bytes) -> None:
        want = found.wants.pop(key, None)
        if want is None:
            return
        found.dont_haves.pop(want.cid, None)
        found.absent.pop(key, None)
        if want.queued:
            found.queued_bytes -= want.size
            found.stale += 1
            if found.stale > len(found.queue) // 2 + STALE_ANSWERS:
                found.queue = [
                    item
                    for item in found.queue
                    if (live := found.wants.get(item[2])) is not None and live.number == item[1]
                ]
                heapify(found.queue)
                found.stale = 0
        self._unwait(key, peer)

    def _remember(self, peer: PeerID, account: Account) -> None:
        if account.sent or account.received:
            self._past[peer] = account
            self._past.move_to_end(peer)
            while len(self._past) > MAX_LEDGERS:
                self._past.popitem(last=False)

    def _unwait(self, key: bytes, peer: PeerID) -> None:
        waiting = self._waiting.get(key)
        if waiting is not None:
            waiting.pop(peer, None)
            if not waiting:
                del self._waiting[key]
