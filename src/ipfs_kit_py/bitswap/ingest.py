"""Blocks that came: hashed and stored in batches on a worker thread, never on the loop.

A block's CID is not on the wire: it is the sender's prefix and our own hash of the bytes. So the hash that verifies a
block is the one that names it, and a false block is one that nobody wanted.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import trio

from ipfs_kit_py.bitswap.wire import split_prefix
from ipfs_kit_py.core import multihash
from ipfs_kit_py.core.cid import CID, Block
from ipfs_kit_py.core.config import (
    INGEST_BATCH_BLOCKS,
    INGEST_BLOCK_OVERHEAD,
    INGEST_LANES,
    INGEST_MAX_BYTES,
    PUT_BATCH_BYTES,
)
from ipfs_kit_py.core.errors import BackendError, IPFSKitError, StorageError
from ipfs_kit_py.storage import threads
from ipfs_kit_py.storage.threads import Pool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from typing_extensions import Buffer

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.core.interfaces import BlockStore


class Arrival(NamedTuple):
    """A block as it came from a peer. ``at`` is the time; ``cost`` its bytes with what keeping it here takes."""

    peer: PeerID
    prefix: bytes
    data: Buffer
    at: float
    cost: int


class Arrived(NamedTuple):
    """A verified, stored block, or with ``error`` one that was wanted and could not be stored."""

    peer: PeerID
    cid: CID
    data: Buffer
    size: int
    at: float
    error: StorageError | None = None


class Unwanted(NamedTuple):
    """A block that was not asked for, or is false, or cannot be verified. ``multihash`` is that of its bytes, empty
    where it cannot be computed."""

    peer: PeerID
    multihash: bytes
    size: int


class Ingest:
    """The queue between the streams and the store.

    ``is_wanted(multihash)`` is called on the worker thread; ``done(arrived, unwanted)`` on the loop, after each batch.
    """

    def __init__(
        self,
        store: BlockStore,
        is_wanted: Callable[[bytes], bool],
        done: Callable[[list[Arrived], list[Unwanted]], None],
    ) -> None:
        self._store = store
        self._is_wanted = is_wanted
        self._done = done
        self._queue: list[Arrival] = []
        self._held = 0  # bytes in the queue and under work
        self._fresh: set[bytes] = set()  # multihashes that were checked and are being stored
        self._filled = trio.lowlevel.ParkingLot()
        self._drained = trio.Event()

    async def put(self, peer: PeerID, blocks: Sequence[tuple[bytes, Buffer]], at: float) -> None:
        """Take a message's blocks that came at the time ``at``. Waits while ``INGEST_MAX_BYTES`` are being worked on,
        so that the reading stops and the peer's window closes."""
        while self._held > INGEST_MAX_BYTES:
            await self._drained.wait()
        for prefix, data in blocks:
            cost = memoryview(data).nbytes + INGEST_BLOCK_OVERHEAD
            self._queue.append(Arrival(peer, prefix, data, at, cost))
            self._held += cost
        self._filled.unpark()

    async def run(self) -> None:
        """Work until cancelled: while one batch is stored the next may be hashed."""
        async with trio.open_nursery() as nursery:
            for _ in range(INGEST_LANES):
                nursery.start_soon(self._lane)

    async def _lane(self) -> None:
        while True:
            while not self._queue:
                await self._filled.park()
            batch = self._take()
            arrived, unwanted = await threads.run(Pool.WORK, self._work, batch)
            self._held -= sum(arrival.cost for arrival in batch)
            del batch
            self._drained.set()
            self._drained = trio.Event()
            self._done(arrived, unwanted)
            self._fresh.difference_update(item.cid.multihash for item in arrived)
            del arrived, unwanted

    def _take(self) -> list[Arrival]:
        size = count = 0
        for arrival in self._queue[:INGEST_BATCH_BLOCKS]:
            size += arrival.cost
            count += 1
            if size >= PUT_BATCH_BYTES:
                break
        batch = self._queue[:count]
        del self._queue[:count]
        return batch

    # --- on the worker thread -----------------------------------------------------------------------------------------

    def _work(self, batch: list[Arrival]) -> tuple[list[Arrived], list[Unwanted]]:
        arrived: list[Arrived] = []
        unwanted: list[Unwanted] = []
        fresh = self._fresh
        for peer, prefix, data, at, _ in batch:
            size = memoryview(data).nbytes
            cid = _name(prefix, data)
            if cid is not None and self._is_wanted(cid.multihash) and cid.multihash not in fresh:
                fresh.add(cid.multihash)
                arrived.append(Arrived(peer, cid, data, size, at))
            else:
                unwanted.append(Unwanted(peer, b"" if cid is None else cid.multihash, size))
        return self._store_all(arrived), unwanted

    def _store_all(self, arrived: list[Arrived]) -> list[Arrived]:
        error = self._put(arrived)
        if error is None:
            return arrived
        if len(arrived) == 1:
            return [arrived[0]._replace(error=error)]
        # what does not fit together may fit one by one: the blocks are of different readers
        return [item._replace(error=self._put([item])) for item in arrived]

    def _put(self, arrived: list[Arrived]) -> StorageError | None:
        if not arrived:
            return None
        try:
            self._store.put_many([Block(item.cid, item.data) for item in arrived])
        except StorageError as error:
            return error
        except IPFSKitError as error:
            failure = BackendError(f"the store did not take {len(arrived)} blocks: {error}")
            failure.__cause__ = error
            return failure
        return None


@lru_cache(maxsize=256)
def _parse(prefix: bytes) -> tuple[int, int, int, int] | None:
    """Version, codec, hash function and digest length; ``None`` where the hash cannot be trusted."""
    try:
        version, codec, code, size = split_prefix(prefix)
        multihash.check_allowed(code, size)
    except IPFSKitError:
        return None
    return version, codec, code, size


def _name(prefix: bytes, data: Buffer) -> CID | None:
    """The CID that the bytes have, ``None`` where there is none that can be trusted."""
    parsed = _parse(prefix)
    if parsed is None:
        return None
    version, codec, code, size = parsed
    if code == multihash.IDENTITY and memoryview(data).nbytes != size:
        return None
    try:
        return CID(version, codec, multihash.of(data, code, size))
    except IPFSKitError:
        return None
