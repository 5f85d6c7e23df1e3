"""The identity in a file that its owner alone can read."""

from __future__ import annotations

import logging
import os
import secrets
import stat
from pathlib import Path

from ipfs_kit_py.core.config import MAX_IDENTITY_FILE_BYTES
from ipfs_kit_py.core.errors import ConfigError, LocalError
from ipfs_kit_py.crypto.keys import PrivateKey

log = logging.getLogger(__name__)


def load_or_create(path: Path | str) -> PrivateKey:
    """The identity kept in the file ``path``; a new Ed25519 one is made where there is no file.

    The file is written whole or not at all, with mode 0600. One that others may read is refused, since its key may
    have been copied, and a damaged one is never overwritten: both are a ``ConfigError`` that says what to do.
    """
    path = Path(path).expanduser()
    try:
        return load(path)
    except FileNotFoundError:
        pass
    try:
        _create(path, PrivateKey.generate())
        return load(path)
    except OSError as error:
        raise ConfigError(f"cannot write the identity file {path}: {error.strerror or error}") from None


def load(path: Path) -> PrivateKey:
    """The identity kept in ``path``; ``FileNotFoundError`` where there is none, ``ConfigError`` where it is no good."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            raw = file.read(MAX_IDENTITY_FILE_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError(f"cannot read the identity file {path}: {error.strerror or error}") from None
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(
            f"others may read or write the identity file {path}; if its key was not copied: chmod 600 {path}"
        )
    try:
        return PrivateKey.decode(raw)
    except LocalError:
        raise ConfigError(
            f"the identity file {path} is damaged: it holds no private key; restore it, or move it away "
            "to become a new peer"
        ) from None


def _create(path: Path, key: PrivateKey) -> None:
    """Write a file that is not there yet. Where another process was quicker, its file stays."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(key.encode())
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            log.info("another process has made the identity file %s", path)
    finally:
        draft.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
