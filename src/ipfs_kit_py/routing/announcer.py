"""Telling the network of content when somebody asks for it: at once where it can be done, else it waits.

What waits is kept by whoever tells the DHT (``provider.Reprovider``): bounded, over a restart too, told as soon as
there is a peer.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import trio

from ipfs_kit_py.core.config import ANNOUNCE_SECONDS
from ipfs_kit_py.core.errors import PeerUnreachable
from ipfs_kit_py.core.histogram import Histogram
from ipfs_kit_py.routing.metrics import Percentiles

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Sequence

    from ipfs_kit_py.core.interfaces import Provider

logger = logging.getLogger(__name__)


class Finds(Protocol):
    """Who has content: the DHT."""

    def find_providers(self, multihash: bytes, *, count: int = 20) -> AsyncGenerator[Provider, None]: ...


class Tells(Protocol):
    """What tells the DHT of our content, and keeps what it could not tell."""

    async def provide(self, multihashes: Sequence[bytes]) -> None:
        """Tell of these now. ``PeerUnreachable`` where nobody could be told: then they wait."""
        ...

    def add_once(self, multihashes: Iterable[bytes]) -> None:
        """Tell of these as soon as it can be done. ``QuotaExceeded`` where too many wait."""
        ...


class ToldDht:
    """The DHT as a ``ContentRouter`` whose telling is done by whoever keeps what waits."""

    name = "dht"

    def __init__(self, finds: Finds, tells: Tells) -> None:
        self._finds, self._tells = finds, tells

    def find_providers(self, multihash: bytes, *, count: int = 20) -> AsyncGenerator[Provider, None]:
        """The DHT's."""
        return self._finds.find_providers(multihash, count=count)

    async def provide(self, multihashes: Sequence[bytes]) -> None:
        """Tell of these now; what cannot be told waits, and is ``PeerUnreachable`` for the moment."""
        await self._tells.provide(multihashes)


@dataclass(frozen=True)
class AnnouncerStatistics:
    """Contents that peers were ``told`` of at once, and those that were ``queued``. ``seconds`` that telling took."""

    told: int
    queued: int
    seconds: Percentiles


class Provides(Protocol):
    """What tells all routers."""

    async def provide(self, multihashes: Sequence[bytes]) -> None: ...


class Announcer:
    """``router`` tells, ``tells`` keeps what waits: ``None`` on a node that has no DHT."""

    def __init__(self, router: Provides, tells: Tells | None, *, seconds: float = ANNOUNCE_SECONDS) -> None:
        self._router, self._tells, self._seconds = router, tells, seconds
        self._told = self._queued = 0
        self._took = Histogram()

    async def announce(self, multihashes: Sequence[bytes]) -> bool:
        """Tell of these; whether peers know now. Else they are told later: nobody is there, or it takes longer than
        ``seconds``. ``QuotaExceeded`` where too many wait already, ``PeerUnreachable`` where nothing keeps them."""
        begun = trio.current_time()
        try:
            with trio.fail_after(self._seconds):
                await self._router.provide(multihashes)
        except trio.TooSlowError:
            if self._tells is None:
                raise PeerUnreachable(f"nobody could be told within {self._seconds:g} s; announce it again") from None
            self._tells.add_once(multihashes)
        except PeerUnreachable as error:
            if self._tells is None:
                raise
            logger.info("%d contents wait to be told of: %s", len(multihashes), error)
        else:
            self._told += len(multihashes)
            self._took.add(trio.current_time() - begun)
            return True
        self._queued += len(multihashes)
        return False

    def statistics(self) -> AnnouncerStatistics:
        """The counts of this moment."""
        return AnnouncerStatistics(self._told, self._queued, Percentiles.of(self._took))

    def __repr__(self) -> str:
        return f"<Announcer {self._told} told, {self._queued} queued>"
