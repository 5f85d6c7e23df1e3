from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipfs_kit_py.core.cid import PeerID
from ipfs_kit_py.core.config import (
    KAD_CHECK_SECONDS,
    KAD_CHECKS_AT_ONCE,
    KAD_FRESH_SECONDS,
    KAD_OFFLINE_FAILURES,
    KAD_REFRESH_SECONDS,
    KAD_RETRY_SECONDS,
    KAD_STALE_SECONDS,
    KAD_TABLE_ADDRESSES,
    MAX_ADDRESS_CHARS,
)
from ipfs_kit_py.routing.kbuckets import Check, Refresh, Table
from ipfs_kit_py.routing.kbuckets_groups import groups_of
from ipfs_kit_py.routing.keys import bucket_of, common_prefix, kad_key
from test.engine.kad_world import peer_id, public_address

ME = PeerID(b"\x12\x20" + bytes(32))
LAN = "/ip4/192.168.1.5/tcp/4001"


def table(*, k: int = 20, seed: int = 1, lan: bool = False) -> Table:
    return Table(ME, k=k, rng=random.Random(seed), lan=lan)


def in_bucket(bucket: int, count: int, seed: int = 2) -> list[PeerID]:
    rng, found = random.Random(seed), list[PeerID]()
    while len(found) < count:
        peer = peer_id(rng)
        if bucket_of(kad_key(ME.raw), kad_key(peer.raw)) == bucket:
            found.append(peer)
    return found


def fill(found: Table, peers: list[PeerID], now: float = 0.0, seed: int = 3) -> None:
    rng = random.Random(seed)
    for peer in peers:
        found.on_seen(peer, (public_address(rng),), now)


def actions(found: Table, now: float) -> list[Check | Refresh]:
    rows = []
    while (action := found.next_action(now)) is not None:
        rows.append(action)
        assert len(rows) < 1000
    return rows


def checks(found: Table, now: float) -> list[PeerID]:
    return [row.peer for row in actions(found, now) if isinstance(row, Check)]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1 << 30), st.integers(0, 400), st.integers(1, 60), st.booleans())
def test_nearest_is_what_sorting_all_gives(seed: int, size: int, count: int, close: bool) -> None:
    rng, found = random.Random(seed), table(seed=seed)
    for _ in range(size):
        found.on_seen(peer_id(rng), (public_address(rng),), 0.0)
    target = kad_key(ME.raw) ^ rng.getrandbits(rng.randrange(257)) if close else rng.getrandbits(256)
    every = [PeerID.parse(row["peer"]) for row in found.dump(0.0)]
    want = sorted(every, key=lambda peer: kad_key(peer.raw) ^ target)[:count]
    assert [info.peer for info in found.nearest(target, count)] == want


def test_a_full_bucket_keeps_who_was_there_and_checks_who_was_silent_longest() -> None:
    found, old = table(k=4), in_bucket(0, 5)
    for number, peer in enumerate(old[:4]):
        fill(found, [peer], now=float(number), seed=number)
    assert not found.on_seen(old[4], ("/ip4/99.1.1.1/tcp/1",), 10.0)
    assert checks(found, 11.0) == []
    assert checks(found, KAD_FRESH_SECONDS + 1) == [old[0]]
    found.on_checked(old[0], True, KAD_FRESH_SECONDS + 2)
    assert old[0] in found
    assert old[4] not in found
    assert checks(found, KAD_FRESH_SECONDS + 3) == []  # one at a time makes room
    assert checks(found, 2 * KAD_FRESH_SECONDS + 2) == [old[1]]
    found.on_checked(old[1], False, 2 * KAD_FRESH_SECONDS + 3)
    assert old[1] not in found
    assert old[4] in found


def test_of_those_who_wait_the_fastest_enters() -> None:
    found, peers = table(k=4), in_bucket(0, 8)
    fill(found, peers[:4])
    for number, latency in enumerate((0.5, None, 0.05, 0.3)):
        found.on_seen(peers[4 + number], (f"/ip4/7{number}.1.1.1/tcp/1",), 1.0, latency=latency)
    found.on_checked(peers[0], False, 2.0)
    assert peers[6] in found
    assert found.latency(peers[6]) == pytest.approx(0.05)
    assert found.statistics().replacements == 3


def test_a_failed_request_alone_evicts_nobody_but_they_are_passed_over() -> None:
    found, peers = table(), in_bucket(0, 3)
    fill(found, peers)
    found.on_failed(peers[0], 1.0)
    assert peers[0] in found
    target = kad_key(peers[0].raw)
    assert [info.peer for info in found.nearest(target, 3)][-1] == peers[0]
    assert peers[0] not in [info.peer for info in found.nearest(target, 2)]
    assert peers[0] in checks(found, 1.0)
    found.on_checked(peers[0], True, 2.0)
    assert found.nearest(target, 1)[0].peer == peers[0]


def test_a_check_without_an_answer_fails_at_its_deadline() -> None:
    found, peers = table(), in_bucket(0, 1)
    fill(found, peers)
    found.on_failed(peers[0], 1.0)
    actions(found, 1.0)
    assert found.deadline() == pytest.approx(1.0 + KAD_CHECK_SECONDS)
    found.on_timeout(1.0 + KAD_CHECK_SECONDS)
    assert len(found) == 0
    assert found.statistics().evicted == 1
    assert found.deadline() is None or actions(found, 100.0) == []


def test_silent_peers_are_checked_few_at_once() -> None:
    found, rng = table(), random.Random(5)
    fill(found, [peer_id(rng) for _ in range(200)])
    actions(found, 1.0)
    due = checks(found, KAD_STALE_SECONDS + 1)
    assert len(due) == len(set(due)) == KAD_CHECKS_AT_ONCE


def test_while_nobody_answers_nobody_is_evicted() -> None:
    found, rng = table(), random.Random(6)
    fill(found, [peer_id(rng) for _ in range(300)])
    before, now = len(found), KAD_STALE_SECONDS + 1
    for _ in range(20):
        for peer in checks(found, now):
            found.on_checked(peer, False, now)
            break
        found.on_timeout(now := now + KAD_CHECK_SECONDS)
    assert before - len(found) <= KAD_OFFLINE_FAILURES
    assert found.statistics().offline
    someone = found.nearest(0, 1)[0]
    found.on_seen(someone.peer, someone.addresses, now)
    assert not found.statistics().offline
    assert checks(found, now + KAD_RETRY_SECONDS)


def test_few_peers_of_one_network_enter_a_bucket_and_a_table() -> None:
    found, rng = table(), random.Random(7)
    for _ in range(1000):
        found.on_seen(peer_id(rng), (f"/ip4/45.7.{rng.randrange(256)}.{rng.randrange(256)}/tcp/4001",), 0.0)
    assert len(found) == 3
    assert max(found.statistics().buckets) <= 2
    assert found.statistics().refused_groups == 997


def test_private_networks_are_exempt_on_a_lan_only() -> None:
    peers = in_bucket(0, 10)
    for lan, count in ((True, 10), (False, 2)):
        found = table(lan=lan)
        for peer in peers:
            found.on_seen(peer, (LAN,), 0.0)
        assert len(found) == count


def test_who_gives_no_address_or_moves_into_a_crowded_network_gains_nothing() -> None:
    found, peers = table(), in_bucket(0, 8)
    for peer in peers[:4]:
        found.on_seen(peer, (), 0.0)
    assert len(found) == 2
    for number, peer in enumerate(peers[4:7]):
        found.on_seen(peer, (f"/ip4/5{number}.1.1.1/tcp/1",), 0.0)
    for peer in peers[4:7]:
        assert found.on_seen(peer, ("/ip4/66.6.1.1/tcp/1",), 1.0)
    moved = [info for info in found.nearest(0, 20) if info.addresses == ("/ip4/66.6.1.1/tcp/1",)]
    assert len(moved) == 2


def test_groups_are_of_the_peers_own_network() -> None:
    assert groups_of(("/ip4/1.2.3.4/tcp/1", "/ip4/1.2.9.9/tcp/2"), exempt=False) == {"0102"}
    assert groups_of(("/ip6/2a00:1450::1/tcp/1",), exempt=False) == {"2a001450"}
    relayed = f"/ip4/1.2.3.4/tcp/1/p2p/{ME}/p2p-circuit"
    assert groups_of((relayed, "/dns4/a.b.example.org/tcp/1"), exempt=False) == {"name example.org"}
    assert groups_of((relayed, "nonsense"), exempt=False) == groups_of((), exempt=False) != frozenset()
    assert groups_of(("/ip4/127.0.0.1/tcp/1",), exempt=True) == frozenset()


def test_each_bucket_is_refreshed_by_a_key_in_it_and_ourselves_first() -> None:
    found, rng = table(), random.Random(8)
    assert actions(found, 0.0) == []
    fill(found, [peer_id(rng) for _ in range(100)])
    rows = [row for row in actions(found, 0.0) if isinstance(row, Refresh)]
    assert rows[0].key == ME.raw
    assert {row.bucket for row in rows[1:]} == set(range(len(found.statistics().buckets)))
    for row in rows[1:]:
        assert row.target == kad_key(row.key)
        assert common_prefix(kad_key(ME.raw), row.target) == row.bucket
    assert actions(found, 1.0) == []
    found.on_lookup(rows[1].target, 300.0)
    again = [row for row in actions(found, KAD_REFRESH_SECONDS) if isinstance(row, Refresh)]
    assert {row.bucket for row in rows} - {row.bucket for row in again} == {rows[1].bucket}


def test_a_deeper_bucket_than_before_is_refreshed_at_once() -> None:
    found = table()
    fill(found, in_bucket(0, 2))
    assert [row.bucket for row in actions(found, 0.0) if isinstance(row, Refresh)][1:] == [0]
    fill(found, in_bucket(3, 1), now=10.0)
    assert found.deadline() == pytest.approx(10.0)
    assert [row.bucket for row in actions(found, 10.0) if isinstance(row, Refresh)] == [1, 2, 3]


def test_a_table_survives_a_run_and_is_checked_after_it() -> None:
    found, rng = table(), random.Random(9)
    fill(found, [peer_id(rng) for _ in range(100)], now=1000.0)
    rows = json.loads(json.dumps(found.dump(5000.0)))
    again = table()
    assert again.load(rows, 7.0) == len(found) == len(again)
    assert again.nearest(1, 20) == found.nearest(1, 20)
    assert len(checks(again, 7.0)) == KAD_CHECKS_AT_ONCE
    assert {row["known"] for row in again.dump(7.0)} == {4000.0}


@given(st.lists(st.recursive(st.none() | st.floats() | st.text(max_size=9), st.lists, max_leaves=3)))
def test_a_damaged_file_is_skipped(rows: list[object]) -> None:
    wrong = {"peer": str(in_bucket(0, 1)[0]), "addresses": [1, None, "x"], "known": float("nan"), "latency": -1.0}
    found = table()
    assert found.load([*rows, {"peer": 3}, wrong, {**wrong, "addresses": 7}], 0.0) <= 1


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1 << 30))
def test_whatever_comes_the_counts_agree_and_all_is_bounded(seed: int) -> None:
    rng, found, now = random.Random(seed), table(k=5), 0.0
    pool = [peer_id(rng) for _ in range(80)]
    for _ in range(300):
        now += rng.random() * 60
        peer, what = rng.choice(pool), rng.randrange(6)
        if what < 3:
            texts = [f"/ip4/{rng.randrange(20, 30)}.{rng.randrange(4)}.1.1/tcp/1" for _ in range(rng.randrange(30))]
            found.on_seen(peer, texts, now, latency=rng.choice([None, rng.random()]))
        elif what == 3:
            found.on_failed(peer, now)
        elif what == 4:
            found.remove(peer)
        else:
            found.on_timeout(now)
            for row in actions(found, now):
                if isinstance(row, Check):
                    found.on_checked(row.peer, rng.random() < 0.7, now)
        deadline = found.deadline()
        assert deadline is None or deadline <= -1.0 or not actions(found, -1.0)  # nothing is due before it says so
    figures = found.statistics()
    infos = found.nearest(0, 1000)
    assert len(found) == figures.peers == sum(figures.buckets) == len(infos)
    assert max(figures.buckets, default=0) <= 5
    assert figures.replacements <= 5 * len(figures.buckets)
    counts: dict[str, int] = {}
    for info in infos:
        assert len(info.addresses) <= KAD_TABLE_ADDRESSES
        for group in groups_of(info.addresses, exempt=False):
            counts[group] = counts.get(group, 0) + 1
    assert max(counts.values(), default=0) <= 3
    assert figures.groups == len(counts)


def test_a_flood_of_peers_from_everywhere_is_bounded() -> None:
    found, rng = table(), random.Random(11)
    fill(found, regulars := [peer_id(rng) for _ in range(100)])
    kept = [peer for peer in regulars if peer in found]
    for _ in range(5000):
        told = [public_address(rng) for _ in range(rng.randrange(1, 4))]
        found.on_seen(peer_id(rng), [*told, "x" * 9999], 1.0)
    figures = found.statistics()
    assert max(figures.buckets) <= 20
    assert figures.replacements <= 20 * len(figures.buckets)
    assert len(figures.buckets) <= 16
    assert all(peer in found for peer in kept)
    assert all(len(text) <= MAX_ADDRESS_CHARS for info in found.nearest(0, 999) for text in info.addresses)
    assert len(found.dump(1.0)) == len(found)


def test_each_peer_is_due_again_however_often_it_was_seen() -> None:
    """The time of the next action is kept, not searched for at each event: it must never be too late."""
    found, rng, now = table(), random.Random(12), 0.0
    fill(found, [peer_id(rng) for _ in range(60)])
    everybody = {info.peer for info in found.nearest(0, 999)}
    checked: set[PeerID] = set()
    for _ in range(2000):
        for action in actions(found, now):
            if isinstance(action, Check):
                checked.add(action.peer)
                found.on_checked(action.peer, True, now)
        deadline = found.deadline()
        assert deadline is not None
        assert deadline >= now
        now = deadline
        if now > 2 * KAD_STALE_SECONDS:
            break
    assert checked == everybody


def test_we_are_never_in_our_own_table() -> None:
    found = table()
    assert not found.on_seen(ME, (LAN,), 0.0)
    assert found.load([{"peer": str(ME), "addresses": [], "known": 1.0, "latency": None}], 0.0) == 0
    assert len(found) == 0
