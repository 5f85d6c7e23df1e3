"""The gateway tier against the gateway of Kubo 0.43.1: archives, ranges, and a liar in front of a real one."""

from __future__ import annotations

import random
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio

from ipfs_kit_py.core.cid import CID, Block
from ipfs_kit_py.core.errors import NotAFile, NotFound
from ipfs_kit_py.dag.reader import FileReader
from ipfs_kit_py.storage.remote import conformance
from ipfs_kit_py.storage.remote.gateway.tier import GatewayTier, configured_gateways
from ipfs_kit_py.storage.remote.http.client import Http
from test.peers import locate
from test.peers.kubo import Kubo
from test.peers.verified_fetch import VerifiedFetch
from test.remote.archives import archive
from test.remote.dags import block, tree
from test.remote.server import Reply, Request, cutting, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.interop


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Kubo]:
    """A Kubo whose gateway gives what it holds, and fetches nothing."""
    try:
        binary = locate.kubo()
    except locate.PeerMissing as error:
        pytest.skip(str(error))
    with Kubo(binary, tmp_path / "served", gateway=True, settings={"Gateway.NoFetch": True}) as kubo:
        yield kubo


@pytest.fixture
def fetched(tmp_path: Path) -> Iterator[VerifiedFetch]:
    """A gateway that shares no code with Kubo's."""
    try:
        node, installed = locate.verified_fetch()
    except locate.PeerMissing as error:
        pytest.skip(str(error))
    with VerifiedFetch(node, installed, tmp_path / "fetched") as gateway:
        yield gateway


def run(urls: list[str], work: Callable[[GatewayTier], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        tier = GatewayTier(urls, rng=random.Random(1), **options)
        try:
            await work(tier)
        finally:
            await tier.aclose()

    trio.run(main)


async def all_of(source: Any) -> list[Block]:
    async with aclosing(source) as blocks:
        return [one async for one in blocks]


def read(blocks: list[Block], root: CID, start: int, stop: int | None) -> bytes:
    """The bytes of a range, from these blocks alone."""
    by_cid = {one.cid: one.data for one in blocks}
    plan = FileReader(root, start, stop)
    found = bytearray()
    while not plan.done:
        for cid, _ in plan.wanted(1 << 20):
            plan.feed(cid, by_cid[cid])
        while (part := plan.pop()) is not None:
            found += part
    return bytes(found)


def test_blocks_and_whether_they_are_there(served: Kubo) -> None:
    cid = CID.parse(served.block_put(b"theirs"))

    async def work(tier: GatewayTier) -> None:
        assert await tier.get(cid) == b"theirs"
        assert await tier.has(cid)
        nowhere = block(b"nowhere").cid
        assert not await tier.has(nowhere)
        with pytest.raises(NotFound):
            await tier.get(nowhere)
        with pytest.raises(NotFound):
            await all_of(tier.get_dag(nowhere))
        health = await tier.health()
        assert health.ok, health.detail
        (statistics,) = tier.statistics()
        assert (statistics.blocks, statistics.failures, statistics.lies) == (1, 0, 0)

    run([served.gateway_url], work)


def test_a_gateway_that_fetches_is_not_asked_to(tmp_path: Path) -> None:
    """``only-if-cached`` answers at once where a plain request would look for the block for a long time."""
    try:
        binary = locate.kubo()
    except locate.PeerMissing as error:
        pytest.skip(str(error))
    with Kubo(binary, tmp_path / "kubo", gateway=True) as kubo:

        async def work(tier: GatewayTier) -> None:
            with trio.fail_after(5):
                assert not await tier.has(block(b"nowhere").cid)

        run([kubo.gateway_url], work)


def test_the_users_gateway_is_found_where_kubo_wrote_it(served: Kubo) -> None:
    assert configured_gateways({"IPFS_PATH": str(served.repo)}) == (served.gateway_url.rstrip("/"),)


def test_whole_dags(served: Kubo) -> None:
    """A file with inner nodes, one with the same block many times, and a DAG of dag-cbor put as an archive."""
    content = random.Random(1).randbytes(24 << 20)
    roots = [
        CID.parse(served.add_bytes(content)),
        CID.parse(served.add_bytes(bytes(32 << 20))),
        CID.parse(served.add_bytes(content[: 3 << 20], chunker="size-1024")),
    ]
    blocks = tree(300, 2000)
    from_tree = blocks[0].cid
    for one in blocks:
        served.block_put(bytes(one.data), codec="dag-cbor" if one.cid.codec == 0x71 else "raw")

    async def work(tier: GatewayTier) -> None:
        for root in roots:
            found = await all_of(tier.get_dag(root))
            assert {str(one.cid) for one in found} == {str(root), *served.refs(str(root))}
            assert len(found) == len({one.cid for one in found})
        assert sorted(await all_of(tier.get_dag(from_tree))) == sorted(blocks)
        (statistics,) = tier.statistics()
        assert statistics.requests == 4  # nothing had to be asked for block by block

    run([served.gateway_url], work)


def test_ranges_of_files(served: Kubo) -> None:
    content = random.Random(2).randbytes(10 << 20)
    root = CID.parse(served.add_bytes(content, chunker="size-65536"))
    folder = tree(3)
    served.block_put(bytes(folder[0].data), codec="dag-cbor")
    size = len(content)

    async def work(tier: GatewayTier) -> None:
        ranges: list[tuple[int, int | None]] = [
            (0, 1), (size - 1, None), (0, None), (65_530, 65_540), (3 << 20, 5 << 20), (9 << 20, size + 5000),
        ]  # fmt: skip
        for start, stop in ranges:
            blocks = await all_of(tier.get_range(root, start, stop))
            assert read(blocks, root, start, stop) == content[start:stop]
            wanted = (min(stop or size, size) - 1) // 65_536 - start // 65_536 + 1
            assert sum(one.cid.codec == 0x55 for one in blocks) == wanted
        (statistics,) = tier.statistics()
        assert statistics.requests == len(ranges)
        blocks = await all_of(tier.get_range(root, 100, 100))
        assert [one.cid for one in blocks] == [root]
        with pytest.raises(NotAFile):
            await all_of(tier.get_range(folder[0].cid, 0, 5))

    run([served.gateway_url], work)


@asynccontextmanager
async def proxy(url: str, change: Callable[[bytes], Any]) -> AsyncIterator[str]:
    """A gateway in front of another that changes its bodies."""
    http = Http(url)

    async def handler(request: Request) -> Reply:
        headers = [(name, request.headers[name]) for name in ("accept",) if name in request.headers]
        answer = await http.call(
            request.method, request.path, params=request.query.items(), headers=headers, limit=1 << 30
        )
        return Reply(answer.status, change(answer.body), {"Content-Type": answer.headers["content-type"]})

    async with serving(handler) as front:
        yield front
    await http.aclose()


def test_a_liar_and_one_that_cuts_in_front_of_a_real_gateway(served: Kubo) -> None:
    content = random.Random(3).randbytes(12 << 20)
    root = CID.parse(served.add_bytes(content))
    expected = {str(root), *served.refs(str(root))}

    def flipped(body: bytes) -> bytes:
        at = len(body) * 2 // 3
        return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]

    async def main() -> None:
        async with (
            proxy(served.gateway_url, flipped) as lying,
            proxy(served.gateway_url, lambda body: cutting(body[: len(body) // 2])) as cut,
        ):
            for bad in (lying, cut):
                tier = GatewayTier([bad, served.gateway_url], rng=random.Random(1))
                tier._gateways[1].latency.measured(1.0)  # so that the bad one is first and alone
                found = await all_of(tier.get_dag(root))
                assert {str(one.cid) for one in found} == expected
                assert read(found, root, 0, None) == content
                worse = next(one for one in tier.statistics() if one.url == bad)
                assert worse.blocks > 1
                assert (worse.failures > 0, worse.lies == 1, worse.behind) == (True, bad == lying, bad == lying)
                await tier.aclose()

    trio.run(main)


# --- a gateway of another make ----------------------------------------------------------------------------------------
def test_blocks_archives_and_ranges_of_verified_fetch(served: Kubo, fetched: VerifiedFetch) -> None:
    content = random.Random(4).randbytes(10 << 20)
    root = CID.parse(served.add_bytes(content, chunker="size-65536"))
    zeros = CID.parse(served.add_bytes(bytes(8 << 20)))
    names = {str(root), *served.refs(str(root))}
    assert fetched.load(served.dag_export(str(root))) == len(names)
    fetched.load(served.dag_export(str(zeros)))

    async def work(tier: GatewayTier) -> None:
        assert await tier.get(root) == served.block_get(str(root))
        assert await tier.has(root)
        nowhere = block(b"nowhere").cid
        assert not await tier.has(nowhere)
        with pytest.raises(NotFound):
            await tier.get(nowhere)
        with pytest.raises(NotFound):
            await all_of(tier.get_dag(nowhere))
        assert (await tier.health()).ok
        before = len(fetched.requests())
        found = await all_of(tier.get_dag(root))
        assert {str(one.cid) for one in found} == names
        assert read(found, root, 0, None) == content
        assert read(await all_of(tier.get_dag(zeros)), zeros, 0, None) == bytes(8 << 20)
        ranges: list[tuple[int, int | None]] = [(0, 1), (65_530, 65_540), (3 << 20, 5 << 20), (9 << 20, None)]
        for start, stop in ranges:
            blocks = await all_of(tier.get_range(root, start, stop))
            assert read(blocks, root, start, stop) == content[start:stop]
            wanted = ((stop or len(content)) - 1) // 65_536 - start // 65_536 + 1
            assert sum(one.cid.codec == 0x55 for one in blocks) == wanted
        asked = fetched.requests()[before:]
        assert len(asked) == 2 + len(ranges)  # an archive each, nothing block by block
        assert f"GET /ipfs/{root.to_v1()}?format=car&dag-scope=entity&entity-bytes=65530%3A65539" in asked
        (statistics,) = tier.statistics()
        assert (statistics.failures, statistics.lies) == (0, 0)

    run([fetched.url], work)


def test_two_makes_of_gateways_are_raced_and_complete_each_other(served: Kubo, fetched: VerifiedFetch) -> None:
    """Each holds a part of a DAG that the other has not."""
    blocks = tree(60, 20_000)
    root = blocks[0].cid
    for one in blocks[:40]:
        served.block_put(bytes(one.data), codec="dag-cbor" if one.cid.codec == 0x71 else "raw")
    fetched.load(archive(root, [*blocks[:1], *blocks[20:]]))

    async def work(tier: GatewayTier) -> None:
        found = await all_of(tier.get_dag(root))
        assert sorted(found) == sorted(blocks)
        assert all(one.blocks for one in tier.statistics())
        assert sum(one.blocks for one in tier.statistics()) == len(blocks)
        assert not any(one.lies for one in tier.statistics())

    run([served.gateway_url, fetched.url], work)
    run([fetched.url, served.gateway_url], work)


# --- conformance ------------------------------------------------------------------------------------------------------
def conforms(tier: GatewayTier, place: Callable[[list[Block]], Awaitable[object]]) -> Awaitable[None]:
    async def work() -> None:
        applied = await conformance.check(tier, seconds=20.0, place=place)
        assert {name for name, made in applied.items() if not made} == {
            "status_of_what_is_kept", "any_order_and_again", "removed", "false_blocks", "gaps", "failing_sources",
            "cancelled_puts",
        }  # fmt: skip

    return work()


def test_it_conforms_on_kubos_gateway(served: Kubo) -> None:
    async def place(blocks: list[Block]) -> None:
        raw = archive(blocks[0].cid, blocks)
        await trio.to_thread.run_sync(lambda: served.dag_import(raw, pin=False))

    run([served.gateway_url], lambda tier: conforms(tier, place))


def test_it_conforms_on_verified_fetch(fetched: VerifiedFetch) -> None:
    async def place(blocks: list[Block]) -> None:
        await trio.to_thread.run_sync(fetched.load, archive(blocks[0].cid, blocks))

    run([fetched.url], lambda tier: conforms(tier, place))
