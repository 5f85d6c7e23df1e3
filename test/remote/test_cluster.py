"""The tier of a cluster against servers that answer as its peers do, and as they must not (the cluster itself is met in
test/interop/test_cluster.py)."""

from __future__ import annotations

import json
import random
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from ipfs_kit_py.core.cid import Block
from ipfs_kit_py.core.config import API_ANSWER_BYTES, API_SECONDS, CLUSTER_MAX_PEERS, RPC_LINE_BYTES
from ipfs_kit_py.core.errors import (
    BackendError,
    ConfigError,
    HashMismatch,
    InvalidBlock,
    NotFound,
    NotSupported,
    TimedOut,
)
from ipfs_kit_py.dag import car
from ipfs_kit_py.storage.remote.base import Status, Transient
from ipfs_kit_py.storage.remote.build import TierContext, build_tier
from ipfs_kit_py.storage.remote.cluster.answers import PinOptions
from ipfs_kit_py.storage.remote.cluster.tier import ClusterTier
from test.remote.dags import stream, tree
from test.remote.server import (
    Reply,
    Request,
    Script,
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
    from collections.abc import AsyncGenerator, Awaitable, Callable

DAG = tree(12)
ROOT = DAG[0].cid
PIN, ALLOCATION = f"/pins/{ROOT}", f"/allocations/{ROOT}"
VERSION = reply_json({"version": "1.1.6"})
SECRET = "open-sesame-42"


def run(script: Any, work: Callable[[ClusterTier], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        async with serving(script) as url:
            tier = build_tier({"type": "ipfs_cluster", "endpoint": url, **options}, TierContext(rng=random.Random(1)))
            assert isinstance(tier, ClusterTier)
            try:
                await work(tier)
            finally:
                await tier.aclose()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.1))


def wanted(*peers: str, least: int = 2, **more: Any) -> Reply:
    row = {
        "cid": str(ROOT),
        "allocations": list(peers),
        "replication_factor_min": least,
        "replication_factor_max": least,
    }
    return reply_json(row | {"name": "n", "expire_at": "0001-01-01T00:00:00Z"} | more)


def said(**states: str) -> Reply:
    """By peer its state, with an error behind a colon."""
    rows = {
        peer: {"status": text.partition(":")[0], "error": text.partition(":")[2], "peername": "vm"}
        for peer, text in states.items()
    }
    return reply_json({"cid": str(ROOT), "name": "n", "peer_map": rows})


def failed(status: int, message: str, **headers: str) -> Reply:
    return reply_json({"code": status, "message": message}, status, **headers)


def status_of(allocation: Reply, pins: Reply, **options: Any) -> Status:
    found: list[Status | BackendError] = []

    async def work(tier: ClusterTier) -> None:
        try:
            found.append(await tier.status(ROOT))
        except BackendError as error:
            found.append(error)

    run(Script({ALLOCATION: [allocation], PIN: [pins]}), work, **options)
    if isinstance(found[0], BackendError):
        raise found[0]
    return found[0]


# --- what is safe -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("least", "states", "own", "expected"),
    [
        (2, {"a": "pinned", "b": "pinned", "c": "remote"}, 0, ("pinned", True, 2, 2)),
        (2, {"a": "pinned", "b": "pinning"}, 0, ("pinning", False, 1, 2)),
        (2, {"a": "pinned", "b": "unpinned"}, 0, ("unpinned", False, 1, 2)),
        (2, {"a": "pinned", "b": "pin_error:no space"}, 0, ("pin_error", False, 1, 2)),
        (1, {"a": "pinned", "b": "cluster_error:dial"}, 0, ("pinned", True, 1, 1)),
        (1, {"a": "pinned", "b": "cluster_error:dial"}, 2, ("cluster_error", False, 1, 2)),
        (2, {"a": "pinned"}, 0, ("no answer", False, 1, 2)),
        (2, {}, 0, ("no answer", False, 0, 2)),
        (-1, {"a": "pinned", "b": "pinned", "c": "pinned"}, 0, ("pinned", True, 3, 3)),
        (-1, {"a": "pinned", "b": "pinned", "c": "queued"}, 0, ("queued", False, 2, 3)),
        (-1, {}, 0, ("no answer", False, 0, 1)),
        (0, {"a": "remote"}, 0, ("no answer", False, 0, 1)),
        (1, {"a": "PINNED"}, 0, ("pinned", True, 1, 1)),
        (1, {"a": "pinned!"}, 0, ("pinned!", False, 0, 1)),
    ],
)
def test_safe_is_what_enough_peers_have_pinned(
    least: int, states: dict[str, str], own: int, expected: tuple[str, bool, int, int]
) -> None:
    found = status_of(wanted("a", "b", least=least), said(**states), **({"replication_min": own} if own else {}))
    assert (found.state, found.safe, found.replicas, found.wanted) == expected


def test_the_status_names_each_peer_and_what_failed_there() -> None:
    found = status_of(
        wanted("a", "b", "lost", expire_at="2030-01-01T00:00:00Z"),
        said(a="pinned", b="pin_error:no space\x1b", c="remote"),
    )
    assert found.detail == {
        "a": "pinned", "b": "pin_error: no space\\x1b", "lost": "no answer", "expires": "2030-01-01T00:00:00Z",
    }  # fmt: skip


def test_what_is_no_pin_is_not_found() -> None:
    script = Script({ALLOCATION: [failed(404, "pin is not part of the pinset")], PIN: [said(a="unpinned")]})

    async def work(tier: ClusterTier) -> None:
        with pytest.raises(NotFound):
            await tier.status(ROOT)
        assert not await tier.has(ROOT)

    run(script, work)


# --- putting ----------------------------------------------------------------------------------------------------------
def added(*, trailer: str = "", cid: Any = None) -> Callable[[Request], Awaitable[Reply]]:
    async def reply(request: Request) -> Reply:
        await request.body()
        row = json.dumps({"name": "file", "cid": str(ROOT) if cid is None else cid}).encode() + b"\n"

        async def body() -> AsyncGenerator[bytes, None]:
            yield row

        return Reply(200, body(), {"Trailer": "X-Stream-Error"}, {"X-Stream-Error": trailer} if trailer else {})

    return reply


def test_a_dag_is_put_as_an_archive_in_a_form() -> None:
    ok = reply_json({"name": "file", "cid": str(ROOT)})
    answers = {"/version": [VERSION], "/add": [ok], ALLOCATION: [wanted("a", "b")]}
    states = [said(a="unpinned"), said(a="pinned"), said(a="pinned", b="pinning"), said(a="pinned", b="pinned")]
    script = Script(answers | {PIN: states}, bodies=True)

    async def work(tier: ClusterTier) -> None:
        status = await tier.put(ROOT, stream(DAG), label="a & b")
        assert (status.safe, status.replicas) == (True, 2)
        at = script.paths().index("/add")
        assert script.requests[at].query == {
            "format": "car", "name": "a & b", "replication-min": "2", "replication-max": "3", "expire-in": "60s",
            "meta-k": "v",
        }  # fmt: skip
        head, _, rest = script.received[at].partition(b"\r\n\r\n")
        assert b'name="file"' in head
        header, blocks = car.read_car(rest[: rest.rindex(b"\r\n--")])
        assert (list(header.roots), [Block(*one) for one in blocks]) == ([ROOT], DAG)

    run(script, work, replication_min=2, replication_max=3, expire=60, meta={"k": "v"})


def test_an_error_in_the_trailer_fails_a_put() -> None:
    script = Script({"/version": [VERSION], "/add": [added(trailer="no space left")]})

    async def work(tier: ClusterTier) -> None:
        with pytest.raises(BackendError, match="failed in the middle: no space left"):
            await tier.put(ROOT, stream(DAG))

    run(script, work)


def test_a_put_waits_no_longer_than_it_is_told() -> None:
    answers = {"/version": [VERSION], "/add": [added()], ALLOCATION: [wanted("a", "b")], PIN: [said(a="pinning")]}

    async def work(tier: ClusterTier) -> None:
        status = await tier.put(ROOT, stream(DAG))
        assert (status.state, status.safe) == ("pinning", False)

    run(Script(answers), work, wait=5)


def test_a_put_of_what_is_false_or_has_gaps_is_cut() -> None:
    script = Script({"/version": [VERSION], "/add": [added()]})

    async def work(tier: ClusterTier) -> None:
        with pytest.raises(HashMismatch):
            await tier.put(ROOT, stream([*DAG[:-1], Block(DAG[-1].cid, b"false")]))
        with pytest.raises(InvalidBlock, match="is not among the blocks"):
            await tier.put(ROOT, stream(DAG[:-1]))
        assert ALLOCATION not in script.paths()

    run(script, work)


@pytest.mark.parametrize(
    ("reply", "match"),
    [
        (failed(500, "not enough peers"), "500 not enough peers"),
        (failed(401, "unauthorized"), "401 unauthorized"),
        (failed(429, "slow down"), "429"),
        (Reply(200, b""), "names no root"),
        (Reply(200, b"\n\n"), "names no root"),
        (Reply(200, b"{"), "no JSON"),
        (Reply(200, b"[1]\n"), "no JSON object"),
        (Reply(200, b'{"cid": 5}\n'), "no CID"),
        (Reply(200, b'{"cid": "x"}\n'), "no CID"),
        (reply_json({"cid": str(DAG[1].cid)}), "it pinned"),
        (Reply(200, b" " * (RPC_LINE_BYTES + 1)), "a line of over"),
    ],
)
def test_answers_to_a_put_that_are_none(reply: Reply, match: str) -> None:
    async def work(tier: ClusterTier) -> None:
        with pytest.raises(BackendError, match=match):
            await tier.put(ROOT, stream(DAG))

    run(Script({"/version": [VERSION], "/add": [reply]}, bodies=True), work)


@pytest.mark.parametrize("how", ["stall", "half", "trickle", "endless", "cut", "silent cut"])
def test_a_put_that_is_answered_badly_ends(how: str) -> None:
    line = json.dumps({"cid": str(ROOT)}).encode() + b"\n"

    async def bad(request: Request) -> Reply:
        await request.body()
        if how == "stall":
            return await stalled(request)
        if how == "silent cut":
            return await cut(request)
        bodies = {"half": stalling(line), "trickle": trickling(b"\n", 70.0), "endless": endless(line * 999)}
        return Reply(body=bodies[how] if how in bodies else cutting(line))

    async def work(tier: ClusterTier) -> None:
        with pytest.raises(BackendError, match=r"stalled|no answer|cut|closed|over \d+ bytes"):
            await tier.put(ROOT, stream(DAG))

    run(Script({"/version": [VERSION], "/add": [bad]}), work)


def test_nothing_is_read_for_a_cluster_that_is_not_there() -> None:
    count = 0

    class Counted(stream):
        async def __anext__(self) -> Block:
            nonlocal count
            count += 1
            return await super().__anext__()

    async def main() -> None:
        async with serving(Script({})) as url:
            pass
        tier = build_tier({"type": "ipfs_cluster", "endpoint": url}, TierContext(rng=random.Random(1)))
        with pytest.raises(Transient):
            await tier.put(ROOT, Counted(DAG))
        assert count == 0
        health = await tier.health()
        assert not health.ok
        await tier.aclose()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.1))


# --- hostile answers --------------------------------------------------------------------------------------------------
def test_what_may_pass_is_tried_again() -> None:
    script = Script(
        {ALLOCATION: [failed(429, "later", **{"Retry-After": "7"}), failed(503, "starting"), cut, wanted("a")],
         PIN: [failed(502, "?"), said(a="pinned", b="pinned")]}
    )  # fmt: skip

    async def work(tier: ClusterTier) -> None:
        started = trio.current_time()
        assert (await tier.status(ROOT)).safe
        assert trio.current_time() - started >= 7
        assert len(script.requests) == 6

    run(script, work)


def test_an_error_of_the_cluster_is_not_tried_again() -> None:
    script = Script({ALLOCATION: [failed(500, "broken \x1b[2J " + "x" * 999)]})

    async def work(tier: ClusterTier) -> None:
        with pytest.raises(BackendError, match="500 broken") as caught:
            await tier.status(ROOT)
        assert len(script.requests) == 1
        assert len(str(caught.value)) < 500
        assert "\x1b" not in str(caught.value)

    run(script, work)


@pytest.mark.parametrize("how", ["stall", "half", "trickle", "endless"])
def test_a_hanging_cluster_is_given_up(how: str) -> None:
    async def bad(request: Request) -> Reply:
        if how == "stall":
            return await stalled(request)
        bodies = {"half": stalling(b'{"cid": '), "trickle": trickling(b" ", 7.0), "endless": endless(b" " * 65_536)}
        return Reply(body=bodies[how])

    async def work(tier: ClusterTier) -> None:
        started = trio.current_time()
        for verb in (tier.status, tier.recover, tier.remove):
            with pytest.raises((TimedOut, BackendError)):
                await verb(ROOT)
        assert not (await tier.health()).ok
        assert trio.current_time() - started < 5 * API_SECONDS

    paths = (ALLOCATION, PIN, f"{PIN}/recover", "/version")
    run(Script({path: [bad] for path in paths}), work)


NOT_JSON = [b"{", b"[" * 200_000, b"\xff", b"[]", b"null", b"5", b'"x"', b'{"cid": 1e999}']
NO_ALLOCATIONS: list[Any] = [
    {}, {"cid": str(DAG[1].cid)}, {"cid": str(ROOT), "allocations": 5}, {"cid": str(ROOT), "allocations": [5]},
    {"cid": str(ROOT), "replication_factor_min": "2"}, {"cid": str(ROOT), "replication_factor_min": True},
    {"cid": str(ROOT), "replication_factor_min": -2, "replication_factor_max": 1},
    {"cid": str(ROOT), "replication_factor_min": 1e9, "replication_factor_max": 1},
    {"cid": str(ROOT), "replication_factor_min": 1, "replication_factor_max": 1, "name": 5},
    {"cid": str(ROOT), "replication_factor_min": 1, "replication_factor_max": 1, "expire_at": {}},
    {"cid": str(ROOT), "allocations": ["x"] * (CLUSTER_MAX_PEERS + 1)}, {"cid": {"/": 5}},
]  # fmt: skip
NO_MAPS: list[Any] = [
    {}, {"cid": str(DAG[1].cid)}, {"cid": str(ROOT), "peer_map": []} | {"peer_map": [1]},
    {"cid": str(ROOT), "peer_map": {"a": 5}}, {"cid": str(ROOT), "peer_map": {"a": {"status": 5}}},
    {"cid": str(ROOT), "peer_map": {"a": {"status": "pinned", "error": ["x"]}}},
    {"cid": str(ROOT), "peer_map": {str(at): {} for at in range(CLUSTER_MAX_PEERS + 1)}},
]  # fmt: skip


@pytest.mark.parametrize("body", [*NOT_JSON, *(json.dumps(value).encode() for value in NO_ALLOCATIONS)])
def test_allocations_that_are_none(body: bytes) -> None:
    with pytest.raises(BackendError):
        status_of(Reply(200, body), said(a="pinned"))


@pytest.mark.parametrize("body", [*NOT_JSON, *(json.dumps(value).encode() for value in NO_MAPS)])
def test_states_that_are_none(body: bytes) -> None:
    with pytest.raises(BackendError):
        status_of(wanted("a"), Reply(200, body))


def test_long_texts_are_cut() -> None:
    found = status_of(wanted("p" * 9999, name="n" * 9999), said(**{"q" * 9999: "s" * 9999 + ":" + "e" * 9999}))
    assert len(str(found)) < 3000


def test_an_answer_that_is_too_long_is_refused() -> None:
    with pytest.raises(BackendError, match="over"):
        status_of(Reply(200, b" " * (API_ANSWER_BYTES + 1)), said())


# --- listings ---------------------------------------------------------------------------------------------------------
def lines(*rows: Any, trailer: str = "") -> Callable[[Request], Awaitable[Reply]]:
    async def reply(_request: Request) -> Reply:
        async def body() -> AsyncGenerator[bytes, None]:
            for row in rows:
                yield json.dumps(row).encode() + b"\n"

        return Reply(200, body(), {"Trailer": "X-Stream-Error"}, {"X-Stream-Error": trailer})

    return reply


def test_listings_stream_and_fail_by_their_trailer() -> None:
    row = {"cid": str(ROOT), "peer_map": {"a": {"status": "pinned"}}}
    script = Script({"/pins": [lines(row, row), lines(row, trailer="a peer is gone"), Reply(204)]})

    async def work(tier: ClusterTier) -> None:
        assert [one.pinned async for one in tier.api.statuses(states=("pinned", "pinning"))] == [["a"], ["a"]]
        assert script.requests[0].query == {"filter": "pinned,pinning"}
        rows = tier.api.statuses()
        assert (await anext(rows)).pinned == ["a"]
        with pytest.raises(BackendError, match="a peer is gone"):
            await anext(rows)
        assert [one async for one in tier.api.statuses()] == []

    run(script, work)


def test_an_endless_listing_can_be_left_and_one_of_peers_ends() -> None:
    row = {"cid": str(ROOT), "replication_factor_min": 1, "replication_factor_max": 1}
    forever = json.dumps(row).encode() + b"\n"
    ids = iter(range(10**9))

    async def pins(_request: Request) -> Reply:
        return Reply(body=endless(forever))

    async def peers(_request: Request) -> Reply:
        async def body() -> AsyncGenerator[bytes, None]:
            for at in ids:
                yield json.dumps({"id": str(at), "error": ""}).encode() + b"\n"

        return Reply(body=body())

    async def one_line(_request: Request) -> Reply:
        return Reply(body=endless(b"x" * 65_536))

    async def work(tier: ClusterTier) -> None:
        async with aclosing(tier.api.allocations()) as rows:
            async for one in rows:
                assert one.cid == ROOT
                break
        with pytest.raises(BackendError, match="a cluster of over"):
            await tier.api.peers()
        with pytest.raises(BackendError, match="a line of over"):
            await tier.api.peers()

    run(Script({"/allocations": [pins], "/peers": [peers, one_line]}), work)


NO_METRICS = [b"{", b"{}", b"[5]", b"5", b"[" * 200_000, json.dumps([{}] * (CLUSTER_MAX_PEERS + 1)).encode()]


@pytest.mark.parametrize("body", NO_METRICS)
def test_metrics_that_are_none(body: bytes) -> None:
    async def work(tier: ClusterTier) -> None:
        with pytest.raises(BackendError):
            await tier.api.free_space()

    run(Script({"/monitor/metrics/freespace": [Reply(200, body)]}), work)


def test_free_space_is_that_of_peers_which_are_there() -> None:
    rows = [
        {"peer": "a", "valid": True, "weight": 5}, {"peer": "b", "valid": False, "weight": 5},
        {"peer": "c", "valid": True, "weight": 1e300}, {"peer": "d", "valid": True},
    ]  # fmt: skip

    async def work(tier: ClusterTier) -> None:
        assert await tier.api.free_space() == {"a": 5, "d": 0}
        assert await tier.api.free_space() == {}

    run(Script({"/monitor/metrics/freespace": [reply_json(rows), reply_json(None)]}), work)


# --- tokens -----------------------------------------------------------------------------------------------------------
def test_a_token_is_fetched_once_and_again_when_it_is_no_longer_taken() -> None:
    script = Script(
        {
            "/token": [reply_json({"token": "t1"}), reply_json({"token": "t2"})],
            "/version": [VERSION, VERSION, failed(401, "unauthorized"), VERSION],
        }
    )

    async def work(tier: ClusterTier) -> None:
        for _ in range(3):
            assert (await tier.health()).ok
        sent = [(request.path, request.headers["authorization"]) for request in script.requests]
        basic = sent[0][1]
        assert basic.startswith("Basic ")
        assert sent == [
            ("/token", basic), ("/version", "Bearer t1"), ("/version", "Bearer t1"), ("/version", "Bearer t1"),
            ("/token", basic), ("/version", "Bearer t2"),
        ]  # fmt: skip

    run(script, work, user="u", password=SECRET, jwt=True)


def test_one_token_serves_calls_at_once() -> None:
    script = Script({"/token": [reply_json({"token": "t1"})], "/version": [VERSION]})

    async def work(tier: ClusterTier) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(tier.health)
        assert script.paths().count("/token") == 1

    run(script, work, user="u", password=SECRET, jwt=True)


@pytest.mark.parametrize(
    "reply",
    [failed(401, f"no {SECRET}"), reply_json({}), reply_json({"token": 5}), reply_json({"token": "a b"}),
     reply_json({"token": ""}), reply_json({"token": "x" * 10_000}), Reply(200, b"{")],
)  # fmt: skip
def test_tokens_that_are_none(reply: Reply) -> None:
    async def work(tier: ClusterTier) -> None:
        with pytest.raises(BackendError) as caught:
            await tier.put(ROOT, stream(DAG))
        assert SECRET not in str(caught.value)

    run(Script({"/token": [reply], "/version": [VERSION]}), work, user="u", password=SECRET, jwt=True)


@pytest.mark.parametrize(
    "options", [{"user": "u", "password": SECRET}, {"token": SECRET}, {"user": "u", "password": SECRET, "jwt": True}]
)
def test_no_secret_is_shown(options: dict[str, Any]) -> None:
    echo = failed(500, f"you said {SECRET}")
    script = Script({"/token": [reply_json({"token": SECRET})], ALLOCATION: [echo], "/version": [echo], "/add": [echo]})

    async def work(tier: ClusterTier) -> None:
        texts = [repr(tier), repr(tier.api), (await tier.health()).detail]
        for call in (tier.status(ROOT), tier.put(ROOT, stream(DAG))):
            with pytest.raises(BackendError) as caught:
                await call
            texts.append(str(caught.value))
        assert SECRET not in "".join(texts)

    run(script, work, **options)


# --- configuration ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("least", "most", "expires"), [(-2, -2, 0), (-1, 2, 0), (2, -1, 0), (3, 2, 0), (2, 0, 0), (0, 0, -1)]
)
def test_replications_that_are_none(least: int, most: int, expires: int) -> None:
    with pytest.raises(ConfigError):
        PinOptions(least, most, expires)


def test_a_cluster_without_a_reader_gives_no_blocks() -> None:
    async def work(tier: ClusterTier) -> None:
        assert tier.verbs == {"has", "put", "remove", "status"}
        with pytest.raises(NotSupported):
            await tier.get(ROOT)
        with pytest.raises(NotSupported):
            async for _one in tier.get_dag(ROOT):
                pass

    run(Script({}), work)


def test_what_a_cluster_reads_from() -> None:
    url = "http://127.0.0.1:1"
    for reader in ({"proxy": url}, {"kubo": {"endpoint": url}}, {"gateway": {"urls": [url]}}):
        tier = build_tier({"type": "ipfs_cluster", "endpoint": url, **reader}, TierContext(rng=random.Random(1)))
        assert tier.verbs >= {"get", "get_dag", "put"}
    both = {"proxy": url, "kubo": {"endpoint": url}}
    with pytest.raises(ConfigError, match="one of proxy, kubo and gateway"):
        build_tier({"type": "ipfs_cluster", "endpoint": url, **both}, TierContext(rng=random.Random(1)))
