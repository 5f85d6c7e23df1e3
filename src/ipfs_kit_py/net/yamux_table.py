"""yamux's streams: which there are, how many more there may be, and what their windows add up to. Sans-I/O."""

from __future__ import annotations

from ipfs_kit_py.core.config import (
    YAMUX_ACCEPT_BACKLOG,
    YAMUX_INITIAL_WINDOW,
    YAMUX_MAX_CONNECTION_BUFFER,
    YAMUX_MAX_STREAMS_IN,
    YAMUX_MAX_WINDOW,
    YAMUX_RTT_FLOOR,
)
from ipfs_kit_py.core.errors import ProtocolViolation
from ipfs_kit_py.net.yamux_send import MAX_U32
from ipfs_kit_py.net.yamux_stream import Statistics, StreamState


class StreamTable:
    """The streams of one connection, from their opening until both sides have forgotten them.

    ``live`` has those with a number; ``closing`` those that are closed here and not yet by the remote, oldest first.
    ``unread`` is bytes received that nobody has read, ``stale_credit`` bytes that may still be on their way to streams
    that are gone.
    """

    __slots__ = ("_granted", "_inbound", "_next_id", "_unacked", "_unborn", "_waiting", "closing", "live",
                 "stale_credit", "unread")  # fmt: skip

    def __init__(self, *, client: bool) -> None:
        """``client`` is the side that dialled: its streams have odd numbers."""
        self.live: dict[int, StreamState] = {}
        self.closing: dict[StreamState, None] = {}
        self.unread = 0
        self.stale_credit = 0
        self._next_id = 1 if client else 2
        self._unborn: set[StreamState] = set()  # ours, before their first frame
        self._inbound = 0
        self._waiting = 0  # inbound, not accepted
        self._unacked = 0  # outbound, not acknowledged
        self._granted = 0  # bytes of all windows

    # --- from opening to end ------------------------------------------------------------------------------------------
    @property
    def can_open(self) -> bool:
        """Whether another stream may be opened now: the remote keeps a bounded number that it has not acknowledged."""
        return self._unacked < YAMUX_ACCEPT_BACKLOG

    def open(self, now: float) -> StreamState:
        """A stream of ours; it has no number before its first frame leaves."""
        stream = StreamState(0, outbound=True, now=now)
        self._unborn.add(stream)
        self._unacked += 1
        self._granted += stream.target
        return stream

    def born(self, stream: StreamState) -> None:
        """The first frame of a stream of ours leaves: from now on it has a number, and the numbers leave in order."""
        if self._next_id > MAX_U32:
            raise ProtocolViolation("the connection's stream numbers are used up")
        stream.id = self._next_id
        self._next_id += 2
        self._unborn.discard(stream)
        self.live[stream.id] = stream

    def acknowledged(self, stream: StreamState) -> None:
        """The remote knows of a stream of ours, or it is gone before that."""
        if stream.outbound and not stream.acked:
            stream.acked = True
            self._unacked -= 1

    def take_in(self, stream_id: int, now: float, *, closed: bool) -> StreamState | None:
        """The stream that the remote opens; ``None`` where we are ``closed``, or it has all it may have."""
        if stream_id % 2 == self._next_id % 2:
            raise ProtocolViolation(f"the remote opened the yamux stream {stream_id}, a number of ours")
        if stream_id in self.live:
            raise ProtocolViolation(f"the remote opened the yamux stream {stream_id} twice")
        if closed or self._inbound >= YAMUX_MAX_STREAMS_IN or self._waiting >= YAMUX_ACCEPT_BACKLOG:
            self.stale_credit += YAMUX_INITIAL_WINDOW
            return None
        stream = StreamState(stream_id, outbound=False, now=now)
        self.live[stream_id] = stream
        self._inbound += 1
        self._waiting += 1
        self._granted += stream.target
        return stream

    def accept(self, stream: StreamState) -> None:
        """The inbound stream has found its handler: it no longer counts as waiting."""
        if not stream.accepted and not stream.gone:
            stream.accepted = True
            self._waiting -= 1

    def forget(self, stream: StreamState) -> None:
        """Both sides are through with the stream, or it is reset."""
        if stream.gone:
            return
        stream.gone = True
        self._unborn.discard(stream)
        self.live.pop(stream.id, None)
        self.closing.pop(stream, None)
        self._granted -= stream.target
        self.stale_credit += stream.credit
        if stream.outbound:
            self.acknowledged(stream)
            return
        self._inbound -= 1
        if not stream.accepted:
            self._waiting -= 1

    # --- bytes --------------------------------------------------------------------------------------------------------
    def drop_unread(self, stream: StreamState) -> None:
        """What has come of the stream is not wanted."""
        self.unread -= stream.unread
        stream.unread = 0
        stream.chunks.clear()

    def greediest(self) -> StreamState | None:
        """The stream with most unread bytes, where all of them together have more than they may."""
        if self.unread <= YAMUX_MAX_CONNECTION_BUFFER:
            return None
        return max(self.live.values(), key=_unread)

    def widen(self, stream: StreamState, now: float, rtt: float | None) -> None:
        """Double the window where half of it was used up within four round trips by a reader that keeps up."""
        quick = now - stream.epoch <= 4 * max(rtt or 0.0, YAMUX_RTT_FLOOR)
        stream.epoch = now
        wider = min(stream.target * 2, YAMUX_MAX_WINDOW)
        more = wider - stream.target
        keeps_up, stream.kept_up = stream.kept_up, not stream.unread
        if quick and keeps_up and self._granted + more <= YAMUX_MAX_CONNECTION_BUFFER:
            stream.target = wider
            self._granted += more

    # --- looking ------------------------------------------------------------------------------------------------------
    def all(self) -> list[StreamState]:
        """Every stream, numbered or not."""
        return [*self.live.values(), *self._unborn]

    @property
    def is_finishing(self) -> bool:
        """Whether an inbound stream that the remote has ended is still being served."""
        return any(item.fin_received and not (item.outbound or item.fin_wanted) for item in self.live.values())

    def statistics(self, rtt: float | None) -> Statistics:
        """Counts as they are now; ``rtt`` in seconds."""
        outbound = len(self.live) + len(self._unborn) - self._inbound
        return Statistics(self._inbound, outbound, self._waiting, self.unread, self._granted, rtt)

    def __repr__(self) -> str:
        return f"<StreamTable {len(self.live)} live, {len(self._unborn)} unborn, {self.unread} bytes unread>"


def _unread(stream: StreamState) -> int:
    return stream.unread
