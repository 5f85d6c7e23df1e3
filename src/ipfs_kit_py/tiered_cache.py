"""The tiers as one cache, for synchronous programs: memory, disk, and the remote tiers that are configured."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipfs_kit_py._portal import NodeThread
from ipfs_kit_py.core.cid import CID, DAG_PB, RAW
from ipfs_kit_py.core.config import NodeConfig
from ipfs_kit_py.core.errors import ConfigError, InvalidBlock, NotAFile, NotFound
from ipfs_kit_py.repo import Repo

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ipfs_kit_py.storage.base import LocalStore

_FIELDS = {"memory_cache_size": "memory_cache", "local_cache_size": "storage_max"}
_KEYS = (*_FIELDS, "local_cache_path", "tiers", "role", "shared_memory")


class TieredCacheManager:
    """Blocks and files by CID from memory, else the disk, else the remote tier that gives them first, verified.

    ``config``, all optional: ``memory_cache_size`` and ``local_cache_size`` in bytes; ``local_cache_path``, a folder
    (a repo as ``ipfs-kit --repo`` takes it; without it there is no disk tier); ``tiers``, tables as in
    ``[[tiers]]`` of config.toml (docs/tiers.md); ``role``; ``shared_memory``, whether the memory
    tier lies in ``/dev/shm``. What is put is cached: it may be evicted unless it is
    pinned. A context manager; thread safe. ``ConfigError`` for what cannot be used.
    """

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        self.config = _configured(config or {})
        self._thread = NodeThread(self.config)
        self._node = self._thread.node
        self._store = self._node.store  # thread safe: what is here is read without a crossing to the loop

    @property
    def node_thread(self) -> NodeThread:
        """Where the faces of this package call the node of the cache."""
        return self._thread

    @property
    def store(self) -> LocalStore:
        """The local tiers, as a node takes them."""
        return self._store

    # --- content ------------------------------------------------------------------------------------------------------

    def get(self, cid: str, timeout: float | None = 30) -> bytes | None:
        """A file's content for its root, else a block's bytes; ``None`` where no tier has it.

        ``TimedOut`` after ``timeout`` seconds; ``BackendError`` where a tier that may have it failed.
        """
        parsed = CID.parse(cid)
        if parsed.codec == RAW and (data := self._store.get_many([parsed])[0]) is not None:
            return data
        try:
            return self._thread.call(self._content, parsed, timeout=timeout)
        except NotFound:
            return None

    async def _content(self, cid: CID) -> bytes:
        try:
            return await self._node.read_bytes(cid)
        except (NotAFile, InvalidBlock):
            return await self._node.block_get(cid)

    def get_many(self, cids: Iterable[str], timeout: float | None = 60) -> dict[str, bytes | None]:
        """Many at once, by CID as they were given; else as ``get``."""
        wanted = {cid: CID.parse(cid) for cid in cids}
        blocks = [cid for cid in wanted.values() if cid.codec != DAG_PB]
        found = dict(zip(blocks, self._store.get_many(blocks), strict=True))
        missing = [cid for cid, data in found.items() if data is None]
        if missing:
            found.update(self._thread.call(self._node.block_get_many, missing, timeout=timeout))
        return {text: found[cid] if cid in found else self.get(text, timeout) for text, cid in wanted.items()}

    def put(self, cid: str, data: bytes, metadata: Mapping[str, Any] | None = None) -> bool:
        """Cache a block, or a file's content under its UnixFS root CID. ``HashMismatch`` naming the true CID where no
        known profile makes ``cid`` from ``data``; ``QuotaExceeded``."""
        parsed = CID.parse(cid)
        self._thread.call(lambda: self._node.store_bytes(parsed, data, pin=False))
        if metadata is not None:
            self._thread.call(self._node.set_metadata, parsed, metadata)
        return True

    def delete(self, cid: str) -> bool:
        """Remove content and its metadata from the local tiers; whether there was any. ``LocalError`` where it is
        pinned."""
        parsed = CID.parse(cid)
        moved = self._thread.call(self._node.remove, parsed)
        dropped = self._thread.call(self._node.drop_metadata, parsed)
        return moved.blocks > 0 or dropped

    def contains(self, cid: str) -> bool:
        """Whether all of it is in the local tiers."""
        return self._thread.call(self._node.is_whole, CID.parse(cid))

    __contains__ = contains

    def get_metadata(self, cid: str) -> dict[str, Any] | None:
        """What was put beside content; it stays when the content is evicted. ``None`` where there is nothing."""
        return self._thread.call(self._node.get_metadata, CID.parse(cid))

    # --- what stays, and where ----------------------------------------------------------------------------------------

    def pin(self, cid: str, timeout: float | None = 300) -> bool:
        """Fetch what is missing and never evict it; copies go to remote tiers as the role has it."""
        self._thread.call(self._node.pin_add, cid, timeout=timeout)
        return True

    def unpin(self, cid: str) -> bool:
        """Let it be evicted again. ``NotFound`` where it is not pinned."""
        self._thread.call(self._node.pin_rm, cid)
        return True

    def promote(self, cid: str, tier: str = "memory", timeout: float | None = 300) -> dict[str, Any]:
        """Bring content up to ``disk`` or ``memory``; what moved: ``root``, ``blocks``, ``size`` bytes, ``tier``."""
        return _plain(self._thread.call(self._node.promote, cid, tier, timeout=timeout))

    def demote(self, cid: str, tier: str | None = None, timeout: float | None = 300) -> dict[str, Any]:
        """Move content down: out of memory (``disk``), or to a remote tier by name and, once it is safe there, out of
        here; without a name to the first that takes content. ``LocalError`` where it is pinned."""
        return _plain(self._thread.call(self._node.demote, cid, tier, timeout=timeout))

    def replicate(self, cid: str, tier: str | None = None, timeout: float | None = 300) -> dict[str, Any]:
        """Put a copy of content to a remote tier, the first that takes content without a name; how it stands there:
        ``tier``, ``state``, ``safe``, ``replicas`` of ``wanted``."""
        return asdict(self._thread.call(self._node.replicate, cid, tier, timeout=timeout))

    def replicas(self, cid: str, *, refresh: bool = False, timeout: float | None = 60) -> list[dict[str, Any]]:
        """Where copies of content are at remote tiers, as noted or as they say now."""
        found = self._thread.call(lambda: self._node.replicas(cid, refresh=refresh), timeout=timeout)
        return [asdict(one) for one in found]

    def gc(self, *, everything: bool = False) -> dict[str, int]:
        """Evict the coldest cached ``blocks`` above the high water, or all that are not pinned; their ``bytes``."""
        blocks, size = self._thread.call(lambda: self._node.cache_gc(everything=everything))
        return {"blocks": blocks, "bytes": size}

    def heat(self, cid: str) -> float:
        """How warm content is: its uses, each of which counts half as much after a half-life (docs/tiers.md)."""
        return self._thread.call(self._node.heat, cid)

    # --- health -------------------------------------------------------------------------------------------------------

    def verify(self) -> dict[str, Any]:
        """Hash every block again: how many were ``checked``, and what is wrong with those ``damaged``, by CID."""
        return self._thread.call(self._verify)

    async def _verify(self) -> dict[str, Any]:
        checked, damaged = 0, {}
        async with aclosing(self._node.repo_verify()) as results:
            async for result in results:
                checked += 1
                if result.error:
                    damaged[str(result.cid)] = result.error
        return {"checked": checked, "damaged": damaged}

    def get_stats(self) -> dict[str, Any]:
        """Counters of each tier: hits, misses, bytes, latencies, state."""
        return asdict(self._thread.call(self._node.statistics))

    def close(self) -> None:
        """Stop; idempotent. What uses its ``store`` is to be closed before."""
        self._thread.close()

    def __enter__(self) -> TieredCacheManager:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<TieredCacheManager {'closed' if self._thread.closed else self._node.store!r}>"


def _configured(config: Mapping[str, Any]) -> NodeConfig:
    unknown = [key for key in config if key not in _KEYS]
    if unknown:
        raise ConfigError(f"the cache has no setting {unknown[0]!r}; it has {', '.join(_KEYS)}")
    values: dict[str, Any] = {field: config[key] for key, field in _FIELDS.items() if config.get(key) is not None}
    for key, field in _FIELDS.items():
        if field in values and (not isinstance(values[field], int) or isinstance(values[field], bool)):
            raise ConfigError(f"{key} is a number of bytes, not {values[field]!r}")
    tiers = config.get("tiers")
    if tiers is not None and not isinstance(tiers, list | tuple):
        raise ConfigError("tiers is a list of tables, each with a type")
    if tiers is not None:
        values["tiers"] = tuple(tiers)
    values |= {key: config[key] for key in ("role", "shared_memory") if config.get(key) is not None}
    path = config.get("local_cache_path")
    if path is None:
        values.setdefault("storage_max", values.get("memory_cache"))
        return NodeConfig(libp2p=False, **values)
    return Repo(Path(path)).config(libp2p=False, **values)


def _plain(moved: Any) -> dict[str, Any]:
    return {**moved._asdict(), "root": str(moved.root)}
