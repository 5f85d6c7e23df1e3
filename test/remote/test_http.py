"""HTTP to one origin: kept connections, bodies both ways, trailers, and servers that stall, cut, lie and flood."""

from __future__ import annotations

import base64
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from ipfs_kit_py.core.config import API_SECONDS, HTTP_HEADER_BYTES, HTTP_IDLE_SECONDS
from ipfs_kit_py.core.errors import BackendError, ConfigError
from ipfs_kit_py.storage.remote.base import Transient, retry_after
from ipfs_kit_py.storage.remote.http.client import Http, NoConnection, StreamFailed
from test.remote.server import (
    Cut,
    Reply,
    Request,
    Script,
    certified,
    chunks,
    cut,
    cutting,
    endless,
    serving,
    stalled,
    stalling,
    trickling,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from ipfs_kit_py.storage.remote.http.client import Answer


def run(script: Any, work: Callable[[Http], Awaitable[None]], *, jumping: bool = False, **options: Any) -> None:
    async def main() -> None:
        async with serving(script) as url:
            http = Http(url + options.pop("prefix", ""), **options)
            try:
                await work(http)
            finally:
                await http.aclose()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.05) if jumping else None)


async def whole(answer: Answer) -> bytes:
    return await answer.read(1 << 30)


# --- what goes well ---------------------------------------------------------------------------------------------------
def test_a_request_carries_its_parts_and_the_answer_its_own() -> None:
    script = Script({"/api/v0/x": [Reply(203, b"data", {"X-One": "1", "Content-Type": "text/x"})]}, bodies=True)

    async def work(http: Http) -> None:
        options = {"params": [("arg", "a b"), ("arg", "ü")], "headers": [("X-Mine", "yes")], "body": b"\0sent"}
        answer = await http.call("POST", "/x", **options)
        assert (answer.status, answer.body, answer.headers["x-one"]) == (203, b"data", "1")
        (request,) = script.requests
        assert (request.method, request.headers["x-mine"], script.received) == ("POST", "yes", [b"\0sent"])
        assert request.query == {"arg": "ü"}
        assert request.headers["accept-encoding"] == "identity"

    run(script, work, prefix="/api/v0/")


def test_connections_are_kept_and_used_again_and_bounded() -> None:
    async def slow(_request: Request) -> Reply:
        await trio.sleep(1)
        return Reply(body=b"late")

    script = Script({"/a": [Reply(body=b"a")], "/slow": [slow]})

    async def work(http: Http) -> None:
        for _ in range(5):
            assert (await http.call("GET", "/a")).body == b"a"
        assert {request.connection for request in script.requests} == {0}
        async with trio.open_nursery() as nursery:
            for _ in range(6):
                nursery.start_soon(http.call, "GET", "/slow")
        assert {request.connection for request in script.requests} == {0, 1}
        assert trio.current_time() < 4

    run(script, work, jumping=True, connections=2)


def test_a_kept_connection_that_the_server_closed_costs_no_request() -> None:
    async def closing(_request: Request) -> Reply:
        return Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")  # says nothing of closing, and closes

    async def once(request: Request) -> Reply:
        if request.connection == 0:
            raise Cut  # took the request on a connection that it had kept, and never answers
        return Reply(body=b"second")

    script = Script({"/a": [closing], "/b": [Reply(body=b"b")], "/c": [once]})

    async def work(http: Http) -> None:
        await http.call("GET", "/a")
        await trio.testing.wait_all_tasks_blocked()
        assert (await http.call("GET", "/b")).body == b"b"

    run(script, work)

    async def work_again(http: Http) -> None:
        await http.call("GET", "/b")
        assert (await http.call("GET", "/c")).body == b"second"

    run(Script({"/b": [Reply(body=b"b")], "/c": [once]}), work_again)


def test_an_old_kept_connection_is_not_used() -> None:
    script = Script({"/": [Reply(body=b"x")]})

    async def work(http: Http) -> None:
        await http.call("GET", "/")
        await trio.sleep(HTTP_IDLE_SECONDS + 1)
        await http.call("GET", "/")
        assert [request.connection for request in script.requests] == [0, 1]

    run(script, work, jumping=True)


def test_an_answer_streams_and_one_that_is_left_gives_its_connection_back() -> None:
    script = Script({"/": [lambda _request: reply()], "/small": [Reply(body=b"x" * 10)]})

    async def reply() -> Reply:
        return Reply(body=endless(b"x" * 65_536))

    async def work(http: Http) -> None:
        for _ in range(3):  # more than the pool holds
            answer = await http.open("GET", "/")
            size = 0
            async for part in answer:
                size += len(part)
                if size > 10_000_000:
                    break
            await answer.aclose()
            await answer.aclose()
        left = await http.open("GET", "/small")
        await left.aclose()
        assert (await http.call("GET", "/small")).body == b"x" * 10

    run(script, work, connections=2)


def test_a_head_has_no_body_and_the_connection_is_kept() -> None:
    script = Script({"/": [Reply(headers={"Content-Length": "5"}, body=b"12345")]})

    async def work(http: Http) -> None:
        for _ in range(2):
            answer = await http.call("HEAD", "/")
            assert (answer.body, answer.headers["content-length"]) == (b"", "5")
        assert {request.connection for request in script.requests} == {0}

    run(script, work)


def test_trailers_are_seen_and_an_error_in_them_is_raised() -> None:
    async def good(_request: Request) -> Reply:
        return Reply(body=chunks(b"x" * 100_000), trailers={"X-Sum": "7"})

    async def bad(_request: Request) -> Reply:
        return Reply(body=chunks(b"y" * 100_000), trailers={"X-Stream-Error": "disk full of s3cret"})

    script = Script({"/good": [good], "/bad": [bad]})

    async def work(http: Http) -> None:
        answer = await http.open("GET", "/good")
        assert await whole(answer) == b"x" * 100_000
        assert answer.trailers == {"x-sum": "7"}
        answer = await http.open("GET", "/bad")
        got = bytearray()

        async def gather() -> None:
            async for part in answer:
                got.extend(part)

        with pytest.raises(StreamFailed, match="in the middle: disk full of …") as failed:
            await gather()
        assert got == b"y" * 100_000
        assert failed.value.text == "disk full of …"
        assert {request.connection for request in script.requests} == {0}

    run(script, work, token="s3cret")


# --- uploads ----------------------------------------------------------------------------------------------------------
async def parts(count: int, size: int = 65_536) -> AsyncIterator[bytes]:
    for number in range(count):
        yield bytes([number % 251]) * size


def test_an_upload_streams_while_its_answer_comes() -> None:
    """The server answers each part before the next is sent: neither side could hold its half back."""
    turns = trio.Semaphore(1)

    async def echo(request: Request) -> Reply:
        async def body() -> AsyncIterator[bytes]:
            async for chunk in request.chunks:
                yield chunk

        return Reply(body=body())  # type: ignore[arg-type]

    async def lines() -> AsyncIterator[bytes]:
        for number in range(20):
            await turns.acquire()
            yield b"%d\n" % number

    async def take(answer: Answer) -> bytes:
        got = bytearray()
        async for part in answer:
            got += part
            turns.release()
        return bytes(got)

    async def work(http: Http) -> None:
        assert await http.upload("POST", "/", lines(), take) == b"".join(b"%d\n" % n for n in range(20))

    run(echo, work)


def test_an_upload_gives_its_connection_back() -> None:
    script = Script({"/": [Reply(body=b"ok")]}, bodies=True)

    async def work(http: Http) -> None:
        for _ in range(3):
            assert await http.upload("POST", "/", parts(20), whole) == b"ok"
        assert (await http.call("GET", "/")).body == b"ok"
        assert [len(body) for body in script.received] == [20 * 65_536] * 3 + [0]
        assert script.requests[3].connection == script.requests[2].connection

    run(script, work, connections=1)


def test_a_connection_that_an_upload_gave_back_is_of_the_next_request_alone() -> None:
    """The other request has it before the upload has quite returned."""
    asked, answer = trio.Event(), trio.Event()

    async def late(_request: Request) -> Reply:
        asked.set()
        await answer.wait()
        return Reply(body=b"late")

    async def taken(request: Request) -> Reply:
        await request.body()
        return Reply(body=b"ok")

    script = Script({"/put": [taken], "/get": [late]})

    async def body() -> AsyncIterator[bytes]:
        yield b"sent"

    async def work(http: Http) -> None:
        found: list[bytes] = []

        async def other() -> None:
            found.append((await http.call("GET", "/get")).body)

        async def take(answer: Answer) -> bytes:
            data = await whole(answer)
            nursery.start_soon(other)
            await asked.wait()
            return data

        async with trio.open_nursery() as nursery:
            assert await http.upload("POST", "/put", body(), take) == b"ok"
            answer.set()
        assert found == [b"late"]
        assert [request.connection for request in script.requests] == [0, 0]

    run(script, work)


def test_a_server_that_stops_reading_is_heard() -> None:
    """It refuses in the middle of the upload and closes: the refusal is the answer, not the broken pipe."""

    async def refuse(request: Request) -> Reply:
        async for _ in request.chunks:
            break
        return Reply(raw=b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")

    async def take(answer: Answer) -> tuple[int, bytes]:
        return answer.status, await whole(answer)

    async def work(http: Http) -> None:
        with suppress(Transient):  # the kernel may drop what was received when the other side resets
            assert await http.upload("POST", "/", parts(50), take) == (413, b"big")

    run(refuse, work)


def test_an_upload_whose_source_or_reader_fails_raises_that() -> None:
    class Broken(Exception):
        pass

    async def source() -> AsyncIterator[bytes]:
        yield b"x"
        raise Broken("source")

    async def reader(_answer: Answer) -> None:
        raise Broken("reader")

    script = Script({"/": [Reply(body=b"ok")]}, bodies=True)

    async def work(http: Http) -> None:
        with pytest.raises(Broken, match="source"):
            await http.upload("POST", "/", source(), whole)
        with pytest.raises(Broken, match="reader"):
            await http.upload("POST", "/", parts(1), reader)
        assert (await http.call("GET", "/")).body == b"ok"  # one connection: both gave it back

    run(script, work, connections=1)


def test_an_upload_that_nobody_reads_is_given_up() -> None:
    async def ignore(_request: Request) -> Reply:
        return await stalled(_request)

    async def for_ever() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65_536

    async def work(http: Http) -> None:
        with pytest.raises(Transient, match="stalled"):
            await http.upload("POST", "/", for_ever(), whole)
        with pytest.raises(Transient, match="no answer"):
            await http.upload("POST", "/", parts(1), whole)

    run(ignore, work, jumping=True)


def test_an_upload_to_nowhere_reads_nothing_of_its_source() -> None:
    started = []

    async def source() -> AsyncIterator[bytes]:
        started.append(1)
        yield b"x"

    async def main() -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        await listeners[0].aclose()
        http = Http(f"http://127.0.0.1:{port}")
        body = source()
        with pytest.raises(NoConnection):
            await http.upload("POST", "/", body, whole)
        await body.aclose()  # type: ignore[attr-defined]
        with pytest.raises(NoConnection):
            await http.call("GET", "/")

    trio.run(main)
    assert not started


# --- hostile servers --------------------------------------------------------------------------------------------------
async def huge_headers(_request: Request) -> Reply:
    return Reply(raw=b"HTTP/1.1 200 OK\r\nX: " + b"y" * (HTTP_HEADER_BYTES + 65_536))


async def many_headers(_request: Request) -> Reply:
    return Reply(raw=endless_headers())


async def endless_headers() -> Any:
    yield b"HTTP/1.1 200 OK\r\n"
    while True:
        yield b"X-Header: value\r\n" * 1000


async def huge_trailers(_request: Request) -> Reply:
    async def raw() -> Any:
        yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
        while True:
            yield b"X-Header: value\r\n" * 1000

    return Reply(raw=raw())


async def informational(_request: Request) -> Reply:
    return Reply(raw=b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)


async def gibberish(_request: Request) -> Reply:
    return Reply(raw=b"\x16\x03\x01 not http\r\n\r\n")


async def two_lengths(_request: Request) -> Reply:
    return Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc")


async def bad_chunk(_request: Request) -> Reply:
    return Reply(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")


async def compressed(_request: Request) -> Reply:
    return Reply(body=b"bomb", headers={"Content-Encoding": "gzip"})


async def flood(_request: Request) -> Reply:
    return Reply(body=endless(b"x" * 65_536))


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        (huge_headers, "malformed"),
        (many_headers, "malformed"),
        (huge_trailers, "malformed"),
        (informational, "malformed"),
        (gibberish, "malformed"),
        (two_lengths, "malformed"),
        (bad_chunk, "malformed"),
        (compressed, "compressed"),
        (flood, "over 1000000 bytes"),
    ],
)
def test_what_is_no_answer_is_refused(handler: Any, message: str) -> None:
    async def work(http: Http) -> None:
        for _ in range(2):  # no connection is lost by it
            with pytest.raises(BackendError, match=message) as refused:
                await http.call("GET", "/", limit=1_000_000)
            assert not isinstance(refused.value, Transient)

    run(handler, work, connections=1)


async def half_length(_request: Request) -> Reply:
    return Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")


async def half_chunked(_request: Request) -> Reply:
    return Reply(body=cutting(b"half", b"an answer"))


async def half_head(_request: Request) -> Reply:
    return Reply(raw=b"HTTP/1.1 200 O")


@pytest.mark.parametrize("handler", [cut, half_length, half_chunked, half_head])
def test_a_cut_answer_may_be_asked_for_again(handler: Any) -> None:
    async def work(http: Http) -> None:
        for _ in range(2):
            with pytest.raises(Transient, match="cut"):
                await http.call("GET", "/")

    run(handler, work, connections=1)


async def stalls_in_body(_request: Request) -> Reply:
    return Reply(body=stalling(b"x"))


async def stalls_in_head(_request: Request) -> Reply:
    return Reply(raw=stalling(b"HTTP/1.1 200 OK\r\n"))


async def trickles(_request: Request) -> Reply:
    return Reply(body=trickling(b"x", 1.0))


@pytest.mark.parametrize("handler", [stalled, stalls_in_body, stalls_in_head, trickles])
def test_an_answer_that_does_not_get_on_is_given_up(handler: Any) -> None:
    async def work(http: Http) -> None:
        with pytest.raises(Transient):
            await http.call("GET", "/")
        assert trio.current_time() < 2 * API_SECONDS + 2
        with pytest.raises(Transient):
            await http.call("GET", "/")  # the connection was not kept in use

    run(handler, work, jumping=True, connections=1)


def test_a_slow_reader_is_no_slow_server_and_progress_may_be_told_of() -> None:
    async def reply(_request: Request) -> Reply:
        return Reply(body=chunks(b"x" * 4_000_000, 1 << 20))

    async def ticks(_request: Request) -> Reply:
        async def body() -> Any:
            for _ in range(20):
                yield b"tick"
                await trio.sleep(API_SECONDS / 2)

        return Reply(body=body())

    async def work(http: Http) -> None:
        size = 0
        answer = await http.open("GET", "/")
        async for part in answer:
            size += len(part)
            await trio.sleep(API_SECONDS / 2)
        assert size == 4_000_000
        assert trio.current_time() > API_SECONDS
        answer = await http.open("GET", "/ticks")
        async for _ in answer:
            answer.renew()

    run(Script({"/": [reply], "/ticks": [ticks]}), work, jumping=True)


def test_cancelling_closes_the_connection_and_loses_no_slot() -> None:
    async def reply(_request: Request) -> Reply:
        return Reply(body=stalling(b"x"))

    async def work(http: Http) -> None:
        for _ in range(3):
            with trio.move_on_after(1):
                await http.call("GET", "/")
            with trio.move_on_after(1):
                await http.upload("POST", "/", parts(1000), whole)
        with trio.fail_after(5), pytest.raises(Transient):
            await http.open("GET", "/", seconds=0.0)

    run(reply, work, jumping=True, connections=1)


# --- secrets and addresses --------------------------------------------------------------------------------------------
def test_a_login_and_a_token_are_sent_and_never_shown() -> None:
    async def denied(request: Request) -> Reply:
        return Reply(403, request.headers.get("authorization", "none").encode())

    async def bearer(http: Http) -> None:
        answer = await http.call("GET", "/")
        assert answer.body == b"Bearer t0ken-abc"
        assert "t0ken" not in repr(http) + http.words(answer.body.decode())

    async def basic(http: Http) -> None:
        answer = await http.call("GET", "/")
        assert answer.body == b"Basic " + base64.b64encode(b"me:pass:word")
        said = http.words(f"pass:word {answer.body.decode()}")
        assert "pass:word" not in said
        assert base64.b64encode(b"me:pass:word").decode() not in said

    run(denied, bearer, token="t0ken-abc")
    run(denied, basic, login=("me", "pass:word"))


@pytest.mark.parametrize(
    "base",
    [
        "ftp://host", "http://", "//host", "", "http://user:hunter2@host", "http://host?x=1", "http://host#x",
        "http://ho st", "http://host:0", "http://host:99999", "http://host\r\nX: y", "http://hö.example",
        "127.0.0.1:5001",
    ],
)  # fmt: skip
def test_addresses_that_cannot_be_used(base: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Http(base)
    assert "hunter2" not in str(refused.value)


def test_secrets_that_cannot_be_used() -> None:
    for options in (
        {"token": "a\r\nb"},
        {"token": "a b"},
        {"login": ("a:b", "c")},
        {"token": "a", "login": ("b", "c")},
    ):
        with pytest.raises(ConfigError):
            Http("http://host", **options)  # type: ignore[arg-type]

    async def work(http: Http) -> None:
        for path, headers in (("/a b", []), ("/a\r\nX: y", []), ("/", [("X", "a\r\nY: b")])):
            with pytest.raises(ConfigError):
                await http.call("GET", path, headers=headers)
        assert (await http.call("GET", "/")).status == 200

    run(Script({"/": [Reply()]}), work, connections=1)


def test_https_checks_who_is_there(tmp_path: Path) -> None:
    server, client = certified(tmp_path)

    async def main() -> None:
        async with serving(Script({"/": [Reply(body=b"x" * 3_000_000)]}), tls=server) as url:
            trusting = Http(url, tls=client, connections=1)
            for _ in range(2):
                assert len((await trusting.call("GET", "/")).body) == 3_000_000
            await trusting.aclose()
            strict = Http(url, connections=1)
            for _ in range(2):
                with pytest.raises(BackendError, match="TLS") as refused:
                    await strict.call("GET", "/")
                assert not isinstance(refused.value, Transient)
            plain = Http(url.replace("https", "http"))
            with pytest.raises(BackendError):
                await plain.call("GET", "/")
        async with serving(Script({"/": [Reply()]})) as url:
            with pytest.raises(BackendError):
                await Http(url.replace("http", "https"), tls=client).call("GET", "/")

    trio.run(main)


def test_how_long_a_server_asks_to_wait() -> None:
    assert retry_after({}) is None
    assert retry_after({"retry-after": "7"}) == 7
    assert retry_after({"retry-after": "-7"}) is None
    assert retry_after({"retry-after": "9" * 400}) is None
    dates = {"date": "Mon, 23 Nov 2026 10:00:00 GMT", "retry-after": "Mon, 23 Nov 2026 10:01:00 GMT"}
    assert retry_after(dates) == 60
    assert retry_after({**dates, "date": "soon"}) is None
