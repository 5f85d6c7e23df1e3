"""The node's verbs that read files and trees, from the store or straight from peers."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

from ipfs_kit_py.content import fetch as dags
from ipfs_kit_py.content.get import get_tree
from ipfs_kit_py.content.source import BlockSource
from ipfs_kit_py.content.tar import tar_of
from ipfs_kit_py.content.tree import DirEntry, Trees
from ipfs_kit_py.core.cid import CID, DAG_PB, RAW
from ipfs_kit_py.core.errors import InvalidBlock, LocalError, NotAFile
from ipfs_kit_py.node.base import Services
from ipfs_kit_py.storage import threads
from ipfs_kit_py.storage.threads import Pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from typing_extensions import Buffer

    from ipfs_kit_py.content.pump import Reading

READ_BYTES_MAX = 1 << 30  # of a file that is returned as one ``bytes``


class ReadingVerbs(Services):
    """Files, ranges, directories and whole trees by path."""

    async def cat(
        self, path: str | CID, *, offset: int = 0, length: int | None = None
    ) -> AsyncGenerator[memoryview, None]:
        """A file's bytes in order, in pieces, in bounded memory. ``NotAFile`` for anything else."""
        async with await self.open_file(path, offset=offset, length=length) as pieces:
            async for piece in pieces:
                yield piece

    async def open_file(self, path: str | CID, *, offset: int = 0, length: int | None = None) -> Reading[memoryview]:
        """A file's bytes as an iterator that reads ahead until it is closed."""
        if offset < 0 or (length is not None and length < 0):
            raise LocalError(f"offset and length are 0 or more bytes, not {offset} and {length}")
        stop = None if length is None else offset + length
        return self._trees.file(await self._root(path), offset, stop)

    async def read_bytes(self, path: str | CID) -> bytes:
        """A whole file, or for a CID of another codec its block. ``LocalError`` beyond ``READ_BYTES_MAX``."""
        cid = await self._root(path)
        if cid.codec not in (RAW, DAG_PB):
            with self._source.session() as session:
                return await session.get(cid)
        out = bytearray()
        async with self._trees.file(cid) as pieces:
            async for piece in pieces:
                out += piece
                if len(out) > READ_BYTES_MAX:
                    raise LocalError(f"{path} is larger than {READ_BYTES_MAX} bytes; read it in pieces with cat")
        return bytes(out)

    async def local_bytes(self, cid: CID) -> bytes:
        """What the store alone has under a CID: a file, else the block; ``NotFound`` where it is not whole."""
        offline = BlockSource(self._store, None)
        with offline.session() as session:
            block = await session.get(cid)
        if cid.codec != DAG_PB:
            return block
        try:
            async with Trees(self._nursery, offline).file(cid) as pieces:
                return b"".join([piece async for piece in pieces])
        except (NotAFile, InvalidBlock):
            return block

    async def ls(self, path: str | CID) -> AsyncGenerator[DirEntry, None]:
        """A directory's entries; a file lists as nothing below it. Large directories come in pages."""
        cid = await self._root(path)
        with self._source.session() as session:
            async with aclosing(self._trees.entries(session, cid)) as entries:
                async for name, child, kind in entries:
                    yield DirEntry(name, child, kind.name, kind.size)

    async def get(self, path: str | CID, dest: Path | str, *, progress: Callable[[int], None] | None = None) -> None:
        """Write a file or tree to ``dest``, which it becomes. ``InvalidName`` for names that would leave it."""
        dest = await threads.run(Pool.WORK, Path(dest).absolute)
        await get_tree(self._trees, self._source, await self._root(path), dest, progress)

    async def tar(self, path: str | CID) -> AsyncGenerator[Buffer, None]:
        """A file or tree as a tar stream."""
        root = await self._root(path)
        name = str(path).rstrip("/").rpartition("/")[2] or str(root)
        async with aclosing(tar_of(self._trees, self._source, root, name)) as pieces:
            async for piece in pieces:
                yield piece

    async def fetch(self, path: str | CID, *, progress: Callable[[int], None] | None = None) -> dags.DagStat:
        """Bring a whole DAG into the store; returns its blocks and bytes."""
        return await dags.fetch(self._source, await self._root(path), progress)
