"""The gate: which peers and networks this node talks to, from ``NodeConfig.allow`` and ``deny``."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from ipfs_kit_py.core.cid import PeerID
from ipfs_kit_py.core.errors import ConfigError, InvalidAddress

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ipfs_kit_py.net.addresses import IP

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


class Gate:
    """Allow and deny lists of peer ids and CIDRs.

    A denied peer or network is refused. Where ``allow`` is not empty, a peer must be named there or come from a network
    that is. Raises ``ConfigError`` for an entry that is neither.
    """

    def __init__(self, allow: Iterable[str] = (), deny: Iterable[str] = ()) -> None:
        self._allow_peers, self._allow_networks = _sorted_out("allow", allow)
        self._deny_peers, self._deny_networks = _sorted_out("deny", deny)
        self._only_allowed = bool(self._allow_peers or self._allow_networks)

    def admits_ip(self, ip: IP | None) -> bool:
        """Whether a connection with ``ip`` may begin: before it is known whose it is. ``None`` is no IP at all."""
        if ip is not None and _within(ip, self._deny_networks):
            return False
        # where peers are named, only the handshake can tell whether this is one of them
        return (
            not self._only_allowed or bool(self._allow_peers) or (ip is not None and _within(ip, self._allow_networks))
        )

    def admits_peer(self, peer: PeerID) -> bool:
        """Whether ``peer`` may be dialled, as far as its id alone tells."""
        if peer in self._deny_peers:
            return False
        return not self._only_allowed or bool(self._allow_networks) or peer in self._allow_peers

    def admits(self, peer: PeerID, ip: IP | None) -> bool:
        """Whether an authenticated connection may stay."""
        if peer in self._deny_peers or not self.admits_ip(ip):
            return False
        if not self._only_allowed or peer in self._allow_peers:
            return True
        return ip is not None and _within(ip, self._allow_networks)

    def __repr__(self) -> str:
        allow = len(self._allow_peers) + len(self._allow_networks)
        return f"<Gate allow={allow} deny={len(self._deny_peers) + len(self._deny_networks)}>"


def _within(ip: IP, networks: Iterable[IPNetwork]) -> bool:
    return any(ip in network for network in networks)


def _sorted_out(name: str, entries: Iterable[str]) -> tuple[frozenset[PeerID], tuple[IPNetwork, ...]]:
    peers, networks = set(), []
    for entry in entries:
        try:
            networks.append(ipaddress.ip_network(entry, strict=False))
            continue
        except ValueError:
            pass
        try:
            peers.add(PeerID.parse(entry))
        except InvalidAddress:
            raise ConfigError(
                f"{name}: {entry!r} is neither a peer id nor a network; write 12D3KooW… or 10.0.0.0/8"
            ) from None
    return frozenset(peers), tuple(networks)
