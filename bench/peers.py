"""Other implementations on this machine: the yardsticks beside our own figures.

``PeerMissing`` where one is not installed. A fetch starts a fresh peer, connects it, times how long it takes to bring a
whole file into its own store, and checks what came. Kubo fetches by ``pin/add``: its ``cat`` takes twice as long, for
it hands the content out over HTTP as well, which none of the others does. Helia's blocks are in memory, and it writes
the content to a file; it has no verb that only fetches.
"""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

from test.peers import locate
from test.peers.helia import Helia
from test.peers.kubo import Kubo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LIMIT_SECONDS = 600.0  # for one fetch of 1 GiB: twenty times what the slowest takes


def timed(fetch: Callable[[], object]) -> float:
    """Seconds of a fetch."""
    started = time.perf_counter()
    fetch()
    return time.perf_counter() - started


def check(what: str, got: str, expected: str) -> None:
    """Raise where the SHA-256 of what was fetched is not that of what was added."""
    if got != expected:
        raise RuntimeError(f"{what} fetched content with the SHA-256 {got}, not {expected}")


def kubo(folder: Path) -> Kubo:
    """A Kubo daemon of the default profile; close it after use."""
    return Kubo(locate.kubo(), folder)


def helia(folder: Path) -> Helia:
    """A Helia node; close it after use."""
    return Helia(*locate.helia(), folder)


def fetch_by_kubo(folder: Path, address: str, cid: str, digest: str) -> float:
    """Seconds that a fresh Kubo takes to fetch a file from the peer at an address."""
    with kubo(folder) as sink:
        sink.connect(address)
        seconds = timed(lambda: sink.rpc("pin/add", cid, recursive=True, timeout=LIMIT_SECONDS))
        check("Kubo", sink.fetch(cid, timeout=LIMIT_SECONDS).sha256, digest)
    return seconds


def fetch_by_helia(folder: Path, address: str, cid: str, digest: str) -> float:
    """Seconds that a fresh Helia takes to fetch a file from the peer at an address."""
    out = folder / "out"
    with helia(folder) as sink:
        sink.connect(address)
        seconds = timed(lambda: sink.get(cid, out, timeout=LIMIT_SECONDS))
        with out.open("rb") as content:
            check("Helia", hashlib.file_digest(content, "sha256").hexdigest(), digest)
    return seconds
