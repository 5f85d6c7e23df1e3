"""The node's verbs that find content, fetch it whole, and tell of it: over all routers, by the best providers."""

from __future__ import annotations

import logging
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import trio

from ipfs_kit_py.content.retrieve import retrieve
from ipfs_kit_py.core.config import DISCOVERY_DIALS, FIND_SETTLE_SECONDS, FIND_SPARE, RETRIEVE_SECONDS
from ipfs_kit_py.core.errors import IPFSKitError, NotFound, NotRunning, TimedOut, TooLarge
from ipfs_kit_py.node.base import Services
from ipfs_kit_py.node.reading import READ_BYTES_MAX
from ipfs_kit_py.storage import threads
from ipfs_kit_py.storage.threads import Pool

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from ipfs_kit_py.core.cid import CID, PeerID
    from ipfs_kit_py.core.interfaces import Provider
    from ipfs_kit_py.routing.announcer import Announcer, AnnouncerStatistics
    from ipfs_kit_py.routing.choosing import Choice, Chooser
    from ipfs_kit_py.routing.discovery.found import Found
    from ipfs_kit_py.routing.discovery.listed import Listed
    from ipfs_kit_py.routing.metrics import RoutingCounts
    from ipfs_kit_py.routing.router import Router
    from ipfs_kit_py.routing.router_search import LegStatistics

logger = logging.getLogger(__name__)


class Finding(NamedTuple):
    """What finds content and tells of it; ``chooser`` knows providers."""

    router: Router
    announcer: Announcer
    chooser: Chooser


@dataclass(frozen=True)
class RoutingReport:
    """``counts`` of searches, contents and connections; of each router, the nearest first; of what was told; how many
    ``hops`` a lookup of the DHT takes on average, ``None`` where there was none; and the last choices of providers, the
    newest last, as multihash and who was chosen, each with the terms that spoke for it."""

    counts: RoutingCounts
    routers: list[LegStatistics]
    announcements: AnnouncerStatistics
    hops: float | None
    choices: list[tuple[bytes, Sequence[Choice]]]


class FindingVerbs(Services):
    """Find, retrieve, announce."""

    _finding: Finding | None = None

    @property
    def finding(self) -> Finding:
        """What finds. ``NotRunning`` where the node has no network."""
        if self._finding is None:
            raise NotRunning("this node has no network: it can neither find content nor tell of it")
        return self._finding

    def set_finding(self, finding: Finding | None) -> None:
        """Find with this."""
        self._finding = finding

    async def find_content(
        self, cid: CID, *, count: int = 5, size: int | None = None, preferred: Collection[PeerID] = (),
        seconds: float | None = None,
    ) -> Sequence[Choice]:  # fmt: skip
        """The best ``count`` providers of a content of ``size`` bytes, the best first; empty where nobody provides.

        More are looked for than asked for, to have a choice; once there are enough, others have
        ``FIND_SETTLE_SECONDS`` to come. ``seconds`` bounds the search. ``PeerUnreachable`` where nobody can be asked.
        """
        found = await self._gather(cid, count, seconds)
        return self.finding.chooser.optimal(cid.multihash, found, size=size, preferred=preferred, count=count)

    async def judge_providers(self, cid: CID, *, count: int = 5, seconds: float | None = None) -> list[Choice]:
        """All providers that ``find_content`` would choose among, as they were found, with what is known of each."""
        chooser = self.finding.chooser
        return [chooser.judge(provider) for provider in await self._gather(cid, count, seconds)]

    async def _gather(self, cid: CID, enough: int, seconds: float | None) -> list[Provider]:
        found: list[Provider] = []
        router = self.finding.router
        with trio.CancelScope() as settle:
            providers = router.find_providers(cid.multihash, count=enough * FIND_SPARE, seconds=seconds)
            async with aclosing(providers):
                async for provider in providers:
                    found.append(provider)
                    if len(found) == enough:
                        settle.deadline = trio.current_time() + FIND_SETTLE_SECONDS
        return found

    async def retrieve_content(
        self, cid: CID, *, timeout: float = RETRIEVE_SECONDS, max_size: int = READ_BYTES_MAX,
        progress: Callable[[int, int], object] | None = None,
    ) -> bytes:  # fmt: skip
        """A file's content, or the block of a CID of another codec, every block verified and stored.

        ``progress(done, whole)`` in bytes. ``TooLarge`` for more than ``max_size`` bytes, before more than the root is
        fetched; ``TimedOut`` after ``timeout`` seconds; ``NotFound`` where nobody has it.
        """
        metrics = None if self._finding is None else self._finding.router.metrics
        begun = trio.current_time()
        [local] = await threads.run(Pool.WORK, self._store.has_many, [cid.check_allowed()])
        try:
            with trio.fail_after(timeout):
                data = await retrieve(
                    self._nursery, self._source, cid, most=min(max_size, READ_BYTES_MAX), progress=progress
                )
        except trio.TooSlowError:
            if metrics is not None:
                metrics.on_not_retrieved(timed_out=True)
            raise TimedOut(f"{cid} did not come whole within {timeout:g} s; give it a longer timeout") from None
        except IPFSKitError as error:
            if metrics is not None:
                metrics.on_not_retrieved(too_large=isinstance(error, TooLarge))
            raise
        if metrics is not None:
            metrics.on_retrieved(len(data), trio.current_time() - begun, local=local)
        return data

    async def announce_content(self, cid: CID) -> bool:
        """Tell the network that this content is here; whether peers know now, else they are told as soon as there are
        any. ``NotFound`` where its block is not here, ``QuotaExceeded`` where too many contents wait."""
        [here] = await threads.run(Pool.WORK, self._store.has_many, [cid.check_allowed()])
        if not here:
            raise NotFound(f"block {cid} is not in this node's store: others would ask for it in vain", cid=cid)
        return await self.finding.announcer.announce([cid.multihash])

    @property
    def dht_mode(self) -> str:
        """``server`` or ``client`` of the public DHT; ``off`` without one."""
        return "off" if self._dht is None else self._dht.mode

    async def meet(self, peers: Listed) -> int:
        """Connect to all peers of a list, its names looked up; how many are connected then. Those that cannot be
        reached are logged."""
        found: list[Found] = []
        try:
            await peers.round(found.append)
        except OSError as error:
            logger.warning("%s: no name could be looked up: %s", peers.name, error)
        met, limiter = 0, trio.CapacityLimiter(DISCOVERY_DIALS)

        async def dial(one: Found) -> None:
            nonlocal met
            async with limiter:
                try:
                    await self.network.connect(one.peer, one.addresses)
                    met += 1
                except IPFSKitError as error:
                    logger.warning("%s peer %s: %s", peers.name, one.peer, error)

        async with trio.open_nursery() as nursery:
            for one in found:
                nursery.start_soon(dial, one)
        return met

    def routing_metrics(self) -> RoutingReport:
        """Numbers of this moment."""
        finding = self.finding
        sides = [] if self._dht is None else self._dht.statistics().sides
        lookups = sum(side.lookups for side in sides)
        return RoutingReport(
            finding.router.metrics.counts(), finding.router.statistics(), finding.announcer.statistics(),
            sum(side.hops for side in sides) / lookups if lookups else None,
            list(finding.chooser.explained()),
        )  # fmt: skip
