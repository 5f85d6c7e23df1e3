"""Plans over trees of any form: every range is the slice, one order, and memory that the blocks cannot make grow."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipfs_kit_py.core.cid import CID, RAW
from ipfs_kit_py.core.config import MIB
from ipfs_kit_py.core.errors import InvalidBlock, NotFound, TooLarge
from ipfs_kit_py.dag import dag_pb, plan, unixfs
from ipfs_kit_py.dag.plan import LINK_BYTES, OVERDRAFT, Place, link_weight
from ipfs_kit_py.dag.reader import FileReader
from ipfs_kit_py.dag.walk import DagWalk
from test.engine.plans import Part, Store, join, leaf, trickle, value

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

contents = st.binary(max_size=9)
leaves = st.tuples(contents, st.sampled_from(["raw", "file", "old"]))
trees = st.recursive(leaves, lambda inner: st.tuples(st.binary(max_size=3), st.lists(inner, max_size=4)), max_leaves=25)


def made(store: Store, tree: Any) -> Part:
    """A tree as hypothesis drew it: a leaf is content and kind, a node its own bytes and what is below."""
    first, second = tree
    return (
        leaf(store, first, second) if isinstance(second, str) else join(store, [made(store, x) for x in second], first)
    )


@given(
    trees,
    st.integers(0, 60),
    st.none() | st.integers(0, 60),
    st.integers(0, 6000),
    st.randoms(use_true_random=False),
)
def test_any_range_of_any_tree_is_that_slice(
    tree: Any, start: int, stop: int | None, budget: int, rng: random.Random
) -> None:
    store = Store()
    root = made(store, tree)
    reader = FileReader(root.cid, start, stop)
    out, _ = store.run(reader, budget, rng)
    assert b"".join(out) == root.content[start:stop]
    assert reader.size == len(root.content)


@given(st.lists(contents, max_size=40), st.integers(0, 200), st.integers(0, 200), st.randoms(use_true_random=False))
def test_any_range_of_a_trickle_is_that_slice(chunks: list[bytes], start: int, stop: int, rng: random.Random) -> None:
    store = Store()
    root = trickle(store, list(chunks))
    out, _ = store.run(FileReader(root.cid, start, stop), 3000, rng)
    assert b"".join(out) == root.content[start:stop]


def test_a_range_before_the_beginning_or_backwards_is_empty_or_cut() -> None:
    store = Store()
    root = join(store, [leaf(store, b"abc"), leaf(store, b"def", "file")], b"own")
    for start, stop, expected in [(-5, 4, b"owna"), (-9, -1, b""), (4, 2, b""), (99, None, b""), (8, 1 << 70, b"f")]:
        assert b"".join(store.run(FileReader(root.cid, start, stop))[0]) == expected


# --- walks ------------------------------------------------------------------------------------------------------------

graphs = st.lists(st.lists(st.integers(1, 6), max_size=5), min_size=1, max_size=14)


@given(trees, st.integers(0, 40))
def test_a_file_that_is_larger_than_allowed_costs_its_root_alone(tree: Any, most: int) -> None:
    store = Store()
    root = made(store, tree)
    size = len(root.content)
    if size <= most:
        assert b"".join(store.run(FileReader(root.cid, most=most))[0]) == root.content
        return
    reader = FileReader(root.cid, most=most)
    [(asked, _)] = reader.wanted(1 << 20)
    with pytest.raises(TooLarge, match=f"{size} bytes"):
        reader.feed(asked, store.get(asked))


def graph(store: Store, rows: Sequence[Sequence[int]]) -> tuple[CID, dict[CID, list[CID]]]:
    """A DAG in which node ``i`` links to the nodes so many places after it; the last ones are leaves."""
    cids: dict[int, CID] = {}
    below: dict[CID, list[CID]] = {}
    for at in reversed(range(len(rows))):
        links = [cids[at + step] for step in rows[at] if at + step < len(rows)]
        cids[at] = value(store, [at, links])
        below[cids[at]] = links
    return cids[0], below


def preorder(cid: CID, below: dict[CID, list[CID]], seen: list[CID]) -> list[CID]:
    """The order that a reader who goes by the links alone would meet the blocks in."""
    if cid not in seen:
        seen.append(cid)
        for child in below[cid]:
            preorder(child, below, seen)
    return seen


@given(graphs, st.integers(0, 30_000), st.randoms(use_true_random=False))
def test_a_walk_has_one_order_whatever_comes_when(rows: list[list[int]], budget: int, rng: random.Random) -> None:
    store = Store()
    root, below = graph(store, rows)
    out, _ = store.run(DagWalk(root), budget, rng)
    assert [block.cid for block in out] == preorder(root, below, [])


def test_a_walk_counts_both_versions_of_a_cid_as_one_block() -> None:
    store = Store()
    child = store.put(dag_pb.encode(dag_pb.PBNode([], b"x")))
    old = CID(0, child.codec, child.multihash)
    root = value(store, [old, child, CID(1, RAW, child.multihash)])
    assert [block.cid for block in store.run(DagWalk(root))[0]] == [root, old, CID(1, RAW, child.multihash)]


@pytest.mark.parametrize("make", [DagWalk, FileReader])
def test_a_missing_block_is_named(make: Any) -> None:
    store = Store()
    gone = leaf(store, b"gone")
    root = join(store, [leaf(store, b"here"), gone])
    del store[gone.cid.multihash]
    with pytest.raises(NotFound, match=str(gone.cid)) as caught:
        store.run(make(root.cid))
    assert caught.value.cid == gone.cid


def test_a_chain_of_any_length_is_walked() -> None:
    store = Store()
    cid = value(store, 0)
    for number in range(5000):
        cid = value(store, [number, cid])
    out, asked = store.run(DagWalk(cid))
    assert len(out) == len(asked) == 5001


# --- what bounds the memory -------------------------------------------------------------------------------------------


def wide(store: Store, count: int, mark: int) -> Part:
    """A node with ``count`` different links to leaves of 1 byte that nobody has."""
    links = [b"\x12\x26\x0a\x24\x01\x55\x12\x20" + b"%032d" % (mark * count + index) for index in range(count)]
    head = unixfs.encode(unixfs.FSNode(unixfs.FILE, filesize=count, blocksizes=[1] * count))
    data = b"".join(links) + dag_pb.encode(dag_pb.PBNode([], head))
    return Part(store.put(data), bytes(count))


@pytest.mark.parametrize("make", [DagWalk, FileReader])
def test_wide_nodes_do_not_fill_the_memory(make: Any) -> None:
    store = Store()
    nodes = [wide(store, 10_000, mark) for mark in range(20)]
    root = join(store, nodes)
    budget = MIB
    made_plan = make(root.cid)
    waiting = made_plan.wanted(budget)
    tracemalloc.start()
    try:
        while waiting:
            for cid, _ in reversed(waiting):
                if cid.codec != RAW:
                    made_plan.feed(cid, store.get(cid))
            made_plan.pop()
            waiting = [row for row in made_plan.wanted(budget) if row[0].codec != RAW]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert made_plan._held <= OVERDRAFT * budget + 10_000 * LINK_BYTES
    assert peak < 12 * MIB  # twenty such nodes alone would have over 40


def test_links_that_wait_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "MAX_PLAN_LINKS", 1000)
    store = Store()
    cid = wide(store, 400, 0).cid
    for mark in range(1, 4):
        cid = join(store, [Part(cid, bytes(400 * mark)), wide(store, 400, mark)]).cid
    walk = DagWalk(join(store, [Part(cid, bytes(1600)), *[leaf(store, b"%d" % n) for n in range(900)]]).cid)
    with pytest.raises(InvalidBlock, match=r"block bafy.*: more than 1000 links"):
        store.run(walk)


def test_leaves_that_show_little_of_themselves_do_not_hold_their_blocks() -> None:
    store = Store()
    filler = b"\x7a" + b"\x80\x80\x08" + bytes(128 << 10)  # field 15, which no reader knows
    parts = []
    for number in range(200):
        head = b"\x08\x02\x12\x01" + bytes((number,)) + b"\x18\x01" + filler
        parts.append(Part(store.put(dag_pb.encode(dag_pb.PBNode([], head))), bytes((number,))))
    root = join(store, [leaf(store, b"!"), *parts])
    reader = FileReader(root.cid)
    [(cid, _)] = reader.wanted(MIB)
    reader.feed(cid, store.get(cid))
    tracemalloc.start()
    try:
        for cid, _ in reader.wanted(MIB)[1:]:  # the first one is slow: nothing can be given out
            reader.feed(cid, bytes(bytearray(store.get(cid))))
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert reader.pop() is None
    assert held < MIB  # their blocks have 26 MB


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.randoms(use_true_random=False))
@settings(max_examples=30)
def test_places_that_run_out_of_numbers_are_numbered_again(steps: list[int], rng: random.Random) -> None:
    saved, plan._STEP = plan._STEP, 16
    try:
        store = Store()
        root, below = graph(store, [[1, step + 1, 2] for step in steps])
        out, _ = store.run(DagWalk(root), 100_000, rng)
        assert [block.cid for block in out] == preorder(root, below, [])
    finally:
        plan._STEP = saved


def test_what_a_link_is_taken_to_weigh() -> None:
    raw, node = CID.of(b"x"), CID.of(b"x", 0x70)
    assert link_weight(raw, None) == link_weight(node, None) == plan.UNKNOWN_BYTES
    assert link_weight(raw, 1 << 60) == 2 * MIB
    assert link_weight(node, 1 << 60) == plan.INNER_BYTES
    assert Place(raw, 0).weight == plan.MIN_BYTES
