from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_kit_py.core.config import (
    IDENTIFY_MAX_ADDRESSES,
    IDENTIFY_MAX_MESSAGES,
    IDENTIFY_MAX_PROTOCOLS,
    IDENTIFY_MAX_TEXT,
    IDENTIFY_MESSAGE_BYTES,
)
from ipfs_kit_py.core.errors import ProtocolViolation
from ipfs_kit_py.net.identify import Identity, decode, encode, merge
from ipfs_kit_py.net.identify_pb2 import Identify

US = Identity(
    protocol_version="ipfs/0.1.0",
    agent="ipfs-kit-py/1.0",
    public_key=b"key",
    addresses=("/ip4/8.8.8.8/tcp/4001", "/ip6/2a00::1/tcp/4001", "/dns4/example.org/tcp/443/tls/ws"),
    observed="/ip4/9.9.9.9/tcp/1234",
    protocols=frozenset({"/ipfs/id/1.0.0", "/ipfs/bitswap/1.2.0"}),
    signed_record=b"record",
)


def test_what_is_told_is_understood_in_one_message() -> None:
    assert len(encode(US)) == 1
    assert decode(encode(US)) == US


def test_field_numbers_are_those_of_the_specification() -> None:
    expected = b"\x0a\x01k" + b"\x12\x08\x04\x08\x08\x08\x08\x06\x0f\xa1" + b"\x1a\x01p" + b"\x2a\x01v" + b"\x32\x01a"
    found = encode(
        Identity(
            protocol_version="v", agent="a", public_key=b"k", addresses=US.addresses[:1], protocols=frozenset({"p"})
        )
    )
    assert found == [expected]


def test_a_long_answer_comes_in_messages_that_are_merged() -> None:
    long = Identity(
        agent="a",
        protocols=frozenset(f"/some/quite/long/protocol/name/that/fills/the/message/{n}/1.0.0" for n in range(200)),
        addresses=tuple(f"/dns4/{n}.{'x' * 60}.{'y' * 60}.example/tcp/4001" for n in range(60)),
        signed_record=b"r" * 3000,
    )
    messages = encode(long)
    assert 1 < len(messages) <= IDENTIFY_MAX_MESSAGES
    assert max(map(len, messages)) <= IDENTIFY_MESSAGE_BYTES
    assert decode(messages) == long


def test_too_many_or_too_large_messages_are_a_violation() -> None:
    with pytest.raises(ProtocolViolation):
        decode([b""] * (IDENTIFY_MAX_MESSAGES + 1))
    with pytest.raises(ProtocolViolation):
        decode([b"\x00" * (IDENTIFY_MESSAGE_BYTES + 1)])
    with pytest.raises(ProtocolViolation):
        decode([b"\xff\xff"])


def test_counts_are_capped() -> None:
    crowd = Identify(
        protocols=[f"/{n}".encode() for n in range(1000)],
        listen_addresses=[bytes((4, 8, 8, n >> 8, n & 255, 6, 15, 161)) for n in range(600)],
    )
    raw = crowd.SerializeToString()
    found = decode([raw[:0], raw] if len(raw) <= IDENTIFY_MESSAGE_BYTES else _halves(crowd))
    assert len(found.protocols) <= IDENTIFY_MAX_PROTOCOLS
    assert len(found.addresses) <= IDENTIFY_MAX_ADDRESSES


def _halves(message: Identify) -> list[bytes]:
    return [
        Identify(protocols=message.protocols).SerializeToString()[:0],
        Identify(protocols=message.protocols[:500]).SerializeToString(),
        Identify(protocols=message.protocols[500:]).SerializeToString(),
        Identify(listen_addresses=message.listen_addresses).SerializeToString(),
    ]


def test_malformed_values_are_left_out_and_the_others_count() -> None:
    odd = Identify(
        protocols=[b"/good", b"\xff\xfe", b"/esc\x1b[2J", b"x" * (IDENTIFY_MAX_TEXT + 1), b""],
        listen_addresses=[b"", b"\xff" * 9, bytes((4, 8, 8, 8, 8, 6, 15, 161))],
        observed_address=b"nonsense",
        agent_version=b"evil\x07agent",
    )
    found = decode([odd.SerializeToString()])
    assert found.protocols == {"/good"}
    assert found.addresses == ("/ip4/8.8.8.8/tcp/4001",)
    assert (found.observed, found.agent) == (None, "")


@given(st.lists(st.binary(max_size=200), max_size=12))
def test_any_bytes_are_understood_or_a_violation(messages: list[bytes]) -> None:
    try:
        found = decode(messages)
    except ProtocolViolation:
        return
    assert len(found.protocols) <= IDENTIFY_MAX_PROTOCOLS


def test_a_push_changes_only_what_it_names() -> None:
    pushed = Identity(protocols=frozenset({"/new"}))
    assert merge(US, pushed) == Identity(**{**vars(US), "protocols": frozenset({"/new"})})
