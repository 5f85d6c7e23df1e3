"""What the client's engine keeps and says: sessions, wants, late answers; actions and counters. Sans-I/O."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ipfs_kit_py.core.config import (
    MAX_RECENT_WANTS,
    MAX_SESSION_PEERS,
    REBROADCAST_SECONDS,
    SESSION_UNKNOWN_BLOCK_BYTES,
)

if TYPE_CHECKING:
    from collections.abc import Container

    from ipfs_kit_py.core.cid import CID, PeerID

TRUSTED_MISSES = 8  # blocks that a peer may lack before its share of hits decides whether it is asked unseen
NOWHERE, QUEUED, COLD, PARKED = range(4)  # where a want without a source waits; NOWHERE: for an answer, or a retry
RECRUIT_SECONDS = 0.1  # between two attempts of a session to find more peers than its busy ones; doubles in vain
RECRUIT_WANTS, RECRUIT_WANTS_MAX = 8, 256  # asked about in one of them, of all parts of the queue; doubles with success
POOR_CHANCE = 0.5  # below it a session's peer makes room for another
LEAST_CHANCE = 0.2  # of a peer having the next block, below which it is asked first whether it has


@dataclass(frozen=True, slots=True)
class Send:
    """There is something to tell a peer: ``take`` it when it can be sent."""

    peer: PeerID


@dataclass(frozen=True, slots=True)
class FindProviders:
    """No connected peer is known to have a block. Tell ``on_provider`` who has it, ``on_search_done`` at the end."""

    cid: CID


@dataclass(frozen=True, slots=True)
class Penalise:
    """A peer sent what it was not asked for: 1.0 is one false block."""

    peer: PeerID
    amount: float
    why: str


Action = Send | FindProviders | Penalise


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
    searches: int
    hedged: int


class Score:
    """How often a peer had a session's blocks."""

    __slots__ = ("hits", "misses")

    def __init__(self) -> None:
        self.hits = 0
        self.misses = 0

    @property
    def chance(self) -> float:
        """Of it having the next one."""
        return (self.hits + 1) / (self.hits + self.misses + 1)

    @property
    def trusted(self) -> bool:
        """Whether it is worth asking for a block that it was not heard to have."""
        return self.misses < TRUSTED_MISSES or self.chance >= LEAST_CHANCE


class Session:
    """A group of wants whose blocks probably live together. ``peers`` have had some of them."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.topic = b""  # the multihash that it began with: mostly the root of what it fetches
        self.peers: dict[PeerID, Score] = {}  # also of peers that are away: they may come back
        self.random: list[PeerID] = []
        self.mean = SESSION_UNKNOWN_BLOCK_BYTES  # what its blocks weigh
        self.wants: dict[CID, Want] = {}
        self.idle: list[tuple[int, int, int, Want]] = []  # a heap by priority, then age: wants to be placed
        self.cold: list[tuple[int, int, int, Want]] = []  # likewise: wants to be probed, after those that are
        self.probing: dict[CID, float] = {}  # wants that candidates are to answer, and how long that is waited for
        self.seeking: OrderedDict[CID, float] = OrderedDict()  # wants to search providers for, and from when
        self.recruit_at = 0.0  # when others than its busy peers are asked next whether they have what waits
        self.recruited = True  # they had some the last time
        self._recruit_pause = RECRUIT_SECONDS
        self._recruit_wants = RECRUIT_WANTS
        self.searched_at = float("-inf")  # when providers were last searched for
        self.stirred_at = 0.0  # when its random peers were last chosen anew

    def join(self, peer: PeerID, connected: Container[PeerID]) -> Score | None:
        """The score of a peer, which from now on is one of the session. Beyond the cap one that is away leaves, or one
        that mostly lacks blocks; ``None`` where there is neither."""
        score = self.peers.get(peer)
        if score is None:
            if len(self.peers) >= MAX_SESSION_PEERS and not self._make_room(connected):
                return None
            score = self.peers[peer] = Score()
        return score

    def _make_room(self, connected: Container[PeerID]) -> bool:
        worst = min(self.peers, key=lambda other: (other in connected, self.peers[other].chance))
        if worst in connected and self.peers[worst].chance > POOR_CHANCE:
            return False
        del self.peers[worst]
        return True

    def next_recruits(self, now: float) -> int:
        """How many wants others are to be asked about now that its own peers are busy."""
        if self.recruited:
            self._recruit_pause = RECRUIT_SECONDS
        else:
            self._recruit_pause = min(2 * self._recruit_pause, REBROADCAST_SECONDS)
            self._recruit_wants = RECRUIT_WANTS
        count, self._recruit_wants = self._recruit_wants, min(2 * self._recruit_wants, RECRUIT_WANTS_MAX)
        self.recruit_at = now + self._recruit_pause
        self.recruited = False
        return count

    def end_probes(self, now: float) -> None:
        """Probes have had their time: others may start, whatever comes of them later."""
        for cid in [cid for cid, until in self.probing.items() if until <= now]:
            del self.probing[cid]


class Want:
    """A block that one session or more want."""

    __slots__ = (
        "cid",
        "have",
        "hint",
        "lacking",
        "number",
        "priority",
        "retries",
        "retry_at",
        "searching",
        "sessions",
        "sought",
        "sources",
        "state",
        "told",
    )

    def __init__(self, cid: CID, number: int, hint: int | None, priority: int) -> None:
        self.cid = cid
        self.number = number
        self.hint = hint
        self.priority = priority
        self.sessions: list[Session] = []
        self.sources: set[PeerID] = set()  # whom the block is asked of
        self.have: set[PeerID] = set()  # said that they have it
        self.lacking: set[PeerID] = set()  # said that they have not, or were silent
        self.told: set[PeerID] = set()  # ever heard of the want: they may answer late
        self.state = NOWHERE
        self.retries = 0
        self.retry_at: float | None = None
        self.sought = False  # providers were searched for since it was last asked anew
        self.searching = 0  # searches under way

    @property
    def size(self) -> int:
        """Bytes that it is expected to weigh."""
        return self.hint or self.sessions[0].mean


class LateAnswers:
    """Who may still send a block that nobody wants any more: once each, without blame."""

    def __init__(self, capacity: int = MAX_RECENT_WANTS) -> None:
        self._capacity = capacity
        self._recent: OrderedDict[bytes, set[PeerID]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._recent)

    def expect(self, multihash: bytes, peers: set[PeerID]) -> None:
        """These peers were told of a want that is over. The set is kept."""
        known = self._recent.get(multihash)
        if known is None:
            self._recent[multihash] = peers
        else:
            known |= peers
            self._recent.move_to_end(multihash)
        if len(self._recent) > self._capacity:
            self._recent.popitem(last=False)

    def knows(self, multihash: bytes) -> bool:
        """Whether the block was wanted lately."""
        return multihash in self._recent

    def forgive(self, multihash: bytes, peer: PeerID) -> bool:
        """Whether this answer of a peer is merely late."""
        peers = self._recent.get(multihash)
        if peers is None or peer not in peers:
            return False
        peers.discard(peer)
        return True
