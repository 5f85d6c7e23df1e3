"""Signed envelopes: what is sealed opens, and nothing else does."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from ipfs_kit_py.core.config import MAX_RECORD_ADDRESSES
from ipfs_kit_py.core.errors import ProtocolViolation
from ipfs_kit_py.crypto import envelope, envelope_pb2, peer_record_pb2
from ipfs_kit_py.crypto.keys import RSA, PrivateKey

KEY, OTHER = PrivateKey.generate(), PrivateKey.generate()
ADDRESSES = [bytes.fromhex("047f000001060fa1"), bytes.fromhex("04c0000201060fa1")]


def test_a_record_comes_back() -> None:
    raw = envelope.seal_peer_record(KEY, 7, ADDRESSES)
    record = envelope.open_peer_record(raw, signer=KEY.peer_id())
    assert record == envelope.PeerRecord(KEY.peer_id(), 7, tuple(ADDRESSES))


def test_the_layout_on_the_wire() -> None:
    raw = envelope.seal_peer_record(KEY, 1, [])
    public = KEY.public_key.encode()
    assert raw.startswith(b"\x0a" + bytes((len(public),)) + public + b"\x12\x02\x03\x01\x1a")
    signed = b"\x12libp2p-peer-record\x02\x03\x01"
    payload = envelope_pb2.Envelope.FromString(raw).payload
    signature = envelope_pb2.Envelope.FromString(raw).signature
    assert KEY.public_key.verify(signed + bytes((len(payload),)) + payload, signature)


def test_a_record_about_another_peer_is_refused() -> None:
    lie = peer_record_pb2.PeerRecord(peer_id=OTHER.peer_id().raw, seq=1).SerializeToString()
    raw = envelope.seal(KEY, envelope.PEER_RECORD_DOMAIN, envelope.PEER_RECORD_TYPE, lie)
    with pytest.raises(ProtocolViolation, match="is signed by"):
        envelope.open_peer_record(raw)


def test_a_record_of_another_signer_is_refused() -> None:
    raw = envelope.seal_peer_record(OTHER, 1, ADDRESSES)
    with pytest.raises(ProtocolViolation, match="where one of"):
        envelope.open_peer_record(raw, signer=KEY.peer_id())


def test_another_domain_or_type_is_refused() -> None:
    payload = peer_record_pb2.PeerRecord(peer_id=KEY.peer_id().raw, seq=1).SerializeToString()
    with pytest.raises(ProtocolViolation, match="signature"):
        envelope.open_peer_record(envelope.seal(KEY, "libp2p-relay-rsvp", envelope.PEER_RECORD_TYPE, payload))
    with pytest.raises(ProtocolViolation, match="type"):
        envelope.open_peer_record(envelope.seal(KEY, envelope.PEER_RECORD_DOMAIN, b"\x03\x02", payload))


def test_an_rsa_signer_names_its_type() -> None:
    from_rsa = PrivateKey(RSA, rsa.generate_private_key(65537, 2048))
    raw = envelope.seal_peer_record(from_rsa, 1, ADDRESSES)
    assert raw[3:5] == b"\x08\x00"
    assert envelope.open_peer_record(raw).peer_id == from_rsa.peer_id()


def test_addresses_are_capped() -> None:
    raw = envelope.seal_peer_record(KEY, 1, ADDRESSES * MAX_RECORD_ADDRESSES)
    assert len(envelope.open_peer_record(raw).addresses) == MAX_RECORD_ADDRESSES
    with pytest.raises(ProtocolViolation, match="at most"):
        envelope.open_peer_record(envelope.seal_peer_record(KEY, 1, [bytes(100)] * 1000))


@given(st.data())
def test_one_changed_byte_never_opens_as_something_else(data: st.DataObject) -> None:
    raw = bytearray(envelope.seal_peer_record(KEY, 7, ADDRESSES))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    try:
        record = envelope.open_peer_record(raw)
    except ProtocolViolation:
        return
    assert record == envelope.PeerRecord(KEY.peer_id(), 7, tuple(ADDRESSES))


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(raw: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        envelope.open_peer_record(raw)
