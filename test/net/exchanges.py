"""Bitswap over the network in memory: whole nodes' exchanges, and peers of which every message is the test's."""

from __future__ import annotations

import random
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest import mock

import trio
from trio.testing import MockClock

from ipfs_kit_py.bitswap.exchange import Bitswap
from ipfs_kit_py.bitswap.wire import PROTOCOLS, V120, Message, decode, encode
from ipfs_kit_py.core.cid import CID, Block
from ipfs_kit_py.core.config import MAX_MESSAGE_BYTES
from ipfs_kit_py.storage.memory import MemoryStore
from test.net.swarms import Stranger, in_memory, running, settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

    from ipfs_kit_py.bitswap.client import ClientSession
    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.core.interfaces import BlockStore, Stream
    from ipfs_kit_py.net.connection import MuxedConnection
    from ipfs_kit_py.net.memory import MemoryNetwork

SECONDS = 36_000.0  # of the clock that jumps: a scenario that takes longer hangs


async def _at_once(call: Callable[..., Any], *args: Any, **_options: Any) -> Any:
    await trio.lowlevel.checkpoint()
    return call(*args)


def play(scenario: Callable[..., Awaitable[object]], *args: object) -> None:
    """Run a scenario under a clock that jumps. Worker threads work at once: the clock would not wait for them."""

    async def bounded() -> None:
        with trio.fail_after(SECONDS):
            await scenario(*args)

    with mock.patch.object(trio.to_thread, "run_sync", _at_once):
        trio.run(bounded, clock=MockClock(autojump_threshold=0))


def block(number: int, size: int = 1000) -> Block:
    """A block of random bytes; the same for the same number and size."""
    data = random.Random(number * 10_000_019 + size).randbytes(size)
    return Block(CID.of(data), data)


def blocks(count: int, size: int = 1000, first: int = 0) -> list[Block]:
    return [block(number, size) for number in range(first, first + count)]


def cids(items: Iterable[Block]) -> list[CID]:
    return [item.cid for item in items]


class Side:
    """One node's network, store and exchange on the host ``ip``."""

    def __init__(
        self,
        network: MemoryNetwork,
        ip: str,
        have: Iterable[Block] = (),
        *,
        store: BlockStore | None = None,
        **more: Any,
    ) -> None:
        self.ip = ip
        self.address = f"/ip4/{ip}/tcp/4001"
        self.swarm = in_memory(network, ip)
        self.store = store if store is not None else MemoryStore()
        self.store.put_many(have)
        self.bitswap = Bitswap(self.swarm, self.store, random.Random(7), **more)

    @property
    def peer_id(self) -> PeerID:
        return self.swarm.peer_id

    @property
    def stats(self) -> Any:
        return self.bitswap.statistics()

    def penalty(self, peer: PeerID) -> float:
        """What a peer has done wrong in this node's eyes."""
        return self.swarm._standing.penalty(peer, trio.current_time())

    async def connect(self, *others: Side) -> None:
        for other in others:
            await self.swarm.connect(other.peer_id, [other.address])

    async def fetch(self, wanted: Sequence[CID], **options: Any) -> dict[CID, bytes]:
        """Blocks by a session of their own."""
        with self.bitswap.session() as session:
            return await collect(session, wanted, **options)

    def idle(self) -> bool:
        """Whether nothing of a fetch is left: no want, waiter or search."""
        client = self.bitswap._client
        left = (client._waiters, client._searches, client._sessions)
        return not any(left) and self.stats.wants == self.stats.sessions == 0


async def collect(session: ClientSession, wanted: Sequence[CID], **options: Any) -> dict[CID, bytes]:
    found = {}
    async with aclosing(session.fetch_many(wanted, **options)) as items:
        async for item in items:
            assert item.cid not in found
            found[item.cid] = bytes(item.data)
    return found


def data_of(items: Iterable[Block]) -> dict[CID, bytes]:
    return {item.cid: bytes(item.data) for item in items}


@asynccontextmanager
async def exchanging(*sides: Side) -> AsyncIterator[None]:
    """Sides while they run; at the end nothing of a fetch may be left."""
    async with running(*(side.swarm for side in sides)), trio.open_nursery() as nursery:
        for side in sides:
            await nursery.start(side.bitswap.run)
        yield
        nursery.cancel_scope.cancel()


class Talker:
    """A stranger that speaks bitswap as a test tells it: ``heard`` is what it was sent, ``on_message`` may answer.

    ``protocols`` are the versions that it takes; it says everything on streams of its own.
    """

    def __init__(self, network: MemoryNetwork, ip: str, protocols: Sequence[str] = PROTOCOLS) -> None:
        self.stranger = Stranger(network, ip)
        self.heard: list[Message] = []
        self.streams: list[Stream] = []  # that the node opened to it
        self.on_message: Callable[[Message], Awaitable[None]] | None = None
        self.connection: MuxedConnection | None = None
        self._out: Stream | None = None
        self._speaks = protocols[0]
        for protocol in protocols:
            self.stranger.handlers[protocol] = self.listen

    @property
    def peer_id(self) -> PeerID:
        return self.stranger.peer_id

    @property
    def wants(self) -> list[CID]:
        return [entry.cid for message in self.heard for entry in message.entries if not entry.cancel]

    @property
    def got(self) -> list[bytes]:
        """Bytes of the blocks that it was sent."""
        return [bytes(data) for message in self.heard for _, data in message.blocks]

    async def connect(self, side: Side, nursery: trio.Nursery) -> MuxedConnection:
        self.connection = await self.stranger.connect(side.address, nursery)
        await settle(lambda: self.peer_id in side.swarm.connected())
        return self.connection

    async def listen(self, stream: Stream) -> None:
        self.streams.append(stream)
        while (data := await stream.read_message(MAX_MESSAGE_BYTES)) is not None:
            message = decode(data)
            self.heard.append(message)
            if self.on_message is not None:
                await self.on_message(message)

    async def open(self, protocol: str | None = None) -> Stream:
        assert self.connection is not None
        return await self.connection.open_stream([protocol or self._speaks])

    async def say(self, message: Message) -> None:
        """One message, on the stream that this peer keeps."""
        if self._out is None:
            self._out = await self.open()
        await self._out.write_message(*encode(message, self._speaks))

    async def say_bytes(self, data: bytes) -> None:
        """A message of these bytes, on a stream of its own."""
        stream = await self.open()
        await stream.write_message(data)
        await stream.close_write()

    async def give(self, items: Iterable[Block]) -> None:
        await self.say(Message(blocks=[(item.cid.prefix, item.data) for item in items]))

    def serve(self, have: Iterable[Block]) -> None:
        """Answer wants as a peer does that has these blocks."""
        store = {item.cid: item for item in have}
        self.on_message = partial(self._answer, store)

    async def _answer(self, store: dict[CID, Block], message: Message) -> None:
        answer = Message()
        for entry in message.entries:
            if entry.cancel:
                continue
            if entry.cid not in store:
                answer.dont_haves += [entry.cid] if entry.send_dont_have else []
            elif entry.want_have:
                answer.haves.append(entry.cid)
            else:
                answer.blocks.append((entry.cid.prefix, store[entry.cid].data))
        if not answer.empty:
            await self.say(answer)


@asynccontextmanager
async def talking(side: Side, *talkers: Talker) -> AsyncIterator[None]:
    """Talkers that are connected to a side, until the end of the block."""
    async with trio.open_nursery() as nursery:
        for talker in talkers:
            await talker.connect(side, nursery)
        yield
        nursery.cancel_scope.cancel()


__all__ = [
    "V120",
    "Side",
    "Talker",
    "block",
    "blocks",
    "cids",
    "collect",
    "data_of",
    "exchanging",
    "play",
    "talking",
]
