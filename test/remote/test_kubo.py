"""The tier of a Kubo daemon against servers that answer as it does, and as it must not (the daemon itself is met in
test/interop/test_kubo_tier.py)."""

from __future__ import annotations

import json
import random
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from ipfs_kit_py.core.cid import CID, DAG_CBOR, Block
from ipfs_kit_py.core.config import API_SECONDS, RPC_LINE_BYTES
from ipfs_kit_py.core.errors import (
    BackendError,
    ConfigError,
    HashMismatch,
    InvalidBlock,
    NotFound,
    NotSupported,
    TimedOut,
)
from ipfs_kit_py.dag import dag_cbor
from ipfs_kit_py.storage.remote.kubo.tier import KuboTier
from test.remote.archives import archive
from test.remote.dags import block, stream, tree
from test.remote.server import (
    Reply,
    Request,
    Script,
    chunks,
    cut,
    cutting,
    endless,
    reply_json,
    serving,
    stalled,
    stalling,
    trickling,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ABSENT = "block was not found locally (offline): ipld: could not find it"


def run(script: Any, work: Callable[[KuboTier], Awaitable[None]], *, jumping: bool = True, **options: Any) -> None:
    async def main() -> None:
        async with serving(script) as url:
            tier = KuboTier(url, rng=random.Random(1), **options)
            try:
                await work(tier)
            finally:
                await tier.aclose()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.1) if jumping else None)


def api(**verbs: Any) -> dict[str, Any]:
    return {f"/api/v0/{verb.replace('__', '/')}": replies for verb, replies in verbs.items()}


def error(message: str, status: int = 500, **headers: str) -> Reply:
    return reply_json({"Message": message, "Code": 0, "Type": "error"}, status, **headers)


async def all_of(tier: KuboTier, root: CID) -> list[Block]:
    async with aclosing(tier.get_dag(root)) as blocks:
        return [one async for one in blocks]


# --- blocks -----------------------------------------------------------------------------------------------------------
def test_a_block_is_verified() -> None:
    good = block(b"hello")
    script = Script(api(block__get=[Reply(body=b"hello"), Reply(body=b"hullo"), error(ABSENT)]))

    async def work(tier: KuboTier) -> None:
        assert await tier.get(good.cid) == b"hello"
        with pytest.raises(HashMismatch) as lie:
            await tier.get(good.cid)
        assert (lie.value.peer, lie.value.expected) == ("kubo", good.cid)
        with pytest.raises(NotFound):
            await tier.get(good.cid)
        assert [request.method for request in script.requests] == ["POST"] * 3
        assert script.requests[0].query == {"arg": str(good.cid)}

    run(script, work)


def test_offline_is_said() -> None:
    script = Script(api(block__get=[Reply(body=b"hello")]))

    async def work(tier: KuboTier) -> None:
        await tier.get(block(b"hello").cid)
        assert script.requests[0].query["offline"] == "true"

    run(script, work, offline=True)


def test_a_block_that_its_cid_carries_needs_no_daemon() -> None:
    async def work(tier: KuboTier) -> None:
        assert await tier.get(CID.of(b"inside", hash_code=0)) == b"inside"

    run(stalled, work)


def test_whether_it_has_a_block() -> None:
    row = reply_json({"Key": "x", "Size": 5})
    script = Script(api(block__stat=[row, error(ABSENT), error("disk on fire")]))

    async def work(tier: KuboTier) -> None:
        cid = block(b"x").cid
        assert await tier.has(cid)
        assert not await tier.has(cid)
        with pytest.raises(BackendError, match="disk on fire"):
            await tier.has(cid)
        assert script.requests[0].query["offline"] == "true"

    run(script, work)


@pytest.mark.parametrize("first", [error("busy", 429, **{"Retry-After": "3"}), error("x", 503), cut, error("x", 502)])
def test_what_may_pass_is_tried_again(first: Any) -> None:
    script = Script(api(block__get=[first, first, Reply(body=b"hello")]))

    async def work(tier: KuboTier) -> None:
        assert await tier.get(block(b"hello").cid) == b"hello"
        if isinstance(first, Reply) and first.status == 429:
            assert trio.current_time() >= 6

    run(script, work)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (error("anything else"), BackendError),
        (error("context deadline exceeded"), TimedOut),
        (Reply(404, b"404 page not found\n"), NotSupported),
        (Reply(403, b"403 - Forbidden"), BackendError),
        (Reply(401, b"no"), BackendError),
        (Reply(500, b"[" * 5000), BackendError),
        (Reply(500, b"[1]"), BackendError),
        (Reply(301, b"", {"Location": "http://127.0.0.1:1/"}), BackendError),
        (Reply(body=b"x" * (9 << 20)), BackendError),
    ],
)
def test_what_does_not_pass_is_said_at_once(reply: Reply, kind: type[Exception]) -> None:
    script = Script(api(block__get=[reply]))

    async def work(tier: KuboTier) -> None:
        with pytest.raises(kind):
            await tier.get(block(b"hello").cid)
        assert len(script.requests) == 1

    run(script, work, jumping=False)


def test_a_daemon_that_stalls_is_given_up() -> None:
    async def half(_request: Request) -> Reply:
        return Reply(body=stalling(b"hel"))

    script = Script(api(block__get=[stalled], block__stat=[half]))

    async def work(tier: KuboTier) -> None:
        for verb in (tier.get, tier.has):
            with pytest.raises(TimedOut):
                await verb(block(b"hello").cid)
        assert trio.current_time() < 3 * API_SECONDS

    run(script, work)


def test_a_block_is_put_under_its_cid() -> None:
    one = block(dag_cbor.encode({"a": 1}), DAG_CBOR)
    script = Script(
        api(block__put=[reply_json({"Key": str(one.cid), "Size": 3}), reply_json({"Key": str(block(b"z").cid)})]),
        bodies=True,
    )

    async def work(tier: KuboTier) -> None:
        await tier.put_block(one, pin=True)
        query = script.requests[0].query
        assert (query["cid-codec"], query["mhtype"], query["pin"]) == ("dag-cbor", "sha2-256", "true")
        assert bytes(one.data) in script.received[0]
        with pytest.raises(BackendError, match="stored block"):
            await tier.put_block(one)

    run(script, work)


# --- DAGs in ----------------------------------------------------------------------------------------------------------
def test_a_dag_comes_block_by_block_verified() -> None:
    blocks = tree(57, 3000)

    async def export(_request: Request) -> Reply:
        return Reply(body=chunks(archive(blocks[0].cid, blocks), 7777))

    script = Script(api(dag__export=[export]))

    async def work(tier: KuboTier) -> None:
        found = await all_of(tier, blocks[0].cid)
        assert found[0] == blocks[0]
        assert sorted(found) == sorted(blocks)
        assert script.requests[0].query == {"arg": str(blocks[0].cid), "progress": "false"}

    run(script, work)


def blocks_by_cid(blocks: list[Block]) -> Callable[[Request], Awaitable[Reply]]:
    by_cid = {str(one.cid): bytes(one.data) for one in blocks}

    async def get(request: Request) -> Reply:
        data = by_cid.get(request.query["arg"])
        return error(ABSENT) if data is None else Reply(body=data)

    return get


async def later(*parts: bytes) -> Any:
    for part in parts:
        yield part
        await trio.sleep(1)


@pytest.mark.parametrize("how", ["cut", "stall", "garbage"])
def test_an_archive_that_breaks_off_is_completed(how: str) -> None:
    blocks = tree(40, 3000)
    raw = archive(blocks[0].cid, blocks)
    half = raw[: len(raw) // 2]
    bodies = {
        "cut": cutting(half),
        "stall": stalling(half),
        "garbage": later(archive(blocks[0].cid, blocks[:22]), b"\0" * 9),
    }

    async def export(_request: Request) -> Reply:
        return Reply(body=bodies[how])

    script = Script(api(dag__export=[export], block__get=[blocks_by_cid(blocks)]))

    async def work(tier: KuboTier) -> None:
        found = await all_of(tier, blocks[0].cid)
        assert sorted(found) == sorted(blocks)
        asked = [request.query["arg"] for request in script.requests if request.path.endswith("get")]
        assert len(asked) == len(set(asked))
        assert 10 < len(asked) < 30

    run(script, work)


def test_a_failure_in_the_trailer_is_a_failure() -> None:
    blocks = tree(20, 3000)
    raw = archive(blocks[0].cid, blocks[:10])

    async def lacking(_request: Request) -> Reply:
        return Reply(body=chunks(raw), trailers={"X-Stream-Error": f"ipld: could not find {blocks[11].cid}"})

    async def failing(_request: Request) -> Reply:
        return Reply(body=chunks(raw), trailers={"X-Stream-Error": "disk on fire"})

    async def failing_first(_request: Request) -> Reply:
        return Reply(body=chunks(b""), trailers={"X-Stream-Error": ABSENT})

    async def work(tier: KuboTier) -> None:
        with pytest.raises(NotFound):
            await all_of(tier, blocks[0].cid)
        with pytest.raises(BackendError, match="disk on fire"):
            await all_of(tier, blocks[0].cid)
        with pytest.raises(NotFound):
            await all_of(tier, blocks[0].cid)

    run(Script(api(dag__export=[lacking, failing, failing_first])), work)


def test_a_lying_archive_is_caught_after_what_was_true() -> None:
    blocks = tree(20, 3000)
    false = [*blocks[:8], Block(blocks[8].cid, b"x" * 3000), *blocks[9:]]
    script = Script(api(dag__export=[Reply(body=archive(blocks[0].cid, false))]))
    found: list[Block] = []

    async def work(tier: KuboTier) -> None:
        async def read() -> None:
            async with aclosing(tier.get_dag(blocks[0].cid)) as source:
                found.extend([one async for one in source])

        with pytest.raises(HashMismatch) as lie:
            await read()
        assert lie.value.expected == blocks[8].cid

    run(script, work)


def test_leaving_a_dag_early_ends_the_request() -> None:
    blocks = tree(20, 3000)
    left = trio.Event()

    async def export(_request: Request) -> Reply:
        async def body() -> Any:
            try:
                yield archive(blocks[0].cid, blocks[:5])
                await trio.sleep_forever()
            finally:
                left.set()

        return Reply(body=body())

    async def work(tier: KuboTier) -> None:
        async with aclosing(tier.get_dag(blocks[0].cid)) as source:
            async for _ in source:
                break
        assert (await tier.get(block(b"hello").cid)) == b"hello"

    run(Script(api(dag__export=[export], block__get=[Reply(body=b"hello")])), work, connections=1)


# --- DAGs out ---------------------------------------------------------------------------------------------------------
def imported(root: CID, problem: str = "") -> Reply:
    return reply_json({"Root": {"Cid": {"/": str(root)}, "PinErrorMsg": problem}})


def test_a_dag_is_put_as_an_archive_and_pinned_by_its_name() -> None:
    blocks = tree(57, 30_000)
    root = blocks[0].cid
    pinned = reply_json({"Pins": [str(root)]})
    script = Script(api(dag__import=[imported(root)], pin__add=[pinned]), bodies=True)

    async def work(tier: KuboTier) -> None:
        shuffled = random.Random(1).sample(blocks, len(blocks))
        status = await tier.put(root, stream(shuffled), label="mine")
        assert (status.cid, status.safe, status.state) == (root, True, "recursive")
        first, second = script.requests
        assert (first.query["pin-roots"], first.headers["transfer-encoding"]) == ("true", "chunked")
        assert archive(root, shuffled) in script.received[0]
        assert (second.query["arg"], second.query["name"]) == (str(root), "mine")

    run(script, work)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (imported(tree(1)[0].cid, "no space left"), "no space left"),
        (reply_json({"Stats": {"BlockCount": 3}}), "does not say"),
        (imported(block(b"another").cid), "does not say"),
        (reply_json({"Root": {"Cid": 7}}), "no CID"),
        (reply_json({"Root": {"Cid": {"/": {"/": "x"}}}}), "no CID"),
        (reply_json([1]), "no JSON object"),
        (Reply(body=b"{" * 100), "no JSON"),
        (error("import failed: disk on fire"), "disk on fire"),
        (reply_json({"Message": "broke", "Code": 0, "Type": "error"}), "broke"),
    ],
)
def test_a_put_that_the_daemon_does_not_confirm_failed(reply: Reply, message: str) -> None:
    blocks = tree(1)

    async def work(tier: KuboTier) -> None:
        with pytest.raises(BackendError, match=message):
            await tier.put(blocks[0].cid, stream(blocks))

    run(Script(api(dag__import=[reply]), bodies=True), work)


def test_a_put_of_false_or_lacking_blocks_is_broken_off() -> None:
    blocks = tree(30, 30_000)
    root = blocks[0].cid
    script = Script(api(dag__import=[imported(root)]), bodies=True)

    async def work(tier: KuboTier) -> None:
        with pytest.raises(HashMismatch):
            await tier.put(root, stream([*blocks[:7], Block(blocks[7].cid, b"false")]))
        with pytest.raises(InvalidBlock, match=str(root)):
            await tier.put(root, stream(blocks[1:]))
        with pytest.raises(InvalidBlock, match=str(blocks[9].cid)):
            await tier.put(root, stream([*blocks[:9], *blocks[10:]]))
        assert script.received == []  # no request of them ever came to its end

    run(script, work)


def test_a_daemon_that_answers_a_put_with_a_stall_or_trickle_is_given_up() -> None:
    async def trickle(request: Request) -> Reply:
        await request.body()
        return Reply(body=trickling(b"\n", 1.0))

    async def silent(request: Request) -> Reply:
        await request.body()
        return await stalled(request)

    blocks = tree(3)

    async def work(tier: KuboTier) -> None:
        for _ in range(2):
            with pytest.raises(BackendError, match=r"stalled|no answer"):
                await tier.put(blocks[0].cid, stream(blocks))

    run(Script(api(dag__import=[trickle, silent])), work)


# --- pins -------------------------------------------------------------------------------------------------------------
def test_pins_are_listed_removed_and_told_of() -> None:
    one, two = block(b"1").cid, block(b"2").cid
    rows = "".join(json.dumps({"Cid": str(cid), "Type": "recursive"}) + "\n" for cid in (one, two))

    def keys(kind: str, **more: str) -> Reply:
        return reply_json({"Keys": {str(one): {"Type": kind, **more}}})

    script = Script(
        api(
            pin__ls=[
                keys("recursive", Name="mine"), keys(f"indirect through {two}"), keys("direct"),
                error(f"path '{one}' is not pinned"), Reply(body=rows.encode()), reply_json({"Keys": []}),
                reply_json({"Keys": {}}), reply_json({"Keys": {str(one): {"Type": 5}}}),
            ],
            pin__rm=[reply_json({"Pins": []}), error("not pinned or pinned indirectly"), error("locked")],
        )
    )  # fmt: skip

    async def work(tier: KuboTier) -> None:
        status = await tier.status(one)
        assert (status.state, status.safe, status.detail) == ("recursive", True, {"name": "mine"})
        status = await tier.status(one)
        assert (status.state, status.safe) == ("indirect", True)
        status = await tier.status(one)
        assert (status.state, status.safe) == ("direct", False)
        with pytest.raises(NotFound):
            await tier.status(one)
        async with aclosing(tier.pins()) as pins:
            assert [cid async for cid in pins] == [one, two]
        for _ in range(3):
            with pytest.raises(BackendError, match="says nothing"):
                await tier.status(one)
        await tier.remove(one)
        await tier.remove(one)
        with pytest.raises(BackendError, match="locked"):
            await tier.remove(one)

    run(script, work)


def progress(*counts: int, end: bool = True) -> Callable[[Request], Awaitable[Reply]]:
    async def reply(_request: Request) -> Reply:
        async def body() -> Any:
            for count in counts:
                yield json.dumps({"Progress": count} if count else {}).encode() + b"\n"
                await trio.sleep(API_SECONDS * 0.7)
            while not end:
                yield b"{}\n"
                await trio.sleep(1)
            yield json.dumps({"Pins": ["x"]}).encode()

        return Reply(body=body())

    return reply


def test_pinning_goes_on_as_long_as_blocks_come() -> None:
    cid = block(b"1").cid
    script = Script(api(pin__add=[progress(1, 2, 30, 31, 40), progress(1, 2, end=False), reply_json({})]))

    async def work(tier: KuboTier) -> None:
        await tier.pin(cid)
        assert trio.current_time() > 3 * API_SECONDS
        with pytest.raises(BackendError, match="stalled"):
            await tier.pin(cid)
        with pytest.raises(BackendError, match="does not say"):
            await tier.pin(cid)

    run(script, work)


def test_references_and_their_errors() -> None:
    one = block(b"1").cid
    good = reply_json({"Ref": str(one), "Err": ""})
    script = Script(api(refs=[good, reply_json({"Ref": "", "Err": ABSENT}), reply_json({"Ref": "x"})]))

    async def work(tier: KuboTier) -> None:
        async def refs() -> list[CID]:
            async with aclosing(tier.refs(one)) as found:
                return [cid async for cid in found]

        assert await refs() == [one]
        with pytest.raises(NotFound):
            await refs()
        with pytest.raises(BackendError, match="no CID"):
            await refs()

    run(script, work)


@pytest.mark.parametrize("line", [b"x", b"{}\n"])
def test_rows_without_an_end_do_not_fill_the_memory(line: bytes) -> None:
    async def flood(_request: Request) -> Reply:
        return Reply(body=endless(line * 65_536))

    async def work(tier: KuboTier) -> None:
        async def read() -> None:
            async with aclosing(tier.pins()) as pins:
                async for _ in pins:
                    pass

        with pytest.raises(BackendError, match=f"over {RPC_LINE_BYTES} bytes|no CID"):
            await read()

    run(Script(api(pin__ls=[flood])), work)


# --- files, health ----------------------------------------------------------------------------------------------------
def test_files_are_added_and_read() -> None:
    cid = block(b"file").cid
    added = reply_json({"Name": str(cid), "Hash": str(cid), "Size": "4"})

    async def failing(_request: Request) -> Reply:
        return Reply(body=chunks(b"half"), trailers={"X-Stream-Error": "disk on fire"})

    script = Script(api(add=[added], cat=[Reply(body=b"a file"), failing]), bodies=True)

    async def work(tier: KuboTier) -> None:
        async def content() -> Any:
            yield b"a "
            yield memoryview(b"file")

        assert await tier.add(content(), cid_version=1, raw_leaves=True) == cid
        assert script.requests[0].query == {
            "pin": "true", "progress": "false", "cid-version": "1", "raw-leaves": "true",
        }  # fmt: skip
        assert b"\r\n\r\na file\r\n--" in script.received[0]

        async def cat() -> bytes:
            async with aclosing(tier.cat(f"/ipfs/{cid}", offset=2, length=6)) as parts:
                return b"".join([part async for part in parts])

        assert await cat() == b"a file"
        assert script.requests[1].query == {"arg": f"/ipfs/{cid}", "offset": "2", "length": "6"}
        with pytest.raises(BackendError, match="disk on fire"):
            await cat()

    run(script, work)


def test_health_never_raises() -> None:
    script = Script(api(version=[reply_json({"Version": "0.43.1\x1b[2J"}), stalled, cut, Reply(body=b"[]")]))

    async def work(tier: KuboTier) -> None:
        health = await tier.health()
        assert health.ok
        assert health.detail.startswith("kubo 0.43.1")
        assert "\x1b" not in health.detail
        for _ in range(3):
            assert not (await tier.health()).ok

    run(script, work)


def test_secrets_are_sent_and_not_shown() -> None:
    async def echo(request: Request) -> Reply:
        return error(f"refused {request.headers['authorization']}", 403)

    async def work(tier: KuboTier) -> None:
        with pytest.raises(BackendError, match="refused Bearer …") as refused:
            await tier.get(block(b"x").cid)
        assert "t0p" not in str(refused.value) + repr(tier)

    run(echo, work, token="t0p-secret")


def test_addresses() -> None:
    rng = random.Random(1)
    for text, shown in (
        ("/ip4/127.0.0.1/tcp/5001", "http://127.0.0.1:5001/api/v0"),
        ("/ip6/::1/tcp/5001/http\n", "http://[::1]:5001/api/v0"),
        ("/dns4/kubo.example/tcp/443/https", "https://kubo.example:443/api/v0"),
        ("http://127.0.0.1:5001/", "http://127.0.0.1:5001/api/v0"),
    ):
        assert repr(KuboTier(text, rng=rng)) == f"<KuboTier {shown}>"
    for text in ("/unix/tmp/x", "/ip4/127.0.0.1/udp/5001", "/ip4/127.0.0.1", "127.0.0.1:5001", ""):
        with pytest.raises(ConfigError):
            KuboTier(text, rng=rng)
