"""py-libp2p 0.8.1 in its own environment: TCP, Noise and yamux on loopback; streams, identify and ping."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from test.peers.process import JsonPeer

CHILD = Path(__file__).absolute().with_name("pylibp2p_child.py")
ECHO = "/interop/echo/1.0.0"  # what the child serves: every byte comes back, then the end does


class PyLibp2p(JsonPeer):
    """One host. It serves ``ECHO`` and dials whom it is told to."""

    def __init__(self, python: Path, folder: Path) -> None:
        super().__init__([python, CHILD], folder)

    def connect(self, address: str) -> None:
        """Dial a multiaddr with its peer id."""
        self.call("connect", address)

    def disconnect(self, peer_id: str) -> None:
        """Close the connections to a peer."""
        self.call("disconnect", peer_id)

    def peers(self) -> list[str]:
        """The ids of the connected peers."""
        return list(self.call("peers"))

    def identify(self, peer_id: str) -> dict[str, Any]:
        """What a connected peer says of itself: agent, protocols, addresses, the address it sees us at, and whether
        its signed record holds and names it."""
        return dict(self.call("identify", peer_id))

    def ping(self, peer_id: str, count: int = 3) -> list[float]:
        """Round-trip times to a connected peer in seconds."""
        return [float(rtt) for rtt in self.call("ping", peer_id, count)]

    def exchange(self, peer_id: str, protocol: str, data: bytes) -> bytes:
        """Open a stream, write all of ``data``, half-close, and read to the end."""
        return base64.b64decode(self.call("exchange", peer_id, protocol, base64.b64encode(data).decode()))
