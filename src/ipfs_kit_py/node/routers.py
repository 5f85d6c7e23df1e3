"""Building what finds content for a node and tells of it: the router over its DHT and its connected peers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipfs_kit_py.core.config import PROVIDERS_PER_SEARCH
from ipfs_kit_py.node.finding import Finding
from ipfs_kit_py.routing.announcer import Announcer, ToldDht
from ipfs_kit_py.routing.choosing import ProvidersForBitswap
from ipfs_kit_py.routing.connected import Connected
from ipfs_kit_py.routing.router import Router

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipfs_kit_py.bitswap.exchange import Bitswap
    from ipfs_kit_py.core.interfaces import ContentRouter
    from ipfs_kit_py.net.swarm import Swarm
    from ipfs_kit_py.routing.announcer import Tells
    from ipfs_kit_py.routing.choosing import Chooser
    from ipfs_kit_py.routing.dht import Dht


def build_searches(chooser: Chooser) -> ProvidersForBitswap:
    """The exchange's searches: its ``find_providers`` and ``on_dialled``. It asks connected peers itself."""
    return ProvidersForBitswap(chooser, count=PROVIDERS_PER_SEARCH, skip=(Connected.name,))


def build_finding(
    swarm: Swarm, exchange: Bitswap, chooser: Chooser, searches: ProvidersForBitswap, *, dht: Dht | None = None,
    tells: Tells | None = None, others: Sequence[ContentRouter] = (),
) -> Finding:  # fmt: skip
    """Everything wired, ``router`` not running yet. ``tells`` tells the DHT of content and keeps what waits; without
    it the DHT itself tells, once. ``others`` are more routers."""
    routers = list(others)
    if dht is not None:
        routers.insert(0, dht if tells is None else ToldDht(dht, tells))
    router = Router(swarm, routers, near=[Connected(swarm, exchange)], values=dht, cache=chooser)
    searches.attach(router)
    return Finding(router, Announcer(router, tells if dht is not None else None), chooser)
