"""What a node of the DHT keeps for others: bounded, fair, and the same after a restart."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipfs_kit_py.core.cid import PeerID
from ipfs_kit_py.core.config import KAD_VALUE_SECONDS
from ipfs_kit_py.core.errors import InvalidRecord
from ipfs_kit_py.core.interfaces import Provider
from ipfs_kit_py.crypto import ipns
from ipfs_kit_py.crypto.keys import PrivateKey
from ipfs_kit_py.routing.found_providers import FoundProviders
from ipfs_kit_py.routing.provider_store import ProviderStore
from ipfs_kit_py.routing.validators import Validators
from ipfs_kit_py.routing.value_store import ValueStore

DAY = 86400.0
NOW = 1_800_000_000.0


def peer(number: int) -> PeerID:
    return PeerID(b"\x12\x20" + number.to_bytes(32, "big"))


def where(number: int) -> list[str]:
    return [f"/ip4/10.0.0.{number}/tcp/4001"]


def key(number: int) -> bytes:
    return b"\x12\x20" + bytes([number]) * 32


def records(store: ProviderStore) -> dict[tuple[bytes, bytes], float]:
    return {(multihash, raw): ends for multihash, rows in store._keys.items() for raw, ends in rows.items()}


# --- providers --------------------------------------------------------------------------------------------------------

_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 15), st.integers(0, 15)),
        st.tuples(st.just("remove"), st.integers(0, 15), st.integers(0, 15)),
        st.tuples(st.just("get"), st.integers(0, 15), st.just(0)),
        st.tuples(st.just("wait"), st.integers(0, 30), st.just(0)),
        st.tuples(st.just("expire"), st.just(0), st.just(0)),
    ),
    max_size=150,
)


@given(_STEPS)
@settings(max_examples=100, deadline=None)
def test_keys_and_peers_tell_the_same_and_stay_within_bounds(steps: list[tuple[str, int, int]]) -> None:
    store, now, rng = ProviderStore(records=40, per_key=6, validity=100.0), 0.0, random.Random(1)
    for step, first, second in steps:
        if step == "add":
            store.add(key(first), peer(second), where(second), now)
            assert peer(second) in {info.peer for info in store.get(key(first), now, rng)}
        elif step == "remove":
            store.remove(key(first), peer(second))
            assert peer(second) not in {info.peer for info in store.get(key(first), now, rng)}
        elif step == "get":
            assert len(store.get(key(first), now, rng, 3)) <= 3
        elif step == "wait":
            now += first
        else:
            store.expire(now)
            assert all(ends > now for ends in records(store).values())
        by_peer = {(multihash, raw) for raw, mine in store._peers.items() for multihash in mine}
        assert set(records(store)) == by_peer
        assert set(store._addresses) == set(store._peers)
        assert len(store) == len(by_peer) <= 40
        assert all(0 < len(rows) <= 6 for rows in store._keys.values())


@given(_STEPS)
@settings(max_examples=50, deadline=None)
def test_providers_are_the_same_after_a_restart(steps: list[tuple[str, int, int]]) -> None:
    store, now = ProviderStore(validity=100.0), 0.0
    for step, first, second in steps:
        if step == "add":
            store.add(key(first), peer(second), where(second), now)
        elif step == "wait":
            now += first
    rows = json.loads(json.dumps(list(store.dump(now))))
    again = ProviderStore(validity=100.0)
    again.load(rows, 5.0)
    left = {name: ends - now for name, ends in records(store).items() if ends > now}
    assert {name: ends - 5.0 for name, ends in records(again).items()} == left
    assert again._addresses == {raw: told for raw, told in store._addresses.items() if any(r == raw for _, r in left)}


def test_one_provider_of_much_is_written_in_many_rows() -> None:
    store = ProviderStore()
    for number in range(1000):
        store.add(b"%d" % number, peer(1), where(1), 0.0)
    rows = list(store.dump(0.0))
    assert max(len(row["records"]) for row in rows) <= 200
    again = ProviderStore()
    assert again.load(rows, 0.0) == 1000


def test_records_that_come_and_go_while_it_is_written_do_no_harm() -> None:
    store = ProviderStore()
    for number in range(300):
        store.add(b"%d" % number, peer(number % 3), where(1), 0.0)
    rows = []
    for number, row in enumerate(store.dump(0.0)):
        rows.append(row)
        store.add(b"new %d" % number, peer(50), where(2), 0.0)
        for other in range(300):
            store.remove(b"%d" % other, peer(2))
    assert {row["peer"] for row in rows} >= {str(peer(0)), str(peer(1))}


@given(st.lists(st.integers(1, 5), min_size=1, max_size=10), st.integers(100, 400))
@settings(max_examples=30, deadline=None)
def test_no_flood_of_one_peer_pushes_out_those_who_have_less(shares: list[int], flood: int) -> None:
    store, rng = ProviderStore(records=100, per_key=200), random.Random(1)
    for number, share in enumerate(shares):
        for item in range(share):
            store.add(b"%d/%d" % (number, item), peer(number), where(number), 0.0)
    for number in range(flood):
        store.add(b"flood %d" % number, peer(99), where(99), 1.0)
    assert len(store) <= 100
    for number, share in enumerate(shares):
        for item in range(share):
            assert [info.peer for info in store.get(b"%d/%d" % (number, item), 2.0, rng)] == [peer(number)]


def test_a_peer_that_says_it_again_counts_once_and_from_then_on() -> None:
    store, rng = ProviderStore(validity=100.0), random.Random(1)
    store.add(key(1), peer(1), where(1), 0.0)
    store.add(key(1), peer(1), where(2), 60.0)
    [found] = store.get(key(1), 150.0, rng)
    assert (found.addresses, len(store)) == (tuple(where(2)), 1)
    assert store.get(key(1), 160.0, rng) == []
    assert len(store) == 0


# --- values -----------------------------------------------------------------------------------------------------------


def signed(key_: PrivateKey, sequence: int, *, lifetime: float = 10 * DAY) -> bytes:
    return ipns.create(key_, "/ipfs/bafkqaaa", sequence, NOW, lifetime=lifetime)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=20))
@settings(max_examples=30, deadline=None)
def test_whatever_comes_in_whatever_order_the_newest_stays(sequences: list[int]) -> None:
    store, name = ValueStore(Validators()), ipns.record_key(_KEY.peer_id())
    best = -1
    for sequence in sequences:
        if sequence >= best:
            store.put(name, _RECORDS[sequence], peer(1), NOW)
            best = sequence
        else:
            with pytest.raises(InvalidRecord):
                store.put(name, _RECORDS[sequence], peer(1), NOW)
        assert store.get(name, NOW) == _RECORDS[best]


_KEY = PrivateKey.generate()
_RECORDS = [signed(_KEY, sequence) for sequence in range(7)]


def test_a_value_ends_by_its_own_time_or_that_of_the_store() -> None:
    store, short, long = ValueStore(Validators()), PrivateKey.generate(), PrivateKey.generate()
    store.put(ipns.record_key(short.peer_id()), signed(short, 1, lifetime=3600.0), peer(1), NOW)
    store.put(ipns.record_key(long.peer_id()), signed(long, 1), peer(1), NOW)
    assert store.get(ipns.record_key(short.peer_id()), NOW + 3599.0)
    assert store.get(ipns.record_key(short.peer_id()), NOW + 3601.0) is None
    assert store.get(ipns.record_key(long.peer_id()), NOW + KAD_VALUE_SECONDS - 1)
    assert store.get(ipns.record_key(long.peer_id()), NOW + KAD_VALUE_SECONDS) is None
    assert len(store) == 0


def test_values_are_the_same_after_a_restart_and_checked_again() -> None:
    store, keys = ValueStore(Validators()), [PrivateKey.generate() for _ in range(5)]
    for one in keys:
        store.put(ipns.record_key(one.peer_id()), signed(one, 1), peer(1), NOW)
    rows = json.loads(json.dumps(list(store.dump())))
    rows[0][1] = rows[1][1]  # another's record under this name
    again = ValueStore(Validators())
    assert again.load([*rows, None, [1, 2], ["", "", "x"]], peer(2), NOW + DAY) == 4
    assert again.received(ipns.record_key(keys[1].peer_id())) == NOW
    assert again.get(ipns.record_key(keys[1].peer_id()), NOW + DAY) == store.get(
        ipns.record_key(keys[1].peer_id()), NOW + DAY
    )
    assert again.load(rows, peer(2), NOW + 3 * DAY) == 0


# --- what a search has met --------------------------------------------------------------------------------------------


@given(st.integers(1, 30), st.lists(st.lists(st.integers(0, 60), max_size=40), max_size=8))
@settings(max_examples=100, deadline=None)
def test_a_search_gives_each_once_never_too_many_and_in_the_end_all(count: int, answers: list[list[int]]) -> None:
    met, given_out = FoundProviders(count), list[PeerID]()
    for answer in answers:
        now = met.on_answer(Provider(peer(number)) for number in answer)
        given_out += [provider.peer for provider in now]
    given_out += [provider.peer for provider in met.rest()]
    named = {peer(number) for answer in answers for number in answer}
    assert len(given_out) == len(set(given_out)) == min(count, len(named))
    assert set(given_out) <= named


@given(st.integers(3, 30), st.integers(100, 400))
def test_one_answer_alone_fills_no_search(count: int, names: int) -> None:
    met = FoundProviders(count)
    assert len(met.on_answer(Provider(peer(number)) for number in range(names))) < count
    assert not met.enough
