"""Holds: promises to a store that blocks put from now on are soon pinned, so that no sweep takes them before.

A hold is a locked file that contains the moment it began; the lock ends with its process, however that ends.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ipfs_kit_py.core.errors import BackendError
from ipfs_kit_py.storage.base import Mark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Holds:
    """The holds of one store, of all processes. ``now`` tells the present moment."""

    def __init__(self, folder: Path, now: Callable[[], Mark]) -> None:
        self._folder = folder
        self._now = now

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Protect what is put while it is entered. ``BackendError`` where the folder cannot be written."""
        path = self._folder / f"{os.urandom(8).hex()}.hold"
        try:
            fd = self._begin(path)
        except OSError as error:
            raise BackendError(f"{path} cannot be written: {error.strerror}") from error
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            os.close(fd)

    def _begin(self, path: Path) -> int:
        """Others see the hold from the first moment with its lock and what it says."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        draft = path.with_suffix(".new")
        fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH)
            os.write(fd, "{} {}".format(*self._now()).encode())
            draft.rename(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            os.close(fd)
            raise
        return fd

    def limit(self) -> Mark:
        """The present moment, or the beginning of the oldest hold."""
        marks = [self._now()]
        for path in sorted(self._folder.glob("*.hold")):
            try:
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                began = self._living(fd)
            finally:
                os.close(fd)
            if began is None:
                path.unlink(missing_ok=True)
            else:
                marks.append(began)
        return Mark(min(mark.kept for mark in marks), min(mark.fetched for mark in marks))

    def _living(self, fd: int) -> Mark | None:
        """When a hold began; ``None`` where its process is gone."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            kept, fetched = os.read(fd, 64).split()
            return Mark(int(kept), int(fetched))
        return None
