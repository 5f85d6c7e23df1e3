"""Content that a cache or a kit has not got, fetched from the peers of a running libp2p peer; and telling of content.

The fetching is the node's: whatever reads through a kit or a cache that a peer was registered with asks that peer's
network block by block for what is missing. What is here counts it, bounds it, and tries again later.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import trio

from ipfs_kit_py.core.cid import CID
from ipfs_kit_py.core.config import MISS_MAX_BYTES, MISS_RECOVERIES, MISS_STALL_SECONDS, MISS_TIMES
from ipfs_kit_py.core.errors import IPFSKitError, NotFound, TimedOut
from ipfs_kit_py.core.log import event
from ipfs_kit_py.libp2p.enhanced_dht_discovery import ContentRoutingManager, EnhancedDHTDiscovery
from ipfs_kit_py.node.lending import LentExchange, LentRead
from ipfs_kit_py.storage import threads
from ipfs_kit_py.storage.threads import Pool

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Mapping

    from ipfs_kit_py._portal import NodeThread
    from ipfs_kit_py.routing.naming import Naming
    from ipfs_kit_py.storage.base import LocalStore

logger = logging.getLogger(__name__)


@runtime_checkable
class HasNode(Protocol):
    """A face of this package: a peer, a cache, or a kit whose node is in this process."""

    @property
    def node_thread(self) -> NodeThread: ...


class Cache(Protocol):
    """A cache of somebody else's making."""

    def put(self, cid: str, data: bytes) -> object: ...


class Kit(HasNode, Protocol):
    """What is needed of an ``ipfs_kit``."""

    def attach(self, integration: LibP2PIntegration) -> None: ...
    def detach(self) -> None: ...


@dataclass
class _Counts:
    """What came of misses. Seconds are those of the ones that were handled."""

    misses: int = 0
    handled: int = 0
    failed: int = 0
    size: int = 0
    seconds: float = 0.0
    holders: int = 0
    retries: int = 0
    recovered: int = 0


class LibP2PIntegration:
    """What is missing in a cache or a kit comes from the peers of ``libp2p_peer``.

    ``ipfs_kit`` or ``cache_manager`` (a ``TieredCacheManager``) then read through: memory, disk, remote tiers and peers
    as any node of this package does, and the peer serves what they hold. Another cache only needs ``put(cid, data)``
    and is given what ``handle_cache_miss`` fetches. ``keep``: whether what comes is stored in theirs too. ``timeout``:
    seconds that a content may take without any progress, and ``MISS_TIMES`` as long altogether; ``max_size``: bytes of
    a content that ``handle_cache_miss`` fetches at most. ``stop`` it; the peer runs on. Raises ``NotRunning`` where
    the peer is closed or offline.
    """

    def __init__(
        self,
        libp2p_peer: HasNode,
        ipfs_kit: Kit | None = None,
        cache_manager: HasNode | Cache | None = None,
        *,
        keep: bool = True,
        timeout: float = MISS_STALL_SECONDS,
        max_size: int = MISS_MAX_BYTES,
    ) -> None:
        self.libp2p_peer = libp2p_peer
        self.ipfs_kit = ipfs_kit
        self.cache_manager = cache_manager
        self.timeout = timeout
        self.max_size = max_size
        self.discovery = EnhancedDHTDiscovery(libp2p_peer, libp2p_peer.node_thread.node.config.role)
        self.content_router = ContentRoutingManager(self.discovery, libp2p_peer)
        self._counts = _Counts()
        self._lock = threading.Lock()
        self._recovering: dict[CID, concurrent.futures.Future[None]] = {}
        self._stopped = False
        self._peer = libp2p_peer.node_thread
        if ipfs_kit is not None:
            ipfs_kit.detach()
        self._home = self._home_of(ipfs_kit, cache_manager)
        self._lent: LentExchange | None = None
        self._served: LocalStore | None = None  # what the peer serves for the kit or cache
        self._naming: Naming | None = None  # what the kit or cache followed names with before
        if self._home is not self._peer:
            self._peer.run_sync(self._lend, keep)
        if ipfs_kit is not None:
            ipfs_kit.attach(self)

    def _home_of(self, kit: Kit | None, cache: HasNode | Cache | None) -> NodeThread:
        """The node that content is read through."""
        for face in (kit, cache):
            if isinstance(face, HasNode):
                return face.node_thread
        return self._peer

    def _lend(self, keep: bool) -> None:
        """On the loop."""
        lender, borrower = self._peer.node, self._home.node
        exchange = lender.exchange
        apart = borrower.store is not lender.store
        self._lent = LentExchange(
            exchange,
            lender=lender.store if apart else None,
            store=borrower.store if apart and keep else None,
            on_read=self._on_read,
        )
        borrower.borrow(self._lent, announcing=None if apart else lender.announcing)
        self._naming = borrower.naming
        borrower.set_naming(lender.naming)
        if apart:
            self._served = borrower.store
            exchange.serve_also(borrower.store)
        self._peer.at_end.append(self._lent.close)
        self._home.at_end.append(self._serve_no_more)

    @property
    def lent(self) -> LentExchange | None:
        """What a kit or cache fetches through; ``None`` where the peer fetches for itself."""
        return self._lent

    # --- misses -------------------------------------------------------------------------------------------------------

    def handle_cache_miss(self, cid: str) -> bytes | None:
        """A content's bytes from whoever has it, verified and cached; ``None`` where it could not be had, which is
        logged. What did not come in time is fetched on in the background. ``InvalidCID`` for what is no CID."""
        wanted = CID.parse(cid)
        with self._lock:
            self._counts.misses += 1
        event(logger, logging.DEBUG, "cache miss", cid=cid, order=">".join(self._order()))
        read = LentRead()
        try:
            data = self._home.call(self._retrieve, wanted, read)
        except IPFSKitError as error:
            self._on_failed(cid, read, error)
            if isinstance(error, (TimedOut, NotFound)):
                self._recover(wanted)
            return None
        self._on_handled(cid, len(data), read)
        if self.cache_manager is not None and not isinstance(self.cache_manager, HasNode):
            self.cache_manager.put(cid, data)
        return data

    async def _retrieve(self, cid: CID, read: LentRead) -> bytes:
        """A content, for as long as it comes."""
        node, begun = self._home.node, trio.current_time()
        with trio.CancelScope(deadline=begun + self.timeout) as patience:

            def progress(_done: int, _whole: int) -> None:
                patience.deadline = trio.current_time() + self.timeout

            retrieve = partial(
                node.retrieve_content, cid, timeout=MISS_TIMES * self.timeout, max_size=self.max_size,
                progress=progress,
            )  # fmt: skip
            try:
                if self._lent is None:
                    return await retrieve()
                with self._lent.reading(read, told=False):
                    return await retrieve()
            finally:
                read.seconds = trio.current_time() - begun
        raise TimedOut(f"nothing of {cid} came for {self.timeout:g} s; connect to a peer that has it")

    def _on_handled(self, cid: str, size: int, read: LentRead) -> None:
        with self._lock:
            self._counts.handled += 1
            self._counts.size += size
            self._counts.seconds += read.seconds
            self._counts.holders += read.holders
        event(logger, logging.INFO, "retrieved", cid=cid, bytes=size, seconds=round(read.seconds, 3))

    def _on_failed(self, cid: str, read: LentRead, error: IPFSKitError) -> None:
        with self._lock:
            self._counts.failed += 1
            self._counts.holders += read.holders
        event(
            logger, logging.WARNING, "not retrieved", cid=cid, seconds=round(read.seconds, 3), blocks=read.blocks,
            error=type(error).__name__, why=error,
        )  # fmt: skip

    def _on_read(self, read: LentRead) -> None:
        """A read of the kit or cache asked peers for something: on the loop."""
        with self._lock:
            self._counts.misses += 1
            self._counts.holders += read.holders
            self._counts.size += read.size
            if read.failure:
                self._counts.failed += 1
            else:
                self._counts.handled += 1
                self._counts.seconds += read.seconds
        level, name = (logging.WARNING, "not read") if read.failure else (logging.INFO, "read through")
        event(
            logger, level, name, bytes=read.size, blocks=read.blocks, of=read.wanted, seconds=round(read.seconds, 3),
            why=read.failure,
        )  # fmt: skip

    def _recover(self, cid: CID) -> None:
        """Go on fetching in the background, so that it is here the next time; some contents at once at the most."""
        with self._lock:
            if self._stopped or cid in self._recovering or len(self._recovering) >= MISS_RECOVERIES:
                return
            self._counts.retries += 1
            self._recovering[cid] = self._home.submit(self._recovery, cid)

    async def _recovery(self, cid: CID) -> None:
        try:
            await self._home.node.retrieve_content(cid, timeout=MISS_TIMES * self.timeout, max_size=self.max_size)
        except IPFSKitError as error:
            event(logger, logging.INFO, "not recovered", cid=cid, why=error)
        else:
            with self._lock:
                self._counts.recovered += 1
            event(logger, logging.INFO, "recovered", cid=cid)
        finally:
            with self._lock:
                self._recovering.pop(cid, None)

    # --- telling ------------------------------------------------------------------------------------------------------

    def announce_content(
        self, cid: str, data: bytes | None = None, size: int | None = None, metadata: Mapping[str, Any] | None = None
    ) -> bool:
        """Tell the network that this content is here; ``data`` is stored first where it is given (``HashMismatch``
        naming the true CID where it is not that content's). ``size`` in bytes and ``metadata`` are noted. Whether peers
        know now; else they are told as soon as there are any. ``NotFound`` where neither the peer nor the kit or cache
        has its block."""
        wanted = CID.parse(cid)
        noted = {**(metadata or {}), **({} if size is None else {"size": size})}
        if data is not None:
            self._home.call(lambda: self._home.node.store_bytes(wanted, data))
        return self._peer.call(self._announce, wanted, noted)

    async def _announce(self, cid: CID, noted: Mapping[str, Any]) -> bool:
        home, peer = self._home.node, self._peer.node
        if noted:
            await home.set_metadata(cid, {**(await home.get_metadata(cid) or {}), **noted})
        [at_home] = await threads.run(Pool.WORK, home.store.has_many, [cid.check_allowed()])
        if not at_home:
            return await peer.announce_content(cid)
        return await peer.finding.announcer.announce([cid.multihash])  # the peer serves it from there

    # --- numbers ------------------------------------------------------------------------------------------------------

    def get_stats(self) -> dict[str, Any]:
        """``cache_misses``, how many were ``handled`` and ``failed``, ``success_rate`` (0 to 1),
        ``average_retrieve_time`` in seconds, ``total_bytes_retrieved``; ``discovery_metrics`` (``providers_found``:
        peers that had what was wanted, or were found by searching for it; ``failed_discoveries``: searches that found
        nobody); ``fallback_order``, ``timeouts`` in seconds, ``retries`` in the background with those ``recovered``."""
        routing = None if self._peer.closed else self._peer.run_sync(self._peer.node.routing_metrics).counts
        lookups = None if routing is None else routing.lookups
        with self._lock:
            counts = self._counts
            return {
                "cache_misses": counts.misses,
                "cache_misses_handled": counts.handled,
                "cache_misses_failed": counts.failed,
                "success_rate": counts.handled / counts.misses if counts.misses else 0.0,
                "average_retrieve_time": counts.seconds / counts.handled if counts.handled else 0.0,
                "total_bytes_retrieved": counts.size,
                "discovery_metrics": {
                    "providers_found": counts.holders + (0 if lookups is None else lookups.providers),
                    "failed_discoveries": 0 if lookups is None else lookups.count - lookups.succeeded,
                },
                "fallback_order": self._order(),
                "timeouts": {"stall": self.timeout, "whole": MISS_TIMES * self.timeout},
                "max_size": self.max_size,
                "retries": counts.retries,
                "recovering": len(self._recovering),
                "recovered": counts.recovered,
                "running": not self._stopped and self._peer.is_here,
            }

    def _order(self) -> list[str]:
        """Where content is looked for, the first first. Peers and remote tiers race."""
        node = self._home.node
        local = [tier.name for tier in node.store.tiers()]
        remote = [str(spec.get("name", spec["type"])) for spec in node.config.tiers]
        return [*local, "libp2p", *remote]

    def stop(self) -> None:
        """Fetch nothing more through the peer; it runs on. Idempotent."""
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
            waiting = list(self._recovering.values())
        for future in waiting:
            future.cancel()
        self.discovery.stop()
        if self._lent is not None and self._home.is_here:
            self._home.run_sync(self._end_lending)

    def _end_lending(self) -> None:
        """On the loop."""
        assert self._lent is not None
        self._lent.close()
        self._peer.at_end.remove(self._lent.close)
        self._home.at_end.remove(self._serve_no_more)
        if self._home.node.borrowed is self._lent:  # else another peer's by now
            self._home.node.borrow(None)
            self._home.node.set_naming(self._naming)
        self._serve_no_more()

    def _serve_no_more(self) -> None:
        """The kit or cache ends, or the lending: the peer serves its own store alone."""
        if self._served is not None:
            self._peer.node.exchange.serve_no_more(self._served)
            self._served = None

    def __repr__(self) -> str:
        return f"<LibP2PIntegration of {self.libp2p_peer!r} {'stopped' if self._stopped else 'running'}>"


def register_libp2p_with_ipfs_kit(
    kit: Kit,
    peer: HasNode,
    extend_cache: bool = True,
    *,
    timeout: float = MISS_STALL_SECONDS,
    max_size: int = MISS_MAX_BYTES,
) -> LibP2PIntegration:
    """Have a kit use a peer: for what it has not got, to find and tell of content, and to serve what it adds.

    ``extend_cache``: whether what comes is kept in the kit's own tiers too, beside the peer's store. The peer stays the
    caller's to close. A peer that was registered before is let go.
    """
    return LibP2PIntegration(peer, ipfs_kit=kit, keep=extend_cache, timeout=timeout, max_size=max_size)
