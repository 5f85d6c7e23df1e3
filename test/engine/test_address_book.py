from __future__ import annotations

import hashlib
import struct
import tracemalloc

import pytest

from ipfs_kit_py.core.cid import PeerID
from ipfs_kit_py.core.config import (
    ADDRESS_TTL_CONNECTED,
    ADDRESS_TTL_HEARSAY,
    ADDRESS_TTL_SIGNED,
    BOOK_MAX_ADDRESSES,
    BOOK_MAX_ENTRY_BYTES,
    BOOK_MAX_PEERS,
)
from ipfs_kit_py.net.address_book import AddressBook
from ipfs_kit_py.net.dial_plan import Provenance

NOW = 1_800_000_000.0
OWN = PeerID.parse("12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA")
ADDRESS = "/ip4/8.8.8.8/tcp/4001"


def peer(number: int) -> PeerID:
    return PeerID(b"\x12\x20" + hashlib.sha256(str(number).encode()).digest())


def texts(book: AddressBook, who: PeerID, now: float = NOW) -> list[str]:
    return [row.text for row in book.get(who, now)]


@pytest.mark.parametrize(
    ("provenance", "ttl"),
    [
        (Provenance.HEARSAY, ADDRESS_TTL_HEARSAY),
        (Provenance.SIGNED, ADDRESS_TTL_SIGNED),
        (Provenance.CONNECTED, ADDRESS_TTL_CONNECTED),
    ],
)
def test_each_address_lives_as_long_as_its_source_deserves(provenance: Provenance, ttl: float) -> None:
    book = AddressBook(OWN)
    book.add(peer(1), [ADDRESS], provenance, NOW)
    assert texts(book, peer(1), NOW + ttl - 1) == [ADDRESS]
    assert texts(book, peer(1), NOW + ttl) == []


def test_addresses_of_one_peer_expire_each_on_its_own() -> None:
    book = AddressBook(OWN)
    book.add(peer(1), ["/ip4/8.8.4.4/tcp/1"], Provenance.HEARSAY, NOW)
    book.add(peer(1), [ADDRESS], Provenance.SIGNED, NOW)
    assert len(texts(book, peer(1))) == 2
    assert texts(book, peer(1), NOW + ADDRESS_TTL_HEARSAY) == [ADDRESS]


def test_hearsay_does_not_prolong_what_the_peer_said() -> None:
    book = AddressBook(OWN)
    book.add(peer(1), [ADDRESS], Provenance.SIGNED, NOW)
    book.add(peer(1), [ADDRESS], Provenance.HEARSAY, NOW + ADDRESS_TTL_SIGNED - 1)
    assert texts(book, peer(1), NOW + ADDRESS_TTL_SIGNED) == []


def test_what_worked_outlives_any_amount_of_hearsay() -> None:
    book = AddressBook(OWN)
    book.on_success(peer(1), ADDRESS, NOW)
    book.on_failure(peer(1), ADDRESS, NOW)
    for start in range(0, 400, 40):
        book.add(
            peer(1), [f"/ip4/8.9.{n // 200}.{n % 200}/tcp/1" for n in range(start, start + 40)], Provenance.HEARSAY, NOW
        )
    assert len(texts(book, peer(1))) == BOOK_MAX_ADDRESSES
    assert texts(book, peer(1))[0] == ADDRESS


def test_poisoned_records_are_rejected() -> None:
    book, other = AddressBook(OWN), peer(2)
    bad = ["nonsense", "/ip4/0.0.0.0/tcp/1", "/ip4/224.0.0.1/tcp/1", f"/ip4/8.8.8.8/tcp/1/p2p/{other}", ""]
    assert book.add(peer(1), bad, Provenance.HEARSAY, NOW) == 0
    assert book.statistics().rejected == len(bad)
    assert peer(1) not in book
    assert book.add(OWN, [ADDRESS], Provenance.SIGNED, NOW) == 0
    assert OWN not in book


def test_a_list_longer_than_any_peer_has_is_cut() -> None:
    book = AddressBook(OWN)
    many = (f"/ip4/8.{n >> 16}.{n >> 8 & 255}.{n & 255}/tcp/1" for n in range(1_000_000))
    book.add(peer(1), many, Provenance.SIGNED, NOW)
    assert len(texts(book, peer(1))) == BOOK_MAX_ADDRESSES
    long = [f"/dns4/{'a' * 60}.{'b' * 60}.{'c' * 60}.{n}.example/tcp/1" for n in range(40)]
    book.add(peer(2), long, Provenance.SIGNED, NOW)
    assert 0 < len(texts(book, peer(2))) < BOOK_MAX_ADDRESSES
    assert all(len(record or b"") <= BOOK_MAX_ENTRY_BYTES for _raw, record in book.take_changes(10))


def test_a_whole_list_replaces_the_one_before_but_not_what_worked() -> None:
    book = AddressBook(OWN)
    book.add(peer(1), ["/ip4/8.8.1.1/tcp/1"], Provenance.SIGNED, NOW)
    book.on_success(peer(1), "/ip4/8.8.2.2/tcp/1", NOW)
    book.add(peer(1), ["/ip4/8.8.3.3/tcp/1"], Provenance.SIGNED, NOW, replace=True)
    assert set(texts(book, peer(1))) == {"/ip4/8.8.2.2/tcp/1", "/ip4/8.8.3.3/tcp/1"}


def test_hearsay_that_never_works_is_dropped() -> None:
    book = AddressBook(OWN)
    book.add(peer(1), [ADDRESS], Provenance.HEARSAY, NOW)
    book.add(peer(2), [ADDRESS], Provenance.SIGNED, NOW)
    for _time in range(5):
        book.on_failure(peer(1), ADDRESS, NOW)
        book.on_failure(peer(2), ADDRESS, NOW)
    assert peer(1) not in book
    assert [row.failures for row in book.get(peer(2), NOW)] == [5]
    book.on_success(peer(2), ADDRESS, NOW)
    assert [(row.failures, row.worked) for row in book.get(peer(2), NOW)] == [(0, int(NOW))]


def test_a_flood_of_strangers_evicts_strangers_first() -> None:
    book = AddressBook(OWN, max_peers=100)
    book.on_success(peer(0), ADDRESS, NOW)
    book.add(peer(1), [ADDRESS], Provenance.SIGNED, NOW)
    for number in range(2, 1000):
        book.add(peer(number), [ADDRESS], Provenance.HEARSAY, NOW)
    assert len(book) == 100
    assert peer(0) in book
    assert peer(1) in book
    assert peer(2) not in book
    assert peer(999) in book
    assert book.statistics().evicted == 900


def test_bytes_are_bounded_too() -> None:
    book = AddressBook(OWN, max_bytes=10_000)
    for number in range(200):
        book.add(peer(number), [f"/ip4/8.8.8.{n}/tcp/4001" for n in range(20)], Provenance.SIGNED, NOW)
        assert book.statistics().bytes <= 10_000
    assert len(book) > 5


def test_what_was_stored_comes_back() -> None:
    book, again = AddressBook(OWN), AddressBook(OWN)
    book.on_success(peer(1), ADDRESS, NOW)
    book.add(peer(2), [ADDRESS], Provenance.SIGNED, NOW)
    book.forget(peer(2))
    rows = dict(book.take_changes(10))
    assert rows[peer(2).raw] is None
    assert book.changes == 0
    again.load([(raw, record) for raw, record in rows.items() if record is not None], NOW + 1)
    assert again.get(peer(1), NOW + 1) == book.get(peer(1), NOW + 1)
    assert again.changes == 0


def test_damaged_expired_and_future_records_are_left_out() -> None:
    row = struct.Struct("<BBIIH")
    text = ADDRESS.encode()
    for_ever = row.pack(3, 0, 2**32 - 1, 0, len(text)) + text
    expired = row.pack(3, 0, int(NOW) - 1, 0, len(text)) + text
    good = row.pack(3, 0, int(NOW) + 60, 0, len(text)) + text
    book = AddressBook(OWN)
    damaged = [good[:-1], good[:5], b"\xff" * 40, good + b"x", b"z" * (BOOK_MAX_ENTRY_BYTES + 1)]
    book.load([(peer(n).raw, record) for n, record in enumerate(damaged)], NOW)
    book.load([(b"short", good), (OWN.raw, good), (peer(7).raw, for_ever), (peer(8).raw, expired)], NOW)
    assert len(book) == 0
    book.load([(peer(9).raw, good)], NOW)
    assert texts(book, peer(9)) == [ADDRESS]


def test_a_hundred_thousand_peers_fit_into_a_hundred_megabytes() -> None:
    share = 20  # of the full book, so that the test is quick; what one peer weighs does not depend on the others
    ids = [peer(number) for number in range(BOOK_MAX_PEERS // share)]
    lists = [[f"/ip4/8.8.{row}.{n}/tcp/4001" for n in range(5)] for row in range(20)]
    book = AddressBook(OWN)
    book.add(peer(-1), lists[0], Provenance.SIGNED, NOW)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number, who in enumerate(ids):
            copied = PeerID(bytes(bytearray(who.raw)))  # as from the wire: nothing shared with the list
            book.add(copied, lists[number % 20], Provenance.SIGNED, NOW)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown * share < 100e6
