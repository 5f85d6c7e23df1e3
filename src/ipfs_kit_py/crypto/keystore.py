"""Named keys of a repo, one file each that its owner alone can read. Blocking: call it in a thread.

The file names are the keys' names in base32 behind ``key_``, as Kubo's keystore has them.
"""

from __future__ import annotations

import base64
import os
import re
import secrets
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import rsa

from ipfs_kit_py.core.config import KEY_FILE_BYTES, KEYSTORE_MAX_KEYS, KEYSTORE_NAME_CHARS
from ipfs_kit_py.core.errors import ConfigError, InvalidName, LocalError, NotFound
from ipfs_kit_py.core.text import printable
from ipfs_kit_py.crypto import key_file
from ipfs_kit_py.crypto.keys import ED25519, NAMES, RSA, PrivateKey

SELF = "self"  # the node's own identity, which is no file of the keystore
TYPES = ("ed25519", "rsa")
PROTOBUF, PEM = "libp2p-protobuf-cleartext", "pem-pkcs8-cleartext"
FORMS = (PROTOBUF, PEM)  # Kubo's words
_NAME = re.compile(r"[^/\x00-\x1f\x7f]+")


class Renamed(NamedTuple):
    """What ``rename`` did, and the key that had the new name before."""

    key: PrivateKey
    replaced: PrivateKey | None


class Keystore:
    """The keys in ``folder`` beside ``identity``, which is called ``self`` and is never changed here."""

    def __init__(self, folder: Path | str, identity: PrivateKey) -> None:
        self._folder = Path(folder)
        self._identity = identity

    def generate(self, name: str, kind: str = "ed25519", size: int | None = None) -> PrivateKey:
        """A new key; ``size`` in bits, 2048 for rsa. ``InvalidName`` where the name is taken or cannot be,
        ``LocalError`` for a type or size that cannot be."""
        if kind not in TYPES:
            raise LocalError(f"a key is of type ed25519 or rsa, not {printable(kind)}")
        if kind == "ed25519" and size not in (None, 256):
            raise LocalError(f"ed25519 keys always have 256 bits, not {size}; leave --size out")
        if kind == "rsa" and size not in (None, 2048, 3072, 4096):
            raise LocalError(f"rsa keys have 2048, 3072 or 4096 bits, not {size}")
        self._check_free(name)
        if kind == "ed25519":
            key = PrivateKey.generate()
        else:
            key = PrivateKey(RSA, rsa.generate_private_key(65537, size or 2048))
        self._write(name, key)
        return key

    def load(self, name: str) -> PrivateKey:
        """A key by its name; ``NotFound`` where there is none, ``ConfigError`` where others may read its file."""
        if name == SELF:
            return self._identity
        try:
            return key_file.load(self._path(name))
        except FileNotFoundError:
            raise NotFound(f"no key is called {printable(name)}; `key list` shows them") from None

    def all(self) -> list[tuple[str, PrivateKey]]:
        """All keys by name, ``self`` first."""
        return [(name, self.load(name)) for name in (SELF, *self.names())]

    def names(self) -> list[str]:
        """The keys' names but for ``self``, in their order."""
        if not self._folder.is_dir():
            return []
        return sorted(filter(None, (_name_of(path.name) for path in self._folder.iterdir())))

    def find(self, text: str) -> PrivateKey:
        """A key by its name, or by the text of its peer id."""
        try:
            return self.load(text)
        except (NotFound, InvalidName):
            for _name, key in self.all():
                if text in (str(key.peer_id()), key.peer_id().to_cid().encode("base36")):
                    return key
            raise

    def remove(self, name: str) -> PrivateKey:
        """Forget a key for ever; returns it."""
        self._check_not_self(name)
        key = self.load(name)
        self._path(name).unlink()
        return key

    def rename(self, old: str, new: str, *, force: bool = False) -> Renamed:
        """Give a key another name; one that has it is replaced only with ``force``."""
        self._check_not_self(old)
        self._check_not_self(new)
        key, there = self.load(old), self._path(new).exists()
        if old == new:
            return Renamed(key, None)
        if there and not force:
            raise InvalidName(f"there is a key called {printable(new)} already; replace it with --force")
        replaced = self.load(new) if there else None
        self._path(old).replace(self._path(new))
        return Renamed(key, replaced)

    def export(self, name: str, form: str = PROTOBUF) -> bytes:
        """The secret in one of ``FORMS``, as ``key export`` of Kubo writes it. ``InvalidName`` for ``self``."""
        if name == SELF:
            raise InvalidName("the key called self is this node's identity: it is not exported")
        key = self.load(name)
        return key.encode_pem() if _checked(form) == PEM else key.encode()

    def add(self, name: str, secret: bytes, form: str = PROTOBUF, *, any_type: bool = False) -> PrivateKey:
        """Take in a key in one of ``FORMS``, Ed25519 or RSA unless ``any_type``. ``ConfigError`` where it is none."""
        self._check_free(name)
        if len(secret) > KEY_FILE_BYTES:
            raise ConfigError(f"a key's file has at most {KEY_FILE_BYTES} bytes, not {len(secret)}")
        if _checked(form) == PROTOBUF and secret.lstrip().startswith(b"-----BEGIN"):
            raise ConfigError(f"the key is in PEM: take it in with --format={PEM}")
        key = PrivateKey.decode_pem(secret) if form == PEM else PrivateKey.decode(secret)
        if key.kind not in (ED25519, RSA) and not any_type:
            raise ConfigError(f"a key of type {NAMES[key.kind]} is taken in with --allow-any-key-type alone")
        self._write(name, key)
        return key

    def _path(self, name: str) -> Path:
        if len(name) > KEYSTORE_NAME_CHARS or not _NAME.fullmatch(name) or name in (".", ".."):
            raise InvalidName(f"a key's name has 1 to {KEYSTORE_NAME_CHARS} characters and no slash: {printable(name)}")
        try:
            coded = base64.b32encode(name.encode()).decode().lower().rstrip("=")
        except UnicodeEncodeError:
            raise InvalidName(f"a key's name is text: {printable(name)}") from None
        if len(coded) > 250:  # what a file's name may have, less the prefix
            raise InvalidName(f"the name of a key is too long: {printable(name)}")
        return self._folder / f"key_{coded}"

    def _check_not_self(self, name: str) -> None:
        if name == SELF:
            raise InvalidName("the key called self is this node's identity: it has no other name and stays")

    def _check_free(self, name: str) -> None:
        self._check_not_self(name)
        if self._path(name).exists():
            raise InvalidName(f"there is a key called {printable(name)} already")
        if len(self.names()) >= KEYSTORE_MAX_KEYS:
            raise ConfigError(f"a keystore has at most {KEYSTORE_MAX_KEYS} keys; remove one with `key rm`")

    def _write(self, name: str, key: PrivateKey) -> None:
        """The whole file or none, and never over another."""
        path = self._path(name)
        draft = path.with_name(f".{secrets.token_hex(8)}")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(key.encode())
                file.flush()
                os.fsync(file.fileno())
            os.link(draft, path)
        except FileExistsError:
            raise InvalidName(f"there is a key called {printable(name)} already") from None
        except OSError as error:
            raise ConfigError(f"cannot write the key {path}: {error.strerror or error}") from None
        finally:
            draft.unlink(missing_ok=True)


def _checked(form: str) -> str:
    if form not in FORMS:
        raise LocalError(f"the format of a key is {' or '.join(FORMS)}, not {printable(form)}")
    return form


def _name_of(file: str) -> str:
    """The key's name in a file's name; ``""`` where the file is none of ours."""
    coded = file.removeprefix("key_").upper()
    try:
        return base64.b32decode(coded + "=" * (-len(coded) % 8)).decode() if file.startswith("key_") else ""
    except ValueError:
        return ""
