"""A trustless gateway of another make than Kubo's: Helia's verified-fetch 8.0 behind Node's HTTP server."""

from __future__ import annotations

import filecmp
import shutil
from pathlib import Path

from test.peers.process import JsonPeer

SOURCE = Path(__file__).absolute().parent / "verified-fetch" / "gateway.mjs"


class VerifiedFetch(JsonPeer):
    """One gateway at ``url``, over blocks in memory. ``installed`` is the folder whose ``node_modules`` hold
    the package: its script runs from there, since Node.js looks for packages beside the file that imports them."""

    def __init__(self, node: Path, installed: Path, folder: Path) -> None:
        script = installed / SOURCE.name
        if not script.exists() or not filecmp.cmp(SOURCE, script, shallow=False):
            shutil.copyfile(SOURCE, script)
        super().__init__([node, "--max-old-space-size=4096", script], folder)
        self.url = self.addresses[0]

    def load(self, archive: bytes) -> int:
        """Take the blocks of a CAR; how many there are."""
        path = self.folder / "blocks.car"
        path.write_bytes(archive)
        return int(self.call("load", str(path)))

    def requests(self) -> list[str]:
        """Method and target of each request that came."""
        return list(self.call("requests"))
