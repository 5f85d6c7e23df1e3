"""Archives for servers of tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipfs_kit_py.dag import car

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ipfs_kit_py.core.cid import CID, Block


def archive(root: CID, blocks: Iterable[Block]) -> bytes:
    """A CARv1; nothing of it is checked."""
    sections = (part for block in blocks for part in car.section(block.cid, block.data))
    return car.header([root]) + b"".join(bytes(part) for part in sections)
