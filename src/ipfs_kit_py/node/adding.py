"""The node's verbs that add content."""

from __future__ import annotations

from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ipfs_kit_py.content.add import Row, add_entries, chosen_profile
from ipfs_kit_py.content.files import Entry, tree
from ipfs_kit_py.content.known import built_as
from ipfs_kit_py.core.cid import CID, Block
from ipfs_kit_py.core.errors import LocalError
from ipfs_kit_py.node.base import Services
from ipfs_kit_py.storage import threads
from ipfs_kit_py.storage.threads import Pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping

    from typing_extensions import Buffer


class Added(NamedTuple):
    """What ``add`` made: the root, its cumulative size in bytes, and the name of what was added."""

    cid: CID
    size: int
    name: str


class AddingVerbs(Services):
    """Bytes, streams and local trees become DAGs in the store, pinned unless told otherwise."""

    async def add_bytes(self, data: Buffer, *, profile: str | None = None, pin: bool = True) -> CID:
        """Add a file's content; returns its root."""

        async def chunks() -> AsyncIterator[Buffer]:
            yield data

        return await self.add_stream(chunks(), profile=profile, pin=pin)

    async def add_stream(self, chunks: AsyncIterator[Buffer], *, profile: str | None = None, pin: bool = True) -> CID:
        """Add a file's content that comes in pieces; returns its root."""

        async def entries() -> AsyncIterator[Entry]:
            yield Entry("", "file", chunks=lambda: chunks)

        return (await self._add(entries(), {"profile": profile}, pin=pin)).cid

    async def add(
        self,
        path: Path | str,
        *,
        recursive: bool = True,
        profile: str | None = None,
        only_hash: bool = False,
        wrap: bool = False,
        pin: bool = True,
        hidden: bool = False,
    ) -> Added:
        """Add a local file or directory and pin it; returns the root. ``LocalError`` for what cannot be read."""

        async def entries() -> AsyncIterator[Entry]:
            for entry in tree(Path(path), recursive=recursive, hidden=hidden):
                yield entry

        return await self._add(entries(), {"profile": profile}, only_hash=only_hash, wrap=wrap, pin=pin)

    async def _add(
        self,
        entries: AsyncIterator[Entry],
        options: Mapping[str, object],
        *,
        only_hash: bool = False,
        wrap: bool = False,
        pin: bool = True,
    ) -> Added:
        last: Row | None = None
        rows = self.add_entries(entries, options, only_hash=only_hash, wrap=wrap, pin=pin)
        async with aclosing(rows):
            async for row in rows:
                last = row if row.is_root else last
        if last is None or last.cid is None:
            raise LocalError("nothing was added: there was no file")
        return Added(last.cid, last.size, last.name)

    async def add_entries(
        self,
        entries: AsyncIterator[Entry],
        options: Mapping[str, object],
        *,
        only_hash: bool = False,
        wrap: bool = False,
        pin: bool = True,
        progress: Callable[[str, int], None] | None = None,
    ) -> AsyncGenerator[Row, None]:
        """Add a tree told in the order of a walk; a row for each finished entry. ``options`` as ``chosen_profile``."""
        profile = chosen_profile(options, self.config.profile)
        put = None if only_hash else partial(self._source.put_many, kept=pin)
        with self._store.hold():
            rows = add_entries(entries, profile, put=put, wrap=wrap, progress=progress)
            async with aclosing(rows):
                async for row in rows:
                    if row.is_root and row.cid is not None and pin and not only_hash:
                        await threads.run(Pool.WORK, partial(self._store.pins.add, row.cid, name=row.name))
                        self._pins_changed(row.cid)
                    yield row

    async def store_bytes(self, cid: CID, data: bytes, *, pin: bool = True) -> None:
        """Store a block, or a file's content under its UnixFS root as its blocks; pinned, or in the cache alone.

        ``HashMismatch`` naming the true CID where no known profile makes ``cid`` from ``data``.
        """
        cid.check_allowed()
        if await threads.run(Pool.WORK, cid.verify, data):
            blocks = [Block(cid, data)]
        else:
            blocks = (await threads.run(Pool.WORK, built_as, cid, data)).blocks
        await self._source.put_many(blocks, kept=pin)
        if pin:
            await threads.run(Pool.WORK, partial(self._store.pins.add, cid))
            self._pins_changed(cid)
