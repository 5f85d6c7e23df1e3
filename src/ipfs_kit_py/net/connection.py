"""One authenticated connection with many streams: one task reads, one writes, one keeps the time.

The reader never waits for a stream: what a stream may hold is bounded by its window. The writer seals whole yamux
frames of all streams in turn into one buffer, so that whatever is cancelled, no frame is ever torn. A failing or
hostile stream costs itself; a failing or hostile connection costs itself.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from ipfs_kit_py.core.config import (
    CLOSE_SECONDS,
    LINGER_SECONDS,
    NEGOTIATE_SECONDS,
    READ_BUFFER_MIN,
    REMEMBERED_PROTOCOLS,
    SEND_BATCH_BYTES,
    SLOW_BATCH_BYTES,
    SMALL_READ_BYTES,
    SMALL_READS,
    TICK_SECONDS,
    WRITE_STALL_SECONDS,
    YAMUX_ACCEPT_BACKLOG,
    YAMUX_MAX_STREAMS_IN,
    YIELD_AFTER_FRAMES,
)
from ipfs_kit_py.core.errors import NotSupported, PeerError, ProtocolViolation, StreamClosed, TimedOut
from ipfs_kit_py.net import multistream, yamux
from ipfs_kit_py.net.buffers import buffer, resized
from ipfs_kit_py.net.secure import SecureConnection, secure
from ipfs_kit_py.net.stream import MuxedStream
from ipfs_kit_py.net.yamux import Kind, Yamux

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.core.interfaces import Stream
    from ipfs_kit_py.crypto.keys import PublicKey
    from ipfs_kit_py.net.yamux_stream import StreamState

    StreamHandler = Callable[[Stream], Awaitable[None]]

__all__ = ["ConnectionStatistics", "MuxedConnection", "SecureConnection", "secure"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ConnectionStatistics:
    """Open streams each way, sealed bytes each way since the start, unread bytes now, round trip in seconds."""

    inbound: int
    outbound: int
    bytes_in: int
    bytes_out: int
    unread: int
    rtt: float | None


class MuxedConnection:
    """A connection as ``core.interfaces.Connection``. ``run`` is its whole life; nothing moves without it."""

    def __init__(self, secured: SecureConnection, *, handler_for: Callable[[str], StreamHandler | None]) -> None:
        """``handler_for`` names who serves an inbound stream of a protocol, ``None`` where nobody does."""
        now = trio.current_time()
        self._raw = secured.raw
        self._secured: SecureConnection | None = secured  # until the reader has taken what came with the handshake
        self._session = secured.session
        self._handler_for = handler_for
        self.peer_id: PeerID = secured.peer_id
        self.remote_public_key: PublicKey = secured.remote_public_key
        self.outbound = secured.outbound
        self.remote_address: str = secured.raw.remote_address
        self.local_address: str = secured.raw.local_address
        self.engine = Yamux(client=secured.outbound, now=now)
        self.bytes_in = self.bytes_out = 0
        self.last_active = now  # trio's clock, seconds; bytes of streams or of anything else
        self.closed_because: str | None = None
        self._nursery: trio.Nursery | None = None
        self._writer_idle = trio.lowlevel.ParkingLot()
        self._openers = trio.lowlevel.ParkingLot()
        self._closing = False
        self._drained = trio.Event()
        self._closed = trio.Event()
        self._pongs: dict[int, tuple[trio.Event, list[float]]] = {}
        self._spoken: dict[str, None] = {}  # protocols that the remote has agreed to, the latest last
        self._negotiating: dict[MuxedStream, float] = {}  # inbound, each with its deadline; the oldest first
        self._serving = 0  # handlers that run
        self._handler_ended = trio.lowlevel.ParkingLot()
        self._sending_since: float | None = None

    # --- life ---------------------------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Carry the connection until either side closes it. Never raises for what the remote does."""
        if self._nursery is not None:
            raise RuntimeError("a connection runs once")
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                if self._closed.is_set():
                    return
                nursery.start_soon(self._guard, self._write_loop)
                nursery.start_soon(self._guard, self._read_loop)
                nursery.start_soon(self._guard, self._keep_time)
        finally:
            self._stop("the connection was cancelled")
            with trio.CancelScope(shield=True):
                await self._raw.aclose()

    async def _guard(self, loop: Callable[[], Awaitable[None]]) -> None:
        """Run one of the loops; its end is the connection's."""
        try:
            await loop()
        except ProtocolViolation as error:
            log.info("closing the connection to %s: %s", self.peer_id, error)
            await self._shut(yamux.PROTOCOL_ERROR, str(error))
        except PeerError as error:
            self._stop(str(error))
        except Exception:
            log.exception("closing the connection to %s after an error of our own", self.peer_id)
            await self._shut(yamux.INTERNAL_ERROR, "an internal error")

    def _stop(self, reason: str) -> None:
        if self._closed.is_set():
            return
        self.closed_because = reason
        self._closed.set()
        for state in self.engine.close(reason):
            if state.user is not None:  # none where the stream came with the frame that ended the connection
                self._stream_of(state).on_reset()
        self._openers.unpark_all()
        for event, _result in self._pongs.values():
            event.set()
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    async def close(self) -> None:
        """Say goodbye, send for up to ``CLOSE_SECONDS`` what still waits, and close. Idempotent."""
        await self._shut(yamux.NORMAL, "closed here")

    async def _shut(self, code: int, reason: str) -> None:
        if not self._closed.is_set():
            self.engine.go_away(code)
            self._closing = True
            if self._nursery is not None:
                self.wake_writer()
                with trio.move_on_after(CLOSE_SECONDS) as scope:
                    scope.shield = True
                    await self._drained.wait()
            self._stop(reason)
        with trio.CancelScope(shield=True):
            await self._raw.aclose()

    async def wait_closed(self) -> None:
        """Return once the connection is closed by either side."""
        await self._closed.wait()

    @property
    def is_closed(self) -> bool:
        return self._closed.is_set()

    @property
    def is_closing(self) -> bool:
        """Whether no more streams can be opened: either side has said goodbye, or it is closed."""
        return self._closing or self.engine.remote_gone or self._closed.is_set()

    @property
    def rtt(self) -> float | None:
        return self.engine.rtt

    def statistics(self) -> ConnectionStatistics:
        """Counts as they are now."""
        inner = self.engine.statistics()
        return ConnectionStatistics(
            inner.inbound, inner.outbound, self.bytes_in, self.bytes_out, inner.unread, inner.rtt
        )

    # --- streams ------------------------------------------------------------------------------------------------------
    async def open_stream(self, protocols: Sequence[str], *, known: Collection[str] | None = None) -> MuxedStream:
        """A stream that speaks the first of ``protocols`` that the remote supports.

        Where one of them is in ``known`` (what identify has told) or was agreed to before, the stream is returned at
        once and the proposal leaves with its first bytes; should the remote refuse after all, reading and writing raise
        ``NotSupported``. Otherwise one round trip for each proposal; ``NotSupported`` where all are refused,
        ``StreamClosed`` where the connection ends, ``TimedOut`` after ``NEGOTIATE_SECONDS``.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        with trio.move_on_after(NEGOTIATE_SECONDS):
            while not (self.engine.can_open or self._closed.is_set()):
                await self._openers.park()
        if self.is_closing:
            why = self.closed_because or "it is closing"
            raise StreamClosed(f"the connection to {self.peer_id} is closed: {why}", peer=self.peer_id)
        if not self.engine.can_open:
            raise TimedOut(f"{self.peer_id} has not acknowledged {YAMUX_ACCEPT_BACKLOG} streams opened before")
        sure = next((name for name in protocols if name in self._spoken or (known and name in known)), None)
        dialer = multistream.Dialer([sure] if sure else protocols)
        stream = MuxedStream(self, self.engine.open(trio.current_time()), dialer)
        if sure is None:
            await self._negotiate(stream, protocols)
        return stream

    async def _negotiate(self, stream: MuxedStream, protocols: Sequence[str]) -> None:
        try:
            with trio.move_on_after(NEGOTIATE_SECONDS):
                await stream.wait_negotiated()
                return
        except NotSupported:
            raise NotSupported(f"{self.peer_id} speaks none of {', '.join(protocols)}") from None
        except trio.Cancelled:
            stream.reset()
            raise
        stream.reset()
        raise TimedOut(f"{self.peer_id} did not answer the choice of {protocols[0]} within {NEGOTIATE_SECONDS:.0f} s")

    def negotiated(self, stream: MuxedStream) -> None:
        """A stream's protocol is agreed on or refused: remember it, and serve the stream if it is inbound."""
        if stream.refused:
            self._spoken.pop(stream.protocol, None)
        elif stream.outbound:
            self._spoken.pop(stream.protocol, None)
            self._spoken[stream.protocol] = None
            if len(self._spoken) > REMEMBERED_PROTOCOLS:
                del self._spoken[next(iter(self._spoken))]
        elif self._nursery is not None:
            self._negotiating.pop(stream, None)
            handler = self._handler_for(stream.protocol)
            if (
                handler is None or self._serving >= YAMUX_MAX_STREAMS_IN
            ):  # gone since, or handlers outlive their streams
                stream.reset()
                return
            self.engine.accept(stream.state)
            self._serving += 1
            self._nursery.start_soon(self._serve, stream, handler)

    async def _serve(self, stream: MuxedStream, handler: StreamHandler) -> None:
        """One inbound stream's life: whatever the handler raises costs this stream alone."""
        try:
            await handler(stream)
        except* (PeerError, TimedOut) as group:
            log.debug("%s from %s ended: %s", stream.protocol, self.peer_id, group.exceptions)
            stream.reset()
        except* Exception:
            log.exception("the handler of %s failed on a stream of %s", stream.protocol, self.peer_id)
            stream.reset()
        finally:
            self._serving -= 1
            stream.close_nowait()
            self._handler_ended.unpark_all()

    def dropped(self, stream: MuxedStream) -> None:
        """A stream was reset here; the remote is to hear of it."""
        self._negotiating.pop(stream, None)
        self.wake_writer()

    async def ping(self) -> float:
        """One round trip in seconds. ``StreamClosed`` where the connection ends first."""
        number = None if self._closed.is_set() else self.engine.ping(trio.current_time())
        if number is None:
            raise StreamClosed(f"no ping to {self.peer_id}: closed, or too many under way", peer=self.peer_id)
        event, result = self._pongs[number] = (trio.Event(), [])
        self.wake_writer()
        try:
            await event.wait()
        finally:
            del self._pongs[number]
        if not result:
            raise StreamClosed(f"the connection to {self.peer_id} closed during a ping", peer=self.peer_id)
        return result[0]

    # --- writing ------------------------------------------------------------------------------------------------------
    def wake_writer(self) -> None:
        """There may be something to send."""
        self._writer_idle.unpark_all()

    async def _write_loop(self) -> None:
        engine, session, raw = self.engine, self._session, self._raw
        out, small_writes = buffer(SMALL_READ_BYTES), 0
        budget = SEND_BATCH_BYTES
        while True:
            if not engine.has_output:
                if self._closing:
                    self._drained.set()
                await self._writer_idle.park()
                continue
            now = trio.current_time()
            parts = engine.gather(budget, now)
            need = session.sealed_size(parts)
            small_writes = small_writes + 1 if need <= SMALL_READ_BYTES else 0
            if len(out) < need or (small_writes > SMALL_READS and len(out) > SMALL_READ_BYTES):
                out = buffer(max(SMALL_READ_BYTES, 1 << need.bit_length()))
            used = session.seal(parts, out)
            parts.clear()
            for write in engine.take_sealed():
                write.finish()
            self._sending_since = now
            await raw.send_all(out[:used])
            self._sending_since = None
            self.bytes_out += used
            slow = trio.current_time() - now > 1.0
            budget = SLOW_BATCH_BYTES if slow else SEND_BATCH_BYTES

    # --- reading ------------------------------------------------------------------------------------------------------
    async def _read_loop(self) -> None:
        engine, session, receive_into = self.engine, self._session, self._raw.receive_into
        secured, self._secured = self._secured, None
        assert secured is not None
        data = buffer(max(READ_BUFFER_MIN, len(secured.sealed)))
        data[: len(secured.sealed)] = secured.sealed
        have, small_reads = len(secured.sealed), 0
        if secured.plain:
            engine.receive(secured.plain, trio.current_time())
            self._dispatch()
        while True:
            plains, used = session.open(data, have)
            now = trio.current_time()
            for plain in plains:
                engine.receive(plain, now)
                if engine.headers > YIELD_AFTER_FRAMES:
                    engine.headers = 0
                    self._dispatch()
                    await trio.lowlevel.checkpoint()
            engine.headers = 0
            have -= used
            if used:
                self.last_active = now
                self._dispatch()
            data, small_reads = resized(data, used, have, small_reads)
            count = await receive_into(data[have:])
            if not count:
                await self._linger()
                raise StreamClosed(f"{self.peer_id} closed the connection", peer=self.peer_id)
            self.bytes_in += count
            have += count

    async def _linger(self) -> None:
        """The remote is gone; what it has said to the end before may still be being read."""
        self._closing = True
        with trio.move_on_after(LINGER_SECONDS):
            while self.engine.is_finishing:
                await self._handler_ended.park()

    def _dispatch(self) -> None:
        """Pass on what the last bytes have brought."""
        engine = self.engine
        for event in engine.take_events():
            kind, state = event.kind, event.stream
            if kind is Kind.READABLE and state is not None:
                self._stream_of(state).on_readable()
            elif kind is Kind.OPENED and state is not None:
                stream = MuxedStream(self, state, multistream.Listener(self._supports))
                self._negotiating[stream] = trio.current_time() + NEGOTIATE_SECONDS
            elif kind is Kind.RESET and state is not None:
                self._negotiating.pop(self._stream_of(state), None)
                self._stream_of(state).on_reset()
            elif kind is Kind.PONG and event.value in self._pongs:
                done, result = self._pongs[event.value]
                result.append(event.seconds)
                done.set()
        if engine.remote_gone:
            self._on_go_away()
        if self._openers and engine.can_open:
            self._openers.unpark_all()
        if engine.has_output:
            self.wake_writer()

    def _on_go_away(self) -> None:
        """The remote takes no more streams; those that are open may end."""
        counts, code = self.engine.statistics(), self.engine.remote_code
        if code != yamux.NORMAL or not counts.inbound + counts.outbound:
            raise StreamClosed(f"{self.peer_id} closed the connection (code {code})", peer=self.peer_id)

    def _supports(self, protocol: str) -> bool:
        return self._handler_for(protocol) is not None

    @staticmethod
    def _stream_of(state: StreamState) -> MuxedStream:
        stream: MuxedStream = state.user
        return stream

    # --- time ---------------------------------------------------------------------------------------------------------
    async def _keep_time(self) -> None:
        while True:
            now = trio.current_time()
            dead = self.engine.on_timeout(now)
            if dead is not None:
                raise StreamClosed(f"{self.peer_id}: {dead}", peer=self.peer_id)
            if self._sending_since is not None and now - self._sending_since >= WRITE_STALL_SECONDS:
                raise StreamClosed(f"{self.peer_id} took nothing for {WRITE_STALL_SECONDS:.0f} s", peer=self.peer_id)
            for stream in [late for late, due in self._negotiating.items() if due <= now]:
                stream.reset()
            self._dispatch()
            await trio.sleep_until(max(now + 0.01, min(self.engine.deadline(), now + TICK_SECONDS)))
