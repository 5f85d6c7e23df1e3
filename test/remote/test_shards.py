"""Archives cut from a DAG, and the DAG found again in them whatever their order."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from ipfs_kit_py.core.cid import CID, DAG_CBOR, Block
from ipfs_kit_py.core.errors import BackendError, ConfigError, HashMismatch, InvalidBlock
from ipfs_kit_py.dag import dag_cbor
from ipfs_kit_py.dag.car import read_car
from ipfs_kit_py.storage.remote.filecoin import pieces as pieces_module
from ipfs_kit_py.storage.remote.filecoin.commp import piece_of
from ipfs_kit_py.storage.remote.filecoin.pieces import Sieve
from ipfs_kit_py.storage.remote.shards import Sharder
from test.remote.dags import block, stream, tree

if TYPE_CHECKING:
    import random
    from pathlib import Path

LEAST = (8 << 20) + 4096


async def archives(root: CID, blocks: list[Block], most: int = LEAST) -> list[tuple[str, bytes]]:
    sharder = Sharder(root, stream(blocks), most=most, workers=0)
    found = []
    while True:
        async with sharder.next() as shard:
            if shard is None:
                return found
            twice = [b"".join([chunk async for chunk in shard.body()]) for _attempt in range(2)]
            assert twice[0] == twice[1]
            assert shard.piece == piece_of(twice[0])
            found.append((str(shard.piece), twice[0]))


def test_one_archive_holds_all_in_the_order_given() -> None:
    blocks = tree(25)
    [(_piece, raw)] = trio.run(archives, blocks[0].cid, blocks)
    archive = read_car(raw)
    assert archive.header.roots == [blocks[0].cid]
    assert archive.blocks == blocks


def test_an_archive_too_short_for_a_piece_holds_its_block_twice() -> None:
    only = block(b"")
    [(_piece, raw)] = trio.run(archives, only.cid, [only])
    assert len(raw) >= 127
    assert set(read_car(raw).blocks) == {only}


def test_a_large_dag_is_cut_into_several() -> None:
    blocks = tree(20, 1 << 20)
    found = trio.run(archives, blocks[0].cid, blocks)
    assert len(found) == 3
    assert all(len(raw) <= LEAST for _piece, raw in found)
    assert [one for _piece, raw in found for one in read_car(raw).blocks] == blocks


def test_what_cannot_be_archived_is_refused() -> None:
    blocks = tree(3)
    root = blocks[0].cid
    with pytest.raises(InvalidBlock, match="not among"):
        trio.run(archives, root, blocks[1:])
    with pytest.raises(InvalidBlock, match="not among"):
        trio.run(archives, root, [])
    with pytest.raises(HashMismatch):
        trio.run(archives, root, [blocks[0], Block(blocks[1].cid, b"other")])
    with pytest.raises(InvalidBlock, match="fits no archive"):
        trio.run(archives, root, [blocks[0], block(bytes(8 << 20))])
    with pytest.raises(ConfigError, match="at least"):
        Sharder(root, stream(blocks), most=LEAST - 1)


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    async def main() -> None:
        only = block(b"x")
        sharder = Sharder(only.cid, stream([only]), most=LEAST, folder=tmp_path / "none", workers=0)
        with pytest.raises(ConfigError, match="folder"):
            async with sharder.next():
                pass

    trio.run(main)


def test_no_file_is_left(tmp_path: Path) -> None:
    async def main() -> None:
        blocks = tree(5)
        sharder = Sharder(blocks[0].cid, stream(blocks), most=LEAST, folder=tmp_path, workers=0)
        with pytest.raises(RuntimeError, match="mine"):
            async with sharder.next():
                raise RuntimeError("mine")

    trio.run(main)
    assert os.listdir(tmp_path) == []


# --- the sieve --------------------------------------------------------------------------------------------------------
def sifted(root: CID, blocks: list[Block], step: int) -> tuple[list[Block], CID | None]:
    found = []
    with Sieve(root) as sieve:
        for at in range(0, len(blocks), step):
            sieve.push(blocks[at : at + step])
            while more := sieve.pop():
                found += more
        return found, sieve.lacking()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 9), st.randoms(use_true_random=False))
def test_any_order_gives_the_whole_dag_parents_first(leaves: int, step: int, rng: random.Random) -> None:
    blocks = tree(leaves, 40)
    stray = [block(b"not of this DAG"), block(b"nor this")]
    order = [*blocks, *stray, *rng.choices(blocks, k=5)]
    rng.shuffle(order)
    found, lacking = sifted(blocks[0].cid, order, step)
    assert lacking is None
    assert sorted(found) == sorted(set(blocks))
    place = {one.cid: at for at, one in enumerate(found)}
    parents = [one for one in found if one.cid.codec == DAG_CBOR]
    for one in parents[1:]:
        assert place[blocks[0].cid] < place[one.cid]


def test_what_lacks_is_named() -> None:
    blocks = tree(12, 40)
    found, lacking = sifted(blocks[0].cid, [one for one in blocks if one is not blocks[5]], 3)
    assert lacking == blocks[5].cid
    assert len(found) == len(blocks) - 1


def test_links_of_an_inlined_block_are_followed() -> None:
    leaf = block(b"far below")
    inner = dag_cbor.encode({"leaf": leaf.cid})
    inline = CID(1, DAG_CBOR, bytes((0, len(inner))) + inner)
    root = block(dag_cbor.encode([inline]), DAG_CBOR)
    assert sifted(root.cid, [leaf, root], 1) == ([root, leaf], None)


def test_one_content_under_two_codecs_is_two_blocks() -> None:
    data = dag_cbor.encode([1, 2])
    both = [block(data), block(data, DAG_CBOR)]
    root = block(dag_cbor.encode([one.cid for one in both]), DAG_CBOR)
    for order in ([root, both[0]], [both[1], root]):
        found, lacking = sifted(root.cid, order, 1)
        assert (sorted(found), lacking) == (sorted([root, *both]), None)


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces_module, "PIECE_PARKED_BLOCKS", 3)
    blocks = tree(5)
    with pytest.raises(BackendError, match="before what links to them"):
        sifted(blocks[0].cid, blocks[::-1], 1)
    monkeypatch.setattr(pieces_module, "MAX_PLAN_LINKS", 3)
    with pytest.raises(BackendError, match="too much for one reading"):
        sifted(blocks[0].cid, blocks, 1)


def test_at_most_so_much_is_given_out_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces_module, "PIECE_POP_BYTES", 2500)
    blocks = tree(10)
    with Sieve(blocks[0].cid) as sieve:
        sieve.push(blocks[::-1])
        sizes = []
        while more := sieve.pop():
            sizes.append(sum(len(one.data) for one in more))
    assert sum(sizes) == sum(len(one.data) for one in blocks)
    assert max(sizes) <= 2500 + 1000
