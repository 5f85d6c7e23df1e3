"""Transports: how a byte pipe to an address is opened and accepted. TCP is here; others have the same Protocols."""

from __future__ import annotations

import errno
import logging
import socket
from ipaddress import ip_address, ip_interface
from typing import TYPE_CHECKING, Protocol

import psutil
import trio

from ipfs_kit_py.core.config import LISTEN_BACKLOG
from ipfs_kit_py.core.errors import InvalidAddress, PeerUnreachable, StreamClosed
from ipfs_kit_py.net import addresses

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from typing_extensions import Buffer

    from ipfs_kit_py.net.addresses import IPInterface

log = logging.getLogger(__name__)

# the process or the machine has no room: later it may have again
NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class RawStream(Protocol):
    """A byte pipe below security. Addresses are multiaddr text without ``/p2p``."""

    @property
    def remote_address(self) -> str: ...
    @property
    def local_address(self) -> str: ...

    async def receive_into(self, buffer: memoryview) -> int:
        """Bytes read into ``buffer``, 0 at the end. ``StreamClosed`` where the pipe broke."""
        ...

    async def send_all(self, data: Buffer) -> None:
        """Send everything. ``StreamClosed`` where the pipe broke."""
        ...

    async def aclose(self) -> None:
        """Close abruptly and quickly; never raises."""
        ...


class AcceptedStream(RawStream, Protocol):
    """A pipe that a listener made; it counts what the remote has sent."""

    @property
    def received(self) -> int:
        """Bytes that came in so far."""
        ...


class Listener(Protocol):
    """A bound address."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """What it is bound to, ports resolved; an unspecified IP stays as it is."""
        ...

    async def accept(self) -> AcceptedStream:
        """The next inbound pipe. ``OSError`` where this one failed; ``StreamClosed`` once the listener is closed."""
        ...

    async def aclose(self) -> None: ...


class Transport(Protocol):
    """One way of making pipes."""

    def can_dial(self, address: str) -> bool:
        """Whether ``dial`` takes such an address; by its shape alone, nothing is sent."""
        ...

    def can_listen(self, address: str) -> bool: ...

    async def dial(self, address: str) -> RawStream:
        """Open a pipe. ``PeerUnreachable`` where nothing answers, ``InvalidAddress`` for another transport's."""
        ...

    async def listen(self, address: str) -> Listener:
        """Bind an address. ``InvalidAddress`` where that cannot be."""
        ...


class TcpStream:
    """A connected TCP socket as a ``RawStream``."""

    __slots__ = ("_socket", "local_address", "received", "remote_address")

    def __init__(self, sock: trio.socket.SocketType) -> None:
        """``OSError`` where the socket is no longer connected."""
        self._socket = sock
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.remote_address = addresses.of_socket(*sock.getpeername()[:2])
        self.local_address = addresses.of_socket(*sock.getsockname()[:2])
        self.received = 0

    async def receive_into(self, buffer: memoryview) -> int:
        try:
            count = await self._socket.recv_into(buffer)
        except (OSError, trio.ClosedResourceError) as error:
            raise StreamClosed(f"the connection from {self.remote_address} broke: {error}") from None
        self.received += count
        return count

    async def send_all(self, data: Buffer) -> None:
        view = memoryview(data)
        try:
            sent = await self._socket.send(view)
            while sent < len(view):
                sent += await self._socket.send(view[sent:])
        except (OSError, trio.ClosedResourceError) as error:
            raise StreamClosed(f"the connection to {self.remote_address} broke: {error}") from None

    async def aclose(self) -> None:
        self._socket.close()

    def __repr__(self) -> str:
        return f"<TcpStream {self.local_address} to {self.remote_address}>"


class TcpListener:
    """A listening TCP socket."""

    def __init__(self, sock: trio.socket.SocketType) -> None:
        self._socket = sock
        host, port = sock.getsockname()[:2]
        self.addresses: tuple[str, ...] = (f"/ip{6 if ':' in host else 4}/{host}/tcp/{port}",)

    async def accept(self) -> TcpStream:
        try:
            sock, _name = await self._socket.accept()
        except (OSError, trio.ClosedResourceError):
            if self._socket.fileno() < 0:
                raise StreamClosed(f"no longer listening on {self.addresses[0]}") from None
            raise
        try:
            return TcpStream(sock)
        except OSError:  # gone again between the two calls
            sock.close()
            raise

    async def aclose(self) -> None:
        self._socket.close()

    def __repr__(self) -> str:
        return f"<TcpListener {self.addresses[0]}>"


class TcpTransport:
    """TCP over IPv4 and IPv6. Names are resolved before (``net.resolver``): an address here has an IP."""

    def can_dial(self, address: str) -> bool:
        end = addresses.tcp_endpoint(addresses.parse(address))
        return end is not None and end.port > 0 and end.kind in ("ip4", "ip6")

    def can_listen(self, address: str) -> bool:
        end = addresses.tcp_endpoint(addresses.parse(address))
        return end is not None and end.kind in ("ip4", "ip6")

    async def dial(self, address: str) -> TcpStream:
        end = addresses.tcp_endpoint(addresses.parse(address))
        if end is None or end.kind not in ("ip4", "ip6"):
            raise InvalidAddress(f"{address} is no TCP address with an IP; give one like /ip4/192.0.2.1/tcp/4001")
        try:
            sock = _new_socket(end.kind)
            try:
                await sock.connect((end.host, end.port))
                return TcpStream(sock)
            except BaseException:
                sock.close()
                raise
        except OSError as error:
            raise PeerUnreachable(f"{address}: {error.strerror or error}") from None

    async def listen(self, address: str) -> TcpListener:
        end = addresses.tcp_endpoint(addresses.parse(address))
        if end is None or end.kind not in ("ip4", "ip6"):
            raise InvalidAddress(f"cannot listen on {address}; give one like /ip4/0.0.0.0/tcp/4001")
        try:
            return TcpListener(await _bound(end))
        except OSError as error:
            raise InvalidAddress(
                f"cannot listen on {address}: {error.strerror or error}; choose a free port (0 takes any) on an "
                "address of this machine"
            ) from None


def _new_socket(kind: str) -> trio.socket.SocketType:
    return trio.socket.socket(socket.AF_INET if kind == "ip4" else socket.AF_INET6, socket.SOCK_STREAM)


async def _bound(end: addresses.Endpoint) -> trio.socket.SocketType:
    sock = _new_socket(end.kind)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if end.kind == "ip6":  # so that an IPv4 listener can have the same port
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        await sock.bind((end.host, end.port))
        sock.listen(LISTEN_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def pick(transports: Iterable[Transport], address: str) -> Transport | None:
    """The first transport that can dial ``address``."""
    return next((transport for transport in transports if transport.can_dial(address)), None)


def interfaces() -> list[IPInterface]:
    """The IP addresses of this machine with their networks."""
    found: list[IPInterface] = []
    for rows in psutil.net_if_addrs().values():
        for row in rows:
            if row.family not in (socket.AF_INET, socket.AF_INET6):
                continue
            host = row.address.partition("%")[0]
            mask = row.netmask.partition("%")[0] if row.netmask else None
            if mask is not None and row.family == socket.AF_INET6:
                mask = str(int(ip_address(mask)).bit_count())
            found.append(ip_interface(f"{host}/{mask}" if mask else host))
    return found


def expand(bound: str, here: Sequence[IPInterface]) -> list[str]:
    """What a bound address is reached at: itself, or where its IP is unspecified, one address per interface."""
    address = addresses.parse(bound)
    if address.ip is None or not address.ip.is_unspecified:
        return [bound]
    kind = address.parts[0][0]
    rest = bound.split("/", 3)[3]
    return [
        f"/{kind}/{face.ip}/{rest}"
        for face in here
        if f"ip{face.version}" == kind and not face.ip.is_link_local and not face.ip.is_unspecified
    ]


def usable_listen(texts: Iterable[str], transports: Sequence[Transport]) -> list[tuple[Transport, str]]:
    """The addresses to listen on, each with its transport.

    QUIC addresses are left out with one warning: other nodes' default configurations carry them. ``InvalidAddress`` for
    anything else that no transport can listen on.
    """
    chosen, skipped = [], []
    for text in texts:
        address = addresses.parse(text)
        transport = next((item for item in transports if item.can_listen(address.text)), None)
        if transport is not None:
            chosen.append((transport, address.text))
        elif any(name in ("quic", "quic-v1") for name, _value in address.parts):
            skipped.append(text)
        else:
            raise InvalidAddress(f"cannot listen on {text}: give a TCP address such as /ip4/0.0.0.0/tcp/4001")
    if skipped:
        log.warning("not listening on %s: this node has no QUIC; peers reach it over TCP", ", ".join(skipped))
    return chosen
