"""The local tiers: how good the memory tier's policy is, and how fast blocks come from memory and from the disk."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

from bench import policy, store
from bench.goals import Measured
from bench.stage import MIB
from ipfs_kit_py.core.cid import CID, Block
from ipfs_kit_py.storage.disk import DiskStore
from ipfs_kit_py.tiered_cache import TieredCacheManager

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.stage import Stage

KIB = 1 << 10
HIT_BLOCKS, HIT_ROUNDS = 256, 50
FULL_SIZE = 512 * MIB  # of a file from which on the policy is compared in full

Found = dict[str, Measured]


def compared(stage: Stage) -> Found:
    """The policy beside others, and what it costs."""
    found = policy.summary(policy.measure(quick=stage.size < FULL_SIZE))
    return {
        "policy_best": Measured([100 * found.at_best / found.count]),
        "policy_gap": Measured([found.worst]),
        "policy_cost": Measured([policy.cost() for _ in range(stage.often)]),
    }


def hit(folder: Path) -> float:
    """Microseconds of one block of 4 KiB in memory, asked for with many others through the synchronous face."""
    data = [number.to_bytes(8, "big") * 512 for number in range(HIT_BLOCKS)]
    with TieredCacheManager({"local_cache_path": str(folder), "memory_cache_size": 64 * MIB}) as cache:
        names = [str(CID.of(each)) for each in data]
        for name, each in zip(names, data, strict=True):
            cache.put(name, each)
        assert list(cache.get_many(names).values()) == data
        start = time.perf_counter()
        for _ in range(HIT_ROUNDS):
            cache.get_many(names)
        return (time.perf_counter() - start) / HIT_ROUNDS / HIT_BLOCKS * 1e6


def views(folder: Path, size: int) -> tuple[float, float, float]:
    """MB/s of SHA-256 alone, of first views in a store that was just opened, and of later ones."""
    data = [hashlib.sha256(b"%d" % number).digest() * (MIB // 32) for number in range(min(size, 256 * MIB) // MIB)]
    keys = [CID.of(each) for each in data]
    total = len(data) * MIB
    with DiskStore(folder / "store") as disk:
        disk.put_many(map(Block, keys, data))
    alone = store.rate(total, lambda: [hashlib.sha256(each).digest() for each in data] and None)
    with DiskStore(folder / "store") as disk:
        return alone, store.read(disk, keys, MIB, view=True), store.read(disk, keys, MIB, view=True)


def tiers(stage: Stage) -> Found:
    """Memory hits and views of the disk."""
    hits, rows = [], []
    for _ in range(stage.repeat):
        with stage.fresh() as folder:
            hits.append(hit(folder / "repo"))
            rows.append(views(folder, stage.size))
    first = Measured([row[1] for row in rows], [row[1] / row[0] for row in rows])
    return {"memory_hit": Measured(hits), "disk_first": first, "disk_again": Measured([row[2] for row in rows])}


GROUPS: dict[str, Callable[[Stage], Found]] = {"policy": compared, "tiers": tiers}
