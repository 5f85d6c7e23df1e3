"""The miss path's driver: blocks that are not here, from peers and remote tiers in a race, checked, stored, handed out.

It is an ``Exchange`` over the exchange with the peers. Who is asked when is decided in ``race``.
"""

from __future__ import annotations

import logging
from contextlib import aclosing, contextmanager, nullcontext
from typing import TYPE_CHECKING

import trio

from ipfs_kit_py.content.miss.flight import Arrival, Caller, Flight
from ipfs_kit_py.content.miss.origin import Absent, Origin, OriginStatistics
from ipfs_kit_py.content.miss.race import Ask, Check, Drop, GiveUp, Race
from ipfs_kit_py.core.cid import Block
from ipfs_kit_py.core.config import (
    MISS_HEALTH_SECONDS,
    MISS_PEERS_PRIOR_SECONDS,
    MISS_PRIOR_SECONDS,
    MISS_TIER_REQUESTS,
    MISS_TIER_SECONDS,
)
from ipfs_kit_py.core.errors import (
    BackendError,
    HashMismatch,
    IPFSKitError,
    LocalError,
    NodeDied,
    NotFound,
    StorageError,
)
from ipfs_kit_py.storage import threads
from ipfs_kit_py.storage.threads import Pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence

    from trio import TaskStatus

    from ipfs_kit_py.content.miss.breaker import Chance
    from ipfs_kit_py.core.cid import CID
    from ipfs_kit_py.core.interfaces import BlockStore, Exchange, ExchangeSession
    from ipfs_kit_py.storage.remote.base import RemoteTier

logger = logging.getLogger(__name__)

TIMER_GRAIN = 0.002  # seconds; deadlines closer together than this are met together


class Misses:
    """Fetches what is not in ``store``. ``exchange`` (peers) may be ``None``; the ``tiers`` with ``get`` are asked.
    ``on_fetched(multihashes, seconds)`` is told on a thread what blocks of tiers took to come. ``run`` it."""

    def __init__(
        self,
        store: BlockStore,
        exchange: Exchange | None,
        tiers: Sequence[RemoteTier],
        rng: Chance,
        *,
        requests: int = MISS_TIER_REQUESTS,
        on_fetched: Callable[[Sequence[bytes], float], None] | None = None,
    ) -> None:
        self._store = store
        self._on_fetched = on_fetched
        self._tiers = {
            Origin(tier.name, rng, limit=requests, prior=MISS_PRIOR_SECONDS): tier
            for tier in tiers
            if "get" in tier.verbs
        }
        self._rng = rng
        self.set_exchange(exchange)
        self._absent = Absent()
        self._callers: dict[bytes, set[Caller]] = {}  # by the multihash that they wait for
        self._waiting: set[Caller] = set()  # all of them
        self._flights: dict[tuple[Origin, bytes], Flight] = {}
        self._recovering: set[Origin] = set()
        self._arrived: list[Arrival] = []
        self._arrival = trio.Event()
        self._alarm = trio.CancelScope()
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Work until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._settle)
            nursery.start_soon(self._timer)
            task_status.started()
            await trio.sleep_forever()

    def set_exchange(self, exchange: Exchange | None) -> None:
        """Ask these peers from now on, ``None`` for none. What is being fetched goes on as it began."""
        self._exchange = exchange
        self._origins = list(self._tiers)
        if exchange is not None:
            self._origins.insert(0, Origin("peers", self._rng, patient=True, prior=MISS_PEERS_PRIOR_SECONDS))

    # --- what callers use ---------------------------------------------------------------------------------------------

    @contextmanager
    def session(self) -> Iterator[MissSession]:
        """Fetches that belong together."""
        with self._exchange.session() if self._exchange is not None else nullcontext() as peers:
            yield MissSession(self, peers)

    async def announce_have(self, blocks: Sequence[Block]) -> None:
        """These blocks are in the store now: hand them to whoever waits for them, here and at the peers."""
        for block in blocks:
            self._deliver(block, None)
        if self._exchange is not None:
            await self._exchange.announce_have(blocks)

    def forget_absent(self, tier: str, cids: Iterable[CID]) -> None:
        """Blocks were stored at a tier: it is asked again for those that it had not got."""
        for origin in self._tiers:
            if origin.name == tier:
                for cid in cids:
                    self._absent.forget(origin, cid.multihash)

    def statistics(self) -> list[OriginStatistics]:
        """Of each source: peers, then the tiers."""
        return [origin.statistics() for origin in self._origins]

    async def fetch(
        self, cids: Sequence[CID], peers: ExchangeSession | None, size_hint: int | None
    ) -> AsyncGenerator[Block, None]:
        """Blocks as they come; leaving it cancels what only this caller waits for. See ``MissSession``."""
        caller = Caller(cids, Race(self._origins, self._absent), peers, size_hint)
        self._waiting.add(caller)
        for multihash in caller.missing:
            self._callers.setdefault(multihash, set()).add(caller)
        try:
            caller.race.on_want([cid for same in caller.missing.values() for cid in same], trio.current_time())
            self._act(caller)
            while not caller.over:
                for block in await caller.filled():
                    yield block
        finally:
            self._leave(caller)

    def nobody_has(self, cid: CID, peers: ExchangeSession | None) -> bool:
        """Whether no peer has it; tiers say so by failing the fetch."""
        return peers is None or peers.nobody_has(cid)

    def _leave(self, caller: Caller) -> None:
        self._waiting.discard(caller)
        for multihash in caller.missing:
            self._forget(multihash, caller)
        caller.race.cancel(trio.current_time())
        self._act(caller)
        for scope in caller.scopes:
            scope.cancel()

    def _forget(self, multihash: bytes, caller: Caller) -> None:
        callers = self._callers.get(multihash, set())
        callers.discard(caller)
        if not callers:
            self._callers.pop(multihash, None)

    # --- doing what the races decide ----------------------------------------------------------------------------------

    def _act(self, caller: Caller) -> None:
        if self._nursery is None:
            raise BackendError("the miss path is not running")
        now = trio.current_time()
        while (action := caller.race.next_action(now)) is not None:
            match action:
                case Ask(origin, cids) if origin.patient:
                    self._nursery.start_soon(self._ask_peers, caller, origin, cids)
                case Ask(origin, cids):
                    for cid in cids:
                        self._ask_tier(caller, origin, cid, self._nursery)
                case Drop(origin, cid):
                    self._drop(caller, origin, cid)
                case Check(origin, cids) if caller.peers is not None:
                    hopeless = [cid for cid in cids if caller.peers.nobody_has(cid)]
                    caller.race.on_unlikely(origin, hopeless, now)
                case GiveUp(cid, failed):
                    caller.fail(_gave_up(cid, failed, [origin.name for origin in self._origins]))
        deadline = caller.race.deadline()
        if deadline is not None and deadline < self._alarm.deadline:
            self._alarm.deadline = max(deadline, now + TIMER_GRAIN)

    async def _ask_peers(self, caller: Caller, origin: Origin, cids: Sequence[CID]) -> None:
        if caller.peers is None or caller not in self._waiting:
            return
        with trio.CancelScope() as scope:
            caller.scopes.add(scope)
            try:
                async with aclosing(caller.peers.fetch_many(cids, size_hint=caller.size_hint)) as blocks:
                    async for block in blocks:
                        self._deliver(block, origin)
            except (StorageError, LocalError, NodeDied) as error:  # ours: no tier could do better
                caller.fail(error)
            except IPFSKitError as error:
                now = trio.current_time()
                for cid in cids:
                    caller.race.on_failure(origin, cid, str(error) or type(error).__name__, now)
                self._act(caller)
        caller.scopes.discard(scope)

    def _ask_tier(self, caller: Caller, origin: Origin, cid: CID, nursery: trio.Nursery) -> None:
        flight = self._flights.get((origin, cid.multihash))
        if flight is None:
            flight = self._flights[origin, cid.multihash] = Flight(origin, cid)
            nursery.start_soon(self._fly, flight)
        else:
            origin.in_flight -= 1  # the place that was taken for it is not needed
        flight.callers.add(caller)

    def _drop(self, caller: Caller, origin: Origin, cid: CID) -> None:
        flight = self._flights.get((origin, cid.multihash))
        if flight is not None:
            flight.callers.discard(caller)
            if not flight.callers:
                del self._flights[origin, cid.multihash]  # who asks from now on begins anew
                flight.scope.cancel()

    async def _fly(self, flight: Flight) -> None:
        """One request to a tier, until its block is stored or it is clear that it gives none."""
        origin, cid = flight.origin, flight.cid
        failure: Exception | None = None
        try:
            with flight.scope, trio.fail_after(MISS_TIER_SECONDS):
                data = await self._tiers[origin].get(cid)
                arrival = Arrival(flight, Block(cid, data), trio.current_time() - flight.begun, trio.Event())
                self._arrived.append(arrival)
                self._arrival.set()
                await arrival.settled.wait()
        except Exception as error:  # noqa: BLE001 - a tier may be a plug-in: what it raises is its failure, not ours
            failure = error
        finally:
            origin.in_flight -= 1
            if self._flights.get((origin, cid.multihash)) is flight:
                del self._flights[origin, cid.multihash]
        if failure is not None:
            self._judge(flight, failure)
        self._have_place()

    def _judge(self, flight: Flight, failure: Exception) -> None:
        """A request brought no block: tell those that waited, and count it."""
        origin, now = flight.origin, trio.current_time()
        callers = [caller for caller in flight.callers if caller in self._waiting]
        match failure:
            case NotFound():
                origin.on_absent()
            case HashMismatch():
                origin.on_lie(now)
                logger.warning("tier %s gave a false block for %s: it is left alone", origin.name, flight.cid)
            case trio.TooSlowError() | IPFSKitError():
                origin.on_failure(now, getattr(failure, "after", None) or 0.0)
            case _:
                origin.on_failure(now)
                logger.error("tier %s failed", origin.name, exc_info=failure)
        if origin.open and origin not in self._recovering and self._nursery is not None:
            self._recovering.add(origin)
            self._nursery.start_soon(self._recover, origin)
        for caller in callers:
            for cid in caller.missing.get(flight.cid.multihash, ()):
                if isinstance(failure, NotFound):
                    caller.race.on_absent(origin, cid, now)
                else:
                    caller.race.on_failure(origin, cid, str(failure) or type(failure).__name__, now)
            self._act(caller)

    def _have_place(self) -> None:
        """A source has a place again: whoever waits for one may go on."""
        now = trio.current_time()
        for caller in tuple(self._waiting):
            if caller.race.statistics().waiting:
                caller.race.on_place(now)
                self._act(caller)

    async def _recover(self, origin: Origin) -> None:
        """Look after a source that is left alone, until it answers."""
        while (due := origin.breaker.due()) is not None:
            await trio.sleep_until(due)
            ok = False
            with trio.move_on_after(MISS_HEALTH_SECONDS):
                ok = (await self._tiers[origin].health()).ok
            origin.breaker.on_health(trio.current_time(), ok=ok)
        self._recovering.discard(origin)
        self._have_place()

    # --- blocks that came ---------------------------------------------------------------------------------------------

    def _deliver(self, block: Block, origin: Origin | None) -> None:
        """A block is in the store: hand it to all who wait for it."""
        callers = self._callers.pop(block.cid.multihash, None)
        if callers is None:
            return
        if origin is not None and (flight := self._flights.pop((origin, block.cid.multihash), None)) is not None:
            flight.scope.cancel()  # it has given it, or an earlier request to the same source has
        now, size = trio.current_time(), memoryview(block.data).nbytes
        for caller in callers:
            for cid in caller.take(block):
                caller.race.on_block(cid, now, origin, size)
            self._act(caller)

    async def _settle(self) -> None:
        """Check and store what tiers gave, a batch at a time."""
        while True:
            await self._arrival.wait()
            self._arrival = trio.Event()
            batch, self._arrived = self._arrived, []
            failure: IPFSKitError | None = None
            good: list[Arrival] = []
            try:
                good = await threads.run(Pool.WORK, self._check_and_store, batch)
            except IPFSKitError as error:  # the store is full, broken or closed
                failure = error
            for arrival in batch:
                if failure is not None:
                    for caller in tuple(self._callers.get(arrival.block.cid.multihash, ())):
                        caller.fail(failure)
                elif arrival not in good:
                    self._lied(arrival)
                else:
                    self._deliver(arrival.block, arrival.flight.origin)
                arrival.settled.set()
            if good and self._exchange is not None:
                await self._exchange.announce_have([arrival.block for arrival in good])

    def _check_and_store(self, batch: list[Arrival]) -> list[Arrival]:
        """Runs on a worker thread."""
        good = [arrival for arrival in batch if arrival.block.cid.verify(arrival.block.data)]
        if good:
            self._store.put_many([arrival.block for arrival in good])
        if self._on_fetched is not None:
            for arrival in good:
                self._on_fetched([arrival.block.cid.multihash], arrival.seconds)
        return good

    def _lied(self, arrival: Arrival) -> None:
        """A tier gave what it had not checked, and it is false."""
        flight = arrival.flight
        self._judge(flight, HashMismatch(f"{flight.origin.name} gave a false block", expected=flight.cid))

    # --- time ---------------------------------------------------------------------------------------------------------

    async def _timer(self) -> None:
        while True:
            with self._alarm:
                await trio.sleep_forever()
            self._alarm = trio.CancelScope()
            now = trio.current_time()
            for caller in tuple(self._waiting):
                caller.race.on_timeout(now)
                self._act(caller)

    def __repr__(self) -> str:
        return f"<Misses {len(self._waiting)} callers, {len(self._flights)} requests, {self._origins!r}>"


class MissSession:
    """A group of related fetches; made by ``Misses.session``."""

    def __init__(self, misses: Misses, peers: ExchangeSession | None) -> None:
        self._misses = misses
        self._peers = peers

    def fetch_many(self, cids: Sequence[CID], *, size_hint: int | None = None) -> AsyncGenerator[Block, None]:
        """Blocks as they come, any order, verified and stored. ``NotFound`` where no source has one (and there are no
        peers that may yet come), ``BackendError`` where one may be at a source that failed, ``StorageError`` where a
        block cannot be stored."""
        return self._misses.fetch(cids, self._peers, size_hint)

    def nobody_has(self, cid: CID) -> bool:
        """Whether no peer has a block that is being fetched."""
        return self._misses.nobody_has(cid, self._peers)


def _gave_up(cid: CID, failed: dict[str, str], asked: Sequence[str]) -> IPFSKitError:
    if not failed:
        return NotFound(f"block {cid} was not found: {', '.join(asked) or 'nobody'} has not got it", cid=cid)
    reasons = "; ".join(f"{name}: {why}" for name, why in failed.items())
    return BackendError(f"block {cid} could not be fetched, but may be there ({reasons}); try again later")
