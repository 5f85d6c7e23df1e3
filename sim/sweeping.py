"""One server that provides very many keys, region by region, by the sweep's engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ipfs_kit_py.core.config import KAD_K
from ipfs_kit_py.routing.keys import kad_key
from ipfs_kit_py.routing.sweep import Explore, Sweep
from ipfs_kit_py.routing.sweep_keys import KeyBins
from sim.content import Results, search, tell_seconds

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from ipfs_kit_py.routing.lookup import Done
    from ipfs_kit_py.routing.sweep import Tell
    from sim.node import Node
    from sim.walk import Walk

EPOCH = 1_790_000_000.0  # what the sweep takes the simulation's begin for
KEPT = 500  # keys whose records are stored and looked for: 2,000,000 records would be 1 GB
_PAUSE = 0.001


@dataclass(slots=True)
class Sweeping:
    """What one pass over all keys cost, in ``seconds``. ``batches``: messages with keys, several to a peer
    where these are many. ``held``: of the 20 truly closest that were told of a key, on average over the kept ones."""

    keys: int
    lookups: int = 0
    lookup_messages: int = 0
    batches: int = 0
    failed: int = 0
    seconds: float = 0.0
    done: bool = False
    held: float = 0.0
    results: Results = field(default_factory=Results)


class Sweeper:
    """Drives a ``Sweep`` from a node that stays online, until all has been told once: all of it is due at the begin, so
    that this takes as long as it must. Afterwards turns are spread over 22 h, which costs the same."""

    def __init__(self, node: Node, count: int, rng: random.Random) -> None:
        self.node, self.rng = node, rng
        self.clock = node.world.clock
        self.began = self.clock.now
        self.sweep = Sweep(node.me)
        keys = [b"\x12\x20" + rng.randbytes(32) for _ in range(count)]
        self.kept = keys[:KEPT]
        self.result = Sweeping(count)
        self._wake = float("inf")
        self._flying = 0  # lookups and messages under way
        self._told: dict[bytes, set[bytes]] = {key: set() for key in self.kept}
        bins = KeyBins()
        bins.update(keys)
        self.sweep.begin_sync()
        self.sweep.end_sync(bins, (), self._now())
        self._pump()

    def _now(self) -> float:
        return EPOCH + self.clock.now

    def _pump(self) -> None:
        while not self.result.done and (action := self.sweep.next_action(self._now())) is not None:
            self._flying += 1
            if isinstance(action, Explore):
                self._explore(action)
            else:
                self._tell(action)
        self._watch_end()
        deadline = None if self.result.done else self.sweep.deadline()
        if deadline is not None and deadline - EPOCH < self._wake:
            self._wake = max(deadline - EPOCH, self.clock.now + _PAUSE)
            self.clock.at(self._wake, self._on_timer)

    def _on_timer(self) -> None:
        if self.clock.now >= self._wake:
            self._wake = float("inf")
            self._pump()

    def _explore(self, action: Explore) -> None:
        def on_done(done: Done | None, walk: Walk) -> None:
            self._flying -= 1
            self.result.lookups += 1
            self.result.lookup_messages += walk.messages
            if done is None:
                self.sweep.on_failed(action, self._now())
            else:
                self.sweep.on_explored(action, done.closest, self._now())
            self._pump()

        self.node.closest(kad_key(action.multihash), on_done)

    def _tell(self, action: Tell) -> None:
        def arrive() -> None:
            self._flying -= 1
            kept = [key for key in action.multihashes if key in self._told]
            told = self.node.world.tell(action.info, kept, self.node.info)
            if told:
                for key in kept:
                    self._told[key].add(action.peer.raw)
                self.sweep.on_told(action, self._now())
            else:
                self.sweep.on_failed(action, self._now())
            self.result.batches += 1
            self.result.failed += not told
            self._pump()

        self.clock.after(tell_seconds(self.node, action.info, len(action.multihashes)), arrive)

    def _watch_end(self) -> None:
        """When all keys have been told of once, see who has them."""
        if self._flying or self.result.done or self.sweep.statistics(self._now()).total.keys < self.result.keys:
            return
        self.result.done = True
        self.node.retire()  # its records stay; from now on it is one that nobody measures
        self.result.seconds = self.clock.now - self.began
        people = self.node.world.people
        shares = []
        for key, told in self._told.items():
            near = [people.infos[number].peer.raw for number in people.closest(kad_key(key), KAD_K + 1)]
            near = [raw for raw in near if raw != self.node.me.raw][:KAD_K]
            shares.append(sum(raw in told for raw in near))
        self.result.held = sum(shares) / len(shares)

    def find(self, nodes: Sequence[Node]) -> None:
        """Another node looks for one of the kept keys."""
        finder = self.rng.choice([node for node in nodes if node.up and node is not self.node])
        search(finder, self.rng.choice(self.kept), self.node.me, self.clock.now, self.result.results)
