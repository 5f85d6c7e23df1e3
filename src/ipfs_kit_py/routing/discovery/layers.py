"""Which layer of discovery looks for peers next. Sans-I/O.

A layer is worth what it led to: peers that were reached, since telling of peers is free for anyone. One that leads to
none waits twice as long each time; one that does goes first, and sooner.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from ipfs_kit_py.core.config import DISCOVERY_FASTEST, DISCOVERY_PARALLEL, DISCOVERY_SLOWEST_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable

_MEMORY = 0.7  # of the old worth that stays after a round
_JITTER = (0.9, 1.1)


class Chance(Protocol):
    """As much of ``random.Random`` as is needed here."""

    def uniform(self, a: float, b: float) -> float: ...


@dataclass(frozen=True)
class LayerStatistics:
    """Of one layer: rounds, those of them that failed, peers told of and peers reached since the start; seconds
    between rounds now; ``worth`` in peers reached per round, lately."""

    name: str
    enabled: bool
    rounds: int
    failed: int
    found: int
    reached: int
    interval: float
    worth: float


@dataclass
class _Layer:
    name: str
    base: float
    due: float
    interval: float
    enabled: bool = True
    running: bool = False
    again: bool = False
    rounds: int = 0
    failed: int = 0
    found: int = 0
    reached: int = 0
    lately: int = 0
    worth: float = 0.0


@dataclass
class Layers:
    """The schedule. ``interval`` is the role's, in seconds between two rounds of a layer."""

    names: Iterable[str]
    interval: float
    rng: Chance
    now: float
    parallel: int = DISCOVERY_PARALLEL
    _layers: dict[str, _Layer] = field(init=False)

    def __post_init__(self) -> None:
        self._layers = {name: _Layer(name, self.interval, self.now, self.interval) for name in self.names}

    def next_action(self, now: float) -> str | None:
        """The layer that starts a round now, the one of most worth first; ``None`` while there is none."""
        if sum(layer.running for layer in self._layers.values()) >= self.parallel:
            return None
        ready = [item for item in self._layers.values() if item.enabled and not item.running and now >= item.due]
        if not ready:
            return None
        best = max(ready, key=lambda item: (item.worth, now - item.due))
        best.running = True
        return best.name

    def deadline(self) -> float | None:
        """When the next round is due, in seconds as ``now``; ``None`` while all wait for others."""
        if sum(layer.running for layer in self._layers.values()) >= self.parallel:
            return None
        return min((item.due for item in self._layers.values() if item.enabled and not item.running), default=None)

    def on_found(self, name: str) -> None:
        """A layer told of a peer."""
        self._layers[name].found += 1

    def on_reached(self, name: str, now: float) -> None:
        """A peer that a layer told of was connected to."""
        layer = self._layers[name]
        layer.reached += 1
        layer.lately += 1
        layer.interval = layer.base
        if not layer.running:
            layer.due = min(layer.due, now + self._jittered(layer.base))

    def on_round(self, name: str, now: float, *, failed: bool = False) -> None:
        """A layer's round ended."""
        layer = self._layers[name]
        layer.running = False
        layer.rounds += 1
        layer.failed += failed
        layer.worth = _MEMORY * layer.worth + (1 - _MEMORY) * layer.lately
        if layer.lately:
            layer.interval = layer.base * DISCOVERY_FASTEST
        else:
            layer.interval = min(2 * layer.interval, max(DISCOVERY_SLOWEST_SECONDS, layer.base))
        layer.lately = 0
        layer.due = now if layer.again else now + self._jittered(layer.interval)
        layer.again = False

    def switch(self, name: str, on: bool, now: float) -> None:
        """Switch a layer on, from when it is due at once, or off; a round that runs goes on to its end."""
        layer = self._layers[name]
        if on and not layer.enabled:
            layer.due, layer.interval = now, layer.base
        layer.enabled = on

    def hurry(self, now: float) -> None:
        """Make every layer due, after its round where one runs: somebody asked for peers."""
        for layer in self._layers.values():
            layer.due = min(layer.due, now)
            layer.again = layer.running

    def statistics(self) -> tuple[LayerStatistics, ...]:
        return tuple(
            LayerStatistics(
                item.name, item.enabled, item.rounds, item.failed, item.found, item.reached, item.interval, item.worth
            )
            for item in self._layers.values()
        )

    def _jittered(self, seconds: float) -> float:
        return seconds * self.rng.uniform(*_JITTER)
