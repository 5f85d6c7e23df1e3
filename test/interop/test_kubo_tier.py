"""The tier of a Kubo daemon against Kubo 0.43.1, and with it the daemon's own words that the tier relies on."""

from __future__ import annotations

import random
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
import trio

from ipfs_kit_py.core.cid import CID, DAG_CBOR, Block
from ipfs_kit_py.core.errors import BackendError, InvalidBlock, NotFound, TimedOut
from ipfs_kit_py.dag import dag_cbor
from ipfs_kit_py.storage.remote import conformance
from ipfs_kit_py.storage.remote.base import Transient
from ipfs_kit_py.storage.remote.kubo.tier import KuboTier
from test.peers import locate
from test.peers.kubo import Kubo
from test.remote.dags import block, stream, tree

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

pytestmark = pytest.mark.interop


def run(kubo: Kubo, work: Callable[[KuboTier], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        tier = KuboTier(kubo.api_url, rng=random.Random(1), **options)
        try:
            await work(tier)
        finally:
            await tier.aclose()

    trio.run(main)


async def all_of(tier: KuboTier, root: CID) -> list[Block]:
    async with aclosing(tier.get_dag(root)) as blocks:
        return [one async for one in blocks]


def test_blocks(kubo: Kubo) -> None:
    one = block(dag_cbor.encode({"a": [1, 2, 3]}), DAG_CBOR)
    large = block(random.Random(1).randbytes(3 << 20))

    async def work(tier: KuboTier) -> None:
        assert not await tier.has(one.cid)
        for each in (one, large):
            await tier.put_block(each)
            assert await tier.has(each.cid)
            assert await tier.get(each.cid) == each.data
        assert CID.parse(kubo.block_put(b"theirs")) == block(b"theirs").cid
        assert await tier.get(block(b"theirs").cid) == b"theirs"
        old = CID.of(b"\x0a\x01x", 0x70, version=0)
        await tier.put_block(Block(old, b"\x0a\x01x"))
        assert await tier.get(old) == b"\x0a\x01x"
        with pytest.raises(NotFound):
            await tier.get(block(b"nowhere").cid)

    run(kubo, work, offline=True)


def test_a_block_that_nobody_has_ends_in_time(kubo: Kubo) -> None:
    async def work(tier: KuboTier) -> None:
        with pytest.raises(TimedOut):
            await tier.get(block(b"nowhere").cid)
        with pytest.raises(TimedOut):
            await all_of(tier, block(b"nowhere").cid)

    run(kubo, work, seconds=0.5)


def test_a_dag_comes_as_kubo_has_it(kubo: Kubo, tmp_path: Path) -> None:
    rng = random.Random(2)
    root = CID.parse(kubo.add_bytes(rng.randbytes(20 << 20)))
    expected = {str(root), *kubo.refs(str(root))}

    async def work(tier: KuboTier) -> None:
        found = await all_of(tier, root)
        assert found[0].cid == root
        assert {str(one.cid) for one in found} == expected
        assert all(one.cid.verify(one.data) for one in found)
        async with aclosing(tier.refs(root)) as refs:
            assert {str(cid) async for cid in refs} | {str(root)} == expected

    run(kubo, work)


def test_a_dag_that_lacks_a_block(kubo: Kubo) -> None:
    """Kubo says so in the trailer, after the blocks in front of it."""
    root = CID.parse(kubo.add_bytes(random.Random(3).randbytes(8 << 20)))
    lost = CID.parse(kubo.lines("refs", str(root))[5]["Ref"])
    kubo.rpc("pin/rm", str(root))
    kubo.rpc("block/rm", str(lost))
    found: list[Block] = []

    async def work(tier: KuboTier) -> None:
        async def read() -> None:
            async with aclosing(tier.get_dag(root)) as blocks:
                async for one in blocks:
                    found.append(one)

        with pytest.raises(NotFound, match=str(lost)):
            await read()
        assert len(found) == 6

    run(kubo, work, offline=True)


def test_a_dag_is_put_pinned_named_and_removed(kubo: Kubo) -> None:
    blocks = tree(200, 20_000)
    root = blocks[0].cid
    shuffled = random.Random(4).sample(blocks, len(blocks))

    async def work(tier: KuboTier) -> None:
        with pytest.raises(NotFound):
            await tier.status(root)
        status = await tier.put(root, stream(shuffled), label="a tree")
        assert (status.state, status.safe) == ("recursive", True)
        assert await tier.status(root) == status.__class__(root, "recursive", True, 1, detail={"name": "a tree"})
        assert (await tier.status(blocks[1].cid)).state == "indirect"
        async with aclosing(tier.pins()) as pins:
            assert root in [cid async for cid in pins]
        kubo.collect()
        assert sorted(await all_of(tier, root)) == sorted(blocks)
        await tier.remove(root)
        await tier.remove(root)
        with pytest.raises(NotFound):
            await tier.status(root)
        kubo.collect()
        assert not await tier.has(root)

    run(kubo, work, offline=True)


def test_a_put_that_lacks_a_block_pins_nothing(kubo: Kubo) -> None:
    blocks = tree(50, 20_000)

    async def work(tier: KuboTier) -> None:
        with pytest.raises(InvalidBlock, match=str(blocks[20].cid)):
            await tier.put(blocks[0].cid, stream([*blocks[:20], *blocks[21:]]))
        with pytest.raises(NotFound):
            await tier.status(blocks[0].cid)

    run(kubo, work)


def test_pinning_has_the_daemon_fetch(kubo: Kubo, tmp_path: Path) -> None:
    with Kubo(locate.kubo(), tmp_path / "other") as other:
        root = CID.parse(other.add_bytes(random.Random(5).randbytes(5 << 20)))
        kubo.connect(other.address)

        async def work(tier: KuboTier) -> None:
            await tier.pin(root, label="fetched")
            assert (await tier.status(root)).detail == {"name": "fetched"}

        run(kubo, work)

    async def nobody(tier: KuboTier) -> None:
        with pytest.raises(BackendError, match="stalled"):
            await tier.pin(block(b"nowhere").cid)

    run(kubo, nobody, seconds=1.5)


def test_files(kubo: Kubo) -> None:
    content = random.Random(6).randbytes(5 << 20)

    async def work(tier: KuboTier) -> None:
        async def source() -> Any:
            for at in range(0, len(content), 100_000):
                yield memoryview(content)[at : at + 100_000]

        root = await tier.add(source(), cid_version=1, raw_leaves=True, chunker="size-1048576")
        assert str(root) == kubo.add_bytes(content)

        async def cat(**options: Any) -> bytes:
            async with aclosing(tier.cat(str(root), **options)) as parts:
                return b"".join([part async for part in parts])

        assert await cat() == content
        assert await cat(offset=1_000_000, length=2_000_000) == content[1_000_000:3_000_000]

    run(kubo, work)


def test_health_and_a_daemon_that_is_gone(kubo: Kubo) -> None:
    async def work(tier: KuboTier) -> None:
        assert (await tier.health()).detail == "kubo 0.43.1"
        await trio.to_thread.run_sync(kubo.close)
        health = await tier.health()
        assert not health.ok
        with pytest.raises(Transient):
            await tier.put(block(b"x").cid, stream([block(b"x")]))

    run(kubo, work)


def test_a_daemon_that_wants_a_token(tmp_path: Path) -> None:
    """Kubo's ``API.Authorizations``: without the secret nothing is allowed, with it what the entry says."""
    entry = {"AuthSecret": "bearer:s3cret", "AllowedPaths": ["/api/v0"]}
    basic = {"AuthSecret": "basic:me:word", "AllowedPaths": ["/api/v0/version"]}
    settings = {"API.Authorizations": {"one": entry, "two": basic}}
    with Kubo(locate.kubo(), tmp_path / "kubo", settings=settings, token="s3cret") as kubo:

        async def denied(tier: KuboTier) -> None:
            health = await tier.health()
            assert not health.ok
            assert "403" in health.detail

        async def allowed(tier: KuboTier) -> None:
            assert (await tier.health()).ok

        async def partly(tier: KuboTier) -> None:
            assert (await tier.health()).ok
            with pytest.raises(BackendError, match="403"):
                await tier.has(block(b"x").cid)

        run(kubo, denied)
        run(kubo, denied, token="wrong")
        run(kubo, allowed, token="s3cret")
        run(kubo, partly, login=("me", "word"))


@pytest.mark.parametrize("offline", [True, False])
def test_it_conforms(kubo: Kubo, offline: bool) -> None:
    async def work(tier: KuboTier) -> None:
        applied = await conformance.check(tier, seconds=20.0)
        assert all(applied.values())

    run(kubo, work, offline=offline, seconds=3.0)
