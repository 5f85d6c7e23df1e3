"""A DAG as the body of an upload: an archive, checked on its way, in a multipart form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipfs_kit_py.core.config import RPC_SEND_BYTES
from ipfs_kit_py.core.errors import HashMismatch
from ipfs_kit_py.dag import car
from ipfs_kit_py.storage import threads
from ipfs_kit_py.storage.remote.lacking import Lacking
from ipfs_kit_py.storage.threads import Pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable

    from typing_extensions import Buffer

    from ipfs_kit_py.core.cid import CID, Block


class ArchiveBody:
    """Blocks as an archive, checked and put together in batches of ``RPC_SEND_BYTES`` on a thread. ``InvalidBlock`` at
    the end where one lacks that others link to: the server would look for it in its network."""

    def __init__(self, root: CID, blocks: AsyncIterable[Block]) -> None:
        self._blocks = aiter(blocks)
        self._head = car.header([root])
        self._lacking = Lacking(root)

    def __aiter__(self) -> ArchiveBody:
        return self

    async def __anext__(self) -> bytes:
        batch: list[Block] = []
        size = 0
        while size < RPC_SEND_BYTES:
            try:
                block = await anext(self._blocks)
            except StopAsyncIteration:
                break
            batch.append(block)
            size += memoryview(block.data).nbytes
        if batch or self._head:
            return await threads.run(Pool.WORK, self._joined, batch)
        self._lacking.check()
        raise StopAsyncIteration

    def _joined(self, batch: list[Block]) -> bytes:
        parts: list[Buffer] = [self._head]
        self._head = b""
        for cid, data in batch:
            if not cid.verify(data):
                raise HashMismatch(f"block {cid} was given with other bytes", expected=cid)
            self._lacking.take(cid, data)
            parts += car.section(cid, data)
        return b"".join(parts)


async def multipart(body: AsyncIterable[Buffer], boundary: str) -> AsyncGenerator[Buffer, None]:
    """A form with one file."""
    yield (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="file"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()
    async for piece in body:
        yield piece
    yield f"\r\n--{boundary}--\r\n".encode()
