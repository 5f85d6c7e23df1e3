"""Addresses of peers: what part of the world a multiaddr names, and which of them a peer could use.

An address is canonical multiaddr text without a trailing ``/p2p/<id>`` everywhere inside ``net``; the id travels beside
it. Source: github.com/multiformats/multiaddr, libp2p/specs addressing/README.md.
"""

from __future__ import annotations

import ipaddress
from enum import IntEnum
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from ipfs_kit_py.core import multiaddr
from ipfs_kit_py.core.cid import PeerID
from ipfs_kit_py.core.config import MAX_ADDRESS_CHARS
from ipfs_kit_py.core.errors import InvalidAddress

if TYPE_CHECKING:
    from collections.abc import Iterable

IP = ipaddress.IPv4Address | ipaddress.IPv6Address
IPInterface = ipaddress.IPv4Interface | ipaddress.IPv6Interface

_DNS = ("dns", "dns4", "dns6", "dnsaddr")
_SHARED = ipaddress.ip_network("100.64.0.0/10")  # RFC 6598, carrier-grade NAT: neither global nor "private" to Python


class Scope(IntEnum):
    """From how far away an address can be reached; a larger one from farther."""

    UNUSABLE = 0  # unspecified, multicast
    LOOPBACK = 1
    LINK = 2
    PRIVATE = 3
    PUBLIC = 4  # names count as public: only their answer tells


class Address(NamedTuple):
    """A parsed address. ``text`` has no trailing ``/p2p``; ``peer`` is the id that it ended with; ``parts`` are the
    protocols with their values in order."""

    text: str
    peer: PeerID | None
    parts: tuple[tuple[str, str], ...]
    ip: IP | None
    scope: Scope


class Endpoint(NamedTuple):
    """Where a plain TCP address leads: ``kind`` is ip4, ip6, dns, dns4 or dns6."""

    kind: str
    host: str
    port: int


@lru_cache(maxsize=8192)
def parse(text: str) -> Address:
    """Parse multiaddr text, with or without ``/p2p/<id>`` at its end. Raises ``InvalidAddress``."""
    if not isinstance(text, str) or not 1 < len(text) <= MAX_ADDRESS_CHARS:
        raise InvalidAddress(
            f"not a multiaddr: {str(text)[:60]!r}; it looks like /ip4/192.0.2.1/tcp/4001 and has at most "
            f"{MAX_ADDRESS_CHARS} characters"
        )
    return _parsed(multiaddr.from_text(text))


def from_bytes(raw: bytes) -> Address:
    """Parse a binary multiaddr, as peers send it; one of a peer id alone is none. Raises ``InvalidAddress``."""
    if not 1 < len(raw) <= MAX_ADDRESS_CHARS:
        raise InvalidAddress(f"a binary multiaddr of {len(raw)} bytes; 2 to {MAX_ADDRESS_CHARS} are allowed")
    return _from_bytes(bytes(raw))


@lru_cache(maxsize=8192)
def _from_bytes(raw: bytes) -> Address:
    found = _parsed(multiaddr.from_bytes(raw))
    if parse(found.text) != found._replace(peer=None):  # bytes can say what text cannot
        raise InvalidAddress(f"not a binary multiaddr that has a text: {raw[:40].hex()}")
    return found


@lru_cache(maxsize=8192)
def to_bytes(text: str) -> bytes:
    """The binary form of multiaddr text. Raises ``InvalidAddress``."""
    if len(text) > MAX_ADDRESS_CHARS:
        raise InvalidAddress(f"a multiaddr of {len(text)} characters; at most {MAX_ADDRESS_CHARS} are allowed")
    return multiaddr.to_bytes(multiaddr.from_text(text))


def _parsed(parts: multiaddr.Parts) -> Address:
    peer = None
    if parts and parts[-1][0] == "p2p":
        peer = PeerID.parse(parts[-1][1])
        parts = parts[:-1]
    text, ip = multiaddr.to_text(parts), _ip(parts)
    if len(text) > MAX_ADDRESS_CHARS:
        raise InvalidAddress(f"a multiaddr of {len(text)} characters; at most {MAX_ADDRESS_CHARS} are allowed")
    return Address(text, peer, parts, ip, scope_of_ip(ip) if ip is not None else Scope.PUBLIC)


def _ip(parts: tuple[tuple[str, str], ...]) -> IP | None:
    found = parts[1:2] if parts and parts[0][0] == "ip6zone" else parts[:1]
    if found and found[0][0] in ("ip4", "ip6"):
        return plain_ip(ipaddress.ip_address(found[0][1]))
    return None


def plain_ip(ip: IP) -> IP:
    """``ip``, or the IPv4 address inside an IPv6 one: what a dual-stack listener calls its IPv4 peers."""
    return ip.ipv4_mapped or ip if isinstance(ip, ipaddress.IPv6Address) else ip


def scope_of_ip(ip: IP) -> Scope:
    """How far away ``ip`` can be reached from."""
    if ip.is_unspecified or ip.is_multicast:
        return Scope.UNUSABLE
    if ip.is_loopback:
        return Scope.LOOPBACK
    if ip.is_link_local:
        return Scope.LINK
    if not ip.is_global or (ip.version == 4 and ip in _SHARED):
        return Scope.PRIVATE
    return Scope.PUBLIC


def with_peer(text: str, peer: PeerID) -> str:
    """The address with ``/p2p/<id>`` behind it."""
    return f"{text}/p2p/{peer}"


def of_socket(host: str, port: int) -> str:
    """The address of a TCP socket's name; an IPv6 zone (``%eth0``) is dropped."""
    ip = plain_ip(ipaddress.ip_address(host.partition("%")[0]))
    return f"/ip{ip.version}/{ip}/tcp/{port}"


def ip_of(text: str) -> IP | None:
    """The IP that an address begins with; ``None`` for names and for what does not parse."""
    try:
        return parse(text).ip
    except InvalidAddress:
        return None


def scope(text: str) -> Scope:
    """How far away an address can be reached from. Raises ``InvalidAddress``."""
    return parse(text).scope


def tcp_endpoint(address: Address) -> Endpoint | None:
    """Where a plain TCP address (``/ip4/…/tcp/…``, also by name) leads, ``None`` for every other kind."""
    if len(address.parts) == 2 and address.parts[1][0] == "tcp":
        (kind, host), (_tcp, port) = address.parts
        if kind in ("ip4", "ip6", "dns", "dns4", "dns6"):
            return Endpoint(kind, host, int(port))
    return None


def is_name(address: Address) -> bool:
    """Whether the address begins with a DNS name."""
    return bool(address.parts) and address.parts[0][0] in _DNS


def useful_to(texts: Iterable[str], reach: Scope) -> list[str]:
    """Those addresses that a peer could use which itself is reached at ``reach``: loopback addresses are for peers on
    this machine, private ones for peers on its networks."""
    return [text for text in texts if scope(text) >= reach and scope(text) is not Scope.UNUSABLE]


def credible_from(texts: Iterable[str], reach: Scope) -> list[str]:
    """Those addresses that a peer may tell of which itself was reached at ``reach``: a peer on the internet that names
    loopback or private addresses would make us knock at our own doors."""
    return useful_to(texts, reach)
