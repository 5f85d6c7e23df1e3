from __future__ import annotations

import random

import pytest
import trio
from trio.testing import MockClock

from ipfs_kit_py.core.errors import InvalidAddress, PeerUnreachable, StreamClosed
from ipfs_kit_py.net.memory import SOCKET_BUFFER_BYTES, Link, MemoryNetwork, MemoryStream

ONE, TWO = "10.0.0.1", "10.0.0.2"


def run(scenario, *args: object):
    return trio.run(scenario, *args, clock=MockClock(autojump_threshold=0))


async def pair(network: MemoryNetwork) -> tuple[MemoryStream, MemoryStream]:
    listener = await network.transport(TWO).listen(f"/ip4/{TWO}/tcp/0")
    dialled = await network.transport(ONE).dial(listener.addresses[0])
    return dialled, await listener.accept()


async def read(stream: MemoryStream, count: int) -> bytes:
    buffer, at = bytearray(count), 0
    while at < count:
        got = await stream.receive_into(memoryview(buffer)[at:])
        if not got:
            break
        at += got
    return bytes(buffer[:at])


def test_bytes_cross_both_ways_and_the_end_is_seen() -> None:
    async def scenario() -> None:
        one, two = await pair(MemoryNetwork())
        await one.send_all(b"hello")
        await two.send_all(b"world")
        assert await read(two, 5) == b"hello"
        assert await read(one, 5) == b"world"
        assert (two.received, one.received) == (5, 5)
        assert one.remote_address == two.local_address
        await one.send_all(b"last")
        await one.aclose()
        assert await read(two, 100) == b"last"
        with pytest.raises(StreamClosed):
            await one.send_all(b"x")

    run(scenario)


def test_latency_and_bandwidth_are_what_was_set() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        network.link(ONE, TWO, Link(latency=0.05, bandwidth=1e6))
        one, two = await pair(network)
        start = trio.current_time()
        assert start == pytest.approx(0.1)  # the dial's round trip

        async def send() -> None:
            await one.send_all(bytes(2_000_000))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            assert len(await read(two, 2_000_000)) == 2_000_000
        assert trio.current_time() - start == pytest.approx(2.05)

    run(scenario)


def test_a_writer_waits_for_its_reader() -> None:
    async def scenario() -> int:
        one, _two = await pair(MemoryNetwork())
        with trio.move_on_after(60):
            await one.send_all(bytes(3 * SOCKET_BUFFER_BYTES))
        return one._out._held

    assert SOCKET_BUFFER_BYTES <= run(scenario) < 2 * SOCKET_BUFFER_BYTES


def test_loss_delays_keeps_the_order_and_repeats_exactly() -> None:
    data = random.Random(5).randbytes(400_000)

    async def scenario(loss: float) -> float:
        network = MemoryNetwork(rng=random.Random(7))
        network.link(ONE, TWO, Link(latency=0.01, bandwidth=1e7, loss=loss))
        one, two = await pair(network)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.send_all, data)
            assert await read(two, len(data)) == data
        return trio.current_time()

    assert run(scenario, 0.1) == run(scenario, 0.1) > run(scenario, 0.0) + 0.15


def test_a_cut_link_swallows_everything_and_a_reset_breaks_both_ends() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        one, two = await pair(network)
        network.link(ONE, TWO).cut = True
        await one.send_all(b"lost")
        await one.aclose()
        with trio.move_on_after(1000) as limit:
            await read(two, 1)
        assert limit.cancelled_caught
        with trio.move_on_after(1000) as limit:
            await network.transport(ONE).dial(two.local_address)
        assert limit.cancelled_caught
        network.link(ONE, TWO).cut = False
        one, two = await pair(network)
        network.reset(ONE, TWO)
        for stream in (one, two):
            with pytest.raises(StreamClosed):
                await read(stream, 1)

    run(scenario)


def test_nobody_listening_refuses_and_foreign_addresses_are_errors() -> None:
    async def scenario() -> None:
        transport = MemoryNetwork().transport(ONE)
        with pytest.raises(PeerUnreachable):
            await transport.dial(f"/ip4/{TWO}/tcp/1")
        with pytest.raises(InvalidAddress):
            await transport.listen(f"/ip4/{TWO}/tcp/1")
        listener = await transport.listen(f"/ip4/{ONE}/tcp/7")
        with pytest.raises(InvalidAddress, match="taken"):
            await transport.listen(f"/ip4/{ONE}/tcp/7")
        await listener.aclose()
        with pytest.raises(StreamClosed):
            await listener.accept()
        with pytest.raises(PeerUnreachable):
            await transport.dial(f"/ip4/{ONE}/tcp/7")

    run(scenario)
