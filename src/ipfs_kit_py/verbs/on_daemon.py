"""Verbs on the daemon of a repo: HTTP over loopback, sending and receiving at the same time."""

from __future__ import annotations

import json
import secrets
from contextlib import aclosing
from typing import TYPE_CHECKING
from urllib.parse import quote

from ipfs_kit_py.core.closing import finishing
from ipfs_kit_py.core.errors import BackendError, IPFSKitError, NotRunning
from ipfs_kit_py.storage.remote.base import Transient
from ipfs_kit_py.storage.remote.http.client import Http, NoConnection, StreamFailed
from ipfs_kit_py.verbs.untar import untar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from typing_extensions import Buffer

    from ipfs_kit_py.content.files import Entry
    from ipfs_kit_py.storage.remote.http.client import Answer
    from ipfs_kit_py.verbs.call import Output

MAX_ROW_BYTES = 16 << 20  # one line of JSON: the listing of a large directory
_PART_TYPES = {"directory": "application/x-directory", "symlink": "application/symlink"}


class DaemonError(IPFSKitError):
    """The daemon refused or failed; the message is its own. ``kind`` is the class of its error by name, as
    ``core.errors`` has it; empty where it does not say."""

    def __init__(self, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind


class OnDaemon:
    """Verbs on the daemon at ``HOST:PORT``. ``NotRunning`` where it does not answer, ``DaemonError`` with its own words
    where it refuses or fails before its answer begins; a failure later in rows is a row with ``Type`` ``error``."""

    def __init__(self, address: str) -> None:
        self.address = address

    async def perform(
        self, verb: str, arguments: Sequence[str], options: Mapping[str, str], output: Output,
        uploads: AsyncIterator[Entry] | None = None,
    ) -> None:  # fmt: skip
        """Send a verb, and what goes with it, and hand on its answer as it comes."""

        async def take(kind: bytes, answer: AsyncIterator[bytes]) -> None:
            if kind == b"application/octet-stream":
                async for piece in answer:
                    await output.data(piece)
            else:
                await _rows(answer, output)

        query = [("arg", item) for item in arguments] + list(options.items())
        await _exchange(self.address, verb, query, uploads, take)

    async def get(self, path: str, dest: Path, *, progress: Callable[[int], None]) -> None:
        """Write a file or tree to ``dest``, which it becomes."""

        async def take(_kind: bytes, answer: AsyncIterator[bytes]) -> None:
            await untar(answer, dest, progress)

        await _exchange(self.address, "get", [("arg", path)], None, take)

    def __repr__(self) -> str:
        return f"<OnDaemon {self.address}>"


async def _rows(answer: AsyncIterator[bytes], output: Output) -> None:
    rest = b""
    async for piece in answer:
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) > MAX_ROW_BYTES:
            raise BackendError(f"the daemon sent a line of more than {MAX_ROW_BYTES} bytes")
        for line in lines:
            await output.row(json.loads(line))
    if rest.strip():
        await output.row(json.loads(rest))


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
        message, kind = _refusal(text)
        raise DaemonError(message or f"{verb}: the daemon answered {answer.status}", kind)
    async with aclosing(_pieces(answer)) as pieces:
        await take(answer.headers.get("content-type", "").encode(), pieces)


async def _pieces(answer: Answer) -> AsyncGenerator[bytes, None]:
    async for piece in answer:
        yield bytes(piece)


def _refusal(body: bytes) -> tuple[str, str]:
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        return "", ""
    return str(found.get("Message", "")), str(found.get("Kind", ""))
