"""The node's verbs on tiers: how warm content is, where copies of it are, and moving it up and down."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from ipfs_kit_py.content import fetch as dags
from ipfs_kit_py.core.cid import CID, RAW
from ipfs_kit_py.core.errors import ConfigError, LocalError
from ipfs_kit_py.node.base import Services
from ipfs_kit_py.storage import threads
from ipfs_kit_py.storage.base import Mark
from ipfs_kit_py.storage.threads import Pool
from ipfs_kit_py.storage.tiers import TieredStore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from ipfs_kit_py.content.replicas import Replica, Replicas

MEMORY, DISK = "memory", "disk"
_METADATA = b"metadata"


class Moved(NamedTuple):
    """What ``promote`` or ``demote`` moved: the root, its blocks that moved and their bytes, and where it is now."""

    root: CID
    blocks: int
    size: int
    tier: str


class _AllBut:
    """Contains everything that is not in ``gone``."""

    def __init__(self, gone: AbstractSet[bytes]) -> None:
        self._gone = gone

    def __contains__(self, key: object) -> bool:
        return key not in self._gone


class TierVerbs(Services):
    """Promotion, demotion, copies."""

    async def promote(self, path: str | CID, to: str = MEMORY) -> Moved:
        """Bring a whole DAG up to the disk, or (``memory``) as much of it as fits to memory; what is not here is
        fetched. ``ConfigError`` for another tier."""
        if to not in (MEMORY, DISK):
            raise ConfigError(f"content is promoted to {MEMORY} or {DISK}, not to {to!r}")
        root = await self._root(path)
        found = await dags.fetch(self._source, root)
        if to == DISK:
            return Moved(root, found.blocks, found.size, DISK)
        blocks, size = await threads.run(Pool.WORK, self._to_memory, root)
        return Moved(root, blocks, size, MEMORY)

    async def demote(self, path: str | CID, to: str | None = None) -> Moved:
        """Move a whole DAG down. ``disk``: out of memory. The name of a remote tier: put there, waited for until it
        is safe, and then removed here; without a name the first that takes content. What a pin keeps stays here.

        ``LocalError`` where the root is pinned; ``ConfigError`` for a tier that there is not; what the tier raises.
        Wait for it with a timeout: an archive may take hours.
        """
        root = await self._root(path)
        if to in (MEMORY, DISK):
            if to == MEMORY:
                raise ConfigError(f"content is demoted to {DISK} or to a remote tier, not to {MEMORY}")
            blocks, size = await threads.run(Pool.WORK, self._out_of_memory, root)
            return Moved(root, blocks, size, DISK)
        if await threads.run(Pool.WORK, self._store.pins.get, root) is not None:
            raise LocalError(f"{root} is pinned: unpin it first, or use `replicate` for a copy")
        replicas = self._need_replicas()
        name = to if to is not None else replicas.first_writable()
        mark = await threads.run(Pool.WORK, self._store.mark)
        if not (await replicas.put(name, root)).safe:
            await replicas.until_safe(name, root)
        blocks, size = await threads.run(Pool.WORK, self._remove_unpinned, root, mark)
        return Moved(root, blocks, size, name)

    async def replicate(self, path: str | CID, to: str | None = None) -> Replica:
        """Put a copy of a DAG to a remote tier, whether it is pinned or not."""
        replicas = self._need_replicas()
        name = to if to is not None else replicas.first_writable()
        return await replicas.put(name, await self._root(path))

    async def replicas(self, path: str | CID, *, refresh: bool = False) -> list[Replica]:
        """Where copies of a DAG are, as it was noted, or (``refresh``) as the tiers say now."""
        replicas, root = self._need_replicas(), await self._root(path)
        found = await replicas.of(root)
        return [await replicas.refresh(one.tier, root) for one in found] if refresh else found

    async def remove(self, path: str | CID) -> Moved:
        """Remove a whole DAG from this store, all but what a pin keeps. ``LocalError`` where the root is pinned."""
        root = await self._root(path)
        if await threads.run(Pool.WORK, self._store.pins.get, root) is not None:
            raise LocalError(f"{root} is pinned: unpin it first")
        mark = await threads.run(Pool.WORK, self._store.mark)
        blocks, size = await threads.run(Pool.WORK, self._remove_unpinned, root, mark)
        return Moved(root, blocks, size, "")

    async def heat(self, path: str | CID) -> float:
        """How warm content is: of its root, which each reader reads."""
        return self._store.heat.heat_of((await self._root(path)).multihash)

    async def heats(self, cids: Sequence[CID]) -> list[tuple[CID, float]]:
        """How warm blocks are."""
        found = await threads.run(Pool.WORK, lambda: [self._store.heat.heat_of(cid.multihash) for cid in cids])
        return list(zip(cids, found, strict=True))

    async def warmest(self, count: int) -> list[tuple[CID, float]]:
        """The warmest blocks with their heat, as CIDs of raw blocks: the store does not know how they are read."""
        found = await threads.run(Pool.WORK, self._store.heat.hottest, count)
        return [(CID(1, RAW, multihash), heat) for multihash, heat in found]

    async def cache_gc(self, *, everything: bool = False) -> tuple[int, int]:
        """Evict the coldest cached blocks above the high water, or all that were not added or pinned here; how many
        went, and their bytes."""
        return await threads.run(Pool.WORK, self._evict_all if everything else self._evict)

    def _evict(self) -> tuple[int, int]:
        before = self._store.statistics().fetched_bytes
        blocks = self._store.trim()
        return blocks, max(0, before - self._store.statistics().fetched_bytes)

    def _evict_all(self) -> tuple[int, int]:
        before = self._store.statistics().fetched_bytes
        now = self._store.mark()
        blocks = sum(len(batch) for batch in self._store.sweep((), Mark(-1, now.fetched)))
        return blocks, max(0, before - self._store.statistics().fetched_bytes)

    async def is_whole(self, cid: CID) -> bool:
        """Whether all of a DAG is in the store."""
        return not await threads.run(Pool.WORK, dags.missing, self._store, cid)

    async def set_metadata(self, cid: CID, value: Mapping[str, Any]) -> None:
        """Note what a user knows of content, as JSON apart from it: it stays when the content is evicted.
        ``LocalError`` for what is no JSON, or larger than ``MAX_RECORD_BYTES``."""
        try:
            text = json.dumps(dict(value)).encode()
        except (TypeError, ValueError) as error:
            raise LocalError(f"the metadata of {cid} is no JSON: {error}") from None
        await threads.run(Pool.WORK, self._store.records.put, _METADATA, cid.raw, text)

    async def get_metadata(self, cid: CID) -> dict[str, Any] | None:
        """What was noted of content, ``None`` where nothing was."""
        text = await threads.run(Pool.WORK, self._store.records.get, _METADATA, cid.raw)
        return None if text is None else json.loads(text)

    async def drop_metadata(self, cid: CID) -> bool:
        """Forget what was noted; whether anything was."""
        return await threads.run(Pool.WORK, self._store.records.delete, _METADATA, cid.raw)

    def _need_replicas(self) -> Replicas:
        if self._remote is None:
            raise ConfigError("no remote tier is configured; see [[tiers]] in config.toml and docs/tiers.md")
        return self._remote.replicas

    def _to_memory(self, root: CID) -> tuple[int, int]:
        store = self._tiered()
        return store.warm(dags.reachable_cids(store.below, [root]))

    def _out_of_memory(self, root: CID) -> tuple[int, int]:
        store = self._tiered()
        return store.cool(dags.reachable_cids(store.below, [root]))  # looking through the memory would warm it

    def _tiered(self) -> TieredStore:
        if not isinstance(self._store, TieredStore):
            raise ConfigError("this node has no memory tier over a disk; give it a repo and a memory_cache above 0")
        return self._store

    def _remove_unpinned(self, root: CID, mark: Mark) -> tuple[int, int]:
        cids = dags.reachable_cids(self._store, [root])
        pinned = self._pinned()
        sizes = dict(zip((cid.multihash for cid in cids), self._store.sizes(cids), strict=True))
        gone = {key for key, size in sizes.items() if size is not None and key not in pinned}
        removed = [key for batch in self._store.sweep(_AllBut(gone), mark) for key in batch]
        return len(removed), sum(sizes[key] or 0 for key in removed)
