"""A DAG as the body of an upload: an archive, checked on its way, in a multipart form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ipfs_kit_py.core.config import RPC_SEND_BYTES
from ipfs_kit_py.core.errors import HashMismatch, InvalidBlock
from ipfs_kit_py.core.multihash import IDENTITY
from ipfs_kit_py.dag import car, codecs

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable

    from typing_extensions import Buffer

    from ipfs_kit_py.core.cid import CID, Block


class ArchiveBody:
    """Blocks as an archive, checked and put together in batches of ``RPC_SEND_BYTES`` on a thread. ``InvalidBlock`` at
    the end where one lacks that others link to: the server would look for it in its network."""

    def __init__(self, root: CID, blocks: AsyncIterable[Block]) -> None:
        self._root = root
        self._blocks = aiter(blocks)
        self._head = car.header([root])
        self._here: set[bytes] = set()  # by multihash
        self._lacking: dict[bytes, CID] = {} if root.multihash[0] == IDENTITY else {root.multihash: root}

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
            return await trio.to_thread.run_sync(self._joined, batch)
        for cid in self._lacking.values():
            raise InvalidBlock(f"block {cid} is not among the blocks of {self._root} to be put")
        raise StopAsyncIteration

    def _joined(self, batch: list[Block]) -> bytes:
        parts: list[Buffer] = [self._head]
        self._head = b""
        for cid, data in batch:
            if not cid.verify(data):
                raise HashMismatch(f"block {cid} was given with other bytes", expected=cid)
            self._here.add(cid.multihash)
            self._lacking.pop(cid.multihash, None)
            for link in codecs.links(cid, data):
                if link.multihash not in self._here and link.multihash[0] != IDENTITY:
                    self._lacking[link.multihash] = link
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
