"""Finding content by the best providers, and having it: thin synchronous faces over a running peer's own router.

Everything is done by the node; here calls cross into its loop, and what comes back becomes plain dictionaries.
"""

from __future__ import annotations

import logging
from dataclasses import fields, is_dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from anyio import to_thread

from ipfs_kit_py.core.cid import CID, RAW, PeerID
from ipfs_kit_py.core.config import RETRIEVE_SECONDS, ROUTER_SECONDS
from ipfs_kit_py.core.errors import ConfigError, IPFSKitError
from ipfs_kit_py.core.interfaces import Provider
from ipfs_kit_py.core.roles import ROLES
from ipfs_kit_py.net.addresses import with_peer
from ipfs_kit_py.routing.discovery.listed import Listed

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ipfs_kit_py._portal import Node, NodeThread
    from ipfs_kit_py.routing.choosing import Choice, Chooser

logger = logging.getLogger(__name__)


class RunningPeer(Protocol):
    """What is needed of an ``IPFSLibp2pPeer``."""

    @property
    def node_thread(self) -> NodeThread: ...


class EnhancedDHTDiscovery:
    """Providers of content, judged by what this peer knows of them.

    ``libp2p_peer`` is the peer whose DHT, connections and memory of other peers are used: how much it takes part in the
    DHT is its own role's matter, ``role`` is what is shown of it. ``bootstrap_peers`` are multiaddrs with
    ``/p2p/<id>``, or ``/dnsaddr`` names, that ``start`` connects to in the background. Raises ``ConfigError`` for an
    unknown role, ``InvalidAddress`` for what is no address of a peer.
    """

    def __init__(
        self, libp2p_peer: RunningPeer, role: str = "leecher", bootstrap_peers: Sequence[str] | None = None
    ) -> None:
        if role not in ROLES:
            raise ConfigError(f"role {role!r} is not one of {', '.join(ROLES)}")
        self.role = role
        self._thread = libp2p_peer.node_thread
        self._bootstrap = Listed("bootstrap", bootstrap_peers or ())
        self._running = False
        self._dialling: concurrent.futures.Future[int] | None = None

    @property
    def _node(self) -> Node:
        return self._thread.node

    # --- life ---------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Connect to the bootstrap peers, in the background; those that cannot be reached are logged. Idempotent.
        ``NotRunning`` where the peer is closed or offline."""
        if self._running:
            return
        self._thread.run_sync(lambda: self._node.finding)  # NotRunning without a network
        self._dialling = self._thread.submit(self._node.meet, self._bootstrap)
        self._running = True

    def stop(self) -> None:
        """Stop what was started; the peer runs on. Idempotent."""
        self._running = False
        if self._dialling is not None:
            self._dialling.cancel()
            self._dialling = None

    # --- providers ----------------------------------------------------------------------------------------------------

    def find_providers(self, cid: str, count: int = 5, timeout: float = ROUTER_SECONDS) -> list[dict[str, Any]]:
        """Up to ``count`` providers, the best reputation first, each with ``peer_id``, ``multiaddrs`` (with
        ``/p2p/<id>``), ``reputation`` (0 to 1, what is sure of it: about 0.1 of a stranger) and ``latency`` (seconds or
        ``None``).

        Twice as many are looked for, to have a choice. Empty where nobody was found, or nobody could be asked, which
        is logged.
        """
        try:
            return self._thread.call(self._find, CID.parse(cid), count, timeout)
        except IPFSKitError as error:
            logger.warning("no providers of %s: %s", cid, error)
            return []

    async def find_providers_async(
        self, cid: str, count: int = 5, timeout: float = ROUTER_SECONDS
    ) -> list[dict[str, Any]]:
        """The same, to be awaited under asyncio or trio; cancelling it cancels the search."""
        try:
            begin = partial(self._thread.submit, self._find, CID.parse(cid), count, timeout)
            future = await to_thread.run_sync(begin)
            try:
                return await to_thread.run_sync(future.result, abandon_on_cancel=True)
            finally:
                future.cancel()
        except IPFSKitError as error:
            logger.warning("no providers of %s: %s", cid, error)
            return []

    async def _find(self, cid: CID, count: int, seconds: float) -> list[dict[str, Any]]:
        judged = await self._node.judge_providers(cid, count=count, seconds=seconds)
        best = sorted(judged, key=lambda choice: choice.reputation, reverse=True)
        return _rows(best[:count])

    def get_optimal_providers(
        self, cid: str, content_size: int | None = None, preferred_peers: Iterable[str] | None = None, count: int = 3,
        timeout: float = ROUTER_SECONDS,
    ) -> list[dict[str, Any]]:  # fmt: skip
        """The ``count`` providers that would deliver ``content_size`` bytes soonest, as dicts of ``find_providers``.
        Those among ``preferred_peers`` come before others that are about as good. ``PeerUnreachable`` where nobody can
        be asked."""
        preferred = {PeerID.parse(peer) for peer in preferred_peers or ()}
        find = partial(
            self._node.find_content, count=count, size=content_size, preferred=preferred, seconds=timeout
        )  # fmt: skip
        return _rows(self._thread.call(find, CID.parse(cid)))

    # --- what the caller knows ----------------------------------------------------------------------------------------

    def add_provider(self, cid: str, peer_id: str, multiaddrs: Iterable[str] | None = None) -> None:
        """Remember that a peer has content, as if a search had found it."""
        provider = Provider(PeerID.parse(peer_id), tuple(multiaddrs or ()), "user")
        multihash = CID.parse(cid).multihash
        self._tell(
            lambda chooser: chooser.remember(multihash, [provider, *(chooser.find_cached(multihash) or ())])
        )  # fmt: skip

    def update_provider_stats(
        self, peer_id: str, success: bool, latency: float | None = None, bytes_received: int | None = None
    ) -> None:
        """Count a request of the caller's own to a peer: seconds to its first byte, and bytes."""
        peer = PeerID.parse(peer_id)
        self._tell(lambda chooser: chooser.update_stats(peer, success, latency=latency, size=bytes_received or 0))

    def record_content_affinity(self, peer_id: str, cid: str) -> None:
        """Note that a peer had content: it is asked first for what is related to it."""
        peer, multihash = PeerID.parse(peer_id), CID.parse(cid).multihash
        self._tell(lambda chooser: chooser.record_affinity(peer, multihash))

    def _tell(self, what: Callable[[Chooser], object]) -> None:
        self._thread.run_sync(lambda: what(self._node.finding.chooser))

    def get_metrics(self) -> dict[str, Any]:
        """Numbers of all routing of the peer, and how its last choices came about."""
        return _plain(self._thread.run_sync(self._node.routing_metrics))  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"<EnhancedDHTDiscovery {self.role} {'started' if self._running else 'stopped'} over {self._thread!r}>"


class ContentRoutingManager:
    """Finding, having and announcing content through a peer."""

    def __init__(self, discovery: EnhancedDHTDiscovery, peer: RunningPeer) -> None:
        self.discovery = discovery
        self._thread = peer.node_thread

    def find_content(self, cid: str, options: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """The best providers, as dicts of ``EnhancedDHTDiscovery.find_providers``.

        ``options``: ``count`` (5), ``timeout`` in seconds, ``size`` of the content in bytes, ``preferred_peers``.
        """
        given = _checked(options, {"count", "timeout", "size", "preferred_peers"})
        return self.discovery.get_optimal_providers(
            cid, given.get("size"), given.get("preferred_peers"), given.get("count", 5),
            given.get("timeout", ROUTER_SECONDS),
        )  # fmt: skip

    def retrieve_content(self, cid: str, options: Mapping[str, Any] | None = None) -> concurrent.futures.Future[bytes]:
        """Begin to fetch a whole content; the future gives its bytes, verified, and they are in the store too.

        ``options``: ``timeout`` in seconds (30), ``max_size`` in bytes, ``progress(done, whole)``, which is called on
        the node's loop. The future raises ``TooLarge`` before more than the root is fetched, ``TimedOut``,
        ``NotFound``; cancelling it ends the fetch.
        """
        given = _checked(options, {"timeout", "max_size", "progress"})
        names = {"timeout": RETRIEVE_SECONDS, **given}
        return self._thread.submit(partial(self._thread.node.retrieve_content, CID.parse(cid), **names))

    def announce_content(self, cid: str, size: int | None = None, metadata: Mapping[str, Any] | None = None) -> bool:
        """Tell the network that this content is here, and note what the caller knows of it (``get_metadata`` of the
        node). Whether peers know now; else they are told as soon as there are any."""
        noted = {**(metadata or {}), **({} if size is None else {"size": size})}
        return self._thread.call(announce, self._thread.node, CID.parse(cid), noted)

    def get_metrics(self) -> dict[str, Any]:
        """Numbers of searches, contents, connections, routers and announcements, percentiles in seconds, and how the
        last choices of providers came about."""
        return self.discovery.get_metrics()

    def __repr__(self) -> str:
        return f"<ContentRoutingManager over {self._thread!r}>"


async def announce(node: Node, cid: CID, metadata: Mapping[str, Any]) -> bool:
    """Note what is known of content, and tell the network of it."""
    if metadata:
        await node.set_metadata(cid, {**(await node.get_metadata(cid) or {}), **metadata})
    return await node.announce_content(cid)


def _rows(choices: Iterable[Choice]) -> list[dict[str, Any]]:
    return [
        {
            "peer_id": str(choice.provider.peer),
            "multiaddrs": [with_peer(text, choice.provider.peer) for text in choice.provider.addresses],
            "reputation": choice.reputation,
            "latency": choice.latency,
        }
        for choice in choices
    ]


def _plain(value: Any) -> Any:
    """Numbers, texts, lists and dictionaries of what is told: peers as text, multihashes as the CIDs of raw blocks."""
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, bytes):
        return str(CID(1, RAW, value))
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if isinstance(value, (bool, int, float, str, type(None))) else str(value)


def _checked(options: Mapping[str, Any] | None, known: set[str]) -> dict[str, Any]:
    given = {name: value for name, value in (options or {}).items() if value is not None}
    unknown = given.keys() - known
    if unknown:
        raise ConfigError(f"unknown options {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    return given
