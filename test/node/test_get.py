"""Trees made by somebody who means harm: whatever their names and links say, nothing outside the folder changes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import trio

from ipfs_kit_py import NodeConfig, open_node
from ipfs_kit_py.core.cid import CID, DAG_PB
from ipfs_kit_py.core.errors import InvalidCID, InvalidName, NotFound
from ipfs_kit_py.dag import dag_pb, unixfs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from ipfs_kit_py.node.node import Node

    Scenario = Callable[[Node], Awaitable[None]]


def play(scenario: Scenario, *, offline: bool = True) -> None:
    async def main() -> None:
        with trio.fail_after(60):
            async with open_node(NodeConfig(offline=offline, listen=())) as node:
                await scenario(node)

    trio.run(main)


async def folder(node: Node, *links: tuple[str, CID]) -> CID:
    """A directory with these entries, whatever they are called, as many of one name as are given."""
    head = unixfs.encode(unixfs.FSNode(unixfs.DIRECTORY))
    node_ = dag_pb.PBNode([dag_pb.PBLink(cid, name, 1) for name, cid in links], head)
    return await node.block_put(dag_pb.encode(node_), codec="dag-pb")


async def link(node: Node, target: str) -> CID:
    head = unixfs.encode(unixfs.FSNode(unixfs.SYMLINK, target.encode()))
    return await node.block_put(dag_pb.encode(dag_pb.PBNode([], head)), codec="dag-pb")


@pytest.mark.parametrize("name", ["..", ".", "", "/abs", "../evil", "a/b", "/etc/evil", "a\0b"])
@pytest.mark.parametrize("deep", [False, True])
def test_no_name_leaves_the_folder(tmp_path: Path, name: str, deep: bool) -> None:
    async def scenario(node: Node) -> None:
        root = await folder(node, (name, await node.add_bytes(b"evil")))
        if deep:
            root = await folder(node, ("sub", root))
        with pytest.raises(InvalidName):
            await node.get(root, tmp_path / "here" / "out")

    play(scenario)
    files = [item for item in tmp_path.rglob("*") if not item.is_dir()]
    assert files == []


def test_nothing_is_written_through_a_link_of_the_tree(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()

    async def scenario(node: Node) -> None:
        door = await link(node, str(outside))
        inner = await folder(node, ("evil", await node.add_bytes(b"evil")))
        with pytest.raises(InvalidName, match="door"):
            await node.get(await folder(node, ("door", door), ("door", inner)), tmp_path / "out")
        # a file of the link's name takes its place
        await node.get(await folder(node, ("door", door), ("door", await node.add_bytes(b"fine"))), tmp_path / "two")

    play(scenario)
    assert not list(outside.iterdir())
    assert (tmp_path / "two" / "door").read_bytes() == b"fine"
    assert not (tmp_path / "two" / "door").is_symlink()


def test_links_out_of_the_folder_are_written_as_links_and_lead_nothing_there(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")

    async def scenario(node: Node) -> None:
        targets = ("/etc/passwd", "../secret", "loop", "")
        links = [(f"{number}", await link(node, target)) for number, target in enumerate(targets[:3])]
        await node.get(await folder(node, *links), tmp_path / "out")
        await node.get(await folder(node, ("1", await node.add_bytes(b"new"))), tmp_path / "out")

    play(scenario)
    assert os.readlink(tmp_path / "out" / "0") == "/etc/passwd"
    assert (tmp_path / "out" / "1").read_bytes() == b"new"
    assert (tmp_path / "secret").read_bytes() == b"secret"


def test_what_is_in_the_way_is_never_waited_for(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    os.mkfifo(tmp_path / "out" / "file")
    os.mkfifo(tmp_path / "out" / "sub")
    os.mkfifo(tmp_path / "alone")

    async def scenario(node: Node) -> None:
        file = await node.add_bytes(b"content")
        await node.get(await folder(node, ("file", file)), tmp_path / "out")
        await node.get(file, tmp_path / "alone")
        with pytest.raises(InvalidName, match="sub"):
            await node.get(await folder(node, ("sub", await folder(node, ("file", file)))), tmp_path / "out")

    play(scenario)
    assert (tmp_path / "out" / "file").read_bytes() == (tmp_path / "alone").read_bytes() == b"content"


@pytest.mark.parametrize("offline", [True, False])
def test_a_link_whose_hash_cannot_be_trusted_is_a_typed_error(tmp_path: Path, offline: bool) -> None:
    async def scenario(node: Node) -> None:
        weak = CID(1, DAG_PB, bytes((0xD5, 0x01, 16)) + bytes(16))  # md5
        with pytest.raises(InvalidCID):
            await node.get(await folder(node, ("file", weak)), tmp_path / "out")

    play(scenario, offline=offline)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        gone = CID.of(b"gone")
        with pytest.raises(NotFound) as caught:
            await node.get(await folder(node, ("file", gone)), tmp_path / "out")
        assert caught.value.cid == gone

    play(scenario)
