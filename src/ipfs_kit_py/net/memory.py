"""A network in memory: the same pipes as TCP, with latency, bandwidth and loss of one's choice.

Time is trio's clock, chance an ``rng``, so that under ``trio.testing.MockClock`` a run repeats exactly. Loss is what
TCP makes of it: the bytes come, a retransmission later, and all behind them too.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from ipfs_kit_py.core.errors import InvalidAddress, PeerUnreachable, StreamClosed
from ipfs_kit_py.net import addresses

if TYPE_CHECKING:
    from typing_extensions import Buffer

SEGMENT_BYTES = 16 * 1024  # what is delayed or lost as one
SOCKET_BUFFER_BYTES = 1024 * 1024  # sent and not yet read: a writer waits beyond it, as with a kernel's buffers
RETRANSMIT_SECONDS = 0.2  # the least that a lost segment costs; Linux's minimum
FIRST_PORT = 40_000


@dataclass
class Link:
    """How two hosts are connected, each way. ``latency`` seconds, ``bandwidth`` bytes a second (``None`` is without
    limit), ``loss`` the share of segments that are lost once. ``cut`` swallows everything, as a pulled cable does."""

    latency: float = 0.0
    bandwidth: float | None = None
    loss: float = 0.0
    cut: bool = False


class _Flow:
    """One direction of a pipe."""

    def __init__(self, link: Link, rng: random.Random) -> None:
        self.link = link
        self._rng = rng
        self._segments: deque[tuple[float, memoryview]] = deque()
        self._free_at = 0.0  # when the line has sent what it was given
        self._last_arrival = 0.0
        self._held = 0  # bytes sent and not yet read
        self._ended_at: float | None = None
        self.ended = False
        self.broken: str | None = None
        self._changed = trio.Event()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def _arrival(self, size: int) -> float:
        now, link = trio.current_time(), self.link
        self._free_at = max(now, self._free_at) + (size / link.bandwidth if link.bandwidth else 0.0)
        at = self._free_at + link.latency
        while link.loss and self._rng.random() < link.loss:
            at += max(RETRANSMIT_SECONDS, 3 * link.latency)
        self._last_arrival = max(at, self._last_arrival)  # bytes stay in order: one late segment delays the rest
        return self._last_arrival

    async def send(self, data: Buffer) -> None:
        view = memoryview(bytes(data))
        for at in range(0, len(view), SEGMENT_BYTES):
            piece = view[at : at + SEGMENT_BYTES]
            while self._held >= SOCKET_BUFFER_BYTES and self.broken is None and not self.ended:
                await self._changed.wait()
            if self.broken is not None or self.ended:
                raise StreamClosed(self.broken or "closed on this side")
            self._held += len(piece)
            if not self.link.cut:
                self._segments.append((self._arrival(len(piece)), piece))
                self._wake()
        await trio.lowlevel.checkpoint()

    async def receive_into(self, buffer: memoryview) -> int:
        await trio.lowlevel.checkpoint()
        while True:
            now = trio.current_time()
            if self._segments and self._segments[0][0] <= now:
                return self._take(buffer, now)
            if self.broken is not None:
                raise StreamClosed(self.broken)
            if not self._segments and self._ended_at is not None and self._ended_at <= now:
                return 0
            due = self._segments[0][0] if self._segments else self._ended_at
            changed = self._changed
            with trio.move_on_at(due if due is not None else float("inf")):
                await changed.wait()

    def _take(self, buffer: memoryview, now: float) -> int:
        filled = 0
        while filled < len(buffer) and self._segments and self._segments[0][0] <= now:
            arrived, piece = self._segments.popleft()
            count = min(len(piece), len(buffer) - filled)
            buffer[filled : filled + count] = piece[:count]
            if count < len(piece):
                self._segments.appendleft((arrived, piece[count:]))
            filled += count
        self._held -= filled
        self._wake()
        return filled

    def end(self) -> None:
        """The writer closed: the reader gets what is on its way, then the end."""
        if not self.ended and not self.link.cut:
            self._ended_at = max(trio.current_time() + self.link.latency, self._last_arrival)
        self.ended = True
        self._wake()

    def break_off(self, why: str) -> None:
        self.broken = self.broken or why
        self._wake()


class MemoryStream:
    """One end of a pipe in memory."""

    def __init__(self, local: str, remote: str, out: _Flow, into: _Flow) -> None:
        self.local_address = local
        self.remote_address = remote
        self.received = 0
        self._out = out
        self._into = into

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._out.ended or self._out.broken is not None

    async def receive_into(self, buffer: memoryview) -> int:
        count = await self._into.receive_into(buffer)
        self.received += count
        return count

    async def send_all(self, data: Buffer) -> None:
        await self._out.send(data)

    async def aclose(self) -> None:
        self._out.end()
        self._into.break_off(f"closed by {self.local_address}")

    def reset(self) -> None:
        """Break both directions at once, as a reset by a router does."""
        for flow in (self._out, self._into):
            flow.break_off(f"reset between {self.local_address} and {self.remote_address}")

    def __repr__(self) -> str:
        return f"<MemoryStream {self.local_address} to {self.remote_address}>"


class MemoryListener:
    """A bound address of the network in memory."""

    def __init__(self, network: MemoryNetwork, address: str, backlog: int) -> None:
        self.addresses = (address,)
        self._network = network
        self._send, self._receive = trio.open_memory_channel[MemoryStream](backlog)

    def offer(self, stream: MemoryStream) -> None:
        """Hand an inbound pipe over; ``PeerUnreachable`` where the backlog is full."""
        try:
            self._send.send_nowait(stream)
        except (trio.WouldBlock, trio.BrokenResourceError):
            raise PeerUnreachable(f"{self.addresses[0]}: connection refused") from None

    async def accept(self) -> MemoryStream:
        try:
            return await self._receive.receive()
        except (trio.ClosedResourceError, trio.EndOfChannel):
            raise StreamClosed(f"no longer listening on {self.addresses[0]}") from None

    async def aclose(self) -> None:
        self._network.listeners.pop(self.addresses[0], None)
        self._receive.close()
        self._send.close()


@dataclass
class MemoryNetwork:
    """Hosts by IP and the links between them.

    ``transport(ip)`` is what a node on the host ``ip`` dials and listens with; addresses are ``/ip4/<ip>/tcp/<port>``.
    """

    rng: random.Random = field(default_factory=lambda: random.Random(0))
    default: Link = field(default_factory=Link)
    listeners: dict[str, MemoryListener] = field(default_factory=dict)
    dials: list[tuple[float, str]] = field(default_factory=list)
    backlog: int = 64
    _links: dict[frozenset[str], Link] = field(default_factory=dict)
    _pipes: dict[frozenset[str], list[MemoryStream]] = field(default_factory=dict)
    _next_port: int = FIRST_PORT

    def transport(self, ip: str) -> MemoryTransport:
        """The transport of a node on the host ``ip``."""
        return MemoryTransport(self, ip)

    def link(self, one: str, other: str, link: Link | None = None) -> Link:
        """The link between two hosts, after setting it where one is given; changing its fields has effect at once."""
        key = frozenset((one, other))
        if link is not None:
            self._links[key] = link
        elif key not in self._links:
            self._links[key] = Link(**vars(self.default))
        return self._links[key]

    def reset(self, one: str, other: str) -> None:
        """Break every pipe between two hosts."""
        for stream in self._pipes.pop(frozenset((one, other)), []):
            stream.reset()

    def port(self) -> int:
        """A free port."""
        self._next_port += 1
        return self._next_port

    def join(self, ip: str, listener: MemoryListener, host: str) -> MemoryStream:
        """A pipe from the host ``ip`` to a listener; its dialler's end."""
        link, here = self.link(ip, host), f"/ip4/{ip}/tcp/{self.port()}"
        there = listener.addresses[0]
        out, back = _Flow(link, self.rng), _Flow(link, self.rng)
        listener.offer(MemoryStream(there, here, back, out))
        stream = MemoryStream(here, there, out, back)
        key = frozenset((ip, host))
        self._pipes[key] = [*(old for old in self._pipes.get(key, ()) if not old.is_closed), stream]
        return stream


class MemoryTransport:
    """The transport of one host."""

    def __init__(self, network: MemoryNetwork, ip: str) -> None:
        self._network = network
        self._ip = ip

    def can_dial(self, address: str) -> bool:
        end = addresses.tcp_endpoint(addresses.parse(address))
        return end is not None and end.kind == "ip4"

    can_listen = can_dial

    async def dial(self, address: str) -> MemoryStream:
        end = addresses.tcp_endpoint(addresses.parse(address))
        if end is None or end.kind != "ip4":
            raise InvalidAddress(f"{address} is no address of the network in memory; give /ip4/…/tcp/…")
        network, link = self._network, self._network.link(self._ip, end.host)
        network.dials.append((trio.current_time(), address))
        await trio.sleep(2 * link.latency)
        if link.cut:  # the handshake's packets are never answered
            await trio.sleep_forever()
        listener = network.listeners.get(address)
        if listener is None:
            raise PeerUnreachable(f"{address}: connection refused")
        return network.join(self._ip, listener, end.host)

    async def listen(self, address: str) -> MemoryListener:
        end = addresses.tcp_endpoint(addresses.parse(address))
        if end is None or end.host not in (self._ip, "0.0.0.0"):
            raise InvalidAddress(f"cannot listen on {address}: this host is {self._ip}")
        bound = f"/ip4/{self._ip}/tcp/{end.port or self._network.port()}"
        if bound in self._network.listeners:
            raise InvalidAddress(f"cannot listen on {bound}: the address is taken")
        await trio.lowlevel.checkpoint()
        listener = MemoryListener(self._network, bound, self._network.backlog)
        self._network.listeners[bound] = listener
        return listener
