"""One run: a network of one size, with measured nodes of one kind, over 22 h and the time before that it takes to
settle."""

from __future__ import annotations

import math
import random
import resource
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sim.clock import HOUR
from sim.content import Content, Results
from sim.health import Health
from sim.kinds import KINDS
from sim.node import Node
from sim.population import SESSION
from sim.sweeping import KEPT, Sweeper
from sim.world import World

if TYPE_CHECKING:
    from collections.abc import Callable

    from sim.kinds import Kind
    from sim.sweeping import Sweeping

CYCLE = 22 * HOUR
SETTLE = 1.5 * HOUR  # before anything is measured
PROVIDING = 1 * HOUR  # in which all is provided, one key after another


@dataclass(frozen=True)
class Plan:
    """``size`` servers online; ``servers`` and ``clients`` are measured; so many ``keys`` are provided by them, and so
    many ``finds`` made in the ``cycle`` after that. Times in seconds."""

    size: int
    kind: str = "ours"
    servers: int = 24
    clients: int = 12
    keys: int = 600
    finds: int = 3000
    settle: float = SETTLE
    providing: float = PROVIDING
    cycle: float = CYCLE
    seed: int = 1
    sweep: int = 0  # keys that one more server provides by the sweep


@dataclass
class Outcome:
    """What a run has shown. ``seconds`` of the processor and ``megabytes`` are the simulation's own."""

    plan: Plan
    results: Results
    health: Health
    identities: int = 0
    online: int = 0
    refreshes: int = 0
    checks: int = 0
    messages: int = 0
    seconds: float = 0.0
    megabytes: float = 0.0
    sweeping: Sweeping | None = None


def run(plan: Plan, say: Callable[[str], None] = lambda _text: None) -> Outcome:
    """Simulate a plan. ``say`` is told how far it is."""
    began, busy = time.monotonic(), time.process_time()
    provided = plan.settle + plan.providing
    world = World(plan.size, (provided + plan.cycle) / HOUR, plan.seed)
    people, rng, clock = world.people, world.rng, world.clock
    kind = KINDS[plan.kind]
    honest = [number for number in range(len(people.keys)) if not people.liar[number] and people.up[number]]
    chosen = random.Random(f"who is measured {plan.seed}")  # the same for each kind
    nodes = [Node(world, kind, number, chosen) for number in chosen.sample(honest, plan.servers)]
    everybody = list(nodes)
    for _ in range(plan.clients):
        _client(world, kind, chosen, nodes, everybody)
    content = Content(nodes, rng)
    outcome = Outcome(plan, content.results, Health())

    def measure() -> None:
        outcome.health.measure(world, nodes, note=clock.now > plan.settle)
        clock.after(HOUR / 4, measure)
        say(f"{plan.kind} {plan.size}: {clock!r}, {len(content.results.finds)} found, {time.monotonic() - began:.0f} s")

    clock.at(60.0, measure)
    for _ in range(plan.keys):
        clock.at(plan.settle + rng.random() * plan.providing, content.provide)
    for _ in range(plan.finds):
        clock.at(provided + rng.random() * plan.cycle, content.find)
    if plan.sweep:
        _sweep(plan, world, nodes, rng.choice(sorted(set(honest) - set(world.servers))), outcome)
    clock.run(provided + plan.cycle + 60.0)
    counts = people.counts()
    outcome.identities, outcome.online = counts.identities, counts.online
    outcome.refreshes, outcome.checks = (
        sum(node.refreshes for node in everybody),
        sum(node.checks for node in everybody),
    )
    outcome.messages = world.messages
    outcome.seconds = time.process_time() - busy
    outcome.megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return outcome


def _client(world: World, kind: Kind, chosen: random.Random, nodes: list[Node], everybody: list[Node]) -> None:
    """One more client; when its session ends another somewhere else takes its place, which knows nobody yet."""
    node = Node(world, kind, None, chosen)
    nodes.append(node)
    everybody.append(node)

    def end() -> None:
        node.retire()
        nodes.remove(node)
        _client(world, kind, chosen, nodes, everybody)

    world.clock.after(chosen.expovariate(math.log(2) / SESSION), end)


def _sweep(plan: Plan, world: World, nodes: list[Node], number: int, outcome: Outcome) -> None:
    """One more server, which stays, begins to sweep when the network has settled."""
    world.people.always(number)
    node, clock = Node(world, KINDS[plan.kind], number, world.rng), world.clock

    def begin() -> None:
        sweeper = Sweeper(node, plan.sweep, world.rng)
        outcome.sweeping = sweeper.result
        for _ in range(KEPT):
            clock.after(plan.providing + world.rng.random() * plan.cycle, lambda: sweeper.find(nodes))

    clock.at(plan.settle, begin)
