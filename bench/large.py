"""A file much larger than the memory: added, read whole, read at random places and in place, and what memory it took.

`python -m bench.large --gib 10 --folder DIR`. Each step is a process of its own, so that its memory is known.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import trio

from ipfs_kit_py import NodeConfig, open_node
from ipfs_kit_py.content.fetch import reachable_cids
from ipfs_kit_py.content.files import Entry
from ipfs_kit_py.core.cid import CID, RAW

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from ipfs_kit_py.node.node import Node

MIB, GIB = 1 << 20, 1 << 30
PIECE = 1 * MIB  # what the size of the file is a multiple of
PART = 64 << 10  # of the file, made from its number alone, each unlike all others: the least that a leaf has
READ = 1 * MIB  # of one read at a random place
VIEWED = 32  # blocks of one view
SAMPLE_SECONDS = 0.01
SPARE = 2.5  # times the file: what has to be free on the disk
ROOT = Path(__file__).parents[1]


def part(number: int) -> bytes:
    """A part of the file: unlike all others, and cheap."""
    return hashlib.sha256(b"%d" % number).digest() * (PART // 32)


def expected(start: int, stop: int) -> bytes:
    """Bytes of the file."""
    first, last = start // PART, -(-stop // PART)
    return b"".join(map(part, range(first, last)))[start - first * PART : stop - first * PART]


class Work(NamedTuple):
    """What a child is told: the repository, bytes of the file, of its leaves and of the memory tier."""

    repo: str
    size: int
    chunk: int
    memory: int
    reads: int
    root: str = ""


class Result(NamedTuple):
    """Of one step: bytes that it moved, seconds, the most of its anonymous memory and what it had before, in bytes."""

    bytes: int
    seconds: float
    anonymous: int
    before: int
    said: dict[str, str]

    def line(self, name: str) -> str:
        """For people."""
        rate = self.bytes / self.seconds / 1e6
        return (
            f"{name:8} {self.bytes / MIB:9.0f} MiB {self.seconds:8.2f} s {rate:8.0f} MB/s  RssAnon at the most "
            f"{self.anonymous / 1e6:6.1f} MB (with nothing done {self.before / 1e6:.1f} MB) {self.said.get('note', '')}"
        )


# --- in the child -----------------------------------------------------------------------------------------------------


async def add(node: Node, work: Work) -> tuple[int, str]:
    """Add the file as it is made."""

    async def chunks() -> AsyncIterator[bytes]:
        for first in range(0, work.size // PIECE, 8):
            last = min(first + 8, work.size // PIECE)
            yield expected(first * PIECE, last * PIECE)

    async def entries() -> AsyncIterator[Entry]:
        yield Entry("large", "file", chunks=chunks)

    root = ""
    async with aclosing(node.add_entries(entries(), {"chunker": f"size-{work.chunk}"})) as rows:
        async for row in rows:
            root = str(row.cid)
    return work.size, root


async def read(node: Node, work: Work) -> tuple[int, str]:
    """Read the whole file in order, and compare it."""
    at = 0
    async with await node.open_file(work.root) as pieces:
        async for data in pieces:
            assert data == expected(at, at + len(data)), at
            at += len(data)
    assert at == work.size
    return at, ""


async def places(node: Node, work: Work) -> tuple[int, str]:
    """Read at random places, and compare that."""
    rng = random.Random(work.size)
    times = []
    for _ in range(work.reads):
        start = rng.randrange(work.size - READ)
        begun, at = time.perf_counter(), start
        async with await node.open_file(work.root, offset=start, length=READ) as pieces:
            async for data in pieces:
                assert data == expected(at, at + len(data)), at
                at += len(data)
        assert at == start + READ
        times.append(time.perf_counter() - begun)
    times.sort()
    return (
        work.reads * READ,
        f"p50 {times[len(times) // 2] * 1e3:.1f} ms, p99 {times[len(times) * 99 // 100] * 1e3:.1f} ms",
    )


async def view(node: Node, work: Work) -> tuple[int, str]:
    """Hash all leaves where they lie, without a copy."""

    def hashed() -> int:
        leaves = [cid for cid in reachable_cids(node.store, [CID.parse(work.root)]) if cid.codec == RAW]
        total = 0
        for at in range(0, len(leaves), VIEWED):
            part = leaves[at : at + VIEWED]
            with node.store.view(part) as found:
                for cid, data in zip(part, found, strict=True):
                    assert data is not None
                    assert hashlib.sha256(data).digest() == cid.digest
                    total += data.nbytes
        return total

    return await trio.to_thread.run_sync(hashed), ""


STEPS: dict[str, Callable[[Node, Work], Awaitable[tuple[int, str]]]] = {
    "add": add,
    "read": read,
    "places": places,
    "view": view,
}


def child(step: str, work: Work) -> None:
    """Do one step; says when it begins and how it went."""

    async def main() -> None:
        config = NodeConfig(repo=Path(work.repo), offline=True, memory_cache=work.memory, storage_max=4 * work.size)
        async with open_node(config) as node:
            print(json.dumps({"ready": True}), flush=True)
            sys.stdin.readline()
            begun = time.perf_counter()
            moved, note = await STEPS[step](node, work)
            print(json.dumps({"bytes": moved, "seconds": time.perf_counter() - begun, "note": note}), flush=True)
            sys.stdin.readline()

    trio.run(main)


# --- in the parent ----------------------------------------------------------------------------------------------------


def anonymous(pid: int) -> int:
    """Bytes of a process's own memory: not what is mapped from files."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"process {pid} has ended")


def run(step: str, work: Work) -> Result:
    """One step in a child, and its memory meanwhile."""
    command = [sys.executable, "-m", "bench.large", "--child", step, json.dumps(work)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            json.loads(process.stdout.readline())
            before = most = anonymous(process.pid)
            watcher = _Watcher(process.pid)
            watcher.start()
            process.stdin.write("go\n")
            process.stdin.flush()
            said = json.loads(process.stdout.readline() or "{}")
            most = max(most, watcher.stop())
            process.stdin.write("end\n")
            process.stdin.flush()
        finally:
            process.stdin.close()
            if process.wait() != 0:
                raise RuntimeError(f"step {step} ended with {process.returncode}")
    return Result(said["bytes"], said["seconds"], most, before, said)


class _Watcher(threading.Thread):
    """Samples the anonymous memory of a process until it is stopped."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._done = threading.Event()
        self._most = 0

    def run(self) -> None:
        while not self._done.wait(SAMPLE_SECONDS):
            self._most = max(self._most, anonymous(self._pid))

    def stop(self) -> int:
        """The most that there was, in bytes."""
        self._done.set()
        self.join()
        return self._most


def measure(work: Work, steps: Sequence[str] = tuple(STEPS)) -> dict[str, Result]:
    """All steps, one after another, over one repository."""
    found: dict[str, Result] = {}
    for step in steps:
        found[step] = run(step, work)
        print(found[step].line(step), flush=True)
        if step == "add":
            work = work._replace(root=found[step].said["note"])
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.large", description=__doc__)
    parser.add_argument("--gib", type=float, default=10.0, help="size of the file")
    parser.add_argument("--chunk", type=int, default=1 * MIB, help="bytes of a leaf")
    parser.add_argument("--memory", type=int, default=64 * MIB, help="bytes of the memory tier")
    parser.add_argument("--reads", type=int, default=1000, help="reads of 1 MiB at random places")
    parser.add_argument("--folder", type=Path, help="on the disk to be measured; default: a temporary one")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args(argv)
    if chosen.child:
        return child(chosen.child[0], Work(*json.loads(chosen.child[1])))
    size = int(chosen.gib * GIB) // PIECE * PIECE
    with tempfile.TemporaryDirectory(prefix="large-", dir=chosen.folder) as folder:
        room = int(shutil.disk_usage(folder).free / SPARE) // PIECE * PIECE
        if room < size:
            print(f"only {room / GIB:.1f} GiB fit {folder}: that is what is measured")
        measure(Work(folder, min(size, room), chosen.chunk, chosen.memory, chosen.reads))
    return None


if __name__ == "__main__":
    main()
