"""yamux: many streams over one connection, each with its own window. Sans-I/O.

The driver feeds what came to ``receive`` and takes what is to go from ``gather``. Streams belong to the engine
(``StreamState``); the driver reads their ``chunks`` and says how much with ``consumed``. Payloads are never joined or
cut more than frames ask for. What a peer may send is checked against its window before any of it is kept.

Source: libp2p/specs yamux/README.md (hashicorp/yamux spec.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipfs_kit_py.core.config import (
    WRITE_STALL_SECONDS,
    YAMUX_CLOSE_SECONDS,
    YAMUX_DISCARD_BYTES,
    YAMUX_MAX_CONTROL_BYTES,
    YAMUX_PING_TIMEOUT,
)
from ipfs_kit_py.core.errors import ProtocolViolation
from ipfs_kit_py.net.yamux_pings import Pings
from ipfs_kit_py.net.yamux_send import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    HEADER,
    HEADER_BYTES,
    MAX_U32,
    PING,
    RST,
    SYN,
    WINDOW_UPDATE,
    Outbox,
)
from ipfs_kit_py.net.yamux_stream import Event, Kind
from ipfs_kit_py.net.yamux_table import StreamTable

if TYPE_CHECKING:
    from ipfs_kit_py.net.yamux_stream import Statistics, StreamState, Write

__all__ = ["INTERNAL_ERROR", "NORMAL", "PROTOCOL", "PROTOCOL_ERROR", "Kind", "Yamux"]

PROTOCOL = "/yamux/1.0.0"
NORMAL, PROTOCOL_ERROR, INTERNAL_ERROR = 0, 1, 2


class Yamux:
    """One side of a connection."""

    def __init__(self, *, client: bool, now: float) -> None:
        """``client`` is the side that dialled: its streams have odd numbers."""
        self._table = StreamTable(client=client)
        self._events: list[Event] = []
        self._outbox = Outbox(self._table.born, self._settle)
        # receiving: a header that is not whole yet, or a payload that is not
        self._head = bytearray()
        self._left = 0
        self._sink: StreamState | None = None
        self._sink_fin = False
        # life
        self._pings = Pings(now)
        self.headers = 0  # frames received: what they cost, besides their bytes
        self.remote_gone = False
        self.remote_code = NORMAL
        self.local_gone = False

    # --- what came ----------------------------------------------------------------------------------------------------
    def receive(self, data: bytes, now: float) -> None:
        """Take in decrypted bytes, cut anywhere. ``ProtocolViolation`` ends the connection."""
        self._pings.heard_at = now
        at, end = 0, len(data)
        while at < end:
            if self._left:
                take = min(self._left, end - at)
                self._left -= take
                if self._sink is not None:
                    self._deliver(self._sink, data, at, take)
                at += take
                if not self._left and self._sink is not None and self._sink_fin:
                    self._finished(self._sink)
                continue
            if self._head or end - at < HEADER_BYTES:
                take = min(HEADER_BYTES - len(self._head), end - at)
                self._head += data[at : at + take]
                at += take
                if len(self._head) < HEADER_BYTES:
                    return
                header = HEADER.unpack(self._head)
                self._head.clear()
            else:
                header = HEADER.unpack_from(data, at)
                at += HEADER_BYTES
            self._on_header(*header)

    def take_events(self) -> list[Event]:
        """What has happened since the last call; at most one READABLE for each stream."""
        events, self._events = self._events, []
        for event in events:
            if event.kind is Kind.READABLE and event.stream is not None:
                event.stream.announced = False
        return events

    def _on_header(self, version: int, kind: int, flags: int, stream_id: int, length: int) -> None:
        self.headers += 1
        if version != 0:
            raise ProtocolViolation(f"a yamux frame of version {version}")
        if self._outbox.control_bytes > YAMUX_MAX_CONTROL_BYTES:
            raise ProtocolViolation("the remote asks for answers and does not read them")
        if kind in (DATA, WINDOW_UPDATE):
            self._on_stream_frame(kind, flags, stream_id, length)
        elif kind == PING:
            self._on_ping(flags, length)
        elif kind == GO_AWAY:
            self.remote_gone = True
            self.remote_code = length
        else:
            raise ProtocolViolation(f"a yamux frame of type {kind}")

    def _on_stream_frame(self, kind: int, flags: int, stream_id: int, length: int) -> None:
        if stream_id == 0:
            raise ProtocolViolation("a yamux stream frame without a stream")
        if flags & SYN:
            self._on_syn(stream_id)
        stream = self._table.live.get(stream_id)
        if stream is None:
            self._on_stale(kind, length)
            return
        if flags & ACK:
            self._table.acknowledged(stream)
        if kind == DATA:
            if length > stream.credit:
                raise ProtocolViolation(f"{length} bytes on a yamux stream whose window has {stream.credit}")
            stream.credit -= length
            self._left = length
            self._sink = stream
            self._sink_fin = bool(flags & FIN)
        elif stream.send_window + length > MAX_U32:
            raise ProtocolViolation("a yamux window beyond 32 bits")
        elif length:
            stream.send_window += length
            self._outbox.ready(stream)
        if flags & RST:
            self._remove(stream, "the remote reset the stream")
            self._events.append(Event(Kind.RESET, stream))
        elif stream.fin_received and length and kind == DATA:
            self.reset(stream, "bytes came after the end of the stream")
            self._events.append(Event(Kind.RESET, stream))
        elif flags & FIN and not (kind == DATA and length):
            self._finished(stream)

    def _on_syn(self, stream_id: int) -> None:
        stream = self._table.take_in(stream_id, self._pings.heard_at, closed=self.local_gone)
        if stream is None:
            self._outbox.control(WINDOW_UPDATE, RST, stream_id, 0)
        else:
            self._events.append(Event(Kind.OPENED, stream))

    def _on_stale(self, kind: int, length: int) -> None:
        """A frame for a stream that is gone: it may have been on its way. No more can have been than its window had."""
        if kind == DATA:
            if length > self._table.stale_credit:
                raise ProtocolViolation(f"{length} bytes for a yamux stream that is not open")
            self._table.stale_credit -= length
            self._left = length
            self._sink = None

    def _on_ping(self, flags: int, number: int) -> None:
        if flags & SYN:
            self._outbox.control(PING, ACK, 0, number)
        elif flags & ACK:
            seconds = self._pings.answered(number, self._pings.heard_at)
            if seconds is not None:
                self._events.append(Event(Kind.PONG, value=number, seconds=seconds))

    def _deliver(self, stream: StreamState, data: bytes, at: int, size: int) -> None:
        if stream.gone:
            return
        if stream.read_closed:
            stream.discarded += size
            if stream.discarded > YAMUX_DISCARD_BYTES:
                self.reset(stream, "nobody reads it any more")
            return
        stream.deliver(data, at, size)
        self._table.unread += size
        if not stream.announced:
            stream.announced = True
            self._events.append(Event(Kind.READABLE, stream))
        worst = self._table.greediest()
        if worst is not None:
            self.reset(worst, "too many bytes of this connection are unread")
            self._events.append(Event(Kind.RESET, worst))

    def _finished(self, stream: StreamState) -> None:
        if stream.gone or stream.fin_received:
            return
        stream.fin_received = True
        self._outbox.updates.pop(stream, None)
        if not stream.announced:
            stream.announced = True
            self._events.append(Event(Kind.READABLE, stream))
        self._settle(stream)

    @property
    def rtt(self) -> float | None:
        """Smoothed round trip in seconds."""
        return self._pings.rtt

    @property
    def unread(self) -> int:
        """Bytes received that nobody has read, of all streams."""
        return self._table.unread

    # --- commands -----------------------------------------------------------------------------------------------------
    @property
    def can_open(self) -> bool:
        """Whether another stream may be opened now: the remote keeps a bounded number that it has not acknowledged."""
        return self._table.can_open

    def open(self, now: float) -> StreamState:
        """A new stream; its first bytes open it at the remote."""
        return self._table.open(now)

    @property
    def is_finishing(self) -> bool:
        """Whether an inbound stream that the remote has ended is still being served."""
        return self._table.is_finishing

    def accept(self, stream: StreamState) -> None:
        """The inbound stream has found its handler: it no longer counts as waiting."""
        self._table.accept(stream)

    def send(self, stream: StreamState, write: Write, now: float) -> None:
        """Queue bytes behind those that wait already. On a stream that is gone they are dropped at once."""
        if stream.gone or stream.fin_wanted:
            write.finish(dropped=True)
            return
        if not write.left:
            write.finish()
            return
        if not stream.queued:
            stream.progress_at = now
        stream.writes.append(write)
        stream.queued += write.left
        self._outbox.ready(stream)

    def finish(self, stream: StreamState) -> None:
        """Half-close: after the queued bytes the remote reads an end."""
        stream.fin_wanted = True
        self._outbox.ready(stream)

    def close_read(self, stream: StreamState, now: float) -> None:
        """Nobody reads any more: what has come is dropped, and a little that may still come is taken and dropped."""
        stream.read_closed = True
        self._table.drop_unread(stream)
        self._outbox.updates.pop(stream, None)
        if not stream.gone and not stream.fin_received:
            stream.closed_at = now
            self._table.closing[stream] = None

    def reset(self, stream: StreamState, reason: str) -> None:
        """Drop the stream, both ways; the remote is told where it knows of it."""
        if stream.gone:
            self._table.drop_unread(stream)
            return
        if stream.id:
            self._outbox.control(WINDOW_UPDATE, RST, stream.id, 0)
        self._remove(stream, reason)

    def consumed(self, stream: StreamState, size: int, now: float) -> bool:
        """The driver took ``size`` bytes of the chunks. True where a window update is now waiting to go."""
        stream.unread -= size
        self._table.unread -= size
        if not stream.unread:
            stream.kept_up = True
        if stream.gone or stream.fin_received or stream.read_closed:
            return False
        if (stream.target - stream.unread - stream.credit) * 2 < stream.target:
            return False
        if stream not in self._outbox.updates:
            self._table.widen(stream, now, self.rtt)
            self._outbox.updates[stream] = None
        return True

    def ping(self, now: float) -> int | None:
        """Send a ping; its number, or ``None`` where too many are under way."""
        number = self._pings.start(now)
        if number is not None:
            self._outbox.control(PING, SYN, 0, number)
        return number

    def go_away(self, code: int) -> None:
        """Tell the remote that no more streams will be taken or opened; once."""
        if not self.local_gone:
            self.local_gone = True
            self._outbox.control(GO_AWAY, 0, 0, code)

    def close(self, reason: str) -> list[StreamState]:
        """The connection is gone: every stream is, and what waited to be sent is dropped. Returns the streams."""
        streams = self._table.all()
        for stream in streams:
            self._remove(stream, reason)
        self._outbox.clear()
        return streams

    # --- what is to go ------------------------------------------------------------------------------------------------
    @property
    def has_output(self) -> bool:
        """Whether ``gather`` would return something."""
        return self._outbox.waiting

    def gather(self, budget: int, now: float) -> list[bytes | memoryview]:
        """Whole frames of about ``budget`` payload bytes: first control, then each stream that can send in its turn.

        The parts are to be sealed in this order, before anything else; then ``take_sealed`` says what is finished.
        """
        return self._outbox.gather(budget, now)

    def take_sealed(self) -> list[Write]:
        """The writes whose last bytes the last ``gather`` returned."""
        return self._outbox.take_sealed()

    # --- ends ---------------------------------------------------------------------------------------------------------
    def _settle(self, stream: StreamState) -> None:
        """Forget a stream that both sides have closed."""
        if stream.fin_sent and stream.fin_received:
            self._forget(stream)

    def _remove(self, stream: StreamState, reason: str) -> None:
        stream.reset = True
        stream.reason = reason
        self._table.drop_unread(stream)
        self._forget(stream)
        writes = list(stream.writes)
        stream.writes.clear()
        stream.queued = 0
        for write in writes:
            write.finish(dropped=True)

    def _forget(self, stream: StreamState) -> None:
        self._outbox.updates.pop(stream, None)
        self._table.forget(stream)

    # --- time ---------------------------------------------------------------------------------------------------------
    def deadline(self) -> float:
        """When ``on_timeout`` has something to do."""
        due = self._pings.deadline()
        if self._table.closing:
            first = next(iter(self._table.closing)).closed_at
            due = min(due, (first or 0.0) + YAMUX_CLOSE_SECONDS)
        return due

    def on_timeout(self, now: float) -> str | None:
        """Ping, and reset streams that have waited too long; the reason where the remote is dead."""
        if self._pings.is_dead(now):
            return f"nothing was heard for {YAMUX_PING_TIMEOUT:.0f} s after a ping"
        number = self._pings.start_if_due(now)
        if number is not None:
            self._outbox.control(PING, SYN, 0, number)
        for stream in list(self._table.closing):
            if now - (stream.closed_at or 0.0) < YAMUX_CLOSE_SECONDS:
                break
            self.reset(stream, "the remote did not close it")
        self._reset_stalled(now)
        return None

    def _reset_stalled(self, now: float) -> None:
        waiting = [item for item in self._table.live.values() if item.queued]
        for stream in [item for item in waiting if now - item.progress_at >= WRITE_STALL_SECONDS]:
            self.reset(stream, f"the remote took nothing for {WRITE_STALL_SECONDS:.0f} s")
            self._events.append(Event(Kind.RESET, stream))

    def statistics(self) -> Statistics:
        """Counts as they are now."""
        return self._table.statistics(self.rtt)

    def __repr__(self) -> str:
        state = "gone" if self.local_gone or self.remote_gone else "open"
        return f"<Yamux {state}, {len(self._table.live)} streams, {self.unread} bytes unread, rtt {self.rtt}>"
