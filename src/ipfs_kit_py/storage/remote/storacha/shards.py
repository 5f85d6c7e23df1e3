"""A DAG as the archives that a Storacha space takes, each with its part of the index."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ipfs_kit_py.core import multihash as mhash
from ipfs_kit_py.core.config import STORACHA_BLOCKS, STORACHA_SHARD_BLOCKS, STORACHA_SHARD_BYTES, STORACHA_SHARDS
from ipfs_kit_py.core.errors import BackendError
from ipfs_kit_py.storage import threads
from ipfs_kit_py.storage.remote.shards import ArchiveWriter, Cutter, FileBody
from ipfs_kit_py.storage.remote.storacha.shard_index import encode_shard
from ipfs_kit_py.storage.threads import Pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator
    from pathlib import Path

    from ipfs_kit_py.core.cid import CID, Block


@dataclass(frozen=True)
class CarShard:
    """One archive in a file: its multihash, its size in bytes, and its part of the index as a block."""

    digest: bytes
    size: int
    index: bytes
    _file: int

    def body(self) -> AsyncIterator[bytes]:
        """Its bytes, from the beginning, as often as wanted while the archive lasts."""
        return FileBody(self._file, self.size)


class _Sha256:
    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    async def feed(self, data: bytes) -> None:
        await threads.run(Pool.WORK, self._hash.update, data)

    def multihash(self) -> bytes:
        return mhash.wrap(mhash.SHA2_256, self._hash.digest())


class CarSharder(Cutter[CarShard]):
    """Cuts the blocks of a DAG into archives; a block that comes twice is taken once. Raises as ``Cutter``, and
    ``BackendError`` for more than ``STORACHA_BLOCKS`` blocks."""

    def __init__(
        self, root: CID, blocks: AsyncIterable[Block], *, most: int = STORACHA_SHARD_BYTES, folder: Path | None = None
    ) -> None:
        super().__init__(root, blocks, most=most, limit=STORACHA_SHARDS, folder=folder)
        self._taken: set[bytes] = set()

    async def _next_block(self) -> Block | None:
        while (block := await super()._next_block()) is not None and block.cid.multihash in self._taken:
            if block is self._again:
                break
        self._again = None
        if block is not None:
            self._taken.add(block.cid.multihash)
            if len(self._taken) > STORACHA_BLOCKS:
                raise BackendError(f"a DAG of more than {STORACHA_BLOCKS} blocks is too much for one upload")
        return block

    _again: Block | None = None  # taken, and waiting for the next archive

    async def _fill(self, first: Block, file: int) -> CarShard:
        hasher = _Sha256()
        writer = ArchiveWriter(self._root, file, hasher, self.lacking)
        slices: list[tuple[bytes, int, int]] = []
        block: Block | None = first
        while block is not None and self._room(writer, slices, block):
            await writer.add(block)
            length = memoryview(block.data).nbytes
            slices.append((block.cid.multihash, writer.size - length, length))
            block = await self._next_block()
        await writer.flush()
        digest = hasher.multihash()
        slices.append((digest, 0, writer.size))  # the archive itself, as the service's own client has it
        index = await threads.run(Pool.WORK, encode_shard, digest, slices)
        return CarShard(digest, writer.size, index, file)

    def _room(self, writer: ArchiveWriter, slices: list[tuple[bytes, int, int]], block: Block) -> bool:
        if len(slices) < STORACHA_SHARD_BLOCKS and self._fits(writer, block):
            return True
        self._waiting = self._again = block
        return False
