"""Searches for peers that have a block, and connects to them: a few at once, and some of each search's finds."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeAlias

import trio

from ipfs_kit_py.core.cid import CID, PeerID
from ipfs_kit_py.core.config import PROVIDER_DIALS, PROVIDER_SEARCHES, PROVIDERS_PER_SEARCH
from ipfs_kit_py.core.errors import IPFSKitError

if TYPE_CHECKING:
    from ipfs_kit_py.core.interfaces import Network

FindProvidersFunction: TypeAlias = Callable[[CID], AsyncIterator[tuple[PeerID, list[str]]]]

logger = logging.getLogger(__name__)


class Finder:
    """``found(cid, peer)`` hears of each provider once it is connected."""

    def __init__(
        self,
        network: Network,
        find_providers: FindProvidersFunction | None,
        found: Callable[[CID, PeerID], None],
    ) -> None:
        self._network = network
        self._find_providers = find_providers
        self._found = found
        self._searches = trio.CapacityLimiter(PROVIDER_SEARCHES)

    async def search(self, cid: CID, is_wanted: Callable[[], bool]) -> None:
        """Find providers of a block while it is wanted. A provider that cannot be reached stops nothing."""
        if self._find_providers is None:
            return
        dials = trio.Semaphore(PROVIDER_DIALS)
        seen: set[PeerID] = {self._network.peer_id}
        async with self._searches:
            try:
                async with trio.open_nursery() as nursery, aclosing(_closable(self._find_providers(cid))) as providers:
                    async for peer, addresses in providers:
                        if not is_wanted():
                            nursery.cancel_scope.cancel()
                        if len(seen) > PROVIDERS_PER_SEARCH:
                            break
                        if peer not in seen:
                            seen.add(peer)
                            await dials.acquire()
                            nursery.start_soon(self._dial, cid, peer, addresses, dials)
            except* IPFSKitError as errors:
                logger.debug("the search for %s failed: %s", cid, errors.exceptions)

    async def _dial(self, cid: CID, peer: PeerID, addresses: list[str], dials: trio.Semaphore) -> None:
        try:
            await self._network.connect(peer, addresses)
            self._found(cid, peer)
        except IPFSKitError as error:
            logger.debug("provider %s of %s: %s", peer, cid, error)
        finally:
            dials.release()


async def _closable(iterator: AsyncIterator[tuple[PeerID, list[str]]]) -> AsyncGenerator[tuple[PeerID, list[str]]]:
    async for item in iterator:
        yield item
