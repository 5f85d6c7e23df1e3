"""Reading plans: files, ranges, DAGs and paths, whatever the order in which blocks come."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipfs_kit_py.core.cid import CID, DAG_CBOR, DAG_PB, Block
from ipfs_kit_py.core.errors import InvalidBlock, IPFSKitError, NotFound
from ipfs_kit_py.dag import codecs, dag_pb, paths, unixfs
from ipfs_kit_py.dag.builder import build_file
from ipfs_kit_py.dag.car import CarReader, header, read_car, section
from ipfs_kit_py.dag.hamt_list import HamtEntries
from ipfs_kit_py.dag.profiles import V0_2015, V1_2025
from ipfs_kit_py.dag.reader import FileReader
from ipfs_kit_py.dag.walk import DagWalk
from test.engine.plans import Store, tree
from test.vectors import VECTORS, needs_vectors

TINY = V1_2025.replace(chunk_size=7, max_links=3)
TINY_PB = V0_2015.replace(chunk_size=5, max_links=2)


def _file(data, profile):
    built = build_file(data, profile)
    return built.cid, Store(built.blocks)


@given(
    st.binary(max_size=400), st.sampled_from([TINY, TINY_PB]), st.randoms(use_true_random=False), st.integers(1, 5000)
)
def test_a_file_reads_back_in_any_order_of_arrival(data, profile, rng, budget):
    root, store = _file(data, profile)
    reader = FileReader(root)
    out, _ = store.run(reader, budget, rng)
    assert b"".join(out) == data
    assert reader.size == len(data)


@given(
    st.binary(max_size=300),
    st.integers(0, 320),
    st.none() | st.integers(0, 320),
    st.sampled_from([TINY, TINY_PB]),
    st.randoms(use_true_random=False),
)
def test_a_range_is_that_slice(data, start, stop, profile, rng):
    root, store = _file(data, profile)
    out, _ = store.run(FileReader(root, start, stop), 3000, rng)
    assert b"".join(out) == data[start:stop]


def test_a_range_asks_only_for_the_blocks_that_it_needs():
    data = random.Random(1).randbytes(7 * 81)
    root, store = _file(data, TINY)
    _, asked = store.run(FileReader(root, 7 * 40, 7 * 40 + 3))
    assert len(asked) <= 5  # one leaf and its ancestors


def test_a_file_of_one_repeated_block_asks_for_it_once_per_look_ahead():
    root, store = _file(bytes(7 * 50), TINY)
    out, asked = store.run(FileReader(root))
    assert b"".join(out) == bytes(7 * 50)
    assert len(asked) < 60


def test_the_look_ahead_stays_within_its_budget():
    data = random.Random(2).randbytes(100_000)
    built = build_file(data, V1_2025.replace(chunk_size=5000, max_links=100))
    store = Store(built.blocks)
    reader = FileReader(built.cid)
    [(cid, _)] = reader.wanted(20_000)
    reader.feed(cid, store[cid.multihash])
    assert len(reader.wanted(20_000)) <= 4
    assert reader.wanted(20_000) == []


def test_a_full_look_ahead_asks_for_several_blocks_at_once():
    built = build_file(random.Random(4).randbytes(400_000), V1_2025.replace(chunk_size=2000, max_links=500))
    store = Store(built.blocks)
    reader = FileReader(built.cid)
    [(cid, _)] = reader.wanted(100_000)
    reader.feed(cid, store[cid.multihash])
    waiting = [cid for cid, _ in reader.wanted(100_000)]
    asked = []
    while waiting:
        cid = waiting.pop(0)
        reader.feed(cid, store[cid.multihash])
        while reader.pop() is not None:
            pass
        more = [cid for cid, _ in reader.wanted(100_000)]
        asked += [len(more)] if more else []
        waiting += more
    assert reader.done
    assert sum(asked) > 150  # of 200
    assert min(asked[:-1]) >= 6  # an eighth of the budget is 12,500 bytes


@pytest.mark.parametrize("profile", [TINY, TINY_PB])
def test_sizes_that_contradict_the_parent_are_refused(profile):
    data = random.Random(3).randbytes(100)
    root, store = _file(data, profile)
    node = dag_pb.decode(store[root.multihash])
    head = unixfs.decode(node.data)
    sizes = list(head.blocksizes)
    sizes[0] += 1
    lying = dag_pb.encode(
        dag_pb.PBNode(node.links, unixfs.encode(unixfs.FSNode(unixfs.FILE, filesize=sum(sizes), blocksizes=sizes)))
    )
    cid = CID.of(lying, DAG_PB)
    store[cid.multihash] = lying
    with pytest.raises(InvalidBlock, match="its parent says"):
        store.run(FileReader(cid))


def test_a_node_with_fewer_sizes_than_links_is_refused():
    root, store = _file(bytes(range(50)), TINY)
    node = dag_pb.decode(store[root.multihash])
    lying = dag_pb.encode(dag_pb.PBNode(node.links, unixfs.encode(unixfs.FSNode(unixfs.FILE, filesize=50))))
    cid = CID.of(lying, DAG_PB)
    store[cid.multihash] = lying
    with pytest.raises(InvalidBlock, match="links"):
        store.run(FileReader(cid))


def test_nesting_beyond_the_limit_is_refused():
    blocks, cid = [], CID.of(b"x")
    blocks.append(Block(cid, b"x"))
    for _ in range(70):
        raw = dag_pb.encode(
            dag_pb.PBNode(
                [dag_pb.PBLink(cid, "", 1)], unixfs.encode(unixfs.FSNode(unixfs.FILE, filesize=1, blocksizes=[1]))
            )
        )
        cid = CID.of(raw, DAG_PB)
        blocks.append(Block(cid, raw))
    with pytest.raises(InvalidBlock, match="deeper"):
        Store(blocks).run(FileReader(cid))


@given(st.binary(max_size=300), st.randoms(use_true_random=False), st.integers(1, 100_000))
def test_a_walk_gives_every_block_once_and_in_order(data, rng, budget):
    built = build_file(data, TINY)
    store = Store(built.blocks)
    out, asked = store.run(DagWalk(built.cid), budget, rng)
    assert {block.cid.multihash for block in out} == set(store)
    assert len(asked) == len(out) == len(store)
    in_order, _ = store.run(DagWalk(built.cid))
    assert [block.cid for block in out] == [block.cid for block in in_order]


def test_a_walk_follows_every_codec():
    leaf = Block(CID.of(b"leaf"), b"leaf")
    raw = codecs.encode({"list": [{"link": leaf.cid}], "other": None}, DAG_CBOR)
    node = Block(CID.of(raw, DAG_CBOR), raw)
    out, _ = Store([leaf, node]).run(DagWalk(node.cid))
    assert [block.cid for block in out] == [node.cid, leaf.cid]


def test_paths_through_values_and_what_is_not_there():
    leaf = Block(CID.of(b"leaf"), b"leaf")
    raw = codecs.encode({"a": [{"b": leaf.cid}, 5]}, DAG_CBOR)
    node = Block(CID.of(raw, DAG_CBOR), raw)
    store = Store([leaf, node])
    assert store.resolve(f"/ipfs/{node.cid}/a/0/b").cid == leaf.cid
    assert store.resolve(f"ipfs://{node.cid}/a/1/").value == 5
    assert store.resolve(node.cid).cid == node.cid
    for path in (f"{node.cid}/x", f"{node.cid}/a/2", f"{node.cid}/a/0/b/c", f"{node.cid}/a/1/z"):
        with pytest.raises(NotFound):
            store.resolve(path)


@pytest.mark.parametrize("path", ["", "/ipfs/", "/ipns/example.com", "nonsense/a", "/ipfs/bafk/x"])
def test_paths_that_are_none_are_typed_errors(path):
    with pytest.raises(IPFSKitError):
        paths.parse(path)


# --- vectors ----------------------------------------------------------------------------------------------------------


def _car(name):
    archive = read_car((VECTORS / "unixfs" / f"{name}.car").read_bytes())
    return archive.header.roots, Store(archive.blocks)


@needs_vectors
def test_a_sharded_directory_lists_and_resolves():
    roots, store = _car("trustless_gateway_car--single-layer-hamt-with-multi-block-files")
    [root] = roots
    names = [link.name for run in store.run(HamtEntries(root))[0] for link in run]
    assert len(names) == len(set(names)) > 100
    for name in names[:20]:
        assert store.resolve(f"{root}/{name}").cid


@needs_vectors
def test_the_symbolic_link_is_one():
    roots, store = _car("path_gateway_unixfs--symlink")
    assert any(isinstance(content, tuple) for root in roots for content in tree(store, root).values())


@needs_vectors
def test_a_missing_block_is_named():
    roots, store = _car("trustless_gateway_car--file-3k-and-3-blocks-missing-block")
    [root] = roots
    with pytest.raises(NotFound) as caught:
        store.run(FileReader(root))
    assert caught.value.cid is not None
    assert caught.value.cid.multihash not in store


@needs_vectors
@pytest.mark.parametrize(
    "name",
    [
        "carv1-basic.car",
        "carv2-basic.car",
        "gocar--sample-wrapped-v2.car",
        "gocar--sample-unixfs-v2.car",
        "gocar--simple-unixfs.car",
        "gocar--simple-unixfs-missing-blocks.car",
    ],
)
@pytest.mark.parametrize("step", [1, 1000, 1 << 30])
def test_archives_read_in_pieces_of_any_size(name, step):
    raw = (VECTORS / "car" / name).read_bytes()
    reader, blocks = CarReader(), []
    for at in range(0, len(raw), step if len(raw) < 10_000 else max(step, 4096)):
        blocks += reader.feed(raw[at : at + (step if len(raw) < 10_000 else max(step, 4096))])
    found = reader.close()
    assert blocks
    assert found.roots
    assert all(cid.verify(data) for cid, data in blocks)


@settings(max_examples=50)
@given(st.lists(st.binary(max_size=60), max_size=6), st.integers(1, 50), st.data())
def test_an_archive_comes_back_and_a_damaged_one_is_refused(contents, step, data):
    blocks = [Block(CID.of(content), content) for content in contents]
    roots = [block.cid for block in blocks[:2]]
    raw = header(roots) + b"".join(part for block in blocks for part in section(*block))
    reader, found = CarReader(), []
    for at in range(0, len(raw), step):
        found += reader.feed(raw[at : at + step])
    assert (reader.close().roots, found) == (roots, blocks)
    damaged = bytearray(raw)
    damaged[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        archive = read_car(damaged)
    except InvalidBlock:
        return
    assert all(cid.verify(content) for cid, content in archive.blocks)
