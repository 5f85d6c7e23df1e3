"""Throughput of the Kubo and gateway tiers beside curl on the same archive, and of piece commitments.

    KUBO_BIN=... PYTHONPATH=src:. python bench/remote.py [MIB]

Each figure is the best of three, in MB/s of blocks; the daemon, curl and we share the machine.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from ipfs_kit_py.core.cid import CID, Block
from ipfs_kit_py.storage.remote.filecoin.commp_pool import PieceHasher
from ipfs_kit_py.storage.remote.gateway.tier import GatewayTier
from ipfs_kit_py.storage.remote.kubo.tier import KuboTier
from test.peers import locate
from test.peers.kubo import Kubo
from test.remote.dags import stream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ROUNDS = 3
PIECE_CHUNK = 1 << 20


async def best(work: Callable[[], Awaitable[Any]], size: int) -> float:
    """MB/s of the fastest of some rounds."""
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        await work()
        times.append(time.perf_counter() - started)
    return size / min(times) / 1e6


async def drain(source: Any) -> int:
    size = 0
    async with aclosing(source) as blocks:
        async for block in blocks:
            size += memoryview(block.data).nbytes
    return size


async def curl(*args: str) -> None:
    await trio.run_process(["curl", "-sf", "-o", "/dev/null", *args], check=True, stderr=subprocess.DEVNULL)


async def piece(content: bytes, workers: int) -> None:
    async with PieceHasher(workers) as hasher:
        for at in range(0, len(content), PIECE_CHUNK):
            await hasher.feed(content[at : at + PIECE_CHUNK])
        await hasher.finish()


async def tiers(kubo: Kubo, other: Kubo, content: bytes) -> dict[str, float]:
    root = CID.parse(await trio.to_thread.run_sync(kubo.add_bytes, content))
    kubo_tier = KuboTier(kubo.api_url, rng=random.Random(1))
    gateway = GatewayTier([kubo.gateway_url], rng=random.Random(1))
    target = KuboTier(other.api_url, rng=random.Random(1))
    blocks: list[Block] = []
    async with aclosing(kubo_tier.get_dag(root)) as source:
        blocks += [block async for block in source]
    size = sum(memoryview(block.data).nbytes for block in blocks)

    async def put() -> None:
        await target.remove(root)
        await trio.to_thread.run_sync(other.collect)
        started = time.perf_counter()
        assert (await target.put(root, stream(blocks))).safe
        puts.append(time.perf_counter() - started)

    puts: list[float] = []
    car = f"{kubo.gateway_url.rstrip('/')}/ipfs/{root}?format=car"
    export = f"{kubo.api_url}/api/v0/dag/export?arg={root}&progress=false"
    found = {
        "curl, dag/export": await best(lambda: curl("-X", "POST", export), size),
        "kubo tier, get_dag": await best(lambda: drain(kubo_tier.get_dag(root)), size),
        "curl, gateway CAR": await best(lambda: curl(car), size),
        "gateway tier, get_dag": await best(lambda: drain(gateway.get_dag(root)), size),
        "gateway tier, get_range": await best(lambda: drain(gateway.get_range(root)), size),
    }
    with tempfile.NamedTemporaryFile(suffix=".car") as file:
        await trio.run_process(["curl", "-sf", "-o", file.name, car])
        posted = f"{other.api_url}/api/v0/dag/import?pin-roots=true"
        times = []
        for _ in range(ROUNDS):
            await target.remove(root)
            await trio.to_thread.run_sync(other.collect)
            started = time.perf_counter()
            await curl("-X", "POST", "-F", f"file=@{file.name}", posted)
            times.append(time.perf_counter() - started)
        found["curl, dag/import"] = size / min(times) / 1e6
    for _ in range(ROUNDS):
        await put()
    found["kubo tier, put"] = size / min(puts) / 1e6
    for tier in (kubo_tier, gateway, target):
        await tier.aclose()
    return found


def main(mib: int = 200) -> None:
    content = random.Random(1).randbytes(mib << 20)
    with tempfile.TemporaryDirectory() as folder:
        binary = locate.kubo()
        with (
            Kubo(binary, Path(folder) / "one", gateway=True, settings={"Gateway.NoFetch": True}) as kubo,
            Kubo(binary, Path(folder) / "two") as other,
        ):
            found = trio.run(tiers, kubo, other, content)
    found["commitments, in one process"] = trio.run(best, lambda: piece(content, 1), len(content))
    found["commitments, over two"] = trio.run(best, lambda: piece(content, 2), len(content))
    for name, speed in found.items():
        print(f"{name:28} {speed:7.0f} MB/s")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
