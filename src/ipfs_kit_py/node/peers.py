"""The node's verbs on peers: who it is, whom it is connected to, and streams between them."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from ipfs_kit_py.core.cid import PeerID
from ipfs_kit_py.core.errors import InvalidAddress
from ipfs_kit_py.net.addresses import with_peer
from ipfs_kit_py.node.base import Services

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ipfs_kit_py.core.interfaces import Stream


class PeerVerbs(Services):
    """Addresses, connections, streams and protocols."""

    @property
    def public_key_text(self) -> str:
        """The public key's protobuf in base64."""
        return base64.b64encode(self._key.public_key.encode()).decode()

    def addresses(self) -> list[str]:
        """Where this node can be reached, each with ``/p2p/<id>``."""
        return [] if self._swarm is None else [with_peer(item, self.peer_id) for item in self._swarm.addresses()]

    def protocols(self) -> list[str]:
        """The protocols that this node answers."""
        return [] if self._swarm is None else self._swarm.protocols()

    async def connect(self, address: str) -> PeerID:
        """Connect to a multiaddr with ``/p2p/<id>``, or to a known peer's id; it is asked for what is missing here.

        ``InvalidAddress`` without a peer id, ``PeerUnreachable`` where no address answers.
        """
        where, mark, text = address.rpartition("/p2p/")
        peer = PeerID.parse(text.strip("/"))
        if mark and "/p2p/" in where:
            raise InvalidAddress(f"{address}: connecting through a relay is not supported in this version")
        await self.network.connect(peer, [where] if where else (), force=True)
        if self._exchange is not None:
            self._exchange.always_ask(peer)
        return peer

    async def disconnect(self, peer: PeerID) -> bool:
        """Close the connections to a peer; whether there was one."""
        if peer not in self.network.connected():
            return False
        await self.network.disconnect(peer)
        return True

    def peers(self) -> list[PeerID]:
        """The connected peers."""
        return [] if self._swarm is None else list(self._swarm.connected())

    def connections(self) -> list[tuple[PeerID, str, float | None]]:
        """Peer, address and round-trip time in seconds of each connection."""
        return [(item.peer_id, item.remote_address, item.rtt) for item in self.network.connections()]

    def known_addresses(self) -> dict[PeerID, list[str]]:
        """The known addresses of the connected peers."""
        return {peer: [known.text for known in self.network.addresses_of(peer)] for peer in self.peers()}

    def handle(self, protocol: str, handler: Callable[[Stream], Awaitable[None]]) -> None:
        """Serve a protocol with an async handler that gets each stream."""
        self.network.set_handler(protocol, handler)

    async def open_stream(self, peer: PeerID, protocols: Sequence[str]) -> Stream:
        """A stream that speaks the first of ``protocols`` that the peer supports."""
        return await self.network.open_stream(peer, protocols)

    async def ping(self, peer: PeerID) -> float:
        """The round-trip time to a peer in seconds."""
        return await self.network.ping(peer)
