"""The node's verbs on blocks and on DAGs of any codec."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from ipfs_kit_py.content import fetch as dags
from ipfs_kit_py.core import multihash
from ipfs_kit_py.core.cid import CID, Block
from ipfs_kit_py.core.config import MAX_BLOCK_BYTES
from ipfs_kit_py.core.errors import ConfigError, InvalidBlock, IPFSKitError, LocalError, NotFound
from ipfs_kit_py.dag import codecs
from ipfs_kit_py.node.base import Services
from ipfs_kit_py.storage import threads
from ipfs_kit_py.storage.threads import Pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from typing_extensions import Buffer

    from ipfs_kit_py.content.source import SourceSession


FETCHED_AT_ONCE = 256  # blocks of one call of block_get_many: in flight they may take 512 MiB at the very most


class BlockVerbs(Services):
    """Single blocks, values of the data model, and archives."""

    async def block_get(self, cid: CID | str) -> bytes:
        """A block's bytes."""
        with self._source.session() as session:
            return await session.get(CID.parse(cid))

    async def block_get_many(self, cids: Sequence[CID]) -> dict[CID, bytes | None]:
        """Blocks' bytes, ``None`` for those that nobody has. What is not here is fetched, many at once."""
        here = await threads.run(Pool.WORK, self._store.get_many, cids)
        found: dict[CID, bytes | None] = dict(zip(cids, here, strict=True))
        places = trio.CapacityLimiter(FETCHED_AT_ONCE)

        async def fetch(session: SourceSession, cid: CID) -> None:
            async with places:
                try:
                    found[cid] = await session.get(cid)
                except NotFound:
                    found[cid] = None
                except IPFSKitError as error:
                    failures.append(error)
                    nursery.cancel_scope.cancel()

        failures: list[IPFSKitError] = []
        with self._source.session() as session:
            async with trio.open_nursery() as nursery:
                for cid in [cid for cid, data in found.items() if data is None]:
                    nursery.start_soon(fetch, session, cid)
        if failures:
            raise failures[0]
        return found

    async def block_put(
        self,
        data: Buffer,
        *,
        codec: str = "raw",
        mhtype: str = "sha2-256",
        version: int = 1,
        pin: bool = False,
    ) -> CID:
        """Store a block as it is; returns its CID. ``InvalidBlock`` where it is larger than a peer would take."""
        if mhtype not in multihash.CODES:
            raise ConfigError(f"hash {mhtype!r} is not known; use one of {', '.join(multihash.CODES)}")
        size = memoryview(data).nbytes
        if size > MAX_BLOCK_BYTES:
            raise InvalidBlock(f"a block has at most {MAX_BLOCK_BYTES} bytes, this one has {size}; use `add`")
        cid = CID(version, codecs.codec_number(codec), multihash.of(data, multihash.CODES[mhtype])).check_allowed()
        await self._source.put_many([Block(cid, data)], kept=True)
        if pin:
            await threads.run(Pool.WORK, partial(self._store.pins.add, cid, recursive=True))
            self._pins_changed(cid)
        return cid

    async def block_stat(self, cid: CID | str) -> int:
        """A block's size in bytes; it is fetched where it is not here."""
        cid = CID.parse(cid)
        [size] = await threads.run(Pool.WORK, self._store.sizes, [cid])
        return len(await self.block_get(cid)) if size is None else size

    async def block_rm(self, cid: CID | str, *, force: bool = False) -> None:
        """Remove a block from the store. ``LocalError`` where a pin keeps it, ``NotFound`` where it is not there."""
        cid = CID.parse(cid)
        [there] = await threads.run(Pool.WORK, self._store.has_many, [cid])
        if not there:
            if force:
                return
            raise NotFound(f"block {cid} is not in the store", cid=cid)
        if cid.multihash in await threads.run(Pool.WORK, self._pinned):
            raise LocalError(f"block {cid} is pinned; unpin it first (pin ls names what keeps it)")
        await threads.run(Pool.WORK, self._store.delete_many, [cid])

    async def dag_get(self, path: str | CID) -> Any:
        """A value of the data model; links are ``CID`` objects."""
        found = await self.resolve(path)
        if found.inside:
            return found.value
        return codecs.read(found.cid, await self.block_get(found.cid))

    async def dag_put(self, value: Any, *, codec: str = "dag-cbor", mhtype: str = "sha2-256", pin: bool = False) -> CID:
        """Store a value; returns its CID."""
        data = codecs.encode(value, codecs.codec_number(codec))
        return await self.block_put(data, codec=codec, mhtype=mhtype, pin=pin)

    async def dag_export(self, path: str | CID, write: Callable[[Buffer], Awaitable[None]]) -> dags.DagStat:
        """Write a whole DAG as a CAR of version 1, through ``await write(part)``."""
        return await dags.export(self._source, await self._root(path), write)

    async def dag_import(self, pieces: AsyncIterator[Buffer], *, pin_roots: bool = True) -> dags.Imported:
        """Take a CAR's blocks, and pin the roots whose DAGs are whole. A malformed CAR leaves nothing behind."""
        with self._store.hold():
            found = await dags.import_car(self._source, pieces)
            if pin_roots:
                for root, problem in found.roots:
                    if not problem:
                        await threads.run(Pool.WORK, self._store.pins.add, root)
                self._pins_changed(*(root for root, problem in found.roots if not problem))
        return found

    async def dag_stat(self, path: str | CID) -> dags.DagStat:
        """Blocks and bytes of a DAG; what is missing is fetched."""
        return await dags.fetch(self._source, await self._root(path))
