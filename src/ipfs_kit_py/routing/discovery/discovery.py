"""Discovery: layers look for peers as the schedule says, and those that they tell of are connected to."""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import trio

from ipfs_kit_py.core.config import (
    DISCOVERY_DIALS,
    DISCOVERY_PENDING,
    DISCOVERY_REMEMBERED,
    DISCOVERY_ROUND_SECONDS,
)
from ipfs_kit_py.core.errors import IPFSKitError, NotRunning
from ipfs_kit_py.routing.discovery.layers import Layers, LayerStatistics

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from trio import TaskStatus

    from ipfs_kit_py.core.interfaces import Network
    from ipfs_kit_py.routing.discovery.found import Found

logger = logging.getLogger(__name__)


class Layer(Protocol):
    """One way to find peers. ``local`` peers are connected to even when there are enough others; ``retry``: seconds
    until one that was dialled is dialled again."""

    @property
    def name(self) -> str: ...
    @property
    def local(self) -> bool: ...
    @property
    def retry(self) -> float: ...

    async def serve(self, report: Callable[[Found], None]) -> None:
        """What the layer does all the time, until cancelled."""
        ...

    async def round(self, report: Callable[[Found], None]) -> None:
        """Look for peers once. Raises ``IPFSKitError`` or ``OSError`` where it cannot."""
        ...

    def seek(self, rendezvous: str) -> None:
        """Look with the next round for those who look for the same."""
        ...


@dataclass(frozen=True)
class DiscoveryStatistics:
    """``pending`` peers wait for a connection; ``dropped`` were pushed out of that queue by newer ones."""

    layers: tuple[LayerStatistics, ...]
    pending: int
    dialling: int
    dropped: int


class Discovery:
    """The service. ``interval``: seconds between two rounds of a layer; ``enough``: connections from which on only
    local peers are still dialled."""

    def __init__(self, network: Network, layers: Sequence[Layer], rng: Random, *, interval: float, enough: int) -> None:
        self._network = network
        self._by_name = {layer.name: layer for layer in layers}
        self._enough = enough
        self._rng = rng
        self._interval = interval
        self._layers = Layers(list(self._by_name), interval, rng, 0.0)
        self._off: set[str] = set()
        self._serving: dict[str, trio.CancelScope] = {}
        self._nursery: trio.Nursery | None = None
        self._wake = trio.Event()
        self._pending: dict[str, OrderedDict[bytes, Found]] = {name: OrderedDict() for name in self._by_name}
        self._tried: OrderedDict[bytes, float] = OrderedDict()
        self._dialling = 0
        self._dropped = 0

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for name in self._by_name:
                if name not in self._off:
                    nursery.start_soon(self._serve, name)
            task_status.started()
            try:
                while True:
                    await self._step(nursery)
            finally:
                self._nursery = None

    def start_discovery(self, rendezvous: str = "") -> None:
        """Have all layers that are on look now. With a ``rendezvous`` those that can look for who seeks the same.
        Raises ``NotRunning``."""
        if self._nursery is None:
            raise NotRunning("discovery is not running")
        for layer in self._by_name.values():
            if rendezvous:
                layer.seek(rendezvous)
        self._layers.hurry(trio.current_time())
        self._wake.set()

    def switch(self, name: str, on: bool) -> None:
        """Switch one layer on or off. ``KeyError`` where there is none of that name."""
        self._layers.switch(name, on, 0.0 if self._nursery is None else trio.current_time())
        if on and name in self._off:
            self._off.discard(name)
            if self._nursery is not None:
                self._nursery.start_soon(self._serve, name)
        elif not on:
            self._off.add(name)
            if name in self._serving:
                self._serving.pop(name).cancel()
            self._pending[name].clear()
        self._wake.set()

    def statistics(self) -> DiscoveryStatistics:
        waiting = sum(map(len, self._pending.values()))
        return DiscoveryStatistics(self._layers.statistics(), waiting, self._dialling, self._dropped)

    # --- layers -------------------------------------------------------------------------------------------------------

    async def _step(self, nursery: trio.Nursery) -> None:
        now = trio.current_time()
        while (name := self._layers.next_action(now)) is not None:
            nursery.start_soon(self._round, name)
        while self._dialling < DISCOVERY_DIALS and (taken := self._take(now)) is not None:
            self._dialling += 1
            nursery.start_soon(self._dial, *taken)
        self._wake = trio.Event()
        deadline = self._layers.deadline()
        with trio.move_on_at(float("inf") if deadline is None else max(deadline, now)):
            await self._wake.wait()

    async def _serve(self, name: str) -> None:
        with trio.CancelScope() as scope:
            self._serving[name] = scope
            await self._by_name[name].serve(lambda found: self._on_found(name, found))

    async def _round(self, name: str) -> None:
        failed = True
        with trio.move_on_after(DISCOVERY_ROUND_SECONDS):
            try:
                await self._by_name[name].round(lambda found: self._on_found(name, found))
                failed = False
            except (IPFSKitError, OSError) as error:
                logger.info("discovery by %s: %s", name, error)
        self._layers.on_round(name, trio.current_time(), failed=failed)
        self._wake.set()

    # --- peers --------------------------------------------------------------------------------------------------------

    def _on_found(self, name: str, found: Found) -> None:
        if name in self._off or found.peer == self._network.peer_id:
            return
        self._layers.on_found(name)
        queue = self._pending[name]
        queue[found.peer.raw] = found
        if len(queue) > DISCOVERY_PENDING // len(self._pending):
            queue.popitem(last=False)
            self._dropped += 1
        self._wake.set()

    def _take(self, now: float) -> tuple[str, Found] | None:
        """The next peer to dial; layers take turns, so that the flood of one does not hold up another."""
        connected = self._network.connected()
        for name in list(self._pending):
            queue = self._pending[name]
            while queue:
                raw, found = queue.popitem(last=False)
                wanted = self._by_name[name].local or len(connected) + self._dialling < self._enough
                lately = now - self._tried.get(raw, float("-inf")) < self._by_name[name].retry
                if wanted and not lately and found.peer not in connected:
                    self._pending[name] = self._pending.pop(name)  # to the end of the row
                    return name, found
        return None

    async def _dial(self, name: str, found: Found) -> None:
        self._tried[found.peer.raw] = trio.current_time()
        self._tried.move_to_end(found.peer.raw)
        if len(self._tried) > DISCOVERY_REMEMBERED:
            self._tried.popitem(last=False)
        try:
            await self._network.connect(found.peer, found.addresses)
            self._layers.on_reached(name, trio.current_time())
        except IPFSKitError as error:
            logger.debug("a peer that %s told of: %s", name, error)
        finally:
            self._dialling -= 1
            self._wake.set()
