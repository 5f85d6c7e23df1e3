"""What a command sends: local files and directories, or standard input, as entries of a tree."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from ipfs_kit_py.content.files import READ_BYTES, Entry, tree
from ipfs_kit_py.core.closing import finishing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from typing_extensions import Buffer

    from ipfs_kit_py.cli.options import Request


async def entries(request: Request, read: Callable[[int], None]) -> AsyncIterator[Entry]:
    """The request's files; ``read`` is told of the bytes of each piece for the progress bar."""
    for text in request.paths or ():
        if text == "-":
            yield Entry(request.name, "file", chunks=lambda: _counted(_standard_input(), read))
            continue
        for entry in tree(Path(text), recursive=request.recursive, hidden=request.hidden):
            chunks = entry.chunks
            if chunks is None:
                yield entry
            else:
                yield Entry(entry.path, entry.kind, chunks=lambda chunks=chunks: _counted(chunks(), read))  # type: ignore[misc]


async def _counted(pieces: AsyncIterator[Buffer], read: Callable[[int], None]) -> AsyncIterator[Buffer]:
    async with finishing(pieces):
        async for piece in pieces:
            read(memoryview(piece).nbytes)
            yield piece


async def _standard_input() -> AsyncIterator[Buffer]:
    while True:
        piece = await trio.to_thread.run_sync(sys.stdin.buffer.read, READ_BYTES)
        if not piece:
            return
        yield piece


def total_size(request: Request) -> int | None:
    """Bytes that the request will read, ``None`` where standard input is among them."""
    if not request.paths or "-" in request.paths:
        return None
    total = 0
    for text in request.paths:
        path = Path(text)
        if path.is_file():
            total += path.stat().st_size
        elif request.recursive:
            total += sum(item.stat().st_size for item in path.rglob("*") if item.is_file() and not item.is_symlink())
    return total
