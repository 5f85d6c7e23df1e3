"""A tree as a tar stream, as ``get`` sends it."""

from __future__ import annotations

import tarfile
from contextlib import aclosing
from typing import TYPE_CHECKING

from ipfs_kit_py.content.tree import DIRECTORY, SYMLINK, is_small, runs

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ipfs_kit_py.content.source import BlockSource
    from ipfs_kit_py.content.tree import Found, Trees
    from ipfs_kit_py.core.cid import CID


async def tar_of(trees: Trees, source: BlockSource, root: CID, name: str) -> AsyncGenerator[bytes | memoryview, None]:
    """The archive of what is below ``root``, whose own name in it is ``name``."""
    with source.session() as session:
        async with aclosing(trees.walk(session, root)) as found, aclosing(runs(found)) as parts:
            async for part in parts:
                if is_small(part[0]):
                    for item, data in await trees.small_files(session, part):
                        yield _header(item, name, len(data)) + data + _padding(len(data))
                    continue
                yield _header(part[0], name, part[0].kind.size or 0)
                if part[0].kind.name in (DIRECTORY, SYMLINK):
                    continue
                size = 0
                async with trees.file(part[0].cid) as pieces:
                    async for piece in pieces:
                        size += len(piece)
                        yield piece
                yield _padding(size)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)


def _header(item: Found, name: str, size: int) -> bytes:
    info = tarfile.TarInfo("/".join((name, *item.path)))
    info.mode = 0o644
    if item.kind.name == DIRECTORY:
        info.type, info.mode = tarfile.DIRTYPE, 0o755
    elif item.kind.name == SYMLINK:
        info.type, info.linkname = tarfile.SYMTYPE, item.kind.target
    else:
        info.size = size
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
