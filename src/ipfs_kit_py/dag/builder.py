"""Build the DAG of a file from its bytes, in memory that does not grow with the file.

The balanced layout: leaves in order, every node full before the next one begins. Hashing is the cost, so it is apart:
``leaf`` hashes and may run in any thread and any order, ``add_leaf`` takes the leaves in the order of the file.
Source: ipfs/specs src/unixfs.md, section "File"; src/ipips/ipip-0499.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ipfs_kit_py.core import varint
from ipfs_kit_py.core.cid import RAW, Block
from ipfs_kit_py.core.errors import LocalError
from ipfs_kit_py.dag import dag_pb, unixfs
from ipfs_kit_py.dag.chunker import Chunker
from ipfs_kit_py.dag.profiles import Built, Profile, Stat, stored

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from ipfs_kit_py.core.cid import CID

NO_STAT = Stat()


class Leaf(NamedTuple):
    """A chunk of a file as a block; ``content`` is the chunk itself."""

    block: Block
    content: Buffer


class _Child(NamedTuple):
    cid: CID
    size: int  # bytes of the file below it
    tsize: int  # bytes of all blocks below it and its own


class FileBuilder:
    """One file. Either ``write`` the bytes, or ``add_leaf`` for every chunk of ``profile.chunk_size`` bytes.

    Both return the blocks that are complete now, to be stored; ``finish`` returns the root and the last blocks. Blocks
    may be views of what was written: leave that memory alone until they are stored. With ``stat`` the root keeps mode
    and time, and all leaves are dag-pb, as Kubo has it.
    """

    def __init__(self, profile: Profile, stat: Stat = NO_STAT) -> None:
        self._profile = profile
        self._stat = stat
        self._raw = profile.raw_leaves and stat == NO_STAT
        self._chunker = Chunker(profile.chunk_size)
        self._levels: list[list[_Child]] = []
        self._first: bytes | None = None  # with ``stat``: held until it is known whether it is the root
        self._size = 0
        self._finished = False

    @property
    def size(self) -> int:
        """Bytes of the file taken so far."""
        return self._size + self._chunker.pending

    def leaf(self, content: Buffer) -> Leaf:
        """The leaf of a chunk; changes nothing here, safe in any thread."""
        if self._raw:
            return Leaf(self._profile.block(content, RAW), content)
        return Leaf(self._profile.block(wrap_leaf(content)), content)

    def add_leaf(self, leaf: Leaf) -> list[Block]:
        """Take the file's next leaf; the blocks that are complete with it."""
        size = memoryview(leaf.content).nbytes
        if self._finished or self._size % self._profile.chunk_size or size > self._profile.chunk_size:
            raise LocalError(f"a leaf of {size} bytes cannot follow {self._size} bytes of this file")
        self._size += size
        if self._stat != NO_STAT and self._first is None and not self._levels:
            self._first = bytes(leaf.content)
            return []
        out: list[Block] = []
        if self._first is not None:
            self._place(self.leaf(self._first), len(self._first), out)
            self._first = None
        self._place(leaf, size, out)
        return out

    def write(self, data: Buffer) -> list[Block]:
        """Take the file's next bytes, as many as there are; the blocks that are complete with them."""
        out: list[Block] = []
        for chunk in self._chunker.feed(data):
            out += self.add_leaf(self.leaf(chunk))
        return out

    def finish(self) -> Built:
        """The root, the sizes, and the blocks that were not handed out yet; once only."""
        if self._finished:
            raise LocalError("this file is finished; build another one")
        out: list[Block] = []
        if (rest := self._chunker.flush()) is not None:
            out += self.add_leaf(self.leaf(rest))
        root = self._top(out) if self._levels else self._only_leaf(out)
        self._finished = True
        return Built(root.cid, root.size, root.tsize, out)

    def _place(self, leaf: Leaf, size: int, out: list[Block]) -> None:
        out += stored(leaf.block)
        self._append(0, _Child(leaf.block.cid, size, memoryview(leaf.block.data).nbytes), out)

    def _append(self, level: int, child: _Child, out: list[Block]) -> None:
        # A full row is closed when its next sibling comes, not before: the last node made is then the root.
        while True:
            if level == len(self._levels):
                self._levels.append([])
            row = self._levels[level]
            if len(row) < self._profile.max_links:
                row.append(child)
                return
            self._levels[level] = [child]
            child = self._join(row, NO_STAT, out)
            level += 1

    def _join(self, row: list[_Child], stat: Stat, out: list[Block]) -> _Child:
        size = sum(child.size for child in row)
        node = unixfs.FSNode(
            type=unixfs.FILE,
            filesize=size,
            blocksizes=[child.size for child in row],
            mode=stat.mode,
            mtime=stat.mtime,
        )
        links = [dag_pb.PBLink(child.cid, "", child.tsize) for child in row]
        block = self._profile.block(dag_pb.encode(dag_pb.PBNode(links, unixfs.encode(node))))
        out += stored(block)
        return _Child(block.cid, size, memoryview(block.data).nbytes + sum(child.tsize for child in row))

    def _only_leaf(self, out: list[Block]) -> _Child:
        content = self._first or b""
        block = self._profile.block(wrap_leaf(content, self._stat)) if not self._raw else self.leaf(content).block
        out += stored(block)
        return _Child(block.cid, len(content), memoryview(block.data).nbytes)

    def _top(self, out: list[Block]) -> _Child:
        if len(self._levels) == 1 and len(self._levels[0]) == 1:
            return self._levels[0][0]
        level = 0
        while level < len(self._levels) - 1:
            self._append(level + 1, self._join(self._levels[level], NO_STAT, out), out)
            level += 1
        return self._join(self._levels[level], self._stat, out)


def wrap_leaf(content: Buffer, stat: Stat = NO_STAT) -> bytes:
    """The dag-pb block of a chunk that is no raw leaf; the chunk is copied once."""
    size = memoryview(content).nbytes
    if stat != NO_STAT:
        node = unixfs.FSNode(
            type=unixfs.FILE, data=content if size else None, filesize=size, mode=stat.mode, mtime=stat.mtime
        )
        return dag_pb.encode(dag_pb.PBNode([], unixfs.encode(node)))
    length = varint.encode(size)
    head = b"\x08\x02" + (b"\x12" + length if size else b"")
    inner = len(head) + size + 1 + len(length)
    return b"".join((b"\x0a", varint.encode(inner), head, content, b"\x18", length))


def build_file(data: Buffer, profile: Profile, stat: Stat = NO_STAT) -> Built:
    """The DAG of a file that is in memory; all of its blocks are in the result."""
    builder = FileBuilder(profile, stat)
    blocks = builder.write(data)
    root = builder.finish()
    return root._replace(blocks=blocks + root.blocks)


def build_symlink(target: str, profile: Profile, stat: Stat = NO_STAT) -> Built:
    """The node of a symbolic link; its target is kept as it is, also when it leads nowhere or outside."""
    raw = target.encode("utf-8", "surrogateescape")
    node = unixfs.FSNode(type=unixfs.SYMLINK, data=raw, mtime=stat.mtime)
    block = profile.block(dag_pb.encode(dag_pb.PBNode([], unixfs.encode(node))))
    return Built(block.cid, len(raw), memoryview(block.data).nbytes, stored(block))
