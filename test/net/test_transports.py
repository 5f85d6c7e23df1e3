from __future__ import annotations

import ipaddress
import socket

import pytest
import trio

from ipfs_kit_py.core.errors import InvalidAddress, PeerUnreachable, StreamClosed
from ipfs_kit_py.net import transports
from ipfs_kit_py.net.transports import TcpStream, TcpTransport, expand


async def pair(host: str) -> tuple[TcpStream, TcpStream]:
    listener = await TcpTransport().listen(f"{host}/tcp/0")
    one = await TcpTransport().dial(listener.addresses[0])
    other = await listener.accept()
    await listener.aclose()
    with pytest.raises(StreamClosed):
        await listener.accept()
    return one, other


@pytest.mark.parametrize("host", ["/ip4/127.0.0.1", "/ip6/::1"])
def test_bytes_cross_both_ways_over_either_family(host: str) -> None:
    async def scenario() -> None:
        one, other = await pair(host)
        assert one.remote_address == other.local_address
        assert one.remote_address.startswith(host + "/tcp/")
        data, got = bytes(range(256)) * 40_000, bytearray()
        buffer = memoryview(bytearray(65536))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.send_all, data)
            while len(got) < len(data):
                count = await other.receive_into(buffer)
                got += buffer[:count]
        assert bytes(got) == data
        assert other.received == len(data)
        await one.aclose()
        assert await other.receive_into(buffer) == 0
        for stream in (one, other):
            await stream.aclose()
            await stream.aclose()
            with pytest.raises(StreamClosed):
                await stream.send_all(b"x")
            with pytest.raises(StreamClosed):
                await stream.receive_into(buffer)

    trio.run(scenario)


def test_sockets_send_at_once_and_notice_dead_peers() -> None:
    async def scenario() -> None:
        for stream in await pair("/ip4/127.0.0.1"):
            assert stream._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert stream._socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            await stream.aclose()

    trio.run(scenario)


def test_a_reset_is_a_closed_stream() -> None:
    async def scenario() -> None:
        one, other = await pair("/ip4/127.0.0.1")
        one._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        await one.aclose()
        with pytest.raises(StreamClosed):
            await other.receive_into(memoryview(bytearray(1)))
        await other.aclose()

    trio.run(scenario)


def test_dialling_nobody_is_unreachable_and_a_cancelled_dial_leaves_no_socket() -> None:
    async def scenario() -> None:
        listener = await TcpTransport().listen("/ip4/127.0.0.1/tcp/0")
        await listener.aclose()
        with pytest.raises(PeerUnreachable, match="refused"):
            await TcpTransport().dial(listener.addresses[0])
        with trio.move_on_after(0):
            await TcpTransport().dial(listener.addresses[0])

    trio.run(scenario)


def test_only_tcp_addresses_with_an_ip_are_taken() -> None:
    tcp = TcpTransport()
    assert tcp.can_dial("/ip4/192.0.2.1/tcp/1")
    for text in (
        "/ip4/192.0.2.1/tcp/0",
        "/dns4/a.example/tcp/1",
        "/ip4/192.0.2.1/udp/1/quic-v1",
        "/ip4/192.0.2.1/tcp/1/ws",
    ):
        assert not tcp.can_dial(text)
        with pytest.raises((InvalidAddress, PeerUnreachable)):
            trio.run(tcp.dial, text)
    with pytest.raises(InvalidAddress, match="give one like"):
        trio.run(tcp.listen, "/dns4/a.example/tcp/1")


def test_an_unspecified_address_is_announced_as_those_of_the_interfaces() -> None:
    here = [ipaddress.ip_interface(text) for text in ("127.0.0.1/8", "10.0.0.7/24", "fe80::1/64", "2a00::7/64")]
    assert expand("/ip4/0.0.0.0/tcp/4001", here) == ["/ip4/127.0.0.1/tcp/4001", "/ip4/10.0.0.7/tcp/4001"]
    assert expand("/ip6/::/tcp/4001/ws", here) == ["/ip6/2a00::7/tcp/4001/ws"]
    assert expand("/ip4/10.0.0.9/tcp/4001", here) == ["/ip4/10.0.0.9/tcp/4001"]


def test_this_machines_addresses_have_loopback_among_them() -> None:
    assert ipaddress.ip_address("127.0.0.1") in {face.ip for face in transports.interfaces()}
