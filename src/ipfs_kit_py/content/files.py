"""Local files as entries of a tree to add, in the order that an import wants them: parents first, names sorted."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from io import FileIO
from typing import TYPE_CHECKING

from ipfs_kit_py.core.config import MAX_DAG_DEPTH
from ipfs_kit_py.core.errors import LocalError
from ipfs_kit_py.storage import threads
from ipfs_kit_py.storage.threads import Pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from typing_extensions import Buffer

READ_BYTES = 8 << 20  # per read: one worker-thread crossing


@dataclass(frozen=True)
class Entry:
    """One file, directory or symbolic link to add. ``path`` is relative, ``/`` between segments.

    ``chunks()`` gives a file's content in order; ``target`` is where a link points.
    """

    path: str
    kind: str
    chunks: Callable[[], AsyncIterator[Buffer]] | None = None
    target: str = ""


def tree(path: Path, *, recursive: bool, hidden: bool = False, name: str | None = None) -> Iterator[Entry]:
    """Entries of a local file, link or (``recursive``) directory, depth first.

    ``LocalError`` for a directory without ``recursive``, and for what cannot be read, is neither file, directory nor
    link, or lies too deep to be read again.
    """
    label = name if name is not None else path.name or path.resolve().name
    try:
        mode = path.lstat().st_mode
        target = os.readlink(path) if stat.S_ISLNK(mode) else ""
        items = sorted(os.listdir(path)) if stat.S_ISDIR(mode) and recursive else []
    except OSError as error:
        raise LocalError(f"cannot add {path}: {error.strerror}") from None
    if stat.S_ISLNK(mode):
        yield Entry(label, "symlink", target=target)
    elif stat.S_ISREG(mode):
        yield Entry(label, "file", chunks=lambda: read_file(path))
    elif stat.S_ISDIR(mode):
        if not recursive:
            raise LocalError(f"{path} is a directory; add it with recursive (-r)")
        if label.count("/") >= MAX_DAG_DEPTH:
            raise LocalError(f"cannot add {path}: it lies deeper than {MAX_DAG_DEPTH} directories")
        yield Entry(label, "directory")
        for item in items:
            if hidden or not item.startswith("."):
                yield from tree(path / item, recursive=True, hidden=hidden, name=f"{label}/{item}")
    else:
        raise LocalError(f"cannot add {path}: it is neither a file, a directory nor a link")


async def read_file(path: Path) -> AsyncIterator[bytes]:
    """A file's content in pieces of ``READ_BYTES``, read on a worker thread; a small file in one crossing."""

    def begin() -> tuple[FileIO | None, bytes]:
        file = FileIO(path)
        try:
            piece = file.read(READ_BYTES)
            whole = len(piece) == os.fstat(file.fileno()).st_size  # files of /proc say that they are empty
        except BaseException:
            file.close()
            raise
        if piece and not whole:
            return file, piece
        file.close()
        return None, piece

    try:
        file, piece = await threads.run(Pool.WORK, begin)
        if file is None:
            if piece:
                yield piece
            return
        with file:
            while piece:
                yield piece
                piece = await threads.run(Pool.WORK, file.read, READ_BYTES)
    except OSError as error:
        raise LocalError(f"cannot read {path}: {error.strerror}") from None
