"""How good the measured nodes' tables are, read off now and then; the modelled ones are kept likewise."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ipfs_kit_py.core.config import KAD_K
from sim.latency import round_trip
from sim.population import SESSION, TOP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sim.latency import Place
    from sim.node import Node
    from sim.world import World

_LIFE = SESSION / math.log(2)
_MOST = 2 * KAD_K  # identities of a bucket up to which the missing are counted
_SAMPLE = 12
_FEW = 10.0  # peers of a bucket, over all measured tables, below which its figures say nothing


@dataclass(slots=True)
class Health:
    """Means over tables and times. ``live``: of those that a table names; ``missing``: of the 20 living that are the
    closest to the node; ``slower``: of a bucket's living the share that is faster than those in the table;
    ``modelled``: ``live`` of those that the modelled nodes name, as a check."""

    peers: list[int] = field(default_factory=list)
    live: list[float] = field(default_factory=list)
    missing: list[float] = field(default_factory=list)
    modelled: list[float] = field(default_factory=list)
    slower: list[float] = field(default_factory=list)

    def measure(self, world: World, nodes: Sequence[Node], *, note: bool) -> None:
        """Look at all tables; ``note`` the figures, and let the modelled nodes follow them in any case."""
        shares: dict[int, list[float]] = {}
        known: dict[int, list[float]] = {}
        for node in nodes:
            if node.up:
                self._one(world, node, shares, known, note=note)
        for bucket, (dead, total) in shares.items():
            if total >= _FEW:
                share = min(0.9, dead / total)
                world.manners.learn(bucket, delay=_LIFE * share / (1 - share))
        for bucket, (gone, total) in known.items():
            if total >= _FEW:
                world.manners.learn(bucket, missing=gone / total)
        if note:
            self._check_model(world)

    def _one(
        self, world: World, node: Node, shares: dict[int, list[float]], known: dict[int, list[float]], *, note: bool
    ) -> None:
        people, key = world.people, node.key
        named = node.table.nearest(key, 1 << 20)
        numbers = {people.index[info.peer.raw] for info in named}
        live = sum(people.up[number] for number in numbers)
        near = [number for number in people.closest(key, KAD_K + 1) if number != node.number][:KAD_K]
        if note:
            self.peers.append(len(numbers))
            self.live.append(live / max(1, len(numbers)))
            self.missing.append(sum(number not in numbers for number in near) / len(near))
        top = key >> (256 - TOP)
        buckets: dict[int, list[int]] = {}
        for number in numbers:
            buckets.setdefault(TOP - (people.tops[number] ^ top).bit_length(), []).append(number)
        for bucket, members in buckets.items():
            row = shares.setdefault(bucket, [0.0, 0.0])
            row[0] += sum(not people.up[number] for number in members)
            row[1] += len(members)
        for bucket in range(TOP):
            low, high = people.span(top ^ (1 << (TOP - 1 - bucket)), bucket + 1)
            if low == high:
                if bucket > 20:
                    break
                continue
            if high - low > _MOST:
                self._speed(world, node, buckets.get(bucket, []), low, high)
                continue
            living = [number for number in range(low, high) if people.up[number] and number != node.number]
            if len(living) <= KAD_K:
                row = known.setdefault(bucket, [0.0, 0.0])
                row[0] += sum(number not in numbers for number in living)
                row[1] += len(living)

    def _speed(self, world: World, node: Node, members: list[int], low: int, high: int) -> None:
        """How many of a bucket's living are faster than those in the table."""
        if members:
            share = faster(world, node.place, members, low, high)
            world.manners.learn_choice(share)
            self.slower.append(share)

    def _check_model(self, world: World) -> None:
        people, rng = world.people, world.rng
        for _ in range(20):
            number = int(rng.random() * len(people.keys))
            if not people.up[number] or number in world.servers:
                continue
            row = world.background.nearest(number, rng.getrandbits(TOP), KAD_K)
            if row:
                self.modelled.append(sum(people.up[other] for other in row) / len(row))


def faster(world: World, place: Place, members: list[int], low: int, high: int) -> float:
    """The share of a range's living that are nearer to a place than the members are."""
    people, rng = world.people, world.rng
    sample = [low + int(rng.random() * (high - low)) for _ in range(_SAMPLE)]
    others = [round_trip(place, people.places[number]) for number in sample if people.up[number]]
    mine = [round_trip(place, people.places[number]) for number in members]
    if not others:
        return 0.5
    return sum(other < own for other in others for own in mine) / (len(others) * len(mine))
