"""Domain names as names: the path that a DNSLink record in the DNS points to.

Source: dnslink.dev; ipfs/specs http-gateways (DNSLink). One step alone: whoever resolves follows a path that is a
name again, and bounds how often.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ipfs_kit_py.core.config import DNS_NAME_CHARS, DNSLINK_MAX_RECORDS, IPNS_RECORD_BYTES
from ipfs_kit_py.core.errors import InvalidAddress, NotFound
from ipfs_kit_py.core.text import printable
from ipfs_kit_py.net.resolver import lookup_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_PREFIX = "dnslink="
_NAME = re.compile(r"[^\s/\x00-\x1f\x7f]+")
_PATH = re.compile(r"/(?:ipfs|ipns)/[^/\s]\S*")


class DnsLink:
    """Looks up DNSLinks. ``texts`` gives the TXT records of a name, ``OSError`` where it has none."""

    def __init__(self, texts: Callable[[str], Awaitable[list[str]]] = lookup_text) -> None:
        self._texts = texts

    async def __call__(self, name: str) -> str:
        """The ``/ipfs/`` or ``/ipns/`` path of a domain name, from ``_dnslink.<name>``, else from the name itself. Of
        several the first by the alphabet counts, so that all see the same. ``NotFound`` where it has none,
        ``InvalidAddress`` for what is no domain name."""
        host = name.rstrip(".").lower().removeprefix("_dnslink.")
        if len(host) > DNS_NAME_CHARS or not _NAME.fullmatch(host):
            raise InvalidAddress(f"not a domain name: {printable(name[:80])}")
        failures = []
        for place in (f"_dnslink.{host}", host):
            try:
                texts = await self._texts(place)
            except OSError as error:
                failures.append(str(error))
                continue
            if paths := _paths(texts):
                return min(paths)
        why = f": {failures[0]}" if failures else ", only other TXT records"
        raise NotFound(f"{printable(host)} has no DNSLink{printable(why)}")


def _paths(texts: list[str]) -> list[str]:
    found = []
    for text in texts[:DNSLINK_MAX_RECORDS]:
        path = text.removeprefix(_PREFIX).strip()
        if text.startswith(_PREFIX) and len(path) <= IPNS_RECORD_BYTES and _PATH.fullmatch(path):
            found.append(path)
    return found
