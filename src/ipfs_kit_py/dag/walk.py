"""Visiting every block of a DAG once: for pinning, fetching and export."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipfs_kit_py.core.cid import CID, DAG_PB, RAW, Block
from ipfs_kit_py.core.errors import InvalidBlock
from ipfs_kit_py.dag import codecs, dag_pb
from ipfs_kit_py.dag.plan import UNKNOWN_BYTES, OrderedPlan, Place, Run, link_weight
from ipfs_kit_py.dag.protobuf import named

if TYPE_CHECKING:
    from typing_extensions import Buffer


class DagWalk(OrderedPlan):
    """A plan whose results are the blocks of a DAG, each once, where it is met first: depth first with the children in
    the order of their links. The order does not depend on what comes when.

    A DAG may be as deep as it likes (chains are). Memory is that of the CIDs given out (about 100 bytes each) and of
    the look-ahead. CIDs of version 0 and 1 of one block count as one; of two codecs as two, since their links differ.
    ``feed`` raises ``InvalidBlock`` naming the block that is malformed or links to too much, ``NotSupported`` for a
    codec whose links are not known.
    """

    def __init__(self, root: CID) -> None:
        first = Place(root, UNKNOWN_BYTES)
        self._given: set[bytes] = set()
        self._waiting = {_key(root): first}  # the place at which a block will be given out
        super().__init__(first)

    def pop(self) -> Block | None:
        """The next block in order, ``None`` where it is not here yet or there are no more."""
        while (taken := self._take()) is not None:
            place, data = taken
            key = _key(place.cid)
            if self._waiting.get(key) is place:
                del self._waiting[key]
                self._given.add(key)
                return Block(place.cid, data)
        return None

    def _place(self, run: Run, index: int) -> Place | None:
        cid = CID.from_bytes(run.cids[index])
        key = _key(cid)
        if key in self._given:
            return None
        other = self._waiting.get(key)
        if other is not None and other.order < run.order:
            return None
        place = Place(cid, link_weight(cid, run.sizes[index]))
        place.order = run.order
        self._waiting[key] = place  # here it is met before where the look-ahead has met it
        return place

    def _read(self, place: Place, data: Buffer) -> tuple[Buffer, Run | None]:
        if self._waiting.get(_key(place.cid)) is not place:
            return b"", None  # it is given out before, and so is all below it
        cids, sizes = _links(place.cid, data)
        return data, Run(cids, sizes) if cids else None


def _key(cid: CID) -> bytes:
    return cid.raw if cid.version else b"\x01\x70" + cid.raw


def _links(cid: CID, data: Buffer) -> tuple[list[bytes], list[int | None]]:
    """The links of a block with the cumulative sizes that they tell."""
    if cid.codec == RAW:
        return [], []
    if cid.codec != DAG_PB:
        found = [link.raw for link in codecs.links(cid, data)]
        return found, [None] * len(found)
    try:
        node = dag_pb.split(data)
    except InvalidBlock as error:
        raise named(error, cid) from None
    return node.cids, node.tsizes
