"""A whole content as bytes, no larger than its caller allows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipfs_kit_py.content.pump import Reading
from ipfs_kit_py.core.cid import DAG_PB, RAW
from ipfs_kit_py.core.config import READ_AHEAD_BYTES
from ipfs_kit_py.core.errors import TooLarge
from ipfs_kit_py.dag.reader import FileReader

if TYPE_CHECKING:
    from collections.abc import Callable

    import trio

    from ipfs_kit_py.content.source import BlockSource
    from ipfs_kit_py.core.cid import CID


async def retrieve(
    nursery: trio.Nursery, source: BlockSource, cid: CID, *, most: int,
    progress: Callable[[int, int], object] | None = None,
) -> bytes:  # fmt: skip
    """A file's bytes, or the block of a CID of another codec, fetched where they are missing, each block verified.

    ``TooLarge`` beyond ``most`` bytes: as soon as the root says so, before anything else is fetched. ``progress`` is
    called with the bytes so far and those of the whole content. ``NotAFile`` for a directory.
    """
    if cid.codec not in (RAW, DAG_PB):
        with source.session() as session:
            data = await session.get(cid)
        _check(cid, len(data), most)
        if progress is not None:
            progress(len(data), len(data))
        return data
    plan = FileReader(cid, most=most)
    out = bytearray()
    async with Reading(nursery, source, plan, READ_AHEAD_BYTES) as pieces:
        async for piece in pieces:
            out += piece
            _check(cid, len(out), most)
            if progress is not None:
                progress(len(out), len(out) if plan.size is None else plan.size)
    return bytes(out)


def _check(cid: CID, size: int, most: int) -> None:
    if size > most:
        raise TooLarge(f"{cid} has {size} bytes or more, but {most} were allowed")
