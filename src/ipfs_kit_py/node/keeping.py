"""The node's verbs on what is kept: pins, and the store under them."""

from __future__ import annotations

from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import trio

from ipfs_kit_py.content import fetch as dags
from ipfs_kit_py.core.cid import CID, RAW, Block
from ipfs_kit_py.core.config import MEND_SECONDS
from ipfs_kit_py.core.errors import ConfigError, IPFSKitError
from ipfs_kit_py.node.base import Services
from ipfs_kit_py.storage import threads
from ipfs_kit_py.storage.threads import Pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class RepoStat(NamedTuple):
    """Size of the store: bytes of blocks, quota, blocks, folder."""

    size: int
    quota: int
    blocks: int
    path: str


class Verified(NamedTuple):
    """One block that was hashed again; ``error`` is empty where it is whole."""

    cid: CID
    error: str


class Mended(NamedTuple):
    """What ``mend`` did: blocks checked, the damaged ones with what was wrong, those fetched again and those lost."""

    checked: int
    damaged: list[tuple[CID, str]]
    mended: int
    lost: int


class KeepingVerbs(Services):
    """Pins, garbage collection, verification and size."""

    async def pin_add(self, path: str | CID, *, recursive: bool = True, name: str = "") -> CID:
        """Fetch what is missing and keep it; returns the CID."""
        cid = await self._root(path)
        with self._store.hold():
            if recursive:
                await dags.keep(self._source, cid)
            else:
                with self._source.session() as session:
                    await self._source.put_many([Block(cid, await session.get(cid))], kept=True)
            await threads.run(Pool.WORK, partial(self._store.pins.add, cid, recursive=recursive, name=name))
        self._pins_changed(cid)
        return cid

    async def pin_rm(self, path: str | CID) -> CID:
        """Stop keeping. ``NotFound`` where it is not pinned."""
        cid = await self._root(path)
        await threads.run(Pool.WORK, self._store.pins.rm, cid)
        self._pins_changed()
        return cid

    async def pin_ls(self, *, kind: str = "all") -> list[tuple[CID, str, str]]:
        """CID, type and name of pins: ``recursive``, ``direct``, ``indirect`` (kept by another) or ``all``."""
        if kind not in ("all", "recursive", "direct", "indirect"):
            raise ConfigError(f"pin type {kind!r} is not one of recursive, direct, indirect, all")
        pins = await threads.run(Pool.WORK, lambda: list(self._store.pins.ls()))
        rows = [(pin.cid, pin.kind, pin.name) for pin in pins if kind in ("all", pin.kind)]
        if kind in ("all", "indirect"):
            roots = [pin.cid for pin in pins if pin.recursive]
            rows += await threads.run(Pool.WORK, self._indirect, roots, {pin.cid.multihash for pin in pins})
        return rows

    def _indirect(self, roots: list[CID], pinned: set[bytes]) -> list[tuple[CID, str, str]]:
        found = dags.reachable_cids(self._store, roots)
        return [(cid, "indirect", "") for cid in found if cid.multihash not in pinned]

    async def repo_gc(self) -> AsyncGenerator[CID, None]:
        """Remove what no pin keeps, without stopping writers; yields what was removed."""
        mark = await threads.run(Pool.WORK, self._store.mark)
        kept = await threads.run(Pool.WORK, self._pinned)
        batches = self._store.sweep(kept, mark)
        while (batch := await threads.run(Pool.WORK, next, batches, None)) is not None:
            for removed in batch:
                yield CID(1, RAW, removed)

    async def repo_verify(self) -> AsyncGenerator[Verified, None]:
        """Hash every block again; one result for each."""
        results = self._store.verify()

        def some() -> list[Verified]:
            found = []
            for checked in results:
                found.append(Verified(CID(1, RAW, checked.multihash), checked.problem or ""))
                if len(found) >= dags.LOCAL_BATCH:
                    break
            return found

        while batch := await threads.run(Pool.WORK, some):
            for item in batch:
                yield item

    async def mend(self, *, seconds: float = MEND_SECONDS) -> Mended:
        """Hash every block again; remove the damaged ones and fetch them anew, each within ``seconds``."""
        checked, damaged, mended = 0, list[tuple[CID, str]](), 0
        async with aclosing(self.repo_verify()) as results:
            async for result in results:
                checked += 1
                if result.error:
                    damaged.append((result.cid, result.error))
        if damaged:
            pinned = await threads.run(Pool.WORK, self._pinned)
            await threads.run(Pool.WORK, self._store.delete_many, [cid for cid, _problem in damaged])
            for cid, _problem in damaged:
                mended += await self._fetched_again(cid, seconds, kept=cid.multihash in pinned)
        return Mended(checked, damaged, mended, len(damaged) - mended)

    async def _fetched_again(self, cid: CID, seconds: float, *, kept: bool) -> bool:
        with trio.move_on_after(seconds), self._source.session() as session:
            try:
                data = await session.get(cid)
            except IPFSKitError:
                return False
            if kept:
                await self._source.put_many([Block(cid, data)], kept=True)
            return True
        return False

    async def repo_stat(self) -> RepoStat:
        """Size of the store."""
        found = await threads.run(Pool.WORK, self._store.statistics)
        return RepoStat(found.bytes, found.quota, found.blocks, str(self.config.repo or "(memory)"))
