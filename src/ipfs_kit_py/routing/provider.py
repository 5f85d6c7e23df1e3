"""Telling the DHT what this node has, again and again: what its role wants told of, in each of its DHTs.

What there is to tell of is read from the store at the start and now and then; between that, whoever stores something
new says so. Nothing is lost by a crash: what was told is kept as a mark for each part of the key space, and where the
marks do not fit what is in the store, that part is told anew.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import trio

from ipfs_kit_py.core.config import (
    PROVIDE_NOW_KEYS,
    PROVIDE_ONCE_KEYS,
    PROVIDE_SAVE_SECONDS,
    PROVIDE_SYNC_BATCH,
    PROVIDE_SYNC_SECONDS,
    PROVIDE_SYNC_SHARE,
    SWEEP_BEHIND_SECONDS,
    SWEEP_RETRY_SECONDS,
    SWEEP_WARN_SECONDS,
)
from ipfs_kit_py.core.errors import IPFSKitError, NotRunning, PeerUnreachable, QuotaExceeded
from ipfs_kit_py.routing.provide_lane import Lane
from ipfs_kit_py.routing.provide_records import ProvideRecords
from ipfs_kit_py.routing.sweep import Sweep
from ipfs_kit_py.routing.sweep_keys import KeyBins, worth_telling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from trio import TaskStatus

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.routing.network_size import NetworkSize
    from ipfs_kit_py.routing.provide_lane import Announcer
    from ipfs_kit_py.routing.provide_records import InThread, Records
    from ipfs_kit_py.routing.sweep_statistics import SweepStatistics

logger = logging.getLogger(__name__)

_LAST_SECONDS = 5.0  # for the last writing, when the node ends


@dataclass(frozen=True)
class ReproviderStatistics:
    """``ready`` once all keys were read; ``once``: keys that wait to be told of once; ``now``: those told of by a
    lookup of their own, and ``seconds`` that the last took; of each DHT what its sweep says."""

    ready: bool
    keys: int
    once: int
    now: int
    seconds: float | None
    sweeps: dict[str, SweepStatistics]


class Reprovider:
    """``run`` it. ``dhts`` by name, the one that counts the most first; each with the size of its network, which others
    may tell of too. ``contents`` gives all multihashes to tell of and is called on a thread, in parts; ``None`` where
    the role tells of nothing but what it is asked to. ``clock`` gives seconds since 1970."""

    def __init__(
        self, me: PeerID, dhts: Mapping[str, tuple[Announcer, NetworkSize]], records: Records,
        contents: Callable[[], Iterable[bytes]] | None, *, clock: Callable[[], float] = time.time,
        in_thread: InThread = trio.to_thread.run_sync,
    ) -> None:  # fmt: skip
        self._contents, self._clock, self._in_thread = contents, clock, in_thread
        self._records = ProvideRecords(records, in_thread)
        self._keys = KeyBins()
        self.lanes = [
            Lane(name, dht, Sweep(me, size=size, keys=self._keys), clock) for name, (dht, size) in dhts.items()
        ]
        for lane in self.lanes:
            lane.sweep.begin_sync()  # from now on what is added before the first reading is not lost by it
        self._once: dict[bytes, None] = {}
        self._ready = False
        self._resync = trio.Event()
        self._nursery: trio.Nursery | None = None
        self._now = 0
        self._seconds: float | None = None
        self._warned: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<Reprovider {', '.join(map(repr, self.lanes))}>"

    # --- what is to be told -------------------------------------------------------------------------------------------

    def add(self, multihashes: Iterable[bytes]) -> None:
        """These are among the contents now: tell of them soon, and again and again. Very many are taken up by and by.
        On the loop."""
        rows = list(multihashes)
        if self._nursery is None or len(rows) <= PROVIDE_SYNC_BATCH:
            self._add(rows)
        else:
            self._nursery.start_soon(self._add_many, rows)

    async def _add_many(self, rows: list[bytes]) -> None:
        for at in range(0, len(rows), PROVIDE_SYNC_BATCH):
            self._add(rows[at : at + PROVIDE_SYNC_BATCH])
            await trio.lowlevel.checkpoint()

    def _add(self, rows: list[bytes]) -> None:
        now = self._clock()
        first, *others = self.lanes
        new = first.sweep.add(rows, now)
        for lane in others:
            lane.sweep.take(new, now)
        self._wake()

    def add_once(self, multihashes: Iterable[bytes]) -> None:
        """Tell of these as soon as there is a network, over a restart too, but not again, whatever the role.
        ``QuotaExceeded`` where too many wait already."""
        wanted = {multihash: None for multihash in multihashes if worth_telling(multihash)}
        self._once = {one: None for one in self._once if self._waits(one)}
        if len(self._once) + len(wanted) > PROVIDE_ONCE_KEYS:
            raise QuotaExceeded(f"{len(self._once)} keys wait to be told of already; {PROVIDE_ONCE_KEYS} may")
        self._once.update(wanted)
        for lane in self.lanes:
            lane.sweep.add_once(wanted, self._clock())
        self._wake()

    def remove(self, multihashes: Iterable[bytes]) -> None:
        """These are no longer among the contents."""
        gone = list(multihashes)
        for lane in self.lanes:
            lane.sweep.remove(gone)
        for multihash in gone:
            self._once.pop(multihash, None)

    def provides(self, multihash: bytes) -> bool:
        """Whether this is among the contents that the network is told of."""
        return multihash in self._keys

    def resync(self) -> None:
        """The contents have changed in ways that nobody can tell: read them again, soon."""
        self._resync.set()

    def online(self) -> None:
        """There is a network, or another: what failed is tried at once."""
        for lane in self.lanes:
            if lane.sweep.offline:
                lane.sweep.on_online(self._clock())
        self._wake()

    async def provide(self, multihashes: Sequence[bytes]) -> None:
        """Tell of these now: a few at once, by a lookup each, until half of their peers know; more are queued and told
        of in groups. Those that nobody could be told of wait until somebody can: then ``PeerUnreachable``."""
        nursery = self._nursery
        if nursery is None:
            raise NotRunning("nothing is told of: the reprovider does not run")
        wanted = [multihash for multihash in dict.fromkeys(multihashes) if worth_telling(multihash)]
        if len(wanted) > PROVIDE_NOW_KEYS:
            self._queue(wanted)
            return
        begun, missed = trio.current_time(), []

        async def one(multihash: bytes) -> None:
            if not await self._provide_now(multihash, nursery):
                missed.append(multihash)

        async with trio.open_nursery() as each:
            for multihash in wanted:
                each.start_soon(one, multihash)
        self._seconds = trio.current_time() - begun
        if missed:
            self._queue(missed)
            raise PeerUnreachable(f"nobody can be told of {len(missed)} keys now; they wait until a peer is found")

    def _queue(self, multihashes: Sequence[bytes]) -> None:
        """Tell of these soon. Those among the contents need not be kept for a restart."""
        self.add_once(one for one in multihashes if one not in self._keys)
        known = [one for one in multihashes if one in self._keys]
        for lane in self.lanes:
            lane.sweep.add_once(known, self._clock())
        self._wake()

    async def _provide_now(self, multihash: bytes, background: trio.Nursery) -> bool:
        told: dict[str, int] = {}

        async def in_lane(lane: Lane) -> None:
            told[lane.name] = await lane.provide_now(multihash, background)
            if told[lane.name]:
                lane.sweep.on_provided([multihash])

        async with trio.open_nursery() as nursery:
            for lane in self.lanes:
                nursery.start_soon(in_lane, lane)
        self._now += 1
        return any(told.values())

    def _waits(self, multihash: bytes) -> bool:
        """Whether nobody at all was told of a key yet."""
        return all(multihash in lane.sweep.queue for lane in self.lanes)

    def _wake(self) -> None:
        for lane in self.lanes:
            lane.wake()

    # --- life ---------------------------------------------------------------------------------------------------------

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Tell until cancelled. Started once single keys can be told of; the sweeps begin when all keys are read."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                task_status.started()
                await self._load()
                while True:
                    if await self._sync():
                        break
                    await trio.sleep(SWEEP_RETRY_SECONDS)
                self._ready = True
                for lane in self.lanes:
                    nursery.start_soon(lane.run)
                nursery.start_soon(self._keep)
                await self._sync_now_and_then()
        finally:
            self._nursery = None
            if self._ready:
                with trio.move_on_after(_LAST_SECONDS, shield=True):
                    await self._save()

    async def _load(self) -> None:
        try:
            states, once = await self._records.load()
        except IPFSKitError as error:
            logger.error("what was told of before cannot be read, so all is told anew: %s", error)
            return
        for lane in self.lanes:
            if lane.name in states and not lane.sweep.load(states[lane.name], self._clock()):
                logger.warning("what was told of before in the %s DHT is damaged: all is told anew", lane.name)
            lane.sweep.restore(once, self._clock())
        self._once.update(dict.fromkeys(once))

    async def _save(self) -> None:
        self._once = {one: None for one in self._once if self._waits(one)}
        try:
            await self._records.save({lane.name: lane.sweep.dump() for lane in self.lanes}, list(self._once))
        except IPFSKitError as error:
            logger.error("what was told of cannot be kept: %s", error)

    async def _keep(self) -> None:
        while True:
            await trio.sleep(PROVIDE_SAVE_SECONDS)
            await self._save()
            self._warn()

    def _warn(self) -> None:
        """Say so where the sweep does not keep up. Who is offline knows that already."""
        now = self._clock()
        for lane in self.lanes:
            found = lane.sweep.statistics(now)
            last = self._warned.get(lane.name, -SWEEP_WARN_SECONDS)
            connected = not found.offline and not lane.alone
            if connected and found.behind > SWEEP_BEHIND_SECONDS and abs(now - last) >= SWEEP_WARN_SECONDS:
                self._warned[lane.name] = now
                logger.warning(
                    "telling the %s DHT of %d keys is %.1f h behind, with %d of %d regions late: past 26 h content is "
                    "no longer found; tell of roots alone (provide = \"roots\") or connect to more peers",
                    lane.name, found.keys, found.behind / 3600, found.late, found.regions,
                )  # fmt: skip

    # --- all keys -----------------------------------------------------------------------------------------------------

    async def _sync_now_and_then(self) -> None:
        pause = 0.0
        while True:
            await trio.sleep(pause)
            with trio.move_on_after(PROVIDE_SYNC_SECONDS):
                await self._resync.wait()
            self._resync = trio.Event()
            for lane in self.lanes:
                lane.sweep.begin_sync()
            begun = trio.current_time()
            await self._sync()
            pause = (trio.current_time() - begun) / PROVIDE_SYNC_SHARE

    async def _sync(self) -> bool:
        """Read all keys; whether it could be done. Each lane's sweep has begun a sync."""
        found, missed = KeyBins(), list[bytes]()
        try:
            rows = await self._in_thread(self._open)
            while await self._in_thread(partial(_read, rows, found)):
                pass
        except IPFSKitError as error:
            logger.error("what there is to tell of cannot be read: %s", error)
            if self._ready:
                for lane in self.lanes:
                    lane.sweep.cancel_sync()
            return False
        if self._ready:
            missed = await self._in_thread(lambda: list(found.beyond(self._keys)))
        for lane in self.lanes:
            lane.sweep.end_sync(found, missed, self._clock())
        self._keys = found
        self._wake()
        return True

    def _open(self) -> Iterator[bytes]:
        return iter(() if self._contents is None else self._contents())

    # --- questions ----------------------------------------------------------------------------------------------------

    def statistics(self) -> ReproviderStatistics:
        """The counts of this moment."""
        now = self._clock()
        return ReproviderStatistics(
            self._ready, len(self._keys), len(self._once), self._now, self._seconds,
            {lane.name: lane.sweep.statistics(now) for lane in self.lanes},
        )  # fmt: skip


def _read(rows: Iterator[bytes], found: KeyBins) -> bool:
    """Read some more keys, on a thread; whether there may be others."""
    some = list(islice(rows, PROVIDE_SYNC_BATCH))
    found.update(some)
    return bool(some)
