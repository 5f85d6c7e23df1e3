"""The mDNS engine of one link: what it says, whom it believes, and what a hostile link can make it do."""

from __future__ import annotations

import ipaddress
import random
import struct

import dns.message
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_kit_py.core import config
from ipfs_kit_py.core.cid import PeerID
from ipfs_kit_py.core.errors import ProtocolViolation
from ipfs_kit_py.routing.discovery import mdns_wire as wire
from ipfs_kit_py.routing.discovery.mdns import Mdns

FACE = ipaddress.ip_interface("192.168.7.1/24")
FAR = ipaddress.ip_interface("192.168.7.2/24")


def peer(n: int) -> PeerID:
    return PeerID(b"\x12\x20" + n.to_bytes(32, "big"))


def engine(n: int = 1, face: ipaddress.IPv4Interface | ipaddress.IPv6Interface = FACE) -> Mdns:
    return Mdns(peer(n), face, random.Random(n), 0.0)


def announcement(n: int, *addresses: str, ttl: int = 120, label: bytes | None = None) -> bytes:
    name = (label or b"peer%d" % n, *wire.SERVICE)
    texts = [f"dnsaddr={text}/p2p/{peer(n)}".encode() for text in addresses]
    return wire.encode_answer(name, texts, ttl, ip=bytes(4), port=1)


def test_a_question_is_answered_and_the_peer_found() -> None:
    here, there = engine(1), engine(2, FAR)
    there.set_addresses(["/ip4/192.168.7.2/tcp/4001", "/ip4/127.0.0.1/tcp/4001", "/ip4/8.8.8.8/tcp/1"], 0.0)
    assert there.take_datagrams(0.2)  # its announcement, which nobody hears
    here.ask()
    (question,) = here.take_datagrams(5.0)
    there.receive(question, "192.168.7.1", 5.0)
    at = there.deadline()
    assert at is not None
    (answer,) = there.take_datagrams(max(at, 5.0))
    here.receive(answer, "192.168.7.2", at)
    (found,) = here.take_found()
    assert found.peer == peer(2)
    assert found.addresses == ("/ip4/192.168.7.2/tcp/4001",)
    here.receive(answer, "192.168.7.2", at + 1)
    assert here.take_found() == []  # told of once


def test_another_reader_of_dns_reads_the_same() -> None:
    data = announcement(3, "/ip4/192.168.7.3/tcp/4001", "/ip4/192.168.7.3/udp/4001/quic-v1")
    message = dns.message.from_wire(data)
    (pointer,) = message.answer
    assert pointer.name.to_text() == "_p2p._udp.local."
    assert pointer.ttl == 120
    texts = next(row for row in message.additional if row.rdtype == dns.rdatatype.TXT)
    assert len(texts[0].strings) == 2
    assert texts.name == pointer[0].target


def test_a_compressed_answer_is_read() -> None:
    message = dns.message.from_wire(announcement(3, "/ip4/192.168.7.3/tcp/4001"))
    message.flags |= 0x8000
    here = engine()
    here.receive(message.to_wire(), "192.168.7.3", 0.0)
    assert [found.peer for found in here.take_found()] == [peer(3)]


def test_names_are_random_and_long_enough() -> None:
    one, two = engine(1), engine(2)
    for item in (one, two):
        item.set_addresses([f"/ip4/{FACE.ip}/tcp/1"], 0.0)
    names = [next(iter(wire.decode(item.take_datagrams(1.0)[0]).instances)) for item in (one, two)]  # type: ignore[union-attr]
    assert names[0] != names[1]
    assert all(32 <= len(name[0]) <= 63 for name in names)


def test_who_listens_nowhere_on_the_link_is_silent() -> None:
    here = engine()
    here.set_addresses(["/ip4/127.0.0.1/tcp/4001"], 0.0)
    here.receive(wire.encode_query(), "192.168.7.9", 0.0)
    assert here.take_datagrams(100.0) == []
    assert here.farewell() == []


def test_an_announcement_is_repeated_once_and_who_knows_us_is_not_answered() -> None:
    here = engine()
    here.set_addresses([f"/ip4/{FACE.ip}/tcp/1"], 0.0)
    sent = [data for tick in range(100) for data in here.take_datagrams(float(tick))]
    assert len(sent) == config.MDNS_ANNOUNCEMENTS
    name, _ = wire.decode(sent[0]).instances.popitem()  # type: ignore[union-attr]
    known = bytearray(sent[0])
    known[2:4] = b"\0\0"  # a message with our pointer among its known answers
    struct.pack_into("!H", known, 4, 1)
    question = wire.encode_query()[12:]
    here.receive(bytes(known[:12]) + question + bytes(known[12:]), "192.168.7.9", 200.0)
    assert name[1:] == wire.SERVICE
    assert here.deadline() is None


def test_browsers_of_services_are_answered() -> None:
    here = engine()
    here.set_addresses([f"/ip4/{FACE.ip}/tcp/1"], 0.0)
    meta = bytes(4) + b"\0\1" + bytes(6) + b"\x09_services\x07_dns-sd\x04_udp\x05local\0\0\x0c\0\1"
    here.receive(meta, "192.168.7.9", 50.0)
    assert wire.encode_meta_answer(120) in here.take_datagrams(52.0)


def test_a_flood_of_questions_gets_an_answer_a_second_at_most() -> None:
    here = engine()
    here.set_addresses([f"/ip4/{FACE.ip}/tcp/1"], 0.0)
    answers = 0
    for tick in range(1000):  # ten seconds, from as many made-up senders as there are
        here.receive(wire.encode_query(), f"192.168.7.{tick % 250 + 2}", tick / 100)
        answers += len(here.take_datagrams(tick / 100))
    assert 0 < answers <= 10 / config.MDNS_ANSWER_SECONDS + 1


def test_one_source_and_all_together_are_limited_and_few_are_remembered() -> None:
    here = engine(face=ipaddress.ip_interface("10.0.0.1/8"))
    for _ in range(100):
        here.receive(wire.encode_query(), "10.0.0.9", 0.0)
    assert here.statistics().limited == 100 - config.MDNS_PER_SOURCE * config.MDNS_BURST
    for n in range(5000):
        here.receive(wire.encode_query(), f"10.1.{n // 250}.{n % 250}", 0.0)
    assert here.statistics().limited >= 5000 - config.MDNS_PER_LINK * config.MDNS_BURST
    assert len(here._sources) == config.MDNS_MAX_SOURCES


def test_a_source_tells_of_few_peers_and_a_link_of_not_too_many() -> None:
    here = engine(face=ipaddress.ip_interface("10.0.0.1/8"))
    for n in range(2, 40):
        here.receive(announcement(n, "/ip4/10.0.0.9/tcp/1"), "10.0.0.9", n * 1.0)
    assert here.statistics().peers == config.MDNS_MAX_PEERS_PER_SOURCE
    for n in range(100, 1100):
        here.receive(announcement(n, "/ip4/10.0.0.9/tcp/1", ttl=10**6), f"10.1.{n // 250}.{n % 250}", n * 1.0)
    assert here.statistics().peers == config.MDNS_MAX_PEERS
    late = 1100.0 + config.MDNS_TTL_MAX_SECONDS  # no lifetime is believed beyond the limit
    here.receive(announcement(5000, "/ip4/10.0.0.9/tcp/1"), "10.2.0.1", late)
    assert here.statistics().peers == 1


@pytest.mark.parametrize(
    "text",
    ["/ip4/127.0.0.1/tcp/1", "/ip4/8.8.8.8/tcp/1", "/ip4/10.0.0.1/tcp/1", "/ip4/192.168.7.255/tcp/1",
     "/ip4/224.0.0.251/tcp/1", "/ip4/0.0.0.0/tcp/1", "/dns4/example.org/tcp/1", "/ip6/::1/tcp/1"],
)  # fmt: skip
def test_addresses_that_are_not_on_the_link_are_not_believed(text: str) -> None:
    here = engine()
    here.receive(announcement(2, text), "192.168.7.2", 0.0)
    assert here.take_found() == []
    assert here.statistics().foreign == 1


def test_senders_of_other_networks_and_ourselves_are_not_heard() -> None:
    here = engine()
    here.receive(announcement(2, "/ip4/192.168.7.2/tcp/1"), "192.168.8.2", 0.0)
    here.receive(announcement(1, "/ip4/192.168.7.2/tcp/1"), "192.168.7.2", 0.0)
    assert here.take_found() == []


def test_few_addresses_of_one_peer_are_taken_and_a_leaving_peer_is_forgotten() -> None:
    here = engine()
    many = announcement(2, *(f"/ip4/192.168.7.2/tcp/{port}" for port in range(1, 60)))
    here.receive(many, "192.168.7.2", 0.0)
    (found,) = here.take_found()
    assert len(found.addresses) == config.MDNS_MAX_ADDRESSES
    here.receive(announcement(2, "/ip4/192.168.7.2/tcp/1", ttl=0), "192.168.7.2", 1.0)
    assert here.statistics().peers == 0


def test_a_peer_named_by_somebody_else_first_is_still_heard_itself() -> None:
    here = engine()
    here.receive(announcement(2, "/ip4/192.168.7.66/tcp/1"), "192.168.7.66", 0.0)
    here.receive(announcement(2, "/ip4/192.168.7.2/tcp/1"), "192.168.7.2", 0.0)
    assert [found.addresses[0] for found in here.take_found()] == ["/ip4/192.168.7.66/tcp/1", "/ip4/192.168.7.2/tcp/1"]


def test_limits_of_messages() -> None:
    with pytest.raises(ProtocolViolation, match="records"):
        wire.decode(struct.pack("!6H", 0, 0x8000, 0, config.MDNS_MAX_RECORDS + 1, 0, 0))
    with pytest.raises(ProtocolViolation, match="bytes"):
        wire.decode(bytes(config.MDNS_PACKET_BYTES + 1))
    header = struct.pack("!6H", 0, 0, 1, 0, 0, 0)
    with pytest.raises(ProtocolViolation, match="forwards"):
        wire.decode(header + b"\xc0\x0c\0\x0c\0\1")  # a name that points at itself
    hops = b"".join(struct.pack("!H", 0xC000 | at) for at in (12, *range(13, 91, 2)))  # each points at the one before
    with pytest.raises(ProtocolViolation, match="too often"):
        wire._read_name(header + b"\0" + hops, 13 + 2 * 39)
    assert wire._read_name(header + b"\0" + hops, 13 + 2 * 3) == ((), 13 + 2 * 4)
    many = wire._wire_name((b"p", *wire.SERVICE))
    strings = b"\1x" * 1000
    record = many + struct.pack("!HHIH", 16, 1, 1, len(strings)) + strings
    pointer = wire._wire_name(wire.SERVICE) + struct.pack("!HHIH", 12, 1, 1, len(many)) + many
    answer = wire.decode(struct.pack("!6H", 0, 0x8400, 0, 2, 0, 0) + pointer + record)
    assert isinstance(answer, wire.Answer)
    assert len(next(iter(answer.instances.values())).texts) == config.MDNS_MAX_TEXTS


@given(st.binary(max_size=300))
def test_garbage_is_counted_and_never_raises(tail: bytes) -> None:
    here = engine()
    here.receive(tail, "192.168.7.2", 0.0)
    here.receive(struct.pack("!6H", 0, 0x8400, 1, 2, 0, 2) + tail, "192.168.7.2", 0.0)
    whole = announcement(2, "/ip4/192.168.7.2/tcp/1")
    here.receive(whole[: len(tail) % len(whole)], "192.168.7.2", 0.0)
    assert here.statistics().received == 3
    assert here.take_found() == []
