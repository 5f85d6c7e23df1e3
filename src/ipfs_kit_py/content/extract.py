"""Writing fetched trees to disk so that nothing leaves the folder that the user named.

Every name is checked, every directory is opened relative to its parent without following links, and a file appears
under its name only when it is whole. What was there before is replaced file by file, never a directory by a link.
"""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import suppress
from itertools import groupby
from typing import TYPE_CHECKING

from ipfs_kit_py.core.errors import InvalidName
from ipfs_kit_py.core.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from typing_extensions import Buffer

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_WRITEV_MAX = 512  # parts per system call; Linux takes 1,024


def check_name(name: str) -> str:
    """The name itself; raises ``InvalidName`` for one that is no plain file name on this system."""
    if name in ("", ".", "..") or "/" in name or "\0" in name or (os.sep == "\\" and set(name) & set('\\:*?"<>|')):
        raise InvalidName(f"the name {printable(name)} would leave the folder; fetch its CID by itself with -o FILE")
    return name


class Extractor:
    """Writes files, directories and links below one folder. Names are sequences of segments, all checked.

    ``OSError`` comes through (disk full, no permission): it names the path.
    """

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self._root)

    def __enter__(self) -> Extractor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def directory(self, path: Sequence[str]) -> None:
        """Make a directory and its parents; one that is there is kept."""
        os.close(self._descend(path))

    def symlink(self, path: Sequence[str], target: str) -> None:
        """Make a symbolic link; nothing is ever written through it."""
        parent = self._descend(path[:-1])
        try:
            name = check_name(path[-1])
            fresh = _fresh(name)
            os.symlink(target, fresh, dir_fd=parent)
            _rename(fresh, name, parent)
        finally:
            os.close(parent)

    def file(self, path: Sequence[str]) -> OpenFile:
        """Begin a file; it gets its name when it is finished."""
        return _begin(self._descend(path[:-1]), path[-1])

    def files(self, items: Iterable[tuple[Sequence[str], Buffer]]) -> None:
        """Write whole files; neighbours in one directory share the way there."""
        for folder, group in groupby(items, key=lambda item: item[0][:-1]):
            parent = self._descend(folder)
            try:
                for path, data in group:
                    file = _begin(os.dup(parent), path[-1])
                    try:
                        file.write([data])
                    except BaseException:
                        file.abandon()
                        raise
                    file.finish()
            finally:
                os.close(parent)

    def _descend(self, path: Sequence[str]) -> int:
        here = os.dup(self._root)
        for name in path:
            try:
                with suppress(FileExistsError):
                    os.mkdir(check_name(name), 0o755, dir_fd=here)
                below = os.open(name, _DIRECTORY, dir_fd=here)
            except OSError as error:
                if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                    raise
                raise InvalidName(f"{printable('/'.join(path))}: {printable(name)} is no directory there") from None
            finally:
                os.close(here)
            here = below
        return here


class OpenFile:
    """A file that is being written under a temporary name."""

    def __init__(self, parent: int, name: str) -> None:
        self._parent = parent
        self._name = name
        self._fresh = _fresh(name)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = os.open(self._fresh, flags, 0o644, dir_fd=parent)

    def write(self, parts: Iterable[Buffer]) -> None:
        """Append the parts."""
        rest = [memoryview(part).cast("B") for part in parts]
        while rest:
            done = os.writev(self._file, rest[:_WRITEV_MAX])
            while rest and done >= len(rest[0]):
                done -= len(rest.pop(0))
            if done:
                rest[0] = rest[0][done:]

    def finish(self) -> None:
        """Give the file its name, in place of what had it."""
        os.close(self._file)
        try:
            _rename(self._fresh, self._name, self._parent)
        finally:
            os.close(self._parent)

    def abandon(self) -> None:
        """Remove what was written."""
        os.close(self._file)
        try:
            os.unlink(self._fresh, dir_fd=self._parent)
        finally:
            os.close(self._parent)


def _begin(parent: int, name: str) -> OpenFile:
    """A file in an open directory, which it closes."""
    try:
        return OpenFile(parent, check_name(name))
    except BaseException:
        os.close(parent)
        raise


def _rename(fresh: str, name: str, folder: int) -> None:
    """Give a draft its name; where that cannot be, because a directory has it, nothing is left."""
    try:
        os.replace(fresh, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        os.unlink(fresh, dir_fd=folder)
        raise


def _fresh(name: str) -> str:
    return f".{name[:64]}.{secrets.token_hex(4)}.part"
