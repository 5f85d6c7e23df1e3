"""Exchange with Kubo 0.22.0, both ways: go-libp2p of 2023 with an RSA identity.

It adds by itself as CIDv0 only. What else it is to serve is built here and put into its store.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest
import trio

from ipfs_kit_py import NodeConfig, open_node
from ipfs_kit_py.core.cid import CID, PeerID
from test.interop.suite import PROFILES, ExchangeSuite, car_blocks, export, in_thread, run

if TYPE_CHECKING:
    from pathlib import Path

    from ipfs_kit_py import Node
    from test.peers.kubo022 import Kubo022


class Kubo022Peer:
    """Kubo 0.22.0 as the suite sees it."""

    def __init__(self, kubo: Kubo022, scratch: Path) -> None:
        self.kubo = kubo
        self.scratch = scratch
        self.peer_id, self.address = kubo.peer_id, kubo.address
        self.connect = kubo.connect
        self.fetch_file = kubo.get

    def add_file(self, path: Path, version: int) -> str:
        return self.kubo.add(path) if version == 0 else self._seed(path)

    def _seed(self, path: Path) -> str:
        """Build with another node of ours, and copy its blocks into the store."""

        async def build() -> str:
            async with open_node(NodeConfig(offline=True)) as node:
                root = (await node.add(path, profile=PROFILES[1])).cid
                for cid, data in car_blocks(await export(node, root)):
                    self.kubo.block_put(cid.multihash, data)
                return str(root)

        return trio.run(build)

    def add_folder(self, path: Path) -> str:
        return self.kubo.add(path)

    def names(self, cid: str) -> set[str]:
        self.kubo.pin(cid)  # in one session; its download would ask for one file after another
        self.kubo.get(cid, self.scratch)
        return {path.name for path in self.scratch.iterdir()}

    def fetch_dag(self, cid: str) -> set[bytes]:
        self.kubo.pin(cid)
        stems = (path.stem for path in (self.kubo.repo / "blocks").glob("*/*.data"))
        return {base64.b32decode(stem + "=" * (-len(stem) % 8)) for stem in stems}

    def block_put(self, cid: CID, data: bytes) -> None:
        self.kubo.block_put(cid.multihash, data)

    def block_get(self, cid: CID) -> bytes:
        self.kubo.pin(str(cid))
        found = self.kubo.block_get(cid.multihash)
        assert found is not None
        return found


class TestKubo022(ExchangeSuite):
    @pytest.fixture
    def peer(self, kubo022: Kubo022, tmp_path: Path) -> Kubo022Peer:  # type: ignore[override]
        return Kubo022Peer(kubo022, tmp_path / "downloaded")


def test_its_identity_is_an_rsa_key(kubo022: Kubo022, tmp_path: Path) -> None:
    async def body(node: Node) -> None:
        peer = await node.connect(kubo022.address)
        assert str(peer) == kubo022.peer_id
        assert PeerID.parse(kubo022.peer_id).raw[:2] == b"\x12\x20"  # the hash of a key too long to stand in the id
        while str(node.peer_id) not in await in_thread(kubo022.peers):  # it lists a connection a moment after we do
            await trio.sleep(0.05)

    run(tmp_path, body)
