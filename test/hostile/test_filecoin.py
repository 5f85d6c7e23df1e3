"""Providers of pieces that lie, cut, stall, flood or send elsewhere."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import MockClock

from ipfs_kit_py.core.errors import BackendError, HashMismatch, NotFound, TimedOut
from ipfs_kit_py.dag import car
from ipfs_kit_py.storage.remote import base
from ipfs_kit_py.storage.remote.filecoin import pieces
from ipfs_kit_py.storage.remote.filecoin.commp import piece_of
from ipfs_kit_py.storage.remote.filecoin.pdp import PdpApi
from ipfs_kit_py.storage.remote.filecoin.pdp_store import Deposit, OpenDataSet
from test.remote.dags import block, stream, tree
from test.remote.filecoin_servers import CHUNK, pieces_of
from test.remote.filecoin_tiers import World, run
from test.remote.loopback import Cut, Reply, Request, reply_json, serving

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from ipfs_kit_py.core.cid import Block

BLOCKS = tree(25, 5000)
ROOT = BLOCKS[0].cid
PIECE_GET = "GET /piece/"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "RETRY_BASE_SECONDS", 0.001)
    monkeypatch.setattr(pieces, "RETRY_BASE_SECONDS", 0.001)


def archive(blocks: list[Block]) -> bytes:
    return car.header([ROOT]) + b"".join(b"".join(map(bytes, car.section(*one))) for one in blocks)


HONEST = archive(BLOCKS)
PIECE = piece_of(HONEST)


async def taken(world: World, into: list[Block]) -> None:
    async for one in world.tier.get_dag(ROOT):
        into.append(one)


def giving(payload: bytes, headers: dict[str, str] | None = None) -> Callable[[Request], Awaitable[Reply]]:
    async def reply(request: Request) -> Reply:
        return Reply(200, pieces_of(payload), headers or {})

    return reply


def retrieve(
    *faults: Callable[[Request], Awaitable[Reply]], honest: bool = True, **options: Any
) -> tuple[Any, list[Block]]:
    """What comes of fetching the DAG where the provider answers first with ``faults``: an error or ``None``, and the
    blocks that came."""
    outcome: list[BaseException | None] = [None]
    found: list[Block] = []

    async def work(world: World) -> None:
        if honest:
            world.provider.pieces[str(PIECE)] = HONEST
        world.provider.faults[PIECE_GET] = list(faults)
        world.tier.know(Deposit(ROOT, (PIECE,)))
        try:
            await taken(world, found)
        except Exception as error:  # noqa: BLE001 - it is what is asserted on
            outcome[0] = error

    run(work, **options)
    assert all(one in BLOCKS for one in found)  # whatever happens, nothing false comes out
    assert len(set(found)) == len(found)
    return outcome[0], found


# --- lies -------------------------------------------------------------------------------------------------------------
def flipped(at: int) -> bytes:
    return HONEST[:at] + bytes((HONEST[at] ^ 1,)) + HONEST[at + 1 :]


@pytest.mark.parametrize("at", [len(HONEST) - 1, len(HONEST) // 2])
def test_a_false_block_is_caught_where_it_is(at: int) -> None:
    error, found = retrieve(giving(flipped(at)), honest=False)
    assert isinstance(error, HashMismatch)
    assert error.expected is not None
    assert len(found) < len(BLOCKS)


def test_another_archive_of_the_same_dag_is_not_the_piece() -> None:
    """Each block is right, in another order: the commitment is another."""
    other = archive([BLOCKS[0], *BLOCKS[:0:-1]])
    assert len(other) == len(HONEST)
    error, found = retrieve(giving(other), honest=False)
    assert isinstance(error, HashMismatch)
    assert (error.expected, error.actual) == (PIECE.v2, piece_of(other).v2)
    assert sorted(found) == sorted(BLOCKS)


def test_an_archive_of_another_dag_gives_no_block() -> None:
    strangers = [block(bytes((number,)) * 5000) for number in range(30)]
    raw = archive(strangers)[: len(HONEST)]
    error, found = retrieve(giving(raw), honest=False)
    assert isinstance(error, BackendError | HashMismatch)
    assert found == []


@pytest.mark.parametrize("raw", [random.Random(1).randbytes(len(HONEST)), bytes(len(HONEST)), b"\xff" * len(HONEST)])
def test_what_is_no_archive_is_refused(raw: bytes) -> None:
    error, found = retrieve(giving(raw), honest=False)
    assert isinstance(error, BackendError)
    assert "no archive" in str(error)
    assert found == []


def test_an_honest_piece_that_lacks_blocks_is_said() -> None:
    raw = archive(BLOCKS[:-1])
    lacking = piece_of(raw)

    async def work(world: World) -> None:
        world.provider.pieces[str(lacking)] = raw
        world.tier.know(Deposit(ROOT, (lacking,)))
        found: list[Block] = []
        with pytest.raises(NotFound) as caught:
            await taken(world, found)
        assert caught.value.cid == BLOCKS[-1].cid
        assert found == BLOCKS[:-1]

    run(work)


def test_longer_and_shorter_than_the_piece_is_refused() -> None:
    error, _found = retrieve(giving(HONEST, {"Content-Length": str(len(HONEST) + 1)}), honest=False)
    assert isinstance(error, HashMismatch)  # before a byte was read
    error, _found = retrieve(giving(HONEST + bytes(CHUNK)), honest=False)
    assert isinstance(error, HashMismatch)
    assert "more than" in str(error)
    short = [giving(HONEST[: len(HONEST) // 2])] * 5
    error, found = retrieve(*short, honest=False)
    assert isinstance(error, BackendError)
    assert 0 < len(found) < len(BLOCKS)


def test_a_stream_without_end_is_left() -> None:
    async def endless() -> AsyncGenerator[bytes, None]:
        while True:
            yield bytes(CHUNK)

    async def reply(request: Request) -> Reply:
        return Reply(200, endless())

    error, found = retrieve(reply, honest=False)
    assert isinstance(error, BackendError | HashMismatch)
    assert found == []


# --- cuts and stalls --------------------------------------------------------------------------------------------------
def cutting(at: int, headers: dict[str, str] | None = None) -> Callable[[Request], Awaitable[Reply]]:
    async def reply(request: Request) -> Reply:
        return Reply(200, pieces_of(HONEST, at), headers or {"Content-Length": str(len(HONEST))})

    return reply


async def busy(request: Request) -> Reply:
    return Reply(429, b"slow down", {"Retry-After": "0"})


async def broken(request: Request) -> Reply:
    return Reply(503)


async def gone(request: Request) -> Reply:
    raise Cut


async def stalled(request: Request) -> Reply:
    await trio.sleep_forever()
    raise AssertionError


def test_a_cut_piece_goes_on_where_it_was_cut() -> None:
    error, found = retrieve(cutting(70_000), busy, gone)
    assert error is None
    assert found == BLOCKS


def test_one_that_gives_a_little_at_a_time_is_given_up() -> None:
    async def little(request: Request) -> Reply:
        at = int(request.headers.get("range", "bytes=0-")[6:-1])
        headers = {"Content-Range": f"bytes {at}-{len(HONEST) - 1}/{len(HONEST)}"} if at else {}
        return Reply(206 if at else 200, pieces_of(HONEST[at:], 1000), headers)

    error, _found = retrieve(*[little] * 200)
    assert isinstance(error, BackendError)


def test_a_server_without_ranges_is_read_from_its_beginning() -> None:
    error, found = retrieve(cutting(70_000), giving(HONEST))
    assert error is None
    assert found == BLOCKS


def test_a_wrong_range_is_refused() -> None:
    async def elsewhere(request: Request) -> Reply:
        rest = len(HONEST) - 5
        return Reply(206, pieces_of(HONEST[5:]), {"Content-Range": f"bytes 5-{rest}/{len(HONEST)}"})

    error, found = retrieve(cutting(70_000), elsewhere)
    assert isinstance(error, BackendError)
    assert "another range" in str(error)
    assert found


@pytest.mark.parametrize("fault", [gone, busy, broken])
def test_one_that_always_fails_is_given_up(fault: Callable[[Request], Awaitable[Reply]]) -> None:
    error, found = retrieve(*[fault] * 9)
    assert isinstance(error, BackendError)
    assert found == []


def test_one_that_stalls_or_trickles_is_given_up() -> None:
    async def trickle() -> AsyncGenerator[bytes, None]:
        for at in range(len(HONEST)):
            yield HONEST[at : at + 1]
            await trio.lowlevel.checkpoint()

    async def slow(request: Request) -> Reply:
        return Reply(200, trickle())

    async def halfway() -> AsyncGenerator[bytes, None]:
        yield HONEST[:1000]
        await trio.sleep_forever()

    async def stalling(request: Request) -> Reply:
        return Reply(200, halfway())

    for fault in (stalled, slow, stalling):
        error, _found = retrieve(*[fault] * 9, seconds=0.05)
        assert isinstance(error, BackendError)
        assert "stalled" in str(error) or "no answer within" in str(error)


def test_what_a_slow_reader_takes_does_not_count() -> None:
    clock = MockClock()

    async def work(world: World) -> None:
        world.provider.pieces[str(PIECE)] = HONEST
        world.tier.know(Deposit(ROOT, (PIECE,)))
        count = 0
        async for _block in world.tier.get_dag(ROOT):
            count += 1
            clock.jump(4.0)
        assert count == len(BLOCKS)

    run(work, seconds=5.0, clock=clock)


# --- uploads ----------------------------------------------------------------------------------------------------------
SESSIONS = "POST /pdp/piece/uploads"


async def half_read(request: Request) -> Reply:
    await anext(request.chunks)
    raise Cut


async def teapot(request: Request) -> Reply:
    return Reply(500, b"Failed to store piece data")


def put_with(start: str, *faults: Callable[[Request], Awaitable[Reply]], **options: Any) -> tuple[Any, World]:
    """What comes of a ``put`` where the requests that begin with ``start`` are answered first with ``faults``."""
    outcome: list[Any] = []

    async def work(world: World) -> None:
        world.provider.faults[start] = list(faults)
        try:
            outcome.append(await world.tier.put(ROOT, stream(BLOCKS)))
        except Exception as error:  # noqa: BLE001 - it is what is asserted on
            outcome.append(error)
        outcome.append(world)

    run(work, **options)
    return outcome[0], outcome[1]


@pytest.mark.parametrize("fault", [half_read, gone, busy, broken])
def test_a_cut_upload_begins_again_in_a_new_session(fault: Callable[[Request], Awaitable[Reply]]) -> None:
    status, world = put_with("PUT ", fault, fault)
    assert status.safe
    assert world.provider.seen.count(SESSIONS) == 3
    assert len(world.provider.sessions) == 2  # left behind, empty


def test_an_upload_that_always_fails_is_given_up() -> None:
    error, world = put_with("PUT ", *[half_read] * 9)
    assert isinstance(error, BackendError)
    assert world.provider.pieces == {}
    error, _world = put_with("PUT ", teapot)
    assert isinstance(error, BackendError)
    assert "500: Failed to store" in str(error)
    error, _world = put_with("POST /pdp/piece/uploads/", *[gone] * 9)
    assert isinstance(error, BackendError)


def test_an_upload_that_stalls_is_given_up() -> None:
    error, _world = put_with(SESSIONS, *[stalled] * 9, seconds=0.05)
    assert isinstance(error, BackendError | TimedOut)


def test_a_server_that_got_other_bytes_refuses_the_piece() -> None:
    """Its own check is not needed for ours, but it must not be overheard."""

    async def swap(request: Request) -> Reply:
        await request.body()
        return Reply(400, b"Invalid request body: pieceCid does not match the calculated pieceCid")

    error, _world = put_with("POST /pdp/piece/uploads/", swap)
    assert isinstance(error, BackendError)
    assert "does not match" in str(error)


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:9/pdp/piece/uploads/00000000-0000-0000-0000-000000000001",
        "http://evil.example/pdp/piece/uploads/00000000-0000-0000-0000-000000000001",
        "//evil.example/pdp/piece/uploads/00000000-0000-0000-0000-000000000001",
        "http://[/pdp/piece/uploads/1",
        "/pdp/piece/uploads/../../steal",
        "/pdp/piece/uploads/",
        "/elsewhere",
        "javascript:alert(1)",
        "",
    ],
)
def test_a_location_elsewhere_is_not_gone_to(location: str) -> None:
    async def away(request: Request) -> Reply:
        return Reply(201, b"", {"Location": location} if location else {})

    error, world = put_with(SESSIONS, away)
    assert isinstance(error, BackendError)
    assert not [line for line in world.provider.seen if line.startswith("PUT")]


def test_a_location_with_the_servers_own_host_is_taken() -> None:
    async def main() -> None:
        async def server(request: Request) -> Reply:
            if request.method == "PUT":
                await request.body()
                return Reply(204)
            if request.path == "/pdp/piece/uploads":
                return Reply(201, b"", {"Location": f"http://{request.headers['host']}/pdp/piece/uploads/1"})
            await request.body()
            return Reply(200)

        async with serving(server) as url:
            api = PdpApi(url, rng=random.Random(1))
            await api.upload(PIECE, lambda: _once(HONEST))
            await api.aclose()

    trio.run(main)


async def _once(payload: bytes) -> AsyncGenerator[bytes, None]:
    yield payload


# --- what a provider says ---------------------------------------------------------------------------------------------
def saying(value: Any, status: int = 200, **headers: str) -> Callable[[Request], Awaitable[Reply]]:
    async def reply(request: Request) -> Reply:
        return reply_json(value, status, **headers)

    return reply


HASH = "0x" + "77" * 32


@pytest.mark.parametrize(
    ("start", "value"),
    [
        ("GET /pdp/piece", {"pieceCid": str(piece_of(b"other"))}),
        ("GET /pdp/piece", {"pieceCid": str(ROOT)}),
        ("GET /pdp/piece", {"pieceCid": 7}),
        ("GET /pdp/piece", []),
        ("GET /pdp/data-sets/created/", {"createMessageHash": HASH, "txStatus": "confirmed", "ok": True}),
        ("GET /pdp/data-sets/created/", {"txStatus": "confirmed", "ok": True, "dataSetCreated": True, "dataSetId": 1}),
        ("GET /pdp/data-sets/created/", []),
    ],
)
def test_answers_about_something_else_are_refused(start: str, value: Any) -> None:
    error, _world = put_with(start, saying(value))
    assert isinstance(error, BackendError)


@pytest.mark.parametrize(
    "value",
    [
        {"id": 8, "nextChallengeEpoch": 1, "pieces": []},
        {"id": 7, "nextChallengeEpoch": "soon", "pieces": []},
        {"id": 7, "nextChallengeEpoch": 1, "pieces": [7]},
        {"id": 7, "nextChallengeEpoch": 1, "pieces": [{"pieceCid": str(PIECE), "pieceId": "1"}]},
        {"id": 7, "nextChallengeEpoch": 1, "pieces": [{"pieceCid": str(ROOT), "pieceId": 1}]},
        {"id": 7, "nextChallengeEpoch": 1, "pieces": {}, "x": 1} | {"pieces": 3},
    ],
)
def test_data_sets_that_are_none_are_refused(value: Any) -> None:
    error, _world = put_with("GET /pdp/data-sets/7", saying(value), data_set=OpenDataSet(7, 1))
    assert isinstance(error, BackendError)


def test_a_status_that_never_settles_leaves_it_pending() -> None:
    async def never(request: Request) -> Reply:
        sent = request.path.rpartition("/")[2]
        return reply_json({"createMessageHash": sent, "dataSetCreated": False, "txStatus": "pending", "ok": None})

    status, _world = put_with("GET /pdp/data-sets/created/", *[never] * 1000, wait=0.05)
    assert (status.state, status.safe) == ("pending", False)


def test_an_answer_too_long_is_cut_off() -> None:
    async def flood() -> AsyncGenerator[bytes, None]:
        while True:
            yield b"[" * (1 << 16)

    async def reply(request: Request) -> Reply:
        return Reply(200, flood())

    error, _world = put_with("GET /pdp/piece", reply)
    assert isinstance(error, BackendError)
    assert "over 8388608 bytes" in str(error)


def test_a_call_that_may_have_been_taken_is_not_sent_twice() -> None:
    """Adding pieces twice costs twice: after a cut answer the caller is told, and a later put looks first."""
    error, world = put_with("POST /pdp/data-sets", gone)
    assert isinstance(error, BackendError)
    assert [line for line in world.provider.seen if line.startswith("POST /pdp/data-sets")] == [
        "POST /pdp/data-sets/create-and-add"
    ]
    status, world = put_with("POST /pdp/data-sets", busy, broken)
    assert status.safe


def test_the_token_is_nowhere_to_be_seen() -> None:
    async def echo(request: Request) -> Reply:
        return Reply(400, request.headers["authorization"].encode())

    error, world = put_with(SESSIONS, echo)
    assert isinstance(error, BackendError)
    for text in (str(error), repr(world.tier), repr(world.store), repr(world.store.api)):
        assert "a-secret-token" not in text


def test_one_block_is_not_sought_through_a_whole_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE_FIRST_BYTES", 50_000)
    backwards = archive(BLOCKS[::-1])
    piece = piece_of(backwards)

    async def work(world: World) -> None:
        world.provider.pieces[str(piece)] = backwards
        world.tier.know(Deposit(ROOT, (piece,)))
        with pytest.raises(NotFound, match="does not begin"):
            await world.tier.get(ROOT)
        world.provider.pieces[str(PIECE)] = HONEST
        world.tier.know(Deposit(ROOT, (PIECE,)))
        assert await world.tier.get(ROOT) == BLOCKS[0].data
        world.provider.pieces[str(PIECE)] = flipped(200)
        with pytest.raises(HashMismatch):
            await world.tier.get(ROOT)

    run(work)
