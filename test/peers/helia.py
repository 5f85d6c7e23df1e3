"""Helia 7.1 on Node.js: TCP, Noise, yamux and bitswap on loopback, blocks in memory."""

from __future__ import annotations

import filecmp
import shutil
from pathlib import Path
from typing import Any

from test.peers.process import CALL_SECONDS, JsonPeer

SOURCE = Path(__file__).absolute().parent / "helia" / "peer.mjs"


class Helia(JsonPeer):
    """One node. ``installed`` is the folder whose ``node_modules`` hold Helia: its script runs from there, since
    Node.js looks for packages beside the file that imports them. ``dht``: it serves the DHT of its own networks."""

    def __init__(self, node: Path, installed: Path, folder: Path, *, dht: bool = False) -> None:
        script = installed / SOURCE.name
        if not script.exists() or not filecmp.cmp(SOURCE, script, shallow=False):
            shutil.copyfile(SOURCE, script)
        super().__init__([node, "--max-old-space-size=4096", script, *(["dht"] if dht else [])], folder)

    def connect(self, address: str) -> dict[str, str]:
        """Dial a multiaddr; who answered, and the security and muxer that were agreed on."""
        return dict(self.call("connect", address))

    def disconnect(self, peer_id: str) -> None:
        """Close the connections to a peer."""
        self.call("disconnect", peer_id)

    def identify(self, address: str) -> dict[str, Any]:
        """What the peer at an address says of itself: agent, protocols, addresses."""
        return dict(self.call("identify", address))

    def ping(self, address: str) -> float:
        """Round-trip time to the peer at an address in seconds."""
        return float(self.call("ping", address))

    def add(self, path: Path, **options: Any) -> str:
        """Add a file or a folder with all below it; options are those of its importer (``cidVersion``, …)."""
        return str(self.call("add", str(path), options))

    def get(self, cid: str, path: Path, timeout: float = CALL_SECONDS) -> None:
        """Fetch a file to a path."""
        self.call("get", cid, str(path), timeout=timeout)

    def ls(self, cid: str) -> dict[str, str]:
        """Names and CIDs of a directory's entries."""
        return dict(self.call("ls", cid))

    def walk(self, cid: str) -> list[str]:
        """Fetch a whole DAG; the CIDs of its blocks, each once."""
        return list(self.call("walk", cid))

    def block_put(self, cid: str, path: Path) -> None:
        """Store a file's bytes as one block."""
        self.call("blockPut", cid, str(path))

    def block_get(self, cid: str, path: Path) -> None:
        """Fetch one block into a file."""
        self.call("blockGet", cid, str(path))

    # --- with the DHT -------------------------------------------------------------------------------------------------

    def dht_size(self) -> int:
        """The peers in its routing table."""
        return int(self.call("dhtSize"))

    def provide(self, cid: str) -> None:
        """Tell the DHT that it has something."""
        self.call("provide", cid)

    def find_providers(self, cid: str) -> dict[str, list[str]]:
        """Who provides something, with addresses."""
        return dict(self.call("findProviders", cid))

    def find_peer(self, peer_id: str) -> list[str]:
        """Where a peer is."""
        return list(self.call("findPeer", peer_id))

    def publish(self, path: str) -> str:
        """Publish a path under a new key; the peer id that names it."""
        return str(self.call("publish", path))

    def resolve(self, name: str) -> str:
        """What a name, a peer id, leads to."""
        return str(self.call("resolve", name))
