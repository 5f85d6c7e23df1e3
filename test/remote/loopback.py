"""A scripted HTTP server on loopback: h11 over trio, able to stall, cut, trickle and lie.

A handler is an async function of a ``Request`` that returns a ``Reply``; raising ``Cut`` closes the connection at once.
What such handlers have in common is in ``test.remote.server``.
"""

from __future__ import annotations

import json
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import h11
import trio

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator

READ_BYTES = 1 << 16


class Cut(Exception):
    """Close the connection without another byte."""


@dataclass
class Request:
    """What came. ``chunks`` gives the body as it comes; a client that leaves in the middle raises ``Cut`` there."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    chunks: AsyncIterator[bytes]
    connection: int = 0  # of this server, counted from 0

    async def body(self) -> bytes:
        return b"".join([chunk async for chunk in self.chunks])

    async def json(self) -> Any:
        return json.loads(await self.body() or b"null")


@dataclass
class Reply:
    """What goes back. A ``body`` that is a generator is sent chunked unless ``headers`` tell a Content-Length.

    ``trailers`` follow a chunked body. ``raw`` is sent instead of all that, as it is, and the connection closed.
    """

    status: int = 200
    body: bytes | AsyncGenerator[bytes, None] = b""
    headers: dict[str, str] = field(default_factory=dict)
    trailers: dict[str, str] = field(default_factory=dict)
    raw: bytes | AsyncGenerator[bytes, None] | None = None


def reply_json(value: Any, status: int = 200, **headers: str) -> Reply:
    return Reply(status, json.dumps(value).encode(), {"Content-Type": "application/json", **headers})


class _Connection:
    def __init__(self, stream: trio.abc.Stream, number: int) -> None:
        self._stream = stream
        self._number = number
        self._http = h11.Connection(h11.SERVER)

    async def event(self) -> Any:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            try:
                self._http.receive_data(await self._stream.receive_some(READ_BYTES))
            except trio.BrokenResourceError:
                raise Cut from None
        return event

    async def send(self, event: Any) -> None:
        data = self._http.send(event)
        if data:
            await self._stream.send_all(data)

    async def _body(self) -> AsyncGenerator[bytes, None]:
        while True:
            event = await self.event()
            if not isinstance(event, h11.Data):
                return
            yield bytes(event.data)

    async def serve(self, handler: Callable[[Request], Awaitable[Reply]]) -> None:
        while True:
            event = await self.event()
            if not isinstance(event, h11.Request):
                return
            parts = urlsplit(event.target.decode())
            headers = {name.decode(): value.decode() for name, value in event.headers}
            body = self._body()
            request = Request(
                event.method.decode(), parts.path, dict(parse_qsl(parts.query)), headers, body, self._number
            )
            async with aclosing(body):
                reply = await handler(request)
                if reply.raw is not None:
                    return await self._send_raw(reply.raw)
                await self._answer(request, reply)
                if not int(headers.get("content-length", "0")):
                    await request.body()  # its end, which is here already
            if self._http.our_state is h11.MUST_CLOSE or self._http.their_state is not h11.DONE:
                return
            self._http.start_next_cycle()

    async def _answer(self, request: Request, reply: Reply) -> None:
        headers = dict(reply.headers)
        if isinstance(reply.body, bytes) and "Content-Length" not in headers and reply.status != 204:
            headers["Content-Length"] = str(len(reply.body))
        await self.send(h11.Response(status_code=reply.status, headers=list(headers.items())))
        if isinstance(reply.body, bytes):
            if reply.body and request.method != "HEAD":
                await self.send(h11.Data(data=reply.body))
        else:
            async with aclosing(reply.body) as chunks:
                async for chunk in chunks:
                    await self.send(h11.Data(data=chunk))
        await self.send(h11.EndOfMessage(headers=list(reply.trailers.items())))

    async def _send_raw(self, raw: bytes | AsyncGenerator[bytes, None]) -> None:
        if isinstance(raw, bytes):
            await self._stream.send_all(raw)
            return
        async with aclosing(raw) as chunks:
            async for chunk in chunks:
                await self._stream.send_all(chunk)


async def _serve(
    handler: Callable[[Request], Awaitable[Reply]],
    numbers: Iterator[int],
    tls: ssl.SSLContext | None,
    stream: trio.SocketStream,
) -> None:
    channel = stream if tls is None else trio.SSLStream(stream, tls, server_side=True, https_compatible=True)
    async with stream:
        try:
            await _Connection(channel, next(numbers)).serve(handler)
        except (Cut, h11.ProtocolError, trio.BrokenResourceError):
            return


@asynccontextmanager
async def serving(
    handler: Callable[[Request], Awaitable[Reply]], *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """The URL of a server with this handler while the context lasts."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        serve = partial(_serve, handler, count(), tls)
        nursery.start_soon(partial(trio.serve_listeners, serve, listeners))
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        nursery.cancel_scope.cancel()
