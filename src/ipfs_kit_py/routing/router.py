"""One router over several: all are asked at once, and whoever finds first is heard first."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

import trio

from ipfs_kit_py.core.config import ROUTER_COUNT, ROUTER_LOOKUPS, ROUTER_SECONDS
from ipfs_kit_py.core.errors import IPFSKitError, NotRunning, NotSupported, PeerUnreachable
from ipfs_kit_py.routing.metrics import RoutingMetrics
from ipfs_kit_py.routing.router_search import Leg, LegStatistics, Search

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Sequence

    from trio import TaskStatus

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.core.interfaces import ContentRouter, Provider
    from ipfs_kit_py.routing.gathering import Best
    from ipfs_kit_py.routing.kad_wire import PeerInfo
    from ipfs_kit_py.routing.router_search import RouterNetwork

logger = logging.getLogger(__name__)


class Values(Protocol):
    """Peers and signed values by key: the DHT."""

    async def find_peer(self, peer: PeerID) -> PeerInfo: ...
    async def get_value(self, key: bytes) -> bytes: ...
    async def put_value(self, key: bytes, value: bytes) -> None: ...


class Cache(Protocol):
    """Providers that were found before."""

    def find_cached(self, multihash: bytes) -> Sequence[Provider] | None:
        """Those that are still believed; empty where it is known that nobody provides; ``None`` for no idea."""
        ...

    def remember(self, multihash: bytes, providers: Sequence[Provider]) -> None:
        """A search found these; none: it found nobody."""
        ...


class Router:
    """A ``ContentRouter``; ``run`` it.

    ``near`` ask only who is connected: they are asked always; those that are ``far`` not again where the ``cache``
    knows that nobody provides and the caller believes it. ``values`` serves peers and values by key. ``seconds`` is the
    budget of one search.
    """

    name = "router"

    def __init__(
        self, network: RouterNetwork, far: Sequence[ContentRouter], *, near: Sequence[ContentRouter] = (),
        values: Values | None = None, cache: Cache | None = None, metrics: RoutingMetrics | None = None,
        seconds: float = ROUTER_SECONDS,
    ) -> None:  # fmt: skip
        self.metrics = metrics if metrics is not None else RoutingMetrics()
        self._network, self._values, self._cache, self._seconds = network, values, cache, seconds
        self._near = [Leg(router) for router in near]
        self._far = [Leg(router) for router in far]
        self._searches = trio.CapacityLimiter(ROUTER_LOOKUPS)
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Work until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                task_status.started()
                await trio.sleep_forever()
            finally:
                self._nursery = None

    # --- content ------------------------------------------------------------------------------------------------------

    async def find_providers(
        self, multihash: bytes, *, count: int = 20, seconds: float | None = None, skip: Collection[str] = (),
        best: Best | None = None, believe_absent: bool = False,
    ) -> AsyncGenerator[Provider, None]:  # fmt: skip
        """Providers as they are found, each peer once, until there are ``count``, nobody else can be asked, or
        ``seconds`` have passed (default: the router's own). ``skip`` names routers that are not asked. ``best`` chooses
        whenever several are ready; those that it never chooses are left out. ``believe_absent``: where a search has
        found nobody lately, only the near are asked; without it everybody is asked anew.

        Raises ``PeerUnreachable`` where no router could ask anybody, ``NotRunning`` before ``run``.
        """
        if self._nursery is None:
            raise NotRunning("the router is not running")
        begun = trio.current_time()
        count = min(count, ROUTER_COUNT)
        cached = None if self._cache is None else self._cache.find_cached(multihash)
        known_absent = believe_absent and cached is not None and not cached
        legs = [leg for leg in (self._near if known_absent else self._near + self._far) if leg.name not in skip]
        search = Search(self._network, legs, multihash, count, self._values, best)
        search.on_cached(cached or ())
        alone = search.gathering.ready >= count or not legs
        given, first = 0, float("inf")
        if alone:
            search.end()
        else:
            self._nursery.start_soon(self._run, search, self._seconds if seconds is None else seconds)
        try:
            while (provider := await search.next()) is not None:
                given, first = given + 1, min(first, trio.current_time() - begun)
                yield provider
        finally:
            search.close()
            self._note(search, multihash, given, first, cached=alone or known_absent, known_absent=known_absent)
        if search.broken:
            raise NotRunning("the node ended while providers were searched for; those that came are not all")
        if not given and not alone and (reasons := search.failures()) is not None:
            raise PeerUnreachable(f"nobody could be asked for providers: {reasons}")

    async def _run(self, search: Search, seconds: float) -> None:
        """A search in a task of its own: whoever waits for it may leave it at any time."""
        try:
            with search.scope:
                async with self._searches:
                    await search.run(seconds)
        except BaseException:
            search.broken = True  # the node ends
            raise
        finally:
            search.end()

    def _note(
        self, search: Search, multihash: bytes, given: int, first: float, *, cached: bool, known_absent: bool
    ) -> None:
        complete = search.complete and bool(self._far)
        self.metrics.on_lookup(given, first if given else None, complete=complete or known_absent, cached=cached)
        if self._cache is not None and (search.named or (complete and not given and not known_absent)):
            self._cache.remember(multihash, search.to_remember())

    async def provide(self, multihashes: Sequence[bytes]) -> None:
        """Tell through all routers at once that we have these. ``PeerUnreachable`` where none could tell anybody."""
        failures: list[str] = []
        told = 0

        async def tell(leg: Leg) -> None:
            nonlocal told
            try:
                with trio.fail_after(self._seconds):
                    await leg.router.provide(multihashes)
                told += 1
            except trio.TooSlowError:
                failures.append(f"{leg.name}: not within {self._seconds:g} s")
            except NotSupported:
                return
            except IPFSKitError as error:
                failures.append(f"{leg.name}: {error}")
            except Exception as error:
                logger.exception("router %s failed by a fault of its own", leg.name)
                failures.append(f"{leg.name}: {error!r}")

        async with trio.open_nursery() as nursery:
            for leg in self._near + self._far:
                nursery.start_soon(tell, leg)
        if not told:
            raise PeerUnreachable(f"nobody could be told what is provided here: {'; '.join(failures) or 'no router'}")

    # --- peers and values ---------------------------------------------------------------------------------------------

    async def find_peer(self, peer: PeerID) -> PeerInfo:
        """Where a peer is. ``NotFound``; ``NotRunning`` without a DHT."""
        return await self._need_values().find_peer(peer)

    async def get_value(self, key: bytes) -> bytes:
        """The best record under a key. ``NotFound``, ``PeerUnreachable``; ``NotRunning`` without a DHT."""
        return await self._need_values().get_value(key)

    async def put_value(self, key: bytes, value: bytes) -> None:
        """Have a record kept. ``InvalidRecord``, ``PeerUnreachable``; ``NotRunning`` without a DHT."""
        await self._need_values().put_value(key, value)

    def _need_values(self) -> Values:
        if self._values is None:
            raise NotRunning("this node takes no part in a DHT; open it without dht_mode = off and without offline")
        return self._values

    # --- questions ----------------------------------------------------------------------------------------------------

    def statistics(self) -> list[LegStatistics]:
        """Of each router, those that ask who is connected first."""
        return [leg.statistics() for leg in self._near + self._far]

    def __repr__(self) -> str:
        return f"<Router {', '.join(leg.name for leg in self._near + self._far)}>"
