"""Directories and trees: sorting, names, thresholds, the order of a walk, editing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_kit_py.core.cid import CID, DAG_PB
from ipfs_kit_py.core.config import MAX_DAG_DEPTH, MAX_NAME_BYTES
from ipfs_kit_py.core.errors import InvalidBlock, InvalidName, LocalError, NotFound
from ipfs_kit_py.dag import dag_pb, unixfs
from ipfs_kit_py.dag.builder import build_file
from ipfs_kit_py.dag.directory import DirectoryBuilder, build_directory, check_name, estimate, exceeds
from ipfs_kit_py.dag.edit import edit_directory
from ipfs_kit_py.dag.importer import TreeBuilder
from ipfs_kit_py.dag.profiles import V0_2015, V1_2025, Built, Profile, Stat

if TYPE_CHECKING:
    from collections.abc import Generator

    from typing_extensions import Buffer

X = build_file(b"x", V1_2025)
NAMES = st.text(min_size=1, max_size=30).filter(lambda name: "/" not in name and "\0" not in name and name.strip("."))


def directory(names: list[str], profile: Profile, stat: Stat = Stat()) -> Built:  # noqa: B008 - immutable
    builder = DirectoryBuilder(profile, stat)
    for name in names:
        builder.add(name, X.cid, X.tsize)
    return builder.finish()


def test_empty_directories_are_the_well_known_ones() -> None:
    assert str(directory([], V0_2015).cid) == "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn"
    assert str(directory([], V1_2025).cid) == "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"
    assert str(directory([], V1_2025.replace(inline_limit=32)).cid) == "bafyaabakaieac"
    assert directory([], V1_2025).tsize == 4


def test_the_directory_of_the_specifications_own_fixture() -> None:
    hello = build_file(b"hello\n", V1_2025)
    builder = DirectoryBuilder(V1_2025)
    builder.add("hello.txt", hello.cid, hello.tsize)
    assert str(builder.finish().cid) == "bafybeigdcg7pksx2zk5336vrfsktjodlr4rbfz37qr3koc5xboxe5ekv24"


def test_entries_are_sorted_by_their_bytes() -> None:
    # U+FF5E sorts after U+1F600 by UTF-16 units, before it by bytes; the escaped byte 0xFF is last.
    names = ["\udcff", "\U0001f600", "\uff5e", "b", "B", "a"]
    [block] = directory(names, V1_2025).blocks
    assert [link.name for link in dag_pb.decode(block.data).links] == ["B", "a", "b", "\uff5e", "\U0001f600", "\udcff"]


@given(st.lists(NAMES, unique=True, max_size=12), st.randoms())
def test_the_order_of_adding_does_not_matter(names: list[str], chance: object) -> None:
    shuffled = list(names)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert directory(names, V1_2025) == directory(shuffled, V1_2025)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/", "a\0b", "\ud800", "n" * (MAX_NAME_BYTES + 1)])
def test_names_that_no_entry_may_have(name: str) -> None:
    with pytest.raises(InvalidName):
        check_name(name)
    with pytest.raises(InvalidName):
        DirectoryBuilder(V1_2025).add(name, X.cid, 1)


@pytest.mark.parametrize("name", ["...", " ", "a\\b", "a\nb", "\x1b[2J", "日本", os.fsdecode(b"\xff\xfe")])
def test_odd_names_are_kept_as_they_are(name: str) -> None:
    [block] = directory([name], V1_2025).blocks
    assert [link.name for link in dag_pb.decode(block.data).links] == [name]


def test_a_name_is_taken_once() -> None:
    builder = DirectoryBuilder(V1_2025)
    builder.add("a", X.cid, 1)
    with pytest.raises(InvalidName, match="already"):
        builder.add("a", X.cid, 1)
    assert ("a" in builder, "b" in builder, len(builder)) == (True, False, 1)


def test_tsize_counts_every_block_below() -> None:
    built = directory(["a", "b"], V1_2025)
    assert built.tsize == len(bytes(built.blocks[0].data)) + 2


def test_mode_and_time_of_a_directory() -> None:
    stat = Stat(0o1777, (-1, 1))
    for profile in (V1_2025, V1_2025.replace(hamt_threshold=1)):
        built = directory(["a", "b"], profile, stat)
        head = unixfs.decode(dag_pb.decode(built.blocks[-1].data).data or b"")
        assert (head.mode, head.mtime) == stat


# --- thresholds -------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(NAMES, st.integers(0, 1 << 62)), unique_by=lambda row: row[0], max_size=20),
    st.sampled_from([Stat(), Stat(0o755), Stat(0o7777, (1 << 40, 7)), Stat(None, (-1, 0))]),
    st.sampled_from([V1_2025, V1_2025.replace(hash_code=0x13), V1_2025.replace(cid_version=0)]),
)
def test_the_block_estimate_is_the_length_of_the_block(
    rows: list[tuple[str, int]], stat: Stat, profile: Profile
) -> None:
    cid = profile.block(b"", DAG_PB).cid
    links = [dag_pb.PBLink(cid, name, tsize) for name, tsize in rows]
    room, weigh = estimate(profile, stat)
    [block] = build_directory(links, profile.replace(hamt_threshold=0), stat).blocks
    length = len(bytes(block.data))
    assert length == profile.hamt_threshold - room + sum(map(weigh, links))
    assert not exceeds(links, profile.replace(hamt_threshold=length), stat)
    assert exceeds(links, profile.replace(hamt_threshold=length - 1), stat) or not links


@given(st.lists(NAMES, unique=True, min_size=1, max_size=20))
def test_the_links_estimate_counts_names_and_cids(names: list[str]) -> None:
    links = [dag_pb.PBLink(X.cid, name, 1 << 50) for name in names]
    size = sum(len(name.encode()) + 36 for name in names)
    assert not exceeds(links, V0_2015.replace(hamt_threshold=size), Stat(0o777, (1, 1)))
    assert exceeds(links, V0_2015.replace(hamt_threshold=size - 1), Stat())


# --- trees ------------------------------------------------------------------------------------------------------------


def test_a_walk_makes_directories_from_the_bottom_up() -> None:
    tree = TreeBuilder(V1_2025)
    assert tree.add("z", X) == []
    assert tree.enter("a") == []
    assert tree.add("a/b/c/f", X) == []
    left = tree.add("a/x", X)
    assert [entry.path for entry, _ in left] == ["a/b/c", "a/b"]
    [(entry, link)] = tree.add_symlink("a/l", "../z")
    assert (entry.path, link.size) == ("a/l", 4)
    assert [entry.path for entry, _ in tree.enter("e")] == ["a"]
    root, left = tree.finish()
    assert [entry.path for entry, _ in left] == ["e"]
    links = {link.name: link for link in dag_pb.decode(root.blocks[-1].data).links}
    assert list(links) == ["a", "e", "z"]
    assert links["e"].cid == directory([], V1_2025).cid
    inner = directory(["f"], V1_2025)
    middle = DirectoryBuilder(V1_2025)
    middle.add("c", inner.cid, inner.tsize)
    outer = DirectoryBuilder(V1_2025)
    for name, built in (("b", middle.finish()), ("x", X), ("l", link)):
        outer.add(name, built.cid, built.tsize)
    assert links["a"].cid == outer.finish().cid


@pytest.mark.parametrize("path", ["", "/a", "a/", "a//b", "../a", "a/./b", "a/../../b", "a\0"])
def test_paths_that_no_tree_may_have(path: str) -> None:
    tree = TreeBuilder(V1_2025)
    for call in (lambda: tree.add(path, X), lambda: tree.enter(path), lambda: tree.add_symlink(path, "x")):
        with pytest.raises(InvalidName):
            call()
    assert tree.finish()[0].cid == directory([], V1_2025).cid


def test_a_walk_does_not_come_back() -> None:
    tree = TreeBuilder(V1_2025)
    tree.add("a/f", X)
    tree.add("b/f", X)
    with pytest.raises(InvalidName, match="'a' came before"):
        tree.add("a/g", X)
    with pytest.raises(InvalidName, match="already"):
        tree.add("a", X)


def test_a_file_is_no_directory() -> None:
    tree = TreeBuilder(V1_2025)
    tree.add("a", X)
    with pytest.raises(InvalidName):
        tree.add("a/b", X)


def test_a_tree_that_no_path_could_reach_is_refused() -> None:
    tree = TreeBuilder(V1_2025)
    tree.add("/".join(["d"] * MAX_DAG_DEPTH), X)
    with pytest.raises(InvalidName, match="nested"):
        tree.add("/".join(["d"] * (MAX_DAG_DEPTH + 1)), X)


def test_a_finished_tree_takes_no_more() -> None:
    tree = TreeBuilder(V1_2025)
    tree.finish()
    with pytest.raises(LocalError):
        tree.add("a", X)
    with pytest.raises(LocalError):
        tree.finish()


# --- editing ----------------------------------------------------------------------------------------------------------


def run(plan: Generator[CID, Buffer, Built], blocks: dict[CID, bytes]) -> tuple[Built, list[CID]]:
    """A plan's result, its blocks added to ``blocks``; and what it read."""
    read: list[CID] = []
    try:
        cid = next(plan)
        while True:
            read.append(cid)
            cid = plan.send(blocks[cid])
    except StopIteration as end:
        built: Built = end.value
        blocks.update((block.cid, bytes(block.data)) for block in built.blocks)
        return built, read


EDIT_NAMES = [f"n{number}" for number in range(40)]


@pytest.mark.parametrize("estimate_by", ["block", "links"])
@given(
    st.integers(0, 2500),
    st.sets(st.sampled_from(EDIT_NAMES)),
    st.lists(st.tuples(st.sets(st.sampled_from(EDIT_NAMES), max_size=12), st.booleans(), st.integers(1, 1 << 40))),
)
def test_any_edits_end_in_the_directory_made_from_nothing(
    estimate_by: str, threshold: int, start: set[str], edits: list[tuple[set[str], bool, int]]
) -> None:
    profile = V1_2025.replace(hamt_threshold=max(1, threshold), hamt_estimate=estimate_by, hamt_fanout=8)
    stat = Stat(0o700)
    entries = {name: dag_pb.PBLink(X.cid, name, 1) for name in start}
    built = build_directory(entries.values(), profile, stat)
    blocks = {block.cid: bytes(block.data) for block in built.blocks}
    for names, adds, tsize in edits:
        if adds:
            entries |= {name: dag_pb.PBLink(X.cid, name, tsize) for name in names}
            plan = edit_directory(built.cid, profile, put=dict.fromkeys(names, (X.cid, tsize)))
        else:
            present = names & entries.keys()
            for name in present:
                del entries[name]
            plan = edit_directory(built.cid, profile, remove=present)
        built, _ = run(plan, blocks)
        expected = build_directory(entries.values(), profile, stat)
        assert (built.cid, built.tsize) == (expected.cid, expected.tsize)
        assert {block.cid for block in expected.blocks} <= blocks.keys()


def test_an_edit_reads_and_writes_only_what_is_on_its_way() -> None:
    names = [f"file-{number:06}" for number in range(20_000)]
    built = directory(names, V1_2025)
    blocks = {block.cid: bytes(block.data) for block in built.blocks}
    added, read = run(edit_directory(built.cid, V1_2025, put={"new": (X.cid, 1)}), blocks)
    assert len(read) <= 3
    assert len(added.blocks) <= 4
    removed, read = run(edit_directory(added.cid, V1_2025, remove=["new"]), blocks)
    assert removed.cid == built.cid
    assert len(read) < 120  # reads on until it is clear that one block could not hold all


def test_what_cannot_be_removed_is_named() -> None:
    for profile in (V1_2025, V1_2025.replace(hamt_threshold=1)):
        built = directory(["a", "b"], profile)
        blocks = {block.cid: bytes(block.data) for block in built.blocks}
        for name in ("c", "", "n" * 3000):
            with pytest.raises(NotFound) as caught:
                run(edit_directory(built.cid, profile, remove=[name]), blocks)
            assert caught.value.cid == built.cid


def test_an_edit_refuses_names_and_blocks_that_are_none() -> None:
    built = directory(["a"], V1_2025)
    with pytest.raises(InvalidName):
        run(edit_directory(built.cid, V1_2025, put={"..": (X.cid, 1)}), {})
    link = build_file(b"x", V0_2015)
    with pytest.raises(InvalidBlock, match="no directory"):
        run(edit_directory(link.cid, V1_2025), {link.cid: bytes(link.blocks[0].data)})


def test_a_hamt_stays_one_where_the_threshold_is_off() -> None:
    sharded = V1_2025.replace(hamt_threshold=1)
    built = directory(["a", "b"], sharded)
    blocks = {block.cid: bytes(block.data) for block in built.blocks}
    edited, _ = run(edit_directory(built.cid, V1_2025.replace(hamt_threshold=0), remove=["b"]), blocks)
    assert edited.cid == directory(["a"], sharded).cid
