"""One suite of exchange over every real peer, both ways: each ``test_<peer>.py`` runs it with that peer's adapter.

Content is new in every test, and so is the peer: what arrives can only have come over the connection.
"""

from __future__ import annotations

import hashlib
import random
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Protocol

import pytest
import trio

from ipfs_kit_py import NodeConfig, open_node
from ipfs_kit_py.core import varint
from ipfs_kit_py.core.cid import CID, RAW, PeerID
from test.interop.dagcbor import Graph

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from typing_extensions import Buffer

    from ipfs_kit_py import Node

KIB, MIB = 1 << 10, 1 << 20
SECONDS = 120.0  # for a whole test: far more than it takes, far less than a hung run
PROFILES = ("unixfs-v0-2015", "unixfs-v1-2025")  # by the CID version that they make
CHUNKS = (256 * KIB, MIB)
SIZES = {
    "empty": (0, 0),
    "one byte": (1, 1),
    "chunk and a byte": (CHUNKS[0] + 1, CHUNKS[1] + 1),
    "64 MiB": (64 * MIB,) * 2,
}
ENTRIES = 10_000

versions = pytest.mark.parametrize("version", [0, 1], ids=["cidv0", "cidv1"])
sizes = pytest.mark.parametrize("size", SIZES, ids=lambda name: name.replace(" ", "-"))


class Peer(Protocol):
    """What the suite asks of a peer. All of it blocks."""

    @property
    def peer_id(self) -> str: ...
    @property
    def address(self) -> str: ...
    def connect(self, address: str) -> None: ...

    def add_file(self, path: Path, version: int) -> str:
        """Add by the profile of a CID version."""
        ...

    def fetch_file(self, cid: str, path: Path) -> None: ...

    def add_folder(self, path: Path) -> str: ...

    def names(self, cid: str) -> set[str]:
        """The entries of a directory, fetched."""
        ...

    def fetch_dag(self, cid: str) -> set[bytes]:
        """Fetch all blocks below a root; their multihashes."""
        ...

    def block_put(self, cid: CID, data: bytes) -> None: ...
    def block_get(self, cid: CID) -> bytes: ...


class File:
    """A file of random content."""

    def __init__(self, folder: Path, size: int) -> None:
        folder.mkdir(exist_ok=True)
        self.path, self.size = folder / "content", size
        data = random.Random().randbytes(size)
        self.path.write_bytes(data)
        self.sha256 = hashlib.sha256(data).hexdigest()


def sha256(path: Path) -> str:
    """Of a file's content, in hex."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


async def read(node: Node, path: str) -> tuple[str, int]:
    """The SHA-256 and size of a file, read through a node."""
    digest, size = hashlib.sha256(), 0
    async with aclosing(node.cat(path)) as pieces:
        async for piece in pieces:
            digest.update(piece)
            size += len(piece)
    return digest.hexdigest(), size


def car_blocks(car: bytes) -> Iterator[tuple[CID, bytes]]:
    """The blocks of a CARv1."""
    size, at = varint.decode(car)
    at += size
    while at < len(car):
        size, start = varint.decode(car, at)
        cid, data = CID.read(car, start)
        at = start + size
        yield cid, car[data:at]


async def export(node: Node, root: CID) -> bytes:
    """A CARv1 of a whole DAG of ours."""
    car = bytearray()

    async def write(part: Buffer) -> None:
        car.extend(part)

    await node.dag_export(root, write)
    return bytes(car)


async def in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """Ask a peer something while our node keeps running."""
    return await trio.to_thread.run_sync(function, *args)


def run(folder: Path, body: Callable[[Node], Awaitable[None]]) -> None:
    """Run a test against a node of ours with its store in ``folder``."""

    async def main() -> None:
        with trio.fail_after(SECONDS):
            async with open_node(NodeConfig(repo=folder / "ours")) as node:
                await body(node)

    trio.run(main)


def make_folder(folder: Path, entries: int = ENTRIES) -> dict[str, bytes]:
    """A directory of small files, enough of them for a HAMT; name and content of each."""
    salt = random.Random().randbytes(4).hex()
    content = {f"entry {number:05} ü.txt": f"{salt} {number}\n".encode() for number in range(entries)}
    folder.mkdir()
    for name, data in content.items():
        (folder / name).write_bytes(data)
    return content


class ExchangeSuite:
    """The tests. A subclass has a fixture ``peer``."""

    @pytest.fixture
    def peer(self) -> Iterator[Peer]:
        """The peer, fresh for each test."""
        raise pytest.UsageError("the class of a peer overrides this fixture")

    @versions
    @sizes
    def test_we_fetch_their_file(self, peer: Peer, tmp_path: Path, version: int, size: str) -> None:
        file = File(tmp_path / "in", SIZES[size][version])

        async def body(node: Node) -> None:
            cid = await in_thread(peer.add_file, file.path, version)
            assert CID.parse(cid).version == version
            await node.connect(peer.address)
            assert await read(node, cid) == (file.sha256, file.size)

        run(tmp_path, body)

    @versions
    @sizes
    def test_they_fetch_our_file(self, peer: Peer, tmp_path: Path, version: int, size: str) -> None:
        file = File(tmp_path / "in", SIZES[size][version])

        async def body(node: Node) -> None:
            cid = (await node.add(file.path, profile=PROFILES[version])).cid
            assert cid.version == version
            await in_thread(peer.connect, node.addresses()[0])
            await in_thread(peer.fetch_file, str(cid), tmp_path / "out")

        run(tmp_path, body)
        assert (sha256(tmp_path / "out"), (tmp_path / "out").stat().st_size) == (file.sha256, file.size)

    def test_one_connection_carries_both_ways_whoever_dialled(self, peer: Peer, tmp_path: Path) -> None:
        theirs, ours = File(tmp_path / "theirs", MIB), File(tmp_path / "ours.in", MIB)

        async def body(node: Node) -> None:
            await in_thread(peer.connect, node.addresses()[0])
            cid = await in_thread(peer.add_file, theirs.path, 1)
            assert await read(node, cid) == (theirs.sha256, theirs.size)
            added = await node.add(ours.path)
            await in_thread(peer.fetch_file, str(added.cid), tmp_path / "out")

        run(tmp_path, body)
        assert sha256(tmp_path / "out") == ours.sha256

    def test_we_fetch_their_folder_of_10000(self, peer: Peer, tmp_path: Path) -> None:
        content = make_folder(tmp_path / "in")

        async def body(node: Node) -> None:
            cid = await in_thread(peer.add_folder, tmp_path / "in")
            await node.connect(peer.address)
            async with aclosing(node.ls(cid)) as entries:
                assert {entry.name async for entry in entries} == set(content)
            await node.get(cid, tmp_path / "out")

        run(tmp_path, body)
        assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == content

    def test_they_fetch_our_folder_of_10000(self, peer: Peer, tmp_path: Path) -> None:
        content = make_folder(tmp_path / "in")

        async def body(node: Node) -> None:
            cid = (await node.add(tmp_path / "in")).cid
            await in_thread(peer.connect, node.addresses()[0])
            assert await in_thread(peer.names, str(cid)) == set(content)
            held = await in_thread(peer.fetch_dag, str(cid))
            assert {CID.of(data, RAW).multihash for data in content.values()} <= held

        run(tmp_path, body)

    def test_we_fetch_their_graph(self, peer: Peer, tmp_path: Path) -> None:
        graph = Graph(str(tmp_path))

        async def body(node: Node) -> None:
            for cid, data in graph.blocks.items():
                await in_thread(peer.block_put, cid, data)
            await node.connect(peer.address)
            await node.pin_add(str(graph.root))
            for cid, data in graph.blocks.items():
                assert await node.block_get(cid) == data
            for cid, value in graph.values.items():
                assert await node.dag_get(str(cid)) == value

        run(tmp_path, body)

    def test_they_fetch_our_graph(self, peer: Peer, tmp_path: Path) -> None:
        graph = Graph(str(tmp_path))

        async def body(node: Node) -> None:
            for cid, data in graph.blocks.items():
                if cid in graph.values:
                    assert await node.dag_put(graph.values[cid]) == cid
                else:
                    assert await node.block_put(data) == cid
            await in_thread(peer.connect, node.addresses()[0])
            assert {cid.multihash for cid in graph.blocks} <= await in_thread(peer.fetch_dag, str(graph.root))

        run(tmp_path, body)

    def test_we_fetch_their_blocks_of_2_mib(self, peer: Peer, tmp_path: Path) -> None:
        blocks = {CID.of(data, RAW): data for data in (random.Random().randbytes(2 * MIB) for _ in range(4))}

        async def body(node: Node) -> None:
            for cid, data in blocks.items():
                await in_thread(peer.block_put, cid, data)
            await node.connect(peer.address)
            for cid, data in blocks.items():
                assert await node.block_get(cid) == data

        run(tmp_path, body)

    def test_they_fetch_our_blocks_of_2_mib(self, peer: Peer, tmp_path: Path) -> None:
        blocks = {CID.of(data, RAW): data for data in (random.Random().randbytes(2 * MIB) for _ in range(4))}

        async def body(node: Node) -> None:
            for cid, data in blocks.items():
                assert await node.block_put(data) == cid
            await in_thread(peer.connect, node.addresses()[0])
            for cid, data in blocks.items():
                assert await in_thread(peer.block_get, cid) == data

        run(tmp_path, body)

    def test_a_peer_that_hung_up_is_found_again(self, peer: Peer, tmp_path: Path) -> None:
        async def body(node: Node) -> None:
            for number in range(5):
                file = File(tmp_path / str(number), 300 * KIB)
                await node.connect(peer.address)
                cid = await in_thread(peer.add_file, file.path, 1)
                assert await read(node, cid) == (file.sha256, file.size)
                await node.disconnect(PeerID.parse(peer.peer_id))

        run(tmp_path, body)
