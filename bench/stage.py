"""What the measurements share: a folder, a file of random bytes, one server that has it."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import tempfile
import time
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from bench.children import Child, python

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20


class Served(NamedTuple):
    """A server's address, the file's root, a block of 256 KiB, and its process."""

    address: str
    cid: str
    block: str
    child: Child


def make_file(path: Path, size: int) -> str:
    """Write ``size`` random bytes; their SHA-256 in hex."""
    chance, digest = random.Random(), hashlib.sha256()
    with path.open("wb") as out:
        for start in range(0, size, MIB):
            piece = chance.randbytes(min(MIB, size - start))
            digest.update(piece)
            out.write(piece)
    return digest.hexdigest()


class Stage:
    """``size`` is the file's in bytes; ``repeat`` how often transfers are measured, small things ``often`` times."""

    def __init__(self, size: int, repeat: int, often: int, where: Path | None) -> None:
        self.size, self.repeat, self.often = size, repeat, often
        self._where = where
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=self._where)))
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stack.close()

    def warm(self) -> float:
        """Touch the memory that a fetch will fill in the page cache, a quarter more than the file; the rate in MB/s.

        The host of a virtual machine takes back what its guest frees, within seconds, and the first touch after that
        is slow: several times the work of filling memory that was in use.
        """
        path, piece, count = self.folder / "warm", bytes(MIB), self.size // MIB * 5 // 4
        start = time.perf_counter()
        with path.open("wb", buffering=0) as out:
            for _ in range(count):
                out.write(piece)
        seconds = time.perf_counter() - start
        path.unlink()
        return count * MIB / 1e6 / seconds

    @contextmanager
    def fresh(self, name: str = "fresh") -> Iterator[Path]:
        """An empty folder, gone afterwards, with nothing left over from before to be written to the disk."""
        path = self.folder / name
        path.mkdir()
        os.sync()
        try:
            yield path
        finally:
            shutil.rmtree(path)

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the file, which is made when it is first asked for."""
        return make_file(self.folder / "file", self.size)

    @property
    def file(self) -> Path:
        """The file."""
        assert self.digest
        return self.folder / "file"

    @cached_property
    def server(self) -> Served:
        """A node that has the file, in a process of its own, to the end of the run: the same for every fetch."""
        return self.serve("server", self.file)

    def serve(self, name: str, file: Path) -> Served:
        """Start a node that adds a file and serves it to the end of the run."""
        child = self._stack.enter_context(python("own.py", "serve", self.folder / name, file))
        row = child.row()
        return Served(row["address"], row["cid"], row["block"], child)
