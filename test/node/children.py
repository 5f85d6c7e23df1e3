"""What the child processes of these tests do: ``python -m test.node.children VERB ARGUMENTS``.

They tell of themselves on standard output, a line of JSON at a time, and go on when they are given a line.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
from pathlib import Path

import trio

from ipfs_kit_py import NodeConfig, open_node
from ipfs_kit_py.core.cid import CID

MIB = 1 << 20
SECONDS = 60  # a child that lives longer hangs
STEP = 4 * MIB  # bytes read between two reports


def tell(**facts: object) -> None:
    os.write(1, json.dumps(facts).encode() + b"\n")


async def wait() -> str:
    return (await trio.to_thread.run_sync(sys.stdin.readline)).strip()


def content(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


async def serve(size: int, *seeds: int) -> None:
    """Have files of ``size`` bytes; for each line, tell how many bytes of blocks were sent."""
    async with open_node() as node:
        added = [await node.add_bytes(content(size, seed)) for seed in seeds]
        tell(address=node.addresses()[0], cids=[str(cid) for cid in added])
        while await wait():
            stats = await node.statistics()
            tell(sent=stats.exchange.bytes_sent)


async def fetch(repo: str, address: str, cid: str, paced: str) -> None:
    """Read a file, telling how far every ``STEP`` bytes; with ``paced`` wait for a line after each report."""
    digest, read, told = hashlib.sha256(), 0, 0
    async with open_node(NodeConfig(repo=Path(repo), listen=())) as node:
        await node.connect(address)
        tell(peer=str(node.peer_id))
        if paced:
            await wait()
        async with await node.open_file(CID.parse(cid)) as pieces:
            async for piece in pieces:
                digest.update(piece)
                read += len(piece)
                if paced and read >= told + STEP:
                    told = read
                    tell(read=read)
                    await wait()
        stats = await node.statistics()
        tell(
            sha256=digest.hexdigest(),
            received=stats.exchange.bytes_received,
            unwanted=stats.exchange.bytes_unwanted,
            refused=stats.network.refused_peers,
        )
        await wait()


async def add(repo: str, size: int, seed: int) -> None:
    """Add a file to a repo when told to."""
    async with open_node(NodeConfig(repo=Path(repo), offline=True)) as node:
        tell(ready=True)
        await wait()
        tell(cid=str(await node.add_bytes(content(size, seed))))
        await wait()


async def read(repo: str, cid: str) -> None:
    """Read a file by a node that has no peers."""
    async with open_node(NodeConfig(repo=Path(repo), listen=())) as node:
        tell(ready=True)
        data = await node.read_bytes(CID.parse(cid))
        tell(sha256=hashlib.sha256(data).hexdigest())


def main() -> None:
    verb, *arguments = sys.argv[1:]
    values = [int(item) if item.isdigit() else item for item in arguments]

    async def bounded() -> None:
        with trio.fail_after(SECONDS):
            await {"serve": serve, "fetch": fetch, "add": add, "read": read}[verb](*values)

    trio.run(bounded)


if __name__ == "__main__":
    main()
