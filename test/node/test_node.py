"""Nodes over loopback TCP: every verb, two nodes at a time, real services."""

import functools
import hashlib
import os
import random

import pytest
import trio

from ipfs_kit_py import NodeConfig, open_node
from ipfs_kit_py.core.cid import CID
from ipfs_kit_py.core.errors import (
    ConfigError,
    HashMismatch,
    InvalidAddress,
    InvalidBlock,
    InvalidName,
    LocalError,
    NodeDied,
    NotAFile,
    NotFound,
    NotRunning,
    NotSupported,
    PeerUnreachable,
    QuotaExceeded,
    StreamClosed,
)
from ipfs_kit_py.dag import car, dag_pb, unixfs
from ipfs_kit_py.dag.builder import build_file
from ipfs_kit_py.dag.profiles import V0_2015

SECONDS = 60  # a test that waits longer hangs


def on_trio(test):
    """Run an async test under trio with a deadline."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        async def main():
            with trio.fail_after(SECONDS):
                await test(*args, **kwargs)

        trio.run(main)

    return run


async def joined(pieces):
    return b"".join([piece async for piece in pieces])


def pseudo(size, seed=1):
    return random.Random(seed).randbytes(size)


@pytest.mark.parametrize("profile", ["unixfs-v1-2025", "unixfs-v0-2015"])
@pytest.mark.parametrize("size", [0, 1, 262_145, 1_048_577, 5_000_000])
@on_trio
async def test_content_of_any_size_goes_from_node_to_node(size, profile):
    data = pseudo(size)
    async with open_node() as alice, open_node() as bob:
        cid = await alice.add_bytes(data, profile=profile)
        await bob.connect(alice.addresses()[0])
        assert await bob.read_bytes(cid) == data
        stats = await alice.statistics()
        assert stats.exchange.bytes_sent >= size
        assert (await bob.statistics()).exchange.bytes_received >= size
        assert (await bob.statistics()).exchange.duplicates == 0


@on_trio
async def test_a_range_fetches_only_the_blocks_that_it_needs():
    data = pseudo(20 << 20)
    async with open_node() as alice, open_node() as bob:
        cid = await alice.add_bytes(data)
        await bob.connect(alice.addresses()[0])
        assert await joined(bob.cat(cid, offset=10_000_000, length=5)) == data[10_000_000:10_000_005]
        assert (await bob.statistics()).exchange.bytes_received < 3 << 20
        assert await joined(bob.cat(cid, offset=len(data) - 3)) == data[-3:]
        assert await joined(bob.cat(cid, offset=len(data) + 3)) == b""


@on_trio
async def test_a_tree_is_added_listed_and_written_by_another_node(tmp_path):
    root = tmp_path / "tree"
    (root / "sub" / "deeper").mkdir(parents=True)
    (root / "empty").mkdir()
    for name, size in (("a", 0), ("b.bin", 3_000_000), ("sub/ü ñ", 10), ("sub/deeper/c", 1)):
        (root / name).write_bytes(pseudo(size))
    (root / "link").symlink_to("sub/deeper/c")
    (root / ".hidden").write_bytes(b"x")
    async with open_node() as alice, open_node() as bob:
        added = await alice.add(root)
        assert added.name == "tree"
        await bob.connect(alice.addresses()[0])
        entries = {entry.name: entry async for entry in bob.ls(added.cid)}
        assert {name: entry.type for name, entry in entries.items()} == {
            "a": "file", "b.bin": "file", "empty": "directory", "link": "symlink", "sub": "directory",
        }  # fmt: skip
        assert entries["b.bin"].size == 3_000_000
        assert await joined(bob.cat(f"/ipfs/{added.cid}/sub/ü ñ")) == pseudo(10)
        await bob.get(added.cid, tmp_path / "out")
    assert sorted(str(item.relative_to(tmp_path / "out")) for item in (tmp_path / "out").rglob("*")) == [
        "a", "b.bin", "empty", "link", "sub", "sub/deeper", "sub/deeper/c", "sub/ü ñ",
    ]  # fmt: skip
    assert (tmp_path / "out/b.bin").read_bytes() == pseudo(3_000_000)
    assert os.readlink(tmp_path / "out/link") == "sub/deeper/c"


@on_trio
async def test_a_sharded_directory_of_ten_thousand_is_read_by_another_node(tmp_path):
    root = tmp_path / "many"
    root.mkdir()
    for number in range(10_000):
        (root / f"file-{number:05}").write_bytes(b"%d" % number)
    async with open_node() as alice, open_node() as bob:
        added = await alice.add(root)
        await bob.connect(alice.addresses()[0])
        names = [entry.name async for entry in bob.ls(added.cid)]
        assert len(set(names)) == len(names) == 10_000
        assert await bob.read_bytes(f"{added.cid}/file-04711") == b"4711"


@on_trio
async def test_names_that_leave_the_folder_are_refused_by_get(tmp_path):
    async with open_node(NodeConfig(offline=True)) as node:
        inner = await node.add_bytes(b"evil")
        raw = dag_pb.encode(
            dag_pb.PBNode([dag_pb.PBLink(inner, "../evil", 4)], unixfs.encode(unixfs.FSNode(unixfs.DIRECTORY)))
        )
        cid = await node.block_put(raw, codec="dag-pb")
        with pytest.raises(InvalidName):
            await node.get(cid, tmp_path / "out")
    assert not (tmp_path / "evil").exists()


@on_trio
async def test_a_fetch_that_was_interrupted_goes_on_from_the_blocks_that_are_here(tmp_path):
    data = pseudo(30 << 20)
    async with open_node() as alice:
        cid = await alice.add_bytes(data)
        repo = NodeConfig(repo=tmp_path / "bob")
        async with open_node(repo) as bob:
            await bob.connect(alice.addresses()[0])
            async with await bob.open_file(cid) as pieces:
                got = 0
                async for piece in pieces:
                    got += len(piece)
                    if got >= 10 << 20:
                        break
            first = (await bob.statistics()).exchange.bytes_received
        async with open_node(repo) as bob:
            await bob.connect(alice.addresses()[0])
            assert hashlib.sha256(await bob.read_bytes(cid)).digest() == hashlib.sha256(data).digest()
            second = (await bob.statistics()).exchange.bytes_received
        assert second < len(data) - (8 << 20)
        assert first + second < len(data) + (4 << 20)


@on_trio
async def test_two_providers_share_the_work_and_one_may_vanish():
    data = pseudo(40 << 20)
    async with open_node() as one, open_node() as bob:
        async with open_node() as two:
            cid = await one.add_bytes(data)
            await two.add_bytes(data)
            await bob.connect(one.addresses()[0])
            await bob.connect(two.addresses()[0])
            async with await bob.open_file(cid) as pieces:
                got = bytearray()
                async for piece in pieces:
                    got += piece
                    if len(got) >= 10 << 20 and two.peer_id in bob.peers():
                        await bob.disconnect(two.peer_id)
        assert bytes(got) == data


@on_trio
async def test_a_want_is_answered_when_the_block_comes_later():
    async with open_node() as alice, open_node() as bob:
        await bob.connect(alice.addresses()[0])
        data = b"comes later"
        cid = CID.of(data)
        got = []

        async def want():
            got.append(await bob.block_get(cid))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(want)
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert not got
            await alice.block_put(data)
        assert got == [data]


@on_trio
async def test_blocks_values_and_their_errors():
    async with open_node(NodeConfig(offline=True)) as node:
        cid = await node.block_put(b"data")
        assert cid == CID.of(b"data")
        assert await node.block_get(cid) == b"data"
        assert await node.block_stat(str(cid)) == 4
        value = {"list": [1, {"link": cid}], "bytes": b"\x00", "none": None}
        root = await node.dag_put(value)
        assert await node.dag_get(root) == value
        assert await node.dag_get(f"{root}/list/0") == 1
        assert await node.dag_get(f"{root}/list/1/link") == b"data"
        await node.block_rm(cid)
        with pytest.raises(NotFound) as caught:
            await node.block_get(cid)
        assert caught.value.cid == cid
        with pytest.raises(NotFound):
            await node.block_rm(cid)
        await node.block_rm(cid, force=True)
        with pytest.raises(InvalidBlock):
            await node.block_put(bytes((2 << 20) + 1))
        with pytest.raises(ConfigError):
            await node.block_put(b"", mhtype="md5")
        with pytest.raises(NotSupported):
            await node.block_put(b"", codec="dag-nothing")
        with pytest.raises(NotAFile):
            await node.read_bytes(f"{root}/list")


@on_trio
async def test_store_bytes_takes_blocks_and_files_and_names_the_true_cid():
    data = pseudo(600_000)
    async with open_node(NodeConfig(offline=True)) as node:
        await node.store_bytes(CID.of(b"block"), b"block")
        v0 = build_file(data, V0_2015).cid
        await node.store_bytes(v0, data)
        assert await node.local_bytes(v0) == data
        other = CID.of(b"other")
        with pytest.raises(HashMismatch) as caught:
            await node.store_bytes(other, b"block")
        assert caught.value.actual == CID.of(b"block")
        with pytest.raises(NotFound):
            await node.local_bytes(other)


@on_trio
async def test_pins_keep_and_collection_takes_the_rest(tmp_path):
    async with open_node() as alice, open_node(NodeConfig(repo=tmp_path / "repo")) as bob:
        kept = await alice.add_bytes(pseudo(3 << 20))
        loose = await alice.add_bytes(pseudo(2 << 20, seed=2))
        await bob.connect(alice.addresses()[0])
        await bob.pin_add(kept, name="mine")
        await bob.fetch(loose)
        removed = [cid async for cid in bob.repo_gc()]
        assert removed
        assert [row[:2] for row in await bob.pin_ls(kind="recursive")] == [(kept, "recursive")]
        assert len(await bob.pin_ls(kind="indirect")) == 3
        with pytest.raises(LocalError, match="pinned"):
            await bob.block_rm(kept)
        await bob.disconnect(alice.peer_id)
        assert await bob.local_bytes(kept) == pseudo(3 << 20)
        with pytest.raises(NotFound):
            await bob.local_bytes(loose)
        assert [row async for row in bob.repo_verify() if row.error] == []
        await bob.pin_rm(kept)
        with pytest.raises(NotFound):
            await bob.pin_rm(kept)
        assert len([cid async for cid in bob.repo_gc()]) == 4
        assert (await bob.repo_stat()).blocks == 0


@on_trio
async def test_an_archive_goes_out_and_in_and_a_damaged_one_leaves_nothing():
    parts = []

    async def write(part):
        parts.append(bytes(part))

    async def pieces(data):
        for at in range(0, len(data), 50_000):
            yield data[at : at + 50_000]

    async with open_node(NodeConfig(offline=True)) as one, open_node(NodeConfig(offline=True)) as two:
        root = await one.dag_put({"file": await one.add_bytes(pseudo(3 << 20))})
        stat = await one.dag_export(root, write)
        archive = b"".join(parts)
        assert car.read_car(archive).header.roots == [root]
        damaged = bytearray(archive)
        damaged[len(archive) - 5] ^= 1
        with pytest.raises(InvalidBlock, match="CAR"):
            await two.dag_import(pieces(bytes(damaged)))
        assert (await two.repo_stat()).blocks == 0
        found = await two.dag_import(pieces(archive))
        assert (found.roots, found.blocks) == ([(root, "")], stat.blocks)
        assert (await two.dag_stat(root)).size == stat.size
        assert [row[0] for row in await two.pin_ls(kind="recursive")] == [root]


@on_trio
async def test_messages_and_streams_carry_the_proved_peer_id():
    async with open_node() as alice, open_node() as bob:
        heard = []

        async def answer(peer, data):
            heard.append(peer)
            return b"re: " + data

        async def echo(stream):
            await stream.write(await stream.read())
            await stream.close()

        alice.on_message(answer)
        alice.handle("/test/echo/1.0.0", echo)
        peer = await bob.connect(alice.addresses()[0])
        assert await bob.send_message(peer, b"hello") == b"re: hello"
        assert heard == [str(bob.peer_id)]
        bob.on_message(lambda peer, data: data[::-1])  # a plain function runs in a thread
        assert await alice.send_message(bob.peer_id, b"abc") == b"cba"
        stream = await bob.open_stream(peer, ["/test/echo/1.0.0"])
        await stream.write(b"x" * 100_000)
        await stream.close_write()
        assert await stream.read() == b"x" * 100_000
        with pytest.raises(NotSupported):
            await bob.open_stream(peer, ["/test/nothing/1.0.0"])
        assert await bob.ping(peer) >= 0


@on_trio
async def test_a_handler_that_raises_costs_its_own_stream_alone():
    async with open_node() as alice, open_node() as bob:

        async def broken(stream):
            raise RuntimeError("a bug in a handler")

        alice.handle("/test/broken/1.0.0", broken)
        peer = await bob.connect(alice.addresses()[0])

        async def use():
            stream = await bob.open_stream(peer, ["/test/broken/1.0.0"])
            await stream.write(b"x")
            await stream.read_exactly(1)

        for _ in range(3):
            with pytest.raises(StreamClosed):
                await use()
        cid = await alice.add_bytes(b"still here")
        assert await bob.read_bytes(cid) == b"still here"


@on_trio
async def test_what_cannot_be_reached_or_used_is_a_typed_error(tmp_path):
    async with open_node() as node:
        for address in ("/ip4/127.0.0.1/tcp/4001", "nonsense", ""):
            with pytest.raises(InvalidAddress):
                await node.connect(address)
        with pytest.raises(PeerUnreachable):
            await node.connect("/ip4/127.0.0.1/tcp/1/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA")
    async with open_node(NodeConfig(offline=True)) as node:
        with pytest.raises(NotRunning, match="offline"):
            await node.connect("/ip4/127.0.0.1/tcp/1/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA")
    with pytest.raises(InvalidAddress):
        async with open_node(NodeConfig(listen=("/nonsense",))):
            pass
    with pytest.raises(ConfigError):
        NodeConfig(role="king")
    (tmp_path / "identity").write_bytes(b"damaged")
    with pytest.raises(ConfigError):
        async with open_node(NodeConfig(identity_path=tmp_path / "identity")):
            pass
    assert (tmp_path / "identity").read_bytes() == b"damaged"


@on_trio
async def test_a_full_store_says_so_and_still_reads(tmp_path):
    async with open_node() as alice, open_node(NodeConfig(repo=tmp_path / "small", storage_max=4 << 20)) as bob:
        small = await bob.add_bytes(pseudo(1 << 20))
        with pytest.raises(QuotaExceeded):
            await bob.add_bytes(pseudo(8 << 20, seed=3))
        assert await bob.read_bytes(small) == pseudo(1 << 20)
        big = await alice.add_bytes(pseudo(16 << 20, seed=4))
        await bob.connect(alice.addresses()[0])
        assert await bob.read_bytes(big) == pseudo(16 << 20, seed=4)  # a cache of 4 MiB is enough to read through


@on_trio
async def test_an_error_of_the_caller_comes_out_as_it_is():
    with pytest.raises(ZeroDivisionError):
        async with open_node():
            raise ZeroDivisionError


@on_trio
async def test_a_service_that_ends_is_node_died():
    async def fail():
        raise RuntimeError("a bug")

    async def live():
        async with open_node() as node:
            node._nursery.start_soon(fail)
            await trio.sleep_forever()

    with pytest.raises(NodeDied, match="a bug"):
        await live()


@on_trio
async def test_the_identity_stays_and_is_readable_by_its_owner_alone(tmp_path):
    config = NodeConfig(repo=tmp_path / "repo")
    async with open_node(config) as node:
        first = node.peer_id
    async with open_node(config) as node:
        assert node.peer_id == first
    assert (tmp_path / "repo/identity").stat().st_mode & 0o777 == 0o600


@on_trio
async def test_a_fetch_without_any_provider_waits_and_can_be_left():
    async with open_node() as alice, open_node() as bob:
        await bob.connect(alice.addresses()[0])
        with trio.move_on_after(0.2) as scope:
            await bob.read_bytes(CID.of(b"nobody has this"))
        assert scope.cancelled_caught
        assert (await bob.statistics()).exchange.wants == 0
        assert await bob.read_bytes(await alice.add_bytes(b"but this")) == b"but this"
