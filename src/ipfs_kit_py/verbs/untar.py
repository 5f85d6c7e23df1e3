"""The daemon's answer to ``get``: a tar stream, written below one folder with every name checked."""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING

import trio

from ipfs_kit_py.content.extract import Extractor
from ipfs_kit_py.core.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

COPY_BYTES = 1 << 20


class _Pipe:
    """A file object for ``tarfile`` in a worker thread, over an iterator on the loop."""

    def __init__(self, source: AsyncIterator[bytes], read: Callable[[int], None]) -> None:
        self._source = source
        self._read = read
        self._rest = bytearray()

    async def _more(self) -> bytes:
        async for piece in self._source:
            self._read(len(piece))
            return piece
        return b""

    def read(self, size: int) -> bytes:
        while len(self._rest) < size:
            piece = trio.from_thread.run(self._more)
            if not piece:
                break
            self._rest += piece
        found = bytes(self._rest[:size])
        del self._rest[:size]
        return found


async def untar(source: AsyncIterator[bytes], destination: Path, read: Callable[[int], None]) -> None:
    """Write a tar stream whose first name is its root, so that the root becomes ``destination``."""
    await trio.to_thread.run_sync(_untar, _Pipe(source, read), destination)


def _untar(pipe: _Pipe, destination: Path) -> None:
    with Extractor(destination.parent) as out:
        try:
            with tarfile.open(fileobj=pipe, mode="r|") as archive:  # type: ignore[call-overload]
                for member in archive:
                    # the first segment is the root's own name in the archive
                    path = (destination.name, *member.name.split("/")[1:])
                    if member.isdir():
                        out.directory(path)
                    elif member.issym():
                        out.symlink(path, member.linkname)
                    elif member.isfile():
                        _copy(archive, member, out, path)
                    else:
                        raise BackendError(f"the daemon's archive has an entry that is no file: {member.name}")
        except tarfile.TarError as error:
            raise BackendError(f"the daemon's archive cannot be read: {error}") from None


def _copy(archive: tarfile.TarFile, member: tarfile.TarInfo, out: Extractor, path: tuple[str, ...]) -> None:
    source = archive.extractfile(member)
    if source is None:
        raise BackendError(f"the daemon's archive has no content for {member.name}")
    file = out.file(path)
    try:
        left = member.size
        while left:
            piece = source.read(min(left, COPY_BYTES))
            if not piece:
                raise BackendError(f"the daemon broke off in the middle of {member.name}; its log says why")
            file.write([piece])
            left -= len(piece)
    except BaseException:
        file.abandon()
        raise
    file.finish()
