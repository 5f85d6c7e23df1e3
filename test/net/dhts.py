"""DHTs over the network in memory: whole nodes' routing, and peers of which every message is the test's."""

from __future__ import annotations

import random
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from ipfs_kit_py.core.config import KAD_MESSAGE_BYTES
from ipfs_kit_py.routing.dht import Dht
from ipfs_kit_py.routing.kad_wire import KAD_LAN, Message, MessageType, PeerInfo, decode, encode
from test.net.swarms import START, Stranger, in_memory, settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.core.interfaces import Provider, Stream
    from ipfs_kit_py.net.connection import MuxedConnection
    from ipfs_kit_py.net.memory import MemoryNetwork
    from ipfs_kit_py.routing.kademlia import Kademlia


def wall() -> float:
    """Seconds since 1970, as the moved clock has it."""
    return START + trio.current_time()


class Member:
    """One node's network and DHT on the host ``ip``: one of 10.0.0.0/8 is in the DHT of its networks, another in the
    public one."""

    def __init__(
        self, network: MemoryNetwork, ip: str, *, server: bool = True, high_water: int = 400, **more: Any
    ) -> None:
        self.ip = ip
        self.address = f"/ip4/{ip}/tcp/4001"
        self.swarm = in_memory(network, ip, low_water=high_water // 2, high_water=high_water, grace=5.0)
        self.dht = Dht(self.swarm, server=server, clock=wall, rng=random.Random(ip), **more)

    @property
    def peer_id(self) -> PeerID:
        return self.swarm.peer_id

    @property
    def side(self) -> Kademlia:
        """The DHT that its own address is of."""
        return self.dht.sides[self.ip.startswith("10.")]

    @property
    def table(self) -> set[PeerID]:
        return {info.peer for info in self.side.table.nearest(0, 10_000)}

    async def join(self, *others: Member) -> None:
        for other in others:
            await self.swarm.connect(other.peer_id, [other.address])
            await settle(lambda other=other: other.peer_id in self.table or not other.side.is_server)

    async def providers(self, multihash: bytes, count: int = 20) -> list[Provider]:
        async with aclosing(self.dht.find_providers(multihash, count=count)) as found:
            return [provider async for provider in found]

    def penalty(self, peer: PeerID) -> float:
        return self.swarm._standing.penalty(peer, trio.current_time())


@asynccontextmanager
async def routing(*members: Member) -> AsyncIterator[None]:
    """Members while they run."""
    async with trio.open_nursery() as nursery:
        for member in members:
            await nursery.start(member.swarm.run)
            await nursery.start(member.dht.run)
        yield
        nursery.cancel_scope.cancel()


def ips(count: int, first: str = "10.0") -> list[str]:
    """Addresses, each in a network of its own as far as there are any."""
    return [f"{first}.{number // 250}.{1 + number % 250}" for number in range(count)]


class Server:
    """A stranger that answers requests as a test tells it; ``heard`` are those that it got."""

    def __init__(
        self, network: MemoryNetwork, ip: str, answer: Callable[[Message], Message | bytes | None],
        protocol: str = KAD_LAN,
    ) -> None:  # fmt: skip
        self.stranger = Stranger(network, ip)
        self.ip = ip
        self.heard: list[Message] = []
        self.streams = 0
        self._answer = answer
        self._protocol = protocol
        self.stranger.handlers[protocol] = self._serve

    @property
    def peer_id(self) -> PeerID:
        return self.stranger.peer_id

    @property
    def info(self) -> PeerInfo:
        return PeerInfo(self.peer_id, (f"/ip4/{self.ip}/tcp/4001",))

    async def join(self, member: Member, nursery: trio.Nursery) -> MuxedConnection:
        """Connect and enter the member's table, as one that has been identified would."""
        connection = await self.stranger.connect(member.address, nursery)
        await settle(lambda: self.peer_id in member.swarm.connected())
        await member.side.request(self.info, Message(MessageType.FIND_NODE, self.peer_id.raw))
        assert self.peer_id in member.table
        return connection

    async def _serve(self, stream: Stream) -> None:
        self.streams += 1
        while (raw := await stream.read_message(KAD_MESSAGE_BYTES)) is not None:
            request = decode(raw)
            self.heard.append(request)
            answer = self._answer(request)
            if answer is not None:
                await stream.write_message(answer if isinstance(answer, bytes) else encode(answer))
        await stream.close()


async def asked(connection: MuxedConnection, *requests: Message | bytes, protocol: str = KAD_LAN) -> list[Message]:
    """What a member answers to requests on one stream."""
    stream = await connection.open_stream([protocol])
    answers = []
    for request in requests:
        await stream.write_message(request if isinstance(request, bytes) else encode(request))
        raw = await stream.read_message(KAD_MESSAGE_BYTES)
        assert raw is not None
        answers.append(decode(raw))
    await stream.close()
    return answers
