"""What of a DAG has come and what is missing, in whatever order its verified blocks come.

``Intake`` follows all links, ``RangeIntake`` those that a range of a file's bytes needs. A block goes through once,
after what links to it; one that nothing links to yet waits, within ``ARCHIVE_PARK_BYTES``; what is of no use is
counted. Identity CIDs carry their block: they are followed and never missing. No I/O, no clock.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from ipfs_kit_py.core.cid import CID, CODEC_NAMES, DAG_PB, RAW, Block
from ipfs_kit_py.core.config import ARCHIVE_PARK_BYTES, ARCHIVE_USELESS_BYTES, MAX_PLAN_LINKS
from ipfs_kit_py.core.errors import BackendError, ConfigError, InvalidBlock, NotAFile
from ipfs_kit_py.core.multihash import IDENTITY
from ipfs_kit_py.dag import codecs, dag_pb, unixfs

if TYPE_CHECKING:
    from typing_extensions import Buffer


class Intake:
    """A whole DAG below ``root``. ``push`` raises ``InvalidBlock`` and ``NotSupported`` where links cannot be read, and
    ``BackendError`` for a DAG that is too large for one reading."""

    def __init__(self, root: CID) -> None:
        self.taken = self.passed = 0  # bytes and number of the blocks that went through
        self._useless = 0  # bytes of duplicates, and of blocks that were dropped
        self._wanted: dict[bytes, list[CID]] = {}  # by multihash; several where codecs differ
        self._known: set[bytes] = set()  # CIDs met, as version 1
        self._parked: dict[bytes, Buffer] = {}  # by multihash
        self._parked_bytes = 0
        self._ready: deque[Block] = deque()
        self._begin(root)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {len(self._wanted)} wanted, {len(self._parked)} parked, {self.taken} bytes>"

    def _begin(self, root: CID) -> None:
        self._want(root)

    @property
    def done(self) -> bool:
        """Whether all of it has come."""
        return not self._wanted

    @property
    def is_flooded(self) -> bool:
        """Whether more came that was of no use than a source in good faith sends."""
        return self._useless + self._parked_bytes > ARCHIVE_USELESS_BYTES + self.taken

    def missing(self, most: int) -> list[CID]:
        """The first ``most`` blocks that are linked to and have not come."""
        return [cids[0] for cids in islice(self._wanted.values(), most)]

    def push(self, block: Block) -> list[Block]:
        """Take a block whose hash was checked; those that go through now, under the CIDs that link to them."""
        key = block.cid.multihash
        size = memoryview(block.data).nbytes
        cids = self._wanted.pop(key, None)
        if cids is None:
            if block.cid.to_v1().raw in self._known or key in self._parked:
                self._useless += size
            else:
                self._park(key, block.data, size)
            return []
        self._ready.extend(Block(cid, block.data) for cid in cids)
        found: list[Block] = []
        while self._ready:
            block = self._ready.popleft()
            self.passed += 1
            self.taken += memoryview(block.data).nbytes
            self._follow(block.cid, block.data)
            found.append(block)
        return found

    def _park(self, key: bytes, data: Buffer, size: int) -> None:
        if self._parked_bytes + size > ARCHIVE_PARK_BYTES:
            self._useless += size
        else:
            self._parked[key] = data
            self._parked_bytes += size

    def _follow(self, cid: CID, data: Buffer) -> None:
        for link in codecs.links(cid, data):
            self._want(link)

    def _want(self, cid: CID) -> None:
        waiting = [cid]
        while waiting:
            cid = waiting.pop()
            if self._is_new(cid):
                if cid.multihash[0] == IDENTITY:
                    waiting += codecs.links(cid, cid.check_allowed().digest)
                else:
                    self._await(cid)

    def _is_new(self, cid: CID) -> bool:
        key = cid.to_v1().raw
        if key in self._known:
            return False
        if len(self._known) >= MAX_PLAN_LINKS:
            raise BackendError(f"a DAG of more than {MAX_PLAN_LINKS} blocks is too much for one reading")
        self._known.add(key)
        return True

    def _await(self, cid: CID) -> None:
        key = cid.multihash
        data = self._parked.pop(key, None)
        if data is None:
            self._wanted.setdefault(key, []).append(cid)
        else:
            self._parked_bytes -= memoryview(data).nbytes
            self._ready.append(Block(cid, data))


class _Node(NamedTuple):
    """A node of a file of which a part is needed: its own bytes come before those of its links."""

    own: int
    cids: list[bytes]
    sizes: list[int]


class RangeIntake(Intake):
    """The blocks that bytes ``start`` up to ``stop`` (``None``: the end) of a UnixFS file need, its root always.

    Nodes inside of the range are followed as a DAG; only its two edges are looked at by their sizes. ``NotAFile`` where
    the root is something else, ``InvalidBlock`` for sizes that contradict the links.
    """

    def __init__(self, root: CID, start: int, stop: int | None) -> None:
        if start < 0 or (stop is not None and stop < start):
            raise ConfigError(f"a range begins at 0 or later and does not end before: not {start} to {stop}")
        self._root = root.to_v1().raw
        self._windows: dict[bytes, list[tuple[int, float]]] = {}  # by CID: parts that are needed of what comes
        self._nodes: dict[bytes, _Node] = {}  # by CID: what came of which a part is needed
        self._window = (start, float("inf") if stop is None else stop)
        super().__init__(root)

    def _begin(self, root: CID) -> None:
        if root.multihash[0] == IDENTITY:
            self._known.add(self._root)
            self._windows[self._root] = [self._window]
            self._follow(root, root.check_allowed().digest)
        else:
            self._want_part(root, *self._window)

    def _want_part(self, cid: CID, start: int, stop: float) -> None:
        """Need the bytes from ``start`` to ``stop``, counted from the node's own first."""
        key = cid.to_v1().raw
        if (node := self._nodes.get(key)) is not None:
            self._part(node, start, stop)
        elif key in self._windows or self._is_new(cid):
            first = key not in self._windows
            self._windows.setdefault(key, []).append((start, stop))
            if not first:
                return
            if cid.multihash[0] == IDENTITY:
                self._follow(cid, cid.check_allowed().digest)
            else:
                self._await(cid)

    def _want(self, cid: CID) -> None:
        """Need all of it, of which a part may have been needed before."""
        key = cid.to_v1().raw
        if key in self._windows:
            self._windows[key].append((0, float("inf")))
        elif (node := self._nodes.get(key)) is not None:
            self._part(node, 0, float("inf"))
        else:
            super()._want(cid)

    def _follow(self, cid: CID, data: Buffer) -> None:
        key = cid.to_v1().raw
        windows = self._windows.pop(key, None)
        if windows is None:
            super()._follow(cid, data)
            return
        node = self._nodes[key] = self._node(cid, data, key == self._root)
        for start, stop in windows:
            self._part(node, start, stop)

    def _part(self, node: _Node, start: int, stop: float) -> None:
        if start >= stop:
            return
        at = node.own
        for raw, size in zip(node.cids, node.sizes, strict=True):
            if at >= stop:
                break
            if size and at + size > start:
                child = CID.from_bytes(raw)
                if start <= at and at + size <= stop:
                    self._want(child)
                else:
                    self._want_part(child, max(start - at, 0), stop - at)
            at += size

    def _node(self, cid: CID, data: Buffer, is_root: bool) -> _Node:
        if cid.codec == RAW:
            return _Node(memoryview(data).nbytes, [], [])
        problem = InvalidBlock if not is_root else NotAFile
        if cid.codec != DAG_PB:
            raise problem(f"{cid} is {CODEC_NAMES.get(cid.codec, hex(cid.codec))}, not a file")
        try:
            links = dag_pb.split(data)
            head = unixfs.decode(links.data)
        except InvalidBlock as error:
            raise InvalidBlock(f"block {cid} is no UnixFS: {error}") from None
        if head.type not in (unixfs.FILE, unixfs.RAW):
            raise problem(f"{cid} is a {unixfs.TYPE_NAMES[head.type]}, not a file")
        if len(head.blocksizes) != len(links.cids):
            raise InvalidBlock(f"block {cid} has {len(links.cids)} links and the sizes of {len(head.blocksizes)}")
        return _Node(memoryview(head.data or b"").nbytes, links.cids, list(head.blocksizes))
