"""Identity keys: the specification's vectors, remotes of every type, and the file that keeps our own."""

from __future__ import annotations

import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from ipfs_kit_py.core import varint
from ipfs_kit_py.core.cid import PeerID
from ipfs_kit_py.core.errors import ConfigError, ProtocolViolation
from ipfs_kit_py.crypto.key_file import load_or_create
from ipfs_kit_py.crypto.keys import ECDSA, ED25519, RSA, SECP256K1, PrivateKey, PublicKey

VECTORS = json.loads(Path(__file__).with_name("peer_id_vectors.json").read_text())["keys"]


def _framed(kind: int, data: bytes) -> bytes:
    return bytes((8, kind, 0x12)) + varint.encode(len(data)) + data


def _rsa(bits: int, exponent: int = 65537) -> bytes:
    key = rsa.generate_private_key(exponent, bits).public_key()
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _ec(curve: ec.EllipticCurve) -> bytes:
    key = ec.generate_private_key(curve).public_key()
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("name", sorted(VECTORS))
def test_vectors_of_the_specification(name: str) -> None:
    private, public = (bytes.fromhex(VECTORS[name][half]) for half in ("private", "public"))
    key = PrivateKey.decode(private)
    assert key.public_key.encode() == public
    assert key.encode() == private
    remote = PublicKey.decode(public)
    assert remote == key.public_key
    signature = key.sign(b"message")
    assert remote.verify(b"message", signature)
    assert not remote.verify(b"another message", signature)
    assert not remote.verify(b"message", signature[:-1] + bytes((signature[-1] ^ 1,)))
    assert not remote.verify(b"message", b"")


def test_peer_ids_of_known_keys() -> None:
    small = PublicKey.decode(bytes.fromhex(VECTORS["ed25519"]["public"])).peer_id()
    assert small.raw == b"\x00\x24" + bytes.fromhex(VECTORS["ed25519"]["public"])  # short keys are their own id
    large = PublicKey.decode(bytes.fromhex(VECTORS["rsa"]["public"])).peer_id()
    assert large.raw[:2] == b"\x12\x20"
    assert str(large).startswith("Qm")
    assert PeerID.parse(str(small)) == small


def test_old_ed25519_files_with_the_public_key_twice() -> None:
    key = PrivateKey.generate()
    data = key.encode()[4:]
    assert len(data) == 64
    assert PrivateKey.decode(_framed(ED25519, data + data[32:])).public_key == key.public_key
    with pytest.raises(ConfigError):
        PrivateKey.decode(_framed(ED25519, data + bytes(32)))
    with pytest.raises(ConfigError):
        PrivateKey.decode(_framed(ED25519, data[:32] + bytes(32)))


def test_an_uncompressed_secp256k1_key_has_the_same_peer_id() -> None:
    key = ec.generate_private_key(ec.SECP256K1()).public_key()
    forms = [
        key.public_bytes(serialization.Encoding.X962, form)
        for form in (serialization.PublicFormat.UncompressedPoint, serialization.PublicFormat.CompressedPoint)
    ]
    first, second = (PublicKey.decode(_framed(SECP256K1, form)) for form in forms)
    assert first.peer_id() == second.peer_id()
    assert first.encode() == _framed(SECP256K1, forms[1])


def test_rsa_is_taken_from_2048_bits_with_a_small_exponent() -> None:
    PublicKey.decode(_framed(RSA, _rsa(2048)))
    with pytest.raises(ProtocolViolation, match="1024 bits"):
        PublicKey.decode(_framed(RSA, _rsa(1024)))
    modulus = rsa.generate_private_key(65537, 2048).public_key().public_numbers().n
    slow = rsa.RSAPublicNumbers((1 << 40) + 1, modulus).public_key()
    der = slow.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(ProtocolViolation, match="exponent"):
        PublicKey.decode(_framed(RSA, der))


def test_rsa_over_8192_bits_is_refused() -> None:
    # 2**8199 + 1 is odd and long enough; whether it is a product of two primes is never looked at
    huge = rsa.RSAPublicNumbers(65537, (1 << 8199) + 1).public_key()
    der = huge.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(ProtocolViolation, match="8200 bits"):
        PublicKey.decode(_framed(RSA, der))


def test_ecdsa_keys_of_the_usual_curves_only() -> None:
    for curve in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()):
        PublicKey.decode(_framed(ECDSA, _ec(curve)))
    with pytest.raises(ProtocolViolation):
        PublicKey.decode(_framed(ECDSA, _ec(ec.SECP256K1())))
    with pytest.raises(ProtocolViolation):
        PublicKey.decode(_framed(ECDSA, _rsa(2048)))
    with pytest.raises(ProtocolViolation):
        PublicKey.decode(_framed(RSA, _ec(ec.SECP256R1())))


@pytest.mark.parametrize("y", [0, 1, 2**255 - 20, 2**255 - 19, 2**255 - 18])
@pytest.mark.parametrize("sign", [0, 1 << 255])
def test_ed25519_points_of_small_order_are_refused(y: int, sign: int) -> None:
    with pytest.raises(ProtocolViolation, match="small order"):
        PublicKey.decode(_framed(ED25519, (y | sign).to_bytes(32, "little")))


@pytest.mark.parametrize(
    "raw",
    [b"", b"\x08\x01", b"\x12\x00", b"\xff" * 40, _framed(9, bytes(32)), _framed(ED25519, bytes(31)), bytes(4096)],
)
def test_what_is_no_key(raw: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        PublicKey.decode(raw)
    with pytest.raises(ConfigError):
        PrivateKey.decode(raw)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_key_or_a_violation(raw: bytes) -> None:
    try:
        key = PublicKey.decode(raw)
    except ProtocolViolation:
        return
    assert PublicKey.decode(key.encode()) == key


def test_the_secret_is_not_shown() -> None:
    key = PrivateKey.generate()
    assert str(key.peer_id()) in repr(key)
    assert key.encode()[4:36].hex() not in repr(key)


# --- the file ---------------------------------------------------------------------------------------------------------
def test_an_identity_is_made_once_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "identity"
    first = load_or_create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_or_create(str(path)).peer_id() == first.peer_id()
    assert [item.name for item in path.parent.iterdir()] == ["identity"]


def test_many_at_once_agree_on_one_identity(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(load_or_create, [tmp_path / "identity"] * 16))
    assert len({key.peer_id() for key in keys}) == 1


@pytest.mark.parametrize("content", [b"", b"{}", b"\x08\x01\x12\x40" + bytes(64), bytes(100_000)])
def test_a_damaged_identity_is_an_error_and_stays(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "identity"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=r"identity.* is damaged"):
        load_or_create(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_an_identity_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "identity"
    peer = load_or_create(path).peer_id()
    path.chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        load_or_create(path)
    path.chmod(0o600)
    assert load_or_create(path).peer_id() == peer


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load_or_create(tmp_path)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot"):
        load_or_create(tmp_path / "file" / "identity")
    assert os.listdir(tmp_path) == ["file"]
