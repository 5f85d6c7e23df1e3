"""Named keys: kept privately, never over each other, never outside of their folder."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from ipfs_kit_py.core import config
from ipfs_kit_py.core.errors import ConfigError, InvalidName, LocalError, NotFound
from ipfs_kit_py.crypto import keystore
from ipfs_kit_py.crypto.keys import ED25519, RSA, PrivateKey
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
    assert keys.rename("one", "two", force=True).overwrote
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
