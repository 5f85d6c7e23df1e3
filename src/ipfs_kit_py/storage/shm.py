"""Blocks in shared memory: a store like that on the disk, in a folder under ``/dev/shm`` that ends with its process.

Other processes, in any language, read its blocks in place as they do those on the disk (docs/store-format.md). The
folder is locked by its process; one whose process died is removed when the next such store opens.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ipfs_kit_py.core.config import MEMORY_ONLY_BYTES, MIB, SHM_SHARE, SHM_SLACK, STORE_GROWTH_FLOOR
from ipfs_kit_py.core.errors import BackendError, ConfigError
from ipfs_kit_py.storage.disk import DiskStore

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ipfs_kit_py.storage.base import TierStatistics

logger = logging.getLogger(__name__)

SHARED_MEMORY = Path("/dev/shm")
_SMALLEST_MAP = 64 * MIB  # address space, and it grows where it must
_ATTEMPTS = 16  # folders that another process, while it cleans up, may take for those of a dead one


def prefix() -> str:
    """How the names of this user's folders begin."""
    return f"ipfs-kit-{os.getuid()}-"


def _lock(path: Path) -> int | None:
    """The locked descriptor of a folder that nobody else has locked and that is still there."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        here = os.fstat(fd)
        if here.st_uid == os.getuid() and os.path.samestat(here, path.lstat()):
            return fd
    except OSError:  # locked by its process, or removed meanwhile
        pass
    os.close(fd)
    return None


class _Folder:
    """A folder that is this process's own until it ends. ``BackendError`` where it cannot be made."""

    def __init__(self, parent: Path) -> None:
        for _ in range(_ATTEMPTS):
            try:
                self.path = Path(tempfile.mkdtemp(prefix=prefix(), dir=parent))
            except OSError as error:
                raise BackendError(f"no folder can be made in {parent}: {error.strerror}") from error
            fd = _lock(self.path)
            if fd is not None:
                self._fd: int | None = fd
                return
        raise BackendError(f"every folder made in {parent} was removed at once; is another program cleaning it?")

    def end(self) -> None:
        """Remove it; what others have mapped of it stays theirs. Ending again does nothing."""
        fd, self._fd = self._fd, None
        if fd is not None:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(fd)


def reap(parent: Path = SHARED_MEMORY) -> int:
    """Remove the folders of this user's processes that died; how many there were."""
    count = 0
    for path in parent.glob(prefix() + "*"):
        fd = _lock(path)
        if fd is not None:
            logger.info("%s was left behind by a process that died, and is removed", path)
            shutil.rmtree(path, ignore_errors=True)
            os.close(fd)
            count += 1
    return count


def _check_room(parent: Path, quota: int) -> None:
    """``ConfigError`` where so much does not fit there."""
    if not parent.is_dir():
        raise ConfigError(f"{parent} is missing: this system has no shared memory there; name a folder on a tmpfs")
    space = os.statvfs(parent)
    size = space.f_blocks * space.f_frsize
    need = int(quota * SHM_SLACK) + 2 * STORE_GROWTH_FLOOR
    if need > size // SHM_SHARE:
        raise ConfigError(
            f"a memory tier of {quota} bytes takes up to {need // MIB} MiB, and {parent} has {size // MIB} MiB, of "
            f"which one part of {SHM_SHARE} may be used: allow it less, or make the tmpfs larger"
        )


class SharedMemoryStore(DiskStore):
    """Blocks in a folder of its own under ``parent``, at most ``quota`` bytes of them; ``path`` is where others find
    them. Fetched blocks make room for newer ones, kept ones stay, and all end with the process.

    Raises ``ConfigError`` where ``parent`` is too small or missing, ``BackendError`` where it cannot be written.
    """

    def __init__(self, quota: int = MEMORY_ONLY_BYTES, *, parent: Path = SHARED_MEMORY) -> None:
        _check_room(parent, quota)
        reap(parent)
        self._folder = _Folder(parent)
        try:
            super().__init__(self._folder.path, quota=quota, map_bytes=_SMALLEST_MAP + 4 * quota)
        except BaseException:
            self._folder.end()
            raise

    def discard(self, keys: Iterable[bytes]) -> int:
        """Delete blocks by multihash, but those that are leased; how many there were."""
        wanted = list(set(keys))
        gone: set[bytes] = set()
        for table in (self._use().kept, self._use().fetched):
            with table.environment.reading() as txn:
                here = [key for key in wanted if table.size(txn, key) is not None]
            if here:
                gone.update(self._delete(table, here))
        return len(gone)

    def tiers(self) -> list[TierStatistics]:
        return [replace(found, name="memory") for found in super().tiers()]

    def close(self) -> None:
        """Close and remove the folder; views that are open stay valid until they end."""
        super().close()
        self._folder.end()

    def __repr__(self) -> str:
        return super().__repr__().replace("DiskStore", type(self).__name__, 1)
