"""Who is inside, who has the place for itself, and what happens at closing time."""

from __future__ import annotations

import threading

import pytest

from ipfs_kit_py.core.errors import BackendError, NotRunning
from ipfs_kit_py.storage.gate import Gate


def test_alone_waits_for_those_inside_and_keeps_others_out() -> None:
    gate, order = Gate(), list[str]()
    gate.enter()
    waiting, inside = threading.Event(), threading.Event()

    def alone() -> None:
        waiting.set()
        with gate.alone(30, "resizing"):
            order.append("alone")
            inside.set()

    def late() -> None:
        inside.wait(30)
        gate.enter()
        order.append("late")
        gate.leave()

    threads = [threading.Thread(target=alone), threading.Thread(target=late)]
    for thread in threads:
        thread.start()
    assert waiting.wait(30)
    order.append("leaving")
    gate.enter(again=True)
    gate.leave()
    gate.leave()
    for thread in threads:
        thread.join()
    assert order == ["leaving", "alone", "late"]


def test_alone_gives_up() -> None:
    gate = Gate()
    gate.enter()
    with pytest.raises(BackendError, match="resizing"), gate.alone(0.001, "resizing"):
        pass
    gate.enter()
    assert gate.inside == 2


def test_the_last_one_out_of_a_closed_gate_shuts_the_door() -> None:
    gate, done = Gate(), list[str]()
    gate.enter()
    gate.close(lambda: done.append("closed"))
    with pytest.raises(NotRunning):
        gate.enter()
    assert done == []
    gate.leave()
    assert done == ["closed"]


def test_an_empty_gate_closes_at_once() -> None:
    gate, done = Gate(), list[str]()
    gate.close(lambda: done.append("closed"))
    assert done == ["closed"]
