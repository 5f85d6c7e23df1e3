"""Exchange with Helia 7.1 (js-libp2p, js bitswap), both ways."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ipfs_kit_py.core.cid import CID
from test.interop.suite import PROFILES, ExchangeSuite, in_thread, run

if TYPE_CHECKING:
    from pathlib import Path

    from ipfs_kit_py import Node
    from test.peers.helia import Helia


class HeliaPeer:
    """Helia as the suite sees it."""

    def __init__(self, helia: Helia, scratch: Path) -> None:
        self.helia = helia
        self.scratch = scratch
        self.peer_id, self.address = helia.peer_id, helia.address
        self.connect = helia.connect
        self.fetch_file = helia.get

    def add_file(self, path: Path, version: int) -> str:
        options = {"cidVersion": version, "rawLeaves": bool(version)}
        return self.helia.add(path, **options)

    def add_folder(self, path: Path) -> str:
        return self.helia.add(path, profile=PROFILES[1])

    def names(self, cid: str) -> set[str]:
        return set(self.helia.ls(cid))

    def fetch_dag(self, cid: str) -> set[bytes]:
        return {CID.parse(text).multihash for text in self.helia.walk(cid)}

    def block_put(self, cid: CID, data: bytes) -> None:
        self.scratch.write_bytes(data)
        self.helia.block_put(str(cid), self.scratch)

    def block_get(self, cid: CID) -> bytes:
        self.helia.block_get(str(cid), self.scratch)
        return self.scratch.read_bytes()


class TestHelia(ExchangeSuite):
    @pytest.fixture
    def peer(self, helia: Helia, tmp_path: Path) -> HeliaPeer:  # type: ignore[override]
        return HeliaPeer(helia, tmp_path / "block")


def test_helia_dials_us_securely_and_sees_who_we_are(helia: Helia, tmp_path: Path) -> None:
    async def body(node: Node) -> None:
        address = node.addresses()[0]
        found = await in_thread(helia.connect, address)
        assert found == {"peer": str(node.peer_id), "encryption": "/noise", "muxer": "/yamux/1.0.0"}
        seen = await in_thread(helia.identify, address)
        assert seen["agent"].startswith("ipfs-kit-py/")
        assert {"/ipfs/bitswap/1.2.0", "/ipfs/id/1.0.0", "/ipfs/ping/1.0.0"} <= set(seen["protocols"])
        assert seen["addresses"] == [text.rpartition("/p2p/")[0] for text in node.addresses()]

    run(tmp_path, body)


def test_helia_pings_us(helia: Helia, tmp_path: Path) -> None:
    async def body(node: Node) -> None:
        assert await in_thread(helia.ping, node.addresses()[0]) >= 0

    run(tmp_path, body)
