"""Blocks that came: hashed and stored in batches on a worker thread, never on the loop.

A block's CID is not on the wire: it is the sender's prefix and our own hash of the bytes. So the hash that verifies a
block is the one that names it, and a false block is one that nobody wanted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import trio

from ipfs_kit_py.bitswap.wire import split_prefix
from ipfs_kit_py.core import multihash
from ipfs_kit_py.core.cid import CID, Block
from ipfs_kit_py.core.config import INGEST_MAX_BYTES, PUT_BATCH_BYTES
from ipfs_kit_py.core.errors import IPFSKitError, StorageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from typing_extensions import Buffer

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.core.interfaces import BlockStore


class Arrived(NamedTuple):
    """A verified, stored block, or with ``error`` one that was wanted and could not be stored."""

    peer: PeerID
    cid: CID
    data: Buffer
    error: StorageError | None = None


class Unwanted(NamedTuple):
    """A block that was not asked for, or is false, or cannot be verified. ``multihash`` is that of its bytes."""

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
        done: Callable[[list[Arrived], list[Unwanted]], Awaitable[None]],
    ) -> None:
        self._store = store
        self._is_wanted = is_wanted
        self._done = done
        self._queue: list[tuple[PeerID, bytes, Buffer]] = []
        self._bytes = 0
        self._filled = trio.Event()
        self._drained = trio.Event()

    async def put(self, peer: PeerID, blocks: list[tuple[bytes, Buffer]]) -> None:
        """Take a message's blocks; waits while more than ``INGEST_MAX_BYTES`` wait, so that the reading stops."""
        while self._bytes > INGEST_MAX_BYTES:
            await self._drained.wait()
        for prefix, data in blocks:
            self._queue.append((peer, prefix, data))
            self._bytes += memoryview(data).nbytes
        self._filled.set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self._filled.wait()
            while self._queue:
                batch, size = self._take()
                arrived, unwanted = await trio.to_thread.run_sync(self._work, batch)
                self._bytes -= size
                self._drained.set()
                self._drained = trio.Event()
                await self._done(arrived, unwanted)
            self._filled = trio.Event()

    def _take(self) -> tuple[list[tuple[PeerID, bytes, Buffer]], int]:
        size = count = 0
        for _, _, data in self._queue:
            size += memoryview(data).nbytes
            count += 1
            if size >= PUT_BATCH_BYTES:
                break
        batch = self._queue[:count]
        del self._queue[:count]
        return batch, size

    def _work(self, batch: list[tuple[PeerID, bytes, Buffer]]) -> tuple[list[Arrived], list[Unwanted]]:
        arrived: list[Arrived] = []
        unwanted: list[Unwanted] = []
        fresh: set[bytes] = set()
        for peer, prefix, data in batch:
            cid = self._name(prefix, data)
            if cid is not None and cid.multihash not in fresh and self._is_wanted(cid.multihash):
                fresh.add(cid.multihash)
                arrived.append(Arrived(peer, cid, data))
            else:
                found = b"" if cid is None else cid.multihash
                unwanted.append(Unwanted(peer, found, memoryview(data).nbytes))
        try:
            self._store.put_many([Block(cid, data) for _, cid, data, _ in arrived])
        except StorageError as error:
            arrived = [item._replace(error=error) for item in arrived]
        return arrived, unwanted

    def _name(self, prefix: bytes, data: Buffer) -> CID | None:
        """The CID that the bytes have, ``None`` where the prefix asks for a hash that cannot be trusted."""
        try:
            version, codec, code, size = split_prefix(prefix)
            multihash.check_allowed(code, size)
            return CID(version, codec, multihash.of(data, code, size))
        except IPFSKitError:
            return None
