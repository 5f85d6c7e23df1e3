"""The Storacha tier against a scripted service: what it asks, and how it takes silence, cuts and refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import MockClock

from ipfs_kit_py.core.cid import CID, DAG_CBOR, RAW, Block
from ipfs_kit_py.core.errors import BackendError, ConfigError, HashMismatch, InvalidBlock, TimedOut
from ipfs_kit_py.dag import dag_cbor
from ipfs_kit_py.storage.remote import base
from ipfs_kit_py.storage.remote.storacha import api as storacha_api
from ipfs_kit_py.storage.remote.storacha import read as storacha_read
from ipfs_kit_py.storage.remote.storacha.ucan import Capability, Delegation, issue
from test.remote.dags import block, stream, tree
from test.remote.loopback import Cut, Reply, Request
from test.remote.storacha_service import (
    AGENT,
    BLOCKS,
    ROOT,
    SPACE,
    STRANGER,
    Refused,
    Service,
    all_of,
    always,
    did,
    put,
    right_of,
    run,
    world,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from ipfs_kit_py.storage.remote.storacha.tier import StorachaTier


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "RETRY_BASE_SECONDS", 0.001)
    monkeypatch.setattr(storacha_read, "RETRY_BASE_SECONDS", 0.001)
    monkeypatch.setattr(storacha_api, "POLL_SECONDS", 0.001)


# --- what it asks -----------------------------------------------------------------------------------------------------
def test_a_dag_is_put_and_comes_back() -> None:
    async def work(tier: StorachaTier, service: Service) -> None:
        assert (await put(tier)).safe
        assert await all_of(tier) == BLOCKS
        assert service.asked == {
            "POST": 6, "space/blob/add": 2, "PUT blob": 2, "ucan/conclude": 2, "GET receipt": 2, "space/index/add": 1,
            "upload/add": 1, "GET blob": 1,
        }  # fmt: skip
        assert await tier.get(BLOCKS[9].cid) == BLOCKS[9].data
        assert await tier.get(BLOCKS[10].cid) == BLOCKS[10].data
        assert service.asked["GET blob"] == 4  # the index once, each block by its range
        await tier.remove(ROOT)
        assert (service.space, service.uploads) == ({}, {})

    run(work)


def test_blocks_that_are_neighbours_are_read_together() -> None:
    async def work(tier: StorachaTier, service: Service) -> None:
        await put(tier)
        await tier.get(ROOT)
        before = service.asked["GET blob"]
        assert await all_of(tier, BLOCKS[1].cid) == [BLOCKS[1], *BLOCKS[4:14]]  # it is no upload
        assert service.asked["GET blob"] - before == 2  # a level each
        del tier.uploads[ROOT]
        service.uploads.clear()
        assert await all_of(tier) == BLOCKS
        assert service.asked["GET blob"] - before == 5

    run(work)


def test_a_block_that_comes_twice_is_taken_once() -> None:
    async def work(tier: StorachaTier, service: Service) -> None:
        await tier.put(ROOT, stream([*BLOCKS, *BLOCKS]))
        assert await all_of(tier) == BLOCKS
        [shard] = tier.uploads[ROOT].shards
        assert shard.size is not None
        assert shard.size < 2 * 25 * 5000

    run(work)


def test_the_archives_wait_on_the_disk(tmp_path: Path) -> None:
    """While an archive is on its way its file is there, without a name, and its bytes come from it again."""
    blocks = tree(20, 1 << 20)

    async def work(tier: StorachaTier, service: Service) -> None:
        cuts = iter(range(2))

        async def cut(request: Request) -> Reply | None:
            if next(cuts, None) is None:
                return None
            async for _chunk in request.chunks:
                break
            raise Cut

        service.routes["PUT blob"] = cut
        await tier.put(blocks[0].cid, stream(blocks))
        assert len(tier.uploads[blocks[0].cid].shards) == 3
        assert list(tmp_path.iterdir()) == []
        assert await all_of(tier, blocks[0].cid) == blocks

    run(work, folder=tmp_path, shard_bytes=(8 << 20) + 4096)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_shard_that_is_cut_goes_on(ranges: bool) -> None:
    blocks = tree(30, 50_000)

    async def work(tier: StorachaTier, service: Service) -> None:
        await tier.put(blocks[0].cid, stream(blocks))
        service.ranges = ranges
        cuts = iter([700_000, 1_200_000])

        async def cut(request: Request) -> Reply | None:
            end = next(cuts, None)
            if end is None:
                return None
            whole = service.blob(request)
            assert isinstance(whole.body, bytes)
            length = len(whole.body)

            async def some(body: bytes) -> AsyncGenerator[bytes, None]:
                yield body
                raise Cut

            part = whole.body[:end]
            return Reply(whole.status, some(part), {**whole.headers, "Content-Length": str(length)})

        service.routes["GET blob"] = cut
        assert await all_of(tier, blocks[0].cid) == blocks
        assert next(cuts, None) is None

    run(work)


def test_what_the_service_refuses_is_told() -> None:
    async def work(tier: StorachaTier, service: Service) -> None:
        def refuse(_nb: Any) -> None:
            raise Refused("ServiceUnavailable", "writes are\x1b[2J disabled\n since May")

        service.twists["space/blob/add"] = refuse
        with pytest.raises(BackendError, match=r"add: ServiceUnavailable: writes are\\x1b\[2J disabled since") as found:
            await put(tier)
        assert found.type is BackendError

    run(work)


# --- silence, cuts, refusals of HTTP ----------------------------------------------------------------------------------
def test_a_receipt_that_never_comes_is_waited_for_so_long() -> None:
    async def work(tier: StorachaTier, service: Service) -> None:
        service.twists["accepted"] = always(None)
        with pytest.raises(TimedOut, match=r"gave no receipt of .* within 7 s"):
            await put(tier)
        assert service.asked["GET receipt"] > 5

    run(work, wait=7.0, clock=MockClock(autojump_threshold=0.01))


def test_a_service_that_stalls_is_left() -> None:
    async def stall(_request: Request) -> Reply | None:
        await trio.sleep_forever()
        return None

    async def work(tier: StorachaTier, service: Service) -> None:
        service.routes["POST"] = stall
        with pytest.raises((TimedOut, BackendError)):
            await put(tier)
        health = await tier.health()
        assert not health.ok

    run(work, seconds=5.0, clock=MockClock(autojump_threshold=0.02))


@pytest.mark.parametrize("status", [500, 404, 302, 401])
def test_a_service_that_refuses_is_left(status: int) -> None:
    async def refuse(_request: Request) -> Reply | None:
        return Reply(status, b"go away", {"Location": "http://127.0.0.1:1/"})

    async def work(tier: StorachaTier, service: Service) -> None:
        service.routes["POST"] = refuse
        with pytest.raises(BackendError):
            await put(tier)
        assert service.asked["POST"] == 1

    run(work)


@pytest.mark.parametrize("status", [429, 503, None])
def test_what_may_pass_is_tried_again(status: int | None) -> None:
    seen: set[str] = set()

    async def sometimes(request: Request) -> Reply | None:
        key = request.method + request.path.split("/")[1]
        if key in seen:
            return None
        seen.add(key)
        if status is None:
            raise Cut
        return Reply(status)

    async def work(tier: StorachaTier, service: Service) -> None:
        service.routes.update(dict.fromkeys(("POST", "PUT blob", "GET blob", "GET receipt"), sometimes))
        assert (await put(tier)).safe
        assert await all_of(tier) == BLOCKS
        assert len(seen) == 4

    run(work)


def test_an_upload_that_is_cut_again_and_again_is_given_up() -> None:
    async def cut(request: Request) -> Reply | None:
        async for _chunk in request.chunks:
            break
        raise Cut

    async def work(tier: StorachaTier, service: Service) -> None:
        service.routes["PUT blob"] = cut
        with pytest.raises(BackendError, match=r"PUT .* closed without an answer"):
            await put(tier)
        assert service.asked["PUT blob"] == base.RETRIES + 1
        assert service.uploads == {}
        del service.routes["PUT blob"]
        assert (await put(tier)).safe

    run(work)


@pytest.mark.parametrize("status", [403, 404, 400])
def test_a_node_that_refuses_the_bytes_is_told(status: int) -> None:
    async def refuse(request: Request) -> Reply | None:
        await request.body()
        return Reply(status, b"signature expired")

    async def work(tier: StorachaTier, service: Service) -> None:
        service.routes["PUT blob"] = refuse
        with pytest.raises(BackendError, match="signature expired"):
            await put(tier)

    run(work)


# --- configuration ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "options",
    [
        {"endpoint": "ftp://up.example.org"},
        {"service": "no did"},
        {"service_key": None},
        {"service_key": "did:web:x.example"},
        {"space": "no did"},
        {"proofs": []},
        {"proofs": [right_of(STRANGER)]},
        {"proofs": [Delegation(issue(SPACE, did(AGENT), [Capability("*", "ucan:*")], expires=None))]},
        {"claims": "nowhere"},
        {"receipts": "http://a:b@c/"},
        {"shard_bytes": 1000},
    ],
)
def test_what_cannot_work_is_told_at_once(options: dict[str, Any]) -> None:
    async def main() -> None:
        async with world(**options) as (tier, _service):
            await put(tier)

    with pytest.RaisesGroup(ConfigError, flatten_subgroups=True):
        trio.run(main)


def test_a_key_is_not_shown() -> None:
    async def work(tier: StorachaTier, _service: Service) -> None:
        assert did(AGENT) in repr(tier)
        for shown in (repr(tier), str(vars(tier)), str(vars(tier._api))):
            assert AGENT.encode().hex()[8:40] not in shown

    run(work)


def test_an_empty_block_and_one_that_carries_itself() -> None:
    empty = block(b"")
    carried = CID(1, RAW, b"\0\3abc")
    root = block(dag_cbor.encode([empty.cid, carried]), DAG_CBOR)

    async def work(tier: StorachaTier, service: Service) -> None:
        await tier.put(root.cid, stream([root, empty]))
        assert await all_of(tier, root.cid) == [root, empty]
        assert await tier.get(empty.cid) == b""
        assert await tier.get(carried) == b"abc"
        del tier.uploads[root.cid]
        service.uploads.clear()
        assert await all_of(tier, root.cid) == [root, empty]

    run(work)


def test_a_root_that_is_not_there_is_told() -> None:
    async def work(tier: StorachaTier, service: Service) -> None:
        with pytest.raises(InvalidBlock, match="not among the blocks"):
            await tier.put(ROOT, stream(BLOCKS[1:]))
        assert service.uploads == {}
        with pytest.raises(HashMismatch):
            await tier.put(ROOT, stream([*BLOCKS[:-1], Block(BLOCKS[-1].cid, b"false")]))

    run(work)
