"""Changes to a tree of directories: the result is what the final tree would be if it were built from nothing."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipfs_kit_py.core.cid import CID
from ipfs_kit_py.core.errors import InvalidName, NotAFile, NotFound
from ipfs_kit_py.dag import mfs
from ipfs_kit_py.dag.builder import FileBuilder
from ipfs_kit_py.dag.importer import TreeBuilder
from ipfs_kit_py.dag.mfs import Changes, Entry, segments
from ipfs_kit_py.dag.profiles import V1_2025

SMALL = V1_2025.replace(hamt_threshold=300)  # directories of more than a handful of entries are sharded
NAMES = [f"name {number}" for number in range(12)]
FILES = [bytes([number]) for number in range(4)]


class Blocks(dict):
    def keep(self, built):
        self.update({block.cid: bytes(block.data) for block in built.blocks})
        return built

    def run(self, plan):
        try:
            cid = next(plan)
            while True:
                cid = plan.send(self[cid])
        except StopIteration as end:
            return end.value


def file(blocks, data):
    builder = FileBuilder(SMALL)
    first = builder.write(data)
    built = builder.finish()
    blocks.update({block.cid: bytes(block.data) for block in [*first, *built.blocks]})
    return Entry(built.cid, built.tsize)


def from_nothing(tree, blocks, profile=SMALL):
    """The root of ``tree``: names to bytes or trees."""
    builder = TreeBuilder(profile)

    def walk(below, prefix):
        for name in sorted(below):
            path = f"{prefix}{name}"
            if isinstance(below[name], dict):
                for _entry, built in builder.enter(path):
                    blocks.keep(built)
                walk(below[name], f"{path}/")
            else:
                made = FileBuilder(profile)
                first = made.write(below[name])
                finished = made.finish()
                blocks.update({block.cid: bytes(block.data) for block in [*first, *finished.blocks]})
                for _entry, built in builder.add(path, finished):
                    blocks.keep(built)

    walk(tree, "")
    root, left = builder.finish()
    for _entry, built in left:
        blocks.keep(built)
    return blocks.keep(root).cid


def put_into(tree, path, data):
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
        if not isinstance(tree, dict):
            return False
    if isinstance(tree.get(path[-1]), dict) != isinstance(data, dict) and path[-1] in tree:
        return False
    tree[path[-1]] = {**tree.get(path[-1], {}), **data} if isinstance(data, dict) else data
    return True


def at(tree, path):
    for name in path:
        if not isinstance(tree, dict) or name not in tree:
            return None
        tree = tree[name]
    return tree


PATHS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map(tuple)
STEPS = st.lists(st.tuples(st.sampled_from(["put", "remove", "mkdir"]), PATHS, st.sampled_from(FILES)), max_size=30)


@settings(max_examples=150)
@given(batches=st.lists(STEPS, max_size=4))
def test_the_tree_is_what_it_would_be_from_nothing(batches):
    blocks, tree = Blocks(), {}
    root = blocks.keep(mfs.empty_directory(SMALL)).cid
    for batch in batches:
        changes, begun = Changes(), {}
        for what, path, data in batch:
            before = at(tree, path)
            if any(path[: len(other)] == other or other[: len(path)] == path for other in begun):
                continue  # one change of a batch at a time below one path; what they do together is tested below
            if what == "put" and not isinstance(before, dict) and put_into(tree, path, data):
                changes.put(path, file(blocks, data))
            elif what == "mkdir" and put_into(tree, path, {}):
                changes.make_directory(path)
            elif what == "remove" and before is not None:
                del at(tree, path[:-1])[path[-1]]
                changes.remove(path)
            else:
                continue
            begun[path] = what
        root = blocks.keep(blocks.run(changes.apply(root, SMALL, parents=True))).cid
        assert root == from_nothing(tree, Blocks())


def built(tree):
    blocks = Blocks()
    return blocks, from_nothing(tree, blocks)


def test_a_change_of_many_files_makes_each_directory_once():
    blocks, root = built({"a": {"b": {"c": b"1"}}})
    changes = Changes()
    for number in range(50):
        changes.put(("a", "b", f"new {number}"), file(blocks, b"x"))
    done = blocks.run(changes.apply(root, V1_2025))
    assert len({block.cid for block in done.blocks}) == 3
    assert blocks.run(mfs.find(blocks.keep(done).cid, ("a", "b", "new 7"))) == file(blocks, b"x").cid


def test_what_is_said_last_of_a_path_holds():
    blocks, root = built({"a": b"1"})
    changes = Changes()
    changes.put(("a",), file(blocks, b"2"))
    changes.remove(("a",))
    changes.put(("a",), file(blocks, b"3"))
    done = blocks.keep(blocks.run(changes.apply(root, SMALL)))
    assert done.cid == from_nothing({"a": b"3"}, Blocks())


def test_a_directory_that_is_removed_and_made_anew_is_empty():
    blocks, root = built({"a": {"b": b"1"}})
    changes = Changes()
    changes.remove(("a",))
    changes.put(("a", "c"), file(blocks, b"2"))
    assert blocks.run(changes.apply(root, SMALL)).cid == from_nothing({"a": {"c": b"2"}}, Blocks())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda changes, entry: changes.put(("no", "f"), entry), NotFound, "/no is not there"),
        (lambda changes, entry: changes.put(("f", "g"), entry), NotAFile, "/f is a file"),
        (lambda changes, entry: changes.put(("d", "f", "g"), entry), NotAFile, "/d/f is a file"),
        (lambda changes, entry: changes.remove(("no",)), NotFound, "/no is not there"),
        (lambda changes, entry: changes.remove(("d", "no")), NotFound, "/d/no is not there"),
        (lambda changes, entry: changes.make_directory(("f",)), NotAFile, "/f is a file"),
    ],
)
def test_what_cannot_be_done_names_the_path(change, error, message):
    blocks, root = built({"f": b"1", "d": {"f": b"2"}})
    changes = Changes()
    change(changes, file(blocks, b"3"))
    with pytest.raises(error, match=message):
        blocks.run(changes.apply(root, SMALL))


def test_changes_that_contradict_each_other_are_refused():
    entry = Entry(CID.of(b""), 0)
    changes = Changes()
    changes.put(("a",), entry)
    with pytest.raises(InvalidName, match="/a is a file of the same changes"):
        changes.put(("a", "b"), entry)
    with pytest.raises(InvalidName, match="/a is a file of the same changes"):
        changes.make_directory(("a",))
    changes.put(("d", "x"), entry)
    with pytest.raises(InvalidName, match="/d is a directory of the same changes"):
        changes.put(("d",), entry)
    for root in (lambda: changes.put((), entry), lambda: changes.remove(())):
        with pytest.raises(InvalidName, match="the root cannot be"):
            root()


@pytest.mark.parametrize("path", ["/a/../b", "/./a", "/a\0b", "/" + "x" * 5000, "/a" * 100])
def test_names_that_no_entry_may_have(path):
    with pytest.raises(InvalidName):
        segments(path)


def test_paths():
    assert segments("//a///b/") == ("a", "b")
    assert segments("/") == ()
    assert mfs.text(("a", "b\x1b[2J")) == "/a/b\\x1b[2J"
