"""The synchronous peer's methods on routing: who has content, telling of it, and the faces built on both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ipfs_kit_py.core.cid import CID
from ipfs_kit_py.libp2p.enhanced_dht_discovery import EnhancedDHTDiscovery, announce

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ipfs_kit_py._portal import NodeThread


class PeerRouting:
    """Mixed into ``IPFSLibp2pPeer``, which has the thread."""

    _thread: NodeThread
    _enhanced: EnhancedDHTDiscovery | None = None

    @property
    def node_thread(self) -> NodeThread:
        """Where the faces of this package call the node."""
        return self._thread

    def get_dht_mode(self) -> str:
        """``"server"`` or ``"client"`` of the public DHT, ``"off"`` without one."""
        return self._thread.run_sync(lambda: self._thread.node.dht_mode)

    def announce_content(self, cid: str, metadata: Mapping[str, Any] | None = None) -> bool:
        """Tell the network that this content is here, and note what the caller knows of it. Whether peers know now;
        else they are told as soon as there are any."""
        return self._thread.call(announce, self._thread.node, CID.parse(cid), dict(metadata or {}))

    def start_discovery(self, rendezvous_string: str = "ipfs-kit") -> bool:
        """Look for peers now, by all that the role enables, at once; those who look for the same string meet first.
        Whether there is any way to find peers: else configure ``bootstrap``, or listen beyond loopback."""
        found = self._thread.run_sync(self._thread.node.start_discovery, rendezvous_string)
        return any(layer.enabled for layer in found.layers)

    def find_providers(self, cid: str, count: int = 20, timeout: float = 60) -> list[dict[str, Any]]:
        """Up to ``count`` peers that have content, as ``EnhancedDHTDiscovery.find_providers``."""
        return self._discovery().find_providers(cid, count, timeout)

    def integrate_enhanced_dht_discovery(self) -> EnhancedDHTDiscovery:
        """Enhanced discovery over this peer, started; the same each time."""
        found = self._discovery()
        found.start()
        return found

    def find_providers_enhanced(self, cid: str, count: int = 5, timeout: float = 30) -> list[dict[str, Any]]:
        """The best ``count`` providers, as ``EnhancedDHTDiscovery.get_optimal_providers``."""
        return self._discovery().get_optimal_providers(cid, count=count, timeout=timeout)

    def _discovery(self) -> EnhancedDHTDiscovery:
        if self._enhanced is None:
            self._enhanced = EnhancedDHTDiscovery(self, self._thread.node.config.role)
        return self._enhanced
