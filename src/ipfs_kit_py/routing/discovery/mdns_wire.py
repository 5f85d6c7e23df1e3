"""The messages of mDNS, as far as finding peers needs them. Sans-I/O.

Source: libp2p/specs discovery/mdns.md; RFC 1035 section 4, RFC 6762 sections 5, 6 and 18, RFC 6763 section 9.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ipfs_kit_py.core.config import MDNS_MAX_JUMPS, MDNS_MAX_RECORDS, MDNS_MAX_TEXTS, MDNS_PACKET_BYTES
from ipfs_kit_py.core.errors import ProtocolViolation

if TYPE_CHECKING:
    from collections.abc import Sequence

Name = tuple[bytes, ...]

SERVICE: Name = (b"_p2p", b"_udp", b"local")
META: Name = (b"_services", b"_dns-sd", b"_udp", b"local")
TEXT_BYTES = 255  # of one string of a TXT record
_A, _PTR, _TXT, _SRV, _ANY = 1, 12, 16, 33, 255
_IN, _CLASS_BITS = 1, 0x7FFF  # the top bit asks for unicast in questions and flushes caches in answers
_RESPONSE, _AUTHORITATIVE, _OPCODE_AND_RCODE = 0x8000, 0x0400, 0x780F
_NAME_BYTES = 255
_HEADER = struct.Struct("!6H")
_RECORD = struct.Struct("!HHIH")
_QUESTION = struct.Struct("!HH")


@dataclass(frozen=True)
class Query:
    """A question for peers (``service``), for the kinds of services there are (``meta``), or for something else.
    ``known`` are the instances that the asker has heard of."""

    service: bool = False
    meta: bool = False
    known: frozenset[Name] = frozenset()


@dataclass(frozen=True)
class Instance:
    """What one answer says of one peer. ``ttl`` in seconds, 0 when it leaves."""

    ttl: int
    texts: tuple[bytes, ...]


@dataclass(frozen=True)
class Answer:
    """Peers by the random names that they have on the link."""

    instances: dict[Name, Instance] = field(default_factory=dict)


def encode_query() -> bytes:
    """Who is there? Asked for by multicast."""
    return _HEADER.pack(0, 0, 1, 0, 0, 0) + _wire_name(SERVICE) + _QUESTION.pack(_PTR, _IN)


def encode_answer(instance: Name, texts: Sequence[bytes], ttl: int, *, ip: bytes, port: int) -> bytes:
    """One peer: the pointer to its name, and one TXT record with all of ``texts`` of up to 255 bytes each.

    One record, since go's reader keeps the last record of a name alone. It also passes over peers without an address
    record, so the host's 4 bytes of ``ip`` and a ``port`` go along (RFC 6763 section 12.1), which the spec allows.
    """
    pointed, host = _wire_name(instance), _wire_name((instance[0], b"local"))
    strings = b"".join(bytes([len(text)]) + text for text in texts)
    rows = (
        (_wire_name(SERVICE), _PTR, pointed),
        (pointed, _TXT, strings),
        (pointed, _SRV, struct.pack("!3H", 0, 0, port) + host),
        (host, _A, ip),
    )
    records = (name + _RECORD.pack(kind, _IN, ttl, len(data)) + data for name, kind, data in rows)
    return _HEADER.pack(0, _RESPONSE | _AUTHORITATIVE, 0, 1, 0, 3) + b"".join(records)


def encode_meta_answer(ttl: int) -> bytes:
    """That there are libp2p peers here at all: the answer to who browses for services."""
    target = _wire_name(SERVICE)
    record = _wire_name(META) + _RECORD.pack(_PTR, _IN, ttl, len(target)) + target
    return _HEADER.pack(0, _RESPONSE | _AUTHORITATIVE, 0, 1, 0, 0) + record


def decode(data: bytes) -> Query | Answer | None:
    """One message; ``None`` for what is none of ours. ``ProtocolViolation`` where it breaks the format or a limit."""
    if not _HEADER.size <= len(data) <= MDNS_PACKET_BYTES:
        raise ProtocolViolation(f"an mDNS message of {len(data)} bytes")
    _id, flags, questions, *counts = _HEADER.unpack_from(data)
    if flags & _OPCODE_AND_RCODE:
        return None
    if questions + sum(counts) > MDNS_MAX_RECORDS:
        raise ProtocolViolation(f"an mDNS message of {questions + sum(counts)} records")
    try:
        return _decode(data, bool(flags & _RESPONSE), questions, sum(counts))
    except (IndexError, struct.error):
        raise ProtocolViolation("an mDNS message that is cut short") from None


def _decode(data: bytes, response: bool, questions: int, records: int) -> Query | Answer:
    asked, at = set(), _HEADER.size
    for _ in range(questions):
        name, at = _read_name(data, at)
        kind, group = _QUESTION.unpack_from(data, at)
        at += _QUESTION.size
        if kind in (_PTR, _ANY) and group & _CLASS_BITS in (_IN, _ANY):
            asked.add(name)
    pointers: dict[Name, int] = {}
    texts: dict[Name, list[bytes]] = {}
    for _ in range(records):
        at = _read_record(data, at, pointers, texts)
    if not response:
        return Query(SERVICE in asked, META in asked, frozenset(pointers))
    return Answer({name: Instance(ttl, tuple(texts.get(name, ()))) for name, ttl in pointers.items()})


def _read_record(data: bytes, at: int, pointers: dict[Name, int], texts: dict[Name, list[bytes]]) -> int:
    name, at = _read_name(data, at)
    kind, group, ttl, size = _RECORD.unpack_from(data, at)
    at += _RECORD.size
    end: int = at + size
    if end > len(data):
        raise IndexError
    if group & _CLASS_BITS != _IN:
        return end
    if kind == _PTR and name == SERVICE:
        target, after = _read_name(data, at)
        if after != end:
            raise ProtocolViolation("a pointer in mDNS of another length than it says")
        if target[1:] == SERVICE:
            pointers[target] = ttl
    elif kind == _TXT and name[1:] == SERVICE:
        _read_texts(data[at:end], texts.setdefault(name, []))
    return end


def _read_texts(data: bytes, into: list[bytes]) -> None:
    at = 0
    while at < len(data) and len(into) < MDNS_MAX_TEXTS:
        end = at + 1 + data[at]
        if end > len(data):
            raise IndexError
        into.append(data[at + 1 : end])
        at = end


def _read_name(data: bytes, at: int) -> tuple[Name, int]:
    """A name in lower case and where it ends. Compression may only point backwards, so it cannot turn in circles."""
    labels: list[bytes] = []
    size, after, before, jumps = 0, -1, at, 0
    while True:
        length = data[at]
        if length >= 0xC0:
            target = (length & 0x3F) << 8 | data[at + 1]
            if after < 0:
                after = at + 2
            jumps += 1
            if target >= before or jumps > MDNS_MAX_JUMPS:
                raise ProtocolViolation("a name in mDNS that points forwards, or too often")
            at = before = target
            continue
        if length > 63:
            raise ProtocolViolation("a label in mDNS of an unknown kind")
        at += 1
        if length == 0:
            return tuple(labels), at if after < 0 else after
        size += length + 1
        if size > _NAME_BYTES or at + length > len(data):
            raise ProtocolViolation("a name in mDNS that is too long")
        labels.append(data[at : at + length].lower())
        at += length


def _wire_name(name: Name) -> bytes:
    return b"".join(bytes([len(label)]) + label for label in name) + b"\0"
