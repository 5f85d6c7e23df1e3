"""Swarms for tests: over a network in memory under a clock that jumps, or over loopback TCP."""

from __future__ import annotations

import ipaddress
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio
from trio.testing import MockClock

from ipfs_kit_py.core.config import NodeConfig
from ipfs_kit_py.crypto.keys import PrivateKey
from ipfs_kit_py.net.connection import MuxedConnection, secure
from ipfs_kit_py.net.swarm import Swarm

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from ipfs_kit_py.core.interfaces import Stream
    from ipfs_kit_py.net.memory import MemoryNetwork

START = 1_800_000_000.0  # of the wall clock in memory


def play(scenario: Callable[..., Awaitable[object]], *args: object) -> None:
    """Run a scenario under a clock that jumps when nothing else is left to do."""
    trio.run(scenario, *args, clock=MockClock(autojump_threshold=0))


def in_memory(network: MemoryNetwork, ip: str, *, key: PrivateKey | None = None, **settings: Any) -> Swarm:
    """A swarm on the host ``ip`` that listens on its port 4001."""
    settings.setdefault("listen", (f"/ip4/{ip}/tcp/4001",))
    return Swarm(
        key or PrivateKey.generate(),
        NodeConfig(**settings),
        transports=[network.transport(ip)],
        local_interfaces=lambda: [ipaddress.ip_interface(f"{ip}/24")],
        clock=lambda: START + trio.current_time(),
        rng=random.Random(1),
    )


@asynccontextmanager
async def running(*swarms: Swarm) -> AsyncIterator[None]:
    """Swarms while they run."""
    async with trio.open_nursery() as nursery:
        for swarm in swarms:
            await nursery.start(swarm.run)
        yield
        nursery.cancel_scope.cancel()


async def settle(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until something is so, or fail."""
    with trio.fail_after(seconds):
        while not condition():
            await trio.sleep(0.01)


async def echo(stream: Stream) -> None:
    """A handler that sends everything back."""
    await stream.write(await stream.read())
    await stream.close()


async def echoed(swarm: Swarm, other: Swarm, data: bytes = b"hello", protocol: str = "/echo/1") -> bool:
    """Whether a new stream to ``other``'s echo works."""
    stream = await swarm.open_stream(other.peer_id, [protocol])
    await stream.write(data)
    await stream.close_write()
    return await stream.read() == data


class Stranger:
    """A peer of which every byte is the test's: a key, a transport, and handlers of its own."""

    def __init__(self, network: MemoryNetwork, ip: str) -> None:
        self.key = PrivateKey.generate()
        self.peer_id = self.key.peer_id()
        self.transport = network.transport(ip)
        self.handlers: dict[str, Callable[[Stream], Awaitable[None]]] = {}

    async def connect(self, address: str, nursery: trio.Nursery) -> MuxedConnection:
        """An authenticated connection to whoever listens there, running in ``nursery``."""
        raw = await self.transport.dial(address)
        secured = await secure(raw, self.key, outbound=True, expected=None)
        connection = MuxedConnection(secured, handler_for=self.handlers.get)
        nursery.start_soon(connection.run)
        return connection
