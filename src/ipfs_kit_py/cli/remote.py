"""A verb on the daemon of the repo: HTTP over loopback, sending and receiving at the same time."""

from __future__ import annotations

import json
import secrets
from contextlib import aclosing
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import h11
import trio

from ipfs_kit_py.cli.untar import untar
from ipfs_kit_py.core.closing import finishing
from ipfs_kit_py.core.errors import BackendError, IPFSKitError, NotRunning

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

    from typing_extensions import Buffer

    from ipfs_kit_py.cli.options import Options, Request
    from ipfs_kit_py.cli.render import Rendering
    from ipfs_kit_py.content.files import Entry

READ_BYTES = 256 << 10
MAX_ROW_BYTES = 16 << 20  # one line of JSON: the listing of a large directory
_PART_TYPES = {"directory": "application/x-directory", "symlink": "application/symlink"}


class DaemonError(IPFSKitError):
    """The daemon refused or failed; the message is its own."""


async def perform(
    address: str,
    options: Options,
    request: Request,
    uploads: Callable[[], AsyncIterator[Entry]] | None,
    rendering: Rendering,
) -> None:
    """Send the verb to the daemon at ``HOST:PORT`` and render its answer."""
    for peer in options.peers:
        await _exchange(address, "swarm/connect", [("arg", peer)], None, _ignore)
    query = [("arg", item) for item in request.arguments] + list(request.options.items())

    async def take(kind: bytes, answer: AsyncIterator[bytes]) -> None:
        if request.verb == "get":
            await untar(answer, rendering.destination(), rendering.read)
        elif kind == b"application/octet-stream":
            async for piece in answer:
                await rendering.data(piece)
        else:
            await _rows(answer, rendering)

    await _exchange(address, request.verb, query, uploads() if uploads else None, take)


async def _ignore(_kind: bytes, answer: AsyncIterator[bytes]) -> None:
    async for _ in answer:
        pass


async def _rows(answer: AsyncIterator[bytes], rendering: Rendering) -> None:
    rest = b""
    async for piece in answer:
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) > MAX_ROW_BYTES:
            raise BackendError(f"the daemon sent a line of more than {MAX_ROW_BYTES} bytes")
        for line in lines:
            await rendering.row(json.loads(line))
    if rest.strip():
        await rendering.row(json.loads(rest))


async def _exchange(
    address: str,
    verb: str,
    query: list[tuple[str, str]],
    uploads: AsyncIterator[Entry] | None,
    take: Callable[[bytes, AsyncIterator[bytes]], Awaitable[None]],
) -> None:
    """One request; ``take`` gets the answer's content type and its body. ``DaemonError`` for a failed verb."""
    host, _, port = address.rpartition(":")
    try:
        stream = await trio.open_tcp_stream(host.strip("[]"), int(port))
    except OSError as error:
        raise NotRunning(f"the daemon at {address} does not answer ({error}); stop it or use --offline") from None
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=64 << 10)
    boundary = secrets.token_hex(16)
    headers = [("Host", address), ("Connection", "close")]
    if uploads is None:
        headers.append(("Content-Length", "0"))
    else:
        headers.append(("Transfer-Encoding", "chunked"))
        headers.append(("Content-Type", f"multipart/form-data; boundary={boundary}"))
    request = h11.Request(method="POST", target=f"/api/v0/{verb}?{urlencode(query)}", headers=headers)
    failures: list[Exception] = []

    async def send() -> None:
        try:
            async with aclosing(_body(uploads, boundary)) as pieces:
                async for piece in pieces:
                    await stream.send_all(connection.send(h11.Data(data=bytes(piece))) or b"")
            await stream.send_all(connection.send(h11.EndOfMessage()) or b"")
        except trio.BrokenResourceError:
            return  # the daemon stopped reading: its answer says why
        except Exception as error:  # noqa: BLE001 - raised again below, alone
            failures.append(error)
            nursery.cancel_scope.cancel()

    async with stream, trio.open_nursery() as nursery:
        try:
            await stream.send_all(connection.send(request) or b"")
            nursery.start_soon(send)
            await _answer(stream, connection, verb, take)
        except (trio.BrokenResourceError, h11.RemoteProtocolError):
            failures.append(BackendError("the daemon broke off its answer; its log says why"))
        except Exception as error:  # noqa: BLE001 - raised again below, alone
            failures.append(error)
        nursery.cancel_scope.cancel()
    if failures:
        raise failures[0]


async def _body(uploads: AsyncIterator[Entry] | None, boundary: str) -> AsyncGenerator[Buffer, None]:
    if uploads is None:
        return
    async with finishing(uploads):
        async for entry in uploads:
            async with aclosing(_part(entry, boundary)) as pieces:
                async for piece in pieces:
                    yield piece
    yield f"--{boundary}--\r\n".encode()


async def _part(entry: Entry, boundary: str) -> AsyncGenerator[Buffer, None]:
    name = quote(entry.path.encode("utf-8", "surrogateescape"), safe="/")
    kind = _PART_TYPES.get(entry.kind, "application/octet-stream")
    yield (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        f"Content-Type: {kind}\r\n\r\n"
    ).encode()
    if entry.chunks is not None:
        async with finishing(entry.chunks()) as chunks:
            async for chunk in chunks:
                yield chunk
    yield entry.target.encode("utf-8", "surrogateescape") + b"\r\n"


async def _answer(
    stream: trio.SocketStream,
    connection: h11.Connection,
    verb: str,
    take: Callable[[bytes, AsyncIterator[bytes]], Awaitable[None]],
) -> None:
    async def events() -> AsyncGenerator[h11.Event, None]:
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await stream.receive_some(READ_BYTES))
            elif isinstance(event, h11.Event):
                yield event
            if isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                return

    async def body() -> AsyncGenerator[bytes, None]:
        async for event in source:
            if isinstance(event, h11.Data):
                yield bytes(event.data)

    async with aclosing(events()) as source, aclosing(body()) as pieces:
        async for event in source:
            if isinstance(event, h11.Response):
                kind = dict(event.headers).get(b"content-type", b"")
                if event.status_code == 200:
                    await take(kind, pieces)
                    return
                text = b"".join([piece async for piece in pieces])
                raise DaemonError(_message(text) or f"{verb}: the daemon answered {event.status_code}")


def _message(body: bytes) -> str:
    try:
        found = json.loads(body)
    except ValueError:
        return ""
    return str(found.get("Message", "")) if isinstance(found, dict) else ""
