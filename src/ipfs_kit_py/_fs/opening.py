"""The node or daemon behind a filesystem: opened when it is first needed, shared by all with equal options.

In a process that was forked the backend of its parent is of no use: another is opened there by the same options.
"""

from __future__ import annotations

import json
import os
import threading
import weakref
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipfs_kit_py._backend import open_backend
from ipfs_kit_py.core.config import NodeConfig
from ipfs_kit_py.core.errors import ConfigError
from ipfs_kit_py.repo import Repo, default_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ipfs_kit_py._backend import Backend

DEFAULT, MEMORY = "", ":memory:"  # repos: where the command line has it; none


@dataclass(frozen=True)
class Options:
    """What a backend is opened with; equal options share one. ``tiers`` is JSON: tables cannot be compared."""

    repo: str
    role: str | None
    peers: tuple[str, ...]
    bootstrap: tuple[str, ...]
    tiers: str
    offline: bool
    daemon: bool

    @classmethod
    def of(
        cls, repo: str | os.PathLike[str] | None, role: str | None, peers: Sequence[str], bootstrap: Sequence[str],
        tiers: Sequence[Mapping[str, Any]], gateways: Sequence[str], *, offline: bool, daemon: bool,
    ) -> Options:  # fmt: skip
        """Options as a user gives them. ``ConfigError`` for those that cannot be."""
        for name, value in (("peers", peers), ("bootstrap", bootstrap), ("tiers", tiers), ("gateways", gateways)):
            if isinstance(value, str):
                raise ConfigError(f"{name} is a list, not {value!r}")
        tables = [dict(table) for table in tiers]
        if gateways:
            tables.append({"type": "gateway", "urls": list(gateways)})
        try:
            text = json.dumps(tables, sort_keys=True) if tables else ""
        except (TypeError, ValueError):
            raise ConfigError("tiers are tables of plain values, as in [[tiers]] of config.toml") from None
        path = MEMORY if repo is None else os.fspath(repo) or str(default_path())
        # a running daemon has its own of these
        daemon = daemon and not (offline or role or bootstrap or tables or path == MEMORY)
        return cls(path, role, tuple(peers), tuple(bootstrap), text, offline, daemon)

    def config(self) -> NodeConfig:
        """The configuration of a node of this process. It does not listen: who has its address has its process."""
        tiers = tuple(json.loads(self.tiers)) if self.tiers else None
        given: dict[str, Any] = {
            "role": self.role, "peers": self.peers or None, "bootstrap": self.bootstrap or None, "tiers": tiers,
            "offline": self.offline or None,
        }  # fmt: skip
        if self.repo == MEMORY:
            config = NodeConfig(**{name: value for name, value in given.items() if value is not None})
        else:
            config = Repo(Path(self.repo)).config(**given)
        return replace(config, listen=())

    def open(self) -> Backend:
        """A backend; peers are dialled. Raises what opening a node raises."""
        config = self.config()
        backend = open_backend(config, daemon=self.daemon)
        if self.daemon:  # its own peers are another's; those that cannot be reached may not be needed
            backend.data_many([("swarm/connect", [peer], {}) for peer in config.peer_addresses])
        return backend


def plain(given: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a filesystem without ``None``, which fsspec's JSON has not got, and with texts for paths."""
    told = dict(given)
    if "repo" in told:
        told["repo"] = MEMORY if told["repo"] is None else os.fspath(told["repo"])
    if "timeout" in told and told["timeout"] is None:
        told["timeout"] = float("inf")
    return {name: value for name, value in told.items() if value is not None}


@dataclass
class _Shared:
    backend: Backend
    users: int = 0


_lock = threading.RLock()
_shared: dict[Options, _Shared] = {}


def _acquire(options: Options) -> Backend:
    with _lock:
        found = _shared.get(options)
        if found is None or not found.backend.thread.is_here:
            found = _shared[options] = _Shared(options.open())
        found.users += 1
        return found.backend


def _release(options: Options, backend: Backend) -> None:
    with _lock:
        found = _shared.get(options)
        if found is None or found.backend is not backend:
            return  # of another process, or closed with it
        found.users -= 1
        if not found.users:
            del _shared[options]
            backend.close()


def _forget() -> None:
    """In a process that was forked: nothing of its parent's is open here."""
    global _lock
    _lock = threading.RLock()
    _shared.clear()


os.register_at_fork(after_in_child=_forget)


class Opened:
    """The backend of one filesystem: ``given`` by somebody who closes it himself, or its own by ``options``.

    What is ``close``d opens again when it is used: fsspec hands out one filesystem to all who ask with equal options.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._given: Backend | None = None
        self._own: Backend | None = None
        self._end: weakref.finalize[[Options, Backend], Opened] | None = None

    def give(self, backend: Backend) -> None:
        """Use a backend that somebody else closes."""
        self._given = backend

    @property
    def backend(self) -> Backend:
        """The backend, opened now if it is not open. Raises what opening a node raises."""
        if self._process != os.getpid():
            self._forget()
        if self._given is not None:
            return self._given
        own = self._own
        if own is not None and own.thread.is_here:
            return own
        with self._lock:
            if self._own is None or not self._own.thread.is_here:
                self._own = _acquire(self.options)
                self._end = weakref.finalize(self, _release, self.options, self._own)
                self._end.atexit = False  # the loop's own end closes what is open then
            return self._own

    def _forget(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._given = self._own = self._end = None

    def close(self) -> None:
        """Let the backend go. It closes with the last who uses it."""
        with self._lock:
            end, self._own, self._end = self._end, None, None
        if end is not None:
            end()

    def __repr__(self) -> str:
        found = self._given or self._own
        return repr(found) if found is not None and self._process == os.getpid() else "not open"
