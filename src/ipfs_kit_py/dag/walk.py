"""Visiting every block of a DAG once: for pinning, fetching and export."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipfs_kit_py.core.cid import DAG_PB, RAW, Block
from ipfs_kit_py.core.errors import InvalidBlock
from ipfs_kit_py.dag import codecs, dag_pb
from ipfs_kit_py.dag.plan import UNKNOWN_BYTES, Chain, Place, link_weight

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from ipfs_kit_py.core.cid import CID


class DagWalk:
    """A plan whose results are the blocks of a DAG, depth first, children in the order of their links, each once.

    Memory is that of the CIDs seen (a hash each) and of the look-ahead. ``feed`` raises ``InvalidBlock`` naming the
    block that its codec refuses, ``NotSupported`` for a codec whose links are not known.
    """

    def __init__(self, root: CID) -> None:
        self._chain = Chain(Place(root, UNKNOWN_BYTES))
        self._seen = {root.multihash}

    @property
    def done(self) -> bool:
        """Whether every block was given out."""
        return self._chain.done

    def wanted(self, budget: int) -> list[tuple[CID, int | None]]:
        """Blocks to get now and what they are expected to weigh."""
        return self._chain.wanted(budget)

    def feed(self, cid: CID, data: Buffer) -> None:
        """Take a block; one that nobody asked for is ignored."""
        for place in self._chain.arrived(cid):
            self._chain.keep(place, data)
            self._chain.splice(place, self._children(place.cid, data))

    def pop(self) -> Block | None:
        """The next block in order, ``None`` where it is not here yet or there are no more."""
        taken = self._chain.take()
        return None if taken is None else Block(taken[0].cid, taken[1])

    def _children(self, cid: CID, data: Buffer) -> list[Place]:
        return [Place(link, link_weight(link, RAW, size)) for link, size in _links(cid, data) if self._is_new(link)]

    def _is_new(self, cid: CID) -> bool:
        if cid.multihash in self._seen:
            return False
        self._seen.add(cid.multihash)
        return True


def _links(cid: CID, data: Buffer) -> list[tuple[CID, int | None]]:
    """The links of a block with the cumulative sizes that they tell."""
    if cid.codec != DAG_PB:
        return [(link, None) for link in codecs.links(cid, data)]
    try:
        return [(link.cid, link.tsize) for link in dag_pb.decode(data).links]
    except InvalidBlock as error:
        raise InvalidBlock(f"block {cid}: {error}") from None
