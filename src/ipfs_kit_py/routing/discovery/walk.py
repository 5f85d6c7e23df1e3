"""Walks through the DHT to places chosen by chance: who is met on the way is a peer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import trio

from ipfs_kit_py.core.config import DISCOVERY_MAX_ADDRESSES, DISCOVERY_RETRY_SECONDS
from ipfs_kit_py.core.errors import InvalidAddress, InvalidCID
from ipfs_kit_py.net import addresses
from ipfs_kit_py.net.addresses import Scope
from ipfs_kit_py.routing.discovery.found import Found

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.routing.kad_wire import PeerInfo

_TARGET_BYTES = 32


class Walker(Protocol):
    """What a walk needs of the DHT."""

    async def closest_peers(self, key: bytes) -> Sequence[PeerInfo]:
        """The peers closest to a key, as a lookup ends. Raises ``PeerUnreachable`` where it met nobody."""
        ...


class Chance(Protocol):
    """As much of ``random.Random`` as is needed here."""

    def randbytes(self, n: int) -> bytes: ...


class RandomWalk:
    """A layer over the DHT. ``reach`` is from where its peers are met: in a public DHT nobody has a private address."""

    name = "random-walk"
    local = False
    retry = DISCOVERY_RETRY_SECONDS

    def __init__(self, walker: Walker, rng: Chance, *, reach: Scope = Scope.PUBLIC) -> None:
        self._walker = walker
        self._rng = rng
        self._reach = reach
        self._rendezvous: bytes | None = None

    async def serve(self, report: Callable[[Found], None]) -> None:
        """Walks are rounds; between them there is nothing."""
        await trio.sleep_forever()

    async def round(self, report: Callable[[Found], None]) -> None:
        """One walk."""
        for info in await self._walker.closest_peers(self._target()):
            texts = self._usable(info)
            if texts:
                report(Found(info.peer, texts))

    def seek(self, rendezvous: str) -> None:
        """Walk there next: others who look for the same meet the same peers."""
        self._rendezvous = rendezvous.encode()

    def _target(self) -> bytes:
        """Where the next walk goes: to the rendezvous, if one was given since the last, else anywhere."""
        target, self._rendezvous = self._rendezvous or self._rng.randbytes(_TARGET_BYTES), None
        return target

    def _usable(self, info: PeerInfo) -> tuple[str, ...]:
        kept: dict[str, None] = {}
        for text in info.addresses[:DISCOVERY_MAX_ADDRESSES]:
            try:
                address = addresses.parse(text)
            except (InvalidAddress, InvalidCID):
                continue
            if address.peer in (None, info.peer) and address.scope >= self._reach:
                kept[address.text] = None
        return tuple(kept)


class Nearby(RandomWalk):
    """A layer over the DHT that looks for the peers closest to this node, who keep what it is to keep."""

    name = "dht"

    def __init__(self, walker: Walker, me: PeerID, rng: Chance, *, reach: Scope = Scope.PUBLIC) -> None:
        super().__init__(walker, rng, reach=reach)
        self._me = me

    def _target(self) -> bytes:
        return self._me.raw
