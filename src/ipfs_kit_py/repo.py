"""The folder of a node: configuration, identity, blocks, address book, and where its daemon answers.

config.toml    what the user set; the fields of NodeConfig and ``api``
identity       the private key, mode 0600
blocks/        the block store
peers.sqlite   the address book
tiers/         what clients of remote tiers keep
api            "HOST:PORT" of the running daemon
daemon.lock    held by it
"""

from __future__ import annotations

import fcntl
import os
import tomllib
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from ipfs_kit_py.core.config import NodeConfig
from ipfs_kit_py.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT_API = "127.0.0.1:5001"
_SETTABLE = {item.name: item for item in fields(NodeConfig) if item.name != "repo"}
_PATHS = frozenset({"identity_path"})


def default_path() -> Path:
    """``$IPFS_KIT_PATH``, else ``~/.ipfs-kit``."""
    return Path(os.environ.get("IPFS_KIT_PATH") or "~/.ipfs-kit").expanduser()


class Repo:
    """A node's folder; made on first use, readable by its owner alone."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path).expanduser()
        self.config_path = self.path / "config.toml"
        self.identity_path = self.path / "identity"
        self.blocks_path = self.path / "blocks"
        self.book_path = self.path / "peers.sqlite"
        self.tiers_path = self.path / "tiers"
        self.api_path = self.path / "api"
        self.lock_path = self.path / "daemon.lock"

    @property
    def exists(self) -> bool:
        """Whether it was made before."""
        return self.config_path.is_file()

    def ensure(self) -> None:
        """Make the folder and an empty configuration where there are none. ``ConfigError`` where that fails."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.config_path.touch()  # other processes may be making it too
        except OSError as error:
            raise ConfigError(
                f"cannot make the repo {self.path}: {error.strerror}; name another with --repo or $IPFS_KIT_PATH"
            ) from None

    def settings(self) -> dict[str, Any]:
        """What ``config.toml`` sets; ``{}`` where there is none. ``ConfigError`` where it cannot be read."""
        try:
            found = tomllib.loads(self.config_path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise ConfigError(f"{self.config_path} cannot be read: {error}; mend it or remove it") from None
        unknown = sorted(set(found) - set(_SETTABLE) - {"api"})
        if unknown:
            raise ConfigError(
                f"{self.config_path}: unknown setting {unknown[0]!r}; known are {', '.join(sorted(_SETTABLE))}, api"
            )
        return found

    def config(self, **overrides: Any) -> NodeConfig:
        """The configuration of this repo, with ``overrides`` that are not ``None`` in front."""
        values = {name: field_value(name, value) for name, value in self.settings().items() if name != "api"}
        values.update({name: value for name, value in overrides.items() if value is not None})
        try:
            return NodeConfig(repo=self.path, **values)
        except TypeError as error:
            raise ConfigError(f"{self.config_path}: {error}") from None

    def set(self, name: str, value: Any) -> None:
        """Change one setting (``None`` removes it). ``ConfigError`` for a name or value that cannot be."""
        found = self.settings()
        if name != "api" and name not in _SETTABLE:
            raise ConfigError(f"no setting is called {name!r}; known are {', '.join(sorted(_SETTABLE))}, api")
        if value is None:
            found.pop(name, None)
        else:
            if name != "api":
                NodeConfig(**{name: field_value(name, value)})
            found[name] = value
        self._write(found)

    def _write(self, settings: dict[str, Any]) -> None:
        fresh = self.config_path.with_suffix(f".{os.getpid()}.new")
        fresh.write_bytes(tomli_w.dumps(settings).encode())
        fresh.replace(self.config_path)

    def daemon_address(self) -> str | None:
        """``HOST:PORT`` of the running daemon, ``None`` where none holds the lock."""
        try:
            with self.lock_path.open("rb") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return self.api_path.read_text().strip() or None
        except FileNotFoundError:
            pass
        return None

    @contextmanager
    def daemon_lock(self) -> Iterator[None]:
        """Hold the repo as its daemon; ``ConfigError`` where another does."""
        self.ensure()
        with self.lock_path.open("wb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConfigError(f"a daemon already runs on {self.path}; stop it or use another --repo") from None
            try:
                yield
            finally:
                self.api_path.unlink(missing_ok=True)


def field_value(name: str, value: Any) -> Any:
    """A TOML value as the type of its field."""
    if name in _PATHS:
        return Path(value).expanduser()
    if name == "tiers":
        if not isinstance(value, list | tuple):
            raise ConfigError(f"tiers is a list of tables ([[tiers]]), not {value!r}")
        return tuple(value)
    default = _SETTABLE[name].default
    if isinstance(default, tuple):
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            raise ConfigError(f"{name} is a list of texts, not {value!r}")
        return tuple(value)
    kinds: dict[type, tuple[type, ...]] = {bool: (bool,), int: (int,), str: (str,), float: (int, float)}
    named = str(_SETTABLE[name].type)
    wanted = kinds.get(type(default)) or next(found for kind, found in kinds.items() if kind.__name__ in named)
    if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
        raise ConfigError(f"{name} is {' or '.join(kind.__name__ for kind in wanted)}, not {value!r}")
    return value
