"""What several routers name becomes one list."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from ipfs_kit_py.core.cid import PeerID
from ipfs_kit_py.core.config import MAX_ADDRESS_CHARS, ROUTER_ADDRESSES, ROUTER_ADDRESSES_READ, ROUTER_WAITING
from ipfs_kit_py.core.interfaces import Provider
from ipfs_kit_py.routing.gathering import Gathering, usable


def peer(number: int) -> PeerID:
    return PeerID(b"\x12\x20" + hashlib.sha256(b"%d" % number).digest())


def at(number: int, port: int = 4001) -> str:
    return f"/ip4/10.0.{number // 250}.{number % 250 + 1}/tcp/{port}"


def gathering(count: int = 20, known: tuple[int, ...] = ()) -> Gathering:
    reached = {peer(number) for number in known}
    return Gathering(peer(0), count, known=reached.__contains__)


def drain(found: Gathering) -> list[Provider]:
    items = []
    while (item := found.take()) is not None:
        items.append(item)
    return items


named = st.tuples(
    st.sampled_from(["dht", "connected", "http"]),
    st.integers(0, 12),
    st.lists(st.integers(0, 5).map(at), max_size=3),
    st.booleans(),
)


@given(st.lists(named, max_size=80), st.integers(1, 15))
def test_each_peer_comes_once_with_all_that_was_told_before_it_was_taken(said, count):
    found = gathering(count)
    told: dict[PeerID, set[str]] = {}
    taken: list[Provider] = []
    for source, number, texts, take in said:
        if peer(number) not in {item.peer for item in taken}:
            told.setdefault(peer(number), set()).update(texts)
        found.on_found(source, Provider(peer(number), tuple(texts), source))
        if take and (item := found.take()) is not None:
            taken.append(item)
            assert set(item.addresses) == told[item.peer]
            assert item.addresses  # a peer without any waits
    found.end()
    for item in drain(found):
        taken.append(item)
        assert set(item.addresses) == told[item.peer]
    peers = [item.peer for item in taken]
    assert len(set(peers)) == len(peers)
    assert peer(0) not in peers
    assert len(peers) == min(count, len(set(told) - {peer(0)}))


@given(st.lists(named, max_size=60))
def test_the_order_of_what_comes_changes_no_set(said):
    def all_of(items):
        found = gathering(100)
        for source, number, texts, _ in items:
            found.on_found(source, Provider(peer(number), tuple(texts), source))
        found.end()
        return {item.peer: set(item.addresses) for item in drain(found)}

    assert all_of(said) == all_of(reversed(said))


def test_routers_take_turns_and_who_two_of_them_name_comes_first():
    found = gathering()
    for number in range(1, 6):
        found.on_found("flood", Provider(peer(number), (at(number),)))
    found.on_found("dht", Provider(peer(7), (at(7),)))
    found.on_found("dht", Provider(peer(5), (at(5, 4002),)))
    order = [item.peer for item in drain(found)]
    assert order == [peer(5), peer(1), peer(7), peer(2), peer(3), peer(4)]


def test_a_source_alone_fills_its_own_share_alone():
    found = gathering(count=1000)
    given_up = 0
    for number in range(1, 500):
        if found.is_full("flood"):
            given_up += 1
        else:
            found.on_found("flood", Provider(peer(number)))
    assert found.found == ROUTER_WAITING
    assert given_up
    assert not found.is_full("dht")
    found.on_found("dht", Provider(peer(600), (at(1),)))
    taken = found.take()
    assert taken is not None
    assert taken.peer == peer(600)


def test_a_peer_without_an_address_waits_for_one():
    found = gathering(known=(3,))
    found.on_found("dht", Provider(peer(1)))
    found.on_found("dht", Provider(peer(2)))
    found.on_found("dht", Provider(peer(3)))
    assert [item.peer for item in drain(found)] == [peer(3)]
    assert found.next_search() == peer(1)
    found.on_looked(peer(1), [at(1)])
    assert drain(found) == [Provider(peer(1), (at(1),), "dht")]
    found.on_found("http", Provider(peer(2), (at(2),)))
    assert found.next_search() is None
    assert drain(found) == [Provider(peer(2), (at(2),), "dht")]


def test_who_is_nowhere_to_be_found_is_given_at_the_end():
    found = gathering()
    found.on_found("dht", Provider(peer(1), ("nonsense",)))
    assert found.take() is None
    found.end()
    assert drain(found) == [Provider(peer(1), (), "dht")]


def test_what_is_news_and_what_is_not():
    found = gathering()
    assert found.on_found("dht", Provider(peer(0), (at(1),))) is None
    assert found.on_found("dht", Provider(peer(1), (at(1),))) == Provider(peer(1), (at(1),), "dht")
    assert found.on_found("http", Provider(peer(1), (at(1),))) is None
    assert found.on_found("http", Provider(peer(1), (at(1), at(2)))) is not None
    assert found.take() == Provider(peer(1), (at(1), at(2)), "dht")
    assert found.take() is None
    assert found.on_found("late", Provider(peer(1), (at(3),))) == Provider(peer(1), (at(3),), "late")
    assert found.take() is None


def test_ten_thousand_addresses_are_cut_and_do_not_push_out_the_true_one():
    found = gathering()
    found.on_found("flood", Provider(peer(1), tuple(at(number) for number in range(10_000))))
    found.on_found("dht", Provider(peer(1), (at(1, 9999),)))
    taken = found.take()
    assert taken is not None
    assert len(taken.addresses) == ROUTER_ADDRESSES
    assert at(1, 9999) in taken.addresses[:2]


def test_addresses_that_cannot_be_the_peers_own_are_left_out():
    mine, other = peer(1), peer(2)
    texts = (
        f"{at(1)}/p2p/{mine}",
        f"{at(2)}/p2p/{other}",
        "/ip4/0.0.0.0/tcp/4001",
        "nonsense",
        "/" + "x" * MAX_ADDRESS_CHARS,
        at(1),
    )
    assert usable(Provider(mine, texts)) == (at(1),)
    late = ("nonsense",) * ROUTER_ADDRESSES_READ + (at(1),)
    assert usable(Provider(mine, late)) == ()
