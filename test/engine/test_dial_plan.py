from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from ipfs_kit_py.core.config import (
    DIAL_MAX_ADDRESSES,
    DIAL_MAX_CONCURRENT_PER_PEER,
    DIAL_STAGGER_LOCAL_SECONDS,
    DIAL_STAGGER_SECONDS,
)
from ipfs_kit_py.net.addresses import parse
from ipfs_kit_py.net.dial_plan import Candidate, DialPlan, Provenance, Ranked, Surroundings, rank

LAN = Surroundings(interfaces=(ipaddress.ip_interface("192.168.1.5/24"),))
DUAL = Surroundings(interfaces=(ipaddress.ip_interface("2a00::5/64"), ipaddress.ip_interface("192.168.1.5/24")))


def told(text: str, provenance: Provenance = Provenance.SIGNED, worked: float = 0.0, failures: int = 0) -> Candidate:
    return Candidate(parse(text), provenance, worked, failures)


def order(candidates: list[Candidate], here: Surroundings = LAN) -> list[str]:
    return [row.text for row in rank(candidates, here)]


def test_near_addresses_come_before_the_internet_and_foreign_private_ones_last() -> None:
    foreign, public, same, loop = (
        "/ip4/10.9.9.9/tcp/1",
        "/ip4/8.8.8.8/tcp/1",
        "/ip4/192.168.1.77/tcp/1",
        "/ip4/127.0.0.1/tcp/1",
    )
    found = order([told(foreign), told(public), told(same), told(loop)])
    assert set(found[:2]) == {same, loop}
    assert found[2:] == [public, foreign]


def test_what_worked_last_comes_first_and_what_failed_comes_last() -> None:
    old, new, near, bad = "/ip4/8.8.1.1/tcp/1", "/ip4/8.8.2.2/tcp/1", "/ip4/192.168.1.7/tcp/1", "/ip4/192.168.1.8/tcp/1"
    rows = [told(bad, worked=99.0, failures=2), told(near), told(old, worked=10.0), told(new, worked=20.0)]
    assert order(rows) == [new, old, near, bad]


def test_what_the_caller_gave_is_tried_at_once_even_after_failures() -> None:
    given_now = "/ip4/10.9.9.9/tcp/1"
    rows = [told("/ip4/8.8.8.8/tcp/1"), told(given_now, failures=9), told(given_now, Provenance.GIVEN)]
    assert order(rows)[0] == given_now
    assert order(rows).count(given_now) == 1


def test_families_take_turns_beginning_with_the_one_that_this_node_has() -> None:
    four = [told(f"/ip4/8.8.8.{n}/tcp/1") for n in range(3)]
    six = [told(f"/ip6/2a00:1::{n}/tcp/1") for n in range(1, 4)]
    assert [text[:4] for text in order(four + six, DUAL)] == ["/ip6", "/ip4"] * 3
    assert [text[:4] for text in order(four + six, LAN)] == ["/ip4", "/ip6"] * 3


def test_the_number_of_addresses_is_capped() -> None:
    rows = [told(f"/ip4/8.8.{n // 250}.{n % 250}/tcp/1", Provenance.HEARSAY) for n in range(500)]
    assert len(order(rows)) == DIAL_MAX_ADDRESSES


def test_addresses_start_staggered_by_how_far_they_are() -> None:
    plan = DialPlan()
    plan.on_addresses(
        rank([told("/ip4/192.168.1.7/tcp/1"), told("/ip4/8.8.8.8/tcp/1"), told("/ip4/8.8.4.4/tcp/1")], LAN), 0.0
    )
    starts, now = [], 0.0
    while True:
        while plan.next_action(now) is not None:
            starts.append(now)
        due = plan.deadline()
        if due is None:
            break
        now = due
    assert starts == [0.0, DIAL_STAGGER_LOCAL_SECONDS, DIAL_STAGGER_LOCAL_SECONDS + DIAL_STAGGER_SECONDS]


def test_a_failure_starts_the_next_address_at_once() -> None:
    plan = DialPlan()
    plan.on_addresses([Ranked("a", 9.0), Ranked("b", 9.0)], 0.0)
    assert plan.next_action(0.0) == "a"
    assert plan.next_action(0.1) is None
    plan.on_failure("a", "refused", 0.1)
    assert plan.next_action(0.1) == "b"
    plan.on_failure("b", "refused", 0.2)
    assert plan.is_over
    assert plan.failures == {"a": "refused", "b": "refused"}


def test_an_address_that_a_caller_adds_starts_at_once_before_those_that_wait() -> None:
    plan = DialPlan()
    plan.on_addresses([Ranked("a", 9.0), Ranked("b", 9.0)], 0.0)
    assert plan.next_action(0.0) == "a"
    plan.on_addresses([Ranked("new", 9.0), Ranked("a", 9.0)], 0.5, first=True)
    assert plan.next_action(0.5) == "new"
    assert plan.next_action(0.5) is None


def test_a_plan_waits_for_names_being_resolved() -> None:
    plan = DialPlan()
    plan.on_expected(1)
    assert not plan.is_over
    plan.on_expected(-1)
    assert plan.is_over


@given(st.lists(st.tuples(st.integers(0, 60), st.booleans(), st.floats(0.0, 1.0)), max_size=80))
def test_a_plan_starts_each_address_once_and_never_too_many(events: list[tuple[int, bool, float]]) -> None:
    plan, now, started, running = DialPlan(), 0.0, [], set()
    for number, fails, step in events:
        now += step
        plan.on_addresses([Ranked(str(number), 0.25)], now, first=fails)
        if fails and running:
            plan.on_failure(running.pop(), "no", now)
        while (text := plan.next_action(now)) is not None:
            started.append(text)
            running.add(text)
        assert len(running) <= DIAL_MAX_CONCURRENT_PER_PEER
    while not plan.is_over:
        due = plan.deadline()
        if due is not None:
            now = max(now, due)
            text = plan.next_action(now)
            assert text is not None
            started.append(text)
            running.add(text)
        else:
            plan.on_failure(running.pop(), "no", now)
    assert len(started) == len(set(started)) == len(plan.failures)
    assert set(started) <= {str(number) for number, _fails, _step in events}
