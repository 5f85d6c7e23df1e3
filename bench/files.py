"""Processes that are measured: files of another node through fsspec, and a directory of many (`bench.small`)."""

from __future__ import annotations

import json
import random
import sys
import time

from ipfs_kit_py.ipfs_kit import ipfs_kit

MANY = 100_000  # files of one directory
RANGES = 10_000  # of 100 bytes of one file
PIECE = 4 << 20


def say(**row: object) -> None:
    """One row."""
    print(json.dumps(row), flush=True)


def read(repo: str, address: str, cid: str) -> None:
    """A file of another node, opened and read in order into a fresh repository."""
    with ipfs_kit({"repo": repo, "libp2p": True}) as kit:
        kit.ipfs_swarm_connect(address)
        begun, size = time.perf_counter(), 0
        with kit.get_filesystem().open(cid) as file:
            while piece := file.read(PIECE):
                size += len(piece)
        say(mb_s=size / 1e6 / (time.perf_counter() - begun))


def many(repo: str) -> None:
    """Put many small files at once, list them, and read many ranges of one file."""
    with ipfs_kit({"repo": repo}) as kit:
        fs = kit.get_filesystem(writable=True)
        begun = time.perf_counter()
        fs.pipe({f"/many/{number:06}": b"%d" % number for number in range(MANY)})
        put = time.perf_counter() - begun
        root = fs.ukey("/many")
        begun = time.perf_counter()
        assert len(kit.get_filesystem().ls(root)) == MANY
        listed = time.perf_counter() - begun
        fs.pipe_file("/large", random.randbytes(64 << 20))
        starts = [random.randrange(64 << 20) for _ in range(RANGES)]
        begun = time.perf_counter()
        fs.cat_ranges(["/large"] * RANGES, starts, [start + 100 for start in starts])
        say(put_s=put, list_s=listed, ranges_s=time.perf_counter() - begun)


if __name__ == "__main__":
    verb, *arguments = sys.argv[1:]
    {"read": read, "many": many}[verb](*arguments)
