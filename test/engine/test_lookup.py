from __future__ import annotations

import math
import random
from functools import cache
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipfs_kit_py.core.config import (
    KAD_ASK_FIRST_SECONDS,
    KAD_ASK_MIN_SECONDS,
    KAD_ASK_SECONDS,
    KAD_GROUP_IN_LOOKUP,
    KAD_LOOKUP_ASKS,
    KAD_LOOKUP_BLAME,
    KAD_LOOKUP_CANDIDATES,
    KAD_MAX_CLOSER,
    KAD_NAMER_ADDRESSES,
    KAD_PATIENCE,
    KAD_STALE_SECONDS,
    KAD_TABLE_ADDRESSES,
)
from ipfs_kit_py.routing import lookup as lookups
from ipfs_kit_py.routing.kad_wire import PeerInfo
from ipfs_kit_py.routing.kbuckets import Table
from ipfs_kit_py.routing.keys import kad_key
from ipfs_kit_py.routing.lookup import Ask, Done, Lookup
from test.engine.kad_world import Peer, Run, World, near_to, peer_id, public_address

SIZE = 300
SEEDS = st.integers(0, 1 << 30)


@cache
def world(kind: str = "honest", share: float = 0.0) -> World:
    found = World(SIZE, 1)
    found.spoil(kind, share)
    return found


def walk(found: World, seed: int, *, paths: int = 1, patience: float = math.inf) -> tuple[Run, Peer, int]:
    """One lookup of a random peer for a random target; all that is random hangs on the seed."""
    rng = random.Random(seed)
    me, target = rng.choice(found.honest()), rng.getrandbits(256)
    seeds, quick = found.seeds(me, target), me.table.latency
    lookup = Lookup(target, seeds, me=me.info.peer, latency=quick, paths=paths, patience=patience)
    return found.run(lookup, target), me, target


def right(found: World, run: Run, me: Peer, target: int) -> int:
    """How many of the true closest 20 were found."""
    want = [peer for peer in found.closest(target, 21) if peer != me.info.peer][:20]
    return len(set(want) & {info.peer for info in run.done.closest})


def asks(lookup: Lookup, now: float) -> list[Ask]:
    rows = []
    while isinstance(action := lookup.next_action(now), Ask):
        rows.append(action)
    return rows


def infos(count: int, seed: int) -> list[PeerInfo]:
    rng = random.Random(seed)
    return [PeerInfo(peer_id(rng), (public_address(rng),)) for _ in range(count)]


# --- networks ---------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_a_lookup_ends_at_the_closest_peers(seed: int) -> None:
    run, me, target = walk(world(), seed)
    assert run.done.complete
    assert right(world(), run, me, target) >= 19
    distances = [kad_key(info.peer.raw) ^ target for info in run.done.closest]
    assert distances == sorted(distances)
    assert me.info.peer not in run.asked
    assert len(set(run.asked)) == len(run.asked)


def test_messages_and_hops_are_few() -> None:
    runs = [walk(world(), seed) for seed in range(40)]
    figures = [run.lookup.statistics() for run, _me, _target in runs]
    assert mean(right(world(), *row) for row in runs) >= 19.8
    assert mean(row.asked for row in figures) <= 35
    assert mean(row.hops for row in figures) <= 2.5
    for run, figure in zip(runs, figures, strict=True):
        assert figure.asked == run[0].messages
        assert figure.seconds == pytest.approx(run[0].seconds)
        assert max(run[0].lookup.hops_to(info.peer) for info in run[0].done.closest) == figure.hops


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_peers_that_died_just_now_cost_little(share: float) -> None:
    """Each table still names the dead among its 20."""
    found = world("dead", share)
    rows = [walk(found, seed) for seed in range(25)]
    assert mean(right(found, *row) for row in rows) >= 19.5
    assert min(right(found, *row) for row in rows) >= 18
    assert mean(run.messages for run, _me, _target in rows) <= 35 / (1 - share)
    for run, _me, _target in rows:
        assert all(found.peers[info.peer].kind != "dead" for info in run.done.closest)


def test_peers_that_died_some_time_ago_cost_nothing() -> None:
    found = World(SIZE, 2)
    found.spoil("dead", 0.3)
    found.tend(KAD_STALE_SECONDS + 1)
    rows = [walk(found, seed) for seed in range(25)]
    assert mean(right(found, *row) for row in rows) >= 19.8
    assert mean(run.messages for run, _me, _target in rows) <= 35


@pytest.mark.parametrize(("share", "most"), [(0.1, 70), (0.3, 110)])
@settings(max_examples=4, deadline=None)
@given(seed=SEEDS)
def test_liars_who_name_peers_that_do_not_exist_are_found_out(share: float, most: int, seed: int) -> None:
    found = world("liar", share)
    run, me, target = walk(found, seed)
    assert run.done.complete
    assert right(found, run, me, target) >= 19
    assert all(info.peer in found.peers for info in run.done.closest)
    assert run.messages <= most


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_a_lookup_need_not_wait_for_the_slowest(share: float) -> None:
    found = world("dead", share)
    exact = [walk(found, seed) for seed in range(25)]
    usual = [walk(found, seed, patience=KAD_PATIENCE) for seed in range(25)]
    assert mean(run.seconds for run, _me, _target in usual) <= 0.85 * mean(run.seconds for run, _me, _target in exact)
    assert mean(right(found, *row) for row in usual) >= 18.5
    for run, _me, _target in usual:
        assert run.done.complete
        assert len(run.done.closest) == 20
        assert all(found.peers[info.peer].kind != "dead" for info in run.done.closest)


def test_disjoint_paths_find_the_same_with_more_messages() -> None:
    one = [walk(world(), seed) for seed in range(15)]
    three = [walk(world(), seed, paths=3) for seed in range(15)]
    assert mean(right(world(), *row) for row in three) >= 19
    assert mean(row[0].messages for row in one) <= mean(row[0].messages for row in three) <= 120
    for run, _me, _target in three:
        assert len(run.done.by_path) == 3
        assert len(set(run.asked)) == len(run.asked)


def test_peers_that_come_and_go_under_way() -> None:
    for seed in range(8):
        found, rng = World(SIZE, 100 + seed, know=80), random.Random(seed)
        me, target = rng.choice(found.honest()), rng.getrandbits(256)
        lookup = Lookup(target, found.seeds(me, target), me=me.info.peer)

        def churn(peer: Peer, key: int, found: World = found, rng: random.Random = rng) -> list[PeerInfo]:
            gone = rng.choice(found.honest())
            if gone is not peer:
                gone.kind = "dead"
            return World.answer(found, peer, key)

        found.answer = churn  # type: ignore[method-assign]
        run = found.run(lookup, target)
        assert len(found.honest()) <= SIZE - 20
        assert right(found, run, me, target) >= 15
        assert run.seconds < 30


def test_slow_peers_are_waited_for_but_others_are_asked_meanwhile() -> None:
    found = World(SIZE, 5)
    for peer in found.rng.sample(list(found.peers.values()), 60):
        peer.slow = 8 * KAD_ASK_SECONDS
    runs = [walk(found, seed)[0] for seed in range(10)]
    assert mean(run.seconds for run in runs) < KAD_ASK_SECONDS
    assert all(run.done.complete for run in runs)


# --- attacks ----------------------------------------------------------------------------------------------------------


def surround(found: World, target: int, *, networks: int, count: int = 60) -> set[object]:
    """Sybils nearer to a key than any honest peer, in a few networks, known to its neighbours; they name each other."""
    sybils: list[Peer] = []
    for number in range(count):
        peer = near_to(target, 12, found.rng)
        info = PeerInfo(peer, (f"/ip4/45.{number % networks}.1.{number + 1}/tcp/4001",))
        sybils.append(Peer(info, kad_key(peer.raw), 0.01, Table(peer, rng=found.rng), "sybil"))
    near = sorted(found.peers.values(), key=lambda peer: peer.key ^ target)
    honest = found.answer
    for peer in sybils:
        found.peers[peer.info.peer] = peer
        for neighbour in near[:40]:
            neighbour.table.on_seen(peer.info.peer, peer.info.addresses, 1.0, latency=0.01)
    company = sorted((peer.info for peer in sybils), key=lambda info: kad_key(info.peer.raw) ^ target)[:20]
    found.answer = lambda peer, key: company if peer.kind == "sybil" else honest(peer, key)  # type: ignore[method-assign]
    return {peer.info.peer for peer in sybils}


@pytest.mark.parametrize("networks", [1, 2])
def test_a_key_is_not_surrounded_from_few_networks(networks: int) -> None:
    found, target = World(SIZE, 7), random.Random(7).getrandbits(256)
    true = found.closest(target, 20)
    sybils = surround(found, target, networks=networks)
    me = found.honest()[0]
    lookup = Lookup(target, found.seeds(me, target), patience=math.inf)
    closest = [info.peer for info in found.run(lookup, target).done.closest]
    room = 20 - networks * KAD_GROUP_IN_LOOKUP
    assert len([peer for peer in closest if peer in sybils]) <= networks * KAD_GROUP_IN_LOOKUP
    assert set(true[: room - 1]) <= set(closest)


def test_ten_thousand_poisoned_addresses_are_bounded_and_found_out() -> None:
    rng, target = random.Random(3), 0
    seeds, lookup, now, asked = infos(20, 4), None, 0.0, 0
    lookup = Lookup(target, seeds)
    names = {info.peer for info in seeds}
    told = 0
    while not isinstance(action := lookup.next_action(now), Done):
        if action is None:
            deadline = lookup.deadline()
            assert deadline is not None
            lookup.on_timeout(now := max(now, deadline))
            continue
        asked += 1
        if action.peer in names:
            texts = tuple(f"/ip4/{rng.randrange(1, 99)}.1.1.{n}/tcp/{n + 1}" for n in range(25))
            told += 25 * 20
            lookup.on_answer(action.peer, [PeerInfo(near_to(target, 4, rng), texts) for _ in range(20)], now)
        else:
            assert len(action.info.addresses) <= KAD_NAMER_ADDRESSES
    assert told == 10_000
    assert {info.peer for info in action.closest} == names
    assert asked <= 20 + 20 * KAD_LOOKUP_BLAME
    assert lookup.statistics().candidates <= 20 + 20 * 20
    assert now < 60.0


def test_endless_false_trails_end() -> None:
    """Liars who answer in the name of all whom they name: each answer brings 20 closer ones."""
    rng, lookup, now, asked = random.Random(5), Lookup(0, infos(3, 6), per_group=0), 0.0, 0
    while not isinstance(action := lookup.next_action(now), Done):
        assert action is not None
        asked += 1
        depth = min(250, 256 - kad_key(action.peer.raw).bit_length())
        many = [PeerInfo(near_to(0, min(9, depth + 1), rng), (public_address(rng),)) for _ in range(40)]
        lookup.on_answer(action.peer, many * 40, now := now + 0.01)
        assert lookup.statistics().candidates <= KAD_LOOKUP_CANDIDATES
    assert asked <= KAD_LOOKUP_ASKS
    assert len(action.closest) == 20
    assert lookup.statistics().ignored > 0


def test_what_a_lookup_remembers_and_asks_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups, "KAD_LOOKUP_CANDIDATES", 50)
    monkeypatch.setattr(lookups, "KAD_LOOKUP_ASKS", 30)
    rng, lookup, asked = random.Random(23), Lookup(0, infos(40, 24), per_group=0), 0
    while not isinstance(action := lookup.next_action(float(asked)), Done):
        assert action is not None
        asked += 1
        bits = min(12, asked // 2)
        named = [PeerInfo(near_to(0, bits, rng), (public_address(rng),)) for _ in range(20)]
        lookup.on_answer(action.peer, named, float(asked))
        assert lookup.statistics().candidates <= 50
    assert asked == 30
    assert not action.complete
    assert len(action.closest) == 20


def test_an_answer_counts_up_to_k_and_no_farther_than_useful() -> None:
    rng = random.Random(8)
    seeds = infos(20, 9)
    lookup = Lookup(0, seeds, per_group=0)
    asks(lookup, 0.0)
    many = [PeerInfo(peer_id(rng), (public_address(rng),)) for _ in range(KAD_MAX_CLOSER * 10)]
    first = min(seeds, key=lambda info: kad_key(info.peer.raw))
    lookup.on_answer(first.peer, many, 0.1)
    assert lookup.statistics().candidates == 20 + 20
    assert lookup.statistics().ignored == KAD_MAX_CLOSER - 20


def test_who_is_farther_than_k_that_have_answered_is_of_no_use() -> None:
    rng, seeds = random.Random(25), sorted(infos(5, 26), key=lambda info: kad_key(info.peer.raw))
    lookup = Lookup(0, seeds, k=4, per_group=0)
    assert [row.peer for row in asks(lookup, 0.0)] == [info.peer for info in seeds[:4]]
    lookup.on_timeout(1.0)  # one is slow, and the fifth asked in its place
    for info in seeds[1:4]:
        lookup.on_answer(info.peer, (), 1.0)
    assert [row.peer for row in asks(lookup, 1.0)] == [seeds[4].peer]
    lookup.on_answer(seeds[4].peer, (), 1.1)
    assert lookup.next_action(1.1) is None  # the slow one is closer than them all
    last = kad_key(seeds[4].peer.raw)
    others = [info for info in infos(60, 27) if kad_key(info.peer.raw) > last][:3]
    better = PeerInfo(near_to(0, 10, rng))
    lookup.on_answer(seeds[0].peer, [*others, better], 1.2)
    assert lookup.statistics().candidates == 6
    assert lookup.statistics().ignored == 3
    assert [row.peer for row in asks(lookup, 1.2)] == [better.peer]


# --- who is believed --------------------------------------------------------------------------------------------------


def test_only_who_answered_or_was_named_twice_is_in_a_result_that_was_cut_short() -> None:
    rng = random.Random(10)
    seeds = infos(2, 11)
    alone, twice = (PeerInfo(near_to(0, 6, rng), (public_address(rng),)) for _ in range(2))
    lookup = Lookup(0, seeds)
    assert {row.peer for row in asks(lookup, 0.0)} == {info.peer for info in seeds}
    lookup.on_answer(seeds[0].peer, [alone, twice], 0.1)
    lookup.on_answer(seeds[1].peer, [twice], 0.1)
    lookup.stop()
    done = lookup.next_action(0.2)
    assert isinstance(done, Done)
    assert not done.complete
    assert {info.peer for info in done.closest} == {seeds[0].peer, seeds[1].peer, twice.peer}
    assert lookup.next_action(9.0) is done


def test_a_namer_whose_names_do_not_answer_loses_its_credit_and_regains_it() -> None:
    rng, seeds = random.Random(12), infos(1, 13)
    lookup = Lookup(0, seeds)
    asks(lookup, 0.0)
    lookup.on_answer(seeds[0].peer, [PeerInfo(near_to(0, 6, rng), (public_address(rng),)) for _ in range(20)], 0.1)
    first = asks(lookup, 0.1)
    assert len(first) == KAD_LOOKUP_BLAME
    lookup.on_answer(first[0].peer, (), 0.2)
    assert len(asks(lookup, 0.2)) == 3  # its place, and two more for the one that was true
    for row in first[1:]:
        lookup.on_failure(row.peer, 0.3)
    assert not isinstance(lookup.next_action(0.3), Done)


def test_poisoned_addresses_do_not_hide_a_peer_whom_others_know() -> None:
    seeds, real = infos(2, 14), PeerInfo(near_to(0, 8, random.Random(15)), ("/ip4/44.4.4.4/tcp/4001",))
    false = PeerInfo(real.peer, tuple(f"/ip4/9.9.9.{n}/tcp/1" for n in range(50)))
    lookup = Lookup(0, seeds)
    asks(lookup, 0.0)
    lookup.on_answer(seeds[0].peer, [false], 0.1)
    (ask,) = asks(lookup, 0.1)
    assert ask.info.addresses == false.addresses[:KAD_NAMER_ADDRESSES]
    lookup.on_answer(seeds[1].peer, [real], 0.2)
    lookup.on_failure(real.peer, 0.3)
    (again,) = asks(lookup, 0.3)
    assert again.peer == real.peer
    assert real.addresses[0] in again.info.addresses
    assert len(again.info.addresses) <= KAD_TABLE_ADDRESSES
    lookup.on_failure(real.peer, 0.4)
    assert isinstance(lookup.next_action(0.4), Done)  # a second chance, not a third


def test_what_was_not_asked_for_is_ignored() -> None:
    seeds = infos(25, 16)
    lookup = Lookup(0, seeds)
    stranger, unasked = infos(1, 17)[0], max(seeds, key=lambda info: kad_key(info.peer.raw))
    asks(lookup, 0.0)
    lookup.on_answer(stranger.peer, infos(5, 18), 0.1)
    lookup.on_answer(unasked.peer, infos(5, 18), 0.1)
    lookup.on_failure(stranger.peer, 0.1)
    assert lookup.statistics().candidates == 25
    assert lookup.statistics().answered == lookup.statistics().failed == 0


# --- time -------------------------------------------------------------------------------------------------------------


def test_alpha_are_asked_at_once_and_more_when_they_are_slow() -> None:
    lookup = Lookup(0, infos(40, 19), alpha=4, per_group=0)
    assert len(asks(lookup, 0.0)) == 4
    deadline = lookup.deadline()
    assert deadline is not None
    assert deadline < KAD_ASK_FIRST_SECONDS
    lookup.on_timeout(deadline)
    assert lookup.statistics().failed == 0
    assert len(asks(lookup, deadline)) == 4
    for _ in range(9):
        lookup.on_timeout(deadline := deadline + 0.1)
        asks(lookup, deadline)
    assert lookup.statistics().asked <= 12


def test_the_wait_follows_how_fast_peers_are() -> None:
    lookup = Lookup(0, infos(60, 20), latency=lambda _peer: None, per_group=0)
    first = asks(lookup, 0.0)
    assert {row.timeout for row in first} == {KAD_ASK_FIRST_SECONDS}
    for row in first:
        lookup.on_answer(row.peer, (), 0.05)
    assert {row.timeout for row in asks(lookup, 0.05)} == {KAD_ASK_MIN_SECONDS}
    far = Lookup(0, infos(60, 20), latency=lambda _peer: 2.0)
    assert {row.timeout for row in asks(far, 0.0)} == {8.0}
    farther = Lookup(0, infos(60, 20), latency=lambda _peer: 9.0)
    assert {row.timeout for row in asks(farther, 0.0)} == {KAD_ASK_SECONDS}


def test_an_answer_that_comes_late_still_counts() -> None:
    seeds = infos(2, 21)
    lookup = Lookup(0, seeds)
    asks(lookup, 0.0)
    lookup.on_answer(seeds[1].peer, (), 0.1)
    lookup.on_failure(seeds[0].peer, 0.2)
    lookup.on_answer(seeds[0].peer, (), 0.3)
    done = lookup.next_action(0.3)
    assert isinstance(done, Done)
    assert {info.peer for info in done.closest} == {info.peer for info in seeds}
    assert lookup.statistics().failed == 0


def test_the_faster_of_equally_useful_peers_are_asked_first() -> None:
    seeds = infos(20, 22)
    near = sorted(seeds, key=lambda info: kad_key(info.peer.raw))
    fast = {info.peer for info in near[::2]}
    lookup = Lookup(0, seeds, alpha=5, latency=lambda peer: 0.01 if peer in fast else 3.0)
    assert {row.peer for row in asks(lookup, 0.0)} <= fast


def test_a_lookup_without_anybody_is_done_at_once() -> None:
    assert Lookup(0, ()).next_action(0.0) == Done((), complete=True)


class Checked(Lookup):
    """Compares what it remembers of the last action with a look at all candidates."""

    def _views_at(self, now: float) -> list[lookups._View]:
        kept = super()._views_at(now)
        fresh, until = [self._view(path, now) for path in range(self.paths)], self._fresh
        for old, new in zip(kept, fresh, strict=True):
            assert [row.info.peer for row in old.near] == [row.info.peer for row in new.near]
            assert [row.info.peer for row in old.held] == [row.info.peer for row in new.held]
        assert until > now
        return kept


@pytest.mark.parametrize("kind", ["dead", "liar"])
@pytest.mark.parametrize("paths", [1, 3])
def test_what_is_remembered_of_the_candidates_is_what_a_new_look_would_show(kind: str, paths: int) -> None:
    found = world(kind, 0.2)
    for seed in range(6):
        rng = random.Random(seed)
        me, target = rng.choice(found.honest()), rng.getrandbits(256)
        lookup = Checked(target, found.seeds(me, target), me=me.info.peer, latency=me.table.latency, paths=paths)
        assert found.run(lookup, target).done.complete


def test_a_slow_peer_that_one_alone_named_is_not_waited_for_once_enough_have_answered() -> None:
    seeds = infos(3, 5)
    alone, both = infos(2, 6)
    target = kad_key(alone.peer.raw) ^ 1
    for named in (True, False):
        lookup = Lookup(target, seeds, k=3, alpha=3, patience=4.0)
        asks(lookup, 0.0)
        lookup.on_answer(seeds[0].peer, [both if named else alone], 0.1)
        lookup.on_answer(seeds[1].peer, [both] if named else [], 0.1)
        lookup.on_answer(seeds[2].peer, [], 0.1)
        assert len(asks(lookup, 0.1)) == 1
        soft = lookup.deadline()
        assert soft is not None
        assert isinstance(lookup.next_action(soft), Done) is not named
