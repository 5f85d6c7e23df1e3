"""One search of the router: a task for each router under it, and what they find on its way to whoever searches."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Protocol

import trio

from ipfs_kit_py.core.closing import finishing
from ipfs_kit_py.core.config import (
    ROUTER_ADDRESSES,
    ROUTER_ANSWERS,
    ROUTER_COUNT,
    ROUTER_PEER_SEARCHES,
    ROUTER_PEER_SECONDS,
)
from ipfs_kit_py.core.errors import IPFSKitError
from ipfs_kit_py.core.histogram import Histogram
from ipfs_kit_py.core.interfaces import Provider
from ipfs_kit_py.routing.gathering import Gathering
from ipfs_kit_py.routing.metrics import Percentiles

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.core.interfaces import ContentRouter
    from ipfs_kit_py.routing.gathering import Best
    from ipfs_kit_py.routing.kad_wire import PeerInfo

logger = logging.getLogger(__name__)

CACHE = "cache"


class RouterNetwork(Protocol):
    """What the router sees of the network."""

    @property
    def peer_id(self) -> PeerID: ...
    def connected(self) -> Collection[PeerID]: ...
    def addresses_of(self, peer: PeerID) -> Sequence[object]:
        """Where a peer is known to be."""
        ...


class PeerFinder(Protocol):
    """Where peers are."""

    async def find_peer(self, peer: PeerID) -> PeerInfo: ...


@dataclass(frozen=True)
class LegStatistics:
    """Of one router. ``lookups`` that it was asked for: of them ``answered`` found somebody, ``failed`` could not be
    asked, ``late`` were cut off by the budget; the others were left early or found nobody. ``found`` providers, ``new``
    of them before any other router. ``first``: time to its first provider."""

    name: str
    lookups: int
    answered: int
    failed: int
    late: int
    found: int
    new: int
    first: Percentiles


class Leg:
    """A router with its counters."""

    def __init__(self, router: ContentRouter) -> None:
        self.router = router
        self.name = router.name
        self.lookups = self.answered = self.failed = self.late = self.found = self.new = 0
        self.first = Histogram()

    def statistics(self) -> LegStatistics:
        """The counts of this moment."""
        return LegStatistics(
            self.name, self.lookups, self.answered, self.failed, self.late, self.found, self.new,
            Percentiles.of(self.first),
        )  # fmt: skip


class Search:
    """``run`` it in one task, take from it with ``next`` in another; ``close`` ends both."""

    def __init__(
        self, network: RouterNetwork, legs: Sequence[Leg], multihash: bytes, count: int, peers: PeerFinder | None,
        best: Best | None = None,
    ) -> None:  # fmt: skip
        self.gathering = Gathering(network.peer_id, count, known=lambda peer: _is_known(network, peer))
        self.scope = trio.CancelScope()
        self.broken = False  # the node ended before it did
        self.named: dict[PeerID, dict[str, None]] = {}  # by routers, to be remembered
        self._legs, self._multihash, self._count, self._peers = legs, multihash, count, peers
        self._best = best
        self._cached: dict[PeerID, dict[str, None]] = {}
        self._failures: dict[str, str] = {}
        self._ended = 0  # legs that went to their end
        self._over = False
        self._closed = False
        self._changed = trio.Event()  # something can be taken
        self._taken = trio.Event()  # there is room for more
        self._searching = trio.CapacityLimiter(ROUTER_PEER_SEARCHES)

    @property
    def complete(self) -> bool:
        """Whether all routers were asked, and have said all that they know."""
        return self._ended == len(self._legs) > 0

    def failures(self) -> str | None:
        """Why nobody could be asked; ``None`` where somebody was."""
        if len(self._failures) < len(self._legs):
            return None
        return "; ".join(f"{leg.name}: {self._failures[leg.name]}" for leg in self._legs)

    # --- the side of whoever searches ---------------------------------------------------------------------------------

    def on_cached(self, providers: Iterable[Provider]) -> None:
        """These are known from before."""
        for provider in providers:
            self.gathering.on_found(CACHE, provider)
            self._cached[provider.peer] = dict.fromkeys(provider.addresses)

    async def next(self) -> Provider | None:
        """The next provider, ``None`` at the end."""
        await trio.lowlevel.checkpoint()
        while True:
            if (provider := self.gathering.take(self._best)) is not None:
                self._taken.set()
                self._taken = trio.Event()
                return provider
            if self._over or self.gathering.enough:
                return None
            await self._changed.wait()
            self._changed = trio.Event()

    def to_remember(self) -> list[Provider]:
        """Who was named, and of those known before whoever could not be heard of again."""
        found = dict(self.named)
        for peer, texts in self._cached.items():
            if peer in found or not self.complete:
                found[peer] = {**found.get(peer, {}), **texts}
        return [Provider(peer, tuple(islice(texts, ROUTER_ADDRESSES)), CACHE) for peer, texts in found.items()]

    def close(self) -> None:
        """Nothing more is wanted."""
        self._closed = True
        self.scope.cancel()

    def end(self) -> None:
        """Nothing more comes."""
        self._over = True
        self.gathering.end()
        self._changed.set()

    # --- the side of the routers --------------------------------------------------------------------------------------

    async def run(self, seconds: float) -> None:
        """Ask all routers at once until they end or the time is up."""
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                for leg in self._legs:
                    nursery.start_soon(self._ask, leg, nursery)

    async def _ask(self, leg: Leg, nursery: trio.Nursery) -> None:
        """One router to its end. What it does wrong ends its own part alone."""
        leg.lookups += 1
        before = leg.found
        over = False
        try:
            await self._read(leg, nursery)
            over = True
            self._ended += 1
        except* IPFSKitError as errors:
            over = True
            self._failed(leg, str(errors.exceptions[0]))
        except* Exception as errors:
            over = True
            logger.exception("router %s failed by a fault of its own", leg.name)
            self._failed(leg, repr(errors.exceptions[0]))
        finally:
            leg.answered += leg.found > before
            leg.late += not over and not self._closed
            self._changed.set()

    def _failed(self, leg: Leg, why: str) -> None:
        leg.failed += 1
        self._failures[leg.name] = why

    async def _read(self, leg: Leg, nursery: trio.Nursery) -> None:
        begun, read = trio.current_time(), 0
        async with finishing(leg.router.find_providers(self._multihash, count=self._count)) as providers:
            async for provider in providers:
                read += 1
                if read == 1:
                    leg.first.add(trio.current_time() - begun)
                self._on_found(leg, provider, nursery)
                if read >= ROUTER_ANSWERS:
                    logger.warning("router %s names more than %d providers: it is left", leg.name, ROUTER_ANSWERS)
                    return
                await trio.lowlevel.checkpoint()  # one that always has another must not keep the loop
                while self.gathering.is_full(leg.name):
                    await self._taken.wait()

    def _on_found(self, leg: Leg, provider: Provider, nursery: trio.Nursery) -> None:
        leg.found += 1
        before = self.gathering.found
        news = self.gathering.on_found(leg.name, provider)
        if news is not None:
            leg.new += self.gathering.found > before
            self._changed.set()
        if provider.peer in self.named or len(self.named) < ROUTER_COUNT:
            self.named.setdefault(provider.peer, {}).update(dict.fromkeys(() if news is None else news.addresses))
        while (peer := self.gathering.next_search()) is not None:
            nursery.start_soon(self._look, peer)

    async def _look(self, peer: PeerID) -> None:
        """Somebody provides, but nobody has told where it is."""
        found: tuple[str, ...] = ()
        if self._peers is not None:
            async with self._searching:
                with trio.move_on_after(ROUTER_PEER_SECONDS):
                    try:
                        found = (await self._peers.find_peer(peer)).addresses
                    except IPFSKitError as error:
                        logger.debug("provider %s: %s", peer, error)
        self.gathering.on_looked(peer, found)
        self._changed.set()


def _is_known(network: RouterNetwork, peer: PeerID) -> bool:
    return peer in network.connected() or bool(network.addresses_of(peer))
