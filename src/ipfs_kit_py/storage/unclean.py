"""Whether the environment of fetched blocks can be trusted: it is never synced, so a machine that stopped may have
torn it as a whole.

``fetched.state`` says ``clean`` where all of it was on the disk when the last process left, else the id of the boot in
which it was last written. A process that dies leaves the page cache intact: what was written in the present boot is
consistent. Anything else is dropped; it was a cache.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
CLEAN = "clean"


def boot_id() -> str | None:
    """Names the present run of the kernel; ``None`` where the system does not tell."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file against all other processes and threads."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


class Presence:
    """This process among those that have a store open. Ask ``alone`` only while holding the store's opening lock."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def alone(self) -> bool:
        """Whether no other process has the store open."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def join(self) -> None:
        """Be one of them."""
        fcntl.flock(self._fd, fcntl.LOCK_SH)

    def leave(self) -> None:
        """No longer be one of them."""
        os.close(self._fd)


class StateFile:
    """The file that says what the fetched environment is worth."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def _read(self) -> str:
        try:
            return self._path.read_text().strip()
        except FileNotFoundError:
            return ""

    def trusted(self) -> bool:
        """Whether the environment is whole: left clean, or last written since this machine started."""
        state = self._read()
        return state == CLEAN or (state != "" and state == boot_id())

    def write_dirty(self) -> None:
        """The environment is about to be written without syncing; on the disk when this returns."""
        state = boot_id() or "unknown"
        if self._read() != state:
            self._write(state)

    def write_clean(self) -> None:
        """All of the environment is on the disk."""
        if self._read() != CLEAN:
            self._write(CLEAN)

    def _write(self, state: str) -> None:
        fresh = self._path.with_suffix(".new")
        with fresh.open("w") as file:
            file.write(state + "\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
        sync_folder(self._path.parent)


def sync_folder(path: Path) -> None:
    """Return once the names in a folder are on the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
