"""Building discovery for a node: the layers that its role enables."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from ipfs_kit_py.net import transports
from ipfs_kit_py.routing.discovery.discovery import Discovery, Layer
from ipfs_kit_py.routing.discovery.listed import Listed
from ipfs_kit_py.routing.discovery.mdns_driver import MdnsLayer
from ipfs_kit_py.routing.discovery.walk import RandomWalk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipfs_kit_py.core.config import NodeConfig
    from ipfs_kit_py.net.swarm import Swarm
    from ipfs_kit_py.routing.discovery.walk import Walker


def build_discovery(
    config: NodeConfig, swarm: Swarm, *, mdns: bool = False, bootstrap: Sequence[str] = (), walker: Walker | None = None
) -> Discovery:
    """The service, not running yet. ``mdns`` switches that layer on where the role has it; ``bootstrap`` are
    multiaddrs, also ``/dnsaddr`` names; without a ``walker`` there are no walks. Configured peers stay with the node,
    which keeps them connected. Raises ``InvalidAddress``."""
    role, rng = config.role_policy, random.Random()
    layers: list[Layer] = []
    if mdns and "mdns" in role.discovery:
        layers.append(MdnsLayer(swarm.peer_id, transports.interfaces, swarm.addresses, rng))
    if bootstrap and "bootstrap" in role.discovery:
        layers.append(Listed("bootstrap", bootstrap))
    if walker is not None and "random-walk" in role.discovery:
        layers.append(RandomWalk(walker, rng))
    return Discovery(swarm, layers, rng, interval=role.discovery_interval, enough=role.low_water)
