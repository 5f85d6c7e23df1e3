"""The address book's file.

SQLite from the standard library, because changes come in batches of a few peers out of many: a transaction writes
those alone, a crash leaves the last one whole, and nobody else need be able to read it. The file is a cache: where it
is damaged it is set aside and a new one begun. Every method blocks: it belongs into a worker thread.
"""

from __future__ import annotations

import fcntl
import logging
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ipfs_kit_py.core.config import BOOK_MAX_PEERS
from ipfs_kit_py.core.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

log = logging.getLogger(__name__)

BUSY_SECONDS = 5.0  # another process on the same repo writes
_SCHEMA = "CREATE TABLE IF NOT EXISTS peers (peer BLOB PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID"


class BookStore:
    """Records by raw peer id in one file. Calls must not overlap; they may come from different threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open or make the file. ``BackendError`` where that cannot be."""
        with self._alone():
            self._open()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """The first to open the file changes its mode and the last to close it cleans up: there SQLite refuses
        another process at once instead of letting it wait."""
        try:
            lock = self.path.with_name(self.path.name + ".lock").open("ab")
        except OSError as error:
            raise BackendError(f"the address book {self.path} cannot be opened: {error.strerror}") from None
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _open(self) -> None:
        try:
            self._db = self._opened()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise BackendError(f"the address book {self.path} cannot be opened: {error}") from None
            aside = self.path.with_name(self.path.name + ".damaged")
            log.warning(
                "the address book %s is damaged (%s); it is now %s and a new one begins", self.path, error, aside
            )
            self.path.replace(aside)
            for suffix in ("-wal", "-shm"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
            self._db = self._opened()

    def _opened(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=BUSY_SECONDS, check_same_thread=False, isolation_level=None)
        try:
            # a power cut may cost the last seconds of addresses, never the file
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            db.execute(_SCHEMA)
            db.execute("SELECT count(*) FROM (SELECT 1 FROM peers LIMIT 1)").fetchone()
        except BaseException:
            db.close()
            raise
        return db

    def load(self) -> list[tuple[bytes, bytes]]:
        """All records, at most ``BOOK_MAX_PEERS``."""
        return self._do("SELECT peer, record FROM peers LIMIT ?", (BOOK_MAX_PEERS,))

    def write(self, changes: Sequence[tuple[bytes, bytes | None]]) -> None:
        """Write a batch in one transaction; ``None`` removes a peer."""
        db = self._database()
        try:
            with db:
                db.execute("BEGIN IMMEDIATE")
                gone = [(raw,) for raw, record in changes if record is None]
                db.executemany("DELETE FROM peers WHERE peer = ?", gone)
                kept = [(raw, record) for raw, record in changes if record is not None]
                db.executemany("INSERT OR REPLACE INTO peers VALUES (?, ?)", kept)
        except sqlite3.Error as error:
            raise BackendError(f"the address book {self.path} cannot be written: {error}") from None

    def close(self) -> None:
        """Close the file; idempotent."""
        if self._db is not None:
            with self._alone():
                self._db.close()
            self._db = None

    def _do(self, statement: str, values: tuple[object, ...]) -> list[tuple[bytes, bytes]]:
        try:
            return self._database().execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise BackendError(f"the address book {self.path} cannot be read: {error}") from None

    def _database(self) -> sqlite3.Connection:
        if self._db is None:
            raise BackendError(f"the address book {self.path} is not open")
        return self._db
