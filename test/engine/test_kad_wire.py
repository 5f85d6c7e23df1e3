from __future__ import annotations

import contextlib
import json
import random
from ipaddress import ip_address
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st

from ipfs_kit_py.core import varint
from ipfs_kit_py.core.cid import PeerID
from ipfs_kit_py.core.config import (
    KAD_KEY_BYTES,
    KAD_MAX_ADDRESSES,
    KAD_MAX_CLOSER,
    KAD_MAX_FIELDS,
    KAD_MAX_PROVIDERS,
    KAD_MESSAGE_BYTES,
    KAD_RECORD_BYTES,
)
from ipfs_kit_py.core.errors import ProtocolViolation
from ipfs_kit_py.net import addresses as net_addresses
from ipfs_kit_py.routing.kad_wire import Message, MessageType, PeerInfo, Record, decode, encode

F = descriptor_pb2.FieldDescriptorProto
# (number, name, type): libp2p/specs kad-dht/README.md, RPC messages; go-libp2p-record's record
SCHEMA = {
    "Record": [(1, "key", F.TYPE_BYTES), (2, "value", F.TYPE_BYTES), (5, "timeReceived", F.TYPE_STRING)],
    "Peer": [(1, "id", F.TYPE_BYTES), (2, "addrs*", F.TYPE_BYTES), (3, "connection", F.TYPE_INT32)],
    "Message": [
        (1, "type", F.TYPE_INT32),
        (10, "clusterLevelRaw", F.TYPE_INT32),
        (2, "key", F.TYPE_BYTES),
        (3, "record", "Record"),
        (8, "closerPeers*", "Peer"),
        (9, "providerPeers*", "Peer"),
    ],
}


def _spec_message():  # type: ignore[no-untyped-def]
    file = descriptor_pb2.FileDescriptorProto(name="kad_test.proto", package="kadtest", syntax="proto3")
    for name, rows in SCHEMA.items():
        message = file.message_type.add(name=name)
        for number, label, kind in rows:
            row = message.field.add(name=label.rstrip("*"), number=number)
            row.label = F.LABEL_REPEATED if label.endswith("*") else F.LABEL_OPTIONAL
            if isinstance(kind, str):
                row.type, row.type_name = F.TYPE_MESSAGE, f".kadtest.{kind}"
            else:
                row.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("kadtest.Message"))


Spec = _spec_message()
PEERS = st.binary(min_size=32, max_size=32).map(lambda raw: PeerID(b"\x12\x20" + raw))
ADDRESSES = st.sampled_from(
    [
        "/ip4/8.8.8.8/tcp/4001",
        "/ip6/2a00::1/udp/4001/quic-v1",
        "/dns4/example.org/tcp/443/tls/ws",
        "/ip4/10.0.0.1/tcp/1",
    ]
)
INFOS = st.builds(PeerInfo, PEERS, st.lists(ADDRESSES, unique=True).map(tuple), st.integers(0, 3))
RECORDS = st.builds(Record, st.binary(max_size=60), st.binary(max_size=300), st.just("2026-01-02T03:04:05Z"))
MESSAGES = st.builds(
    Message,
    st.sampled_from(MessageType),
    st.binary(max_size=80),
    st.none() | RECORDS,
    st.lists(INFOS, max_size=5).map(tuple),
    st.lists(INFOS, max_size=5).map(tuple),
    st.integers(0, 9),
)
KUBO = json.loads(Path(__file__).with_name("kad_kubo_bytes.json").read_text())
ONE = PeerInfo(PeerID(b"\x12\x20" + bytes(32)), ("/ip4/1.2.3.4/tcp/4001",))


@given(MESSAGES)
def test_what_is_written_is_read_as_it_was(message: Message) -> None:
    assert decode(encode(message)) == message


@given(MESSAGES)
def test_another_implementation_of_protobuf_reads_the_fields_of_the_spec(message: Message) -> None:
    spec = Spec.FromString(encode(message))
    assert (spec.type, spec.key, spec.clusterLevelRaw) == (message.type, message.key, message.cluster_level)
    for found, infos in ((spec.closerPeers, message.closer), (spec.providerPeers, message.providers)):
        assert [peer.id for peer in found] == [info.peer.raw for info in infos]
        assert [peer.connection for peer in found] == [info.connection for info in infos]
        for peer, info in zip(found, infos, strict=True):
            assert list(peer.addrs) == [net_addresses.to_bytes(text) for text in info.addresses]
    assert spec.HasField("record") == (message.record is not None)
    if message.record is not None:
        assert (spec.record.key, spec.record.value) == (message.record.key, message.record.value)
    assert decode(spec.SerializeToString()) == message


@pytest.mark.parametrize("name", KUBO)
def test_what_kubo_sends_is_read_and_written_byte_for_byte(name: str) -> None:
    """Answers of two Kubo 0.43.1 on loopback that knew each other, provided a block and published a name."""
    raw = bytes.fromhex(KUBO[name])
    found = decode(raw)
    assert encode(found) == raw
    assert found.type is MessageType[name.upper()]
    if name != "ping":
        assert [net_addresses.ip_of(info.addresses[0]) for info in found.closer] == [ip_address("127.0.0.1")]
        assert [info.connection for info in found.closer] == [1]
    assert len(found.providers) == (name == "get_providers")
    if name == "get_value":
        assert found.record is not None
        assert found.record.key == found.key
        assert found.record.key.startswith(b"/ipns/")
        assert found.record.received.startswith("2026-")


@given(st.binary(max_size=300))
def test_garbage_is_a_message_or_a_violation(data: bytes) -> None:
    try:
        found = decode(data)
    except ProtocolViolation:
        return
    assert decode(encode(found)) == found


@given(MESSAGES, st.data())
def test_a_truncated_message_never_does_worse(message: Message, data: st.DataObject) -> None:
    raw = encode(message)
    cut = raw[: data.draw(st.integers(0, len(raw)))]
    with contextlib.suppress(ProtocolViolation):
        assert len(decode(cut).closer) <= len(message.closer)


@pytest.mark.parametrize(
    "data",
    [
        b"\x08\x06",  # no such type
        b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # -1
        b"\x12\x05abcd",  # cut short
        b"\x0b",  # a group
        b"\x12" + varint.encode(KAD_KEY_BYTES + 1) + bytes(KAD_KEY_BYTES + 1),
        bytes(KAD_MESSAGE_BYTES + 1),
        b"\x78\x01" * (KAD_MAX_FIELDS + 1),
        encode(Message(MessageType.PUT_VALUE, b"k", Record(b"k", bytes(KAD_RECORD_BYTES + 1)))),
    ],
    ids=["type", "negative", "cut", "group", "key", "size", "fields", "record"],
)
def test_what_is_malformed_or_too_much_is_a_violation(data: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        decode(data)


def test_peers_and_addresses_beyond_their_number_are_left_out() -> None:
    rng = random.Random(1)
    many = tuple(PeerInfo(PeerID(b"\x12\x20" + rng.randbytes(32))) for _ in range(KAD_MAX_PROVIDERS + 50))
    found = decode(encode(Message(MessageType.GET_PROVIDERS, b"k", None, many, many)))
    assert found.closer == many[:KAD_MAX_CLOSER]
    assert found.providers == many[:KAD_MAX_PROVIDERS]
    spec = Spec(type=4)
    spec.closerPeers.add(
        id=ONE.peer.raw, addrs=[net_addresses.to_bytes(f"/ip4/1.2.3.4/tcp/{n}") for n in range(1, 100)]
    )
    assert len(decode(spec.SerializeToString()).closer[0].addresses) == KAD_MAX_ADDRESSES


def test_bad_peers_and_addresses_cost_only_themselves() -> None:
    spec = Spec(type=4)
    other = PeerID(b"\x12\x20" + bytes(31) + b"\x01")
    spec.closerPeers.add(id=b"not a peer id", addrs=[net_addresses.to_bytes(ONE.addresses[0])])
    spec.closerPeers.add(addrs=[net_addresses.to_bytes(ONE.addresses[0])])
    of_another = net_addresses.to_bytes(f"/ip4/9.9.9.9/tcp/1/p2p/{other}")
    with_its_own = net_addresses.to_bytes(f"/ip4/1.2.3.4/tcp/4001/p2p/{ONE.peer}")
    spec.closerPeers.add(id=ONE.peer.raw, addrs=[b"\xff\xff", b"", of_another, with_its_own])
    assert decode(spec.SerializeToString()).closer == (ONE,)


def test_a_time_that_no_terminal_should_see_is_left_out() -> None:
    spec = Spec(type=1, record={"key": b"k", "value": b"v", "timeReceived": "\x1b[2J"})
    assert decode(spec.SerializeToString()).record == Record(b"k", b"v")
