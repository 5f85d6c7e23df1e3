"""Multiaddrs as text and bytes: the examples of the specification, both ways, and whatever a peer may send."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_kit_py.core import multiaddr
from ipfs_kit_py.core.errors import InvalidAddress

# Text and hex as the Go and JavaScript implementations' tests have them.
EXAMPLES = {
    "/ip4/1.2.3.4": "0401020304",
    "/ip4/127.0.0.1/tcp/0": "047f000001060000",
    "/ip6/2601:9:4f81:9700:803e:ca65:66e8:c21": "29260100094f819700803eca6566e80c21",
    "/ip6/::1/tcp/65535": "290000000000000000000000000000000106ffff",
    "/ip4/127.0.0.1/udp/1234": "047f000001910204d2",
    "/ip4/127.0.0.1/udp/4023/quic-v1": "047f00000191020fb7cd03",
    "/ip4/127.0.0.1/udp/1234/quic-v1/webtransport/certhash/uEiAkH5a4DPGKUuOBjYw0CgwjvcJCJMD2K_1aluKR_tpevQ": (
        "047f000001910204d2cd03d103d203221220241f96b80cf18a52e3818d8c340a0c23bdc24224c0f62bfd5a96e291feda5ebd"
    ),
    "/dns/example.com/tcp/443/wss": "350b6578616d706c652e636f6d0601bbde03",
    "/dns4/example.com": "360b6578616d706c652e636f6d",
    "/dnsaddr/protocol.ai": "380b70726f746f636f6c2e6169",
    "/ip4/127.0.0.1/tcp/1234/ws": "047f0000010604d2dd03",
    "/ip4/127.0.0.1/tcp/127/tls/ws": "047f00000106007fc003dd03",
    "/ip4/127.0.0.1/tcp/9090/p2p-circuit": "047f000001062382a202",
    "/p2p/QmcgpsyWgH8Y8ajJz1Cu72KnS5uo2Aa2LpzU7kinSupNKC": (
        "a503221220d52ebb89d85b02a284948203a62ff28389c57c9f42beec4ec20db76a68911c0b"
    ),
    "/unix/a/b/c/d/e": "900309612f622f632f642f65",
    "/onion3/vww6ybal4bd7szmgncyruucpgfkqahzddi37ktceo3ah7ngmcopnpyyd:1234": (
        "bd03adadec040be047f9658668b11a504f3155001f231a37f54c4476c07fb4cc139ed7e30304d2"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "raw"), EXAMPLES.items())
def test_text_and_bytes_name_the_same(text: str, raw: str) -> None:
    parts = multiaddr.from_text(text)
    assert multiaddr.to_bytes(parts).hex() == raw
    assert multiaddr.from_bytes(bytes.fromhex(raw)) == parts
    assert multiaddr.to_text(parts) == text


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("/ip6/2001:0db8:0000::0001/tcp/007/", "/ip6/2001:db8::1/tcp/7"),
        ("/ipfs/QmcgpsyWgH8Y8ajJz1Cu72KnS5uo2Aa2LpzU7kinSupNKC", "/p2p/QmcgpsyWgH8Y8ajJz1Cu72KnS5uo2Aa2LpzU7kinSupNKC"),
        (
            "/p2p/bafzbeigvf25ytwc3akrijfecaotc74udrhcxzh2cx3we5qqnw5vgrei4bm",
            "/p2p/QmcgpsyWgH8Y8ajJz1Cu72KnS5uo2Aa2LpzU7kinSupNKC",
        ),
        ("/certhash/mEiAkH5a4DPGKUuOBjYw0CgwjvcJCJMD2K/1aluKR/tpevQ", None),
        ("/certhash/f1220241f96b80cf18a52e3818d8c340a0c23bdc24224c0f62bfd5a96e291feda5ebd",
         "/certhash/uEiAkH5a4DPGKUuOBjYw0CgwjvcJCJMD2K_1aluKR_tpevQ"),
    ],
)  # fmt: skip
def test_other_spellings_become_the_usual_one(text: str, canonical: str | None) -> None:
    if canonical is None:  # base64 has slashes, which text cannot hold
        with pytest.raises(InvalidAddress):
            multiaddr.from_text(text)
    else:
        assert multiaddr.to_text(multiaddr.from_text(text)) == canonical


NOT_TEXT = [
    *("", "/", "ip4/1.2.3.4", "//tcp/1", "/ip4", "/ip4/256.1.1.1", "/ip4/::1", "/ip6/fe80::1%eth0", "/ip6/1.2.3.4"),
    *("/tcp/65536", "/tcp/-1", "/tcp/ 1", "/tcp/1_0", "/tcp/٣", "/tcp/" + "9" * 10_000, "/nope/1", "/tcp/1//ws"),
    *("/p2p/nope", "/p2p/bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku", "/dns/", "/onion3/a:1"),
    *("/certhash/u", "/certhash/nothing", "/onion3/vww6ybal4bd7szmgncyruucpgfkqahzddi37ktceo3ah7ngmcopnpyyd:0"),
]
NOT_BYTES = [
    "00",
    "04",
    "040102",
    "047f00000106",
    "3600",
    "36ffffffffffffffff7f61",
    "3601",
    "36022f2f",
    "3602c328",
    "360100",
    "a50300",
    "a503021234",
    "d20301ff",
    "8400",
    "fe",
    "0401020304ff",
]


@pytest.mark.parametrize("text", NOT_TEXT)
def test_what_is_none_says_so(text: str) -> None:
    with pytest.raises(InvalidAddress, match=r"multiaddr|peer id"):
        multiaddr.from_text(text)


@pytest.mark.parametrize("raw", NOT_BYTES)
def test_bytes_that_are_none_say_so(raw: str) -> None:
    with pytest.raises(InvalidAddress):
        multiaddr.from_bytes(bytes.fromhex(raw))


@given(st.binary(max_size=80))
def test_any_bytes_are_refused_or_come_back(raw: bytes) -> None:
    try:
        parts = multiaddr.from_bytes(raw)
    except InvalidAddress:
        return
    assert multiaddr.to_bytes(parts) == raw
    if parts:
        assert multiaddr.from_text(multiaddr.to_text(parts)) == parts


@given(
    st.text(max_size=60), st.sampled_from(["", "/ip4/", "/dns/", "/tcp/", "/unix/", "/p2p/", "/onion3/", "/certhash/"])
)
def test_any_text_is_refused_or_settles(text: str, start: str) -> None:
    try:
        parts = multiaddr.from_text(start + text)
    except InvalidAddress:
        return
    assert multiaddr.from_text(multiaddr.to_text(parts)) == parts
    assert multiaddr.from_bytes(multiaddr.to_bytes(parts)) == parts
