"""Searches for peers that have a block, and connects to them: a few at once, and some of each search's finds."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, TypeAlias

import trio

from ipfs_kit_py.bitswap.places import Places
from ipfs_kit_py.core import multiaddr
from ipfs_kit_py.core.cid import CID, PeerID
from ipfs_kit_py.core.closing import finishing
from ipfs_kit_py.core.config import (
    PROVIDER_DIALS,
    PROVIDER_SEARCH_MAX_SECONDS,
    PROVIDER_SEARCHES,
    PROVIDERS_PER_SEARCH,
)
from ipfs_kit_py.core.errors import InvalidAddress, IPFSKitError

if TYPE_CHECKING:
    from ipfs_kit_py.core.interfaces import Network

FindProvidersFunction: TypeAlias = Callable[[CID], AsyncIterator[tuple[PeerID, list[str]]]]
DialledFunction: TypeAlias = Callable[[PeerID, bool, float], None]

logger = logging.getLogger(__name__)


class Finder:
    """``found(cid, peer)`` hears of each provider once it is connected. ``dialled(peer, ok, seconds)`` of every attempt
    to connect to one that was not before. Of searches that wait for others to end, those for what is most in
    ``demand`` come first."""

    def __init__(
        self,
        network: Network,
        find_providers: FindProvidersFunction | None,
        found: Callable[[CID, PeerID], None],
        dialled: DialledFunction | None = None,
        demand: Callable[[bytes], float] | None = None,
    ) -> None:
        self._network = network
        self._find_providers = find_providers
        self._found = found
        self._dialled = dialled
        self._demand = demand
        self._searches = Places(PROVIDER_SEARCHES)

    async def search(self, cid: CID) -> None:
        """Find providers of a block; cancel it when the block is here. What goes wrong ends this search alone."""
        if self._find_providers is None:
            return
        async with self._searches.take(0.0 if self._demand is None else self._demand(cid.multihash)):
            try:
                with trio.move_on_after(PROVIDER_SEARCH_MAX_SECONDS):
                    await self._search(cid, self._find_providers)
            except* IPFSKitError as errors:
                logger.debug("the search for %s failed: %s", cid, errors.exceptions)
            except* Exception:
                logger.exception("the search for %s failed by a fault of its own", cid)

    async def _search(self, cid: CID, find_providers: FindProvidersFunction) -> None:
        async with trio.open_nursery() as nursery, finishing(find_providers(cid)) as providers:
            await self._connect_to(cid, providers, nursery)

    async def _connect_to(
        self, cid: CID, providers: AsyncIterator[tuple[PeerID, list[str]]], nursery: trio.Nursery
    ) -> None:
        dials = trio.Semaphore(PROVIDER_DIALS)
        seen: set[PeerID] = {self._network.peer_id}
        async for peer, addresses in providers:
            if peer not in seen:
                seen.add(peer)
                await dials.acquire()
                nursery.start_soon(self._dial, cid, peer, addresses, dials)
                if len(seen) > PROVIDERS_PER_SEARCH:
                    return

    async def _dial(self, cid: CID, peer: PeerID, addresses: list[str], dials: trio.Semaphore) -> None:
        """A provider that cannot be reached stops nothing."""
        there, begun = peer in self._network.connected(), trio.current_time()
        try:
            await self._network.connect(peer, [text for text in addresses if _leads_to(peer, text)])
            self._tell(peer, there=there, ok=True, begun=begun)
            self._found(cid, peer)
        except IPFSKitError as error:
            logger.debug("provider %s of %s: %s", peer, cid, error)
            self._tell(peer, there=there, ok=False, begun=begun)
        finally:
            dials.release()

    def _tell(self, peer: PeerID, *, there: bool, ok: bool, begun: float) -> None:
        if self._dialled is not None and not there:
            self._dialled(peer, ok, trio.current_time() - begun)


def _leads_to(peer: PeerID, text: str) -> bool:
    """Whether an address can be one of a provider's: records hold what their authors like."""
    try:
        parts = multiaddr.from_text(text)
    except InvalidAddress:
        return False
    return bool(parts) and (parts[-1][0] != "p2p" or PeerID.parse(parts[-1][1]) == peer)
