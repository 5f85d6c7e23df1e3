"""UnixFS trees: what a path is, what a directory holds, and everything below it in order."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, NamedTuple

from ipfs_kit_py.content.pump import Reading
from ipfs_kit_py.core.cid import CODEC_NAMES, DAG_PB, RAW, Block
from ipfs_kit_py.core.config import MAX_DAG_DEPTH, READ_AHEAD_BYTES
from ipfs_kit_py.core.errors import InvalidBlock, NotAFile
from ipfs_kit_py.dag import dag_pb, unixfs
from ipfs_kit_py.dag.hamt_list import HamtEntries
from ipfs_kit_py.dag.reader import FileReader

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    import trio

    from ipfs_kit_py.content.source import BlockSource, SourceSession
    from ipfs_kit_py.core.cid import CID

PAGE = 256  # entries whose own blocks are got at once
SMALL_FILE_BYTES = 64 << 10  # files of one raw block that say to have so much at most are read together
RUN_FILES = 64  # of them at once: where they lie, 64 of the largest blocks

FILE, DIRECTORY, SYMLINK = "file", "directory", "symlink"


class Kind(NamedTuple):
    """What a block is the root of. ``size`` is a file's bytes; ``target`` where a link points."""

    name: str
    size: int | None = None
    target: str = ""


class DirEntry(NamedTuple):
    """An entry of a directory; ``type`` is file, directory or symlink, ``size`` a file's bytes."""

    name: str
    cid: CID
    type: str
    size: int | None


class Found(NamedTuple):
    """An entry of a tree, with its path below the root."""

    path: tuple[str, ...]
    cid: CID
    kind: Kind


def kind_of(cid: CID, data: bytes) -> Kind:
    """What a root block is; ``NotAFile`` for a block that is no UnixFS."""
    if cid.codec == RAW:
        return Kind(FILE, len(data))
    if cid.codec != DAG_PB:
        raise NotAFile(f"{cid} is {CODEC_NAMES.get(cid.codec, hex(cid.codec))}, not UnixFS; use `dag get`")
    try:
        head = unixfs.decode(dag_pb.split(data).data)
    except InvalidBlock as error:
        raise NotAFile(f"{cid} is no UnixFS ({error}); use `dag get`") from None
    if head.type in (unixfs.DIRECTORY, unixfs.HAMT_SHARD):
        return Kind(DIRECTORY)
    if head.type == unixfs.SYMLINK:
        target = bytes(head.data or b"")
        return Kind(SYMLINK, len(target), target.decode("utf-8", "surrogateescape"))
    if head.type == unixfs.METADATA:
        raise NotAFile(f"{cid} is UnixFS metadata, not a file or directory")
    own = memoryview(head.data or b"").nbytes
    return Kind(FILE, head.filesize if head.filesize is not None else own + sum(head.blocksizes))


class Trees:
    """Reads trees from a source; plans run in ``nursery``."""

    def __init__(self, nursery: trio.Nursery, source: BlockSource) -> None:
        self._nursery = nursery
        self._source = source

    def file(self, cid: CID, start: int = 0, stop: int | None = None) -> Reading[memoryview]:
        """A file's bytes from ``start`` to ``stop`` in order."""
        return Reading(self._nursery, self._source, FileReader(cid, start, stop), READ_AHEAD_BYTES)

    async def small_files(self, session: SourceSession, run: Sequence[Found]) -> list[tuple[Found, bytes]]:
        """The content of a run of small files, in its order."""
        blocks: dict[CID, bytes] = {}
        async with aclosing(session.get_many(list(dict.fromkeys(item.cid for item in run)))) as found:
            async for block in found:
                blocks[block.cid] = bytes(block.data)
        return [(item, blocks[item.cid]) for item in run]

    async def links(self, session: SourceSession, cid: CID) -> AsyncGenerator[Sequence[dag_pb.PBLink], None]:
        """A directory's links, in pages. ``NotAFile`` where it is none."""
        data = await session.get(cid)
        kind = kind_of(cid, data).name
        if kind != DIRECTORY:
            raise NotAFile(f"{cid} is a {kind}, not a directory; use `cat` or `get`")
        node = dag_pb.decode(data)
        if unixfs.decode(node.data or b"").type == unixfs.HAMT_SHARD:
            async with Reading(self._nursery, self._source, HamtEntries(cid), READ_AHEAD_BYTES) as pages:
                async for page in pages:
                    yield page
            return
        for at in range(0, len(node.links), PAGE):
            yield node.links[at : at + PAGE]

    async def entries(self, session: SourceSession, cid: CID) -> AsyncGenerator[tuple[str, CID, Kind], None]:
        """A directory's entries with what each is; their own blocks are got a page at a time."""
        async with aclosing(self.links(session, cid)) as pages:
            async for links in pages:
                for at in range(0, len(links), PAGE):
                    page = links[at : at + PAGE]
                    kinds = await self._kinds(session, page)
                    for link in page:
                        yield link.name or "", link.cid, kinds[link.cid]

    async def _kinds(self, session: SourceSession, page: Sequence[dag_pb.PBLink]) -> dict[CID, Kind]:
        kinds = {link.cid: Kind(FILE, link.tsize) for link in page if link.cid.codec == RAW}
        unknown = list(dict.fromkeys(link.cid for link in page if link.cid.codec != RAW))
        if unknown:
            async with aclosing(session.get_many(unknown)) as blocks:
                async for block in blocks:
                    kinds[block.cid] = _lenient_kind(block)
        return kinds

    async def walk(self, session: SourceSession, root: CID) -> AsyncGenerator[Found, None]:
        """Everything from ``root`` down, a directory before what it holds; ``InvalidBlock`` beyond the depth limit."""
        kind = kind_of(root, await session.get(root))
        stack: list[Found] = [Found((), root, kind)]
        while stack:
            found = stack.pop()
            yield found
            if found.kind.name != DIRECTORY:
                continue
            if len(found.path) >= MAX_DAG_DEPTH:
                raise InvalidBlock(f"the tree at {found.cid} is deeper than {MAX_DAG_DEPTH} directories")
            below: list[Found] = []
            async with aclosing(self.entries(session, found.cid)) as entries:
                async for name, cid, child in entries:
                    below.append(Found((*found.path, name), cid, child))
            stack.extend(reversed(below))


def is_small(item: Found) -> bool:
    """Whether this is a file of one raw block, small enough to be read together with others."""
    return item.kind.name == FILE and item.cid.codec == RAW and (item.kind.size or 0) <= SMALL_FILE_BYTES


async def runs(found: AsyncIterator[Found]) -> AsyncGenerator[list[Found], None]:
    """What a walk finds, in its order: runs of small files, everything else by itself."""
    run: list[Found] = []
    async for item in found:
        small = is_small(item)
        if run and (not small or len(run) == RUN_FILES):
            yield run
            run = []
        if small:
            run.append(item)
        else:
            yield [item]
    if run:
        yield run


def _lenient_kind(block: Block) -> Kind:
    """What an entry is; one that is no UnixFS counts as a file of its block, so that its directory still lists."""
    try:
        return kind_of(block.cid, bytes(block.data))
    except NotAFile:
        return Kind(FILE, memoryview(block.data).nbytes)
