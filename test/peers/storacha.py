"""The upload service of npm's ``@storacha/upload-api`` 2.8.4 on loopback, in memory, with three storage nodes."""

from __future__ import annotations

import filecmp
import shutil
from pathlib import Path
from typing import Any

from test.peers.process import JsonPeer

SOURCE = Path(__file__).absolute().parent / "storacha" / "server.mjs"


class Storacha(JsonPeer):
    """One service. ``installed`` is the folder whose ``node_modules`` hold the package: its script runs from there,
    since Node.js looks for packages beside the file that imports them."""

    def __init__(self, node: Path, installed: Path, folder: Path) -> None:
        script = installed / SOURCE.name
        if not script.exists() or not filecmp.cmp(SOURCE, script, shallow=False):
            shutil.copyfile(SOURCE, script)
        super().__init__([node, "--max-old-space-size=4096", script], folder)
        self.url = self.addresses[0]
        self.did = self.peer_id
        self.key = str(self.hello["key"])  # the did:key that belongs to its did:web

    def provision(self, space: str) -> None:
        """Give a space a plan, as a login by e-mail and a payment would."""
        self.call("provision", space)

    def upload(self, path: Path, audience: str, shard_size: int = 1 << 27) -> dict[str, str]:
        """Upload a file with the service's own client into a new space; its ``root``, the ``space``, and the
        ``archive`` (base64) of a delegation of the space to ``audience``."""
        return dict(self.call("upload", str(path), audience, shard_size))

    def index(self, root: str) -> dict[str, Any]:
        """The index that claims name for a root, as the service's own library reads it."""
        return dict(self.call("index", root))

    def blob(self, digest: str, path: Path) -> None:
        """The bytes of a blob, by the text of its multihash, as the service itself finds them."""
        self.call("blob", digest, str(path))

    def holds(self, space: str) -> dict[str, int]:
        """How many ``blobs`` and ``uploads`` a space has."""
        return dict(self.call("holds", space))

    def counts(self) -> dict[str, int]:
        """Requests to the storage nodes so far: ``put``, ``putBytes``, ``get``."""
        return dict(self.call("counts"))

    def late_receipts(self, count: int) -> None:
        """Deny the next ``count`` requests for receipts."""
        self.call("lateReceipts", count)
