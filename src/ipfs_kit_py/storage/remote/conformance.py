"""What every remote tier has to do, as checks that another package's tests run on its own tier.

    @pytest.mark.parametrize("check", conformance.CHECKS, ids=str)
    def test_conforms(check, tmp_path):
        conformance.run(check, lambda: FolderTier(tmp_path, name="folder"))

A check that a tier has not got the verbs for is not made. A tier that only reads is given ``place``, which brings
blocks there by another way. Contents are new in each run, so that a server may be used again.
"""

from __future__ import annotations

import inspect
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio

from ipfs_kit_py.core.cid import CID, DAG_CBOR, DAG_PB, Block
from ipfs_kit_py.core.config import MAX_TIER_NAME
from ipfs_kit_py.core.errors import HashMismatch, IPFSKitError, LocalError, NotFound, NotSupported, TimedOut
from ipfs_kit_py.dag import dag_cbor
from ipfs_kit_py.storage.remote.conformance_setting import NotConforming, Setting, Source, new_block, wants

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ipfs_kit_py.storage.remote.base import RemoteTier, Status

__all__ = ["CHECKS", "Check", "NotConforming", "Setting", "check", "run"]

VERBS = frozenset({"get", "get_dag", "has", "put", "remove", "status"})
_READS = ("get", "get_dag", "has")


class _SourceFailed(Exception):
    """What a source of blocks raises that fails in the middle."""


@dataclass(frozen=True)
class Check:
    """One check. ``needs``: the verbs without which it is not made; ``placed``: whether ``place`` does for ``put``."""

    name: str
    work: Callable[[Setting], Awaitable[None]]
    needs: frozenset[str]
    placed: bool = False

    def __str__(self) -> str:
        return self.name

    def applies(self, setting: Setting) -> bool:
        """Whether a tier has what it takes."""
        verbs = setting.tier.verbs
        if self.placed and "put" not in verbs and setting.place is None:
            return False
        return self.needs <= verbs

    async def __call__(self, setting: Setting) -> bool:
        """Make it where it applies, and say whether it does; ``NotConforming`` where the tier fails it."""
        if not self.applies(setting):
            return False
        with trio.move_on_after(4 * setting.seconds) as scope:
            await self.work(setting)
        wants(not scope.cancelled_caught, f"{self.name}: not done within {4 * setting.seconds:.0f} s")
        return True


async def check(tier: RemoteTier, **options: Any) -> dict[str, bool]:
    """All checks on one tier, by name whether each applied; ``NotConforming`` for the first that fails. ``options`` are
    those of ``Setting``."""
    return {one.name: await one(Setting(tier, **options)) for one in CHECKS}


def run(one: Check, make: Callable[[], RemoteTier | Awaitable[RemoteTier]], **options: Any) -> bool:
    """One check on a new tier, in a loop of its own; whether it applied. The tier is closed at the end."""

    async def main() -> bool:
        made = make()
        tier: RemoteTier = await made if inspect.isawaitable(made) else made
        try:
            return await one(Setting(tier, **options))
        finally:
            await tier.aclose()

    return trio.run(main)


# --- what it is -------------------------------------------------------------------------------------------------------
async def _describes_itself(setting: Setting) -> None:
    tier = setting.tier
    wants(isinstance(tier.name, str) and 0 < len(tier.name) <= MAX_TIER_NAME, "its name is no text of proper length")
    wants(isinstance(tier.verbs, frozenset) and tier.verbs <= VERBS, f"its verbs are not among {sorted(VERBS)}")
    wants(bool(repr(tier)), "it has no repr")


async def _is_well(setting: Setting) -> None:
    health = await setting.tier.health()
    wants(health.ok, f"it is not well: {health.detail}")
    wants(health.seconds >= 0, "its health took less than no time")


async def _lacking_verbs_are_refused(setting: Setting) -> None:
    one = setting.dag()[0]
    calls = _calls(setting, one)
    for verb in sorted(VERBS - setting.tier.verbs):
        try:
            await calls[verb]()
        except NotSupported:
            continue
        raise NotConforming(f"{verb} is not among its verbs and did not raise NotSupported")


def _calls(setting: Setting, one: Block) -> dict[str, Callable[[], Awaitable[object]]]:
    tier = setting.tier
    return {
        "get": lambda: tier.get(one.cid),
        "get_dag": lambda: setting.whole(one.cid),
        "has": lambda: tier.has(one.cid),
        "put": lambda: tier.put(one.cid, Source([one])),
        "remove": lambda: tier.remove(one.cid),
        "status": lambda: tier.status(one.cid),
    }


# --- reading ----------------------------------------------------------------------------------------------------------
async def _blocks_come_back(setting: Setting) -> None:
    dag = setting.dag()
    await setting.keep(dag)
    for one in dag:
        wants(bytes(await setting.tier.get(one.cid)) == one.data, f"get gave other bytes for {one.cid}")
    await setting.drop(dag[0].cid)


async def _dags_come_back(setting: Setting) -> None:
    dag = setting.dag()
    await setting.keep(dag)
    wants(await setting.whole(dag[0].cid) == {one.cid: one.data for one in dag}, "get_dag gave another DAG")
    below = {one.cid: one.data for one in dag if one in (dag[1], *dag[4:9])}
    wants(await setting.whole(dag[1].cid) == below, "get_dag of a part gave another DAG")
    await setting.drop(dag[0].cid)


async def _roots_are_had(setting: Setting) -> None:
    dag = setting.dag()
    await setting.keep(dag)
    wants(await setting.tier.has(dag[0].cid) is True, "has denies a root that is kept")
    await setting.drop(dag[0].cid)


async def _odd_blocks(setting: Setting) -> None:
    """Alone, large, of version 0."""
    node = b"\x0a\x10" + setting.rng.randbytes(16)  # dag-pb with 16 bytes of data
    for one in (
        new_block(setting.rng.randbytes(1 << 20)),
        Block(CID.of(node, DAG_PB, version=0), node),
        new_block(dag_cbor.encode({"n": setting.rng.getrandbits(60)}), DAG_CBOR),
    ):
        await setting.keep([one])
        wants(bytes(await setting.tier.get(one.cid)) == one.data, f"get gave other bytes for {one.cid}")
        await setting.drop(one.cid)


async def _leaving_early(setting: Setting) -> None:
    dag = setting.dag(leaves=40, size=20_000)
    await setting.keep(dag)
    for _ in range(3):
        async with aclosing(setting.tier.get_dag(dag[0].cid)) as blocks:
            async for _one in blocks:
                break
    wants(len(await setting.whole(dag[0].cid)) == len(dag), "a DAG does not come after others were left early")
    await setting.drop(dag[0].cid)


async def _at_once(setting: Setting) -> None:
    dag = setting.dag(leaves=30)
    await setting.keep(dag)
    found: dict[CID, bytes] = {}

    async def fetch(cid: CID) -> None:
        found[cid] = bytes(await setting.tier.get(cid))

    async with trio.open_nursery() as nursery:
        for one in dag:
            nursery.start_soon(fetch, one.cid)
    wants(found == {one.cid: one.data for one in dag}, "blocks asked for at once came otherwise")
    await setting.drop(dag[0].cid)


async def _what_is_not_there(setting: Setting) -> None:
    one = setting.dag()[0]
    verbs = setting.tier.verbs
    calls = _calls(setting, one)
    for verb in sorted({"get", "get_dag", "status"} & verbs):
        try:
            await calls[verb]()
        except (NotFound, TimedOut) as error:  # one that asks a network may not know in time
            wants(verb != "status" or isinstance(error, NotFound), "status of what was never put took too long")
            continue
        raise NotConforming(f"{verb} of what was never there did not raise NotFound")
    if "has" in verbs:
        wants(await setting.tier.has(one.cid) is False, "has affirms what was never there")
    if "remove" in verbs:
        await setting.tier.remove(one.cid)


# --- keeping ----------------------------------------------------------------------------------------------------------
async def _status_of_what_is_kept(setting: Setting) -> None:
    dag = setting.dag()
    await setting.keep(dag)
    status = await setting.tier.status(dag[0].cid)
    wants(status.cid.multihash == dag[0].cid.multihash, f"status is about {status.cid}, not {dag[0].cid}")
    wants(status.safe and status.replicas >= status.wanted >= 1, f"status of what is safe: {status}")
    wants(bool(status.state) and status.state == status.state.lower(), f"its state is {status.state!r}")
    await setting.drop(dag[0].cid)


async def _any_order_and_again(setting: Setting) -> None:
    dag = setting.dag()
    await setting.keep([*reversed(dag), dag[3], dag[0]], dag[0].cid)
    await setting.keep(dag)
    if "get_dag" in setting.tier.verbs:
        wants(len(await setting.whole(dag[0].cid)) == len(dag), "a DAG that was put leaves first is not whole")
    await setting.drop(dag[0].cid)


async def _removed(setting: Setting) -> None:
    dag = setting.dag()
    await setting.keep(dag)
    for _ in range(2):
        await setting.tier.remove(dag[0].cid)
        await _not_kept(setting, dag[0].cid)


async def _false_blocks(setting: Setting) -> None:
    dag = setting.dag()
    lie = [*dag[:-1], Block(dag[-1].cid, b"false")]
    try:
        await setting.tier.put(dag[0].cid, Source(lie))
    except (HashMismatch, LocalError):
        await _not_kept(setting, dag[0].cid)
        return
    raise NotConforming("put took a block whose bytes are not what its CID names")


async def _gaps(setting: Setting) -> None:
    dag = setting.dag()
    try:
        status: Status | None = await setting.tier.put(dag[0].cid, Source(dag[:-1]))
    except IPFSKitError:
        status = None
    wants(status is None or not status.safe, "a DAG with a gap is called safe")
    if "status" in setting.tier.verbs:
        await _not_safe(setting, dag[0].cid)
    await setting.drop(dag[0].cid)


async def _failing_sources(setting: Setting) -> None:
    dag = setting.dag()
    try:
        await setting.tier.put(dag[0].cid, Source(dag[:4], _SourceFailed("in the middle")))
    except (_SourceFailed, IPFSKitError):
        await _not_kept(setting, dag[0].cid)
        wants((await setting.tier.health()).ok, "it is not well after a put whose source failed")
        return
    raise NotConforming("put did not tell that its source of blocks failed")


async def _cancelled_puts(setting: Setting) -> None:
    dag = setting.dag()
    waiting = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(setting.tier.put, dag[0].cid, Source(dag[:4], waiting))
        await waiting.wait()
        nursery.cancel_scope.cancel()
    await _not_kept(setting, dag[0].cid)
    await setting.keep(dag)
    await setting.drop(dag[0].cid)


async def _not_kept(setting: Setting, root: CID) -> None:
    if "status" not in setting.tier.verbs:
        return
    with trio.move_on_after(setting.seconds):
        while True:
            try:
                status = await setting.tier.status(root)
            except NotFound:
                return
            if status.state in ("unpinned", "failed", "indirect"):
                return
            await trio.sleep(0.1)
    raise NotConforming(f"status knows what is not kept: {status}")


async def _not_safe(setting: Setting, root: CID) -> None:
    try:
        status = await setting.tier.status(root)
    except NotFound:
        return
    wants(not status.safe, f"status calls a DAG with a gap safe: {status}")


def _check(work: Callable[[Setting], Awaitable[None]], *needs: str, placed: bool = False) -> Check:
    return Check(work.__name__.strip("_"), work, frozenset(needs), placed)


CHECKS = (
    _check(_describes_itself),
    _check(_is_well),
    _check(_lacking_verbs_are_refused),
    _check(_what_is_not_there),
    _check(_blocks_come_back, "get", placed=True),
    _check(_dags_come_back, "get_dag", placed=True),
    _check(_roots_are_had, "has", placed=True),
    _check(_odd_blocks, "get", placed=True),
    _check(_leaving_early, "get_dag", placed=True),
    _check(_at_once, "get", placed=True),
    _check(_status_of_what_is_kept, "put", "status"),
    _check(_any_order_and_again, "put"),
    _check(_removed, "put", "remove"),
    _check(_false_blocks, "put"),
    _check(_gaps, "put"),
    _check(_failing_sources, "put"),
    _check(_cancelled_puts, "put"),
)
