"""A verb on the daemon of the repo: HTTP over loopback, sending and receiving at the same time."""

from __future__ import annotations

import json
import secrets
from contextlib import aclosing
from typing import TYPE_CHECKING
from urllib.parse import quote

from ipfs_kit_py.cli.untar import untar
from ipfs_kit_py.core.closing import finishing
from ipfs_kit_py.core.errors import BackendError, IPFSKitError, NotRunning
from ipfs_kit_py.storage.remote.base import Transient
from ipfs_kit_py.storage.remote.http.client import Http, NoConnection, StreamFailed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

    from typing_extensions import Buffer

    from ipfs_kit_py.cli.options import Options, Request
    from ipfs_kit_py.cli.render import Rendering
    from ipfs_kit_py.content.files import Entry
    from ipfs_kit_py.storage.remote.http.client import Answer

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
    http = Http(f"http://{address}/api/v0", seconds=None)
    boundary = secrets.token_hex(16)

    async def answered(answer: Answer) -> None:
        await _answer(answer, verb, take)

    try:
        if uploads is None:
            answer = await http.open("POST", f"/{verb}", params=query)
            try:
                await answered(answer)
            finally:
                await answer.aclose()
        else:
            headers = [("Content-Type", f"multipart/form-data; boundary={boundary}")]
            await http.upload("POST", f"/{verb}", _body(uploads, boundary), answered, params=query, headers=headers)
    except NoConnection as error:
        raise NotRunning(f"the daemon at {address} does not answer ({error}); stop it or use --offline") from None
    except StreamFailed as error:
        raise DaemonError(error.text) from None
    except Transient:
        raise BackendError("the daemon broke off its answer; its log says why") from None
    finally:
        await http.aclose()


async def _body(uploads: AsyncIterator[Entry], boundary: str) -> AsyncGenerator[Buffer, None]:
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


async def _answer(answer: Answer, verb: str, take: Callable[[bytes, AsyncIterator[bytes]], Awaitable[None]]) -> None:
    if answer.status != 200:
        text = await answer.read(MAX_ROW_BYTES)
        raise DaemonError(_message(text) or f"{verb}: the daemon answered {answer.status}")
    async with aclosing(_pieces(answer)) as pieces:
        await take(answer.headers.get("content-type", "").encode(), pieces)


async def _pieces(answer: Answer) -> AsyncGenerator[bytes, None]:
    async for piece in answer:
        yield bytes(piece)


def _message(body: bytes) -> str:
    try:
        found = json.loads(body)
    except ValueError:
        return ""
    return str(found.get("Message", "")) if isinstance(found, dict) else ""
