"""How fast other implementations fetch on this machine: the yardsticks beside our own figures.

Each function starts fresh peers, adds a file to one, times the other's fetch of it over loopback in seconds (connection
already made, content verified and stored by the fetching peer), and checks what came. All of them block.
"""

from __future__ import annotations

import hashlib
import random
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from test.peers import locate
from test.peers.helia import Helia
from test.peers.kubo import Fetched, Kubo

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1 << 20
LIMIT_SECONDS = 600.0  # for one fetch of 1 GiB: twenty times what the slowest takes


class Timing(NamedTuple):
    """A fetch: bytes, and the seconds that they took."""

    size: int
    seconds: float

    @property
    def mb_s(self) -> float:
        """10**6 bytes a second."""
        return self.size / self.seconds / 1e6


def make_file(path: Path, size: int) -> str:
    """Write ``size`` random bytes; their SHA-256 in hex."""
    chance, digest = random.Random(), hashlib.sha256()
    with path.open("wb") as out:
        for start in range(0, size, MIB):
            piece = chance.randbytes(min(MIB, size - start))
            digest.update(piece)
            out.write(piece)
    return digest.hexdigest()


def timed(size: int, fetch: Callable[[], object]) -> Timing:
    """Time a fetch."""
    started = time.perf_counter()
    fetch()
    return Timing(size, time.perf_counter() - started)


def check(what: str, got: str, expected: str) -> None:
    """Raise where the SHA-256 of what was fetched is not that of what was added."""
    if got != expected:
        raise RuntimeError(f"{what} fetched content with the SHA-256 {got}, not {expected}")


def fetch_by_kubo(sink: Kubo, cid: str, size: int, digest: str) -> Timing:
    """Time a connected Kubo's fetch; it reads what it has stored through its RPC, and the hash of it is taken there."""
    found: list[Fetched] = []
    timing = timed(size, lambda: found.append(sink.fetch(cid, timeout=LIMIT_SECONDS)))
    check("Kubo", found[0].sha256, digest)
    return timing


def kubo(folder: Path) -> Kubo:
    """A Kubo daemon of the default profile; close it after use."""
    return Kubo(locate.kubo(), folder)


def helia(folder: Path) -> Helia:
    """A Helia node; close it after use."""
    return Helia(*locate.helia(), folder)


def kubo_from_kubo(size: int, scratch: Path | None = None) -> Timing:
    """Kubo 0.43.1 fetches from Kubo 0.43.1 (``cat`` over RPC)."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=scratch)))
        digest = make_file(folder / "file", size)
        source, sink = (stack.enter_context(kubo(folder / name)) for name in ("source", "sink"))
        cid = source.add(folder / "file")
        sink.connect(source.address)
        return fetch_by_kubo(sink, cid, size, digest)


def kubo_from(address: str, cid: str, size: int, digest: str, scratch: Path | None = None) -> Timing:
    """Kubo 0.43.1 fetches from the peer at an address."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=scratch)))
        sink = stack.enter_context(kubo(folder))
        sink.connect(address)
        return fetch_by_kubo(sink, cid, size, digest)


def helia_from_helia(size: int, scratch: Path | None = None) -> Timing:
    """Helia 7.1 fetches from Helia 7.1: blocks in memory, content written to a file."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=scratch)))
        digest = make_file(folder / "file", size)
        source, sink = (stack.enter_context(helia(folder / name)) for name in ("source", "sink"))
        cid = source.add(folder / "file")
        sink.connect(source.address)
        out = folder / "out"
        timing = timed(size, lambda: sink.get(cid, out, timeout=LIMIT_SECONDS))
        with out.open("rb") as content:
            check("Helia", hashlib.file_digest(content, "sha256").hexdigest(), digest)
        return timing
