"""A remote tier that keeps blocks as files in a folder, such as that of a network drive.

    [[tiers]]
    type = "folder"
    path = "/mnt/archive/ipfs"

A DAG is kept when all of it is there: its root is noted last.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from ipfs_kit_py.core.cid import CID, Block
from ipfs_kit_py.core.errors import BackendError, HashMismatch, InvalidBlock, NotFound
from ipfs_kit_py.core.multihash import IDENTITY
from ipfs_kit_py.dag import codecs
from ipfs_kit_py.storage.remote.base import Health, Status

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable

    from ipfs_kit_py.storage.remote.build import TierContext, TierSpec


def make(spec: TierSpec, _context: TierContext) -> FolderTier:
    """The tier of a ``[[tiers]]`` table: ``path``."""
    return FolderTier(Path(spec.text("path")), name=spec.name)


class FolderTier:
    """Blocks by the base32 of their multihash in ``blocks``, roots that are kept in ``roots``."""

    verbs = frozenset({"get", "get_dag", "has", "put", "remove", "status"})

    def __init__(self, path: Path, *, name: str = "folder") -> None:
        self.name = name
        self._path = path
        self._blocks, self._roots = path / "blocks", path / "roots"
        for folder in (self._blocks, self._roots):
            folder.mkdir(parents=True, exist_ok=True)

    def __repr__(self) -> str:
        return f"<FolderTier {self.name} at {self._path}>"

    async def aclose(self) -> None:
        """Nothing is open."""

    # --- reading ------------------------------------------------------------------------------------------------------
    async def get(self, cid: CID) -> bytes:
        return await trio.to_thread.run_sync(self._read, cid)

    async def get_dag(self, root: CID) -> AsyncGenerator[Block, None]:
        waiting, known = [root], {root}
        while waiting:
            cid = waiting.pop()
            data, links = await trio.to_thread.run_sync(self._read_with_links, cid)
            yield Block(cid, data)
            for link in reversed(links):
                if link not in known:
                    known.add(link)
                    waiting.append(link)

    async def has(self, cid: CID) -> bool:
        return await trio.to_thread.run_sync(self._file(cid).exists)

    def _file(self, cid: CID) -> Path:
        return self._blocks / str(CID(1, 0x55, cid.multihash))

    def _read(self, cid: CID) -> bytes:
        if cid.multihash[0] == IDENTITY:
            return cid.digest
        try:
            data = self._file(cid).read_bytes()
        except FileNotFoundError:
            raise NotFound(f"{self.name} has no block {cid}", cid=cid) from None
        except OSError as error:
            raise BackendError(f"{self.name}: cannot read {cid}: {error.strerror}") from None
        if not cid.verify(data):
            raise HashMismatch(f"{self.name}: the bytes of block {cid} have another hash", expected=cid)
        return data

    def _read_with_links(self, cid: CID) -> tuple[bytes, list[CID]]:
        data = self._read(cid)
        return data, [link for link in codecs.links(cid, data) if link.multihash[0] != IDENTITY]

    # --- keeping ------------------------------------------------------------------------------------------------------
    async def put(self, root: CID, blocks: AsyncIterable[Block], *, label: str = "") -> Status:
        async for one in blocks:
            await trio.to_thread.run_sync(self._write, one)
        async for _block in self.get_dag(root):  # raises NotFound where one lacks
            pass
        await trio.to_thread.run_sync(self._replace, self._roots / str(root.to_v1()), label.encode())
        return await self.status(root)

    def _write(self, one: Block) -> None:
        if not one.cid.verify(one.data):
            raise HashMismatch(f"block {one.cid} was given with other bytes", expected=one.cid)
        if len(one.data) > 8 << 20:
            raise InvalidBlock(f"block {one.cid} is larger than 8 MiB")
        self._replace(self._file(one.cid), one.data)

    def _replace(self, path: Path, data: bytes) -> None:
        """Write a file that is there wholly or not at all, also after a power failure."""
        part = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        try:
            with part.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise BackendError(f"{self.name}: cannot write {path.name}: {error.strerror}") from None

    async def remove(self, root: CID) -> None:
        """Forget the root. Its blocks stay, as other roots may need them."""
        await trio.to_thread.run_sync(lambda: (self._roots / str(root.to_v1())).unlink(missing_ok=True))

    async def status(self, root: CID) -> Status:
        if not await trio.to_thread.run_sync((self._roots / str(root.to_v1())).exists):
            raise NotFound(f"{self.name} does not keep {root}", cid=root)
        return Status(root, "kept", True, 1)

    async def health(self) -> Health:
        started = trio.current_time()
        there = await trio.to_thread.run_sync(self._blocks.is_dir)
        return Health(there, trio.current_time() - started, str(self._path) if there else "the folder is gone")
