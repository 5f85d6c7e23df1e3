"""Whole DAGs: fetched, kept, counted, exported, imported; and what garbage collection must not take."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import trio

from ipfs_kit_py.content.pump import pump
from ipfs_kit_py.core import multihash
from ipfs_kit_py.core.cid import CID, RAW, Block
from ipfs_kit_py.core.closing import finishing
from ipfs_kit_py.core.config import PUT_BATCH_BYTES, READ_AHEAD_BYTES
from ipfs_kit_py.core.errors import BlockLeased, InvalidBlock, NotFound, NotSupported
from ipfs_kit_py.dag import car, codecs
from ipfs_kit_py.dag.walk import DagWalk
from ipfs_kit_py.storage import threads
from ipfs_kit_py.storage.threads import Pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from typing_extensions import Buffer

    from ipfs_kit_py.content.source import BlockSource
    from ipfs_kit_py.core.interfaces import BlockStore

LOCAL_BATCH = 64  # blocks read at once when a DAG is walked on disk


class DagStat(NamedTuple):
    """A DAG's unique blocks and their bytes."""

    root: CID
    blocks: int
    size: int


class Imported(NamedTuple):
    """What an archive held: its roots with what is wrong with each (empty: whole), its blocks and their bytes."""

    roots: list[tuple[CID, str]]
    blocks: int
    size: int


async def visit(source: BlockSource, root: CID, each: Callable[[Block], Awaitable[None]]) -> DagStat:
    """Every block of a DAG once, depth first, fetched where it is missing."""
    count = size = 0

    async def emit(block: Block) -> None:
        nonlocal count, size
        count += 1
        size += memoryview(block.data).nbytes
        await each(block)

    with source.session() as session:
        await pump(session, DagWalk(root), READ_AHEAD_BYTES, emit)
    return DagStat(root, count, size)


async def fetch(source: BlockSource, root: CID, progress: Callable[[int], None] | None = None) -> DagStat:
    """Bring a whole DAG into the store."""

    async def each(block: Block) -> None:
        if progress is not None:
            progress(memoryview(block.data).nbytes)

    return await visit(source, root, each)


async def keep(source: BlockSource, root: CID) -> DagStat:
    """Bring a whole DAG into the store as kept blocks, on the disk when it returns."""
    batch: list[Block] = []
    size = 0

    async def flush() -> None:
        nonlocal size
        blocks, size = list(batch), 0
        batch.clear()
        await threads.run(Pool.WORK, lambda: source.store.put_many(blocks, kept=True))

    async def each(block: Block) -> None:
        nonlocal size
        if block.cid.hash_code == multihash.IDENTITY:
            return
        batch.append(block)
        size += memoryview(block.data).nbytes
        if size >= PUT_BATCH_BYTES:
            await flush()

    stat = await visit(source, root, each)
    if batch:
        await flush()
    return stat


async def export(source: BlockSource, root: CID, write: Callable[[Buffer], Awaitable[None]]) -> DagStat:
    """Write a DAG as a CAR of version 1, depth first."""
    await write(car.header([root]))

    async def each(block: Block) -> None:
        for part in car.section(*block):
            await write(part)

    return await visit(source, root, each)


async def import_car(source: BlockSource, pieces: AsyncIterator[Buffer]) -> Imported:
    """Take a CAR's blocks into the store as kept ones. Where the archive turns out malformed, ``InvalidBlock``, and
    the blocks that it brought are removed again."""
    reader = car.CarReader()
    brought: list[CID] = []
    batch: list[Block] = []
    count = size = waiting = 0

    async def flush() -> None:
        nonlocal waiting
        blocks, waiting = list(batch), 0
        batch.clear()
        brought.extend(await threads.run(Pool.WORK, _put_fresh, source.store, blocks))

    try:
        async with finishing(pieces):
            async for piece in pieces:
                found = await threads.run(Pool.WORK, reader.feed, piece)
                batch += found
                count += len(found)
                grown = sum(memoryview(block.data).nbytes for block in found)
                size, waiting = size + grown, waiting + grown
                if waiting >= PUT_BATCH_BYTES:
                    await flush()
        roots = reader.close().roots
        await flush()
    except BaseException:
        with trio.CancelScope(shield=True), suppress(BlockLeased):  # one that is being read is left to the collection
            await threads.run(Pool.WORK, source.store.delete_many, brought)
        raise
    return Imported([(root, await threads.run(Pool.WORK, missing, source.store, root)) for root in roots], count, size)


def _put_fresh(store: BlockStore, blocks: list[Block]) -> list[CID]:
    blocks = [block for block in blocks if block.cid.hash_code != multihash.IDENTITY]
    fresh = [
        block.cid for block, there in zip(blocks, store.has_many([b.cid for b in blocks]), strict=True) if not there
    ]
    store.put_many(blocks, kept=True)
    return fresh


def missing(store: BlockStore, root: CID) -> str:
    """What a DAG lacks to be whole in the store, empty where it is. Runs on a worker thread."""
    try:
        reachable(store, [root], strict=True)
    except (NotFound, InvalidBlock, NotSupported) as error:
        return str(error)
    return ""


def reachable(store: BlockStore, roots: Iterable[CID], *, strict: bool = False) -> set[bytes]:
    """The multihashes of all blocks of the DAGs that are in the store. Runs on a worker thread.

    With ``strict`` a block that is not there is ``NotFound``, and one that cannot be read ``InvalidBlock`` or
    ``NotSupported``; else what is below it cannot be known and is left out.
    """
    return {cid.multihash for cid in reachable_cids(store, roots, strict=strict)}


def reachable_cids(store: BlockStore, roots: Iterable[CID], *, strict: bool = False) -> list[CID]:
    """The same as CIDs, each multihash once. (Under two codecs one block has two sets of links: both are followed.)"""
    stack = list(roots)
    found = {cid.multihash: cid for cid in stack}
    seen = {(cid.codec, cid.multihash) for cid in stack}
    while stack:
        batch = [stack.pop() for _ in range(min(LOCAL_BATCH, len(stack)))]
        if strict:
            _check_here(store, [cid for cid in batch if cid.codec == RAW])
        inner = [cid for cid in batch if cid.codec != RAW]
        for cid, data in zip(inner, _read(store, inner), strict=True):
            if data is None:
                if strict:
                    raise NotFound(f"block {cid} is not in the store", cid=cid)
                continue
            for link in _links(cid, data, strict=strict):
                if (link.codec, link.multihash) not in seen:
                    seen.add((link.codec, link.multihash))
                    found.setdefault(link.multihash, link)
                    stack.append(link)
    return list(found.values())


def _links(cid: CID, data: bytes, *, strict: bool) -> list[CID]:
    try:
        return codecs.links(cid, data)
    except (InvalidBlock, NotSupported):
        if strict:
            raise
        return []


def _read(store: BlockStore, cids: list[CID]) -> list[bytes | None]:
    here = [cid for cid in cids if cid.hash_code != multihash.IDENTITY]
    found = dict(zip(here, store.get_many(here), strict=True))
    return [cid.digest if cid.hash_code == multihash.IDENTITY else found[cid] for cid in cids]


def _check_here(store: BlockStore, cids: list[CID]) -> None:
    cids = [cid for cid in cids if cid.hash_code != multihash.IDENTITY]
    for cid, there in zip(cids, store.has_many(cids), strict=True):
        if not there:
            raise NotFound(f"block {cid} is not in the store", cid=cid)
