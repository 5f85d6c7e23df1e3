"""Exchange with Kubo 0.43.1, both ways, and what only its RPC can show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from ipfs_kit_py.core import multihash
from ipfs_kit_py.core.cid import CID, CODEC_NAMES, RAW
from test.interop.dagcbor import Graph
from test.interop.suite import MIB, PROFILES, ExchangeSuite, File, export, in_thread, read, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from ipfs_kit_py import Node
    from test.peers.kubo import Kubo

# Multihash names that `ipfs block put` and this package both know.
HASHES = ("sha2-256", "sha2-512", "dbl-sha2-256", "sha3-256", "sha3-512", "shake-256", "keccak-256", "blake2b-256")
MORE_HASHES = ("blake2b-512", "blake2s-256", "blake3", "sha1")


class KuboPeer:
    """Kubo as the suite sees it."""

    def __init__(self, kubo: Kubo) -> None:
        self.kubo = kubo
        self.peer_id, self.address = kubo.peer_id, kubo.address
        self.connect = kubo.connect

    def add_file(self, path: Path, version: int) -> str:
        chunker = "size-262144" if version == 0 else "size-1048576"
        return self.kubo.add(path, cid_version=version, raw_leaves=bool(version), chunker=chunker)

    def fetch_file(self, cid: str, path: Path) -> None:
        path.write_bytes(self.kubo.rpc("cat", cid))

    def add_folder(self, path: Path) -> str:
        return self.kubo.add(path)

    def names(self, cid: str) -> set[str]:
        return set(self.kubo.ls(cid))

    def fetch_dag(self, cid: str) -> set[bytes]:
        self.kubo.pin(cid)
        return {CID.parse(text).multihash for text in (*self.kubo.refs(cid), cid)}

    def block_put(self, cid: CID, data: bytes) -> None:
        assert self.kubo.block_put(data, CODEC_NAMES[cid.codec]) == str(cid)

    def block_get(self, cid: CID) -> bytes:
        return self.kubo.block_get(str(cid))


class TestKubo(ExchangeSuite):
    @pytest.fixture
    def peer(self, kubo: Kubo) -> KuboPeer:  # type: ignore[override]
        return KuboPeer(kubo)


def test_a_file_has_the_same_cid_here_and_there(kubo: Kubo, tmp_path: Path) -> None:
    file = File(tmp_path / "in", 3 * MIB + 7)
    peer = KuboPeer(kubo)

    async def body(node: Node) -> None:
        for version, profile in enumerate(PROFILES):
            ours = (await node.add(file.path, profile=profile, only_hash=True)).cid
            assert str(ours) == await in_thread(peer.add_file, file.path, version)

    run(tmp_path, body)


@pytest.mark.parametrize("name", HASHES + MORE_HASHES)
def test_blocks_of_every_hash_function_go_both_ways(kubo: Kubo, tmp_path: Path, name: str) -> None:
    theirs, ours = b"theirs " + name.encode(), b"ours " + name.encode()

    async def body(node: Node) -> None:
        put = CID.parse(await in_thread(kubo.block_put, theirs, "raw", name))
        assert multihash.name(put.hash_code) == name
        cid = await node.block_put(ours, mhtype=name)
        await node.connect(kubo.address)
        assert await node.block_get(put) == theirs
        assert await in_thread(kubo.block_get, str(cid)) == ours

    run(tmp_path, body)


def test_a_car_of_ours_is_read_there_and_theirs_here(kubo: Kubo, tmp_path: Path) -> None:
    ours, theirs = Graph(f"ours {tmp_path}"), Graph(f"theirs {tmp_path}")

    async def body(node: Node) -> None:
        for graph, put in ((ours, node.dag_put), (theirs, None)):
            for cid, data in graph.blocks.items():
                if put is None:
                    await in_thread(kubo.block_put, data, CODEC_NAMES[cid.codec])
                elif cid in graph.values:
                    await put(graph.values[cid])
                else:
                    await node.block_put(data)
        assert await in_thread(kubo.dag_import, await export(node, ours.root)) == [str(ours.root)]
        assert len(await in_thread(kubo.refs, str(ours.root))) == len(ours.blocks) - 1
        car = await in_thread(kubo.dag_export, str(theirs.root))

        async def pieces() -> AsyncIterator[bytes]:
            for at in range(0, len(car), 1000):
                yield car[at : at + 1000]

        await node.dag_import(pieces())
        for cid, data in theirs.blocks.items():
            assert await node.block_get(cid) == data

    run(tmp_path, body)


def test_kubo_sees_who_we_are(kubo: Kubo, tmp_path: Path) -> None:
    async def body(node: Node) -> None:
        await node.connect(kubo.address)
        data = await in_thread(kubo.add_bytes, b"to know that identify had its time")
        await read(node, data)
        seen = (await in_thread(kubo.peers))[str(node.peer_id)]["Identify"]
        assert seen["AgentVersion"].startswith("ipfs-kit-py/")
        assert {"/ipfs/bitswap/1.2.0", "/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0", "/ipfs/ping/1.0.0"} <= set(
            seen["Protocols"]
        )
        assert set(seen["Addresses"]) == set(node.addresses())

    run(tmp_path, body)


def test_kubo_pings_us(kubo: Kubo, tmp_path: Path) -> None:
    async def body(node: Node) -> None:
        await in_thread(kubo.connect, node.addresses()[0])
        rows = await in_thread(lambda: kubo.lines("ping", str(node.peer_id), count=3))
        assert [row["Success"] for row in rows if row["Time"]] == [True] * 3

    run(tmp_path, body)


def test_a_want_is_answered_when_the_block_comes_to_be(kubo: Kubo, tmp_path: Path) -> None:
    data = str(tmp_path).encode() * 100
    cid = CID.of(data, RAW)

    async def body(node: Node) -> None:
        await node.connect(kubo.address)
        async with trio.open_nursery() as nursery:
            got: list[bytes] = []

            async def want() -> None:
                got.append(await node.block_get(cid))

            nursery.start_soon(want)
            while str(cid) not in await in_thread(kubo.wants_of, str(node.peer_id)):
                await trio.lowlevel.checkpoint()
            await in_thread(kubo.block_put, data)
        assert got == [data]

    run(tmp_path, body)
