"""Names in multiaddrs: ``/dns4/example.org/tcp/4001`` to ``/ip4/…/tcp/4001``, ``/dnsaddr`` through its TXT records.

Source: libp2p/specs addressing/README.md; multiformats/multiaddr protocols/DNSADDR.md.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Protocol

import trio

from ipfs_kit_py.core.config import DIAL_RESOLVE_DEPTH, DIAL_RESOLVE_MAX, DIAL_TIMEOUT_SECONDS
from ipfs_kit_py.core.errors import InvalidAddress, PeerUnreachable
from ipfs_kit_py.net import addresses

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.net.addresses import Address

_FAMILY = {"dns": socket.AF_UNSPEC, "dns4": socket.AF_INET, "dns6": socket.AF_INET6}


class Resolver(Protocol):
    """What the dialler asks."""

    async def resolve(self, address: Address, peer: PeerID) -> list[str]:
        """The addresses, with IPs, that a name of ``peer`` leads to. ``PeerUnreachable`` where there are none."""
        ...


async def lookup_host(host: str, family: int) -> list[str]:
    """The IPs of a host by the system's resolver. ``OSError`` where it has none."""
    rows = await trio.socket.getaddrinfo(host, None, family=family, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(row[4][0]) for row in rows))


async def lookup_text(name: str) -> list[str]:
    """The TXT records of a name. ``OSError`` where it has none."""
    import dns.asyncresolver  # 50 ms, with the HTTP clients that it finds installed: few nodes ask for a name
    import dns.exception

    try:
        answer = await dns.asyncresolver.resolve(name, "TXT", lifetime=DIAL_TIMEOUT_SECONDS)
    except dns.exception.DNSException as error:
        raise OSError(f"{name}: {error}") from None
    return [b"".join(row.strings).decode(errors="replace") for row in answer]


class DnsResolver:
    """The system's resolver for hosts, dnspython for TXT records. Bounded in records and in depth."""

    def __init__(
        self,
        hosts: Callable[[str, int], Awaitable[list[str]]] = lookup_host,
        texts: Callable[[str], Awaitable[list[str]]] = lookup_text,
    ) -> None:
        self._hosts = hosts
        self._texts = texts

    async def resolve(self, address: Address, peer: PeerID) -> list[str]:
        found: dict[str, None] = {}
        level = [address]
        try:
            for _depth in range(DIAL_RESOLVE_DEPTH):
                below: list[Address] = []
                for item in level:
                    if item.parts[0][0] == "dnsaddr":
                        below += await self._dnsaddr(item, peer)
                    elif addresses.is_name(item):
                        found.update(dict.fromkeys(await self._host(item)))
                    else:
                        found[item.text] = None
                level = below[:DIAL_RESOLVE_MAX]
                if not level:
                    break
        except OSError as error:
            if not found:
                raise PeerUnreachable(f"{address.text}: {error.strerror or error}", peer=peer) from None
        if not found:
            raise PeerUnreachable(f"{address.text} leads to no address of {peer}", peer=peer)
        return list(found)[:DIAL_RESOLVE_MAX]

    async def _host(self, address: Address) -> list[str]:
        kind, host = address.parts[0]
        rest = address.text.split("/", 3)[3]
        ips = (await self._hosts(host, _FAMILY[kind]))[:DIAL_RESOLVE_MAX]
        return [f"/ip{6 if ':' in ip else 4}/{ip.partition('%')[0]}/{rest}" for ip in ips]

    async def _dnsaddr(self, address: Address, peer: PeerID) -> list[Address]:
        found = []
        for text in (await self._texts(f"_dnsaddr.{address.parts[0][1]}"))[: 4 * DIAL_RESOLVE_MAX]:
            if not text.startswith("dnsaddr="):
                continue
            try:
                item = addresses.parse(text.removeprefix("dnsaddr=").strip())
            except InvalidAddress:  # one record of someone else's zone; the others count
                continue
            if item.peer in (None, peer):
                found.append(item)
        return found[:DIAL_RESOLVE_MAX]
