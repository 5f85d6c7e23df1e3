"""Fetching ahead: tells the engine what is read, and gets what it names while nobody waits longer than usual."""

from __future__ import annotations

import logging
from contextlib import aclosing, contextmanager
from itertools import count
from math import inf
from typing import TYPE_CHECKING

import trio

from ipfs_kit_py.core.config import (
    MISS_LEAD_MIN,
    PREFETCH_BULK,
    PREFETCH_FETCH_SECONDS,
    PREFETCH_IDLE_SECONDS,
    PREFETCH_STUCK_SECONDS,
)
from ipfs_kit_py.core.errors import InvalidBlock, IPFSKitError, NotSupported
from ipfs_kit_py.dag import codecs
from ipfs_kit_py.storage import threads
from ipfs_kit_py.storage.threads import Pool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from trio import TaskStatus

    from ipfs_kit_py.content.source import BlockSource, SourceSession
    from ipfs_kit_py.core.cid import CID, Block
    from ipfs_kit_py.core.interfaces import Exchange, ExchangeSession
    from ipfs_kit_py.storage.prefetch import Fetch, Prefetcher, PrefetchStatistics

logger = logging.getLogger(__name__)

_GAIN = 0.125  # of a new sample in the mean, and half of it as much again in the deviation: RFC 6298's


class _Usual:
    """How long a miss takes, smoothed, in seconds."""

    def __init__(self) -> None:
        self._seconds: float | None = None
        self._deviation = 0.0

    def add(self, seconds: float) -> None:
        if self._seconds is None:
            self._seconds, self._deviation = seconds, seconds / 2
            return
        self._deviation += 2 * _GAIN * (abs(seconds - self._seconds) - self._deviation)
        self._seconds += _GAIN * (seconds - self._seconds)

    @property
    def most(self) -> float:
        """What is still usual."""
        return inf if self._seconds is None else max(self._seconds + 4.0 * self._deviation, MISS_LEAD_MIN)


class Prefetching:
    """The driver of ``Prefetcher`` for one ``source``, which it watches from now on. ``run`` it.

    What it fetches comes as anything else does: from the source's exchange, checked and stored there.
    """

    def __init__(self, source: BlockSource, exchange: Exchange, engine: Prefetcher) -> None:
        self._store = source.store
        self._exchange = exchange
        self._engine = engine
        self._waits: dict[int, float] = {}  # readers that wait for blocks which nobody fetches ahead: since when
        self._numbers = count()
        self._usual = _Usual()
        self._ahead: frozenset[CID] = frozenset()  # what is being fetched
        self._active = -inf  # when something was missing or fetched last
        self._scope: trio.CancelScope | None = None
        self._wake = trio.Event()
        source.observer = self

    def statistics(self) -> PrefetchStatistics:
        """Of the engine."""
        return self._engine.statistics()

    # --- what is read -------------------------------------------------------------------------------------------------

    def on_hits(self, reader: SourceSession, cids: Sequence[CID], blocks: Sequence[Block]) -> None:
        """See ``ReadObserver``. While nothing is missing anywhere there is nothing to learn."""
        now = trio.current_time()
        if len(cids) > PREFETCH_BULK or now - self._active > PREFETCH_IDLE_SECONDS:
            return
        for block in blocks:
            self._tell(reader, block, now, None)

    @contextmanager
    def missing(
        self, reader: SourceSession, cids: Sequence[CID], missing: Sequence[CID]
    ) -> Iterator[Callable[[Block], None]]:
        """See ``ReadObserver``."""
        begun = trio.current_time()
        self._active = begun
        number = next(self._numbers)
        counts = not self._ahead.issuperset(missing)
        bulk = len(cids) > PREFETCH_BULK

        def came(block: Block) -> None:
            now = trio.current_time()
            if counts:
                self._usual.add(now - self._waits.get(number, begun))
                self._waits[number] = now  # for the next one
                self._adjust()
            if not bulk:
                self._tell(reader, block, now, now - begun)

        if counts:
            self._waits[number] = begun
            self._adjust()
        try:
            yield came
        finally:
            self._waits.pop(number, None)
            self._adjust()
            self._wake.set()

    def _tell(self, reader: SourceSession, block: Block, now: float, waited: float | None) -> None:
        try:
            links = codecs.links(block.cid, block.data)
        except (InvalidBlock, NotSupported):
            links = []  # the reader will say so
        size = memoryview(block.data).nbytes
        self._engine.on_read(block.cid, links, size, now, waited=waited, stream=id(reader))
        self._wake.set()

    # --- making way ---------------------------------------------------------------------------------------------------

    def _oldest(self, now: float) -> float:
        """Since when the reader waits that has waited longest; one that waits for what nobody has does not count."""
        return min((begun for begun in self._waits.values() if now - begun < PREFETCH_STUCK_SECONDS), default=inf)

    def _slow_at(self, now: float) -> float:
        """When a reader that waits now will have waited longer than usual."""
        return self._oldest(now) + self._usual.most

    def _adjust(self) -> None:
        """What is being fetched ahead goes on as long as no reader waits for longer than usual."""
        if self._scope is not None:
            self._scope.deadline = self._slow_at(trio.current_time())

    async def _calm(self) -> None:
        """Wait until no reader waits for longer than usual."""
        while self._slow_at(now := trio.current_time()) <= now:
            self._wake = trio.Event()
            with trio.move_on_at(self._oldest(now) + PREFETCH_STUCK_SECONDS):
                await self._wake.wait()

    # --- fetching -----------------------------------------------------------------------------------------------------

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Work until cancelled."""
        task_status.started()
        while True:
            fetch = await self._next(inf)
            if fetch is None:
                continue
            with self._exchange.session() as session:
                while fetch is not None:
                    await self._get(session, fetch)
                    fetch = await self._next(PREFETCH_IDLE_SECONDS)

    async def _next(self, seconds: float) -> Fetch | None:
        """What to fetch next; ``None`` where there was nothing for ``seconds``."""
        until = trio.current_time() + seconds
        while True:
            await self._calm()
            self._wake = trio.Event()
            now = trio.current_time()
            if (fetch := self._engine.next_action(now)) is not None:
                return fetch
            if now >= until:
                return None
            due = self._engine.deadline()
            with trio.move_on_at(min(until, inf if due is None else due)):
                await self._wake.wait()
            self._engine.on_timeout(trio.current_time())

    async def _get(self, session: ExchangeSession, fetch: Fetch) -> None:
        """Get what is not here, unless it takes too long or is in the way of a reader."""
        begun, size = trio.current_time(), 0
        scope = trio.CancelScope()
        try:
            there = await threads.run(Pool.WORK, self._store.has_many, fetch.cids)
            self._engine.on_here(cid for cid, here in zip(fetch.cids, there, strict=True) if here)
            wanted = [cid for cid, here in zip(fetch.cids, there, strict=True) if not here]
            if not wanted:
                return
            self._ahead = frozenset(wanted)
            self._scope, self._active = scope, trio.current_time()
            self._adjust()
            with trio.move_on_after(PREFETCH_FETCH_SECONDS), scope:
                async with aclosing(session.fetch_many(wanted, size_hint=fetch.size_hint)) as blocks:
                    async for block in blocks:
                        size += memoryview(block.data).nbytes
                        self._engine.on_fetched(block.cid, memoryview(block.data).nbytes, trio.current_time())
        except IPFSKitError as error:
            logger.debug("not fetched ahead: %s", error)
        finally:
            self._scope, self._ahead = None, frozenset()
            self._engine.on_done(fetch.cids, size, trio.current_time() - begun)
        if scope.cancelled_caught:
            self._engine.on_pressure()

    def __repr__(self) -> str:
        return f"<Prefetching {self._engine!r}, {len(self._waits)} readers wait>"
