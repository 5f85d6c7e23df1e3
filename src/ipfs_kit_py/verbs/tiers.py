"""The verbs on tiers. Kubo has none like them: the rows are our own."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ipfs_kit_py.core.cid import CID
from ipfs_kit_py.core.errors import NotFound
from ipfs_kit_py.verbs.verb import JSON, ROWS, Verb

if TYPE_CHECKING:
    from ipfs_kit_py.node.tiering import Moved
    from ipfs_kit_py.verbs.call import Call


def _moved(moved: Moved) -> dict[str, Any]:
    return {"Cid": str(moved.root), "Blocks": moved.blocks, "Bytes": moved.size, "Tier": moved.tier}


async def _cache_stat(call: Call) -> None:
    await call.row(asdict(await call.node.statistics()))


async def _cache_heat(call: Call) -> None:
    wanted = [CID.parse(text) for text in call.arguments]
    count = call.number("count")
    rows = await call.node.heats(wanted) if wanted else await call.node.warmest(20 if count is None else count)
    for cid, heat in rows:
        await call.row({"Cid": str(cid), "Heat": round(heat, 4)})


async def _cache_promote(call: Call) -> None:
    for path in call.several("path"):
        await call.row(_moved(await call.node.promote(path, call.text("to", "memory"))))


async def _cache_demote(call: Call) -> None:
    for path in call.several("path"):
        await call.row(_moved(await call.node.demote(path, call.text("to") or None)))


async def _cache_replicate(call: Call) -> None:
    for path in call.several("path"):
        await call.row(asdict(await call.node.replicate(path, call.text("to") or None)))


async def _cache_replicas(call: Call) -> None:
    for path in call.several("path"):
        for replica in await call.node.replicas(path, refresh=call.flag("refresh")):
            await call.row(asdict(replica))


async def _cache_verify(call: Call) -> None:
    found = await call.node.mend()
    for cid, problem in found.damaged:
        await call.row({"Msg": f"block {cid} {problem}"})
    if found.lost:
        raise NotFound(f"{found.lost} damaged blocks could not be fetched again; they were named above")
    await call.row({"Msg": f"{found.checked} blocks checked, {found.mended} fetched again"})


async def _cache_gc(call: Call) -> None:
    blocks, size = await call.node.cache_gc(everything=call.flag("all"))
    await call.row({"Blocks": blocks, "Bytes": size})


TIER_VERBS: dict[str, Verb] = {
    "cache/stat": Verb(_cache_stat, JSON),
    "cache/heat": Verb(_cache_heat, ROWS),
    "cache/promote": Verb(_cache_promote, ROWS),
    "cache/demote": Verb(_cache_demote, ROWS),
    "cache/replicate": Verb(_cache_replicate, ROWS),
    "cache/replicas": Verb(_cache_replicas, ROWS),
    "cache/verify": Verb(_cache_verify, ROWS),
    "cache/gc": Verb(_cache_gc, JSON),
}
