"""The node's verbs on routing: who has content, where a peer is, and the signed values of keys.

They stand on whatever routes, the DHT alone or several routers as one, which whoever builds the node hands over.
"""

from __future__ import annotations

import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol

import trio

from ipfs_kit_py.content import fetch as dags
from ipfs_kit_py.core.cid import PeerID
from ipfs_kit_py.core.errors import InvalidAddress, InvalidRecord, NotFound, NotRunning
from ipfs_kit_py.core.text import printable
from ipfs_kit_py.crypto import ipns
from ipfs_kit_py.node.base import Services
from ipfs_kit_py.routing.validators import PK_PREFIX, Validators
from ipfs_kit_py.storage import threads
from ipfs_kit_py.storage.threads import Pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from ipfs_kit_py.core.cid import CID
    from ipfs_kit_py.core.interfaces import Provider
    from ipfs_kit_py.routing.kad_wire import PeerInfo

_LOOK_SECONDS = 0.02  # between looks at the tables of a DHT that is being joined


class Routing(Protocol):
    """What the verbs need. Content is named by multihash, values by binary keys."""

    def find_providers(self, multihash: bytes, *, count: int = 20) -> AsyncGenerator[Provider, None]: ...
    async def provide(self, multihashes: Sequence[bytes]) -> None: ...
    async def find_peer(self, peer: PeerID) -> PeerInfo:
        """``NotFound`` where nobody knows it."""
        ...

    async def get_value(self, key: bytes) -> bytes:
        """``NotFound`` where there is none."""
        ...

    async def put_value(self, key: bytes, value: bytes) -> None: ...


def binary_key(text: str) -> bytes:
    """The key of ``/ipns/NAME`` or ``/pk/PEER`` as it is on the wire; ``InvalidRecord`` where it is neither."""
    _empty, kind, name = (*text.split("/", 2), "", "")[:3]
    if _empty or kind not in ("ipns", "pk") or not name:
        raise InvalidRecord(f"values are kept under /ipns/NAME and /pk/PEER, not under {printable(text[:80])}")
    peer = ipns.parse_name(name)
    return ipns.record_key(peer) if kind == "ipns" else PK_PREFIX + peer.raw


class RoutingVerbs(Services):
    """Ask and tell the network."""

    _routing: Routing | None = None

    @property
    def routing(self) -> Routing:
        """What asks and tells. ``NotRunning`` where the node has none."""
        if self._routing is None:
            why = "has not joined a DHT" if self.has_network else "has no network (it is offline, or without libp2p)"
            raise NotRunning(f"this node {why}: it can neither ask who has content nor tell")
        return self._routing

    def set_routing(self, routing: Routing | None) -> None:
        """Ask and tell with this."""
        self._routing = routing

    async def wait_joined(self, seconds: float) -> bool:
        """Wait until a peer of the DHT is known, ``seconds`` at most; whether one is. At once where there is no DHT."""
        dht = self._dht
        with trio.move_on_after(seconds):
            while dht is not None and not any(side.table for side in dht.sides):  # noqa: ASYNC110 - tables tell nobody
                await trio.sleep(_LOOK_SECONDS)
        return dht is not None and any(side.table for side in dht.sides)

    async def find_providers(self, cid: CID, count: int = 20) -> AsyncGenerator[Provider, None]:
        """Peers that have content, as they are found, at most ``count``. Leaving the iterator ends the search."""
        async with aclosing(self.routing.find_providers(cid.multihash, count=count)) as found:
            async for provider in found:
                yield provider

    async def provide(self, cids: Sequence[CID], *, recursive: bool = False) -> None:
        """Tell the network that we have these blocks, or with ``recursive`` their whole DAGs. ``NotFound`` for what is
        not in the store."""
        routing = self.routing
        there = await threads.run(Pool.WORK, self._store.has_many, list(cids))
        for cid, here in zip(cids, there, strict=True):
            if not here:
                raise NotFound(f"block {cid} is not in this node's store: it cannot be provided", cid=cid)
        if recursive:
            multihashes = sorted(await threads.run(Pool.WORK, _whole_dags, self, cids))
        else:
            multihashes = list(dict.fromkeys(cid.multihash for cid in cids))
        await routing.provide(multihashes)

    async def find_peer(self, peer: PeerID | str) -> PeerInfo:
        """Where a peer is: multiaddrs without ``/p2p``. ``NotFound`` where nobody knows it."""
        peer = PeerID.parse(peer) if isinstance(peer, str) else peer
        if peer == self.peer_id:
            raise InvalidAddress(f"{peer} is this node itself; `id` shows its addresses")
        return await self.routing.find_peer(peer)

    async def get_value(self, key: str | bytes) -> bytes:
        """The best value of ``/ipns/NAME`` or ``/pk/PEER`` (binary keys are taken too). ``NotFound``."""
        raw = binary_key(key) if isinstance(key, str) else key
        return await self.routing.get_value(raw)

    async def put_value(self, key: str | bytes, value: bytes) -> None:
        """Have the network keep a signed value. ``InvalidRecord`` where nobody would."""
        raw = binary_key(key) if isinstance(key, str) else key
        routing = self.routing
        Validators().validate(raw, value, time.time())
        await routing.put_value(raw, value)


def _whole_dags(services: Services, cids: Sequence[CID]) -> set[bytes]:
    return dags.reachable(services.store, cids, strict=True)
