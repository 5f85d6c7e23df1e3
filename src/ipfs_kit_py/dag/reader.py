"""Reading a UnixFS file, or a range of it, in order: only the blocks that it needs, many at a time.

Source: ipfs/specs src/unixfs.md, section "File".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipfs_kit_py.core.cid import CODEC_NAMES, DAG_PB, RAW
from ipfs_kit_py.core.errors import InvalidBlock, NotAFile
from ipfs_kit_py.dag import dag_pb, unixfs
from ipfs_kit_py.dag.plan import UNKNOWN_BYTES, Chain, Place, link_weight

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from ipfs_kit_py.core.cid import CID


class FileReader:
    """A plan whose results are the file's bytes from ``start`` up to ``stop`` (``None``: the end), as views.

    ``feed`` raises ``InvalidBlock`` naming the block whose sizes contradict those of its parent, or which is no part
    of a file, and ``NotAFile`` where the root is something else.
    """

    def __init__(self, root: CID, start: int = 0, stop: int | None = None) -> None:
        self._root = root
        self._start = max(start, 0)
        self._stop = stop
        self._chain = Chain(Place(root, UNKNOWN_BYTES))
        self.size: int | None = None  # of the whole file, once the root is here

    @property
    def done(self) -> bool:
        """Whether everything was given out."""
        return self._chain.done

    def wanted(self, budget: int) -> list[tuple[CID, int | None]]:
        """Blocks to get now and what they are expected to weigh."""
        return self._chain.wanted(budget)

    def feed(self, cid: CID, data: Buffer) -> None:
        """Take a block; one that nobody asked for is ignored."""
        for place in self._chain.arrived(cid):
            if cid.codec == RAW:
                self._leaf(place, data)
            elif cid.codec == DAG_PB:
                self._node(place, data)
            else:
                raise NotAFile(f"{cid} is {CODEC_NAMES.get(cid.codec, hex(cid.codec))}, not a file; use `dag get`")

    def pop(self) -> memoryview | None:
        """The next bytes in order, ``None`` where they are not here yet or there are no more."""
        while (taken := self._chain.take()) is not None:
            place, data = taken
            view = memoryview(data).cast("B")
            begin = max(self._start - place.at, 0)
            end = len(view) if self._stop is None else min(len(view), self._stop - place.at)
            if begin < end:
                return view[begin:end]
        return None

    def _leaf(self, place: Place, data: Buffer) -> None:
        size = memoryview(data).nbytes
        self._check(place, size)
        self._chain.keep(place, data)

    def _check(self, place: Place, size: int) -> None:
        if place.depth == 0:
            self.size = size
        elif place.size != size:
            raise InvalidBlock(f"block {place.cid} holds {size} bytes of the file, its parent says {place.size}")

    def _node(self, place: Place, data: Buffer) -> None:
        try:
            node = dag_pb.decode(data)
            head = unixfs.decode(node.data or b"")
        except InvalidBlock as error:
            raise InvalidBlock(f"block {place.cid} is no UnixFS: {error}") from None
        if head.type not in (unixfs.FILE, unixfs.RAW):
            kind = unixfs.TYPE_NAMES[head.type]
            if place.depth == 0:
                raise NotAFile(f"{place.cid} is a {kind}, not a file; use `ls` or `get`")
            raise InvalidBlock(f"block {place.cid} inside of a file is a {kind}")
        content = head.data or b""
        own = memoryview(content).nbytes
        if len(head.blocksizes) != len(node.links):
            raise InvalidBlock(f"block {place.cid} has {len(node.links)} links and the sizes of {len(head.blocksizes)}")
        total = own + sum(head.blocksizes)
        if head.filesize is not None and head.filesize != total:
            raise InvalidBlock(f"block {place.cid} names {head.filesize} bytes and has {total}")
        self._check(place, total)
        self._chain.keep(place, content)
        at, children = place.at + own, []
        for link, size in zip(node.links, head.blocksizes, strict=True):
            if at + size > self._start and (self._stop is None or at < self._stop) and size:
                weight = link_weight(link.cid, RAW, size)
                children.append(Place(link.cid, weight, at=at, size=size))
            at += size
        self._chain.splice(place, children)
