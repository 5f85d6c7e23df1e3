"""Signed envelopes and the peer records inside them.

Source: libp2p/specs RFC/0002-signed-envelopes.md and RFC/0003-routing-records.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from ipfs_kit_py.core import varint
from ipfs_kit_py.core.cid import PeerID
from ipfs_kit_py.core.config import MAX_ENVELOPE_BYTES, MAX_RECORD_ADDRESSES
from ipfs_kit_py.core.errors import InvalidAddress, InvalidCID, ProtocolViolation
from ipfs_kit_py.crypto import envelope_pb2, peer_record_pb2
from ipfs_kit_py.crypto.keys import PrivateKey, PublicKey

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Buffer

PEER_RECORD_DOMAIN = "libp2p-peer-record"
PEER_RECORD_TYPE = b"\x03\x01"  # the multicodec libp2p-peer-record


@dataclass(frozen=True)
class Envelope:
    """A payload and the key that has signed it."""

    public_key: PublicKey
    payload_type: bytes
    payload: bytes


@dataclass(frozen=True)
class PeerRecord:
    """Where a peer says it listens. ``addresses`` are binary multiaddrs; the record with the highest ``seq`` counts."""

    peer_id: PeerID
    seq: int
    addresses: tuple[bytes, ...]


def _signed_bytes(domain: str, payload_type: bytes, payload: bytes) -> bytes:
    parts = (domain.encode(), payload_type, payload)
    return b"".join(varint.encode(len(part)) + part for part in parts)


def seal(key: PrivateKey, domain: str, payload_type: bytes, payload: bytes) -> bytes:
    """The encoded envelope around ``payload``."""
    message = envelope_pb2.Envelope(
        public_key=key.public_key.encode(),
        payload_type=payload_type,
        payload=payload,
        signature=key.sign(_signed_bytes(domain, payload_type, payload)),
    )
    return message.SerializeToString(deterministic=True)


def open_envelope(raw: Buffer, domain: str, payload_type: bytes) -> Envelope:
    """Parse an envelope and check its signature and payload type. ``ProtocolViolation`` where anything is wrong."""
    data = bytes(raw)
    if len(data) > MAX_ENVELOPE_BYTES:
        raise ProtocolViolation(f"a signed envelope of {len(data)} bytes; at most {MAX_ENVELOPE_BYTES} are read")
    try:
        message = envelope_pb2.Envelope.FromString(data)
    except DecodeError:
        raise ProtocolViolation("a signed envelope is malformed") from None
    if message.payload_type != payload_type:
        raise ProtocolViolation(
            f"a signed envelope of type {message.payload_type[:16].hex()}, not {payload_type.hex()}"
        )
    key = PublicKey.decode(message.public_key)
    if not key.verify(_signed_bytes(domain, payload_type, message.payload), message.signature):
        raise ProtocolViolation("the signature of an envelope is wrong", peer=key.peer_id())
    return Envelope(key, payload_type, message.payload)


def seal_peer_record(key: PrivateKey, seq: int, addresses: Iterable[bytes]) -> bytes:
    """Our own signed peer record; ``addresses`` are binary multiaddrs, ``seq`` grows with every change."""
    record = peer_record_pb2.PeerRecord(
        peer_id=key.peer_id().raw,
        seq=seq,
        addresses=[peer_record_pb2.PeerRecord.AddressInfo(multiaddr=address) for address in addresses],
    )
    return seal(key, PEER_RECORD_DOMAIN, PEER_RECORD_TYPE, record.SerializeToString(deterministic=True))


def open_peer_record(raw: Buffer, *, signer: PeerID | None = None) -> PeerRecord:
    """Check a signed peer record: its signature, that it speaks of its signer alone, and that this is ``signer``.

    At most ``MAX_RECORD_ADDRESSES`` addresses are kept. ``ProtocolViolation`` where anything is wrong.
    """
    envelope = open_envelope(raw, PEER_RECORD_DOMAIN, PEER_RECORD_TYPE)
    peer = envelope.public_key.peer_id()
    try:
        record = peer_record_pb2.PeerRecord.FromString(envelope.payload)
        subject = PeerID(record.peer_id)
    except (DecodeError, InvalidAddress, InvalidCID):
        raise ProtocolViolation("a peer record is malformed", peer=peer) from None
    if subject != peer:
        raise ProtocolViolation(f"a peer record of {subject} is signed by {peer}", peer=peer)
    if signer is not None and peer != signer:
        raise ProtocolViolation(f"a peer record of {peer} came where one of {signer} was due", peer=signer)
    found = tuple(item.multiaddr for item in record.addresses[:MAX_RECORD_ADDRESSES])
    return PeerRecord(subject, record.seq, found)
