"""Peers that a list names: those that a network starts from, and those that the user configured.

Source: multiformats/multiaddr protocols/DNSADDR.md.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from ipfs_kit_py.core.cid import PeerID
from ipfs_kit_py.core.config import (
    BOOTSTRAP_MAX_PEERS,
    BOOTSTRAP_RETRY_SECONDS,
    DISCOVERY_MAX_ADDRESSES,
    DISCOVERY_RETRY_SECONDS,
    DNSADDR_DEPTH,
    DNSADDR_MAX_LOOKUPS,
    DNSADDR_MAX_RECORDS,
)
from ipfs_kit_py.core.errors import InvalidAddress, InvalidCID
from ipfs_kit_py.net import addresses
from ipfs_kit_py.net.resolver import lookup_text
from ipfs_kit_py.routing.discovery.found import Found

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable

    from ipfs_kit_py.net.addresses import Address

logger = logging.getLogger(__name__)


class Listed:
    """A layer over multiaddrs, with ``/p2p/<id>`` or as ``/dnsaddr/<name>`` alone, which stands for all peers that the
    name leads to. ``texts`` looks up TXT records. Raises ``InvalidAddress`` for what is no multiaddr."""

    retry = DISCOVERY_RETRY_SECONDS

    def __init__(
        self,
        name: str,
        texts_of_peers: Iterable[str],
        *,
        local: bool = False,
        texts: Callable[[str], Awaitable[list[str]]] = lookup_text,
    ) -> None:
        self.name = name
        self.local = local
        self._texts = texts
        self._addresses = [addresses.parse(text) for text in dict.fromkeys(texts_of_peers)]
        for address in self._addresses:
            if address.peer is None and not _is_dnsaddr(address):
                raise InvalidAddress(f"{address.text} names no peer: it needs /p2p/<id> at its end")

    async def serve(self, report: Callable[[Found], None]) -> None:
        """Lists do nothing between rounds."""
        await trio.sleep_forever()

    async def round(self, report: Callable[[Found], None]) -> None:
        """Report every peer, the names among the list looked up. ``OSError`` where names alone are left and fail."""
        for found in await self._expand():
            report(found)

    def seek(self, rendezvous: str) -> None:
        """A list has no meeting points."""

    async def _expand(self) -> list[Found]:
        """All peers of the list. Each name is asked for once, in the order of their depth."""
        by_peer: dict[PeerID, dict[str, None]] = {}
        level, asked, failures = list(self._addresses), set[tuple[str, PeerID | None]](), list[OSError]()
        for _depth in range(DNSADDR_DEPTH + 1):
            below: list[Address] = []
            for address in level:
                if not _is_dnsaddr(address):
                    _take(by_peer, address)
                    continue
                name = address.parts[0][1].lower()
                if (name, address.peer) in asked or len(asked) >= DNSADDR_MAX_LOOKUPS:
                    continue
                asked.add((name, address.peer))
                try:
                    below += await self._records(name, address.peer)
                except OSError as error:
                    failures.append(error)
            level = below
        if failures and not by_peer:
            raise failures[0]
        for failure in failures:
            logger.info("%s: %s", self.name, failure)
        return [Found(peer, tuple(texts)) for peer, texts in by_peer.items()]

    async def _records(self, name: str, peer: PeerID | None) -> list[Address]:
        found = []
        for text in (await self._texts(f"_dnsaddr.{name}"))[:DNSADDR_MAX_RECORDS]:
            if not text.startswith("dnsaddr="):
                continue
            try:
                address = addresses.parse(text.removeprefix("dnsaddr=").strip())
            except (InvalidAddress, InvalidCID):  # one record of someone else's zone; the others count
                continue
            if peer in (None, address.peer) or (address.peer is None and _is_dnsaddr(address)):
                found.append(address if address.peer is not None else address._replace(peer=peer))
        return found


class Static(Listed):
    """The peers that the user configured: kept connected, however many others there are."""

    retry = BOOTSTRAP_RETRY_SECONDS

    def __init__(
        self,
        peers: Iterable[str],
        connected: Callable[[], Collection[PeerID]],
        *,
        texts: Callable[[str], Awaitable[list[str]]] = lookup_text,
    ) -> None:
        super().__init__("static", peers, local=True, texts=texts)
        self._connected = connected

    async def serve(self, report: Callable[[Found], None]) -> None:
        """Report those that are not connected, again and again."""
        lost: set[PeerID] = set()
        while True:
            try:
                missing = [found for found in await self._expand() if found.peer not in self._connected()]
            except OSError as error:
                logger.warning("configured peers cannot be looked up: %s", error)
                missing = []
            for found in missing:
                if found.peer in lost:
                    logger.warning("configured peer %s is not reached at %s", found.peer, ", ".join(found.addresses))
                report(found)
            lost = {found.peer for found in missing}
            await trio.sleep(self.retry)

    async def round(self, report: Callable[[Found], None]) -> None:
        """Report those that are not connected."""
        for found in await self._expand():
            if found.peer not in self._connected():
                report(found)


def _is_dnsaddr(address: Address) -> bool:
    return bool(address.parts) and address.parts[0][0] == "dnsaddr"


def _take(by_peer: dict[PeerID, dict[str, None]], address: Address) -> None:
    if address.peer is None or address.scope is addresses.Scope.UNUSABLE:
        return
    if address.peer not in by_peer and len(by_peer) >= BOOTSTRAP_MAX_PEERS:
        return
    texts = by_peer.setdefault(address.peer, {})
    if len(texts) < DISCOVERY_MAX_ADDRESSES and address.text:
        texts[address.text] = None
