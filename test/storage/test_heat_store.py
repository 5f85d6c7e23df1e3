"""Heat outlives the process, adds up over processes, and no clock ruins it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ipfs_kit_py.core.config import HEAT_AWAY_HALF_LIVES, HEAT_HALF_LIFE_SECONDS, HEAT_PENDING
from ipfs_kit_py.core.errors import QuotaExceeded
from ipfs_kit_py.storage.disk import DiskStore
from ipfs_kit_py.storage.environment import Environment
from ipfs_kit_py.storage.heat_store import Clocks, HeatStore
from ipfs_kit_py.storage.memory import MemoryStore
from ipfs_kit_py.storage.tiers import TieredStore
from test.storage.blocks import block

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from test.storage.conftest import Child

DAY = HEAT_HALF_LIFE_SECONDS


class World:
    """The clocks of a machine, and its one environment."""

    def __init__(self, path: Path) -> None:
        self.machine, self.days, self.boot = 100.0, 1e9, "first"
        self.environment = Environment(path, ("state", "heat"), durable=False, map_bytes=1 << 26)
        self.writes = 0

    def _write(self) -> None:
        self.writes += 1

    def open(self, most: int = 1000) -> HeatStore:
        clocks = Clocks(lambda: self.machine, lambda: self.boot, lambda: self.days)
        return HeatStore(self.environment, self._write, most=most, clocks=clocks)


@pytest.fixture
def world(tmp_path: Path) -> World:
    (tmp_path / "heat").mkdir()
    return World(tmp_path / "heat")


def key(number: int) -> bytes:
    return b"\x12\x20" + number.to_bytes(32, "little")


def test_it_is_there_after_a_restart_of_the_process(world: World) -> None:
    first = world.open()
    first.on_access([key(1), key(2)])
    first.on_access([key(1)])
    first.flush()
    world.machine += DAY
    assert world.open().heat_of(key(1)) == pytest.approx(1.0)
    assert world.open().hottest(5) == [(key(1), pytest.approx(1.0)), (key(2), pytest.approx(0.5))]
    assert world.open().coldest(1) == [(key(2), pytest.approx(0.5))]


def test_uses_of_several_processes_add_up(world: World) -> None:
    stores = [world.open() for _ in range(4)]
    for store in stores:
        store.on_access([key(1)])
    assert stores[0].heat_of(key(1)) == pytest.approx(1.0), "its own are known at once"
    for store in stores:
        store.flush()
    assert world.open().heat_of(key(1)) == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("jump", "passed"),
    [(DAY, 1.0), (-1e9, 0.0), (1e12, HEAT_AWAY_HALF_LIVES), (0.0, 0.0)],
    ids=["a day off", "clock back", "clock far ahead", "at once"],
)
def test_a_restart_of_the_machine(world: World, jump: float, passed: float) -> None:
    first = world.open()
    first.on_access([key(1), key(2)])
    first.on_access([key(2)])
    first.flush()
    world.machine, world.boot = 3.0, "second"
    world.days += jump
    second = world.open()
    assert second.heat_of(key(2)) == pytest.approx(2.0 * 0.5**passed)
    second.on_access([key(3)])
    second.flush()
    third = world.open()
    assert third.heat_of(key(3)) == pytest.approx(1.0)
    assert third.heat_of(key(1)) == pytest.approx(0.5**passed)


def test_setting_the_clock_changes_nothing_while_it_runs(world: World) -> None:
    store = world.open()
    store.on_access([key(1)])
    for days in (0.0, 1e12, 1e9):
        world.days = days
        store.on_access([key(2)])
        store.flush()
        assert store.heat_of(key(1)) == pytest.approx(1.0)
    assert world.open().heat_of(key(2)) == pytest.approx(3.0)


def test_a_system_that_does_not_name_its_boots(world: World) -> None:
    world.boot = ""
    store = world.open()
    store.on_access([key(1)])
    store.flush()
    world.days += DAY
    assert world.open().heat_of(key(1)) == pytest.approx(0.5)


def test_it_is_bounded_and_the_hot_ones_stay(world: World) -> None:
    store = world.open(most=500)
    for number in range(8000):
        store.on_access([key(0), key(number)])
        if number % 100 == 0:
            store.flush()
            assert store.statistics().keys <= 500
    store.flush()
    assert store.statistics().keys <= 500
    assert store.heat_of(key(0)) == pytest.approx(8001, rel=1e-3)


def test_reads_write_seldom(world: World) -> None:
    store = world.open(most=1_000_000)
    for number in range(HEAT_PENDING - 1):
        store.on_access([key(number)])
    assert world.writes == 0
    store.on_access([key(HEAT_PENDING)])
    assert world.writes == 1
    assert store.statistics()[:2] == (HEAT_PENDING, 0)


def test_on_a_full_disk_it_is_lost_and_counted(world: World) -> None:
    def full() -> None:
        raise QuotaExceeded("no space left")

    store = HeatStore(world.environment, full)
    store.on_access([key(1)])
    store.flush()
    assert store.statistics()[:3] == (0, 0, 1)


def test_reading_blocks_warms_them_in_every_tier(tmp_path: Path) -> None:
    small, large = block(1, 500), block(2, 5000)
    store = TieredStore(MemoryStore(20_000), DiskStore(tmp_path), hot_bytes=1000)
    store.put_many([small, large])
    assert store.heat.heat_of(small.cid.multihash) == 0.0, "putting is no use"
    for _ in range(3):
        store.get_many([small.cid, large.cid])
    with store.view([small.cid]):
        pass
    assert store.heat.heat_of(small.cid.multihash) == pytest.approx(4.0, abs=0.01)
    assert store.heat.heat_of(large.cid.multihash) == pytest.approx(3.0, abs=0.01)
    store.close()
    with DiskStore(tmp_path) as again:
        assert again.heat.heat_of(small.cid.multihash) == pytest.approx(4.0, abs=0.01)


def test_stored_heat_survives_kill_9(tmp_path: Path, spawn: Callable[..., Child]) -> None:
    child = spawn("warm", tmp_path)
    assert child.read() == "stored"
    child.kill()
    with DiskStore(tmp_path) as store:
        assert store.heat.heat_of(block(1, 1000).cid.multihash) == pytest.approx(5.0, abs=0.01)
        assert store.get_many([block(1, 1000).cid]) == [block(1, 1000).data]
