"""One stream of a muxed connection: reading, writing and the choice of its protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import trio

from ipfs_kit_py.core import varint
from ipfs_kit_py.core.config import (
    STREAM_READ_ALL_BYTES,
    VIEW_HOLD_SECONDS,
    WRITE_COPY_BACKLOG_BYTES,
    WRITE_COPY_BYTES,
)
from ipfs_kit_py.core.errors import NotSupported, ProtocolViolation, StreamClosed
from ipfs_kit_py.net import multistream
from ipfs_kit_py.net.yamux_stream import Write

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.net.yamux import Yamux
    from ipfs_kit_py.net.yamux_stream import StreamState


class Owner(Protocol):
    """What a stream needs of its connection."""

    @property
    def peer_id(self) -> PeerID: ...
    @property
    def engine(self) -> Yamux: ...
    def wake_writer(self) -> None: ...
    def negotiated(self, stream: MuxedStream) -> None:
        """The stream's protocol is agreed on, or refused for good."""
        ...

    def dropped(self, stream: MuxedStream) -> None:
        """The stream was reset here."""
        ...


class MuxedStream:
    """A stream as ``core.interfaces.Stream``. Its protocol is negotiated as bytes come, in no task of its own."""

    __slots__ = ("_changed", "_negotiator", "_owner", "_prefix", "protocol", "refused", "state")

    def __init__(self, owner: Owner, state: StreamState, negotiator: multistream.Dialer | multistream.Listener) -> None:
        self._owner = owner
        self.state = state
        state.user = self
        self._changed = trio.lowlevel.ParkingLot()
        self._negotiator: multistream.Dialer | multistream.Listener | None = negotiator
        self._prefix = negotiator.take()  # leaves with the first bytes of the user, or when it waits for an answer
        self.protocol = negotiator.pending if isinstance(negotiator, multistream.Dialer) else ""
        self.refused = False

    @property
    def peer_id(self) -> PeerID:
        return self._owner.peer_id

    @property
    def outbound(self) -> bool:
        return self.state.outbound

    @property
    def is_negotiated(self) -> bool:
        """Whether the other side has agreed to the protocol, or refused all."""
        return self._negotiator is None

    @property
    def is_closed(self) -> bool:
        """Whether both sides have closed it, or either has reset it."""
        return self.state.gone

    # --- called by the connection -------------------------------------------------------------------------------------
    def on_readable(self) -> None:
        """Bytes or the end came."""
        if self._negotiator is not None:
            self._negotiate()
        self._changed.unpark_all()

    def on_reset(self) -> None:
        """The stream is gone."""
        self._changed.unpark_all()

    def _negotiate(self) -> None:
        state, negotiator = self.state, self._negotiator
        assert negotiator is not None
        try:
            while state.chunks and not negotiator.done:
                chunk = state.chunks.popleft()
                negotiator.receive(chunk)
                self._consumed(len(chunk) - len(negotiator.rest))
        except ProtocolViolation as error:
            self._fail(str(error))
            return
        if out := negotiator.take():
            self._send(Write((out,)))
        if not negotiator.done:
            if state.fin_received:
                self._fail("the stream ended before its protocol was agreed on")
            return
        if negotiator.rest:
            state.chunks.appendleft(negotiator.rest)
        self._negotiator = None
        self.protocol = negotiator.protocol or self.protocol
        if negotiator.protocol is None:
            self.refused = True
            self._fail(f"the remote does not speak {self.protocol}")
        self._owner.negotiated(self)

    def _fail(self, reason: str) -> None:
        self._owner.engine.reset(self.state, reason)
        self._owner.dropped(self)
        self.on_reset()

    async def wait_negotiated(self) -> None:
        """Wait until the other side has answered every proposal that it takes. ``StreamClosed``, ``NotSupported``."""
        self._send_prefix()
        while self._negotiator is not None:
            self._check()
            await self._changed.park()
        self._check()

    # --- reading ------------------------------------------------------------------------------------------------------
    def _check(self) -> None:
        state = self.state
        if not state.reset:
            return
        if self.refused:
            raise NotSupported(f"{self.peer_id} does not speak {self.protocol}")
        raise StreamClosed(f"the stream {self.protocol} to {self.peer_id} is closed: {state.reason}", peer=self.peer_id)

    async def _readable(self) -> bool:
        """Wait for bytes; false at the end."""
        await trio.lowlevel.checkpoint_if_cancelled()
        state = self.state
        while not state.chunks or self._negotiator is not None:
            self._check()
            if state.read_closed:
                raise StreamClosed(f"the stream {self.protocol} was closed here", peer=self.peer_id)
            if state.fin_received:
                return False
            self._send_prefix()
            await self._changed.park()
        return True

    def _consumed(self, size: int) -> None:
        if self._owner.engine.consumed(self.state, size, trio.current_time()):
            self._owner.wake_writer()

    def _take(self, size: int, parts: list[bytes | bytearray | memoryview]) -> int:
        """Move what has come, up to ``size`` bytes, to ``parts``."""
        chunks, taken = self.state.chunks, 0
        while chunks and taken < size:
            chunk = chunks.popleft()
            room = size - taken
            if len(chunk) > room:
                view = memoryview(chunk)
                chunks.appendleft(view[room:])
                chunk = view[:room]
            parts.append(chunk)
            taken += len(chunk)
        self._consumed(taken)
        return taken

    async def read(self, n: int | None = None) -> bytes:
        parts: list[bytes | bytearray | memoryview] = []
        if n is not None:
            if n > 0 and await self._readable():
                self._take(n, parts)
            return b"".join(parts)
        size = 0
        while await self._readable():
            size += self._take(STREAM_READ_ALL_BYTES + 1 - size, parts)
            if size > STREAM_READ_ALL_BYTES:
                raise ProtocolViolation(
                    f"{self.peer_id} sent more than {STREAM_READ_ALL_BYTES} bytes on {self.protocol} without an end",
                    peer=self.peer_id,
                )
        return b"".join(parts)

    async def read_exactly(self, n: int) -> bytearray:
        parts: list[bytes | bytearray | memoryview] = []
        left = n
        while left:
            if not await self._readable():
                raise StreamClosed(f"{self.protocol}: the stream ended {left} of {n} bytes early", peer=self.peer_id)
            left -= self._take(left, parts)
        return bytearray().join(parts)

    async def read_message(self, limit: int) -> bytearray | None:
        size = await self._read_length()
        if size is None:
            return None
        if size > limit:
            raise ProtocolViolation(
                f"{self.peer_id} announced a message of {size} bytes on {self.protocol}; at most {limit} are read",
                peer=self.peer_id,
            )
        return await self.read_exactly(size)

    async def _read_length(self) -> int | None:
        head = bytearray()
        while await self._readable():
            chunk = self.state.chunks[0]
            had = len(head)
            head += memoryview(chunk)[: varint.MAX_BYTES - had]
            try:
                size, end = varint.decode(head, strict=False)
            except IndexError:
                self._take(len(head) - had, [])
                continue
            except ValueError as error:
                raise ProtocolViolation(f"a message length on {self.protocol}: {error}", peer=self.peer_id) from None
            self._take(end - had, [])
            return size
        if head:
            raise StreamClosed(f"{self.protocol}: the stream ended within a message length", peer=self.peer_id)
        return None

    # --- writing ------------------------------------------------------------------------------------------------------
    def _send(self, write: Write) -> None:
        self._owner.engine.send(self.state, write, trio.current_time())
        self._owner.wake_writer()

    def _send_prefix(self) -> None:
        if self._prefix:
            prefix, self._prefix = self._prefix, b""
            self._send(Write((prefix,)))

    async def write(self, *parts: Buffer, release: Callable[[], None] | None = None) -> None:
        write = Write(parts, release)
        del parts  # after `release` nothing here may still refer to the caller's buffers
        await self._write(write)

    async def _write(self, write: Write) -> None:
        state = self.state
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            self._check()
            if state.fin_wanted:
                raise StreamClosed(f"the stream {self.protocol} was closed for writing", peer=self.peer_id)
        except BaseException:
            write.finish(dropped=True)
            raise
        small = write.left <= WRITE_COPY_BYTES and state.queued <= WRITE_COPY_BACKLOG_BYTES
        if small:
            write.copy()
        if self._prefix:
            write.put_first(self._prefix)
            self._prefix = b""
        if small:
            self._send(write)
            return
        sealed = trio.Event()
        write.wake = sealed.set
        self._send(write)
        await self._wait_sealed(write, sealed)

    async def _wait_sealed(self, write: Write, sealed: trio.Event) -> None:
        try:
            if write.holds:
                with trio.move_on_after(VIEW_HOLD_SECONDS):
                    await sealed.wait()
                if write.holds:
                    write.copy()
            await sealed.wait()
        except BaseException:
            if not write.done:
                self._fail("a write was cancelled")
            raise
        if write.dropped:
            self._check()
            raise StreamClosed(f"the stream {self.protocol} closed during a write", peer=self.peer_id)

    async def write_message(self, *parts: Buffer, release: Callable[[], None] | None = None) -> None:
        write = Write(parts, release)
        del parts
        write.put_first(varint.encode(write.left))
        await self._write(write)

    # --- the end ------------------------------------------------------------------------------------------------------
    async def close_write(self) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        self._finish()

    def _finish(self) -> None:
        if not self.state.gone and not self.state.fin_wanted:
            self._send_prefix()
            self._owner.engine.finish(self.state)
            self._owner.wake_writer()

    async def close(self) -> None:
        self.close_nowait()
        await trio.lowlevel.checkpoint_if_cancelled()

    def close_nowait(self) -> None:
        """Close both halves; what was written is still sent."""
        if self._prefix:  # nothing was sent yet: the remote need not hear of it
            self._prefix = b""
            self._fail("closed here")
            return
        self._finish()
        if not self.state.read_closed:
            self._owner.engine.close_read(self.state, trio.current_time())
            self._changed.unpark_all()

    def reset(self) -> None:
        self._fail("reset here")

    async def wait_reset(self) -> None:
        while not self.state.reset:
            await self._changed.park()

    def __repr__(self) -> str:
        return f"<MuxedStream {self.protocol or 'negotiating'} {'to' if self.outbound else 'from'} {self.peer_id}>"
