from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_kit_py.core.cid import PeerID
from ipfs_kit_py.core.config import MAX_ADDRESS_CHARS
from ipfs_kit_py.core.errors import InvalidAddress
from ipfs_kit_py.net import addresses
from ipfs_kit_py.net.addresses import Scope

PEER = PeerID.parse("12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA")


@pytest.mark.parametrize(
    ("text", "scope"),
    [
        ("/ip4/127.0.0.1/tcp/1", Scope.LOOPBACK),
        ("/ip6/::1/tcp/1", Scope.LOOPBACK),
        ("/ip4/10.1.2.3/tcp/1", Scope.PRIVATE),
        ("/ip4/100.64.0.1/tcp/1", Scope.PRIVATE),
        ("/ip6/fd00::2/tcp/1", Scope.PRIVATE),
        ("/ip4/169.254.1.1/tcp/1", Scope.LINK),
        ("/ip6/fe80::1/tcp/1", Scope.LINK),
        ("/ip6zone/eth0/ip6/fe80::1/tcp/1", Scope.LINK),
        ("/ip4/8.8.8.8/tcp/1", Scope.PUBLIC),
        ("/ip6/::ffff:127.0.0.1/tcp/1", Scope.LOOPBACK),
        ("/ip4/0.0.0.0/tcp/1", Scope.UNUSABLE),
        ("/ip4/224.0.0.1/udp/1", Scope.UNUSABLE),
        ("/dns4/example.org/tcp/1", Scope.PUBLIC),
    ],
)
def test_scope(text: str, scope: Scope) -> None:
    assert addresses.scope(text) is scope


def test_the_peer_id_at_the_end_is_taken_off() -> None:
    found = addresses.parse(f"/ip4/192.0.2.1/tcp/4001/p2p/{PEER}")
    assert (found.text, found.peer) == ("/ip4/192.0.2.1/tcp/4001", PEER)
    assert addresses.parse(f"/ip4/192.0.2.1/tcp/4001/ipfs/{PEER}").peer == PEER
    relayed = addresses.parse(f"/ip4/192.0.2.1/tcp/4001/p2p/{PEER}/p2p-circuit/p2p/{PEER}")
    assert relayed.text == f"/ip4/192.0.2.1/tcp/4001/p2p/{PEER}/p2p-circuit"
    assert addresses.parse(addresses.with_peer(found.text, PEER)) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "hello",
        "192.0.2.1:4001",
        "/ip4/192.0.2/tcp/1",
        "/ip4/192.0.2.1/tcp/65536",
        "/ip4/192.0.2.1/tcp",
        "/nonsense/1",
        "/ip4/192.0.2.1/tcp/1/p2p/nobody",
        "/dns4/" + "x" * MAX_ADDRESS_CHARS + "/tcp/1",
    ],
)
def test_what_is_no_multiaddr_is_refused(text: str) -> None:
    with pytest.raises(InvalidAddress):
        addresses.parse(text)


@given(st.binary(max_size=80))
def test_binary_addresses_parse_or_are_refused(raw: bytes) -> None:
    try:
        found = addresses.from_bytes(raw)
    except InvalidAddress:
        return
    assert addresses.parse(found.text).text == found.text


_NAMES = st.one_of(st.text(max_size=8), st.sampled_from(["/", "a/", "//", "a//b", "..", "%", "\u0000", "x y"])).map(
    str.encode
)
_STEPS = st.one_of(
    st.sampled_from([b"\x06\x0f\xa1", b"\xcc\x03", b"\xcd\x03", b"\xa2\x02", b"\xdd\x03", b"\x04\x08\x08\x08\x08"]),
    st.tuples(
        st.sampled_from([b"\x36", b"\x2a", b"\x90\x03", b"\xe1\x03", b"\xa5\x03", b"\xd2\x03"]),
        _NAMES | st.binary(max_size=40),
    ).map(lambda row: row[0] + bytes((len(row[1]),)) + row[1]),
)


@given(st.lists(_STEPS, max_size=6).map(b"".join))
def test_binary_addresses_that_are_nearly_right_parse_or_are_refused(raw: bytes) -> None:
    try:
        found = addresses.from_bytes(raw)
    except InvalidAddress:
        return
    assert addresses.parse(found.text).parts == found.parts
    assert addresses.scope(found.text) is found.scope


def test_a_path_that_has_no_text_is_refused() -> None:
    with pytest.raises(InvalidAddress):
        addresses.from_bytes(b"\x90\x03\x01/")


@given(st.ip_addresses(), st.integers(0, 65535))
def test_binary_and_text_agree(ip: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> None:
    text = f"/ip{ip.version}/{ip}/tcp/{port}"
    found = addresses.parse(text)
    assert addresses.from_bytes(addresses.to_bytes(text)) == found
    end = addresses.tcp_endpoint(found)
    assert end is not None
    assert (ipaddress.ip_address(end.host), end.port) == (ip, port)


def test_only_plain_tcp_has_a_tcp_endpoint() -> None:
    for text in (
        "/ip4/192.0.2.1/udp/1/quic-v1",
        "/ip4/192.0.2.1/tcp/1/ws",
        f"/ip4/192.0.2.1/tcp/1/p2p/{PEER}/p2p-circuit",
    ):
        assert addresses.tcp_endpoint(addresses.parse(text)) is None


def test_addresses_are_told_only_to_those_who_can_use_them() -> None:
    all_of_them = ["/ip4/127.0.0.1/tcp/1", "/ip4/10.0.0.1/tcp/1", "/ip4/8.8.8.8/tcp/1", "/ip4/0.0.0.0/tcp/1"]
    assert addresses.useful_to(all_of_them, Scope.LOOPBACK) == all_of_them[:3]
    assert addresses.useful_to(all_of_them, Scope.PRIVATE) == all_of_them[1:3]
    assert addresses.useful_to(all_of_them, Scope.PUBLIC) == all_of_them[2:3]


def test_a_mapped_address_is_the_ipv4_address_that_it_carries() -> None:
    assert addresses.of_socket("::ffff:192.0.2.1", 5) == "/ip4/192.0.2.1/tcp/5"
    assert addresses.of_socket("fe80::1%eth0", 5) == "/ip6/fe80::1/tcp/5"
