"""The router that asks who is connected: the nearest who may have content, and the only ones that a node without a DHT
has."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol

from ipfs_kit_py.core.errors import NotSupported, PeerUnreachable
from ipfs_kit_py.core.interfaces import Provider

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Sequence

    from ipfs_kit_py.core.cid import PeerID


class Neighbourhood(Protocol):
    """The network, as far as it is needed."""

    def connected(self) -> Collection[PeerID]: ...


class Asks(Protocol):
    """The exchange: whom it would ask for a block, it can ask whether he has it."""

    def who_has(self, multihash: bytes) -> AsyncGenerator[PeerID, None]: ...


class Connected:
    """A ``ContentRouter`` over the connected peers. They hear that we have something when they ask."""

    name = "connected"

    def __init__(self, network: Neighbourhood, exchange: Asks) -> None:
        self._network, self._exchange = network, exchange

    async def find_providers(self, multihash: bytes, *, count: int = 20) -> AsyncGenerator[Provider, None]:
        """Peers that say that they have it: of a root's block, so that the rest is likely to be there too."""
        if not self._network.connected():
            raise PeerUnreachable("no peer is connected")
        async with aclosing(self._exchange.who_has(multihash)) as peers:
            async for peer in peers:
                yield Provider(peer, (), self.name)
                count -= 1
                if count <= 0:
                    return

    async def provide(self, multihashes: Sequence[bytes]) -> None:
        """There is nothing to tell."""
        raise NotSupported("connected peers are not told what is here: they ask")
