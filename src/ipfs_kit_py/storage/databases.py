"""The two environments of a disk store: opened once per process and folder, shared by all stores on it.

format          see ``format``
kept/           added and pinned blocks, pins, records synced before anything is acknowledged
fetched/        the cache                              never synced
fetched.state   see ``unclean``
holds/          see ``holds``
leases/         see ``leases_layout``
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from typing import TYPE_CHECKING

from ipfs_kit_py.core.config import STORE_CLEAN_BYTES
from ipfs_kit_py.core.errors import BackendError, NotRunning, QuotaExceeded, StorageError
from ipfs_kit_py.storage.base import Mark
from ipfs_kit_py.storage.blocktable import BlockTable, FetchedTable
from ipfs_kit_py.storage.environment import Environment
from ipfs_kit_py.storage.format import check_format
from ipfs_kit_py.storage.heat_store import HeatStore
from ipfs_kit_py.storage.holds import Holds
from ipfs_kit_py.storage.leases_guard import LeaseGuard, Stamps
from ipfs_kit_py.storage.leases_layout import FETCHED, KEPT
from ipfs_kit_py.storage.leases_layout import FOLDER as LEASES
from ipfs_kit_py.storage.unclean import Presence, StateFile, locked, sync_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

logger = logging.getLogger(__name__)

_KEPT_TABLES = ("blocks", "meta", "state", "pins", "records")
_FETCHED_TABLES = ("blocks", "meta", "state", "order", "heat")
_WRITEBACK_SECONDS = 40.0  # by then the kernel has written dirty pages on its own (dirty_expire_centisecs and a bit)

_open: dict[Path, Databases] = {}
_registry = threading.Lock()


class GroupSync:
    """One sync of the kept environment for all threads whose commits it covers."""

    def __init__(self) -> None:
        self._count = threading.Lock()
        self._turn = threading.Lock()  # held while flushing
        self._tickets = 0
        self._covered = 0

    def acknowledge(self, flush: Callable[[], None]) -> None:
        """Return once a flush that began after this was called has succeeded; raises what ``flush`` raises."""
        with self._count:
            self._tickets += 1
            mine = self._tickets
        with self._turn:
            if self._covered >= mine:
                return
            newest = self._tickets
            flush()
            self._covered = newest


class RecentBytes:
    """Bytes written that the kernel may not have written back yet."""

    def __init__(self) -> None:
        self._young = self._old = 0
        self._turned = time.monotonic()

    def add(self, count: int) -> None:
        """Bytes were written now."""
        now = time.monotonic()
        if now - self._turned > _WRITEBACK_SECONDS:
            self._old = self._young if now - self._turned < 2 * _WRITEBACK_SECONDS else 0
            self._young, self._turned = 0, now
        self._young += count

    def total(self) -> int:
        """At least the bytes of the last ``_WRITEBACK_SECONDS``."""
        self.add(0)
        return self._young + self._old


class Databases:
    """Both environments of one folder. Made by ``acquire``, given back by ``release``."""

    def __init__(self, path: Path, map_bytes: int) -> None:
        self.path = path
        self.users = 0
        self.sync = GroupSync()
        self.recent = RecentBytes()
        self.holds = Holds(path / "holds", self.now)
        self._process = os.getpid()
        self._state = StateFile(path / "fetched.state")
        self._dirty = False
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            with locked(path / "open.lock"):
                check_format(path)
                self._presence = Presence(path / "users.lock")
                try:
                    self._open(map_bytes)
                except BaseException:
                    self._presence.leave()
                    raise
        except OSError as error:
            raise BackendError(f"the block store {path} cannot be opened: {error.strerror}") from error

    def _open(self, map_bytes: int) -> None:
        alone = self._presence.alone()
        fetched = self.path / "fetched"
        if alone and fetched.exists() and not self._state.trusted():
            logger.warning(
                "%s: the machine stopped before it was closed; this cache of fetched blocks is dropped", fetched
            )
            shutil.rmtree(fetched)
        self._presence.join()
        self._stamps = stamps = self._open_stamps(alone)
        kept = self._open_kept(map_bytes)
        try:
            cache = self._open_fetched(fetched, alone, map_bytes)
            self.heat = HeatStore(cache, self.writing_fetched)
            self.fetched = FetchedTable(cache, LeaseGuard(self.path / LEASES, stamps, FETCHED), self.heat)
        except BaseException:
            kept.close()
            raise
        self.kept = BlockTable(kept, LeaseGuard(self.path / LEASES, stamps, KEPT))

    def _open_stamps(self, alone: bool) -> Stamps:
        stamps = Stamps(self.path / LEASES)
        if alone:
            stamps.forget()
        return stamps

    def _open_kept(self, map_bytes: int) -> Environment:
        """Made whole beside its place and then put there, so that there is never a half-made one."""
        path, fresh = self.path / "kept", self.path / "kept.new"
        if not path.exists():
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(mode=0o700)
            made = Environment(fresh, _KEPT_TABLES, durable=True, map_bytes=map_bytes)
            made.flush()
            made.close()
            sync_folder(fresh)
            fresh.replace(path)
            sync_folder(self.path)
        return Environment(path, _KEPT_TABLES, durable=True, map_bytes=map_bytes)

    def _open_fetched(self, path: Path, alone: bool, map_bytes: int) -> Environment:
        """The cache may be thrown away where it is damaged: nobody was promised it."""
        if not path.exists():
            self.writing_fetched()
            path.mkdir(mode=0o700)
        try:
            return Environment(path, _FETCHED_TABLES, durable=False, map_bytes=map_bytes)
        except BackendError:
            if not alone:
                raise
            logger.warning("%s, a cache, is dropped: it is damaged", path, exc_info=True)
            shutil.rmtree(path)
            path.mkdir(mode=0o700)
            return Environment(path, _FETCHED_TABLES, durable=False, map_bytes=map_bytes)

    def writing_fetched(self) -> None:
        """Say in the state file that the fetched environment is being written; call it before each write."""
        if self._dirty:
            return
        try:
            self._state.write_dirty()
        except OSError as error:
            full = f"{self.path} cannot be written: {error.strerror}; free space on its disk, then try again"
            raise QuotaExceeded(full) from error
        self._dirty = True

    def now(self) -> Mark:
        """The newest commits of both."""
        return Mark(self.kept.environment.last_txn, self.fetched.environment.last_txn)

    def check_process(self) -> None:
        """LMDB cannot be used by a child that was forked off."""
        if os.getpid() != self._process:
            raise NotRunning(f"{self.path} was opened by another process before a fork; spawn processes instead")

    def close(self) -> None:
        """Close both; the last process to leave makes the cache clean where that is quick."""
        with locked(self.path / "open.lock"):
            try:
                self.heat.flush()
                if self._dirty and self.recent.total() <= STORE_CLEAN_BYTES and self._presence.alone():
                    self._make_clean()
            finally:
                self.kept.environment.close()
                self.fetched.environment.close()
                self.kept.leases.close()
                self.fetched.leases.close()
                self._stamps.close()
                self._presence.leave()

    def _make_clean(self) -> None:
        """Where the disk does not let it, the cache is no worse than after a process that died."""
        try:
            self.fetched.environment.flush()
            self._state.write_clean()
        except (StorageError, OSError):
            logger.warning("%s could not be synced", self.fetched.environment.path, exc_info=True)


def acquire(path: Path, map_bytes: int) -> Databases:
    """The environments of a folder, opened where this process has not yet. ``BackendError`` where it cannot be."""
    with _registry:
        key = path.expanduser().resolve()
        found = _open.get(key)
        if found is None:
            found = _open[key] = Databases(key, map_bytes)
        found.check_process()
        found.users += 1
        return found


def release(databases: Databases) -> None:
    """One user less; the last one closes."""
    with _registry:
        databases.users -= 1
        if databases.users:
            return
        del _open[databases.path]
        databases.close()
