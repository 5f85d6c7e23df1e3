"""What of a DAG is linked to and was not given, of blocks that come in any order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipfs_kit_py.core.errors import InvalidBlock
from ipfs_kit_py.core.multihash import IDENTITY
from ipfs_kit_py.dag import codecs

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from ipfs_kit_py.core.cid import CID


class Lacking:
    """The blocks below ``root`` that are to come. ``take`` raises what reading a block's links does."""

    def __init__(self, root: CID) -> None:
        self._root = root
        self._here: set[bytes] = set()  # by multihash
        self._lacking: dict[bytes, CID] = {}
        self._want(root)

    def take(self, cid: CID, data: Buffer) -> None:
        """A block that was given, and what it links to."""
        self._here.add(cid.multihash)
        self._lacking.pop(cid.multihash, None)
        for link in codecs.links(cid, data):
            self._want(link)

    def _want(self, cid: CID) -> None:
        waiting = [cid]
        while waiting:  # of those that carry their content, what they link to
            cid = waiting.pop()
            if cid.multihash[0] != IDENTITY:
                if cid.multihash not in self._here:
                    self._lacking[cid.multihash] = cid
            elif cid.multihash not in self._here:
                self._here.add(cid.multihash)
                waiting += codecs.links(cid, cid.check_allowed().digest)

    def check(self) -> None:
        """``InvalidBlock`` where one lacks."""
        for cid in self._lacking.values():
            raise InvalidBlock(f"block {cid} is not among the blocks of {self._root} to be put")
