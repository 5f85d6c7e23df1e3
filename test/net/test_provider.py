"""Telling the DHT what a node has, over a made-up key space, and over DHTs in memory."""

from __future__ import annotations

import logging
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio

from ipfs_kit_py.core.cid import PeerID
from ipfs_kit_py.core.config import (
    PROVIDE_CONNECTIONS,
    PROVIDE_INTERVAL_SECONDS,
    PROVIDE_LOOKUP_SECONDS,
    PROVIDE_NOW_KEYS,
    PROVIDE_ONCE_KEYS,
    PROVIDE_SAVE_SECONDS,
    PROVIDE_TELL_SECONDS,
    SWEEP_BEHIND_SECONDS,
    SWEEP_REGIONS,
)
from ipfs_kit_py.core.errors import BackendError, NotRunning, PeerUnreachable, QuotaExceeded
from ipfs_kit_py.net.memory import MemoryNetwork
from ipfs_kit_py.routing.keys import kad_key
from ipfs_kit_py.routing.network_size import NetworkSize
from ipfs_kit_py.routing.provide_dht import KademliaAnnouncer
from ipfs_kit_py.routing.provider import Reprovider
from ipfs_kit_py.storage.records import MemoryRecords
from test.engine.sweep_world import HOUR, SweepWorld, multihash
from test.net.dhts import Member, routing
from test.net.swarms import play

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from ipfs_kit_py.routing.kad_wire import PeerInfo

ME = PeerID(b"\x12\x20" + bytes(32))
CYCLE = PROVIDE_INTERVAL_SECONDS


def wall() -> float:
    return 1_800_000_000.0 + trio.current_time()


def some(count: int, seed: int = 7) -> list[bytes]:
    rng = random.Random(seed)
    return [multihash(rng) for _ in range(count)]


async def at_once(work: Callable[[], Any]) -> Any:
    """Instead of a thread, for which a clock that jumps would not wait."""
    await trio.lowlevel.checkpoint()
    return work()


async def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Look a hundred times whether something is so, or fail."""
    for _ in range(100):
        if condition():
            return
        await trio.sleep(seconds / 100)
    assert condition()


class Space:
    """A DHT without messages. ``lookup`` and ``tell``: seconds that each takes."""

    def __init__(self, world: SweepWorld, *, lookup: float = 1.0, tell: float = 0.1) -> None:
        self.world, self.lookup, self.tell = world, lookup, tell
        self.peers = len(world.order)
        self.looking = self.most_looking = self.telling = self.most_telling = 0

    async def closest_peers(
        self, key: bytes, *, answered: Callable[[PeerInfo], None] | None = None
    ) -> Sequence[PeerInfo]:
        self.world.lookups += 1
        self.looking += 1
        self.most_looking = max(self.most_looking, self.looking)
        try:
            if not self.world.online:
                raise PeerUnreachable("no network")
            closest = self.world.closest(kad_key(key))
            for info in closest:
                await trio.sleep(self.lookup / len(closest))
                if answered is not None:
                    answered(info)
            return closest
        finally:
            self.looking -= 1

    async def add_providers_to(self, peers: Iterable[PeerInfo], multihashes: Sequence[bytes]) -> int:
        [info] = peers
        self.telling += 1
        self.most_telling = max(self.most_telling, self.telling)
        try:
            await trio.sleep(self.tell)
        finally:
            self.telling -= 1
        if not self.world.online or info.peer in self.world.dead:
            return 0
        for key in multihashes:
            self.world.told.setdefault(info.peer.raw, {})[key] = wall()
        return 1


class Scene:
    """A reprovider of ``contents`` in a DHT of so many peers."""

    def __init__(self, peers: int, contents: list[bytes], **space: float) -> None:
        self.world = SweepWorld(peers, 3)
        self.space = Space(self.world, **space)
        self.contents = contents
        self.records = MemoryRecords()

    def reprovider(self) -> Reprovider:
        return self.reprovider_of(lambda: self.contents)

    def reprovider_of(self, contents: Callable[[], list[bytes]]) -> Reprovider:
        lanes = {"wan": (self.space, NetworkSize())}
        return Reprovider(ME, lanes, self.records, contents, clock=wall, in_thread=at_once)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Reprovider]:
        reprovider = self.reprovider()
        async with trio.open_nursery() as nursery:
            await nursery.start(reprovider.run)
            await until(lambda: reprovider.statistics().ready)
            yield reprovider
            nursery.cancel_scope.cancel()

    def told(self, keys: Iterable[bytes]) -> bool:
        return all(self.world.holders(key) == self.world.expected(key) for key in keys)


# --- by and by --------------------------------------------------------------------------------------------------------


def test_all_contents_are_told_of_and_again_each_interval() -> None:
    async def scenario() -> None:
        scene = Scene(300, some(200))
        async with scene.running() as reprovider:
            await until(lambda: scene.told(scene.contents), HOUR)
            assert reprovider.statistics().keys == 200
            assert scene.world.lookups < 40
            scene.world.told.clear()
            await until(lambda: scene.told(scene.contents), 1.2 * CYCLE)
            found = reprovider.statistics().sweeps["wan"]
            assert found.total.keys >= 400
            assert found.behind == 0
            assert found.network == pytest.approx(300, rel=0.3)

    play(scenario)


def test_no_more_is_under_way_than_allowed() -> None:
    async def scenario() -> None:
        scene = Scene(2_000, some(2_000), tell=5.0)
        async with scene.running():
            await until(lambda: scene.told(scene.contents[::20]), HOUR)
            assert scene.space.most_looking == SWEEP_REGIONS
            assert scene.space.most_telling == PROVIDE_CONNECTIONS

    play(scenario)


def test_what_is_added_is_told_of_soon_and_what_is_removed_no_more() -> None:
    async def scenario() -> None:
        scene, (old, gone, new) = Scene(100, []), some(3)
        scene.contents = [old, gone]
        async with scene.running() as reprovider:
            await until(lambda: scene.told([old, gone]))
            scene.contents = [old, new]
            reprovider.add([new])
            await until(lambda: scene.told([new]))
            reprovider.remove([gone])
            scene.world.told.clear()
            await until(lambda: scene.told([old, new]), 1.2 * CYCLE)
            assert not scene.world.holders(gone)

    play(scenario)


def test_what_nobody_told_of_is_found_when_the_contents_are_read_again() -> None:
    async def scenario() -> None:
        scene, (old, gone, new) = Scene(100, []), some(3)
        scene.contents = [old, gone]
        async with scene.running() as reprovider:
            await until(lambda: scene.told([old, gone]))
            scene.contents = [old, new]
            reprovider.resync()
            await until(lambda: scene.told([new]), HOUR)
            assert reprovider.statistics().keys == 2

    play(scenario)


def test_a_restart_repeats_nothing_but_tells_of_what_is_new() -> None:
    async def scenario() -> None:
        scene, fresh = Scene(1_000, some(500)), some(2, seed=8)
        async with scene.running():
            await until(lambda: scene.told(scene.contents), HOUR)
            await trio.sleep(60.0)
        before = scene.world.lookups
        scene.world.told.clear()
        scene.contents = scene.contents + fresh
        async with scene.running():
            await until(lambda: scene.told(fresh), 120.0)
            assert scene.world.lookups - before <= 12
            await until(lambda: scene.told(scene.contents), 1.2 * CYCLE)

    play(scenario)


def test_a_crash_loses_nothing() -> None:
    """What was told since the last writing is told again."""

    async def scenario() -> None:
        scene, fresh = Scene(300, some(200)), some(3, seed=8)
        async with scene.running() as reprovider:
            await until(lambda: scene.told(scene.contents), HOUR)
            await trio.sleep(2 * PROVIDE_SAVE_SECONDS)
            kept = dict(scene.records._records)
            scene.contents += fresh
            scene.world.online = False
            reprovider.add(fresh)
            await trio.sleep(1.0)
        scene.records._records = kept
        scene.world.online = True
        async with scene.running():
            await until(lambda: scene.told(fresh), 120.0)

    play(scenario)


def test_damaged_records_mean_that_all_is_told_anew(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        scene = Scene(100, some(50))
        scene.records.put(b"provide", b"state/wan", b"nonsense")
        scene.records.put(b"provide", b"once/0000", b"\xffnonsense")
        async with scene.running():
            await until(lambda: scene.told(scene.contents), 600.0)

    play(scenario)
    assert "damaged" in caplog.text


def test_contents_that_cannot_be_read_are_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        scene, tries = Scene(50, some(5)), 0

        def contents() -> list[bytes]:
            nonlocal tries
            tries += 1
            if tries in (1, 3):
                raise BackendError("the disk is gone")
            return scene.contents

        reprovider = scene.reprovider_of(contents)
        async with trio.open_nursery() as nursery:
            await nursery.start(reprovider.run)
            await until(lambda: scene.told(scene.contents), 1_000.0)
            assert tries == 2
            reprovider.resync()
            await until(lambda: tries == 3, HOUR)
            fresh = some(1, seed=8)
            reprovider.add(fresh)
            await until(lambda: scene.told(fresh), 1_000.0)
            nursery.cancel_scope.cancel()

    play(scenario)
    assert caplog.text.count("the disk is gone") == 2


def test_offline_it_waits_and_is_told_when_there_is_a_network() -> None:
    async def scenario() -> None:
        scene, fresh = Scene(100, some(50)), some(5, seed=8)
        scene.world.online = False
        async with scene.running() as reprovider:
            await trio.sleep(6 * HOUR)
            assert reprovider.statistics().sweeps["wan"].offline
            assert scene.world.lookups < 400
            reprovider.add(fresh)
            scene.world.online = True
            reprovider.online()
            await until(lambda: scene.told([*scene.contents, *fresh]), 60.0)

    play(scenario)


def test_nothing_is_tried_before_there_is_a_peer(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        scene = Scene(100, some(50))
        scene.space.peers = 0
        async with scene.running() as reprovider:
            await trio.sleep(6 * HOUR)
            assert scene.world.lookups == 0
            assert not reprovider.statistics().sweeps["wan"].offline
            scene.space.peers = 100
            await until(lambda: scene.told(scene.contents), 60.0)

    play(scenario)
    assert not caplog.records


def test_very_many_are_taken_up_by_and_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ipfs_kit_py.routing.provider.PROVIDE_SYNC_BATCH", 10)

    async def scenario() -> None:
        scene, keys = Scene(50, []), some(100)
        async with scene.running() as reprovider:
            scene.contents = keys
            reprovider.add(keys)
            assert reprovider.statistics().keys == 0
            await until(lambda: scene.told(keys), 60.0)

    play(scenario)


def test_lookups_and_peers_that_hang_do_not_hold_up_the_others() -> None:
    async def scenario() -> None:
        scene, stuck = Scene(100, some(50)), 0

        async def hang(multihash: bytes, **_more: object) -> Sequence[PeerInfo]:
            nonlocal stuck
            if scene.world.rng.random() < 0.3:
                stuck += 1
                await trio.sleep_forever()
            return await Space.closest_peers(scene.space, multihash)

        scene.space.closest_peers = hang  # type: ignore[method-assign]
        async with scene.running():
            await until(lambda: scene.told(scene.contents), 100 * PROVIDE_LOOKUP_SECONDS)
            assert stuck

    play(scenario)


def test_it_warns_when_it_falls_behind(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        scene = Scene(4_000, some(2_000), tell=PROVIDE_TELL_SECONDS - 1.0)
        async with scene.running() as reprovider:
            await trio.sleep(SWEEP_BEHIND_SECONDS + HOUR)
            assert reprovider.statistics().sweeps["wan"].behind > SWEEP_BEHIND_SECONDS

    play(scenario)
    assert "behind" in caplog.text
    assert 1 <= sum(record.levelno == logging.WARNING for record in caplog.records) <= 2


# --- now --------------------------------------------------------------------------------------------------------------


def test_one_key_is_told_of_at_once_and_the_last_peers_behind_the_callers_back() -> None:
    async def scenario() -> None:
        scene, (key, first) = Scene(500, some(50)), some(2, seed=8)
        async with scene.running() as reprovider:
            await until(lambda: scene.told(scene.contents), HOUR)
            begun = trio.current_time()
            await reprovider.provide([key])
            seconds = trio.current_time() - begun
            assert 10 <= len(scene.world.holders(key)) < 20
            assert seconds < 1.0  # of the lookup, which takes one second
            assert reprovider.statistics().seconds == pytest.approx(seconds)
            await until(lambda: scene.world.holders(key) >= scene.world.expected(key), 10.0)
            reprovider.add([first])
            await reprovider.provide([first])
            assert reprovider.statistics().sweeps["wan"].queued == 0  # it has been told of

    play(scenario)


def test_offline_a_key_waits_over_a_restart_and_the_caller_knows() -> None:
    async def scenario() -> None:
        scene, keys = Scene(100, []), some(3)
        scene.world.online = False
        async with scene.running() as reprovider:
            with pytest.raises(PeerUnreachable, match="3 keys"):
                await reprovider.provide(keys)
            assert reprovider.statistics().once == 3
        scene.world.online = True
        async with scene.running() as reprovider:
            await until(lambda: scene.told(keys), 60.0)
            await trio.sleep(2 * PROVIDE_SAVE_SECONDS)
            assert reprovider.statistics().once == 0
        assert not [key for key, _value in scene.records.items(b"provide") if key.startswith(b"once")]

    play(scenario)


def test_many_keys_are_grouped() -> None:
    async def scenario() -> None:
        scene, keys = Scene(100, []), some(PROVIDE_NOW_KEYS + 500)
        async with scene.running() as reprovider:
            await reprovider.provide(keys)
            await until(lambda: scene.told(keys), 120.0)
            assert scene.world.lookups < 60
            assert reprovider.statistics().keys == 0

    play(scenario)


def test_so_many_wait_to_be_told_of_once_and_no_more() -> None:
    async def scenario() -> None:
        scene, keys = Scene(0, []), some(PROVIDE_ONCE_KEYS + 1)
        async with scene.running() as reprovider:
            with pytest.raises(QuotaExceeded):
                reprovider.add_once(keys)
            reprovider.add_once(keys[1:])
        assert len(list(scene.records.items(b"provide"))) > 10
        again = scene.reprovider()
        async with trio.open_nursery() as nursery:
            await nursery.start(again.run)
            await until(lambda: again.statistics().once == PROVIDE_ONCE_KEYS)
            nursery.cancel_scope.cancel()

    play(scenario)


def test_who_stops_waiting_tells_nobody_else() -> None:
    async def scenario() -> None:
        scene, (key,) = Scene(100, [], lookup=10.0), some(1)
        async with scene.running() as reprovider:
            with trio.move_on_after(1.0) as scope:
                await reprovider.provide([key])
            assert scope.cancelled_caught
            before = scene.world.holders(key)
            await trio.sleep(60.0)
            assert scene.world.holders(key) == before

    play(scenario)


def test_it_says_when_it_does_not_run() -> None:
    async def scenario() -> None:
        with pytest.raises(NotRunning):
            await Scene(5, []).reprovider().provide(some(1))

    play(scenario)


# --- over DHTs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ip", "count"), [("10.0.0.{}", 8), ("{}.7.0.1", 26)])
def test_others_find_what_one_tells_of(ip: str, count: int) -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        members = [Member(network, ip.format(number)) for number in range(11, 11 + count)]
        keys, root = some(60), some(1, seed=8)[0]
        me = members[5]
        async with routing(*members):
            for number, member in enumerate(members[1:], 1):
                await member.join(members[number // 2])
            lanes = {}
            for side in me.dht.sides:
                size = NetworkSize()
                lanes[side.side.name] = KademliaAnnouncer(side, size, wall), size
            reprovider = Reprovider(me.peer_id, lanes, MemoryRecords(), lambda: keys, clock=wall, in_thread=at_once)
            async with trio.open_nursery() as nursery:
                await nursery.start(reprovider.run)
                name = me.side.side.name
                await until(lambda: reprovider.statistics().sweeps[name].total.keys == len(keys), 600.0)
                found = reprovider.statistics().sweeps[name]
                assert found.total.lookups < 60
                assert found.total.messages == min(20, count - 1) * len(keys)
                assert found.total.failed_peers == 0
                await reprovider.provide([root])
                for number, key in enumerate([*keys, root]):
                    [provider] = await members[number % 5].providers(key)
                    assert (provider.peer, provider.addresses) == (me.peer_id, (me.address,))
                nursery.cancel_scope.cancel()

    play(scenario)
