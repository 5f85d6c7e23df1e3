"""Requests to services: what is never sent twice, addresses that they name, bodies of a known size."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import trio

from ipfs_kit_py.core.errors import BackendError, ConfigError
from ipfs_kit_py.storage.remote.base import RETRIES, Transient
from ipfs_kit_py.storage.remote.http.api import Api
from ipfs_kit_py.storage.remote.http.origins import Origins
from test.remote.loopback import Cut, Reply, Request, reply_json, serving
from test.remote.server import Script

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable


def run(handler: Any, work: Callable[[Api, str], Awaitable[None]], *, below: str = "", **options: Any) -> None:
    async def main() -> None:
        async with serving(handler) as url:
            api = Api(url + below, rng=random.Random(1), **options)
            try:
                await work(api, url)
            finally:
                await api.aclose()

    trio.run(main)


def test_what_may_not_be_sent_twice_is_not_even_where_a_kept_connection_ends() -> None:
    taken: list[str] = []

    async def handler(request: Request) -> Reply:
        if request.method == "GET":
            return reply_json({})
        taken.append(request.method)
        await request.body()
        raise Cut

    async def work(api: Api, _url: str) -> None:
        await api.call("GET", "ping")  # so that there is a connection that was kept
        with pytest.raises(BackendError) as cut:
            await api.call("POST", "pay", value={"to": 1}, again=False)
        assert not isinstance(cut.value, Transient)
        assert taken == ["POST"]
        await api.call("GET", "ping")
        with pytest.raises(Transient):
            await api.call("POST", "ask", value={})
        assert len(taken) == 1 + RETRIES + 2  # the first of them on the kept connection, which may have been closed

    run(handler, work)


def test_what_was_refused_may_be_sent_again() -> None:
    async def answer(_request: Request) -> Reply:
        return reply_json({"done": True})

    script = Script({"/pay": [Reply(429, b"later"), Reply(503, b"later"), answer]})

    async def work(api: Api, _url: str) -> None:
        assert (await api.call("POST", "pay", value={}, again=False)).json_map() == {"done": True}

    run(script, work)


def test_a_body_has_the_size_that_was_told() -> None:
    received: list[tuple[str | None, bytes]] = []

    async def handler(request: Request) -> Reply:
        received.append((request.headers.get("content-length"), await request.body()))
        return Reply(201, b"")

    async def parts() -> AsyncGenerator[bytes, None]:
        yield b"abc"
        yield b"defg"

    async def work(api: Api, _url: str) -> None:
        sent = {"Content-Length": "99", "Host": "elsewhere", "X-Checksum": "1"}
        await api.call("PUT", "blob", body=parts, size=7, headers=sent)
        assert received == [("7", b"abcdefg")]
        for wrong in (6, 8):
            with pytest.raises(BackendError, match="not as many bytes"):
                await api.call("PUT", "blob", body=parts, size=wrong)

    run(handler, work)


def test_a_whole_address_is_gone_to_without_a_token_or_not_at_all() -> None:
    script = Script({"/far": [reply_json([1])]})

    async def work(api: Api, url: str) -> None:
        found = await api.call("GET", urlsplit(f"{url}/far?a=b"), params={"c": "d e"})
        assert found.json() == [1]
        assert script.requests[0].query == {"a": "b", "c": "d e"}
        with pytest.raises(BackendError, match="list where dict belongs"):
            found.json_map()

    async def denied(api: Api, url: str) -> None:
        with pytest.raises(ConfigError, match="not for other addresses"):
            await api.call("GET", urlsplit(f"{url}/far"))

    run(script, work, below="/base")
    run(script, denied, token="s3cret")
    assert len(script.requests) == 1


@pytest.mark.parametrize(("below", "path"), [("", "/"), ("/", "/"), ("/rpc/v1", "/rpc/v1"), ("/rpc/", "/rpc/")])
def test_the_base_itself_is_asked_as_it_was_written(below: str, path: str) -> None:
    script = Script({path: [reply_json({})]})

    async def work(api: Api, _url: str) -> None:
        assert (await api.call("POST", "", value={})).status == 200

    run(script, work, below=below)


def test_only_so_many_other_origins_are_kept() -> None:
    async def main() -> None:
        origins = Origins(seconds=1.0)
        first = await origins.at(urlsplit("http://a.example/x"))
        assert await origins.at(urlsplit("http://a.example/y?z")) is first
        for number in range(4):
            await origins.at(urlsplit(f"http://h{number}.example/"))
        assert await origins.at(urlsplit("http://h0.example/")) is not first
        assert await origins.at(urlsplit("http://a.example/x")) is not first
        await origins.aclose()

    trio.run(main)
