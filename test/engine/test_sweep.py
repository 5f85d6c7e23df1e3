from __future__ import annotations

import random
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipfs_kit_py.core.cid import PeerID
from ipfs_kit_py.core.config import (
    PROVIDE_INTERVAL_SECONDS,
    SWEEP_GATHER_SECONDS,
    SWEEP_REGIONS,
    SWEEP_RETRY_MAX_SECONDS,
    SWEEP_TELL_KEYS,
    SWEEP_TELLS,
)
from ipfs_kit_py.routing.keys import kad_key
from ipfs_kit_py.routing.sweep import Explore, Sweep, Tell
from ipfs_kit_py.routing.sweep_keys import KeyBins
from test.engine.sweep_world import BEGIN, HOUR, SweepWorld, multihash

if TYPE_CHECKING:
    from ipfs_kit_py.routing.network_size import NetworkSize

ME = PeerID(b"\x12\x20" + bytes(32))
CYCLE = PROVIDE_INTERVAL_SECONDS


def bins(keys: list[bytes]) -> KeyBins:
    found = KeyBins()
    found.update(keys)
    return found


def synced(
    keys: list[bytes],
    now: float = BEGIN,
    *,
    dump: bytes | None = None,
    queued: list[bytes] | None = None,
    size: NetworkSize | None = None,
) -> Sweep:
    sweep = Sweep(ME, size=size)
    if dump is not None:
        assert sweep.load(dump, now)
    sweep.restore(queued or [], now)
    sweep.begin_sync()
    sweep.end_sync(bins(keys), [], now)
    return sweep


def some(count: int, seed: int = 7) -> list[bytes]:
    rng = random.Random(seed)
    return [multihash(rng) for _ in range(count)]


# --- where keys end up ------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    st.integers(0, 200),
    st.integers(0, 300),
    st.integers(0, 1 << 32),
    st.integers(5, 20),
)
def test_every_key_is_told_to_its_true_closest_and_to_nobody_else(peers: int, keys: int, seed: int, k: int) -> None:
    world = SweepWorld(peers, seed, k=k, even=False)
    told = some(keys, seed)
    sweep = Sweep(ME, k=k)
    sweep.begin_sync()
    sweep.end_sync(bins(told), [], world.now)
    world.run(sweep, 60.0)
    world.check(told)
    if peers:
        assert world.lookups <= keys * 9 / 8
        assert sweep.statistics().total.unsure == 0


@settings(max_examples=30)
@given(st.integers(1, 300), st.integers(1, 200), st.integers(0, 255), st.integers(0, 1 << 32))
def test_peers_that_crowd_anywhere_change_nothing(peers: int, keys: int, shared: int, seed: int) -> None:
    """The keys of all peers share their first bits with some key of ours, as those of an attacker may."""
    world, told = SweepWorld(0, seed, even=False), some(keys, seed)
    begin = kad_key(told[0])
    for info in SweepWorld(peers, seed).infos.values():
        low = world.rng.getrandbits(256 - shared) if shared else world.rng.getrandbits(256)
        world.infos[begin >> (256 - shared) << (256 - shared) | low] = info
    world.order = sorted(world.infos)
    names = {info.peer.raw: key for key, info in world.infos.items()}
    with pytest.MonkeyPatch.context() as patch:
        for module in ("sweep_regions", "sweep"):
            patch.setattr(f"ipfs_kit_py.routing.{module}.kad_key", lambda raw: names.get(raw) or kad_key(raw))
        sweep = synced(told)
        world.run(sweep, 60.0)
    world.check(told)


def test_at_ten_thousand_servers_a_hundred_thousand_keys_take_a_hundredth_of_the_lookups() -> None:
    world = SweepWorld(10_000, 1)
    sweep, lookups = synced(some(100_000)), 0
    while (action := sweep.next_action(world.now)) is not None:
        if isinstance(action, Explore):
            lookups += 1
            sweep.on_explored(action, world.closest(kad_key(action.multihash)), world.now)
        else:
            sweep.on_told(action, world.now)
    total = sweep.statistics().total
    assert (total.keys, total.messages, total.unsure) == (100_000, 2_000_000, 0)
    assert total.lookups == lookups <= 0.01 * 100_000


@pytest.mark.parametrize("peers", [5, 30, 200, 1_000])
def test_a_wrong_guess_of_the_networks_size_costs_little(peers: int) -> None:
    """At first the regions are those of ten thousand peers: each has too few, and its keys go to those of others."""
    world, keys = SweepWorld(peers, 1), some(5_000)
    sweep = synced(keys)
    world.run(sweep, 60.0)
    world.check(keys[::10])
    assert world.lookups <= 12 + peers / 9
    assert sweep.statistics().total.unsure == 0


def test_every_one_of_many_keys_is_with_its_closest_for_few_lookups() -> None:
    world, keys = SweepWorld(2_000, 3), some(20_000)
    sweep = synced(keys, size=world.measured())
    world.run(sweep, 60.0)
    world.check(keys)
    total = sweep.statistics().total
    assert total.keys == 20_000
    assert total.messages == 20 * 20_000
    assert world.lookups == total.lookups <= 0.01 * len(keys)
    assert total.unsure == 0
    assert total.peers == len(world.batches) == 2_000  # each is spoken to once
    assert sweep.statistics().network == pytest.approx(2_000, rel=0.1)


def test_one_peer_gets_all_in_messages_of_bounded_size() -> None:
    world, keys = SweepWorld(1, 0), some(3_000)
    sweep = synced(keys)
    sizes = []
    while (action := sweep.next_action(world.now)) is not None:
        if isinstance(action, Tell):
            sizes.append(len(action.multihashes))
        world.perform(sweep, action)
    assert max(sizes) == SWEEP_TELL_KEYS
    assert sum(sizes) == len(keys)
    world.check(keys)
    assert sweep.statistics().network == 1


def test_no_more_is_under_way_than_allowed() -> None:
    world, keys = SweepWorld(3_000, 1), some(10_000)
    sweep, flying = synced(keys), []
    most_lookups = most_tells = 0
    for _step in range(3_000):
        while (action := sweep.next_action(world.now)) is not None:
            flying.append(action)
        looking = sum(isinstance(action, Explore) for action in flying)
        most_lookups, most_tells = max(most_lookups, looking), max(most_tells, len(flying) - looking)
        world.perform(sweep, flying.pop(world.rng.randrange(len(flying))))
    assert most_lookups == SWEEP_REGIONS
    assert SWEEP_TELLS < most_tells <= SWEEP_REGIONS * SWEEP_TELLS


# --- when -------------------------------------------------------------------------------------------------------------


def test_each_key_is_told_of_again_within_the_interval_and_the_work_is_spread_evenly() -> None:
    world, keys = SweepWorld(8_000, 5), some(4_000)
    sweep = synced(keys)
    world.run(sweep, CYCLE)  # the first time all at once, then each region comes to its turn
    per_hour = []
    for _hour in range(22):
        before = world.lookups
        world.run(sweep, HOUR)
        per_hour.append(world.lookups - before)
    assert min(world.now - when for held in world.told.values() for when in held.values()) >= 0
    assert max(world.now - when for held in world.told.values() for when in held.values()) <= 1.13 * CYCLE
    assert min(per_hour) > 0
    assert max(per_hour) <= 3 * sum(per_hour) / 22
    assert sweep.statistics().behind == 0
    last = sweep.statistics().last_cycle
    assert last is not None
    assert last.keys == pytest.approx(4_000, rel=0.2)


def test_a_restart_in_the_middle_of_the_cycle_repeats_nothing_and_leaves_nothing_out() -> None:
    world, keys = SweepWorld(1_000, 5), some(2_000)
    sweep = synced(keys)
    world.run(sweep, CYCLE + 11 * HOUR)
    dump, before = sweep.dump(), world.lookups
    world.now += 60.0
    again = synced(keys, world.now, dump=dump)
    world.run(again, 60.0)
    assert world.lookups - before <= 2
    world.told.clear()
    world.run(again, 1.13 * CYCLE)
    world.check(keys)


def test_what_was_missed_while_the_machine_slept_is_made_up_for_at_once() -> None:
    world, keys = SweepWorld(1_000, 5), some(2_000)
    sweep = synced(keys)
    world.run(sweep, 2 * CYCLE)
    world.now += 11 * HOUR  # asleep
    assert world.act(sweep)
    assert sweep.statistics().behind == pytest.approx(11 * HOUR, rel=0.15)
    assert sweep.statistics().late == pytest.approx(sweep.statistics().regions / 2, rel=0.3)
    world.run(sweep, 600.0)
    assert sweep.statistics().behind == 0


def test_keys_that_came_while_the_node_was_away_are_told_of_at_once_with_their_part_alone() -> None:
    world, keys = SweepWorld(1_000, 5), some(2_000)
    sweep = synced(keys)
    world.run(sweep, CYCLE)
    dump, fresh, before = sweep.dump(), some(3, seed=99), world.lookups
    world.now += 60.0
    again = synced(keys + fresh, world.now, dump=dump)
    world.run(again, 60.0)
    world.check(fresh)
    assert world.lookups - before <= 3 * 6


@pytest.mark.parametrize("jump", [-400 * 24 * HOUR, -CYCLE, -10.0])
def test_a_clock_that_is_set_back_neither_stops_the_sweep_nor_starts_it_anew(jump: float) -> None:
    world, keys = SweepWorld(1_000, 5), some(2_000)
    sweep = synced(keys)
    world.run(sweep, CYCLE)
    before = world.lookups
    world.now += jump
    world.run(sweep, 60.0)
    assert world.lookups - before <= 20
    world.told.clear()
    world.run(sweep, 1.3 * CYCLE)
    world.check(keys)


def test_what_was_done_in_the_future_is_done_again_after_a_restart() -> None:
    world, keys = SweepWorld(300, 5), some(500)
    sweep = synced(keys)
    world.run(sweep, CYCLE)
    world.told.clear()
    world.now = BEGIN - 30 * 24 * HOUR
    again = synced(keys, world.now, dump=sweep.dump())
    world.run(again, 60.0)
    world.check(keys)


@pytest.mark.parametrize("spoil", [lambda dump: dump[:-1], lambda dump: b"x" + dump[1:], lambda _dump: b""])
def test_a_damaged_dump_means_that_all_is_due(spoil: object) -> None:
    assert callable(spoil)
    assert not Sweep(ME).load(spoil(synced(some(10)).dump()), BEGIN)


# --- new keys ---------------------------------------------------------------------------------------------------------


def test_new_keys_are_told_of_soon_and_grouped() -> None:
    world, old = SweepWorld(1_000, 5), some(100)
    sweep = synced(old)
    world.run(sweep, CYCLE)
    before, fresh = world.lookups, some(3_000, seed=2)
    for at in range(0, 3_000, 100):
        assert len(sweep.add(fresh[at : at + 100], world.now)) == 100
    assert sweep.statistics().queued == 3_000
    assert sweep.next_action(world.now) is None
    assert sweep.deadline() == world.now + SWEEP_GATHER_SECONDS
    world.run(sweep, 10.0)
    world.check(fresh)
    assert sweep.statistics().queued == 0
    assert world.lookups - before < 120  # a thousand peers are 50 lookups at the very least
    assert sweep.add(fresh, world.now) == []
    world.told.clear()
    world.run(sweep, 1.13 * CYCLE)
    world.check([*old, *fresh])


def test_a_key_that_is_to_be_told_of_once_is_not_kept() -> None:
    world = SweepWorld(50, 5)
    sweep, (key,) = synced([]), some(1)
    sweep.add_once([key], world.now)
    world.run(sweep, 10.0)
    world.check([key])
    assert len(sweep) == 0
    world.told.clear()
    world.run(sweep, 2 * CYCLE)
    assert not world.told


def test_a_key_that_was_told_of_by_other_means_waits_for_its_turn() -> None:
    world = SweepWorld(50, 5)
    sweep, (key,) = synced([]), some(1)
    assert sweep.add([key], world.now) == [key]
    sweep.on_provided([key])
    world.run(sweep, 60.0)
    assert not world.told
    world.run(sweep, 1.13 * CYCLE)
    world.check([key])


def test_removed_keys_are_told_of_no_more() -> None:
    world, keys = SweepWorld(300, 5), some(400)
    sweep = synced(keys)
    world.run(sweep, CYCLE)
    sweep.remove(keys[:200])
    world.told.clear()
    world.run(sweep, 1.13 * CYCLE)
    assert {key for held in world.told.values() for key in held} == set(keys[200:])


def test_a_sync_adds_what_was_missed_drops_what_is_gone_and_keeps_what_came_meanwhile() -> None:
    world, keys = SweepWorld(100, 5), some(100)
    sweep = synced(keys)
    world.run(sweep, CYCLE)
    late, missed, gone = some(3, seed=1)
    sweep.begin_sync()
    fresh = bins([*keys, missed])
    sweep.add([late], world.now)
    sweep.remove([gone, keys[0]])
    assert sweep.end_sync(fresh, list(fresh.beyond(sweep.keys)), world.now) == [missed]
    assert set(sweep.keys) == {*keys[1:], missed, late}
    world.told.clear()
    world.run(sweep, 10.0)
    world.check([missed, late])


def test_what_was_queued_before_a_restart_is_told_of_after_it() -> None:
    world, keys, fresh = SweepWorld(100, 5), some(100), some(5, seed=1)
    sweep = synced(keys)
    world.run(sweep, CYCLE)
    sweep.add(fresh, world.now)
    again = synced(keys + fresh, world.now, dump=sweep.dump(), queued=list(sweep.queue))
    before = world.lookups
    world.told.clear()
    world.run(again, 10.0)
    world.check(fresh)
    assert {key for held in world.told.values() for key in held} == set(fresh)
    assert world.lookups - before <= 10


def test_content_that_is_its_own_name_and_overlong_names_are_not_told_of() -> None:
    sweep = synced([])
    assert sweep.add([b"\x00\x03abc", b"", b"\x12\x20", b"\x13\x7f" + bytes(127)], BEGIN) == []
    assert len(sweep) == 0


def test_two_sweeps_share_their_keys() -> None:
    """Those of the two DHTs of a node."""
    worlds, old, fresh = [SweepWorld(100, 1), SweepWorld(200, 2)], some(50), some(5, seed=1)
    one, shared = Sweep(ME), bins(old)
    two = Sweep(ME, keys=one.keys)
    for sweep in (one, two):
        sweep.begin_sync()
    two.take(one.add(fresh[:2], BEGIN), BEGIN)
    for sweep in (one, two):
        sweep.end_sync(shared, [], BEGIN)
    two.take(one.add(fresh[2:], BEGIN), BEGIN)
    assert one.keys is two.keys
    for sweep, world in zip((one, two), worlds, strict=True):
        world.run(sweep, 60.0)
        world.check([*old, *fresh])
        assert len(sweep.queue) == 0


def test_a_full_queue_has_the_part_of_the_key_space_told_of_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ipfs_kit_py.routing.sweep.SWEEP_QUEUE_KEYS", 10)
    world, old, fresh = SweepWorld(100, 5), some(100), some(200, seed=1)
    sweep = synced(old)
    world.run(sweep, CYCLE)
    sweep.add(fresh, world.now)
    assert len(sweep.queue) == 10
    world.run(sweep, 60.0)
    world.check([*old, *fresh])


# --- failures ---------------------------------------------------------------------------------------------------------


def test_a_peer_that_fails_is_tried_twice_and_the_others_have_the_key() -> None:
    world, keys = SweepWorld(200, 5), some(300)
    world.dead = {info.peer for info in list(world.infos.values())[:40]}
    sweep = synced(keys, size=world.measured())
    world.run(sweep, 60.0)
    for key in keys:
        assert world.holders(key) == world.expected(key) - {peer.raw for peer in world.dead}
    assert sweep.statistics().total.failed_peers == 2 * 40
    assert sweep.statistics().total.failed_regions == 0


def test_offline_it_tries_now_and_then_and_catches_up_when_told_that_there_is_a_network() -> None:
    world, keys = SweepWorld(200, 5), some(300)
    world.online = False
    sweep = synced(keys)
    world.run(sweep, 6 * HOUR)
    assert world.lookups <= 3 * (3 + 6 * HOUR / 60)
    assert sweep.statistics().offline
    assert sweep.statistics(world.now).behind == pytest.approx(6 * HOUR, rel=0.01)
    fresh = some(5, seed=1)
    sweep.add(fresh, world.now)
    world.online = True
    sweep.on_online(world.now)
    world.run(sweep, SWEEP_GATHER_SECONDS)
    world.check(keys + fresh)
    assert not sweep.statistics().offline


def test_without_being_told_it_finds_out_that_there_is_a_network() -> None:
    world, keys = SweepWorld(200, 5), some(300)
    world.online = False
    sweep = synced(keys)
    world.run(sweep, 24 * HOUR)
    world.online = True
    world.run(sweep, 2 * SWEEP_RETRY_MAX_SECONDS)
    world.check(keys)


def test_an_empty_network_is_a_failure_and_no_end() -> None:
    world = SweepWorld(0, 5)
    sweep = synced(some(100))
    world.run(sweep, 2 * CYCLE)
    assert world.lookups < 1_000
    assert sweep.statistics().total.failed_regions > 0
    assert sweep.statistics().offline


def test_answers_that_never_suffice_end_all_the_same() -> None:
    """Each lookup gives other peers: nothing fits together, and keys go to the closest known."""
    world, keys = SweepWorld(5_000, 5), some(4_000)
    sweep = synced(keys)
    while (action := sweep.next_action(world.now)) is not None:
        if isinstance(action, Explore):
            world.lookups += 1
            sweep.on_explored(action, [world.infos[key] for key in world.rng.sample(world.order, 20)], world.now)
        else:
            world.perform(sweep, action)
    assert world.lookups <= 64 * 128
    assert all(world.holders(key) for key in keys[:20])


def test_one_lookup_that_ends_early_does_not_make_the_network_small() -> None:
    world, keys = SweepWorld(2_000, 5), some(2_000)
    sweep, count = synced(keys), 0
    while (action := sweep.next_action(world.now)) is not None:
        if isinstance(action, Explore):
            count += 1
            found = world.closest(kad_key(action.multihash))
            sweep.on_explored(action, found[:5] if count == 7 else found, world.now)
        else:
            world.perform(sweep, action)
    assert sweep.statistics().network == pytest.approx(2_000, rel=0.2)
    assert sum(world.holders(key) == world.expected(key) for key in keys) > 1_800


# --- all of it --------------------------------------------------------------------------------------------------------

EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 40)),
        st.tuples(st.just("remove"), st.integers(1, 20)),
        st.tuples(st.just("run"), st.floats(1.0, 30 * HOUR)),
        st.tuples(st.just("steps"), st.integers(1, 60)),
        st.tuples(st.just("sleep"), st.floats(1.0, 30 * HOUR)),
        st.tuples(st.just("set back"), st.floats(1.0, 100 * HOUR)),
        st.tuples(st.just("offline"), st.floats(1.0, 30 * HOUR)),
        st.tuples(st.just("churn"), st.integers(1, 30)),
        st.tuples(st.just("restart"), st.integers(0, 3)),
        st.tuples(st.just("crash"), st.integers(0, 3)),
        st.tuples(st.just("sync"), st.integers(0, 3)),
    ),
    max_size=12,
)


@settings(max_examples=100)
@given(EVENTS, st.integers(1, 150), st.integers(0, 1 << 32))
def test_whatever_happens_all_keys_are_with_their_closest_an_interval_later(
    events: list[tuple[str, float]], peers: int, seed: int
) -> None:
    world, keys, names = SweepWorld(peers, seed, even=False), set[bytes](), random.Random(seed)
    sweep, dump = synced([]), b""
    for event, amount in events:
        fresh = [multihash(names) for _ in range(min(40, int(amount)))]
        match event:
            case "add":
                keys.update(sweep.add(fresh, world.now))
            case "remove":
                gone = sorted(keys)[: len(fresh)]
                sweep.remove(gone)
                keys.difference_update(gone)
            case "run":
                world.run(sweep, amount)
                dump = sweep.dump()
            case "steps":  # and the rest of it is lost, or goes on
                for _step in range(int(amount)):
                    world.act(sweep)
            case "sleep":
                world.now += amount
            case "set back":
                world.now -= amount
            case "offline":
                world.online = False
                world.run(sweep, amount)
                world.online = True
            case "churn":
                world.change(len(fresh))
            case "restart" | "crash":  # fresh ones came while the node was away
                keys.update(fresh)
                sweep = synced(list(keys), world.now, dump=(sweep.dump() if event == "restart" else dump) or None)
            case "sync":
                sweep.begin_sync()
                keys.update(fresh)
                found = bins(list(keys))
                sweep.end_sync(found, list(found.beyond(sweep.keys)), world.now)
    sweep.on_online(world.now)
    world.run(sweep, 0.0)  # what is under way ends with the keys and peers that it began with
    world.told.clear()
    world.run(sweep, 1.13 * CYCLE + 60.0)
    world.check(keys)
    assert {key for held in world.told.values() for key in held} == keys
    assert len(sweep.queue) == 0
    assert sweep.statistics(world.now).behind == 0


# --- size -------------------------------------------------------------------------------------------------------------


def test_a_key_costs_a_few_dozen_bytes() -> None:
    rng = random.Random(1)
    tracemalloc.start()
    try:
        before, _peak = tracemalloc.get_traced_memory()
        sweep = Sweep(ME)
        sweep.begin_sync()
        found = KeyBins()
        found.update(multihash(rng) for _ in range(100_000))
        sweep.end_sync(found, [], BEGIN)
        after, _peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(sweep) == 100_000
    assert (after - before) / 100_000 < 48


def test_the_dump_fits_into_one_record() -> None:
    assert len(synced(some(100)).dump()) <= 52 * 1024
