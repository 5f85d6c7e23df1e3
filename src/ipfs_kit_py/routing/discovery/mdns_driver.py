"""mDNS on this host's links: one socket for each IPv4 network, each with an engine of its own."""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
from typing import TYPE_CHECKING

import trio

from ipfs_kit_py.core.config import (
    DISCOVERY_RETRY_SECONDS,
    MDNS_COLLECT_SECONDS,
    MDNS_MAX_LINKS,
    MDNS_PACKET_BYTES,
    MDNS_WATCH_SECONDS,
)
from ipfs_kit_py.routing.discovery.mdns import Mdns, MdnsStatistics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.net.addresses import IPInterface
    from ipfs_kit_py.routing.discovery.found import Found
    from ipfs_kit_py.routing.discovery.mdns import Chance

logger = logging.getLogger(__name__)

GROUP, PORT = "224.0.0.251", 5353  # RFC 6762 section 3
_TTL = 255  # RFC 6762 section 11
_IP_MULTICAST_ALL = 49  # linux/in.h: whether a socket hears groups that others have joined on other links
_FAREWELL_SECONDS = 0.5


def open_socket(interface: IPInterface) -> trio.socket.SocketType:
    """A socket in the multicast group on one link. Raises ``OSError``.

    It is bound to the group's address: what is sent to the host alone, from wherever, does not come in.
    """
    raw = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        own = interface.ip.packed
        raw.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, _TTL)
        raw.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, own)
        raw.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP) + own)
        if sys.platform == "linux":
            raw.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
    except OSError:
        raw.close()
        raise
    return raw


class _Link:
    """One link while it lasts: reading, and sending what the engine plans."""

    def __init__(self, engine: Mdns, raw: trio.socket.SocketType) -> None:
        self.engine = engine
        self.scope = trio.CancelScope()
        self._socket = raw
        self._wake = trio.Event()

    def wake(self) -> None:
        self._wake.set()

    async def run(self, report: Callable[[Found], None]) -> None:
        with self._socket, self.scope:
            try:
                await self._socket.bind((GROUP, PORT))
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._send)
                    await self._read(report)
            except* OSError as errors:
                logger.info("mDNS on %s ended: %s", self.engine.interface, errors.exceptions[0])
            finally:
                await self._farewell()

    async def _read(self, report: Callable[[Found], None]) -> None:
        while True:
            data, (host, *_) = await self._socket.recvfrom(MDNS_PACKET_BYTES + 1)
            self.engine.receive(data, host, trio.current_time())
            for found in self.engine.take_found():
                report(found)
            self.wake()

    async def _send(self) -> None:
        while True:
            for datagram in self.engine.take_datagrams(trio.current_time()):
                await self._socket.sendto(datagram, (GROUP, PORT))
            self._wake = trio.Event()
            deadline = self.engine.deadline()
            with trio.move_on_at(float("inf") if deadline is None else max(deadline, trio.current_time())):
                await self._wake.wait()

    async def _farewell(self) -> None:
        with contextlib.suppress(OSError), trio.move_on_after(_FAREWELL_SECONDS, shield=True):
            for datagram in self.engine.farewell():
                await self._socket.sendto(datagram, (GROUP, PORT))


class MdnsLayer:
    """Discovery on the links of this host. ``interfaces`` are its addresses with their networks, ``listening`` where
    this node is reached; both are looked up again every ``MDNS_WATCH_SECONDS``.

    Source: libp2p/specs discovery/mdns.md; IPv4 alone.
    """

    name = "mdns"
    local = True
    retry = DISCOVERY_RETRY_SECONDS

    def __init__(
        self,
        me: PeerID,
        interfaces: Callable[[], list[IPInterface]],
        listening: Callable[[], Iterable[str]],
        rng: Chance,
    ) -> None:
        self._me = me
        self._interfaces = interfaces
        self._listening = listening
        self._rng = rng
        self._links: dict[IPInterface, _Link] = {}

    async def serve(self, report: Callable[[Found], None]) -> None:
        """Answer and listen until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                self._follow(nursery, report)
                await trio.sleep(MDNS_WATCH_SECONDS)

    async def round(self, report: Callable[[Found], None]) -> None:
        """Ask on all links and wait for the answers, which ``serve`` reports."""
        for link in self._links.values():
            link.engine.ask()
            link.wake()
        await trio.sleep(MDNS_COLLECT_SECONDS)

    def seek(self, rendezvous: str) -> None:
        """Links have no meeting points: all peers on them are told of."""

    def statistics(self) -> dict[str, MdnsStatistics]:
        """By the network of each link."""
        return {str(face): link.engine.statistics() for face, link in self._links.items()}

    def _follow(self, nursery: trio.Nursery, report: Callable[[Found], None]) -> None:
        """Serve the links that there are now."""
        usable = [face for face in self._interfaces() if face.version == 4 and not face.ip.is_loopback]
        here = dict.fromkeys(usable[:MDNS_MAX_LINKS])
        for gone in [face for face in self._links if face not in here]:
            self._links.pop(gone).scope.cancel()
        now, listening = trio.current_time(), list(self._listening())
        for face in here:
            link = self._links.get(face)
            if link is None:
                try:
                    raw = open_socket(face)
                except OSError as error:
                    logger.info("no mDNS on %s: %s", face, error)
                    continue
                link = self._links[face] = _Link(Mdns(self._me, face, self._rng, now), raw)
                nursery.start_soon(self._live, face, link, report)
                link.engine.ask()
            link.engine.set_addresses(listening, now)
            link.wake()

    async def _live(self, face: IPInterface, link: _Link, report: Callable[[Found], None]) -> None:
        try:
            await link.run(report)
        finally:
            if self._links.get(face) is link:
                del self._links[face]
