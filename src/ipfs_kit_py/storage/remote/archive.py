"""The blocks of an archive as its answer comes, each checked against its hash and its DAG; and what it lacked."""

from __future__ import annotations

from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING

import trio

from ipfs_kit_py.core.cid import Block
from ipfs_kit_py.core.config import ARCHIVE_INLINE_BYTES, FETCH_TOGETHER, HTTP_READ_BYTES
from ipfs_kit_py.core.errors import BackendError, HashMismatch, InvalidBlock, IPFSKitError, LocalError
from ipfs_kit_py.dag.car import CarReader
from ipfs_kit_py.storage import threads
from ipfs_kit_py.storage.remote.base import Transient
from ipfs_kit_py.storage.threads import Pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from ipfs_kit_py.core.cid import CID
    from ipfs_kit_py.storage.remote.http.client import Answer
    from ipfs_kit_py.storage.remote.intake import Intake


_TRUNCATED = b"[Gateway Error: CAR stream truncated"  # what boxo's gateway writes behind the blocks that it had


class Truncated(Transient):
    """An archive that ends early, and says so itself."""


class Archive:
    """An answer that is a CAR of what ``intake`` needs, from ``source``; blocks of more than ``most`` bytes are
    refused. Close it when leaving early."""

    def __init__(self, answer: Answer, intake: Intake, *, source: str, most: int) -> None:
        self.intake = intake
        self.source = source
        self._answer = answer
        self._most = most
        self._reader = CarReader(verify=False)
        self._failure: IPFSKitError | None = None

    async def more(self) -> list[Block]:
        """The next blocks of the DAG; none at the end, or as soon as nothing is missing.

        Raises, after the blocks in front of it: ``HashMismatch`` for a false block, ``BackendError`` for what is no
        archive or mostly of other blocks, what the answer raises, what ``Intake.push`` does.
        """
        while True:
            if self._failure is not None and (isinstance(self._failure, LocalError) or not self.intake.done):
                raise self._failure
            if self.intake.done:
                break
            data = await self._answer.some(HTTP_READ_BYTES)
            if not data:
                break
            if len(data) <= ARCHIVE_INLINE_BYTES:
                found = self._sift(data)
            else:
                found = await threads.run(Pool.WORK, self._sift, data)
            if found:
                return found
        return []

    def _sift(self, data: bytes | bytearray) -> list[Block]:
        sections: list[Block] = []
        found: list[Block] = []
        malformed: IPFSKitError | None = None
        try:
            self._reader.feed_into(data, sections)
        except InvalidBlock as error:
            malformed = self._malformed(error, data)
        try:
            for block in sections:
                self._check(block)
                found += self.intake.push(block)
        except IPFSKitError as error:
            self._failure = error
        else:
            self._failure = malformed
            if malformed is None and self.intake.is_flooded:
                self._failure = BackendError(f"{self.source}: sends mostly blocks that are not of the DAG asked for")
        return found

    def _check(self, block: Block) -> None:
        if memoryview(block.data).nbytes > self._most:
            raise BackendError(f"{self.source}: block {block.cid} has over {self._most} bytes")
        if not block.cid.verify(block.data):
            raise HashMismatch(
                f"{self.source}: the bytes of block {block.cid} have another hash",
                peer=self.source,
                expected=block.cid,
            )

    def _malformed(self, error: InvalidBlock, data: bytes | bytearray) -> BackendError:
        if _TRUNCATED in data:
            return Truncated(f"{self.source}: the archive lacks blocks, as its last words say")
        return BackendError(f"{self.source}: {error}")

    async def aclose(self) -> None:
        await self._answer.aclose()


async def collected(
    archive: Archive,
    fetch: Callable[[CID], Awaitable[bytes]],
    ended: Callable[[IPFSKitError | None], None],
    first: list[Block],
) -> AsyncGenerator[Block, None]:
    """The blocks of an archive, ``first`` those that were read of it, then what it lacks, which ``fetch`` gets
    verified. ``ended`` is told how the archive ended, and raises where it is of no use to go on."""
    try:
        found = first
        while found:
            for block in found:
                yield block
            found = await archive.more()
    except IPFSKitError as error:
        ended(error)
    else:
        ended(None)
    finally:
        await archive.aclose()
    async with aclosing(completed(archive.intake, fetch)) as blocks:
        async for block in blocks:
            yield block


async def completed(intake: Intake, fetch: Callable[[CID], Awaitable[bytes]]) -> AsyncGenerator[Block, None]:
    """What is missing, block by block, several at once; raises what ``fetch`` does."""
    while cids := intake.missing(FETCH_TOGETHER):
        for block in await _fetched(cids, fetch):
            for one in intake.push(block):
                yield one


async def _fetched(cids: list[CID], fetch: Callable[[CID], Awaitable[bytes]]) -> list[Block]:
    found: list[Block] = []
    failures: list[IPFSKitError] = []

    async def one(cid: CID, cancel: Callable[[], None]) -> None:
        try:
            found.append(Block(cid, await fetch(cid)))
        except IPFSKitError as error:
            failures.append(error)
            cancel()

    async with trio.open_nursery() as nursery:
        for cid in cids:
            nursery.start_soon(partial(one, cid, nursery.cancel_scope.cancel))
    if failures:
        raise failures[0]
    return found
