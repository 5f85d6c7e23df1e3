"""Streams, identify and ping with py-libp2p 0.8.1, both ways."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
import trio

from ipfs_kit_py.core.cid import PeerID
from test.interop.suite import in_thread, run
from test.peers.pylibp2p import ECHO

if TYPE_CHECKING:
    from pathlib import Path

    from ipfs_kit_py import Node
    from ipfs_kit_py.core.interfaces import Stream
    from test.peers.pylibp2p import PyLibp2p

OURS = "/interop/reverse/1.0.0"
LENGTHS = [0, 1, 1000, 300_000, 4 << 20]  # the last needs the yamux window many times over


async def reverse(stream: Stream) -> None:
    """What our side serves: all that came, backwards."""
    data = await stream.read()
    await stream.write(data[::-1])
    await stream.close()


async def exchange(node: Node, peer_id: str, protocol: str, data: bytes) -> bytes:
    """Write and read at once: an echo fills both directions."""
    stream = await node.open_stream(PeerID.parse(peer_id), [protocol])
    received = b""
    async with trio.open_nursery() as nursery:

        async def receive() -> None:
            nonlocal received
            received = await stream.read()

        nursery.start_soon(receive)
        await stream.write(data)
        await stream.close_write()
    await stream.close()
    return received


@pytest.mark.parametrize("length", LENGTHS)
def test_we_open_a_stream(pylibp2p: PyLibp2p, tmp_path: Path, length: int) -> None:
    data = random.Random(length).randbytes(length)

    async def body(node: Node) -> None:
        await node.connect(pylibp2p.address)
        assert await exchange(node, pylibp2p.peer_id, ECHO, data) == data

    run(tmp_path, body)


@pytest.mark.parametrize("length", LENGTHS)
def test_they_open_a_stream(pylibp2p: PyLibp2p, tmp_path: Path, length: int) -> None:
    data = random.Random(length).randbytes(length)

    async def body(node: Node) -> None:
        node.handle(OURS, reverse)
        await in_thread(pylibp2p.connect, node.addresses()[0])
        assert await in_thread(pylibp2p.exchange, str(node.peer_id), OURS, data) == data[::-1]

    run(tmp_path, body)


def test_many_streams_at_once_and_one_after_another(pylibp2p: PyLibp2p, tmp_path: Path) -> None:
    async def body(node: Node) -> None:
        await node.connect(pylibp2p.address)

        async def one(number: int) -> None:
            data = random.Random(number).randbytes(20_000)
            assert await exchange(node, pylibp2p.peer_id, ECHO, data) == data

        for batch in range(5):
            async with trio.open_nursery() as nursery:
                for number in range(20):
                    nursery.start_soon(one, batch * 20 + number)

    run(tmp_path, body)


def test_they_identify_us(pylibp2p: PyLibp2p, tmp_path: Path) -> None:
    async def body(node: Node) -> None:
        node.handle(OURS, reverse)
        await in_thread(pylibp2p.connect, node.addresses()[0])
        seen = await in_thread(pylibp2p.identify, str(node.peer_id))
        assert seen["agent"].startswith("ipfs-kit-py/")
        assert {OURS, "/ipfs/bitswap/1.2.0", "/ipfs/id/1.0.0", "/ipfs/ping/1.0.0"} <= set(seen["protocols"])
        assert seen["addresses"] == [text.rpartition("/p2p/")[0] for text in node.addresses()]
        assert seen["observed"].startswith("/ip4/127.0.0.1/tcp/")
        assert seen["signed"]

    run(tmp_path, body)


def test_they_ping_us(pylibp2p: PyLibp2p, tmp_path: Path) -> None:
    async def body(node: Node) -> None:
        await in_thread(pylibp2p.connect, node.addresses()[0])
        assert len(await in_thread(pylibp2p.ping, str(node.peer_id), 5)) == 5

    run(tmp_path, body)


def test_our_connections_come_and_go(pylibp2p: PyLibp2p, tmp_path: Path) -> None:
    async def body(node: Node) -> None:
        for _ in range(5):
            await node.connect(pylibp2p.address)
            assert await exchange(node, pylibp2p.peer_id, ECHO, b"again") == b"again"
            await node.disconnect(PeerID.parse(pylibp2p.peer_id))

    run(tmp_path, body)


def test_their_connections_come_and_go(pylibp2p: PyLibp2p, tmp_path: Path) -> None:
    async def body(node: Node) -> None:
        node.handle(OURS, reverse)
        for _ in range(5):
            await in_thread(pylibp2p.connect, node.addresses()[0])
            assert await in_thread(pylibp2p.exchange, str(node.peer_id), OURS, b"again") == b"niaga"
            await in_thread(pylibp2p.disconnect, str(node.peer_id))

    run(tmp_path, body)
