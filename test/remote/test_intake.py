"""What of a DAG is missing: by property, over random DAGs, orders and ranges."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipfs_kit_py.core.cid import CID, DAG_CBOR, DAG_PB, RAW, Block
from ipfs_kit_py.core.config import ARCHIVE_PARK_BYTES, ARCHIVE_USELESS_BYTES
from ipfs_kit_py.core.errors import BackendError, ConfigError, InvalidBlock, NotAFile
from ipfs_kit_py.dag import codecs, dag_cbor, dag_pb, unixfs
from ipfs_kit_py.dag.reader import FileReader
from ipfs_kit_py.storage.remote import intake as module
from ipfs_kit_py.storage.remote.intake import Intake, RangeIntake
from test.remote.dags import block, tree


def drained(intake: Intake, blocks: list[Block]) -> list[Block]:
    return [one for block_ in blocks for one in intake.push(block_)]


# --- whole DAGs -------------------------------------------------------------------------------------------------------
@given(st.integers(1, 60), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_all_blocks_go_through_once_parents_first_in_any_order(leaves: int, seed: int) -> None:
    blocks = tree(leaves, 50)
    rng = random.Random(seed)
    order = rng.sample(blocks, len(blocks)) + rng.choices(blocks, k=5)
    intake = Intake(blocks[0].cid)
    found = drained(intake, order)
    assert intake.done
    assert found[0] == blocks[0]
    assert sorted(found) == sorted(set(blocks))
    linked = {blocks[0].cid}
    for one in found:
        assert one.cid in linked
        linked.update(codecs.links(one.cid, one.data))


def test_what_is_missing_is_told_and_filled() -> None:
    blocks = tree(30, 50)
    intake = Intake(blocks[0].cid)
    assert intake.missing(5) == [blocks[0].cid]
    drained(intake, blocks[:2])
    assert not intake.done
    assert len(intake.missing(5)) == 5
    by_cid = {one.cid: one for one in blocks}
    while missing := intake.missing(3):
        drained(intake, [by_cid[cid] for cid in missing])
    assert intake.done
    assert intake.passed == len(blocks)
    assert intake.taken == sum(len(bytes(one.data)) for one in blocks)


def test_foreign_blocks_never_go_through_and_too_many_are_noticed() -> None:
    blocks = tree(3, 50)
    intake = Intake(blocks[0].cid)
    foreign = [block(bytes([number]) * (1 << 20)) for number in range(90)]
    assert drained(intake, foreign[:8]) == []
    assert not intake.is_flooded
    assert drained(intake, foreign[8:]) == []
    assert intake.is_flooded
    assert intake._parked_bytes <= ARCHIVE_PARK_BYTES
    assert sorted(drained(intake, blocks)) == sorted(blocks)


def test_duplicates_are_of_no_use() -> None:
    leaf = block(b"x" * (1 << 20))
    root = block(dag_cbor.encode([leaf.cid, block(b"other").cid]), DAG_CBOR)
    intake = Intake(root.cid)
    assert drained(intake, [root, leaf]) == [root, leaf]
    for _ in range(ARCHIVE_USELESS_BYTES // (1 << 20)):
        assert intake.push(leaf) == []
        assert not intake.is_flooded
    intake.push(leaf)
    intake.push(leaf)
    assert intake.is_flooded


def test_blocks_come_under_the_cids_that_link_to_them() -> None:
    """A CIDv0 that the archive names as version 1, and one block that is linked to under two codecs."""
    leaf = block(b"leaf")
    node = block(dag_pb.encode(dag_pb.PBNode([dag_pb.PBLink(leaf.cid, "", 4)])), DAG_PB)
    old = CID(0, DAG_PB, node.cid.multihash)
    value = dag_cbor.encode({"leaf": leaf.cid})
    root = block(dag_cbor.encode([old, CID.of(value), CID.of(value, DAG_CBOR)]), DAG_CBOR)
    intake = Intake(root.cid)
    found = drained(intake, [root, node, Block(CID.of(value), value), leaf])
    assert [one.cid for one in found] == [root.cid, old, CID.of(value), CID.of(value, DAG_CBOR), leaf.cid]
    assert intake.done


def test_identity_cids_are_followed_and_never_missing() -> None:
    leaf = block(b"leaf")
    inner = dag_cbor.encode([leaf.cid])
    inline = CID.of(inner, DAG_CBOR, hash_code=0)
    root = block(dag_cbor.encode([inline, CID.of(b"text", RAW, hash_code=0)]), DAG_CBOR)
    intake = Intake(root.cid)
    assert drained(intake, [root, leaf]) == [root, leaf]
    assert intake.done
    assert Intake(CID.of(b"text", RAW, hash_code=0)).done
    assert Intake(inline).missing(9) == [leaf.cid]


def test_a_block_whose_links_cannot_be_read_is_named() -> None:
    bad = block(b"\xff\xff", DAG_CBOR)
    with pytest.raises(InvalidBlock, match=str(bad.cid)):
        Intake(bad.cid).push(bad)


def test_a_dag_that_is_too_large_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PLAN_LINKS", 20)
    blocks = tree(60, 50)
    intake = Intake(blocks[0].cid)
    with pytest.raises(BackendError, match="too much"):
        drained(intake, blocks)


# --- ranges of files --------------------------------------------------------------------------------------------------
def file_node(children: list[tuple[Block, int]], own: bytes = b"") -> tuple[Block, int]:
    sizes = [size for _, size in children]
    node = unixfs.FSNode(unixfs.FILE, own or None, len(own) + sum(sizes), tuple(sizes))
    links = [dag_pb.PBLink(child.cid, "", size) for child, size in children]
    return block(dag_pb.encode(dag_pb.PBNode(links, unixfs.encode(node))), DAG_PB), len(own) + sum(sizes)


def file_of(content: bytes, chunk: int, width: int, *, own: int = 0) -> list[Block]:
    """Blocks of a file, the root last; inner nodes may have bytes of their own, as old writers made them."""
    leaves = [content[at : at + chunk] for at in range(0, len(content), chunk)]
    row = [(block(data), len(data)) for data in leaves]
    blocks = [one for one, _ in row]
    while len(row) > 1 or row[0][0].cid.codec == RAW:
        row = [file_node(row[at : at + width], b"o" * own) for at in range(0, len(row), width)]
        blocks += [one for one, _ in row]
    return blocks


def needed(blocks: list[Block], root: CID, start: int, stop: int | None) -> set[CID]:
    """The blocks that the reader of files asks for."""
    by_cid = {one.cid: one.data for one in blocks}
    plan = FileReader(root, start, stop)
    asked: set[CID] = {root}
    while not plan.done:
        for cid, _ in plan.wanted(1):
            asked.add(cid)
            plan.feed(cid, by_cid[cid])
        while plan.pop() is not None:
            pass
    return asked


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_range_needs_what_the_reader_of_files_reads(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 400))
    # few different bytes: the same leaves and nodes stand at several places
    content = random.Random(data.draw(st.integers(0, 99))).choices(b"ab", k=size)
    blocks = file_of(bytes(content), data.draw(st.sampled_from([1, 3, 8])), data.draw(st.sampled_from([2, 3, 7])),
                     own=data.draw(st.sampled_from([0, 0, 2])))  # fmt: skip
    root = blocks[-1].cid
    start = data.draw(st.integers(0, size + 10))
    stop = data.draw(st.none() | st.integers(start + 1, size + 20))
    intake = RangeIntake(root, start, stop)
    order = random.Random(data.draw(st.integers(0, 99))).sample(blocks, len(blocks))
    found = drained(intake, order)
    assert intake.done
    assert {one.cid for one in found} == needed(blocks, root, start, stop)
    assert len(found) == len({one.cid for one in found})


def test_a_node_that_stands_at_both_edges_and_inside() -> None:
    """The same inner node thrice; the range begins in the first, ends in the third: all of it is needed."""
    leaves = [block(bytes([number]) * 10) for number in range(4)]
    node = file_node([(leaf, 10) for leaf in leaves])
    root, _ = file_node([node, node, node])
    for start, stop, expected in (
        (35, 85, 4),
        (35, 45, 2),
        (0, 10, 1),
        (7, 7, -1),
        (20, 30, 1),
        (0, None, 4),
        (115, None, 1),
    ):
        intake = RangeIntake(root.cid, start, stop)
        found = drained(intake, [root, node[0], *leaves])
        assert len(found) == 2 + expected, (start, stop)
        assert intake.done


def test_ranges_of_what_is_no_file() -> None:
    value = block(dag_cbor.encode({"a": 1}), DAG_CBOR)
    folder = block(
        dag_pb.encode(dag_pb.PBNode([], unixfs.encode(unixfs.FSNode(unixfs.DIRECTORY, None, None, ())))), DAG_PB
    )
    for root in (value, folder):
        with pytest.raises(NotAFile):
            RangeIntake(root.cid, 0, 5).push(root)
    raw = block(b"0123456789")
    assert RangeIntake(raw.cid, 3, 5).push(raw) == [raw]
    assert RangeIntake(CID.of(b"x", hash_code=0), 0, 1).done
    for start, stop in ((-1, 5), (5, 3)):
        with pytest.raises(ConfigError):
            RangeIntake(raw.cid, start, stop)


def test_sizes_that_contradict_the_links() -> None:
    leaf = block(b"0123456789")
    head = unixfs.encode(unixfs.FSNode(unixfs.FILE, None, 20, (10, 10)))
    root = block(dag_pb.encode(dag_pb.PBNode([dag_pb.PBLink(leaf.cid, "", 10)], head)), DAG_PB)
    with pytest.raises(InvalidBlock, match="1 links and the sizes of 2"):
        RangeIntake(root.cid, 0, 5).push(root)


def test_a_bomb_of_repeated_nodes_costs_little() -> None:
    """2**60 leaves in 61 blocks: a range in the middle follows two edges, not all places."""
    row = block(b"0123456789"), 10
    blocks = [row[0]]
    for _ in range(56):
        row = file_node([row, row])
        blocks.append(row[0])
    middle = row[1] // 2
    intake = RangeIntake(blocks[-1].cid, middle - 5, middle + 5)
    found = drained(intake, blocks[::-1])
    assert len(found) == len(blocks)
    assert intake.done
