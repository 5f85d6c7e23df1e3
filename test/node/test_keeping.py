"""What is kept and what may go: pins over DAGs of every kind, also odd ones, and archives with odd blocks."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
import trio

from ipfs_kit_py import NodeConfig, open_node
from ipfs_kit_py.core.cid import CID, DAG_CBOR, DAG_PB, RAW, Block
from ipfs_kit_py.core.errors import InvalidBlock, NotFound, NotSupported
from ipfs_kit_py.dag import car, codecs, dag_pb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from ipfs_kit_py.node import Node

LEAF = Block(CID.of(b"leaf"), b"leaf")
GIT_RAW = 0x78


def block(found: Any, codec: int = DAG_CBOR) -> Block:
    data = codecs.encode(found, codec)
    return Block(CID.of(data, codec), data)


def archive(root: CID, *blocks: Block) -> bytes:
    return car.header([root]) + b"".join(bytes(part) for item in blocks for part in car.section(*item))


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    yield data


def with_node(test: Callable[[Node], Awaitable[None]]) -> None:
    async def main() -> None:
        with trio.fail_after(30):
            async with open_node(NodeConfig(offline=True)) as node:
                await test(node)

    trio.run(main)


async def collected(node: Node) -> set[bytes]:
    async with aclosing(node.repo_gc()) as removed:
        return {cid.multihash async for cid in removed}


def test_a_block_under_two_codecs_keeps_what_both_link_to() -> None:
    inner = dag_pb.encode(dag_pb.PBNode([dag_pb.PBLink(LEAF.cid, "leaf", 4)]))
    node_cid, raw_cid = CID.of(inner, DAG_PB), CID.of(inner, RAW)
    for order in ([raw_cid, node_cid], [node_cid, raw_cid]):
        root = block(order)

        async def test(node: Node, root: Block = root) -> None:
            found = await node.dag_import(pieces(archive(root.cid, root, Block(node_cid, inner), LEAF)))
            assert found.roots == [(root.cid, "")]
            assert await collected(node) == set()
            assert await node.block_get(LEAF.cid) == b"leaf"
            assert len(await node.pin_ls(kind="indirect")) == 2

        with_node(test)


def test_a_pinned_block_that_cannot_be_read_does_not_stop_the_collection() -> None:
    async def test(node: Node) -> None:
        odd = [CID.of(b"\xff", DAG_CBOR), CID.of(b"\xfe", DAG_PB), CID.of(b"git", GIT_RAW)]
        for cid, data in zip(odd, (b"\xff", b"\xfe", b"git"), strict=True):
            await node.store_bytes(cid, data)
        await node.block_put(b"nobody pins this")
        assert await collected(node) == {CID.of(b"nobody pins this").multihash}
        assert {row[0] for row in await node.pin_ls()} == set(odd)
        await node.block_put(b"nor this")
        await node.block_rm(CID.of(b"nor this"))
        for cid in odd:
            with pytest.raises((InvalidBlock, NotSupported), match=str(cid)):
                await node.dag_get(cid)
            with pytest.raises((InvalidBlock, NotSupported), match=str(cid)):
                await node.fetch(cid)

    with_node(test)


@pytest.mark.parametrize(
    ("odd", "why"),
    [
        (Block(CID.of(b"\xff", DAG_CBOR), b"\xff"), "dag-cbor"),
        (Block(CID.of(b"git", GIT_RAW), b"git"), "codec 0x78"),
        (None, "is not in the store"),
    ],
)
def test_a_root_whose_dag_is_not_whole_is_imported_named_and_not_pinned(odd: Block | None, why: str) -> None:
    missing = odd.cid if odd else CID.of(b"missing", DAG_CBOR)
    root = block([missing])

    async def test(node: Node) -> None:
        [(cid, problem)] = (await node.dag_import(pieces(archive(root.cid, root, *([odd] if odd else []))))).roots
        assert cid == root.cid
        assert str(missing) in problem
        assert why in problem
        assert await node.pin_ls() == []

    with_node(test)


def test_old_dag_cbor_is_read_walked_and_kept() -> None:
    old = b"\xa2\x61b\xd8\x2a\x58\x25\x00" + LEAF.cid.raw + b"\x61a\xf9\x3c\x00"  # keys unsorted, a short float
    cid = CID.of(old, DAG_CBOR)

    async def test(node: Node) -> None:
        assert (await node.dag_import(pieces(archive(cid, Block(cid, old), LEAF)))).roots == [(cid, "")]
        assert await node.dag_get(cid) == {"a": 1.0, "b": LEAF.cid}
        assert await node.dag_get(f"{cid}/a") == 1.0
        assert await node.read_bytes(f"{cid}/b") == b"leaf"
        assert (await node.fetch(cid)).blocks == 2
        await collected(node)
        with pytest.raises(NotFound):
            await node.resolve(f"{cid}/c")
        assert await node.block_get(LEAF.cid) == b"leaf"

    with_node(test)
