"""IPNS records: those of others, our own, and everything that may not be believed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libipld
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from ipfs_kit_py.core.config import IPNS_MAX_TTL_SECONDS, IPNS_RECORD_BYTES, IPNS_VALUE_BYTES
from ipfs_kit_py.core.errors import InvalidAddress, InvalidRecord
from ipfs_kit_py.crypto import ipns, ipns_pb2
from ipfs_kit_py.crypto.keys import RSA, PrivateKey
from test.vectors import VECTORS, needs_vectors

if TYPE_CHECKING:
    from ipfs_kit_py.core.cid import PeerID

NOW = 1_800_000_000.0
VALUE = "/ipfs/bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
KEY, OTHER = PrivateKey.generate(), PrivateKey.generate()
NAME = KEY.peer_id()
FOLDER = VECTORS / "ipns"


def entry_of(**options: object) -> ipns_pb2.IpnsEntry:
    return ipns_pb2.IpnsEntry.FromString(ipns.create(KEY, VALUE, 7, NOW, **options))  # type: ignore[arg-type]


def signed(data: bytes, key: PrivateKey = KEY) -> bytes:
    return ipns_pb2.IpnsEntry(data=data, signature_v2=key.sign(b"ipns-signature:" + data)).SerializeToString()


def signed_fields(**changes: object) -> bytes:
    fields = libipld.decode_dag_cbor(entry_of().data) | changes
    return signed(libipld.encode_dag_cbor(fields))


def refused(raw: bytes, match: str, name: PeerID = NAME, now: float = NOW) -> None:
    with pytest.raises(InvalidRecord, match=match):
        ipns.verify(raw, name, now)


# The spec has the V1 signature ignored: one that is broken beside a good V2 signature changes nothing.
VERDICTS = {
    "v1-v2": None,
    "v2": None,
    "v1-v2-broken-signature-v1": None,
    "v1-v2-broken-signature-v2": "signature",
    "v1-v2-broken-v1-value": "V1 fields",
    "v1": "V1 alone",
}


@needs_vectors
def test_every_vector() -> None:
    seen = set()
    for path in FOLDER.iterdir():
        name, kind = path.name.removesuffix(".ipns-record").split("_", 1)
        seen.add(kind)
        if VERDICTS[kind] is None:
            record = ipns.verify(path.read_bytes(), ipns.parse_name(name), NOW)
            assert record.value.startswith("/ipfs/")
            assert record.has_v1 == kind.startswith("v1")
        else:
            refused(path.read_bytes(), VERDICTS[kind] or "", ipns.parse_name(name))
    assert seen == set(VERDICTS)


@pytest.mark.parametrize("v1", [True, False])
def test_a_record_says_what_was_put_in(v1: bool) -> None:
    record = ipns.verify(ipns.create(KEY, VALUE, 7, NOW, lifetime=3600, ttl=60, v1=v1), NAME, NOW)
    assert (record.value, record.sequence, record.expires, record.ttl) == (VALUE, 7, NOW + 3600, 60)
    assert record.has_v1 is v1


def test_a_name_that_is_a_hash_needs_its_key_in_the_record() -> None:
    key = PrivateKey(RSA, rsa.generate_private_key(65537, 2048))
    raw = ipns.create(key, VALUE, 1, NOW)
    assert ipns.verify(raw, key.peer_id(), NOW).value == VALUE
    entry = ipns_pb2.IpnsEntry.FromString(raw)
    entry.ClearField("public_key")
    refused(entry.SerializeToString(), "lacks its public key", key.peer_id())
    entry.public_key = OTHER.public_key.encode()
    refused(entry.SerializeToString(), "signed by", key.peer_id())


def test_names_in_all_their_texts() -> None:
    text = ipns.name_text(NAME)
    assert text.startswith("k51")
    for form in (text, f"/ipns/{text}", f"ipns://{text}", str(NAME), NAME.to_cid().encode("base32")):
        assert ipns.parse_name(form) == NAME
    assert ipns.name_of_key(ipns.record_key(NAME)) == NAME
    with pytest.raises(InvalidAddress):
        ipns.parse_name(VALUE.removeprefix("/ipfs/"))
    for bad in (b"/pk/" + NAME.raw, b"/ipns/", b"/ipns/k51", b"/ipns/" + NAME.raw + b"x"):
        with pytest.raises(InvalidRecord):
            ipns.name_of_key(bad)


def test_expired_at_its_end_and_not_before() -> None:
    raw = ipns.create(KEY, VALUE, 1, NOW, lifetime=10)
    ipns.verify(raw, NAME, NOW + 9.9)
    refused(raw, "expired", now=NOW + 10)
    assert ipns.read(raw, NAME).sequence == 1


def test_forged_wrong_key_and_v1_alone() -> None:
    entry = entry_of()
    refused(ipns.create(OTHER, VALUE, 9, NOW), "signature")
    refused(signed(entry.data, OTHER), "signature")
    entry.public_key = OTHER.public_key.encode()
    refused(entry.SerializeToString(), "signed by")
    entry = entry_of()
    entry.ClearField("signature_v2")
    refused(entry.SerializeToString(), "V1 alone")


@pytest.mark.parametrize(
    ("field", "value"),
    [("value", b"/ipfs/x"), ("sequence", 8), ("ttl", 1), ("validity", b"x"), ("validity_type", 1)],
)
def test_v1_fields_must_be_the_signed_ones(field: str, value: object) -> None:
    entry = entry_of()
    setattr(entry, field, value)
    refused(entry.SerializeToString(), "V1 fields")


def test_oversized() -> None:
    raw = ipns.create(KEY, VALUE, 1, NOW)
    padding = IPNS_RECORD_BYTES - len(raw) - 3
    full = raw + b"\x7a" + bytes((padding & 0x7F | 0x80, padding >> 7)) + bytes(padding)  # an unknown field, 15
    assert len(full) == IPNS_RECORD_BYTES
    ipns.verify(full, NAME, NOW)
    refused(full + b"\x78\x00", "at most")
    with pytest.raises(InvalidRecord, match="at most"):
        ipns.create(KEY, "/" + "x" * IPNS_VALUE_BYTES, 1, NOW)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"Sequence": -1}, "Sequence"),
        ({"TTL": b"1"}, "TTL"),
        ({"Sequence": True}, "Sequence"),
        ({"ValidityType": 1}, "validity type"),
        ({"Validity": b"2030-13-01T00:00:00Z"}, "no time"),
        ({"Validity": b"9999-12-31T23:59:59"}, "no time"),
        ({"Value": "text"}, "Value"),
        ({"Value": b"\xff"}, "no text"),
    ],
)
def test_well_signed_nonsense(changes: dict[str, object], match: str) -> None:
    refused(signed_fields(**changes), match)


@pytest.mark.parametrize("data", [b"\x80", b"\xff", b"\x81" * 9000 + b"\x00", entry_of().data + b"\x00"])
def test_well_signed_bytes_that_are_no_map(data: bytes) -> None:
    refused(signed(data), "signed data")


def test_more_fields_may_be_signed_and_a_long_ttl_is_cut() -> None:
    assert ipns.verify(signed_fields(_more={"a": 1}), NAME, NOW).sequence == 7
    assert ipns.verify(signed_fields(TTL=(1 << 64) - 1), NAME, NOW).ttl == IPNS_MAX_TTL_SECONDS


def test_order_by_sequence_then_end() -> None:
    older = ipns.read(ipns.create(KEY, VALUE, 1, NOW + 1000), NAME)
    newer = ipns.read(ipns.create(KEY, VALUE, 2, NOW), NAME)
    longer = ipns.read(ipns.create(KEY, VALUE, 2, NOW, lifetime=9e5), NAME)
    assert older.order < newer.order < longer.order


@given(st.binary(max_size=300))
def test_garbage_is_refused_and_nothing_else(raw: bytes) -> None:
    with pytest.raises(InvalidRecord):
        ipns.verify(raw, NAME, NOW)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_no_changed_byte_changes_what_is_believed(at: int, mask: int) -> None:
    raw = bytearray(ipns.create(KEY, VALUE, 7, NOW))
    raw[at % len(raw)] ^= mask
    try:
        record = ipns.verify(raw, NAME, NOW)
    except InvalidRecord:
        return
    assert (record.value, record.sequence) == (VALUE, 7)
