"""Multipart bodies as entries of a tree, streamed: a part is read while it is added, never held whole.

Kubo's form: a part per file with its path as percent-encoded file name; directories have the content type
``application/x-directory``, links ``application/symlink`` with the target as body.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING
from urllib.parse import unquote

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from ipfs_kit_py.content.files import Entry
from ipfs_kit_py.verbs.call import UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

DIRECTORY = "application/x-directory"
SYMLINK = "application/symlink"
CHUNK_BYTES = 2 << 20  # handed on at once
PART_HEADER_BYTES = 8 << 10  # one part's headers: a path of 4 KiB percent-encoded fits
TARGET_BYTES = 4 << 10  # where a link points; PATH_MAX


class Uploads:
    """The parts of one request body. Iterate ``entries``; each file's chunks must be read before the next entry."""

    def __init__(self, content_type: str, body: AsyncIterator[bytes]) -> None:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise UsageError("expected a body of multipart/form-data with a boundary")
        self._body = body
        self._events: list[tuple[str, bytes]] = []
        self._header_bytes = 0
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": lambda: self._events.append(("begin", b"")),
                "on_header_field": lambda data, start, end: self._header("field", data[start:end]),
                "on_header_value": lambda data, start, end: self._header("value", data[start:end]),
                "on_header_end": lambda: self._events.append(("header", b"")),
                "on_headers_finished": lambda: self._events.append(("body", b"")),
                "on_part_data": lambda data, start, end: self._events.append(("data", data[start:end])),
                "on_part_end": lambda: self._events.append(("end", b"")),
                "on_end": lambda: self._events.append(("done", b"")),
            },
        )

    def _header(self, kind: str, data: bytes) -> None:
        self._header_bytes += len(data)
        if self._header_bytes > PART_HEADER_BYTES:
            raise UsageError(f"a part's headers are longer than {PART_HEADER_BYTES} bytes")
        self._events.append((kind, data))

    async def _next(self) -> tuple[str, bytes]:
        while not self._events:
            try:
                piece = await anext(self._body)
            except StopAsyncIteration:
                raise UsageError("the body ends in the middle of a part") from None
            try:
                self._parser.write(piece)
            except FormParserError as error:
                raise UsageError(f"the body is no multipart/form-data: {error}") from None
        return self._events.pop(0)

    async def entries(self) -> AsyncGenerator[Entry, None]:
        """Files, directories and links in the order they were sent."""
        while True:
            kind, _ = await self._next()
            if kind == "done":
                return
            if kind == "begin":
                yield await self._entry()

    async def _entry(self) -> Entry:
        headers: dict[bytes, bytes] = {}
        field = value = b""
        self._header_bytes = 0
        while True:
            kind, data = await self._next()
            if kind == "field":
                field += data
            elif kind == "value":
                value += data
            elif kind == "header":
                headers[field.lower()] = value
                field = value = b""
            elif kind == "body":
                break
        _, options = parse_options_header(headers.get(b"content-disposition", b""))
        path = unquote(options.get(b"filename", b"").decode("latin-1"), errors="surrogateescape").strip("/")
        content = headers.get(b"content-type", b"").split(b";")[0].strip().decode("latin-1")
        if content == DIRECTORY:
            return Entry(path, "directory")
        if content == SYMLINK:
            target = bytearray()
            async with aclosing(self._chunks()) as chunks:
                async for chunk in chunks:
                    target += chunk
                    if len(target) > TARGET_BYTES:
                        raise UsageError(f"{path}: a link's target is longer than {TARGET_BYTES} bytes")
            return Entry(path, "symlink", target=target.decode("utf-8", "surrogateescape"))
        return Entry(path, "file", chunks=self._chunks)

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        """The part's body; small pieces of the wire are joined, since each that is handed on costs a thread's turn."""
        joined = bytearray()
        while True:
            kind, data = await self._next()
            if kind == "data":
                joined += data
                if len(joined) >= CHUNK_BYTES:
                    yield bytes(joined)
                    joined.clear()
            elif kind == "end":
                if joined:
                    yield bytes(joined)
                return
