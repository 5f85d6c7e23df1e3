"""What the simulated network is made of."""

from __future__ import annotations

import random
from statistics import fmean

import pytest

from ipfs_kit_py.core.config import KAD_K
from ipfs_kit_py.routing.kbuckets import Table
from ipfs_kit_py.routing.keys import kad_key
from sim.clock import HOUR, Clock
from sim.latency import KING_MEDIAN, exchange, place, round_trip
from sim.plain import PlainLookup, PlainTable
from sim.population import LIARS, TOP, Population
from sim.world import COLLUDES, INVENTS, POISONS, World
from test.engine.kad_world import World as SmallWorld


def test_round_trips_are_spread_as_measured_ones() -> None:
    rng = random.Random(1)
    hosts = [place(rng) for _ in range(1000)]
    times = sorted(round_trip(rng.choice(hosts), rng.choice(hosts)) for _ in range(5000))
    assert times[2500] == pytest.approx(KING_MEDIAN, rel=0.1)
    assert 0.03 < times[500] < 0.08
    assert 0.22 < times[4500] < 0.40
    a, b = hosts[:2]
    assert fmean(exchange(a, b, rng) for _ in range(500)) == pytest.approx(round_trip(a, b) + b.busy, rel=0.1)


def test_nodes_come_and_leave_and_most_return() -> None:
    clock = Clock()
    people = Population(200, 40.0, clock, random.Random(2))
    online, sessions, returns = [], list[float](), 0
    began: dict[int, float] = {}

    class Seen:
        def on_change(self, number: int, up: bool) -> None:
            nonlocal returns
            if up:
                returns += number in began
                began[number] = clock.now
            elif began.get(number, 1e9) < 20 * HOUR:  # of the later ones the long have no end yet
                sessions.append(clock.now - began[number])

    for number in range(len(people.keys)):
        people.watch(number, Seen())
    for hour in range(40):
        clock.run(hour * HOUR)
        online.append(people.counts().online)
    assert fmean(online) == pytest.approx(200, rel=0.08)
    assert sorted(sessions)[len(sessions) // 2] == pytest.approx(2 * HOUR, rel=0.2)
    assert returns > 300
    assert people.counts().liars == pytest.approx(LIARS * people.counts().identities, rel=0.01)


def test_the_truly_closest_are_those_of_a_full_scan() -> None:
    people = Population(300, 1.0, Clock(), random.Random(3))
    rng = random.Random(4)
    for _ in range(20):
        key = rng.getrandbits(256)
        online = [number for number in range(len(people.keys)) if people.up[number]]
        assert people.closest(key, 20) == sorted(online, key=lambda number: people.keys[number] ^ key)[:20]


def test_a_modelled_node_answers_as_a_table_with_the_same_peers() -> None:
    world = World(400, 2.0, 5)
    rng, people = random.Random(6), world.people
    for number in rng.sample(range(len(people.keys)), 10):
        known = world.background.nearest(number, people.tops[number], 10_000)
        table = Table(people.infos[number].peer, rng=rng, lan=True)
        for other in known:
            table.on_seen(people.infos[other].peer, ("/ip4/10.0.0.1/tcp/1",), 0.0)
        assert len(table) == len(known)
        for _ in range(5):
            key = rng.getrandbits(256)
            named = [people.infos[other].peer for other in world.background.nearest(number, key >> (256 - TOP), KAD_K)]
            assert named == [info.peer for info in table.nearest(key, KAD_K)]


def test_modelled_nodes_forget_the_dead_and_prefer_the_fast_as_far_as_measured_ones_do() -> None:
    world = World(2000, 4.0, 7)
    people, rng = world.people, random.Random(8)
    world.manners.choice = 4.0

    def speed(choice: float) -> float:
        world.manners.choice = choice
        rows = []
        for number in rng.sample(range(len(people.keys)), 40):
            far = people.tops[number] ^ (1 << (TOP - 1))
            near = world.background.nearest(number, far, KAD_K)
            rows += [round_trip(people.places[number], people.places[other]) for other in near]
        return fmean(rows)

    assert speed(4.0) < 0.6 * speed(1.0)
    world.manners.delay = [0.0] * TOP
    world.clock.run(3 * HOUR)
    for number in rng.sample(range(len(people.keys)), 20):
        assert all(people.up[other] for other in world.background.nearest(number, rng.getrandbits(TOP), KAD_K))


@pytest.mark.parametrize("kind", [COLLUDES, INVENTS, POISONS])
def test_liars_name_nobody_who_helps(kind: int) -> None:
    world = World(1000, 1.0, 9)
    people = world.people
    number = next(n for n in range(len(people.keys)) if people.liar[n] == kind)
    key = random.Random(10).getrandbits(256)
    closer, _providers = world.answer(number, key, None)
    assert len(closer) == KAD_K
    if kind == COLLUDES:
        assert all(people.liar[people.index[info.peer.raw]] for info in closer)
    else:
        reached = [world.number_of(info) for info in closer]
        assert sum(one is not None for one in reached) <= (1 if kind == POISONS else 0)
    if kind == INVENTS:
        best = min(people.keys[other] ^ key for other in people.closest(key, 1))
        assert fmean(kad_key(info.peer.raw) ^ key < best for info in closer[:4]) >= 0.5


def test_plain_kademlia_finds_the_closest() -> None:
    world = SmallWorld(300, 11)
    rights = []
    for _ in range(10):
        me, target = world.rng.choice(world.honest()), world.rng.getrandbits(256)
        table = PlainTable(me.info.peer, world.rng)
        for info in me.table.nearest(me.key, 200):
            table.on_seen(info.peer, info.addresses, 0.0)
        run = world.run(PlainLookup(target, table.nearest(target), me.info.peer), target)  # type: ignore[arg-type]
        want = [peer for peer in world.closest(target, 21) if peer != me.info.peer][:20]
        rights.append(len(set(want) & {info.peer for info in run.done.closest}))
    assert fmean(rights) >= 19.5


def test_a_plain_table_keeps_whom_it_knows_and_replaces_the_dead() -> None:
    world = SmallWorld(200, 12)
    me = world.honest()[0]
    table = PlainTable(me.info.peer, world.rng)
    others = [peer.info for peer in world.honest()[1:]]
    for info in others:
        table.on_seen(info.peer, info.addresses, 0.0)
    before = {info.peer for info in table.nearest(me.key, 1000)}
    assert table.next_action(1.0) is not None  # who was heard of longest ago is checked, since others wait
    gone = next(iter(table.nearest(me.key ^ (1 << 255), 1))).peer
    table.on_failed(gone, 2.0)
    after = {info.peer for info in table.nearest(me.key, 1000)}
    assert gone not in after
    assert len(after) == len(before)
