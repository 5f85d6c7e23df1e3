"""The node: every verb of the package, async, over the services that ``open_node`` wired."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from ipfs_kit_py.content.known import built_as
from ipfs_kit_py.core.errors import HashMismatch, NotRunning
from ipfs_kit_py.node.adding import AddingVerbs
from ipfs_kit_py.node.blocks import BlockVerbs
from ipfs_kit_py.node.discovering import DiscoveryVerbs
from ipfs_kit_py.node.files import FileVerbs
from ipfs_kit_py.node.finding import FindingVerbs
from ipfs_kit_py.node.keeping import KeepingVerbs
from ipfs_kit_py.node.messages import Messages
from ipfs_kit_py.node.naming import NameVerbs
from ipfs_kit_py.node.peers import PeerVerbs
from ipfs_kit_py.node.reading import ReadingVerbs
from ipfs_kit_py.node.routing_verbs import RoutingVerbs
from ipfs_kit_py.node.tiering import TierVerbs
from ipfs_kit_py.storage import threads
from ipfs_kit_py.storage.threads import Pool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ipfs_kit_py.bitswap.exchange import Bitswap, BitswapStatistics
    from ipfs_kit_py.content.miss.origin import OriginStatistics
    from ipfs_kit_py.content.prefetching import Prefetching
    from ipfs_kit_py.content.replicas import ReplicaStatistics
    from ipfs_kit_py.content.source import BlockSource
    from ipfs_kit_py.core.cid import CID, PeerID
    from ipfs_kit_py.core.config import NodeConfig
    from ipfs_kit_py.crypto.keys import PrivateKey
    from ipfs_kit_py.net.swarm import Swarm, SwarmStatistics
    from ipfs_kit_py.node.base import Remote
    from ipfs_kit_py.node.dht import Announcing
    from ipfs_kit_py.node.messages import MessageHandler
    from ipfs_kit_py.routing.dht import Dht, DhtStatistics
    from ipfs_kit_py.routing.discovery.discovery import DiscoveryStatistics
    from ipfs_kit_py.routing.provider import ReproviderStatistics
    from ipfs_kit_py.storage.base import LocalStore, StoreStatistics, TierStatistics
    from ipfs_kit_py.storage.prefetch import PrefetchStatistics
    from ipfs_kit_py.storage.threads import ThreadStatistics


@dataclass(frozen=True)
class NodeStatistics:
    """Counters of every service; ``None`` for those that a node without network has not got. ``tiers`` are those of
    this machine, the fastest first; ``sources`` those of missing blocks, peers first, and ``replicas`` the copies at
    remote tiers: both empty without remote tiers. ``prefetch``: ``None`` where the role has none. ``dht``,
    ``providing`` (what the DHT is told) and ``discovery``: ``None`` where there is none. ``threads``: the
    pools of the loop, which its nodes share."""

    store: StoreStatistics
    network: SwarmStatistics | None
    exchange: BitswapStatistics | None
    tiers: list[TierStatistics]
    sources: list[OriginStatistics]
    replicas: list[ReplicaStatistics]
    prefetch: PrefetchStatistics | None
    dht: DhtStatistics | None
    providing: ReproviderStatistics | None
    discovery: DiscoveryStatistics | None
    threads: list[ThreadStatistics]


class Node(
    PeerVerbs, AddingVerbs, ReadingVerbs, BlockVerbs, KeepingVerbs, TierVerbs, NameVerbs, RoutingVerbs, FindingVerbs,
    DiscoveryVerbs, FileVerbs,
):  # fmt: skip
    """A running node; made by ``open_node``. Paths are ``CID``, ``CID/name`` or ``/ipfs/CID/name``.

    Verbs that need the network raise ``NotRunning`` on an offline node; those that need content that nobody has wait
    for it: put a ``trio.fail_after`` around them.
    """

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
        super().__init__(
            config, key, source, store, nursery, network=network, exchange=exchange, remote=remote,
            prefetching=prefetching, dht=dht, announcing=announcing,
        )  # fmt: skip
        self._messages = None if network is None else Messages(network, self._make_ready)
        self._maker: Callable[[str], Iterable[bytes] | None] | None = None
        self._stop = trio.Event()

    def __repr__(self) -> str:
        return f"<Node {self.peer_id} {self.config.role} {self._swarm or 'offline'!r}>"

    # --- life ---------------------------------------------------------------------------------------------------------

    def request_stop(self) -> None:
        """Ask whoever waits in ``wait_stop`` to take the node down."""
        self._stop.set()

    async def wait_stop(self) -> None:
        """Wait for ``request_stop``."""
        await self._stop.wait()

    async def statistics(self) -> NodeStatistics:
        """Counters of store, network and exchange."""
        store = await threads.run(Pool.WORK, self._store.statistics)
        return NodeStatistics(
            store,
            None if self._swarm is None else self._swarm.statistics(),
            None if self._exchange is None else self._exchange.statistics(),
            await threads.run(Pool.WORK, self._store.tiers),
            [] if self._remote is None else self._remote.misses.statistics(),
            [] if self._remote is None else await threads.run(Pool.WORK, self._remote.replicas.statistics),
            None if self._prefetching is None else self._prefetching.statistics(),
            None if self._dht is None else self._dht.statistics(),
            None if self._announcing is None else self._announcing.reprovider.statistics(),
            None if self._discovery is None else self._discovery.statistics(),
            threads.statistics(),
        )

    # --- messages and content on demand -------------------------------------------------------------------------------

    def on_message(self, handler: MessageHandler | None) -> None:
        """Answer messages: ``handler(peer_id, data)``, sync (in a thread) or async, returns the reply."""
        self._need_messages().on_message(handler)

    async def send_message(self, peer: PeerID, data: bytes) -> bytes:
        """Send a message and read the reply."""
        return await self._need_messages().send(peer, data)

    def _need_messages(self) -> Messages:
        if self._messages is None:
            raise NotRunning("this node is offline; open it without offline=True")
        return self._messages

    def set_content_maker(self, maker: Callable[[str], Iterable[bytes] | None] | None) -> None:
        """``maker(cid)`` gives the bytes of content that a peer asks for and that is not here, or ``None``."""
        self._maker = maker

    async def request_stream(self, peer: PeerID, cid: CID) -> None:
        """Ask a peer to have content ready. ``NotFound`` where it cannot."""
        if peer not in self.network.connected():
            await self.network.connect(peer)
        if self._exchange is not None:
            self._exchange.always_ask(peer)
        await self._need_messages().request_ready(peer, cid)

    async def _make_ready(self, cid: CID) -> bool:
        [there] = await threads.run(Pool.WORK, self._store.has_many, [cid.check_allowed()])
        if there or self._maker is None:
            return there
        maker = self._maker
        made = await threads.run(Pool.USER, _made, maker, cid)
        if made is None:
            return False
        try:
            blocks = (await threads.run(Pool.WORK, built_as, cid, made)).blocks
        except HashMismatch:
            return False
        await self._source.put_many(blocks)
        return True


def _made(maker: Callable[[str], Iterable[bytes] | None], cid: CID) -> bytes | None:
    parts = maker(str(cid))
    return None if parts is None else b"".join(parts)
