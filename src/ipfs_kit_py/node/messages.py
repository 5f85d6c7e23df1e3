"""Messages between kits, and content made on demand: two small protocols of our own over authenticated streams.

``/ipfs-kit/message/1.0.0``: the request until the half-close, then the reply until the close.
``/ipfs-kit/ready/1.0.0``: a CID as one varint-framed text; the answer is one byte, 1 when the content is here now.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import trio

from ipfs_kit_py.core.cid import CID, MAX_CID_BYTES
from ipfs_kit_py.core.config import MESSAGE_READ_SECONDS, MESSAGES_AT_ONCE, MESSAGES_PER_PEER
from ipfs_kit_py.core.errors import NotFound, ProtocolViolation
from ipfs_kit_py.storage import threads
from ipfs_kit_py.storage.threads import Pool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.core.interfaces import Network, Stream

    MessageHandler = Callable[[str, bytes], bytes | Awaitable[bytes | None] | None]

MESSAGE = "/ipfs-kit/message/1.0.0"
READY = "/ipfs-kit/ready/1.0.0"


class Messages:
    """Both protocols on one network. ``make_ready(cid)`` makes content available and says whether it is."""

    def __init__(self, network: Network, make_ready: Callable[[CID], Awaitable[bool]]) -> None:
        self._network = network
        self._make_ready = make_ready
        self._handler: MessageHandler | None = None
        self._places = trio.CapacityLimiter(MESSAGES_AT_ONCE)
        self._places_of: dict[PeerID, trio.CapacityLimiter] = {}
        network.set_handler(READY, self._serve_ready)

    def on_message(self, handler: MessageHandler | None) -> None:
        """Answer messages with ``handler``; ``None`` takes none any more."""
        self._handler = handler
        if handler is None:
            self._network.remove_handler(MESSAGE)
        else:
            self._network.set_handler(MESSAGE, self._serve_message)

    async def send(self, peer: PeerID, data: bytes) -> bytes:
        """Send a message and read the reply; ``NotSupported`` where the peer takes none."""
        stream = await self._network.open_stream(peer, [MESSAGE])
        try:
            await stream.write(data)
            await stream.close_write()
            reply = await stream.read()
        except BaseException:
            stream.reset()
            raise
        await stream.close()
        return reply

    async def _serve_message(self, stream: Stream) -> None:
        """Read and answer in turn: until then what was sent stays in the stream's window."""
        own = self._places_of.setdefault(stream.peer_id, trio.CapacityLimiter(MESSAGES_PER_PEER))
        try:
            async with own, self._places:
                await self._answer(stream)
        finally:
            counts = own.statistics()
            if not counts.borrowed_tokens and not counts.tasks_waiting:
                self._places_of.pop(stream.peer_id, None)

    async def _answer(self, stream: Stream) -> None:
        data = None
        with trio.move_on_after(MESSAGE_READ_SECONDS):
            data = await stream.read()
        handler = self._handler
        if handler is None or data is None:
            stream.reset()
            return
        peer = str(stream.peer_id)
        if inspect.iscoroutinefunction(handler):
            reply = await handler(peer, data)
        else:
            reply = await threads.run(Pool.USER, handler, peer, data)
            if inspect.isawaitable(reply):
                reply = await reply
        if reply:
            await stream.write(reply)
        await stream.close()

    async def request_ready(self, peer: PeerID, cid: CID) -> None:
        """Ask a peer to make content available; ``NotFound`` where it cannot."""
        stream = await self._network.open_stream(peer, [READY])
        try:
            await stream.write_message(cid.raw)
            answer = await stream.read(1)
        finally:
            stream.reset()
        if answer != b"\x01":
            raise NotFound(f"peer {peer} does not have {cid} and cannot make it", cid=cid)

    async def _serve_ready(self, stream: Stream) -> None:
        raw = await stream.read_message(MAX_CID_BYTES)
        if raw is None:
            raise ProtocolViolation("a request without a CID", peer=stream.peer_id)
        ready = await self._make_ready(CID.from_bytes(raw))
        await stream.write(b"\x01" if ready else b"\x00")
        await stream.close()
