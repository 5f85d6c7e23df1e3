"""Named keys: kept privately, never over each other, never outside of their folder."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519

from ipfs_kit_py.core import config
from ipfs_kit_py.core.errors import ConfigError, InvalidName, LocalError, NotFound
from ipfs_kit_py.crypto import ipns, keystore
from ipfs_kit_py.crypto.keys import ECDSA, ED25519, RSA, SECP256K1, PrivateKey
from ipfs_kit_py.crypto.keystore import Keystore

if TYPE_CHECKING:
    from pathlib import Path

ME = PrivateKey.generate()


@pytest.fixture
def keys(tmp_path: Path) -> Keystore:
    return Keystore(tmp_path / "keystore", ME)


def test_generate_list_load_find(keys: Keystore, tmp_path: Path) -> None:
    made = keys.generate("site ü")
    assert made.kind == ED25519
    assert keys.generate("old", "rsa").kind == RSA
    assert [name for name, _key in keys.all()] == ["self", "old", "site ü"]
    assert keys.load("site ü").encode() == made.encode()
    assert keys.find(str(made.peer_id())).encode() == made.encode()
    assert keys.load("self") is ME
    for path in (tmp_path / "keystore").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "keystore").stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["", "a/b", "../x", "..", "a\x00", "x" * 129, "ü" * 100, "\ud800", "self"])
def test_names_that_cannot_be(keys: Keystore, name: str) -> None:
    with pytest.raises(InvalidName):
        keys.generate(name)


def test_rename_remove_and_self(keys: Keystore) -> None:
    one, two = keys.generate("one"), keys.generate("two")
    with pytest.raises(InvalidName, match="--force"):
        keys.rename("one", "two")
    assert keys.load("two").encode() == two.encode()
    replaced = keys.rename("one", "two", force=True).replaced
    assert replaced is not None
    assert replaced.encode() == two.encode()
    assert keys.remove("two").encode() == one.encode()
    with pytest.raises(NotFound):
        keys.remove("two")
    for call in (lambda: keys.remove("self"), lambda: keys.rename("self", "x"), lambda: keys.rename("x", "self")):
        with pytest.raises(InvalidName, match="identity"):
            call()


def test_export_and_add(keys: Keystore) -> None:
    made = keys.generate("one")
    assert keys.add("copy", keys.export("one")).peer_id() == made.peer_id()
    with pytest.raises(InvalidName, match="already"):
        keys.add("one", ME.encode())
    with pytest.raises(ConfigError):
        keys.add("bad", b"no key")
    with pytest.raises(LocalError):
        keys.generate("x", "rsa", 1024)


# What Kubo 0.43.1 wrote for one throw-away key with `key export`, in either format, and the name it gave it.
KUBO_KEY = bytes.fromhex(
    "080112407ddb4604e8fb2087a42fa8576d6adeb032483116d07be6b9b4c1cc704d4f661e3db0c5799771e3e8137f07d1bcd69c80053a5987"
    "3e9fc3018081c9a12cff0f65"
)
KUBO_PEM = b"""-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIH3bRgTo+yCHpC+oV21q3rAySDEW0HvmubTBzHBNT2Ye
-----END PRIVATE KEY-----
"""
KUBO_NAME = "k51qzi5uqu5dhpxwmv9fhcq8pjolv1r9n0mbg4ocabcza7s2jx9yawepplqdet"


@pytest.mark.parametrize(("form", "secret"), [(keystore.PROTOBUF, KUBO_KEY), (keystore.PEM, KUBO_PEM)])
def test_kubos_exported_keys_are_taken_in_and_given_back_the_same(keys: Keystore, form: str, secret: bytes) -> None:
    assert ipns.name_text(keys.add("theirs", secret, form).peer_id()) == KUBO_NAME
    assert keys.export("theirs", form) == secret
    assert (keys.export("theirs", keystore.PEM), keys.export("theirs")) == (KUBO_PEM, KUBO_KEY)


@pytest.mark.parametrize("form", keystore.FORMS)
def test_rsa_and_other_types(keys: Keystore, form: str) -> None:
    made = keys.generate("one", "rsa")
    assert keys.add("two", keys.export("one", form), form).peer_id() == made.peer_id()
    for kind, curve in ((SECP256K1, ec.SECP256K1()), (ECDSA, ec.SECP256R1())):
        other = PrivateKey(kind, ec.generate_private_key(curve))
        secret = other.encode_pem() if form == keystore.PEM else other.encode()
        with pytest.raises(ConfigError, match="--allow-any-key-type"):
            keys.add(f"k{kind}", secret, form)
        assert keys.add(f"k{kind}", secret, form, any_type=True).public_key == other.public_key


def test_what_is_no_key_is_refused(keys: Keystore) -> None:
    small = rsa.generate_private_key(65537, 1024)
    pem, none = serialization.Encoding.PEM, serialization.NoEncryption()
    locked = serialization.BestAvailableEncryption(b"secret")
    bad = [
        b"", b"-----BEGIN PRIVATE KEY-----", KUBO_PEM[:60] + KUBO_PEM[70:], KUBO_KEY,
        small.private_bytes(pem, serialization.PrivateFormat.PKCS8, none),
        small.private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, none),
        small.private_bytes(pem, serialization.PrivateFormat.PKCS8, locked),
        x25519.X25519PrivateKey.generate().private_bytes(pem, serialization.PrivateFormat.PKCS8, none),
    ]  # fmt: skip
    for secret in bad:
        with pytest.raises(ConfigError):
            keys.add("bad", secret, keystore.PEM)
    for secret in (b"", KUBO_PEM, KUBO_KEY[:-1], bytes(config.KEY_FILE_BYTES + 1)):
        with pytest.raises(ConfigError):
            keys.add("bad", secret)
    with pytest.raises(LocalError, match="format of a key"):
        keys.add("bad", KUBO_KEY, "jwk")
    with pytest.raises(InvalidName, match="not exported"):
        keys.export("self")
    assert keys.names() == []


def test_a_file_that_others_read_is_refused(keys: Keystore, tmp_path: Path) -> None:
    keys.generate("one")
    [path] = (tmp_path / "keystore").iterdir()
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        keys.load("one")


def test_no_more_than_the_most(keys: Keystore, monkeypatch: pytest.MonkeyPatch) -> None:
    assert config.KEYSTORE_MAX_KEYS > 1
    monkeypatch.setattr(keystore, "KEYSTORE_MAX_KEYS", 1)
    keys.generate("one")
    with pytest.raises(ConfigError, match="at most 1"):
        keys.generate("two")
