"""CIDs, multihashes, varints and peer ids: text and bytes both ways, and what is refused."""

import pickle
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_kit_py.core import multihash, varint
from ipfs_kit_py.core.cid import CID, DAG_CBOR, DAG_PB, RAW, PeerID
from ipfs_kit_py.core.config import PRESETS, NodeConfig
from ipfs_kit_py.core.errors import ConfigError, InvalidAddress, InvalidCID
from ipfs_kit_py.core.multiaddr import from_text
from ipfs_kit_py.core.roles import ROLES
from ipfs_kit_py.core.text import printable

HELLO_V0 = "Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD"
HELLO_V1 = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"


@given(st.integers(0, 2**63 - 1))
def test_a_varint_comes_back(value):
    encoded = varint.encode(value)
    assert varint.decode(encoded) == (value, len(encoded))
    assert varint.decode(b"x" + encoded + b"y", 1) == (value, 1 + len(encoded))


@pytest.mark.parametrize("bad", [b"\x80\x00", b"\xff" * 10])
def test_a_varint_that_is_not_minimal_or_too_long_is_refused(bad):
    with pytest.raises(ValueError, match="varint"):
        varint.decode(bad)


def test_a_varint_that_ends_early_may_still_come():
    with pytest.raises(IndexError):
        varint.decode(b"\x80")


@pytest.mark.parametrize("text", [HELLO_V0, HELLO_V1])
def test_a_cid_comes_back_from_text_and_bytes(text):
    cid = CID.parse(text)
    assert str(cid) == text
    assert CID.from_bytes(cid.raw) == cid
    assert pickle.loads(pickle.dumps(cid)) == cid
    assert hash(cid) == hash(CID.parse(text))


@given(
    st.binary(max_size=200),
    st.sampled_from([RAW, DAG_PB, DAG_CBOR]),
    st.sampled_from(["base32", "base58btc", "base36", "base64url", "base16"]),
)
def test_every_base_comes_back(data, codec, base):
    cid = CID.of(data, codec)
    assert CID.parse(cid.encode(base)) == cid
    assert cid.verify(data)
    assert not cid.verify(data + b"x")


def test_the_known_cid_of_hello_world():
    assert str(CID.of(b"hello world")) == HELLO_V1


@pytest.mark.parametrize("text", ["", "Q", "QmShort", HELLO_V1[:-3], "z" + HELLO_V0, "not a cid", "b" * 600, "bafk!!!"])
def test_what_is_no_cid_is_refused_with_the_text(text):
    with pytest.raises(InvalidCID):
        CID.parse(text)


@given(st.binary(max_size=80))
def test_random_bytes_are_a_cid_or_a_typed_error(data):
    try:
        cid = CID.from_bytes(data)
    except InvalidCID:
        return
    assert cid.raw == data


@pytest.mark.parametrize("code", sorted(multihash.NAMES))
def test_every_allowed_function_verifies_its_own_digest_and_no_other(code):
    found = multihash.of(b"some bytes", code)
    assert multihash.verify(found, b"some bytes")
    assert not multihash.verify(found, b"other bytes")
    CID(1, RAW, found).check_allowed()


def test_known_digests():
    vectors = {
        "keccak-256": "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470",
        "sha3-256": "a7ffc6f8bf1ed76651c14756a061d662f580ff4de43b49fa82d80a4b80f8434a",
        "blake3": "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
        "blake2b-256": "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8",
        "dbl-sha2-256": "5df6e0e2761359d30a8275058e299fcc0381534545f55cf43e41983f5d4c9456",
        "sha1": "da39a3ee5e6b4b0d3255bfef95601890afd80709",
    }
    for name, digest in vectors.items():
        assert multihash.digest(multihash.CODES[name], b"").hex() == digest, name


@pytest.mark.parametrize(
    ("code", "size"), [(0x12, 4), (0x12, 31), (0x00, 129), (0x22, 32), (0xD5, 16), (0x19, 10), (0x1E, 200), (0xB201, 1)]
)
def test_weak_or_unknown_functions_are_refused(code, size):
    with pytest.raises(InvalidCID):
        CID(1, RAW, multihash.wrap(code, bytes(size))).check_allowed()


def test_a_cid_cannot_be_changed():
    with pytest.raises(AttributeError):
        CID.parse(HELLO_V1).codec = 1


@pytest.mark.parametrize(
    "text", ["QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN", "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"]
)
def test_a_peer_id_has_two_text_forms(text):
    peer = PeerID.parse(text)
    assert str(peer) == text
    assert PeerID.parse(peer.to_cid().encode("base36")) == peer
    assert PeerID.parse(str(peer.to_cid())) == peer


@pytest.mark.parametrize("text", ["", "Qm", "12D3", HELLO_V1, "peer", "1" * 500])
def test_what_is_no_peer_id_is_refused(text):
    with pytest.raises(InvalidAddress):
        PeerID.parse(text)


def test_names_from_strangers_cannot_drive_a_terminal():
    assert printable("plain ünï") == "plain ünï"
    assert printable("a\x1b[31mb\nc") == r"a\x1b[31mb\nc"
    assert printable("\u202eevil") == r"\u202eevil"
    assert printable(b"\xff".decode("utf-8", "surrogateescape")) == r"\xff"


@pytest.mark.parametrize("role", ROLES)
def test_what_is_not_set_is_as_the_role_has_it(role):
    row = ROLES[role]
    assert NodeConfig(role=role).role_policy == row
    changed = NodeConfig(role=role, storage_max=1, memory_cache=0, high_water=7)
    assert changed.role_policy == replace(row, storage_max=1, memory_cache=0, high_water=7)
    assert NodeConfig(role=role).to_dict()["storage_max"] == row.storage_max
    with pytest.raises(ConfigError, match="storage_max must be 0 or more"):
        NodeConfig(role=role, storage_max=-1)


def test_a_preset_stands_for_its_addresses():
    own = "/ip4/192.0.2.1/tcp/4001/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"
    known = PRESETS["well-known"]
    assert NodeConfig(peers=(own, "well-known", own)).peer_addresses == (own, *known)
    assert NodeConfig().peer_addresses == ()
    for address in known:
        PeerID.parse(address.rpartition("/p2p/")[2])
        from_text(address)
