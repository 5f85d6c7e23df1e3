"""Two nodes in two processes on this machine: one adds a file, the other fetches it straight from it over libp2p.

``python scripts/demo.py [--bytes N]``. The last line is JSON: ``cid``, ``bytes``, ``sha256``, ``seconds``, ``mb_s``
(10**6 bytes a second: fetched, verified, stored and read) and ``peer``, whom the bytes came from.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from ipfs_kit_py import NodeConfig, open_node

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT_BYTES = 64 << 20
PIECE = 1 << 20


def write_file(path: Path, size: int) -> str:
    """Fill a file with bytes that no machine has seen before; their SHA-256 in hex."""
    chance, digest = random.Random(), hashlib.sha256()
    with path.open("wb") as out:
        for start in range(0, size, PIECE):
            piece = chance.randbytes(min(PIECE, size - start))
            digest.update(piece)
            out.write(piece)
    return digest.hexdigest()


async def provide(folder: Path, size: int) -> None:
    """The first process: add a file, say where it is, and serve until standard input ends."""
    path = folder / "file"
    digest = await trio.to_thread.run_sync(write_file, path, size)
    async with open_node(NodeConfig(repo=folder / "repo", role="worker")) as node:
        started = time.perf_counter()
        added = await node.add(path)
        seconds = time.perf_counter() - started
        hello = {"cid": str(added.cid), "sha256": digest, "address": node.addresses()[0], "seconds": seconds}
        print(json.dumps(hello), flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)


@contextmanager
def provider(folder: Path, size: int) -> Iterator[dict[str, Any]]:
    """The first process, as the second sees it."""
    argv = [sys.executable, __file__, "--provide", str(folder), "--bytes", str(size)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit("the providing node did not start; what it says is above")
        try:
            yield json.loads(line)
        finally:
            process.stdin.close()


async def fetch(folder: Path, size: int) -> dict[str, Any]:
    """The second process: dial the first and read its file."""
    with provider(folder / "provider", size) as offer:
        print(f"node 1  {offer['address']}")
        print(f"        added {size:,} bytes in {offer['seconds']:.2f} s: {offer['cid']}")
        async with open_node(NodeConfig(repo=folder / "fetcher", role="leecher")) as node:
            print(f"node 2  {node.addresses()[0]}")
            started = time.perf_counter()
            peer = await node.connect(offer["address"])
            connected = time.perf_counter() - started
            digest, received = hashlib.sha256(), 0
            async for data in node.cat(offer["cid"]):
                digest.update(data)
                received += len(data)
            seconds = time.perf_counter() - started
            print(f"        connected in {connected * 1000:.1f} ms, fetched in {seconds:.2f} s")
            print(f"        statistics: {await node.statistics()}")
    if digest.hexdigest() != offer["sha256"] or received != size:
        raise SystemExit(f"what came is not what was added: {received} bytes, sha256 {digest.hexdigest()}")
    return {
        "cid": offer["cid"],
        "bytes": received,
        "sha256": digest.hexdigest(),
        "seconds": round(seconds, 3),
        "mb_s": round(received / seconds / 1e6, 1),
        "peer": str(peer),
    }


def main() -> None:
    """Run the demonstration, or with ``--provide`` its first half."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--bytes", type=int, default=DEFAULT_BYTES, help="size of the file")
    options.add_argument("--provide", type=Path, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.provide:
        chosen.provide.mkdir(parents=True, exist_ok=True)
        trio.run(provide, chosen.provide, chosen.bytes)
        return
    with tempfile.TemporaryDirectory(prefix="ipfs-kit-demo-", ignore_cleanup_errors=True) as folder:
        print(json.dumps(trio.run(fetch, Path(folder), chosen.bytes)))


if __name__ == "__main__":
    main()
