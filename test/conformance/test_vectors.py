"""Formats on vectors that no one here wrote: codec-fixtures, go-car, the IPLD specifications, gateway-conformance."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from ipfs_kit_py import NodeConfig, open_node
from ipfs_kit_py.core.cid import CBOR, CID, DAG_CBOR, DAG_JSON, DAG_PB, JSON
from ipfs_kit_py.core.errors import InvalidBlock, InvalidName, NotFound
from ipfs_kit_py.dag import codecs, dag_cbor, dag_json, dag_pb
from ipfs_kit_py.dag.car import Archive, header, read_car, section
from ipfs_kit_py.dag.walk import DagWalk
from test.engine.plans import Store, tree

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

VECTORS = Path(__file__).parents[3] / "shared" / "vectors"
pytestmark = pytest.mark.skipif(not VECTORS.is_dir(), reason="the shared test vectors are not beside the checkout")

# archives that hold a part of their DAG on purpose, and how many blocks of it they lack
PARTIAL = {
    "gocar--simple-unixfs-missing-blocks": 3,
    "trustless_gateway_car--file-3k-and-3-blocks-missing-block": 1,
}
GOOD = (
    "carv1-basic",
    "carv2-basic",
    "gocar--sample-unixfs-v2",
    "gocar--sample-wrapped-v2",
    "gocar--simple-unixfs",
    "gocar--simple-unixfs-missing-blocks",
)
CORRUPT = {
    "gocar--badheaderlength": "the limit",
    "gocar--badsectionlength": "the limit",
    "gocar--sample-corrupt-pragma": "cut short",
    "gocar--sample-rootless-v42": "version 42",
    "gocar--sample-v1-tailing-corrupt-section": "cut short",
    "gocar--sample-v1-with-zero-len-section2": "no bytes",
}
UNIXFS = sorted(path.stem for path in (VECTORS / "unixfs").glob("*.car"))


def car_bytes(folder: str, name: str) -> bytes:
    return (VECTORS / folder / f"{name}.car").read_bytes()


def archive(name: str) -> Archive:
    return read_car(car_bytes("unixfs", name))


# --- codecs -----------------------------------------------------------------------------------------------------------


def test_the_links_of_every_fixture_are_those_of_its_value() -> None:
    seen: Counter[int] = Counter()
    for cid, data in read_car(car_bytes("codecs", "fixtures")).blocks:
        if cid.codec in (DAG_CBOR, DAG_JSON, DAG_PB):
            seen[cid.codec] += 1
            assert codecs.links(cid, data) == dag_cbor.links_of(codecs.read(cid, data))
    assert min(seen.values()) > 10


@pytest.mark.parametrize("path", sorted(VECTORS.glob("codecs-negative/*/decode/*.json")), ids=str)
def test_what_must_not_decode_is_refused_in_relaxed_form_too(path: Path) -> None:
    codec = {"dag-cbor": DAG_CBOR, "dag-json": DAG_JSON, "dag-pb": DAG_PB}[path.parent.parent.name]
    for case in json.loads(path.read_text()):
        data = bytes.fromhex(case["hex"])
        with pytest.raises(InvalidBlock, match=str(CID.of(data, codec))):
            codecs.read(CID.of(data, codec), data)


# --- CAR --------------------------------------------------------------------------------------------------------------


def test_every_archive_is_either_good_or_corrupt() -> None:
    assert {path.stem for path in (VECTORS / "car").glob("*.car")} == {*GOOD, *CORRUPT}


@pytest.mark.parametrize("name", GOOD)
def test_archives_hold_their_dags_whole_or_lack_what_is_known(name: str) -> None:
    found = read_car(car_bytes("car", name))
    store = Store(found.blocks)
    missing = set()
    for root in found.header.roots:
        plan = DagWalk(root)
        while not plan.done:
            for cid, _ in plan.wanted(1 << 20):
                if cid.multihash not in store:
                    missing.add(cid)
                plan.feed(cid, store.get(cid) if cid.multihash in store else dag_pb.encode(dag_pb.PBNode([])))
            while plan.pop() is not None:
                pass
    assert len(missing) == PARTIAL.get(name, 0)


@pytest.mark.parametrize("name", ["carv1-basic", "carv2-basic"])
def test_archives_hold_what_their_authors_say(name: str) -> None:
    expected = dag_json.decode((VECTORS / "car" / f"{name}.json").read_bytes())
    found = read_car(car_bytes("car", name))
    assert found.header.roots == expected["header"]["roots"]
    assert [block.cid for block in found.blocks] == [row["cid"] for row in expected["blocks"]]
    assert [len(bytes(block.data)) for block in found.blocks] == [row["blockLength"] for row in expected["blocks"]]
    assert [codecs.read(*block) for block in found.blocks] == [row["content"] for row in expected["blocks"]]


def test_what_is_written_is_the_archive_that_was_read() -> None:
    raw = car_bytes("car", "carv1-basic")
    found = read_car(raw)
    parts = [part for block in found.blocks for part in section(*block)]
    assert header(found.header.roots) + b"".join(map(bytes, parts)) == raw


@pytest.mark.parametrize(("name", "why"), CORRUPT.items())
def test_corrupt_archives_are_refused_and_nothing_of_them_stays(name: str, why: str) -> None:
    raw = car_bytes("car", name)
    with pytest.raises(InvalidBlock, match=f"CAR: .*{why}"):
        read_car(raw)

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(raw), 64):
            yield raw[at : at + 64]

    async def main() -> None:
        async with open_node(NodeConfig(offline=True)) as node:
            with pytest.raises(InvalidBlock, match=why):
                await node.dag_import(pieces())
            assert (await node.repo_stat()).blocks == 0
            assert await node.pin_ls() == []

    trio.run(main)


# --- UnixFS and paths -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", UNIXFS)
def test_every_root_is_walked_and_read_whole(name: str) -> None:
    found = archive(name)
    store = Store(found.blocks)
    for root in found.header.roots:
        if name in PARTIAL:
            with pytest.raises(NotFound, match="is missing") as caught:
                tree(store, root)
            assert isinstance(caught.value.cid, CID)
            assert caught.value.cid.multihash not in store
            continue
        visited = [block.cid.multihash for block in store.run(DagWalk(root))[0]]
        assert len(visited) == len(set(visited))
        assert set(visited) == set(store)
        for path, content in tree(store, root).items():
            if not any(part in (".", "..") for part in path.split("/")):
                reached = store.resolve(f"/ipfs/{root}/{path}".rstrip("/"))
                assert tree(store, reached.cid) == {"": content}


@pytest.mark.parametrize(
    ("name", "path", "expected"),
    [
        ("path_gateway_dag--dag-cbor-traversal", "foo/link/bar/hello", "this is not a link"),
        ("path_gateway_dag--dag-cbor-traversal", "foo/object", {"banana": 10, "monkey": False}),
        ("path_gateway_dag--dag-json-traversal", "foo/link/bar/hello", "this is not a link"),
        ("path_gateway_dag--dag-json-traversal", "foo/link/bar", {"hello": "this is not a link"}),
    ],
)
def test_paths_lead_through_values(name: str, path: str, expected: object) -> None:
    found = archive(name)
    [root] = found.header.roots
    store = Store(found.blocks)
    reached = store.resolve(f"/ipfs/{root}/{path}")
    value = reached.value if reached.inside else codecs.read(reached.cid, store.get(reached.cid))
    assert value == expected
    with pytest.raises(NotFound):
        store.resolve(f"/ipfs/{root}/nothing/here")


@pytest.mark.parametrize("kind", ["cbor", "json", "cbor-that-can-be-dag-cbor", "cbor-that-can-be-dag-json"])
def test_plain_values_are_read_and_link_to_nothing(kind: str) -> None:
    found = archive(f"path_gateway_dag--plain-{kind}")
    [(cid, data)] = found.blocks
    assert cid.codec in (CBOR, JSON)
    assert isinstance(codecs.read(cid, data), dict)
    assert codecs.links(cid, data) == []


@pytest.mark.parametrize("name", ["inside-root", "outside-root"])
def test_nothing_is_written_outside_of_the_folder(tmp_path: Path, name: str) -> None:
    raw = car_bytes("unixfs", f"path_gateway_tar--{name}")

    async def pieces() -> AsyncIterator[bytes]:
        yield raw

    async def main() -> None:
        async with open_node(NodeConfig(offline=True)) as node:
            [(root, problem)] = (await node.dag_import(pieces())).roots
            assert problem == ""
            with pytest.raises(InvalidName, match=r"\.\./.* would leave the folder"):
                await node.get(root, tmp_path / "folder")

    trio.run(main)
    assert {path.name for path in tmp_path.iterdir()} <= {"folder"}
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name in ("file", "foo")]
