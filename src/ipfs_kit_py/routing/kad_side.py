"""The two DHTs of a node and which addresses belong in which: the public one, and that of its own networks. Sans-I/O.

Peers with private addresses alone would fill the public table with those that nobody can reach; a lookup among
neighbours must not tell the world of them. Source: go-libp2p-kad-dht dual; libp2p/specs kad-dht/README.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ipfs_kit_py.core.errors import InvalidAddress
from ipfs_kit_py.net import addresses
from ipfs_kit_py.net.addresses import Scope
from ipfs_kit_py.routing.kad_wire import KAD, KAD_LAN, PeerInfo

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Side:
    """One of the two. ``lan``: for peers on this machine and its networks."""

    name: str
    protocol: str
    lan: bool

    def usable(self, texts: Iterable[str], reach: Scope = Scope.LOOPBACK) -> tuple[str, ...]:
        """The addresses that count here, of those that somebody who is reached at ``reach`` may tell of or use: a peer
        on the internet that names loopback addresses would make us knock at our own doors."""
        return tuple(text for text in texts if self._counts(text, reach))

    def _counts(self, text: str, reach: Scope) -> bool:
        try:
            scope = addresses.scope(text)
        except InvalidAddress:
            return False
        return scope >= max(reach, Scope.LOOPBACK) and (scope is Scope.PUBLIC) != self.lan

    def cut(self, infos: Iterable[PeerInfo], reach: Scope) -> list[PeerInfo]:
        """Those of the peers that have such addresses, with these alone."""
        found = []
        for info in infos:
            kept = self.usable(info.addresses, reach)
            if kept:
                found.append(info if kept == info.addresses else PeerInfo(info.peer, kept, info.connection))
        return found


WAN = Side("wan", KAD, lan=False)
LAN = Side("lan", KAD_LAN, lan=True)
