"""Bitswap messages: against Google's protobuf with the specification's schema, by property, and what is malformed."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given, settings
from hypothesis import strategies as st

from ipfs_kit_py.bitswap import wire
from ipfs_kit_py.bitswap.wire import (
    MAX_PREFIX_BYTES,
    PREFIX_V0,
    PROTOCOLS,
    V100,
    V110,
    V120,
    Entry,
    Message,
    decode,
    encode,
    split_prefix,
)
from ipfs_kit_py.core import multihash, varint
from ipfs_kit_py.core.cid import CID, DAG_PB, MAX_CID_BYTES, RAW
from ipfs_kit_py.core.config import (
    MAX_BLOCK_BYTES,
    MAX_BLOCKS_PER_MESSAGE,
    MAX_ENTRIES_PER_MESSAGE,
    MAX_FIELDS_PER_MESSAGE,
    MAX_PRESENCES_PER_MESSAGE,
)
from ipfs_kit_py.core.errors import ProtocolViolation

from .bitswap_world import cid_of

if TYPE_CHECKING:
    from collections.abc import Iterable

# --- the specification's schema, as descriptors -----------------------------------------------------------------------

_KINDS = {"bytes": 12, "int32": 5, "bool": 8, "enum": 14, "message": 11}
_SCHEMA: dict[str, list[tuple[str, int, str, bool, str]]] = {
    "Entry": [
        ("block", 1, "bytes", False, ""),
        ("priority", 2, "int32", False, ""),
        ("cancel", 3, "bool", False, ""),
        ("wantType", 4, "enum", False, "Kind"),
        ("sendDontHave", 5, "bool", False, ""),
    ],
    "Wantlist": [("entries", 1, "message", True, "Entry"), ("full", 2, "bool", False, "")],
    "Block": [("prefix", 1, "bytes", False, ""), ("data", 2, "bytes", False, "")],
    "BlockPresence": [("cid", 1, "bytes", False, ""), ("type", 2, "enum", False, "Kind")],
    "Message": [
        ("wantlist", 1, "message", False, "Wantlist"),
        ("blocks", 2, "bytes", True, ""),
        ("payload", 3, "message", True, "Block"),
        ("blockPresences", 4, "message", True, "BlockPresence"),
        ("pendingBytes", 5, "int32", False, ""),
    ],
}


@cache
def _reference() -> Any:
    """A ``Message`` class of Google's protobuf."""
    file = descriptor_pb2.FileDescriptorProto(name="bitswap-test.proto", package="bitswap_test", syntax="proto3")
    kinds = file.enum_type.add(name="Kind")
    for number, name in enumerate(("First", "Second")):
        kinds.value.add(name=name, number=number)
    for name, rows in _SCHEMA.items():
        made = file.message_type.add(name=name)
        for field, number, kind, repeated, other in rows:
            made.field.add(
                name=field,
                number=number,
                type=_KINDS[kind],  # type: ignore[arg-type]
                label=3 if repeated else 1,  # type: ignore[arg-type]
                type_name=f".bitswap_test.{other}" if other else None,
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)  # type: ignore[no-untyped-call]
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("bitswap_test.Message"))


def _bytes(message: Message, protocol: str = V120) -> bytes:
    return b"".join(bytes(part) for part in encode(message, protocol))


# --- strategies -------------------------------------------------------------------------------------------------------

_digests = st.binary(min_size=32, max_size=32)
_cids = st.one_of(
    st.builds(lambda digest: CID(0, DAG_PB, multihash.wrap(0x12, digest)), _digests),
    st.builds(lambda codec, digest: CID(1, codec, multihash.wrap(0x12, digest)), st.integers(0, 1 << 40), _digests),
    st.builds(lambda data: CID.of(data, hash_code=multihash.IDENTITY), st.binary(max_size=128)),
    st.builds(lambda data, code: CID.of(data, hash_code=code), st.binary(max_size=9), st.sampled_from([0x13, 0x1E])),
)
_entries = st.builds(Entry, _cids, st.integers(0, (1 << 31) - 1), st.booleans(), st.booleans(), st.booleans())
_blocks = st.tuples(_cids.map(lambda cid: cid.prefix), st.binary(max_size=300))
_messages = st.builds(
    Message,
    st.lists(_entries, max_size=6),
    st.booleans(),
    st.lists(_blocks, max_size=4),
    st.lists(_cids, max_size=4),
    st.lists(_cids, max_size=4),
    st.integers(0, (1 << 31) - 1),
)


def _plain(message: Message) -> Message:
    message.blocks = [(prefix, bytes(data)) for prefix, data in message.blocks]
    return message


# --- round trips ------------------------------------------------------------------------------------------------------


@given(_messages)
def test_round_trip(message: Message) -> None:
    """1.2.0 carries everything."""
    assert _plain(decode(_bytes(message))) == message


@given(_messages, st.sampled_from([V110, V100]))
def test_round_trip_of_old_versions(message: Message, protocol: str) -> None:
    """1.1.0 has no presences, want types and sizes; 1.0.0 has plain blocks besides."""
    found = _plain(decode(_bytes(message, protocol)))
    kept = [entry for entry in message.entries if entry.cancel or not entry.want_have]
    assert found.entries == [Entry(entry.cid, entry.priority, cancel=entry.cancel) for entry in kept]
    assert found.full == message.full
    assert (found.haves, found.dont_haves, found.pending_bytes, found.skipped) == ([], [], 0, 0)
    prefixes = [PREFIX_V0 if protocol == V100 else prefix for prefix, _ in message.blocks]
    assert found.blocks == list(zip(prefixes, [data for _, data in message.blocks], strict=True))


@given(_messages, st.sampled_from(PROTOCOLS))
def test_google_reads_what_we_write(message: Message, protocol: str) -> None:
    """Field for field."""
    read = _reference().FromString(_bytes(message, protocol))
    new = protocol == V120
    kept = [entry for entry in message.entries if new or entry.cancel or not entry.want_have]
    assert read.wantlist.full == message.full
    assert [
        (entry.block, entry.priority, entry.cancel, entry.wantType, entry.sendDontHave)
        for entry in read.wantlist.entries
    ] == [
        (entry.cid.raw, entry.priority, entry.cancel, int(new and entry.want_have), new and entry.send_dont_have)
        for entry in kept
    ]
    assert [(block.prefix, block.data) for block in read.payload] == ([] if protocol == V100 else message.blocks)
    assert list(read.blocks) == ([data for _, data in message.blocks] if protocol == V100 else [])
    presences = [(cid.raw, 0) for cid in message.haves] + [(cid.raw, 1) for cid in message.dont_haves]
    assert [(item.cid, item.type) for item in read.blockPresences] == (presences if new else [])
    assert read.pendingBytes == (message.pending_bytes if new else 0)


@given(_messages)
def test_we_read_what_google_writes(message: Message) -> None:
    """Defaults are absent there; plain blocks and blocks with prefixes may come in one message."""
    made = _reference()()
    made.wantlist.full = message.full
    for entry in message.entries:
        made.wantlist.entries.add(
            block=entry.cid.raw,
            priority=entry.priority,
            cancel=entry.cancel,
            wantType=int(entry.want_have),
            sendDontHave=entry.send_dont_have,
        )
    made.blocks.append(b"plain")
    for prefix, data in message.blocks:
        made.payload.add(prefix=prefix, data=data)
    for kind, cids in enumerate((message.haves, message.dont_haves)):
        for cid in cids:
            made.blockPresences.add(cid=cid.raw, type=kind)
    made.pendingBytes = message.pending_bytes
    found = _plain(decode(made.SerializeToString()))
    message.blocks.insert(0, (PREFIX_V0, b"plain"))
    message.entries = [
        Entry(entry.cid, entry.priority or 1, entry.cancel, entry.want_have, entry.send_dont_have)
        for entry in message.entries
    ]
    assert found == message


def test_golden_bytes() -> None:
    """One message by hand."""
    cid = CID.parse("bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy")
    message = Message(
        entries=[Entry(cid, 5, want_have=True, send_dont_have=True)], full=True, dont_haves=[cid], pending_bytes=300
    )
    raw = cid.raw.hex()
    entry = f"0a24{raw}10052001" + "2801"
    expected = f"0a300a2c{entry}1001" + f"22280a24{raw}1001" + "28ac02"
    assert _bytes(message).hex() == expected
    assert _bytes(Message(blocks=[(b"\x01\x55\x12\x20", b"hi")])).hex() == "1a0a0a0401551220" + "12026869"
    assert _bytes(Message(blocks=[(PREFIX_V0, b"hi")]), V100).hex() == "12026869"
    assert _bytes(Message()) == b""
    assert Message().empty
    assert not message.empty


def test_blocks_are_not_copied() -> None:
    """Neither as they are written nor as they are read."""
    data = bytearray(b"x" * 1000)
    parts = encode(Message(blocks=[(b"\x01\x55\x12\x20", data)]))
    assert any(part is data for part in parts)
    buffer = bytearray(b"".join(parts))
    ((_, view),) = decode(buffer).blocks
    buffer[-1] = 0x79
    assert bytes(view)[-1] == 0x79


# --- what others may send ---------------------------------------------------------------------------------------------


def _field(number: int, body: bytes) -> bytes:
    return varint.encode(number << 3 | 2) + varint.encode(len(body)) + body


def _entry(body: bytes) -> bytes:
    return _field(1, _field(1, body))


@pytest.mark.parametrize("priority", [-1, -(1 << 31), (1 << 31) - 1, 0])
def test_odd_priorities(priority: int) -> None:
    """Negative ones come as ten bytes and count as the default; ours are cut to what fits."""
    made = _reference()()
    made.wantlist.entries.add(block=cid_of(1).raw, priority=priority)
    (entry,) = decode(made.SerializeToString()).entries
    assert entry.priority == (priority if priority > 0 else 1)
    read = _reference().FromString(_bytes(Message(entries=[Entry(cid_of(1), priority), Entry(cid_of(2), 1 << 50)])))
    assert [entry.priority for entry in read.wantlist.entries] == [max(priority, 0), (1 << 31) - 1]


def test_a_priority_that_is_absent_is_one() -> None:
    """Before 1.2.0 some left it out."""
    assert decode(_entry(_field(1, cid_of(1).raw))).entries == [Entry(cid_of(1), 1)]


@given(_messages, st.integers(6, 1 << 20), st.binary(max_size=20))
def test_unknown_fields_are_skipped(message: Message, number: int, body: bytes) -> None:
    """Of every wire type but groups, at every level."""
    strange = b"".join(
        [
            _field(number, body),
            varint.encode(number << 3) + b"\x80\x01",
            varint.encode(number << 3 | 5) + b"1234",
            varint.encode(number << 3 | 1) + b"12345678",
        ]
    )
    assert _plain(decode(strange + _bytes(message) + strange)) == message
    entry = _field(1, _field(1, strange + _field(1, cid_of(1).raw) + strange) + strange)
    block = _field(3, strange + _field(1, PREFIX_V0) + strange + _field(2, b"data"))
    presence = _field(4, strange + _field(1, cid_of(2).raw) + strange)
    found = decode(entry + block + presence)
    assert found.entries == [Entry(cid_of(1))]
    assert [(prefix, bytes(data)) for prefix, data in found.blocks] == [(PREFIX_V0, b"data")]
    assert found.haves == [cid_of(2)]


def test_what_cannot_be_used_is_skipped_and_counted() -> None:
    """A CID that is none, or is too long, or a presence of a kind to come, costs only itself."""
    long = CID(1, RAW, multihash.wrap(0x1E, bytes(MAX_CID_BYTES - 4)))
    assert len(long.raw) == MAX_CID_BYTES + 1
    data = b"".join(
        [
            _entry(_field(1, b"nonsense")),
            _entry(b""),
            _entry(_field(1, long.raw)),
            _entry(_field(1, cid_of(1).raw + b"!")),
            _field(4, _field(1, b"")),
            _field(4, _field(1, cid_of(3).raw) + b"\x10\x02"),
            _entry(_field(1, cid_of(1).raw)),
            _field(4, _field(1, cid_of(2).raw) + b"\x10\x01"),
        ]
    )
    found = decode(data)
    assert found.entries == [Entry(cid_of(1))]
    assert found.dont_haves == [cid_of(2)]
    assert not found.haves
    assert found.skipped == 6


@given(_messages)
@settings(max_examples=25)
def test_cut_short_at_every_byte(message: Message) -> None:
    """It is a shorter message or a violation, never anything else."""
    data = _bytes(message)
    for end in range(len(data)):
        try:
            found = decode(data[:end])
        except ProtocolViolation:
            continue
        assert len(found.blocks) <= len(message.blocks)


@given(st.one_of(st.binary(max_size=200), st.tuples(_messages, st.integers(0, 1 << 16), st.binary(max_size=4))))
@settings(max_examples=300)
def test_any_bytes(case: bytes | tuple[Message, int, bytes]) -> None:
    """Random bytes, and messages with some bytes replaced, are read or are a violation."""
    if isinstance(case, bytes):
        data = case
    else:
        message, at, patch = case
        data = _bytes(message)
        at %= len(data) + 1
        data = data[:at] + patch + data[at + len(patch) :]
    with suppress(ProtocolViolation):
        decode(data)


def _repeat(part: bytes, count: int) -> bytes:
    return part * count


@pytest.mark.parametrize(
    ("part", "limit", "wrap"),
    [
        (_field(1, _field(1, cid_of(1).raw)), MAX_ENTRIES_PER_MESSAGE, lambda body: _field(1, body)),
        (_field(1, _field(1, b"nonsense")), MAX_ENTRIES_PER_MESSAGE, lambda body: _field(1, body)),
        (_field(4, _field(1, cid_of(1).raw)), MAX_PRESENCES_PER_MESSAGE, bytes),
        (_field(4, _field(1, b"nonsense") + b"\x10\x01"), MAX_PRESENCES_PER_MESSAGE, bytes),
        (_field(2, b"x"), MAX_BLOCKS_PER_MESSAGE, bytes),
        (_field(3, _field(1, PREFIX_V0) + _field(2, b"x")), MAX_BLOCKS_PER_MESSAGE, bytes),
        (b"\x28\x01", MAX_FIELDS_PER_MESSAGE, bytes),
        (b"\x10\x01", MAX_FIELDS_PER_MESSAGE - 1, lambda body: _field(1, body)),
    ],
    ids=["entries", "bad entries", "presences", "bad presences", "plain blocks", "blocks", "fields", "inner fields"],
)
def test_caps(part: bytes, limit: int, wrap: Any) -> None:
    """So many are read, and one more is a violation."""
    decode(wrap(_repeat(part, limit)))
    with pytest.raises(ProtocolViolation, match="more than"):
        decode(wrap(_repeat(part, limit + 1)))


@pytest.mark.parametrize("number", [2, 3])
def test_the_largest_block(number: int) -> None:
    """2 MiB, in both forms."""
    for size, good in ((MAX_BLOCK_BYTES, True), (MAX_BLOCK_BYTES + 1, False)):
        body = bytes(size) if number == 2 else _field(1, PREFIX_V0) + _field(2, bytes(size))
        if good:
            assert len(decode(_field(number, body)).blocks) == 1
        else:
            with pytest.raises(ProtocolViolation, match="limit"):
                decode(_field(number, body))


@pytest.mark.parametrize(
    "data",
    [
        b"\x0b",  # a group
        b"\x0f",  # wire type 7
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",  # a length of 2**63
        b"\x0a" + b"\xff" * 10,
        b"\xff" * 12,
        b"\x28" + b"\xff" * 10 + b"\x01",
        b"\x09123",
        b"\x0d12",
        _field(3, _field(2, b"no prefix")),
        _field(3, _field(1, b"\x01\x55\x12") + _field(2, b"x")),
        _field(3, _field(1, bytes(MAX_PREFIX_BYTES + 1)) + _field(2, b"x")),
        _field(1, _field(1, _field(1, cid_of(1).raw)[:-1])),
    ],
)
def test_malformed(data: bytes) -> None:
    """Each is a violation by name."""
    with pytest.raises(ProtocolViolation):
        decode(data)


def _prefixes() -> Iterable[bytes]:
    return [b"", b"\x01\x55\x12", b"\x01\x55\x12\x20\x00", b"\x81\x00\x55\x12\x20", b"\xff" * 20]


def test_prefixes() -> None:
    """Four varints and nothing else."""
    assert split_prefix(cid_of(1).prefix) == (1, RAW, 0x12, 32)
    assert split_prefix(PREFIX_V0) == (0, DAG_PB, 0x12, 32)
    for prefix in _prefixes():
        with pytest.raises(ProtocolViolation):
            split_prefix(prefix)


@given(st.lists(_cids, min_size=1, max_size=5))
def test_sizes_are_not_underestimated(cids: list[CID]) -> None:
    """What a message is expected to weigh covers what it does."""
    entries = [Entry(cid, (1 << 31) - 1, want_have=True, send_dont_have=True) for cid in cids]
    assert sum(map(wire.entry_size, entries)) + 10 >= len(_bytes(Message(entries=entries)))
    assert sum(map(wire.presence_size, cids)) >= len(_bytes(Message(dont_haves=cids)))
