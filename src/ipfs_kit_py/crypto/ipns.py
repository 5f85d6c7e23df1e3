"""IPNS records: a signed pointer from a key to a path, made, read and checked.

Source: specs.ipfs.tech/ipns/ipns-record.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import libipld
from google.protobuf.message import DecodeError

from ipfs_kit_py.core import multihash as mhash
from ipfs_kit_py.core.cid import PeerID
from ipfs_kit_py.core.config import (
    IPNS_LIFETIME_SECONDS,
    IPNS_MAX_TTL_SECONDS,
    IPNS_RECORD_BYTES,
    IPNS_TTL_SECONDS,
    IPNS_VALUE_BYTES,
)
from ipfs_kit_py.core.errors import InvalidAddress, InvalidCID, InvalidRecord, ProtocolViolation
from ipfs_kit_py.crypto import ipns_pb2
from ipfs_kit_py.crypto.keys import PrivateKey, PublicKey

if TYPE_CHECKING:
    from typing_extensions import Buffer

KEY_PREFIX = b"/ipns/"
_V2_PREFIX = b"ipns-signature:"
_EOL = 0  # the one validity type that there is: the record ends at a time
_NANO = 1_000_000_000
_MAX_UINT64 = (1 << 64) - 1
_TIME = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")
_FIELDS = {"Value": bytes, "Validity": bytes, "ValidityType": int, "Sequence": int, "TTL": int}


@dataclass(frozen=True)
class IpnsRecord:
    """What a record says. ``expires`` is in seconds since 1970, ``ttl`` in seconds; ``raw`` is the record's bytes."""

    value: str
    sequence: int
    expires: float
    ttl: float
    validity: bytes
    has_v1: bool
    raw: bytes

    @property
    def order(self) -> tuple[int, int, bytes]:
        """The newer of two valid records has the larger: by sequence, then end, then bytes."""
        return self.sequence, _nanoseconds(self.validity), self.raw


def record_key(name: PeerID) -> bytes:
    """The key that a record of ``name`` has in the DHT: binary, ``/ipns/`` and the multihash."""
    return KEY_PREFIX + name.raw


def name_of_key(key: bytes) -> PeerID:
    """The name in a binary key; ``InvalidRecord`` where it is none."""
    if not key.startswith(KEY_PREFIX):
        raise InvalidRecord(f"not the key of an IPNS record: {key[:48]!r}")
    try:
        return PeerID(key[len(KEY_PREFIX) :])
    except (InvalidAddress, InvalidCID) as error:
        raise InvalidRecord(f"the key of an IPNS record names no peer: {error}") from None


def name_text(name: PeerID) -> str:
    """The usual text of a name: its CID in base36, ``k51…`` for Ed25519."""
    return name.to_cid().encode("base36")


def parse_name(text: str) -> PeerID:
    """The name in ``k51…``, another CID of a key, ``12D3…`` or ``Qm…``, with ``/ipns/`` or without.
    ``InvalidAddress`` where it is none."""
    return PeerID.parse(text.removeprefix("ipns://").removeprefix("/ipns/").rstrip("/"))


def create(
    key: PrivateKey,
    value: str,
    sequence: int,
    now: float,
    *,
    lifetime: float = IPNS_LIFETIME_SECONDS,
    ttl: float = IPNS_TTL_SECONDS,
    v1: bool = True,
) -> bytes:
    """A record that points ``key``'s name to ``value``, a path such as ``/ipfs/CID``, for ``lifetime`` seconds.

    ``v1`` adds the fields that old nodes read. ``InvalidRecord`` for a value, number or time that cannot be.
    """
    data_value = value.encode()
    if not value.startswith("/") or len(data_value) > IPNS_VALUE_BYTES:
        raise InvalidRecord(f"a name points to a path of at most {IPNS_VALUE_BYTES} bytes, such as /ipfs/CID")
    nanos = int(ttl * _NANO)
    if not (0 <= sequence <= _MAX_UINT64 and 0 <= nanos <= _MAX_UINT64 >> 1 and lifetime > 0):
        raise InvalidRecord("sequence and TTL fit 64 bits, and a lifetime is over 0 seconds")
    validity = _timestamp(now + lifetime)
    fields = {"TTL": nanos, "Value": data_value, "Sequence": sequence, "Validity": validity, "ValidityType": _EOL}
    data = libipld.encode_dag_cbor(fields)
    entry = ipns_pb2.IpnsEntry(data=data, signature_v2=key.sign(_V2_PREFIX + data))
    if v1:
        entry.value, entry.validity, entry.validity_type = data_value, validity, _EOL
        entry.sequence, entry.ttl = sequence, nanos
        entry.signature_v1 = key.sign(data_value + validity + b"%d" % _EOL)
    if mhash.split(key.peer_id().raw)[0] != mhash.IDENTITY:
        entry.public_key = key.public_key.encode()  # a name that is a hash does not tell its key
    raw: bytes = entry.SerializeToString(deterministic=True)
    if len(raw) > IPNS_RECORD_BYTES:
        raise InvalidRecord(f"the record has {len(raw)} bytes; at most {IPNS_RECORD_BYTES} may be published")
    return raw


def verify(raw: Buffer, name: PeerID, now: float) -> IpnsRecord:
    """The record, checked as the spec's section on verification says. ``InvalidRecord`` where it may not be used:
    oversized, malformed, of another key, forged, without a V2 signature, with V1 fields that differ, or expired."""
    record = read(raw, name)
    if record.expires <= now:
        raise InvalidRecord(f"the record of {name_text(name)} expired at {record.validity.decode()}")
    return record


def read(raw: Buffer, name: PeerID) -> IpnsRecord:
    """``verify`` but for the time: what was published by us before is read so, to go on from its sequence."""
    whole = bytes(raw)
    if len(whole) > IPNS_RECORD_BYTES:
        raise InvalidRecord(f"a record of {len(whole)} bytes; at most {IPNS_RECORD_BYTES} are read")
    try:
        entry = ipns_pb2.IpnsEntry.FromString(whole)
    except DecodeError:
        raise InvalidRecord("not an IPNS record: malformed") from None
    if not entry.signature_v2 or not entry.data:
        raise InvalidRecord("an IPNS record without a V2 signature: V1 alone is not trusted")
    if not _key_of(entry, name).verify(_V2_PREFIX + entry.data, entry.signature_v2):
        raise InvalidRecord(f"the signature of a record of {name_text(name)} is wrong")
    fields = _fields(entry.data)
    has_v1 = entry.HasField("signature_v1") or entry.HasField("value")
    if has_v1 and _v1_fields(entry) != fields:
        raise InvalidRecord(f"a record of {name_text(name)} says one thing in its V1 fields and another where signed")
    return _record(fields, has_v1, whole)


def _record(fields: dict[str, Any], has_v1: bool, raw: bytes) -> IpnsRecord:
    try:
        value = fields["Value"].decode()
    except UnicodeDecodeError:
        raise InvalidRecord("the value of an IPNS record is no text") from None
    expires = _nanoseconds(fields["Validity"]) / _NANO
    ttl = min(fields["TTL"] / _NANO, IPNS_MAX_TTL_SECONDS)
    return IpnsRecord(value, fields["Sequence"], expires, ttl, fields["Validity"], has_v1, raw)


def _key_of(entry: ipns_pb2.IpnsEntry, name: PeerID) -> PublicKey:
    code, digest = mhash.split(name.raw)
    try:
        if entry.public_key:
            key = PublicKey.decode(entry.public_key)
        elif code == mhash.IDENTITY:
            key = PublicKey.decode(digest)
        else:
            raise InvalidRecord(f"a record of {name_text(name)} lacks its public key")
    except ProtocolViolation as error:
        raise InvalidRecord(f"a record of {name_text(name)}: {error}") from None
    if key.peer_id() != name:
        raise InvalidRecord(f"a record of {name_text(name)} is signed by {name_text(key.peer_id())}")
    return key


def _v1_fields(entry: ipns_pb2.IpnsEntry) -> dict[str, Any]:
    return {
        "Value": entry.value,
        "Validity": entry.validity,
        "ValidityType": entry.validity_type,
        "Sequence": entry.sequence,
        "TTL": entry.ttl,
    }


def _fields(data: bytes) -> dict[str, Any]:
    """The five signed fields that count; others may be there."""
    try:
        document = libipld.decode_dag_cbor(data)
        canonical = libipld.encode_dag_cbor(document) == data
    except (ValueError, RecursionError):
        raise InvalidRecord("the signed data of an IPNS record is no dag-cbor") from None
    if not isinstance(document, dict) or not canonical:
        raise InvalidRecord("the signed data of an IPNS record is no map in canonical dag-cbor")
    found: dict[str, Any] = {name: document.get(name) for name in _FIELDS}
    for name, kind in _FIELDS.items():
        value = found[name]
        if type(value) is not kind or (isinstance(value, int) and not 0 <= value <= _MAX_UINT64):
            raise InvalidRecord(f"the field {name} of an IPNS record is missing or of another kind")
    if found["ValidityType"] != _EOL:
        raise InvalidRecord(f"validity type {found['ValidityType']} of an IPNS record is not known")
    _nanoseconds(found["Validity"])
    return found


def _timestamp(seconds: float) -> bytes:
    """RFC 3339 with nanoseconds, in UTC, as Kubo writes it."""
    try:
        when = datetime.fromtimestamp(0, UTC) + timedelta(seconds=seconds)
    except OverflowError:
        raise InvalidRecord("a record ends before the year 10000") from None
    return f"{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond * 1000:09d}Z".encode()


def _nanoseconds(validity: bytes) -> int:
    """Since 1970; ``InvalidRecord`` where it is no time."""
    match = _TIME.fullmatch(validity)
    try:
        if match is None:
            raise ValueError
        zone = "+00:00" if match[3] == b"Z" else match[3].decode()
        passed = datetime.fromisoformat(match[1].decode() + zone) - datetime.fromtimestamp(0, UTC)
    except (ValueError, OverflowError):
        raise InvalidRecord(f"the end of an IPNS record is no time: {validity[:40]!r}") from None
    whole = passed.days * 86400 + passed.seconds
    return whole * _NANO + int((match[2] or b"0").ljust(9, b"0"))
