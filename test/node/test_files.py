"""Files that change, on a node: what stays, what happens at once, what is read, what is collected."""

import random
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path

import pytest
import trio

from ipfs_kit_py import NodeConfig, open_node
from ipfs_kit_py.content.files import Entry
from ipfs_kit_py.core.cid import CID
from ipfs_kit_py.core.errors import InvalidName, LocalError, NotAFile, NotFound, StorageError, TooLarge
from ipfs_kit_py.node import files
from ipfs_kit_py.storage.disk import DiskStore
from ipfs_kit_py.storage.memory import MemoryStore

ROOT = Path(__file__).resolve().parents[2]
DATA = random.Random(2).randbytes(5_000_000)
NOBODY_HAS = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"


def run(test, config=None):
    async def main():
        with trio.fail_after(60):
            async with open_node(config or NodeConfig(offline=True)) as node:
                return await test(node)

    return trio.run(main)


async def chunks(*parts):
    for part in parts:
        yield part


async def write(node, path, data, **options):
    return await node.files_write(path, chunks(data), create=True, **options)


async def read(node, path, **options):
    async with aclosing(node.cat(await node.files_path(path), **options)) as pieces:
        return b"".join([bytes(piece) async for piece in pieces])


async def names(node, path):
    async with aclosing(node.files_ls(path)) as entries:
        return [entry.name async for entry in entries]


def test_the_tree_outlives_the_node(tmp_path):
    config = NodeConfig(repo=tmp_path / "repo", offline=True)

    async def first(node):
        await write(node, "/a/b/c", DATA, parents=True)
        return await node.files_root()

    async def second(node):
        assert await read(node, "/a/b/c") == DATA
        return await node.files_root()

    assert run(first, config) == run(second, config)


def test_a_file_is_what_add_makes_of_its_content():
    async def test(node):
        for data in (b"", b"x", DATA):
            await write(node, "/f", data, truncate=True)
            assert (await node.files_stat("/f")).cid == await node.add_bytes(data)

    run(test)


@pytest.mark.parametrize(
    ("offset", "data"), [(0, b"new"), (4_999_999, b"over the end"), (5_000_000, b"appended"), (5_000_100, b"gap")]
)
def test_writing_into_a_file(offset, data):
    async def test(node):
        await write(node, "/f", DATA)
        await write(node, "/f", data, offset=offset)
        expected = bytearray(DATA + bytes(max(0, offset - len(DATA))))
        expected[offset : offset + len(data)] = data
        assert await read(node, "/f") == expected
        assert (await node.files_stat("/f")).size == len(expected)
        await write(node, "/f", b"short", truncate=True)
        assert await read(node, "/f") == b"short"

    run(test)


def test_tasks_that_write_at_once_lose_nothing():
    async def test(node):
        async with trio.open_nursery() as nursery:
            for number in range(30):
                nursery.start_soon(write, node, f"/file {number}", b"%d" % number)
        assert sorted(await names(node, "/")) == sorted(f"file {number}" for number in range(30))

    run(test)


WRITER = """
import sys, trio
from ipfs_kit_py import NodeConfig, open_node
from pathlib import Path
async def chunks(): yield b"x"
async def main():
    async with open_node(NodeConfig(repo=Path(sys.argv[1]), offline=True)) as node:
        print("ready", flush=True); sys.stdin.readline()
        for number in range(40):
            await node.files_write(f"/{sys.argv[2]}/{number}", chunks(), create=True, parents=True)
trio.run(main)
"""


def test_processes_that_write_at_once_lose_nothing(tmp_path):
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, tmp_path / "repo", str(name)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )
        for name in range(2)
    ]  # fmt: skip
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=60)
        assert writer.returncode == 0

    async def test(node):
        return [len(await names(node, f"/{name}")) for name in range(2)]

    assert run(test, NodeConfig(repo=tmp_path / "repo", offline=True)) == [40, 40]


def test_what_was_appended_to_a_file_by_others_meanwhile_is_not_lost():
    async def test(node):
        await write(node, "/f", b"one")

        async def slow():
            yield b"two"
            await write(node, "/f", b"other", truncate=True)

        with pytest.raises(LocalError, match="changed by others"):
            await node.files_write("/f", slow(), offset=3)
        assert await read(node, "/f") == b"other"

    run(test)


def test_garbage_collection_keeps_the_tree_and_takes_what_it_was():
    async def test(node):
        await write(node, "/f", DATA)
        await write(node, "/g", DATA[::-1])
        old = await node.files_root()
        await node.files_rm(["/g"])
        async with aclosing(node.repo_gc()) as removed:
            gone = {cid.multihash async for cid in removed}
        assert old.multihash in gone
        assert await read(node, "/f") == DATA

    run(test)


def test_a_copy_fetches_nothing_but_the_root_and_a_range_only_its_blocks():
    async def main():
        with trio.fail_after(60):
            async with open_node() as there, open_node() as here:
                cid = await there.add_bytes(DATA)
                await here.connect(there.addresses()[0])
                await here.files_cp(f"/ipfs/{cid}", "/copy")
                before = (await here.statistics()).exchange.blocks_received
                assert before == 1
                assert await read(here, "/copy", offset=2_100_000, length=10) == DATA[2_100_000:2_100_010]
                assert (await here.statistics()).exchange.blocks_received - before == 1

    trio.run(main)


def test_what_nobody_has_may_be_in_the_tree():
    """A directory whose blocks are elsewhere is collected around."""

    async def test(node):
        folder = await node.dag_put({"Data": b"\x08\x01", "Links": [
            {"Name": "far", "Hash": CID.parse(NOBODY_HAS), "Tsize": 5}]}, codec="dag-pb")  # fmt: skip
        await node.files_cp(f"/ipfs/{folder}", "/folder")
        async with aclosing(node.repo_gc()) as removed:
            async for _ in removed:
                pass
        assert await names(node, "/folder") == ["far"]

    run(test)


def test_many_at_once():
    async def entries():
        yield Entry("/empty", "directory")
        for number in range(3000):
            yield Entry(f"/many/{number}", "file", chunks=lambda number=number: chunks(b"%d" % number))
        yield Entry("/many/link", "symlink", target="0")

    async def test(node):
        done = await node.files_batch(entries())
        assert done.root == await node.files_root()
        assert len(done.put) == 3001
        assert len(await names(node, "/many")) == 3001
        assert (await node.files_stat("/many/link")).kind == "symlink"
        assert await names(node, "/empty") == []
        assert await read(node, "/many/2999") == b"2999"

    run(test)


def test_a_batch_is_bounded_and_changes_nothing_when_it_fails(monkeypatch):
    monkeypatch.setattr(files, "MFS_BATCH_ENTRIES", 10)

    async def entries(count, last="/z"):
        for number in range(count):
            yield Entry(f"/{number}", "file", chunks=lambda: chunks(b"x"))
        yield Entry(last, "file", chunks=lambda: chunks(b"x"))

    async def test(node):
        for bad, error in (
            (entries(20), TooLarge),
            (entries(2, "/0/below"), InvalidName),
            (entries(1, "/.."), InvalidName),
        ):
            with pytest.raises(error):
                await node.files_batch(bad)
        assert await names(node, "/") == []

    run(test)


def test_moving_and_removing():
    async def test(node):
        await write(node, "/a/f", b"1", parents=True)
        await node.files_mkdir("/b")
        await node.files_mv("/a/f", "/b")
        assert (await names(node, "/a"), await names(node, "/b")) == ([], ["f"])
        await node.files_mv("/b/f", "/b/g")
        await write(node, "/h", b"2")
        await node.files_mv("/h", "/b/g")
        assert await read(node, "/b/g") == b"2"
        root = await node.files_root()
        assert await node.files_mv("/b/g", "/b/g") == root
        with pytest.raises(InvalidName, match="into itself"):
            await node.files_mv("/b", "/b/c")
        with pytest.raises(NotFound, match="cannot be moved"):
            await node.files_mv("/no", "/yes")
        with pytest.raises(NotAFile, match="recursive"):
            await node.files_rm(["/b"])
        await node.files_rm(["/a", "/b", "/b/g", "/a"], recursive=True)
        assert await names(node, "/") == []

    run(test)


@pytest.mark.parametrize("path", ["relative", "/ipfs/bafkqaaa", "ipfs://bafkqaaa"])
def test_what_cannot_change_says_so(path):
    async def test(node):
        with pytest.raises(LocalError):
            await node.files_mkdir(path)

    run(test)


def test_a_damaged_record_is_told_and_can_be_begun_anew():
    async def test(node):
        await write(node, "/f", b"1")
        node.store.records.put(b"mfs", b"root", b"no CID")
        for call in (node.files_root, lambda: node.files_stat("/f"), lambda: write(node, "/g", b"2")):
            with pytest.raises(StorageError, match="begins anew"):
                await call()
        async with aclosing(node.repo_gc()) as removed:
            async for _ in removed:
                pass
        await node.files_rm(["/"], recursive=True, force=True)
        assert await names(node, "/") == []

    run(test)


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_swapping_a_record(kind, tmp_path):
    store = MemoryStore(1 << 20) if kind == "memory" else DiskStore(tmp_path / "blocks", quota=1 << 24)
    records = store.records
    assert records.swap(b"s", b"k", None, b"1")
    assert not records.swap(b"s", b"k", None, b"2")
    assert not records.swap(b"s", b"k", b"0", b"2")
    assert records.swap(b"s", b"k", b"1", b"2")
    assert records.get(b"s", b"k") == b"2"
    store.close()
