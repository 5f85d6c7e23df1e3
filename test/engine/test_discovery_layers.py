"""The schedule of discovery: who slows down, who goes first."""

from __future__ import annotations

import random

from ipfs_kit_py.core.config import DISCOVERY_SLOWEST_SECONDS
from ipfs_kit_py.routing.discovery.layers import Layers


def layers(*names: str, parallel: int = 4) -> Layers:
    return Layers(names, 60.0, random.Random(1), 0.0, parallel)


def test_all_start_at_once_and_none_twice() -> None:
    schedule = layers("mdns", "bootstrap", "walk")
    started = {schedule.next_action(0.0) for _ in range(3)}
    assert started == {"mdns", "bootstrap", "walk"}
    assert schedule.next_action(0.0) is None
    assert schedule.deadline() is None


def test_a_layer_that_leads_to_nobody_slows_down_however_much_it_tells() -> None:
    schedule, now, waits = layers("walk"), 0.0, []
    for _ in range(12):
        assert schedule.next_action(now) == "walk"
        for _told in range(100):
            schedule.on_found("walk")
        schedule.on_round("walk", now)
        due = schedule.deadline()
        assert due is not None
        waits.append(due - now)
        now = due
    assert waits[0] < waits[2] < waits[4]
    assert max(waits) <= DISCOVERY_SLOWEST_SECONDS * 1.1


def test_a_layer_that_leads_to_peers_goes_first_and_sooner() -> None:
    schedule = layers("bad", "good", parallel=1)
    for name in ("bad", "good"):
        assert schedule.next_action(0.0) == name
        if name == "good":
            schedule.on_reached("good", 0.0)
        schedule.on_round(name, 0.0)
    bad, good = schedule.statistics()
    assert good.interval < 60.0 < bad.interval
    assert schedule.next_action(1000.0) == "good"
    assert schedule.next_action(1000.0) is None  # one at a time


def test_a_peer_reached_after_the_round_brings_the_next_one_forward() -> None:
    schedule, now = layers("walk"), 0.0
    for _ in range(5):
        schedule.next_action(now)
        schedule.on_round("walk", now)
        now = schedule.deadline() or 0.0
    schedule.next_action(now)
    schedule.on_round("walk", now)
    schedule.on_reached("walk", now + 1)
    assert (schedule.deadline() or 0.0) < now + 70


def test_switching_off_and_on_and_hurrying() -> None:
    schedule = layers("walk")
    schedule.switch("walk", False, 0.0)
    assert schedule.next_action(0.0) is None
    assert schedule.deadline() is None
    schedule.switch("walk", True, 5.0)
    assert schedule.next_action(5.0) == "walk"
    schedule.on_round("walk", 5.0, failed=True)
    assert schedule.next_action(6.0) is None
    schedule.hurry(6.0)
    assert schedule.next_action(6.0) == "walk"
    assert schedule.statistics()[0].failed == 1
