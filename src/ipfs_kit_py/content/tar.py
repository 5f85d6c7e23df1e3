"""A tree as a tar stream, as ``get`` sends it."""

from __future__ import annotations

import tarfile
from contextlib import aclosing
from typing import TYPE_CHECKING

from ipfs_kit_py.content.tree import DIRECTORY, SYMLINK

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ipfs_kit_py.content.source import BlockSource
    from ipfs_kit_py.content.tree import Found, Trees
    from ipfs_kit_py.core.cid import CID


async def tar_of(trees: Trees, source: BlockSource, root: CID, name: str) -> AsyncGenerator[bytes | memoryview, None]:
    """The archive of what is below ``root``, whose own name in it is ``name``."""
    with source.session() as session:
        async with aclosing(trees.walk(session, root)) as found:
            async for item in found:
                yield _header(item, name)
                if item.kind.name in (DIRECTORY, SYMLINK):
                    continue
                size = 0
                async with trees.file(item.cid) as pieces:
                    async for piece in pieces:
                        size += len(piece)
                        yield piece
                yield bytes(-size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _header(item: Found, name: str) -> bytes:
    info = tarfile.TarInfo("/".join((name, *item.path)))
    info.mode = 0o644
    if item.kind.name == DIRECTORY:
        info.type, info.mode = tarfile.DIRTYPE, 0o755
    elif item.kind.name == SYMLINK:
        info.type, info.linkname = tarfile.SYMTYPE, item.kind.target
    else:
        info.size = item.kind.size or 0
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
