"""How fast one stream between two processes is, and how fast streams open and close.

    python bench/stream.py [MIB]        prints one JSON object

MIB messages of 1 MiB (default 1024) behind varint lengths go through Noise and yamux over loopback TCP to a reader that
only counts them; then 100 streams are opened, echo a few bytes and are closed, one after another; then the connect.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import trio

from ipfs_kit_py.core.cid import PeerID
from ipfs_kit_py.crypto.keys import PrivateKey
from ipfs_kit_py.net.connection import MuxedConnection, secure
from ipfs_kit_py.net.transports import TcpTransport

if TYPE_CHECKING:
    from ipfs_kit_py.net.stream import MuxedStream

MIB = 1024 * 1024
SEND, ECHO = "/bench/send/1.0.0", "/bench/echo/1.0.0"
STREAMS = 100
CONNECTS = 20


async def _send(stream: MuxedStream) -> None:
    """Send as many messages as the request's eight bytes say."""
    count = int.from_bytes(await stream.read_exactly(8), "big")
    blocks = [os.urandom(MIB) for _ in range(16)]
    for number in range(count):
        await stream.write_message(blocks[number % len(blocks)])
    await stream.close_write()


async def _echo(stream: MuxedStream) -> None:
    while data := await stream.read(65_536):
        await stream.write(data)
    await stream.close()


async def _serve() -> None:
    key = PrivateKey.generate()
    listener = await TcpTransport().listen("/ip4/127.0.0.1/tcp/0")
    print(listener.addresses[0], key.peer_id(), flush=True)
    handlers = {SEND: _send, ECHO: _echo}
    async with trio.open_nursery() as nursery:
        while True:
            raw = await listener.accept()
            secured = await secure(raw, key, outbound=False, expected=None)
            nursery.start_soon(MuxedConnection(secured, handler_for=handlers.get).run)


async def _fetch(connection: MuxedConnection, count: int) -> float:
    """MB/s received."""
    start = time.perf_counter()
    stream = await connection.open_stream([SEND])
    await stream.write(count.to_bytes(8, "big"))
    size = 0
    while (message := await stream.read_message(MIB)) is not None:
        size += len(message)
    assert size == count * MIB
    await stream.close()
    return size / 1e6 / (time.perf_counter() - start)


async def _streams(connection: MuxedConnection) -> float:
    """Milliseconds for each of the streams."""
    await (await connection.open_stream([ECHO])).close()
    start = time.perf_counter()
    for _ in range(STREAMS):
        stream = await connection.open_stream([ECHO])
        await stream.write(b"hello")
        assert await stream.read_exactly(5) == b"hello"
        await stream.close()
    return (time.perf_counter() - start) * 1e3 / STREAMS


async def _connects(address: str, peer: PeerID, key: PrivateKey) -> list[float]:
    """Milliseconds for each connect with both handshakes, sorted."""
    times = []
    for _ in range(CONNECTS):
        start = time.perf_counter()
        raw = await TcpTransport().dial(address)
        await secure(raw, key, outbound=True, expected=peer)
        times.append((time.perf_counter() - start) * 1e3)
        await raw.aclose()
    return sorted(times)


async def _measure(address: str, peer: PeerID, count: int) -> dict[str, float]:
    key = PrivateKey.generate()
    raw = await TcpTransport().dial(address)
    connection = MuxedConnection(await secure(raw, key, outbound=True, expected=peer), handler_for=lambda _name: None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        rates = [await _fetch(connection, count) for _ in range(2)]
        each = await _streams(connection)
        start = time.perf_counter()
        await connection.close()
        closed = (time.perf_counter() - start) * 1e3
    connects = await _connects(address, peer, key)
    return {
        "stream_mb_s": round(max(rates)),
        "stream_open_echo_close_ms": round(each, 3),
        "connect_ms_median": round(connects[len(connects) // 2], 2),
        "close_ms": round(closed, 2),
    }


def main() -> None:
    if sys.argv[1:] == ["--serve"]:
        trio.run(_serve)
        return
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1024
    server = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        address, peer = server.stdout.readline().split()
        print(json.dumps(trio.run(_measure, address, PeerID.parse(peer), count)))
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    main()
