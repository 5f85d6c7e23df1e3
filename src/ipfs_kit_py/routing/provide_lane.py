"""One DHT that is told what we have: the engine of ``sweep`` driven over it, and single keys in a hurry."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

import trio

from ipfs_kit_py.core.config import (
    PROVIDE_CONNECTIONS,
    PROVIDE_LOOKUP_SECONDS,
    PROVIDE_NOW_SECONDS,
    PROVIDE_PEERLESS_SECONDS,
    PROVIDE_TELL_SECONDS,
    PROVIDE_WATCH_SECONDS,
)
from ipfs_kit_py.core.errors import IPFSKitError
from ipfs_kit_py.routing.keys import kad_key
from ipfs_kit_py.routing.optimistic import Optimistic
from ipfs_kit_py.routing.sweep import Explore, Tell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ipfs_kit_py.routing.kad_wire import PeerInfo
    from ipfs_kit_py.routing.sweep import Sweep

logger = logging.getLogger(__name__)


class Announcer(Protocol):
    """What is needed of a DHT."""

    @property
    def peers(self) -> int:
        """How many it knows."""
        ...

    async def closest_peers(
        self, key: bytes, *, answered: Callable[[PeerInfo], None] | None = None
    ) -> Sequence[PeerInfo]:
        """The peers closest to a key. ``PeerUnreachable`` where nobody answers. ``answered`` is called with each peer
        that answers on the way."""
        ...

    async def add_providers_to(self, peers: Iterable[PeerInfo], multihashes: Sequence[bytes]) -> int:
        """Tell peers that we have these; how many of them took it."""
        ...


class Lane:
    """``run`` it once the keys are in its ``sweep``. ``clock`` gives seconds since 1970."""

    def __init__(self, name: str, dht: Announcer, sweep: Sweep, clock: Callable[[], float]) -> None:
        self.name, self.sweep = name, sweep
        self._dht, self._clock = dht, clock
        self._news = trio.Event()
        self._connections = trio.CapacityLimiter(PROVIDE_CONNECTIONS)

    def __repr__(self) -> str:
        return f"<Lane {self.name}: {self.sweep!r}>"

    def wake(self) -> None:
        """There is something to do, perhaps."""
        self._news.set()

    # --- the sweep ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Tell what is due, until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                if not self._dht.peers:
                    await self._wait_for_peers()
                self._news = trio.Event()
                while (action := self.sweep.next_action(self._clock())) is not None:
                    nursery.start_soon(self._perform, action)
                with trio.move_on_after(self._pause()):
                    await self._news.wait()

    @property
    def alone(self) -> bool:
        """Whether there is nobody to tell."""
        return not self._dht.peers

    async def _wait_for_peers(self) -> None:
        while self.alone:
            self._news = trio.Event()
            with trio.move_on_after(PROVIDE_PEERLESS_SECONDS):
                await self._news.wait()
        self.sweep.on_online(self._clock())

    def _pause(self) -> float:
        """Until the next deadline, but not for long: the machine may sleep, and the loop's clock with it."""
        deadline = self.sweep.deadline()
        wait = PROVIDE_WATCH_SECONDS if deadline is None else deadline - self._clock()
        return min(max(wait, 0.001), PROVIDE_WATCH_SECONDS)

    async def _perform(self, action: Explore | Tell) -> None:
        closest: Sequence[PeerInfo] = ()
        told = 0
        try:
            if isinstance(action, Explore):
                with trio.move_on_after(PROVIDE_LOOKUP_SECONDS):
                    closest = await self._dht.closest_peers(action.multihash)
            else:
                async with self._connections:
                    told = await self._tell(action.info, action.multihashes)
        except IPFSKitError as error:
            logger.debug("%s DHT: %s", self.name, error)
        now = self._clock()
        if isinstance(action, Explore):
            self.sweep.on_explored(action, closest, now)
        elif told:
            self.sweep.on_told(action, now)
        else:
            self.sweep.on_failed(action, now)
        self._news.set()

    async def _tell(self, info: PeerInfo, multihashes: Sequence[bytes]) -> int:
        with trio.move_on_after(PROVIDE_TELL_SECONDS):
            return await self._dht.add_providers_to([info], multihashes)
        return 0

    # --- in a hurry ---------------------------------------------------------------------------------------------------

    async def provide_now(self, multihash: bytes, background: trio.Nursery) -> int:
        """Tell of one key by a lookup of its own. Returns how many peers know as soon as these are enough; the others
        are told in ``background``. Cancelled before that, nobody else is told."""
        engine = Optimistic(kad_key(multihash), self.sweep.size.estimate(self._clock()), k=self.sweep.k)
        news, scope = trio.Event(), trio.CancelScope()

        def changed() -> None:
            nonlocal news
            news.set()
            news = trio.Event()

        background.start_soon(self._hurry, engine, multihash, scope, changed)
        try:
            while not engine.enough:
                await news.wait()
        except trio.Cancelled:
            scope.cancel()
            raise
        return engine.told

    async def _hurry(
        self, engine: Optimistic, multihash: bytes, scope: trio.CancelScope, changed: Callable[[], None]
    ) -> None:
        async def tell(info: PeerInfo) -> None:
            told = False
            try:
                told = await self._tell(info, [multihash]) > 0
            except IPFSKitError as error:
                logger.debug("%s DHT: %s", self.name, error)
            engine.on_stored(info.peer) if told else engine.on_failed(info.peer)
            changed()

        def go_on() -> None:
            while (store := engine.next_action()) is not None:
                nursery.start_soon(tell, store.info)
            changed()

        def answered(info: PeerInfo) -> None:
            engine.on_answered(info)
            go_on()

        closest: Sequence[PeerInfo] = ()
        scope.deadline = trio.current_time() + PROVIDE_NOW_SECONDS
        try:
            with scope:
                async with trio.open_nursery() as nursery:
                    try:
                        closest = await self._dht.closest_peers(multihash, answered=answered)
                    except IPFSKitError as error:
                        logger.debug("%s DHT: %s", self.name, error)
                    else:
                        self._learn(multihash, closest)
                    engine.on_closest(closest)
                    go_on()
        finally:
            engine.give_up()
            changed()

    def _learn(self, multihash: bytes, closest: Sequence[PeerInfo]) -> None:
        keys = (kad_key(info.peer.raw) for info in closest)
        self.sweep.size.on_closest(kad_key(multihash), keys, self._clock())
