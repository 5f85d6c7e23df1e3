"""Messages of the Kademlia DHT: bounded protobuf by hand, which stops reading where a peer says too much.

Source: libp2p/specs kad-dht/README.md (RPC messages), go-libp2p-record for the record. A message is sent behind its
length as a varint; that frame belongs to the stream, not to this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

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
from ipfs_kit_py.core.errors import InvalidAddress, InvalidCID, ProtocolViolation
from ipfs_kit_py.net import addresses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Buffer

KAD = "/ipfs/kad/1.0.0"
KAD_LAN = "/ipfs/lan/kad/1.0.0"


class MessageType(IntEnum):
    """What a message asks for; an answer has the type of its request."""

    PUT_VALUE = 0
    GET_VALUE = 1
    ADD_PROVIDER = 2
    GET_PROVIDERS = 3
    FIND_NODE = 4
    PING = 5


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """A peer and where it is said to be: multiaddr text without ``/p2p``. ``connection``: 0 none, 1 connected, 2 can
    connect, 3 cannot."""

    peer: PeerID
    addresses: tuple[str, ...] = ()
    connection: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """A value under its key; ``received`` is the time that the answering peer says it came (RFC 3339), for display."""

    key: bytes
    value: bytes
    received: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """A request or its answer."""

    type: MessageType
    key: bytes = b""
    record: Record | None = None
    closer: tuple[PeerInfo, ...] = ()
    providers: tuple[PeerInfo, ...] = ()
    cluster_level: int = 0


# --- writing ----------------------------------------------------------------------------------------------------------


def encode(message: Message) -> bytes:
    """The bytes of a message, without its length. Addresses that have no binary form are left out."""
    out = bytearray()
    _number(out, 1, message.type)
    _bytes(out, 2, message.key)
    if message.record is not None:
        _nested(out, 3, _record(message.record))
    for info in message.closer:
        _nested(out, 8, _peer(info))
    for info in message.providers:
        _nested(out, 9, _peer(info))
    _number(out, 10, message.cluster_level)
    return bytes(out)


def _peer(info: PeerInfo) -> bytes:
    out = bytearray()
    _bytes(out, 1, info.peer.raw)
    for text in info.addresses[:KAD_MAX_ADDRESSES]:
        try:
            _bytes(out, 2, addresses.to_bytes(text))
        except InvalidAddress:
            continue
    _number(out, 3, info.connection)
    return bytes(out)


def _record(record: Record) -> bytes:
    out = bytearray()
    _bytes(out, 1, record.key)
    _bytes(out, 2, record.value)
    _bytes(out, 5, record.received.encode())
    return bytes(out)


def _number(out: bytearray, field: int, value: int) -> None:
    if value:
        out += varint.encode(field << 3)
        out += varint.encode(value)


def _bytes(out: bytearray, field: int, value: bytes) -> None:
    if value:
        _nested(out, field, value)


def _nested(out: bytearray, field: int, value: bytes) -> None:
    out += varint.encode(field << 3 | 2)
    out += varint.encode(len(value))
    out += value


# --- reading ----------------------------------------------------------------------------------------------------------


def decode(data: Buffer) -> Message:
    """Read a message. Raises ``ProtocolViolation`` for what is malformed, too long or of an unknown type.

    Peers whose id is none and addresses that cannot be read are left out, as are those beyond ``KAD_MAX_CLOSER``,
    ``KAD_MAX_PROVIDERS`` and, of one peer, ``KAD_MAX_ADDRESSES``.
    """
    raw = bytes(data)
    if len(raw) > KAD_MESSAGE_BYTES:
        raise ProtocolViolation(f"a DHT message of {len(raw)} bytes; at most {KAD_MESSAGE_BYTES} are allowed")
    try:
        return _read(raw)
    except (IndexError, ValueError) as error:
        raise ProtocolViolation(f"a DHT message that cannot be read: {error or type(error).__name__}") from None


def _read(raw: bytes) -> Message:
    kind, key, level = 0, b"", 0
    record: Record | None = None
    closer: list[PeerInfo] = []
    providers: list[PeerInfo] = []
    for field, value in _fields(raw):
        if isinstance(value, int):
            if field == 1:
                kind = value
            elif field == 10:
                level = value & 0xFFFF_FFFF
        elif field == 2:
            key = _short(value, KAD_KEY_BYTES, "key")
        elif field == 3:
            record = _read_record(value)
        elif field == 8 and len(closer) < KAD_MAX_CLOSER:
            _add_peer(closer, value)
        elif field == 9 and len(providers) < KAD_MAX_PROVIDERS:
            _add_peer(providers, value)
    return Message(MessageType(kind), key, record, tuple(closer), tuple(providers), level)


def _add_peer(found: list[PeerInfo], raw: bytes) -> None:
    peer: PeerID | None = None
    told: list[bytes] = []
    connection = 0
    for field, value in _fields(raw):
        if isinstance(value, int):
            connection = value if field == 3 and value <= 3 else connection
        elif field == 1:
            try:
                peer = PeerID(value)
            except (InvalidAddress, InvalidCID):
                return
        elif field == 2 and len(told) < KAD_MAX_ADDRESSES:
            told.append(value)
    if peer is not None:
        found.append(PeerInfo(peer, _addresses(told, peer), connection))


def _addresses(told: list[bytes], peer: PeerID) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for raw in told:
        try:
            address = addresses.from_bytes(raw)
        except InvalidAddress:  # a transport that is newer than this node, or nonsense: the others count
            continue
        if address.text and address.peer in (None, peer):
            found[address.text] = None
    return tuple(found)


def _read_record(raw: bytes) -> Record:
    key = value = b""
    received = ""
    for field, part in _fields(raw):
        if isinstance(part, int):
            continue
        if field == 1:
            key = _short(part, KAD_KEY_BYTES, "record's key")
        elif field == 2:
            value = _short(part, KAD_RECORD_BYTES, "record")
        elif field == 5 and len(part) <= 64 and part.isascii():
            received = part.decode("ascii")
    return Record(key, value, received if received.isprintable() else "")


def _short(value: bytes, most: int, what: str) -> bytes:
    if len(value) > most:
        raise ValueError(f"its {what} has {len(value)} bytes, at most {most} are allowed")
    return value


def _fields(raw: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of one level as (number, value); groups are malformed, fixed-size numbers are skipped."""
    at, end, count = 0, len(raw), 0
    while at < end:
        count += 1
        if count > KAD_MAX_FIELDS:
            raise ValueError(f"it has over {KAD_MAX_FIELDS} fields")
        tag, at = varint.decode(raw, at, strict=False, max_bytes=5)
        field, kind = tag >> 3, tag & 7
        if kind == 2:
            size, at = varint.decode(raw, at, strict=False, max_bytes=5)
            if size > end - at:
                raise ValueError("it is cut short")
            yield field, raw[at : at + size]
            at += size
        elif kind == 0:
            value, at = varint.decode(raw, at, strict=False, max_bytes=10)  # a negative int32 has ten bytes
            yield field, value
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
            if at > end:
                raise ValueError("it is cut short")
        else:
            raise ValueError(f"it has a field of wire type {kind}")
