"""Building discovery for a node, the layers that its role enables, and the node's verbs on it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from ipfs_kit_py.core.errors import InvalidAddress, NotRunning
from ipfs_kit_py.net import addresses, transports
from ipfs_kit_py.net.addresses import Scope
from ipfs_kit_py.node.base import Services
from ipfs_kit_py.routing.discovery.discovery import Discovery, Layer
from ipfs_kit_py.routing.discovery.listed import Listed, Static
from ipfs_kit_py.routing.discovery.mdns_driver import MdnsLayer
from ipfs_kit_py.routing.discovery.walk import Nearby, RandomWalk

if TYPE_CHECKING:
    from ipfs_kit_py.core.config import NodeConfig
    from ipfs_kit_py.net.swarm import Swarm
    from ipfs_kit_py.routing.discovery.discovery import DiscoveryStatistics
    from ipfs_kit_py.routing.discovery.walk import Walker


def build_discovery(
    config: NodeConfig, swarm: Swarm, *, walker: Walker | None = None, short: bool = False
) -> Discovery:
    """The service, not running yet: configured peers, and what the role enables of the lists of ``bootstrap`` peers,
    mDNS and walks in the DHT. A ``short`` life has time for the lists alone. mDNS is for nodes that listen beyond
    loopback: the others have nothing to tell their networks of. Raises ``InvalidAddress``."""
    role, rng = config.role_policy, random.Random()
    layers: list[Layer] = []
    if config.peer_addresses:
        layers.append(Static(config.peer_addresses, swarm.connected))
    if config.bootstrap_addresses and "bootstrap" in role.discovery:
        layers.append(Listed("bootstrap", config.bootstrap_addresses))
    if config.mdns and "mdns" in role.discovery and not short and any(map(_is_seen, swarm.addresses())):
        layers.append(MdnsLayer(swarm.peer_id, transports.interfaces, swarm.addresses, rng))
    if walker is not None and "dht" in role.discovery and not short:
        layers.append(Nearby(walker, swarm.peer_id, rng, reach=Scope.LOOPBACK))
    if walker is not None and "random-walk" in role.discovery and not short:
        layers.append(RandomWalk(walker, rng, reach=Scope.LOOPBACK))
    return Discovery(swarm, layers, rng, interval=role.discovery_interval, enough=role.low_water)


def _is_seen(text: str) -> bool:
    try:
        return addresses.scope(text) > Scope.LOOPBACK
    except InvalidAddress:
        return False


class DiscoveryVerbs(Services):
    """Finding peers."""

    _discovery: Discovery | None = None

    @property
    def discovery(self) -> Discovery:
        """What finds peers. ``NotRunning`` where the node has no network."""
        if self._discovery is None:
            raise NotRunning("this node has no network: it looks for no peers")
        return self._discovery

    def set_discovery(self, discovery: Discovery | None) -> None:
        """Find peers with this."""
        self._discovery = discovery

    def start_discovery(self, rendezvous: str = "") -> DiscoveryStatistics:
        """Look for peers now, by all that the role enables, at once; with a ``rendezvous`` first for those who look for
        the same. Returns what there is, layer by layer."""
        self.discovery.start_discovery(rendezvous)
        return self.discovery.statistics()
