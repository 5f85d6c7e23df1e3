"""A DAG as archives of bounded size, written to the disk once and hashed on the way; those that are pieces.

So an upload knows its name and length before it begins, can be told that it is there already, and can begin again.
"""

from __future__ import annotations

import os
import tempfile
from abc import ABC, abstractmethod
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Generic, Protocol, TypeVar

from ipfs_kit_py.core.config import API_UPLOAD_CHUNK, MAX_CAR_SECTION_BYTES, PIECE_MIN_BYTES, PIECES_PER_DAG
from ipfs_kit_py.core.errors import BackendError, ConfigError, HashMismatch, InvalidBlock
from ipfs_kit_py.dag import car
from ipfs_kit_py.storage import threads
from ipfs_kit_py.storage.remote.filecoin.commp_pool import PieceHasher
from ipfs_kit_py.storage.remote.lacking import Lacking
from ipfs_kit_py.storage.threads import Pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
    from pathlib import Path

    from ipfs_kit_py.core.cid import CID, Block
    from ipfs_kit_py.storage.remote.filecoin.commp import Piece

_LEAST_BYTES = MAX_CAR_SECTION_BYTES + 4096  # of an archive: the largest block and the header
_BATCH_BYTES = 1 << 20  # of blocks checked, written and hashed together

T = TypeVar("T")


class Hasher(Protocol):
    """What sees the bytes of an archive as they are written."""

    async def feed(self, data: bytes) -> None: ...


@dataclass(frozen=True)
class Shard:
    """One archive. ``body`` reads it from its beginning, as often as wanted while the shard lasts."""

    piece: Piece
    _file: int

    def body(self) -> AsyncIterator[bytes]:
        """Its bytes."""
        return FileBody(self._file, self.piece.payload)


class FileBody:
    """A file from its beginning to ``size`` bytes. No generator, so that it may be left anywhere."""

    def __init__(self, file: int, size: int) -> None:
        self._file = file
        self._size = size
        self._at = 0

    def __aiter__(self) -> FileBody:
        return self

    async def __anext__(self) -> bytes:
        size = min(API_UPLOAD_CHUNK, self._size - self._at)
        if not size:
            raise StopAsyncIteration
        data = await threads.run(Pool.WORK, os.pread, self._file, size, self._at)
        if not data:
            raise BackendError("an archive that was written for upload is shorter than it was")
        self._at += len(data)
        return data


class ArchiveWriter:
    """One archive being written. ``add`` gathers, ``flush`` moves what is gathered out of the loop."""

    def __init__(self, root: CID, file: int, hasher: Hasher, lacking: Lacking) -> None:
        self.size = 0
        self._lacking = lacking
        self._file = file
        self._hasher = hasher
        self._blocks: list[Block] = []
        self._parts: list[bytes] = []
        self._gathered = 0
        self._take(car.header([root]))

    def _take(self, part: bytes) -> None:
        self._parts.append(part)
        self._gathered += len(part)
        self.size += len(part)

    async def add(self, block: Block) -> None:
        prefix, data = car.section(block.cid, block.data)
        self._take(prefix)
        self._take(bytes(data))
        self._blocks.append(block)
        if self._gathered >= _BATCH_BYTES:
            await self.flush()

    async def flush(self) -> None:
        batch = await threads.run(Pool.WORK, _write, self._file, self._blocks, self._parts, self._lacking)
        self._blocks, self._parts, self._gathered = [], [], 0
        await self._hasher.feed(batch)


def _write(file: int, blocks: list[Block], parts: list[bytes], lacking: Lacking) -> bytes:
    for cid, data in blocks:
        if not cid.verify(data):
            raise HashMismatch(f"block {cid} was given for the archive with other bytes", expected=cid)
        lacking.take(cid, data)
    batch = b"".join(parts)
    view = memoryview(batch)
    try:
        while view:
            view = view[os.write(file, view) :]
    except OSError as error:
        raise BackendError(f"an archive cannot be written for upload: {error.strerror}") from None
    return batch


class Cutter(ABC, Generic[T]):
    """Cuts the blocks of a DAG into at most ``limit`` archives of at most ``most`` bytes. ``next`` gives one at a time
    as a context; its file is gone afterwards. ``folder`` is where the files are, by default the system's for temporary
    ones.

    Each archive names the root. Raises ``InvalidBlock`` where a block fits no archive or, before the last archive is
    given, one lacks that is linked to; ``HashMismatch`` where a block is not what its CID names, ``BackendError`` where
    the disk fails.
    """

    def __init__(
        self,
        root: CID,
        blocks: AsyncIterable[Block],
        *,
        most: int,
        limit: int,
        folder: Path | None = None,
    ) -> None:
        if most < _LEAST_BYTES:
            raise ConfigError(f"an archive takes at least {_LEAST_BYTES} bytes, not {most}")
        self._root = root
        self.lacking = Lacking(root)
        self._blocks = aiter(blocks)
        self._most = most
        self._limit = limit
        self._folder = folder
        self._waiting: Block | None = None
        self._rooted: Block | None = None
        self._ended = False
        self.count = 0  # of archives begun

    async def _next_block(self) -> Block | None:
        if self._waiting is not None:
            block, self._waiting = self._waiting, None
            return block
        try:
            block = await anext(self._blocks)
        except StopAsyncIteration:
            self._ended = True
            if self._rooted is None:
                raise InvalidBlock(f"the root {self._root} is not among the blocks to be archived") from None
            return None
        size = len(block.cid.raw) + memoryview(block.data).nbytes
        if size > MAX_CAR_SECTION_BYTES - 8:
            raise InvalidBlock(f"block {block.cid} of {size} bytes fits no archive")
        if block.cid == self._root:
            self._rooted = block
        return block

    @asynccontextmanager
    async def next(self) -> AsyncGenerator[T | None, None]:
        """The next archive, ``None`` when all blocks are in one."""
        first = None if self._ended else await self._next_block()
        if first is None:
            yield None
            return
        self.count += 1
        if self.count > self._limit:
            raise BackendError(f"{self._root} takes more than {self._limit} archives of {self._most} bytes")
        with self._opened() as file:
            filled = await self._fill(first, file.fileno())
            if self._ended and self._waiting is None:
                self.lacking.check()
            yield filled

    def _opened(self) -> IO[bytes]:
        try:
            return tempfile.TemporaryFile(buffering=0, dir=self._folder)
        except OSError as error:
            raise ConfigError(f"archives cannot be written to the folder {self._folder}: {error.strerror}") from None

    @abstractmethod
    async def _fill(self, first: Block, file: int) -> T:
        """One archive in ``file``, from ``first`` on."""

    def _fits(self, writer: ArchiveWriter, block: Block) -> bool:
        """Whether a block still goes into an archive; else it waits for the next."""
        if writer.size + len(block.cid.raw) + memoryview(block.data).nbytes + 9 <= self._most:
            return True
        self._waiting = block
        return False


class Sharder(Cutter[Shard]):
    """Archives that are pieces. ``workers``: processes that make commitments."""

    def __init__(
        self,
        root: CID,
        blocks: AsyncIterable[Block],
        *,
        most: int,
        folder: Path | None = None,
        workers: int | None = None,
    ) -> None:
        super().__init__(root, blocks, most=most, limit=PIECES_PER_DAG, folder=folder)
        self._workers = workers

    async def _fill(self, first: Block, file: int) -> Shard:
        async with PieceHasher(self._workers) as hasher:
            writer = ArchiveWriter(self._root, file, hasher, self.lacking)
            block: Block | None = first
            while block is not None and self._fits(writer, block):
                await writer.add(block)
                last, block = block, await self._next_block()
            while writer.size < PIECE_MIN_BYTES:  # too short for a piece: archives may hold a block twice
                await writer.add(last)
            await writer.flush()
            return Shard(await hasher.finish(), file)
