"""Whole DAGs and ranges of files from gateways: archives in any order, cut, false or flooded, and what they lack."""

from __future__ import annotations

import random
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from ipfs_kit_py.core.cid import DAG_CBOR, DAG_PB, Block
from ipfs_kit_py.core.errors import (
    BackendError,
    ConfigError,
    HashMismatch,
    InvalidBlock,
    NotAFile,
    NotFound,
)
from ipfs_kit_py.dag import dag_cbor, dag_pb, unixfs
from test.remote.archives import archive
from test.remote.dags import block, tree
from test.remote.gateways import CAR, Honest, all_of, by_url, liar, range_of, run
from test.remote.server import (
    Reply,
    Request,
    chunks,
    cutting,
    stalling,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipfs_kit_py.storage.remote.gateway.tier import GatewayTier

HELLO = block(b"hello")


# --- DAGs -------------------------------------------------------------------------------------------------------------
def reversed_(blocks: list[Block]) -> list[Block]:
    return blocks[::-1]


def doubled(blocks: list[Block]) -> list[Block]:
    return [one for pair in zip(blocks, blocks, strict=True) for one in pair]


@pytest.mark.parametrize("order", [list, reversed_, doubled])
@pytest.mark.parametrize(
    "kind", [CAR["Content-Type"], "application/vnd.ipld.car", "application/vnd.ipld.car; order=unk"]
)
def test_a_dag_comes_in_whatever_order(order: Any, kind: str) -> None:
    blocks = tree(57, 3000)
    gateway = Honest(blocks, order=order, headers={"Content-Type": kind})

    async def work(tier: GatewayTier) -> None:
        found = await all_of(tier, blocks[0].cid)
        assert found[0] == blocks[0]
        assert sorted(found) == sorted(blocks)
        (request,) = gateway.requests
        assert request.query == {"format": "car", "dag-scope": "all"}
        assert request.headers["accept"] == "application/vnd.ipld.car; version=1; order=dfs; dups=n"
        (statistics,) = tier.statistics()
        assert statistics.blocks == len(blocks)
        assert statistics.bytes == sum(len(bytes(one.data)) for one in blocks)

    run([gateway], work)


def half(how: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    return lambda raw: how(raw[: len(raw) // 2])


def told(raw: bytes) -> Any:
    """As boxo's gateway ends an archive that it cannot complete: with status 200 and a whole body."""
    return chunks(raw + b"\n\n[Gateway Error: CAR stream truncated, response is incomplete]")


def test_an_archive_that_says_that_its_root_is_not_there_is_not_found() -> None:
    async def absent(request: Request) -> Reply:
        if request.query["format"] == "raw":
            return Reply(404, b"not here")
        return Reply(body=told(archive(HELLO.cid, [])), headers=CAR)

    async def work(tier: GatewayTier) -> None:
        with pytest.raises(NotFound):
            await all_of(tier, HELLO.cid)
        assert by_url(tier)[0].failures == 0

    run([absent], work)


@pytest.mark.parametrize("how", [cutting, stalling, chunks, told])
def test_a_truncated_archive_is_completed_block_by_block(how: Any) -> None:
    blocks = tree(57, 3000)
    broken, other = Honest(blocks, broken=half(how)), Honest(blocks, delay=20, archives=400)

    async def work(tier: GatewayTier) -> None:
        found = await all_of(tier, blocks[0].cid)
        assert sorted(found) == sorted(blocks)
        raw = broken.asked("raw") + other.asked("raw")
        assert len(broken.asked("car")) == 1
        assert 20 < len(raw) < 45
        assert str(blocks[0].cid) not in raw

    run([broken, other], work)


def test_an_archive_that_lies_in_the_middle_is_completed_by_others() -> None:
    blocks = tree(57, 3000)
    false = [*blocks[:20], Block(blocks[20].cid, b"false"), *blocks[21:]]
    lying = Honest(blocks, order=lambda _: false)
    other = Honest(blocks, delay=0.1)

    async def work(tier: GatewayTier) -> None:
        found = await all_of(tier, blocks[0].cid)
        assert sorted(found) == sorted(blocks)
        assert by_url(tier)[0].lies == 1
        assert by_url(tier)[0].behind
        assert len(other.asked("raw")) == len(blocks) - 20
        assert not lying.asked("raw")

    run([lying, other], work)


def test_an_archive_whose_first_block_lies_loses_the_race() -> None:
    blocks = tree(20, 3000)

    async def work(tier: GatewayTier) -> None:
        assert sorted(await all_of(tier, blocks[0].cid)) == sorted(blocks)
        assert by_url(tier)[0].lies == 1

    run([liar(blocks), Honest(blocks, delay=1.0)], work)

    async def alone(tier: GatewayTier) -> None:
        with pytest.raises(HashMismatch):
            await all_of(tier, blocks[0].cid)

    run([liar(blocks)], alone)


def test_foreign_blocks_are_refused() -> None:
    blocks, foreign = tree(20, 3000), tree(20, 3000, seed=7)
    mixed = [one for pair in zip(foreign, blocks, strict=True) for one in pair]

    async def work(tier: GatewayTier) -> None:
        assert sorted(await all_of(tier, blocks[0].cid)) == sorted(blocks)

    run([Honest(blocks, order=lambda _: mixed)], work)


@pytest.mark.parametrize("first", [True, False])
def test_an_endless_archive_of_foreign_blocks_is_left(first: bool) -> None:
    """True blocks of no DAG that was asked for, without end: before the root, or after it."""
    blocks = tree(20, 3000)

    async def body(_raw: bytes) -> Any:
        yield archive(blocks[0].cid, blocks[:2] if first else [])
        seed = random.Random(3)
        while True:
            yield archive(blocks[0].cid, [block(seed.randbytes(1 << 20))])[len(archive(blocks[0].cid, [])) :]

    other = Honest(blocks, delay=3.0, archives=501)

    async def work(tier: GatewayTier) -> None:
        assert sorted(await all_of(tier, blocks[0].cid)) == sorted(blocks)
        assert by_url(tier)[0].failures == 1

    run([Honest(blocks, broken=body), other], work)


def test_gateways_without_archives_give_blocks() -> None:
    blocks = tree(57, 3000)
    gateways = [Honest(blocks, archives=406), Honest([])]

    async def work(tier: GatewayTier) -> None:
        assert sorted(await all_of(tier, blocks[0].cid)) == sorted(blocks)
        assert len(gateways[0].asked("raw")) == len(blocks)
        assert by_url(tier)[0].failures == 0

    run(gateways, work)


async def html(_raw: bytes) -> Any:
    yield b"<html>"


async def nothing(_raw: bytes) -> Any:
    for part in ():
        yield part


@pytest.mark.parametrize(
    ("gateway", "message"),
    [
        (lambda blocks: Honest(blocks, headers={"Content-Type": "application/json"}), "application/json"),
        (lambda blocks: Honest(blocks, headers={"X": "y"}), "no type"),
        (lambda blocks: Honest(blocks, broken=html), "has not got it"),
        (lambda blocks: Honest(blocks, broken=nothing), "has not got it"),
        (lambda blocks: Honest(blocks, broken=lambda _raw: chunks(b"\xff" * 100)), "CAR"),
        (lambda blocks: Honest(blocks, archives=500), "500"),
    ],
)
def test_answers_that_are_no_archive(gateway: Any, message: str) -> None:
    blocks = tree(5, 3000)

    async def work(tier: GatewayTier) -> None:
        with pytest.raises(BackendError, match=message):
            await all_of(tier, blocks[0].cid)

    run([gateway(blocks)], work)

    async def with_another(tier: GatewayTier) -> None:
        assert sorted(await all_of(tier, blocks[0].cid)) == sorted(blocks)

    run([gateway(blocks), Honest(blocks)], with_another)


def test_what_lacks_everywhere_is_not_found_after_what_there_is() -> None:
    blocks = tree(20, 3000)
    found: list[Block] = []

    async def work(tier: GatewayTier) -> None:
        async def read() -> None:
            async with aclosing(tier.get_dag(blocks[0].cid)) as source:
                async for one in source:
                    found.append(one)

        with pytest.raises(NotFound):
            await read()
        assert sorted(found) == sorted(blocks[:-1])

    run([Honest(blocks[:-1])], work)


def test_a_dag_that_cannot_be_read_is_no_fault_of_the_gateway() -> None:
    bad = block(b"\xff\xff", DAG_CBOR)
    root = block(dag_cbor.encode([bad.cid]), DAG_CBOR)

    async def work(tier: GatewayTier) -> None:
        for cid in (bad.cid, root.cid):
            with pytest.raises(InvalidBlock):
                await all_of(tier, cid)
        assert by_url(tier)[0].failures == 0

    run([Honest([root, bad])], work)


def test_leaving_early_closes_the_request_and_losers_are_left() -> None:
    blocks = tree(20, 3000)
    closed = trio.Event()

    async def body(raw: bytes) -> Any:
        try:
            yield raw[: len(raw) // 2]
            await trio.sleep_forever()
        finally:
            closed.set()

    async def work(tier: GatewayTier) -> None:
        async with aclosing(tier.get_dag(blocks[0].cid)) as source:
            async for _ in source:
                break
        for _ in range(20):  # more than there are connections
            with trio.move_on_after(1):
                await all_of(tier, blocks[0].cid)
        assert await tier.get(blocks[0].cid) == bytes(blocks[0].data)

    run([Honest(blocks, broken=body), Honest(blocks, delay=50)], work)


# --- ranges -----------------------------------------------------------------------------------------------------------
def file_of(content: bytes, chunk: int) -> list[Block]:
    leaves = [block(content[at : at + chunk]) for at in range(0, len(content), chunk)]
    sizes = tuple(len(bytes(leaf.data)) for leaf in leaves)
    head = unixfs.encode(unixfs.FSNode(unixfs.FILE, None, sum(sizes), sizes))
    links = [dag_pb.PBLink(leaf.cid, "", size) for leaf, size in zip(leaves, sizes, strict=True)]
    return [block(dag_pb.encode(dag_pb.PBNode(links, head)), DAG_PB), *leaves]


@pytest.mark.parametrize(
    ("start", "stop", "wanted", "asked"),
    [
        (0, None, range(1, 11), "0:*"),
        (2500, 4200, (3, 4, 5), "2500:4199"),
        (9999, None, (10,), "9999:*"),
        (20_000, None, (), "20000:*"),
        (500, 500, (), "500:500"),
    ],
)
def test_a_range_of_a_file(start: int, stop: int | None, wanted: Any, asked: str) -> None:
    blocks = file_of(random.Random(1).randbytes(10_000), 1000)
    gateway = Honest(blocks)  # gives more than was asked for: what the range does not need is refused

    async def work(tier: GatewayTier) -> None:
        found = await range_of(tier, blocks[0].cid, start, stop)
        assert found == [blocks[0], *(blocks[at] for at in wanted)]
        assert gateway.requests[0].query == {"format": "car", "dag-scope": "entity", "entity-bytes": asked}

    run([gateway], work)


def test_a_range_that_is_cut_is_completed_by_its_own_blocks() -> None:
    blocks = file_of(random.Random(1).randbytes(10_000), 1000)
    gateway = Honest(blocks, broken=half(cutting))

    async def work(tier: GatewayTier) -> None:
        found = await range_of(tier, blocks[0].cid, 3000, 9000)
        assert sorted(found) == sorted([blocks[0], *blocks[4:10]])
        assert set(gateway.asked("raw")) <= {str(one.cid) for one in blocks[4:10]}

    run([gateway], work)


def test_a_range_of_what_is_no_file() -> None:
    folder = tree(3)

    async def work(tier: GatewayTier) -> None:
        with pytest.raises(NotAFile):
            await range_of(tier, folder[0].cid, 0, 5)
        with pytest.raises(ConfigError):
            await range_of(tier, folder[0].cid, 5, 3)
        assert by_url(tier)[0].failures == 0

    run([Honest(folder)], work)
