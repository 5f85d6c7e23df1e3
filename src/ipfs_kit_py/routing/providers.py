"""What a node knows of providers, and how it chooses among them: reputation, affinity, demand and the cache in one.
Sans-I/O.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ipfs_kit_py.core.config import CHOICE_SIZE, PREFER_PEERS, REPUTATION_MEASURED_SECONDS
from ipfs_kit_py.core.errors import InvalidAddress
from ipfs_kit_py.net import addresses
from ipfs_kit_py.net.addresses import Scope
from ipfs_kit_py.routing.affinity import Affinity
from ipfs_kit_py.routing.choice import Candidate, Choice, choose, weigh
from ipfs_kit_py.routing.demand import Demand
from ipfs_kit_py.routing.provider_cache import ProviderCache
from ipfs_kit_py.routing.reputation import Reputation, ReputationStatistics

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.core.interfaces import Provider
    from ipfs_kit_py.routing.keys import Chance

_EXPLAINED = 32  # last choices that are kept to be looked at


class Surroundings(Protocol):
    """What the choice sees of the network."""

    def connected(self) -> Collection[PeerID]: ...
    def rtt(self, peer: PeerID) -> float | None: ...
    def is_local(self, peer: PeerID) -> bool: ...


@dataclass(frozen=True)
class ProvidersStatistics:
    """Of reputation, cache, affinity and demand; ``choices`` that were made and how many of them tried a stranger."""

    reputation: ReputationStatistics
    cached: int
    cache_hits: int
    cache_misses: int
    affinities: int
    demanded: int
    choices: int
    explored: int


class Providers:
    """``clock`` gives seconds since 1970. ``owed(peer)`` gives the bytes that are asked of a peer and not here yet: set
    it once there is an exchange."""

    def __init__(self, network: Surroundings, rng: Chance, clock: Callable[[], float]) -> None:
        self._network, self._rng, self._clock = network, rng, clock
        self.owed: Callable[[PeerID], int] = _nothing
        self.reputation = Reputation(rng)
        self.affinity = Affinity()
        self.demand = Demand()
        self.cache = ProviderCache()
        self._explained: deque[tuple[bytes, list[Choice]]] = deque(maxlen=_EXPLAINED)
        self._choices = self._explored = 0

    # --- the cache ----------------------------------------------------------------------------------------------------

    def find_cached(self, multihash: bytes) -> Sequence[Provider] | None:
        """Providers that are still believed; empty where nobody is known to; ``None`` for no idea."""
        return self.cache.get(multihash, self._clock())

    def remember(self, multihash: bytes, providers: Sequence[Provider]) -> None:
        """A search has found these, or nobody."""
        self.cache.put(multihash, providers, self._clock())

    # --- the choice ---------------------------------------------------------------------------------------------------

    def optimal(
        self, multihash: bytes, providers: Iterable[Provider], *, size: int | None = None,
        preferred: Collection[PeerID] = (), count: int = 3,
    ) -> list[Choice]:  # fmt: skip
        """The best providers for so many bytes, the best first, each with its reasons."""
        now = self._clock()
        connected = self._network.connected()
        rows = [self._candidate(one, multihash, connected, now) for one in providers]
        chosen = choose(rows, self.reputation, self._rng, now, size=size, count=count, preferred=preferred)
        self._choices += 1
        self._explored += any(one.explored for one in chosen)
        self._explained.append((multihash, chosen))
        return chosen

    def _candidate(self, one: Provider, multihash: bytes, connected: Collection[PeerID], now: float) -> Candidate:
        peer, network = one.peer, self._network
        is_connected = peer in connected
        local = network.is_local(peer) if is_connected else any(map(_is_near, one.addresses))
        relayed = not is_connected and bool(one.addresses) and all("/p2p-circuit" in text for text in one.addresses)
        rtt = network.rtt(peer) if is_connected else None
        affinity = self.affinity.of(peer, multihash, now)
        return Candidate(one, is_connected, rtt, self.owed(peer), local, relayed, affinity)

    def explained(self) -> list[tuple[bytes, list[Choice]]]:
        """The last choices, the newest last: multihash and what was chosen, each with its terms."""
        return list(self._explained)

    def judge(self, provider: Provider) -> Choice:
        """What is known of one, as if one chunk were wanted of it."""
        now, peer = self._clock(), provider.peer
        row = self._candidate(provider, b"", self._network.connected(), now)
        return weigh(row, self.reputation.get(peer), CHOICE_SIZE, now, known=self.reputation.knows(peer))

    # --- what the exchange asks and tells (``core.interfaces.PeerLore``) ----------------------------------------------

    def measured(self, peer: PeerID) -> tuple[float | None, float | None]:
        """Latency and throughput as measured before, unless that was long ago."""
        row = self.reputation.get(peer)
        fresh = self._clock() - row.measured_at < REPUTATION_MEASURED_SECONDS
        return (row.latency, row.throughput) if fresh else (None, None)

    def doubt(self, peer: PeerID) -> float:
        """How much less sure than a stranger it delivers what is true."""
        return self.reputation.doubt(peer, self._clock())

    def prefer(self, peers: Sequence[PeerID], multihash: bytes, count: int) -> list[PeerID]:
        """Those that had related content, then those known to be good, the fastest first."""
        now = self._clock()
        holders = self.affinity.holders(multihash, now)
        here = set(peers) if holders else set()
        looked = dict.fromkeys(peer for peer in holders if peer in here)
        looked.update(dict.fromkeys(self._few(peers)))
        trusted = (peer for peer in looked if self.reputation.trusts(peer, now))
        fit = [(self.affinity.of(peer, multihash, now), peer) for peer in trusted]
        fit.sort(key=lambda row: (-row[0], -(self.reputation.get(row[1]).throughput or 0.0)))
        return [peer for _near, peer in fit[: max(0, count)]]

    def _few(self, peers: Sequence[PeerID]) -> Sequence[PeerID]:
        if len(peers) <= PREFER_PEERS:
            return peers
        begin = int(self._rng.random() * len(peers))
        return [*peers[begin : begin + PREFER_PEERS], *peers[: max(0, begin + PREFER_PEERS - len(peers))]]

    def wanted(self, multihash: bytes) -> float:
        """How often it was searched for lately; it is now."""
        now = self._clock()
        self.demand.on_wanted(multihash, now)
        return self.demand.of(multihash, now)

    def on_delivered(self, peer: PeerID, multihash: bytes, size: int) -> None:
        """Verified bytes came."""
        now = self._clock()
        self.reputation.on_delivered(peer, size, now)
        self.affinity.record(peer, multihash, now)

    def on_measured(self, peer: PeerID, latency: float | None, throughput: float | None) -> None:
        """How it was, as it leaves."""
        self.reputation.on_measured(peer, self._clock(), latency, throughput)

    def on_silent(self, peer: PeerID) -> None:
        """It did not answer in its time."""
        self.reputation.on_failed(peer, self._clock())

    def on_lie(self, peer: PeerID) -> None:
        """It sent a false block."""
        self.reputation.on_lie(peer, self._clock())

    # --- what others tell ---------------------------------------------------------------------------------------------

    def update_stats(
        self, peer: PeerID, success: bool, *, latency: float | None = None, size: int = 0, seconds: float | None = None
    ) -> None:
        """A request ended: ``size`` bytes that took ``seconds``, after a round trip of ``latency`` seconds."""
        now = self._clock()
        if not success:
            self.reputation.on_failed(peer, now)
            return
        if latency is not None or not size:
            self.reputation.on_answer(peer, now, latency=latency)
        if size:
            self.reputation.on_delivered(peer, size, now, seconds=seconds)

    def on_refused(self, peer: PeerID, multihash: bytes) -> None:
        """It has not got what it was said to provide."""
        self.reputation.on_refused(peer, self._clock())
        self.cache.drop(multihash, peer)
        self.affinity.forget(peer, multihash)

    def record_affinity(self, peer: PeerID, multihash: bytes) -> None:
        """It had a content."""
        self.affinity.record(peer, multihash, self._clock())

    # --- questions ----------------------------------------------------------------------------------------------------

    def statistics(self) -> ProvidersStatistics:
        """The counts of this moment."""
        return ProvidersStatistics(
            self.reputation.statistics(self._clock()), len(self.cache), self.cache.hits, self.cache.misses,
            len(self.affinity), len(self.demand), self._choices, self._explored,
        )  # fmt: skip

    def dump(self) -> Iterator[list[Any]]:
        """What is to outlive the process: the reputations, as rows for JSON."""
        return self.reputation.dump()

    def load(self, rows: Iterable[Any]) -> int:
        """Take up what ``dump`` gave; how many peers."""
        return self.reputation.load(rows, self._clock())

    def __repr__(self) -> str:
        return f"<Providers: {self.reputation!r}, {self.cache!r}>"


def _nothing(_peer: PeerID) -> int:
    return 0


def _is_near(text: str) -> bool:
    try:
        return addresses.scope(text) in (Scope.LOOPBACK, Scope.LINK, Scope.PRIVATE)
    except InvalidAddress:
        return False
