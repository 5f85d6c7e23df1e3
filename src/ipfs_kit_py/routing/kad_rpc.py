"""Requests of the DHT: one stream a peer, kept open for the next, as go keeps it.

Source: libp2p/specs kad-dht/README.md (RPC messages): a stream may carry any number of requests, one after another.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from ipfs_kit_py.core.config import KAD_IDLE_STREAMS, KAD_MESSAGE_BYTES, KAD_REQUESTS_PER_PEER
from ipfs_kit_py.core.errors import ProtocolViolation, StreamClosed
from ipfs_kit_py.routing.kad_wire import decode, encode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.core.interfaces import Network, Stream
    from ipfs_kit_py.routing.kad_wire import Message, MessageType

_VIOLATION = 0.25  # standing that an answer costs which is none


@dataclass(frozen=True)
class RpcStatistics:
    """Since the start: messages sent, streams opened for them; and the streams that are open for the next."""

    sent: int
    opened: int
    idle: int


class Rpc:
    """Sends requests over one protocol. Waits without end: cancel it when the answer comes too late."""

    def __init__(self, network: Network, protocol: str) -> None:
        self._network = network
        self._protocol = protocol
        self._idle: OrderedDict[PeerID, Stream] = OrderedDict()
        self._turns: dict[PeerID, trio.CapacityLimiter] = {}
        self._sent = self._opened = 0

    @asynccontextmanager
    async def turn(self, peer: PeerID) -> AsyncIterator[None]:
        """A place among what one peer gets at once: as many streams as it is sure to take."""
        turns = self._turns.get(peer)
        if turns is None:
            turns = self._turns[peer] = trio.CapacityLimiter(KAD_REQUESTS_PER_PEER)
        try:
            async with turns:
                yield
        finally:
            found = turns.statistics()
            if not found.borrowed_tokens and not found.tasks_waiting and self._turns.get(peer) is turns:
                del self._turns[peer]

    async def request(self, peer: PeerID, message: Message) -> Message:
        """The answer of a peer, which is dialled at its known addresses where it is not connected. Raises
        ``PeerUnreachable``, ``NotSupported``, ``StreamClosed``, ``ProtocolViolation``."""
        idle = self._idle.pop(peer, None)
        if idle is not None:
            try:
                return await self._ask(idle, message)
            except StreamClosed:  # it was closed while it lay idle, or just now: the peer itself may be well
                pass
        return await self._ask(await self._open(peer), message)

    async def send(self, peer: PeerID, messages: Iterable[Message]) -> None:
        """Send messages that have no answer, one after another on a stream of their own: nothing would tell that one
        which lay idle has been closed meanwhile. Raises as ``request``."""
        stream = await self._open(peer)
        try:
            for message in messages:  # encoded one by one: of a thousand others need the loop meanwhile
                await stream.write_message(encode(message))
                self._sent += 1
            await stream.close()
        except BaseException:
            stream.reset()
            raise

    async def _open(self, peer: PeerID) -> Stream:
        stream = await self._network.open_stream(peer, [self._protocol])
        self._opened += 1
        return stream

    async def _ask(self, stream: Stream, message: Message) -> Message:
        """One exchange; the stream is kept for the next where it went well."""
        try:
            await stream.write_message(encode(message))
            answer = await self._read(stream, message.type)
        except BaseException:
            stream.reset()
            raise
        self._sent += 1
        await self._keep(stream)
        return answer

    async def _read(self, stream: Stream, wanted: MessageType) -> Message:
        try:
            raw = await stream.read_message(KAD_MESSAGE_BYTES)
            if raw is None:
                raise StreamClosed(f"{stream.peer_id} closed the stream without an answer", peer=stream.peer_id)
            answer = decode(raw)
            if answer.type is not wanted:
                raise ProtocolViolation(f"{answer.type.name} is no answer to {wanted.name}", peer=stream.peer_id)
            return answer
        except ProtocolViolation as error:
            self._network.penalise(stream.peer_id, _VIOLATION, str(error))
            raise

    async def _keep(self, stream: Stream) -> None:
        if stream.peer_id in self._idle:
            await stream.close()
            return
        self._idle[stream.peer_id] = stream
        if len(self._idle) > KAD_IDLE_STREAMS:
            _peer, oldest = self._idle.popitem(last=False)
            await oldest.close()

    def watch(self) -> Callable[[], None]:
        """Forget the streams of peers that leave; returns what ends it."""
        return self._network.on_change(_nothing, self._forget)

    def _forget(self, peer: PeerID) -> None:
        self._idle.pop(peer, None)

    def close(self) -> None:
        """Drop the idle streams."""
        for stream in self._idle.values():
            stream.reset()
        self._idle.clear()

    def statistics(self) -> RpcStatistics:
        """The counts of this moment."""
        return RpcStatistics(self._sent, self._opened, len(self._idle))

    def __repr__(self) -> str:
        return f"<Rpc {self._protocol}, {len(self._idle)} idle streams>"


def _nothing(_peer: PeerID) -> None:
    pass
