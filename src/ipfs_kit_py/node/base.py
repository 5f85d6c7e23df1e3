"""What all verbs of a node stand on: the services that ``open_node`` wired, and where a path leads."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ipfs_kit_py.content import fetch as dags
from ipfs_kit_py.content.tree import Trees
from ipfs_kit_py.core.errors import LocalError, NotAFile, NotRunning
from ipfs_kit_py.dag import paths

if TYPE_CHECKING:
    import trio

    from ipfs_kit_py.bitswap.exchange import Bitswap
    from ipfs_kit_py.content.miss.misses import Misses
    from ipfs_kit_py.content.prefetching import Prefetching
    from ipfs_kit_py.content.replicas import Replicas
    from ipfs_kit_py.content.source import BlockSource
    from ipfs_kit_py.core.cid import CID, PeerID
    from ipfs_kit_py.core.config import NodeConfig
    from ipfs_kit_py.core.interfaces import Exchange
    from ipfs_kit_py.crypto.keys import PrivateKey
    from ipfs_kit_py.net.swarm import Swarm
    from ipfs_kit_py.node.dht import Announcing
    from ipfs_kit_py.routing.dht import Dht
    from ipfs_kit_py.storage.base import LocalStore


class Remote(NamedTuple):
    """What a node with remote tiers has: the race for what is missing, and the copies that are kept there."""

    misses: Misses
    replicas: Replicas


class Services:
    """A node's services. ``network`` and ``exchange`` are ``None`` on an offline node, ``remote`` without tiers,
    ``dht`` where it is off, ``announcing`` on a node that lives for one command."""

    def __init__(
        self,
        config: NodeConfig,
        key: PrivateKey,
        source: BlockSource,
        store: LocalStore,
        nursery: trio.Nursery,
        *,
        network: Swarm | None,
        exchange: Bitswap | None,
        remote: Remote | None = None,
        prefetching: Prefetching | None = None,
        dht: Dht | None = None,
        announcing: Announcing | None = None,
    ) -> None:
        self.config = config
        self.peer_id: PeerID = key.peer_id()
        self._key = key
        self._source = source
        self._store = store
        self._nursery = nursery
        self._swarm = network
        self._exchange = exchange
        self._remote = remote
        self._prefetching = prefetching
        self._dht = dht
        self._announcing = announcing
        self._borrowed: Exchange | None = None
        self._trees = Trees(nursery, source)

    @property
    def network(self) -> Swarm:
        """The swarm; ``NotRunning`` on an offline node."""
        if self._swarm is None:
            raise NotRunning("this node has no network; open it without offline=True (--offline) and libp2p=False")
        return self._swarm

    @property
    def has_network(self) -> bool:
        """Whether it has peers: not on an offline node, nor on one without libp2p."""
        return self._swarm is not None

    @property
    def remote(self) -> Remote | None:
        """What it has for its remote tiers, ``None`` without any."""
        return self._remote

    def borrow(self, exchange: Exchange | None, *, announcing: Announcing | None = None) -> None:
        """Fetch what is missing through another node's exchange from now on, and have new pins told by what tells of
        that node's; ``None`` ends it. ``LocalError`` on a node that has a network of its own."""
        if self._swarm is not None:
            raise LocalError("this node has a network of its own; open it with libp2p=False to use another peer's")
        self._announcing = announcing
        self._borrowed = exchange
        if self._remote is not None:
            self._remote.misses.set_exchange(exchange)
        else:
            self._source.exchange = exchange

    @property
    def exchange(self) -> Bitswap:
        """The exchange with peers, for another node to borrow. ``NotRunning`` without a network."""
        if self._exchange is None:
            raise NotRunning("this node has no network: it has no exchange to lend")
        return self._exchange

    @property
    def borrowed(self) -> Exchange | None:
        """The exchange of another node that is used, ``None`` without one."""
        return self._borrowed

    @property
    def announcing(self) -> Announcing | None:
        """What tells the DHT of pins, ``None`` where nothing does."""
        return self._announcing

    @property
    def store(self) -> LocalStore:
        """The local store. Thread safe, and it blocks: call it on a worker thread."""
        return self._store

    async def resolve(self, path: str | CID) -> paths.Resolved:
        """Where a path leads."""
        with self._source.session() as session:
            return await session.run(paths.resolve(path))

    async def _root(self, path: str | CID) -> CID:
        found = await self.resolve(path)
        if found.inside:
            raise NotAFile(f"{path} is a value inside of {found.cid}, not a block; use `dag get`")
        return found.cid

    def _pins_changed(self, *added: CID) -> None:
        """Have the copies of pins at remote tiers looked after, and the DHT told of those that were added."""
        if self._remote is not None:
            self._remote.replicas.wake()
        if self._announcing is not None:
            self._announcing.on_pins(added)

    def _pinned(self) -> set[bytes]:
        """Multihashes of everything that a pin keeps."""
        pins = list(self._store.pins.ls())
        kept = dags.reachable(self._store, [pin.cid for pin in pins if pin.recursive])
        return kept | {pin.cid.multihash for pin in pins} | self._files_kept()

    def _files_kept(self) -> set[bytes]:
        """Multihashes of what the files that change keep."""
        return set()
