"""``ipfs-kit bench``: move data between two nodes in two processes on this machine, verified and stored."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from ipfs_kit_py.cli.output import failing, say
from ipfs_kit_py.core.config import MIB, NodeConfig
from ipfs_kit_py.core.errors import NodeDied
from ipfs_kit_py.node import open_node

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ipfs_kit_py.cli.options import Options

SEED_BYTES = 8 * MIB


def run(options: Options, size: int) -> int:
    """Move ``size`` MiB and print the figures; returns the exit code."""
    with failing() as outcome, tempfile.TemporaryDirectory(prefix="ipfs-kit-bench-") as folder:
        argv = [sys.executable, "-m", "ipfs_kit_py.cli.bench", str(Path(folder) / "server"), str(size)]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                line = server.stdout.readline()
                if not line:
                    raise NodeDied("the serving node did not start; its error stands above")
                figures = trio.run(_fetch, Path(folder) / "client", json.loads(line))
            finally:
                server.terminate()
        if options.json:
            say(json.dumps(figures))
        else:
            moved = f"{figures['bytes']} bytes in {figures['seconds']:.3f} s"
            say(f"{figures['mb_s']:.0f} MB/s: {moved}, verified and stored")
    return outcome.code


async def _fetch(repo: Path, served: dict[str, str]) -> dict[str, object]:
    async with open_node(NodeConfig(repo=repo, listen=(), storage_max=1 << 40)) as node:
        start = time.perf_counter()
        await node.connect(served["address"])
        stat = await node.fetch(served["cid"])
        seconds = time.perf_counter() - start
    return {"cid": served["cid"], "bytes": stat.size, "seconds": seconds, "mb_s": stat.size / 1e6 / seconds}


async def _serve(repo: Path, size: int) -> None:
    seed = os.urandom(SEED_BYTES)

    async def chunks() -> AsyncIterator[bytes]:
        for number in range(0, size * MIB, SEED_BYTES):
            mark = hashlib.sha256(number.to_bytes(8, "big")).digest()  # so that no two blocks are the same
            piece = bytearray(seed)
            for at in range(0, SEED_BYTES, 128 << 10):
                piece[at : at + 32] = mark
            yield bytes(piece[: size * MIB - number])

    async with open_node(NodeConfig(repo=repo, storage_max=1 << 40)) as node:
        cid = await node.add_stream(chunks())
        sys.stdout.write(json.dumps({"cid": str(cid), "address": node.addresses()[0]}) + "\n")
        sys.stdout.flush()
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)


if __name__ == "__main__":
    trio.run(_serve, Path(sys.argv[1]), int(sys.argv[2]))
