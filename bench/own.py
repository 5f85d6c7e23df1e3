"""The processes that the benchmark measures: a node that serves, a node that fetches, a node that adds.

    python bench/own.py serve REPO FILE        add FILE, print its CID and our address, serve until standard input ends
    python bench/own.py fetch REPO ADDRESS CID connect, fetch the whole DAG into the store, print the figures
    python bench/own.py share REPO ADDRESS CID connect, wait for a line, fetch, print how many bytes there were when
    python bench/own.py add REPO FILE          print the figures of adding FILE, kept
    python bench/own.py idle REPO              print a line when ready, then RssAnon
    python bench/own.py cold ADDRESS CID       connect and fetch one block
    python bench/own.py streams ADDRESS        open, echo and close small streams one after another

Each prints one JSON object a line.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from ipfs_kit_py import NodeConfig, open_node
from ipfs_kit_py.core.cid import CID

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.core.interfaces import Stream
    from ipfs_kit_py.node.node import Node

ECHO = "/ipfs-kit/bench-echo/1.0.0"
BLOCK = 262_144  # bytes, of the block that is fetched cold
SAMPLE_SECONDS = 0.05  # of memory: reading it more often costs the node that is measured
SETTLE_SECONDS = 0.5  # before an idle node's memory is read


def say(**row: object) -> None:
    print(json.dumps(row), flush=True)


def rss_anon() -> int:
    """This process's anonymous memory in KiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1])
    return 0


def head(file: str) -> bytes:
    """The beginning of a file, as one block."""
    with Path(file).open("rb") as source:
        return source.read(BLOCK)


async def echo(stream: Stream) -> None:
    while data := await stream.read(65536):
        await stream.write(data)
    await stream.close()


async def serve(repo: str, file: str) -> None:
    async with open_node(NodeConfig(repo=Path(repo), role="worker", storage_max=64 << 30)) as node:
        node.handle(ECHO, echo)
        added = await node.add(Path(file))
        block = await node.block_put(head(file))
        say(cid=str(added.cid), block=str(block), address=node.addresses()[0])
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)


async def fetch(repo: str, address: str, cid: str) -> None:
    async with open_node(NodeConfig(repo=Path(repo), storage_max=64 << 30)) as node:
        idle = peak = rss_anon()
        done = False

        async def watch() -> None:
            nonlocal peak
            while not done:
                peak = max(peak, rss_anon())
                await trio.sleep(SAMPLE_SECONDS)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            start, cpu, loop = time.perf_counter(), time.process_time(), time.thread_time()
            await node.connect(address)
            connected = time.perf_counter()
            stat = await node.fetch(cid)
            seconds = time.perf_counter() - start
            cpu, loop = time.process_time() - cpu, time.thread_time() - loop
            done = True
        exchange = (await node.statistics()).exchange
        say(
            seconds=seconds,
            connect_ms=(connected - start) * 1e3,
            bytes=stat.size,
            mb_s=stat.size / 1e6 / seconds,
            cpu_s=cpu,
            loop_cpu_s=loop,
            rss_idle_kib=idle,
            rss_above_idle_kib=peak - idle,
            exchange=repr(exchange),
        )


async def share(repo: str, address: str, cid: str) -> None:
    async with open_node(NodeConfig(repo=Path(repo), storage_max=64 << 30)) as node:
        await node.connect(address)
        say(connected=True)
        await trio.to_thread.run_sync(sys.stdin.readline)
        course: list[tuple[float, int]] = []  # the clock is the same in every process

        async def watch() -> None:
            while True:
                exchange = (await node.statistics()).exchange
                course.append((time.perf_counter(), exchange.bytes_received if exchange else 0))
                await trio.sleep(SAMPLE_SECONDS)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            stat = await node.fetch(cid)
            nursery.cancel_scope.cancel()
        course.append((time.perf_counter(), stat.size))
        say(course=course)


async def add(repo: str, file: str) -> None:
    async with open_node(NodeConfig(repo=Path(repo), storage_max=64 << 30, offline=True)) as node:
        start = time.perf_counter()
        added = await node.add(Path(file))
        seconds = time.perf_counter() - start
        size = Path(file).stat().st_size
        say(cid=str(added.cid), seconds=seconds, mb_s=size / 1e6 / seconds)


async def idle(repo: str) -> None:
    async with open_node(NodeConfig(repo=Path(repo))) as node:
        say(address=node.addresses()[0])
        await trio.sleep(SETTLE_SECONDS)
        say(rss_anon_kib=rss_anon())


async def cold(address: str, cid: str) -> None:
    async with open_node(NodeConfig()) as node:
        start = time.perf_counter()
        await node.connect(address)
        connected = time.perf_counter()
        data = await node.block_get(CID.parse(cid))
        say(connect_ms=(connected - start) * 1e3, first_block_ms=(time.perf_counter() - start) * 1e3, bytes=len(data))


async def streams(address: str, count: int = 100) -> None:
    async with open_node(NodeConfig()) as node:
        peer = await node.connect(address)
        for _ in range(5):
            await _one(node, peer)
        start = time.perf_counter()
        for _ in range(count):
            await _one(node, peer)
        say(stream_ms=(time.perf_counter() - start) / count * 1e3)


async def _one(node: Node, peer: PeerID) -> None:
    stream = await node.open_stream(peer, [ECHO])
    await stream.write(b"x" * 64)
    await stream.read(64)
    await stream.close()


if __name__ == "__main__":
    verb, *arguments = sys.argv[1:]
    verbs: dict[str, Callable[..., Awaitable[Any]]] = {
        "serve": serve,
        "fetch": fetch,
        "share": share,
        "add": add,
        "idle": idle,
        "cold": cold,
        "streams": streams,
    }
    trio.run(verbs[verb], *arguments)
