from __future__ import annotations

import ipaddress
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_kit_py.core.config import (
    BACKOFF_BASE_SECONDS,
    BACKOFF_MAX_SECONDS,
    STANDING_HALF_LIFE_SECONDS,
    STANDING_REFUSE_SECONDS,
    STANDING_THRESHOLD,
    VALUE_HALF_LIFE_SECONDS,
)
from ipfs_kit_py.core.errors import ConfigError
from ipfs_kit_py.core.roles import ROLES, Role
from ipfs_kit_py.net.backoff import Backoff
from ipfs_kit_py.net.gate import Gate
from ipfs_kit_py.net.limits import Held, Unauthenticated, Values, is_full, next_trim, plan_trim
from ipfs_kit_py.net.standing import Standing
from test.engine.test_address_book import peer

LEECHER = ROLES["leecher"]
LAN = ipaddress.ip_address("10.0.0.1")


def held(key: int, opened: float = 0.0, **changes: object) -> Held:
    row = Held(key=key, opened=opened, value=0.0, protected=False, streams=0, outbound=False)
    return row._replace(**changes)


# --- trimming ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("role", ROLES.values(), ids=list(ROLES))
def test_above_the_high_mark_connections_go_down_to_the_low_mark(role: Role) -> None:
    rows = [held(n) for n in range(role.high_water)]
    assert plan_trim(rows, role, 1e6) == []
    rows.append(held(role.high_water))
    assert len(rows) - len(plan_trim(rows, role, 1e6)) == role.low_water


def test_young_protected_useful_and_old_connections_stay() -> None:
    now = 10_000.0
    rows = [held(n, now - 60.0) for n in range(200)]
    rows += [held(1000 + n, now - LEECHER.grace + 1) for n in range(5)]
    rows += [held(2000 + n, now - 60.0, protected=True) for n in range(5)]
    rows += [held(3000 + n, now - 60.0, value=1e6) for n in range(5)]
    rows += [held(4000 + n, 0.0) for n in range(5)]
    gone = plan_trim(rows, LEECHER, now)
    assert max(gone) < 1000
    assert len(rows) - len(gone) == LEECHER.low_water


def test_a_crowd_of_newcomers_does_not_push_out_who_has_been_here_for_hours() -> None:
    now = 7200.0
    old = [held(n) for n in range(LEECHER.low_water)]
    crowd = [held(1000 + n, now - 30.0, streams=1) for n in range(150)]
    assert not {row.key for row in old} & set(plan_trim(old + crowd, LEECHER, now))


def test_where_all_are_too_young_the_next_trim_is_when_the_first_is_not() -> None:
    rows = [held(n, 100.0 + n) for n in range(LEECHER.high_water + 1)]
    assert plan_trim(rows, LEECHER, 101.0) == []
    assert next_trim(rows, LEECHER, 101.0) == 100.0 + LEECHER.grace
    assert plan_trim(rows, LEECHER, 100.0 + LEECHER.grace) == [0]


def test_inbound_connections_are_refused_far_above_the_high_mark() -> None:
    assert not is_full(LEECHER.high_water, LEECHER)
    assert is_full(2 * LEECHER.high_water, LEECHER)


def test_value_fades_and_ends_with_the_connection() -> None:
    values = Values()
    values.add(peer(1), 8.0, 0.0)
    values.add(peer(1), 8.0, 0.0)
    values.add(peer(1), -1.0, 0.0)
    assert values.get(peer(1), VALUE_HALF_LIFE_SECONDS) == pytest.approx(8.0)
    values.forget(peer(1))
    assert len(values) == 0


# --- connections in their handshake -----------------------------------------------------------------------------------
def test_when_the_table_is_full_the_oldest_silent_connection_goes() -> None:
    table = Unauthenticated(capacity=3)
    heard = {0: 10, 1: 0, 2: 0, 3: 0}
    for key in range(3):
        assert table.admit(key, None, lambda key=key: heard[key], float(key)) == (True, None)
    assert table.admit(3, None, lambda: 0, 3.0) == (True, 1)
    assert table.admit(4, None, lambda: 5, 4.0) == (True, 2)
    assert table.admit(5, None, lambda: 5, 5.0) == (True, 3)
    assert table.admit(6, None, lambda: 5, 6.0) == (True, 0)
    assert len(table) == 3


def test_one_host_cannot_take_the_whole_table_but_loopback_is_exempt() -> None:
    table = Unauthenticated(capacity=10, per_ip=2)
    loop = ipaddress.ip_address("127.0.0.1")
    for key in range(2):
        assert table.admit(key, LAN, lambda: 0, 0.0)[0]
    assert table.admit(2, LAN, lambda: 0, 0.0) == (False, None)
    for key in range(3, 8):
        assert table.admit(key, loop, lambda: 0, 0.0) == (True, None)
    table.release(0)
    assert table.admit(9, LAN, lambda: 0, 0.0) == (True, None)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30), st.integers(0, 3))))
def test_the_table_never_holds_more_than_its_capacity(events: list[tuple[bool, int, int]]) -> None:
    table, inside = Unauthenticated(capacity=5, per_ip=2), set()
    for now, (enters, key, host) in enumerate(events):
        if enters and key not in inside:
            admitted, evicted = table.admit(key, ipaddress.ip_address(0x0A000000 + host), lambda: 0, float(now))
            inside -= {evicted}
            inside |= {key} if admitted else set()
        elif not enters:
            table.release(key)
            inside.discard(key)
        assert len(table) == len(inside) <= 5


# --- backoff ----------------------------------------------------------------------------------------------------------
def test_a_dead_peer_is_left_alone_twice_as_long_each_time() -> None:
    backoff, now, waits = Backoff(random.Random(1)), 0.0, []
    for _time in range(14):
        waits.append(backoff.on_failure(peer(1), ["a"], now) - now)
        now += waits[-1]
        assert backoff.wait(peer(1), now) == 0.0
    for number, wait in enumerate(waits):
        due = min(BACKOFF_MAX_SECONDS, BACKOFF_BASE_SECONDS * 2**number)
        assert due / 2 <= wait <= due
    assert len(set(waits)) == len(waits)
    backoff.on_success(peer(1))
    assert backoff.on_failure(peer(1), ["a"], now) - now <= BACKOFF_BASE_SECONDS


def test_only_an_address_that_took_no_part_in_the_failures_is_fresh() -> None:
    backoff = Backoff(random.Random(1))
    assert backoff.fresh(peer(1), ["a"]) == ["a"]
    backoff.on_failure(peer(1), ["a"], 0.0)
    backoff.on_failure(peer(1), ["b"], 0.0)
    assert backoff.fresh(peer(1), ["a", "b", "c"]) == ["c"]


def test_dead_peers_are_bounded_and_those_due_soonest_are_forgotten() -> None:
    backoff = Backoff(random.Random(1), capacity=64)
    for _time in range(10):
        backoff.on_failure(peer(0), ["a"], 0.0)
    for number in range(1, 1000):
        backoff.on_failure(peer(number), [str(n) for n in range(500)], 0.0)
        assert backoff.statistics().peers <= 64
    assert backoff.wait(peer(0), 0.0) > 0


# --- standing ---------------------------------------------------------------------------------------------------------
def test_enough_false_blocks_refuse_a_peer_for_a_while() -> None:
    standing = Standing()
    verdicts = [standing.penalise(peer(1), 1.0, 0.0) for _time in range(int(STANDING_THRESHOLD))]
    assert verdicts == [False] * (len(verdicts) - 1) + [True]
    assert standing.refuses(peer(1), 1.0) == pytest.approx(STANDING_REFUSE_SECONDS - 1.0)
    assert standing.refuses(peer(1), STANDING_REFUSE_SECONDS) == 0.0
    assert standing.refuses(peer(2), 0.0) == 0.0


def test_penalties_fade() -> None:
    standing = Standing()
    for time in range(20):
        assert not standing.penalise(peer(1), 1.0, time * STANDING_HALF_LIFE_SECONDS)
    assert standing.penalty(peer(1), 19 * STANDING_HALF_LIFE_SECONDS) < 2.0
    assert not standing.penalise(peer(1), float("nan"), 0.0)
    assert not standing.penalise(peer(1), -5.0, 0.0)


def test_standing_is_bounded_and_newcomers_do_not_wash_out_the_worst() -> None:
    standing = Standing(capacity=64)
    standing.penalise(peer(0), STANDING_THRESHOLD, 0.0)
    for number in range(1, 2000):
        standing.penalise(peer(number), 0.5, 1.0)
        assert standing.statistics(1.0).marked <= 64
    assert standing.refuses(peer(0), 1.0) > 0


# --- the gate ---------------------------------------------------------------------------------------------------------
def test_networks_and_peers_are_denied() -> None:
    gate = Gate(deny=["10.0.0.0/8", str(peer(1)), "2001:db8::/32"])
    assert not gate.admits_ip(LAN)
    assert not gate.admits_ip(ipaddress.ip_address("2001:db8::1"))
    assert gate.admits_ip(ipaddress.ip_address("8.8.8.8"))
    assert gate.admits_ip(None)
    assert not gate.admits_peer(peer(1))
    assert not gate.admits(peer(1), ipaddress.ip_address("8.8.8.8"))
    assert gate.admits(peer(2), ipaddress.ip_address("8.8.8.8"))


def test_an_allow_list_refuses_all_others() -> None:
    by_network, by_peer = Gate(allow=["10.0.0.0/8"]), Gate(allow=[str(peer(1))])
    both = Gate(allow=["10.0.0.0/8", str(peer(1))], deny=["10.0.0.1"])
    away = ipaddress.ip_address("8.8.8.8")
    assert by_network.admits(peer(2), LAN)
    assert not by_network.admits_ip(away)
    assert not by_network.admits_ip(None)
    assert by_peer.admits_ip(away)  # only the handshake can tell
    assert by_peer.admits(peer(1), away)
    assert not by_peer.admits(peer(2), away)
    assert not by_peer.admits_peer(peer(2))
    assert both.admits(peer(1), away)
    assert both.admits(peer(2), ipaddress.ip_address("10.0.0.2"))
    assert not both.admits(peer(1), LAN)


def test_an_entry_that_is_neither_says_what_to_write() -> None:
    with pytest.raises(ConfigError, match="write 12D3KooW"):
        Gate(deny=["example.org"])


def test_one_customers_ipv6_network_counts_as_one_host() -> None:
    table = Unauthenticated(capacity=10, per_ip=2)
    for key in range(2):
        assert table.admit(key, ipaddress.ip_address(f"2a00:1:2:3:{key}::1"), lambda: 0, 0.0)[0]
    assert not table.admit(2, ipaddress.ip_address("2a00:1:2:3:ffff::9"), lambda: 0, 0.0)[0]
    assert table.admit(3, ipaddress.ip_address("2a00:1:2:4::1"), lambda: 0, 0.0)[0]
