"""Copies of what is pinned here at remote tiers: put there, watched until they are safe, removed when unpinned.

The pins say what is to be there, the records beside the blocks what is: each round compares the two, so that what a
crash or a failure left undone is done by the next. One round at a time for each tier.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import trio

from ipfs_kit_py.content.pump import Reading
from ipfs_kit_py.content.source import BlockSource
from ipfs_kit_py.core.cid import CID
from ipfs_kit_py.core.config import (
    READ_AHEAD_BYTES,
    REPLICA_CHECK_SECONDS,
    REPLICA_CHECKS,
    REPLICA_POLL_MAX_SECONDS,
    REPLICA_POLL_SECONDS,
    REPLICA_RETRY_MAX_SECONDS,
    REPLICA_RETRY_SECONDS,
)
from ipfs_kit_py.core.errors import BackendError, ConfigError, IPFSKitError, NotFound, NotSupported, StorageError
from ipfs_kit_py.dag.walk import DagWalk
from ipfs_kit_py.storage import threads
from ipfs_kit_py.storage.threads import Pool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from trio import TaskStatus

    from ipfs_kit_py.storage.base import LocalStore
    from ipfs_kit_py.storage.remote.base import RemoteTier, Status

logger = logging.getLogger(__name__)

_SPACE = b"replicas"
FAILED = "failed"  # the state of a replica that could not be put


@dataclass(frozen=True)
class Replica:
    """A DAG at a tier. ``state`` is the tier's own word, or ``failed``; ``safe``: it is there in as many places as was
    asked for. ``by_pin``: put since it is pinned here, and removed when it is no more. ``due``: wall clock seconds of
    the next look at it, after ``failures`` in a row, the last for the reason ``error``."""

    tier: str
    cid: str
    state: str
    safe: bool = False
    replicas: int = 0
    wanted: int = 1
    by_pin: bool = False
    failures: int = 0
    error: str = ""
    due: float = 0.0


@dataclass(frozen=True)
class ReplicaStatistics:
    """Of one tier: DAGs that are safe there, that are on their way, and that could not be put."""

    tier: str
    safe: int
    pending: int
    failed: int


class Replicas:
    """What of this store is at remote tiers. Those named in ``of_pins`` get all that is pinned recursively, by
    ``run``; to others it is put when told. ``on_stored(tier, cids)`` is told of what was put."""

    def __init__(
        self,
        nursery: trio.Nursery,
        source: BlockSource,
        store: LocalStore,
        tiers: Sequence[RemoteTier],
        of_pins: Collection[str],
        *,
        on_stored: Callable[[str, Sequence[CID]], None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._nursery = nursery
        self._source = source
        self._store = store
        self._tiers = {tier.name: tier for tier in tiers}
        self._of_pins = [name for name in self._tiers if name in of_pins]
        self._on_stored = on_stored
        self._clock = clock
        self._here = BlockSource(store, None)
        self._woken: dict[str, trio.Event] = {}

    @property
    def writable(self) -> list[str]:
        """The tiers that take DAGs."""
        return [name for name, tier in self._tiers.items() if "put" in tier.verbs]

    def first_writable(self) -> str:
        """The first tier that takes DAGs; ``ConfigError`` where none does."""
        for name in self.writable:
            return name
        raise ConfigError(
            f"no remote tier here stores content (there are: {', '.join(self._tiers)}); docs/tiers.md names some"
        )

    # --- by hand ------------------------------------------------------------------------------------------------------

    async def put(self, name: str, root: CID, *, label: str = "") -> Replica:
        """Store a DAG at a tier and note it; what is missing here is fetched. Raises what the tier raises,
        ``ConfigError`` for an unknown one."""
        return await self._put(self._source, name, root, label)

    async def _put(self, source: BlockSource, name: str, root: CID, label: str, *, by_pin: bool = False) -> Replica:
        tier = self._named(name, "put")
        async with Reading(self._nursery, source, DagWalk(root), READ_AHEAD_BYTES) as blocks:
            status = await tier.put(root, blocks, label=label)
        if self._on_stored is not None:
            self._on_stored(name, [root])
        return await self._note(name, root, _after(Replica(name, str(root), "", by_pin=by_pin), status, self._clock()))

    async def until_safe(self, name: str, root: CID) -> Replica:
        """Wait until a DAG that was put is safe; ``BackendError`` where the tier has given it up. Bounded by the
        caller's timeout alone."""
        pause = REPLICA_POLL_SECONDS
        while not (found := await self.refresh(name, root)).safe:
            _check_not_failed(found)
            await trio.sleep(pause)
            pause = min(2 * pause, REPLICA_POLL_MAX_SECONDS)
        return found

    async def refresh(self, name: str, root: CID) -> Replica:
        """Ask the tier how a DAG stands there, and note it. ``NotFound`` where it does not know it."""
        tier = self._named(name, "status")
        known = await threads.run(Pool.WORK, self._get, name, root) or Replica(name, str(root), "")
        return await self._note(name, root, _after(known, await tier.status(root), self._clock()))

    async def remove(self, name: str, root: CID) -> None:
        """Have a tier keep a DAG no longer."""
        await self._named(name, "remove").remove(root)
        await threads.run(Pool.WORK, self._store.records.delete, _SPACE, _key(name, root))

    async def of(self, root: CID) -> list[Replica]:
        """Where a DAG is, as far as it was noted."""
        found = await threads.run(Pool.WORK, lambda: [self._get(name, root) for name in self._tiers])
        return [replica for replica in found if replica is not None]

    def wake(self) -> None:
        """Pins have changed: look at once."""
        for woken in self._woken.values():
            woken.set()

    def statistics(self) -> list[ReplicaStatistics]:
        """For each tier that takes DAGs. Reads the store: call it on a worker thread."""
        rows = []
        for name in self.writable:
            safe = pending = failed = 0
            for replica in self._noted(name):
                safe += replica.safe
                failed += replica.state == FAILED
                pending += not replica.safe and replica.state != FAILED
            rows.append(ReplicaStatistics(name, safe, pending, failed))
        return rows

    def _named(self, name: str, verb: str) -> RemoteTier:
        if name not in self._tiers:
            known = ", ".join(self._tiers) or "none are configured"
            raise ConfigError(f"no remote tier is called {name!r} (there are: {known}); see [[tiers]] in config.toml")
        if verb not in self._tiers[name].verbs:
            raise NotSupported(f"tier {name} has no {verb!r}; name one that has")
        return self._tiers[name]

    # --- by pins ------------------------------------------------------------------------------------------------------

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the tiers at what the pins say until cancelled; one that takes long holds up no other."""
        async with trio.open_nursery() as nursery:
            for name in self._of_pins:
                nursery.start_soon(self._look_after, name)
            task_status.started()

    async def _look_after(self, name: str) -> None:
        while True:
            self._woken[name] = trio.Event()
            try:
                seconds = await self._round(name)
            except StorageError as error:  # of our own store: a full disk, say
                logger.error("copies at %s cannot be looked after: %s", name, error)
                seconds = REPLICA_RETRY_MAX_SECONDS
            with trio.move_on_after(seconds):
                await self._woken[name].wait()

    async def _round(self, name: str) -> float:
        """Do what is due at one tier; returns the seconds until more is."""
        now = self._clock()
        pins, noted = await threads.run(Pool.WORK, self._both, name)
        unpinned = [replica for cid, replica in noted.items() if replica.by_pin and cid not in pins]
        if "remove" not in self._tiers[name].verbs:
            unpinned = [await self._let_stay(replica) for replica in unpinned]
        gone = [row for row in unpinned if row.by_pin and (not row.failures or _is_due(row, now))]
        todo = [(cid, label) for cid, label in pins.items() if cid not in noted or _is_due(noted[cid], now)]
        for replica in gone:
            await self._attempt(name, replica, partial(self.remove, name, CID.parse(replica.cid)))
        for cid, label in todo[:REPLICA_CHECKS]:
            known = noted.get(cid) or Replica(name, str(cid), "", by_pin=True)
            await self._attempt(name, known, partial(self._bring, name, cid, label, known))
        if len(todo) > REPLICA_CHECKS:
            return 0.0
        after = await threads.run(Pool.WORK, self._noted, name)
        waited = (row.due for row in after if row.by_pin or CID.parse(row.cid) in pins)
        return max(0.0, min(waited, default=now + REPLICA_CHECK_SECONDS) - self._clock())

    async def _let_stay(self, replica: Replica) -> Replica:
        """A copy that its tier cannot remove stays, as one that was put by hand does."""
        logger.info("tier %s removes nothing: its copy of %s stays", replica.tier, replica.cid)
        return await self._note(replica.tier, CID.parse(replica.cid), replace(replica, by_pin=False))

    async def _bring(self, name: str, root: CID, label: str, known: Replica) -> None:
        """Put a pinned DAG, or see how it stands. Nobody waits here for a block that is missing: a pin that is not
        whole is a failure, and tried again."""
        if known.state not in ("", FAILED):
            try:
                found = await self.refresh(name, root)
            except NotFound:
                pass  # it lost it
            else:
                if found.state != FAILED:
                    return
        _check_not_failed(await self._put(self._here, name, root, label, by_pin=known.by_pin))

    async def _attempt(self, name: str, known: Replica, work: Callable[[], Awaitable[object]]) -> None:
        """Do something with a replica; where it fails note when to try again."""
        try:
            await work()
        except Exception as error:  # a tier may be a plug-in: what it raises is its failure, not ours
            logger.warning("tier %s: %s: %s", name, known.cid, error, exc_info=not isinstance(error, IPFSKitError))
            pause = min(REPLICA_RETRY_SECONDS * 2.0 ** min(known.failures, 20), REPLICA_RETRY_MAX_SECONDS)
            failed = replace(
                known, state=known.state or FAILED, safe=False, failures=known.failures + 1, due=self._clock() + pause,
                error=str(error) or type(error).__name__,
            )  # fmt: skip
            await self._note(name, CID.parse(known.cid), failed)

    def _both(self, name: str) -> tuple[dict[CID, str], dict[CID, Replica]]:
        pins = {pin.cid: pin.name for pin in self._store.pins.ls() if pin.recursive}
        return pins, {CID.parse(replica.cid): replica for replica in self._noted(name)}

    # --- records ------------------------------------------------------------------------------------------------------

    def _get(self, name: str, root: CID) -> Replica | None:
        value = self._store.records.get(_SPACE, _key(name, root))
        return None if value is None else _read(value)

    def _noted(self, name: str) -> list[Replica]:
        rows = (_read(value) for _key, value in self._store.records.items(_SPACE))
        return [row for row in rows if row is not None and row.tier == name]

    async def _note(self, name: str, root: CID, replica: Replica) -> Replica:
        value = json.dumps(asdict(replica)).encode()
        await threads.run(Pool.WORK, self._store.records.put, _SPACE, _key(name, root), value)
        return replica

    def __repr__(self) -> str:
        return f"<Replicas at {', '.join(self._tiers)}; pins at {', '.join(self._of_pins) or 'none'}>"


def _key(name: str, root: CID) -> bytes:
    return name.encode() + b"\0" + root.raw


def _read(value: bytes) -> Replica | None:
    """A record, ``None`` for one that is none: then the copy counts as not made, and is looked for anew."""
    try:
        replica = Replica(**json.loads(value))
        CID.parse(replica.cid)
        return replace(replica, due=float(replica.due), failures=int(replica.failures))
    except (TypeError, ValueError, AttributeError) as error:
        logger.warning("the record of a copy is damaged, and passed over: %s", error)
        return None


def _check_not_failed(found: Replica) -> None:
    """``BackendError`` where a tier has given up."""
    if found.state == FAILED:
        raise BackendError(
            f"{found.tier} failed to store {found.cid}: see `cache replicas --refresh`, then put it again"
        )


def _after(known: Replica, status: Status, now: float) -> Replica:
    """What is known of a replica after the tier has said how it stands."""
    due = now + (REPLICA_CHECK_SECONDS if status.safe else REPLICA_POLL_MAX_SECONDS)
    return replace(
        known, state=status.state, safe=status.safe, replicas=status.replicas, wanted=status.wanted, failures=0,
        error="", due=due,
    )  # fmt: skip


def _is_due(replica: Replica, now: float) -> bool:
    """Whether to look at it again. A clock that was set back makes nothing wait for longer than the longest pause."""
    return replica.due <= now or replica.due > now + max(REPLICA_CHECK_SECONDS, REPLICA_RETRY_MAX_SECONDS)
