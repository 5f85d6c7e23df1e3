"""The client of pinning services, against a server written from the specification."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio

from ipfs_kit_py.core.cid import CID, DAG_PB
from ipfs_kit_py.core.errors import BackendError, ConfigError, NotFound, NotSupported, TimedOut
from ipfs_kit_py.storage.remote import base
from ipfs_kit_py.storage.remote.filecoin import pinning
from ipfs_kit_py.storage.remote.filecoin.pinning import PinningTier
from test.remote.dags import stream
from test.remote.filecoin_servers import DELEGATE, PinServer, pieces_of
from test.remote.loopback import Cut, Reply, Request, reply_json, serving

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

ROOT = CID.of(b"a root", DAG_PB)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "RETRY_BASE_SECONDS", 0.001)


@asynccontextmanager
async def tier(
    server: Callable[[Request], Awaitable[Reply]], token: str = "pin-secret", **options: Any
) -> AsyncIterator[PinningTier]:
    options = {"wait": 20.0, "poll": 0.001} | options
    async with serving(server) as url:
        found = PinningTier(url, token=token, rng=random.Random(1), **options)
        try:
            yield found
        finally:
            await found.aclose()


def run(server: Any, work: Callable[[PinningTier], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        async with tier(server, **options) as found:
            await work(found)

    trio.run(main)


def test_a_pin_is_asked_for_waited_for_and_removed() -> None:
    server = PinServer()
    dialled: list[str] = []

    async def connect(addresses: Any) -> None:
        dialled.extend(addresses)

    async def work(found: PinningTier) -> None:
        assert not await found.has(ROOT)
        status = await found.put(ROOT, stream([]), label="n" * 300)
        assert (status.state, status.safe, status.replicas) == ("pinned", True, 1)
        assert await found.has(ROOT)
        assert await found.has(CID(0, DAG_PB, ROOT.multihash))
        assert (await found.status(ROOT)).detail["status_details"] == "Queue position: 1 of 1"
        [row] = server.rows.values()
        assert row["pin"] == {
            "cid": str(ROOT), "name": "n" * 255, "origins": ["/ip4/192.0.2.1/tcp/4001/p2p/x"], "meta": {"app": "kit"}
        }  # fmt: skip
        await found.remove(ROOT)
        assert server.rows == {}
        await found.remove(ROOT)
        with pytest.raises(NotFound):
            await found.status(ROOT)

    run(server, work, connect=connect, origins=lambda: ["/ip4/192.0.2.1/tcp/4001/p2p/x"], meta={"app": "kit"})
    assert dialled == [DELEGATE]


def test_what_is_there_is_not_asked_for_again_and_what_failed_is_replaced() -> None:
    server = PinServer()

    async def work(found: PinningTier) -> None:
        await found.put(ROOT, stream([]))
        await found.put(ROOT, stream([]))
        assert server.seen.count("POST /pins") == 1
        [row] = server.rows.values()
        row["status"] = "failed"
        server.first = "pinned"
        assert (await found.put(ROOT, stream([]))).safe
        assert len(server.rows) == 1
        asked = [line for line in server.seen if not line.startswith("GET")]
        assert asked == ["POST /pins", "POST /pins", "DELETE /pins/request%201%2F%CE%B1"]

    run(server, work)


def test_a_pin_that_fails_is_said() -> None:
    async def work(found: PinningTier) -> None:
        status = await found.put(ROOT, stream([]))
        assert (status.state, status.safe) == ("failed", False)

    run(PinServer(then=["pinning", "failed"]), work)


def test_a_pin_that_never_ends_is_left_to_go_on() -> None:
    async def work(found: PinningTier) -> None:
        status = await found.put(ROOT, stream([]))
        assert (status.state, status.safe) == ("pinning", False)
        assert (await found.status(ROOT)).state == "pinning"

    run(PinServer(first="pinning", then=[]), work, wait=0.05)


def test_of_several_pins_of_a_root_the_furthest_counts() -> None:
    server = PinServer()
    for state in ("failed", "pinned", "queued"):
        server.pin({"cid": str(ROOT)}, state)

    async def work(found: PinningTier) -> None:
        assert (await found.status(ROOT)).state == "pinned"
        await found.remove(ROOT)
        assert server.rows == {}

    run(server, work)


def test_a_listing_is_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pinning, "PIN_PAGE", 7)
    server = PinServer()
    cids = [CID.of(bytes((number,))) for number in range(30)]
    for cid in cids:
        server.pin({"cid": str(cid)}, "pinned")

    async def work(found: PinningTier) -> None:
        assert [row.cid for row in await found.pins()] == cids[::-1]
        assert server.seen.count("GET /pins") == 5

    run(server, work)


def test_it_gives_no_blocks() -> None:
    async def work(found: PinningTier) -> None:
        assert found.verbs == {"has", "put", "remove", "status"}
        with pytest.raises(NotSupported):
            await found.get(ROOT)
        with pytest.raises(NotSupported):
            await anext(found.get_dag(ROOT))

    run(PinServer(), work)


def test_a_wrong_token_is_said_and_not_shown() -> None:
    async def work(found: PinningTier) -> None:
        with pytest.raises(BackendError, match="401, the token was not accepted") as caught:
            await found.put(ROOT, stream([]))
        assert "wr0ng" not in str(caught.value)
        assert "wr0ng" not in repr(found)
        health = await found.health()
        assert not health.ok
        assert "401" in health.detail

    run(PinServer(), work, token="wr0ng")


@pytest.mark.parametrize("token", ["two words", "line\nfeed", "umläut"])
def test_a_token_that_no_header_carries_is_refused(token: str) -> None:
    with pytest.raises(ConfigError) as caught:
        PinningTier("https://pins.example", token=token, rng=random.Random(1))
    assert token not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["pins.example", "ftp://pins.example", "https://", "https://u:pw@x/", "https://x/?k=pw"]
)
def test_an_endpoint_is_a_plain_url(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        PinningTier(url, token="", rng=random.Random(1))
    assert "pw" not in str(caught.value)


# --- hostile ----------------------------------------------------------------------------------------------------------
def row(**changes: Any) -> dict[str, Any]:
    base_row = {"requestid": "r", "status": "queued", "created": "2026-01-01T00:00:00Z", "delegates": []}
    return base_row | {"pin": {"cid": str(ROOT)}} | changes


class Answers:
    """Answers listings with no pins, and everything else with ``reply``."""

    def __init__(self, reply: Callable[[Request], Reply], listing: Any = None) -> None:
        self.reply = reply
        self.listing = {"count": 0, "results": []} if listing is None else listing
        self.count = 0

    async def __call__(self, request: Request) -> Reply:
        if request.method == "GET" and request.path == "/pins":
            return reply_json(self.listing)
        self.count += 1
        return self.reply(request)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        row(status="happy"),
        row(status=["pinned"]),
        row(requestid=7),
        row(requestid=""),
        row(requestid=".."),
        row(requestid="x" * 513),
        row(created=None),
        row(pin={}),
        row(pin={"cid": "Qm"}),
        row(pin={"cid": str(CID.of(b"another"))}),
        row(pin=[]),
    ],
)
def test_answers_that_are_no_pin_are_refused(value: Any) -> None:
    async def work(found: PinningTier) -> None:
        with pytest.raises(BackendError):
            await found.put(ROOT, stream([]))

    run(Answers(lambda _request: reply_json(value, 202)), work)


def test_a_status_about_another_cid_is_refused() -> None:
    def reply(request: Request) -> Reply:
        other = {"cid": str(CID.of(b"another"))}
        return reply_json(row() if request.method == "POST" else row(status="pinned", pin=other))

    async def work(found: PinningTier) -> None:
        with pytest.raises(BackendError, match="another CID"):
            await found.put(ROOT, stream([]))

    run(Answers(reply), work)


@pytest.mark.parametrize("text", [b"{", b"[" * 200_000, b'{"count": 1e999, "results": []}', b"\xff", b""])
def test_listings_that_are_no_json_are_refused(text: bytes) -> None:
    async def server(request: Request) -> Reply:
        return Reply(200, text)

    async def work(found: PinningTier) -> None:
        with pytest.raises(BackendError):
            await found.status(ROOT)

    run(server, work)


def test_a_listing_that_repeats_itself_ends_and_one_that_never_ends_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pinning, "PIN_MAX_PAGES", 5)
    count = 0

    async def same(request: Request) -> Reply:
        return reply_json({"count": 1000, "results": [row(status="pinned")]})

    async def new(request: Request) -> Reply:
        nonlocal count
        count += 1
        return reply_json({"count": 1000, "results": [row(requestid=str(count))]})

    async def ends(found: PinningTier) -> None:
        assert [entry.request for entry in await found.pins()] == ["r"]

    async def refused(found: PinningTier) -> None:
        with pytest.raises(BackendError, match="goes on after 5 pages"):
            await found.pins()
        assert count == 5

    run(same, ends)
    run(new, refused)


def test_pins_that_were_not_asked_for_are_passed_over() -> None:
    listing = {"count": 1, "results": [row(status="pinned", pin={"cid": str(CID.of(b"another"))})]}

    async def work(found: PinningTier) -> None:
        assert not await found.has(ROOT)

    run(Answers(lambda _request: Reply(500), listing), work)


def test_only_addresses_with_a_peer_are_dialled() -> None:
    dialled: list[str] = []

    async def connect(addresses: Any) -> None:
        dialled.extend(addresses)

    async def work(found: PinningTier) -> None:
        await found.put(ROOT, stream([]))
        assert dialled == [DELEGATE] * 20

    odd = ["", 7, None, "/ip4/127.0.0.1/tcp/1", "http://x", "/ip4/999.0.0.1/tcp/1/p2p/x", *[DELEGATE] * 30]
    run(PinServer(delegates=odd), work, connect=connect)


def test_what_a_service_says_cannot_drive_a_terminal_or_grow() -> None:
    info = {"status_details": "\x1b[2J" + "x" * 10_000, **{str(number): {"a": 1} for number in range(100)}}

    async def work(found: PinningTier) -> None:
        detail = (await found.status(ROOT)).detail
        assert len(detail) <= 17
        assert detail["status_details"].startswith("\\x1b[2J")
        assert all(len(text) <= 300 for text in detail.values())

    run(Answers(lambda _request: Reply(500), {"count": 1, "results": [row(status="failed", info=info)]}), work)


def test_an_answer_without_end_is_cut_off() -> None:
    async def endless() -> AsyncGenerator[bytes, None]:
        while True:
            yield bytes(1 << 16)

    async def server(request: Request) -> Reply:
        return Reply(200, endless())

    async def work(found: PinningTier) -> None:
        with pytest.raises(BackendError, match="over 8388608 bytes"):
            await found.status(ROOT)

    run(server, work)


def test_a_compressed_answer_is_refused() -> None:
    async def server(request: Request) -> Reply:
        assert request.headers["accept-encoding"] == "identity"
        return Reply(200, b"\x1f\x8b", {"Content-Encoding": "gzip"})

    async def work(found: PinningTier) -> None:
        with pytest.raises(BackendError, match="compressed"):
            await found.status(ROOT)

    run(server, work)


def test_an_answer_that_never_comes_or_trickles_times_out() -> None:
    async def silent(request: Request) -> Reply:
        await trio.sleep_forever()
        raise AssertionError

    async def trickle() -> AsyncGenerator[bytes, None]:
        while True:
            yield b" "
            await trio.lowlevel.checkpoint()

    async def slow(request: Request) -> Reply:
        return Reply(200, trickle())

    async def work(found: PinningTier) -> None:
        with pytest.raises(TimedOut):
            await found.status(ROOT)
        assert not (await found.health()).ok

    run(silent, work, seconds=0.1)
    run(slow, work, seconds=0.1)


def test_passing_failures_are_tried_again_with_care() -> None:
    server = PinServer(first="pinned")
    failures: list[Reply | type[Cut]] = []

    async def flaky(request: Request) -> Reply:
        if failures:
            failure = failures.pop(0)
            if isinstance(failure, Reply):
                return failure
            raise Cut
        return await server(request)

    async def work(found: PinningTier) -> None:
        failures[:] = [Reply(429, b"", {"Retry-After": "0"}), Cut, Reply(200, pieces_of(bytes(100), 50))]
        assert not await found.has(ROOT)
        failures[:] = [Reply(500)]
        with pytest.raises(BackendError, match="500"):
            await found.has(ROOT)
        for taken in (Cut, Reply(502), Reply(504)):  # perhaps it was done: asking twice would make two pins
            failures[:] = [taken]
            with pytest.raises(BackendError):
                await found._ask(ROOT, "")
            assert server.rows == {}
        failures[:] = [Reply(503), Reply(429)]
        await found._ask(ROOT, "")
        assert len(server.rows) == 1
        failures[:] = [Reply(502)] * 4
        with pytest.raises(BackendError, match="502"):
            await found.has(ROOT)

    run(flaky, work)


def test_redirects_are_not_followed_and_words_do_not_leak() -> None:
    async def away(request: Request) -> Reply:
        return Reply(302, b"", {"Location": "http://127.0.0.1:9/steal"})

    async def echo(request: Request) -> Reply:
        return Reply(400, f"you sent {request.headers['authorization']}\x1b[31m".encode())

    async def redirected(found: PinningTier) -> None:
        with pytest.raises(BackendError, match="redirected"):
            await found.status(ROOT)

    async def echoed(found: PinningTier) -> None:
        with pytest.raises(BackendError, match="you sent Bearer …") as caught:
            await found.status(ROOT)
        assert "pin-secret" not in str(caught.value)
        assert "\x1b" not in str(caught.value)

    run(away, redirected)
    run(echo, echoed)
