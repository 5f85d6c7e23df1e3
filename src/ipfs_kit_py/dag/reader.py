"""Reading a UnixFS file, or a range of it, in order: only the blocks that it needs, many at a time.

Source: ipfs/specs src/unixfs.md, section "File".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipfs_kit_py.core.cid import CID, CODEC_NAMES, DAG_PB, RAW
from ipfs_kit_py.core.config import MAX_DAG_DEPTH, MAX_FILE_BYTES
from ipfs_kit_py.core.errors import InvalidBlock, NotAFile, TooLarge
from ipfs_kit_py.dag import dag_pb, unixfs
from ipfs_kit_py.dag.plan import UNKNOWN_BYTES, OrderedPlan, Place, Run, link_weight

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Buffer


class FileReader(OrderedPlan):
    """A plan whose results are the file's bytes from ``start`` up to ``stop`` (``None``: the end), as views.

    ``feed`` raises ``InvalidBlock`` naming the block whose sizes contradict those of its parent, or which is no part
    of a file, ``NotAFile`` where the root is something else, and ``TooLarge`` where it says that the file has more than
    ``most`` bytes, before any other block is wanted.
    """

    def __init__(self, root: CID, start: int = 0, stop: int | None = None, *, most: int | None = None) -> None:
        super().__init__(Place(root, UNKNOWN_BYTES))
        self._most = most
        self._start = max(start, 0)
        self._stop = stop
        self.size: int | None = None  # of the whole file, once the root is here

    def pop(self) -> memoryview | None:
        """The next bytes in order, ``None`` where they are not here yet or there are no more."""
        while (taken := self._take()) is not None:
            place, data = taken
            view = memoryview(data).cast("B")
            begin = max(self._start - place.at, 0)
            end = len(view) if self._stop is None else min(len(view), self._stop - place.at)
            if begin < end:
                return view[begin:end]
        return None

    def _place(self, run: Run, index: int) -> Place | None:
        size, at = run.sizes[index], run.at
        assert size is not None
        run.at += size
        if not size:
            return None
        cid = CID.from_bytes(run.cids[index])
        return Place(cid, link_weight(cid, size), depth=run.depth, at=at, size=size)

    def _read(self, place: Place, data: Buffer) -> tuple[Buffer, Run | None]:
        if place.cid.codec == RAW:
            self._check(place, memoryview(data).nbytes)
            return data, None
        if place.cid.codec != DAG_PB:
            kind = CODEC_NAMES.get(place.cid.codec, hex(place.cid.codec))
            if place.depth == 0:
                raise NotAFile(f"{place.cid} is {kind}, not a file; use `dag get`")
            raise InvalidBlock(f"block {place.cid} inside of a file is {kind}")
        try:
            node = dag_pb.split(data)
            head = unixfs.decode(node.data)
        except InvalidBlock as error:
            raise InvalidBlock(f"block {place.cid} is no UnixFS: {error}") from None
        if head.type not in (unixfs.FILE, unixfs.RAW):
            kind = unixfs.TYPE_NAMES[head.type]
            if place.depth == 0:
                raise NotAFile(f"{place.cid} is a {kind}, not a file; use `ls` or `get`")
            raise InvalidBlock(f"block {place.cid} inside of a file is a {kind}")
        return self._contents(place, node.cids, head, memoryview(data).nbytes)

    def _contents(
        self, place: Place, cids: list[bytes], head: unixfs.FSNode, block_bytes: int
    ) -> tuple[Buffer, Run | None]:
        own, sizes = head.data or b"", head.blocksizes
        start = memoryview(own).nbytes
        if start * 2 < block_bytes:
            own = bytes(own)  # a view would hold the whole block, and count for the little that it shows
        if len(sizes) != len(cids):
            raise InvalidBlock(f"block {place.cid} has {len(cids)} links and the sizes of {len(sizes)}")
        total = start + sum(sizes)
        if total > MAX_FILE_BYTES:
            raise InvalidBlock(f"block {place.cid} says that it has {total} bytes, which cannot be")
        if head.filesize is not None and head.filesize != total:
            raise InvalidBlock(f"block {place.cid} names {head.filesize} bytes and has {total}")
        self._check(place, total)
        if not cids:
            return own, None
        if place.depth >= MAX_DAG_DEPTH:
            raise InvalidBlock(f"the file at {place.cid} is deeper than {MAX_DAG_DEPTH} levels")
        return own, self._needed(place, cids, sizes, place.at + start)

    def _needed(self, place: Place, cids: list[bytes], sizes: Sequence[int], at: int) -> Run | None:
        """The links that lead to something of the range."""
        first, last = 0, len(cids)
        while first < last and at + sizes[first] <= self._start:
            at += sizes[first]
            first += 1
        if self._stop is not None:
            end, last = at, first
            while last < len(cids) and end < self._stop:
                end += sizes[last]
                last += 1
        if first == last:
            return None
        return Run(cids[first:last], sizes[first:last], depth=place.depth + 1, at=at)

    def _check(self, place: Place, size: int) -> None:
        if place.depth == 0:
            self.size = size
            if self._most is not None and size > self._most:
                raise TooLarge(f"{place.cid} has {size} bytes, more than the {self._most} that were allowed")
        elif place.size != size:
            raise InvalidBlock(f"block {place.cid} holds {size} bytes of the file, its parent says {place.size}")
