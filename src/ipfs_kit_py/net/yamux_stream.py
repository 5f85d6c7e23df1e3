"""What yamux keeps of one stream: bytes that came, bytes that wait to go, and both windows; and what it tells of them.

Sans-I/O."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from ipfs_kit_py.core.config import YAMUX_INITIAL_WINDOW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from typing_extensions import Buffer

# Pieces below this size are copied together, so that what is kept of them is not mostly bookkeeping and no small piece
# holds the large frame that it came in.
_COPY_BELOW = 4 * 1024
_TAIL_BYTES = 16 * 1024


class Kind(Enum):
    """What happened."""

    OPENED = "opened"  # by the remote
    READABLE = "readable"  # bytes or the end came
    RESET = "reset"  # by the remote, or because of what it did
    PONG = "pong"


class Event(NamedTuple):
    """``value`` is the number of a ping, ``seconds`` its round trip."""

    kind: Kind
    stream: StreamState | None = None
    value: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Statistics:
    """Counts of streams, and bytes received that nobody has read yet."""

    inbound: int
    outbound: int
    waiting: int
    unread: int
    granted: int
    rtt: float | None


class Write:
    """Bytes that a caller wants sent, in the order of its parts, without joining them.

    ``release`` is called exactly once, when the caller's buffers are no longer referenced. ``done`` is true once every
    byte was handed out to be sealed, ``dropped`` once the rest never will be; ``wake`` is called at either.
    """

    __slots__ = ("_release", "done", "dropped", "left", "views", "wake")

    def __init__(self, parts: Iterable[Buffer], release: Callable[[], None] | None = None) -> None:
        self.views = deque(view for part in parts if (view := _bytes_view(part)).nbytes)
        self.left = sum(view.nbytes for view in self.views)
        self._release = release
        self.done = False
        self.dropped = False
        self.wake: Callable[[], None] | None = None

    @property
    def holds(self) -> bool:
        """Whether the caller's buffers are referenced and it wants to know when they no longer are."""
        return self._release is not None

    def copy(self) -> None:
        """Keep a copy of what is left and let go of the caller's buffers."""
        joined = memoryview(b"".join(self.views))
        self.views.clear()
        if joined.nbytes:
            self.views.append(joined)
        self._let_go()

    def put_first(self, data: bytes) -> None:
        """Send ``data`` before everything else of this write."""
        self.views.appendleft(memoryview(data))
        self.left += len(data)

    def take(self, size: int, parts: list[bytes | memoryview]) -> int:
        """Move up to ``size`` bytes to ``parts``; returns how many."""
        taken = 0
        views = self.views
        while taken < size and views:
            view = views.popleft()
            room = size - taken
            if view.nbytes > room:
                views.appendleft(view[room:])
                view = view[:room]
            parts.append(view)
            taken += view.nbytes
        self.left -= taken
        return taken

    def finish(self, *, dropped: bool = False) -> None:
        """Nothing of this is needed any more: all of it is sealed, or the stream is gone."""
        self.views.clear()
        self.done = not dropped
        self.dropped = dropped
        self._let_go()
        if self.wake is not None:
            self.wake()

    def _let_go(self) -> None:
        release, self._release = self._release, None
        if release is not None:
            release()


def _bytes_view(part: Buffer) -> memoryview:
    view = memoryview(part)
    return view if view.format == "B" and view.ndim == 1 and view.contiguous else view.cast("B")


class StreamState:
    """One stream. The engine alone changes what is not said to be the driver's."""

    __slots__ = (
        "accepted", "acked", "announced", "chunks", "closed_at", "credit", "discarded", "epoch", "fin_received",
        "fin_sent", "fin_wanted", "gone", "id", "kept_up", "outbound", "progress_at", "queued", "read_closed",
        "ready", "reason", "reset", "send_window", "syn_sent", "target", "unread", "user", "writes",
    )  # fmt: skip

    def __init__(self, stream_id: int, *, outbound: bool, now: float) -> None:
        self.id = stream_id  # 0 for one of ours whose first frame has not left
        self.outbound = outbound
        self.user: Any = None  # the driver's
        # receiving
        self.chunks: deque[bytes | bytearray | memoryview] = deque()  # the driver takes from the left, then `consumed`
        self.unread = 0  # bytes in chunks
        self.credit = YAMUX_INITIAL_WINDOW  # bytes that the remote may still send
        self.target = YAMUX_INITIAL_WINDOW  # the window that we keep open
        self.epoch = now  # when the window was last opened again
        self.kept_up = True  # whether the reader has been through with all that came since then
        self.fin_received = False
        self.read_closed = False  # nobody will read what still comes
        self.discarded = 0
        self.announced = False
        # sending
        self.writes: deque[Write] = deque()
        self.queued = 0  # bytes in writes
        self.send_window = YAMUX_INITIAL_WINDOW
        self.fin_wanted = False
        self.fin_sent = False
        self.syn_sent = not outbound
        self.acked = False
        self.accepted = outbound
        self.ready = False  # in the engine's round
        self.progress_at = now  # when bytes last left, or the first began to wait
        # the end
        self.reset = False
        self.reason = ""
        self.gone = False  # no longer known to the engine
        self.closed_at: float | None = None

    def deliver(self, data: bytes, start: int, size: int) -> None:
        """Keep ``size`` bytes of ``data``; without a copy where they are most of it."""
        self.unread += size
        if size == len(data):
            if size >= _COPY_BELOW:
                self.chunks.append(data)
                return
        elif size * 2 >= len(data) and size >= _COPY_BELOW:
            self.chunks.append(memoryview(data)[start : start + size])
            return
        last = self.chunks[-1] if self.chunks else None
        if type(last) is bytearray and len(last) < _TAIL_BYTES:
            last += memoryview(data)[start : start + size]
        else:
            self.chunks.append(bytearray(memoryview(data)[start : start + size]))

    @property
    def can_send(self) -> bool:
        """Whether a frame of this stream could leave now."""
        if self.reset or self.fin_sent:
            return False
        return self.send_window > 0 if self.queued else self.fin_wanted

    def __repr__(self) -> str:
        state = (
            "reset" if self.reset else f"{'in' if self.fin_received else ''}{'out' if self.fin_sent else ''}" or "open"
        )
        return (
            f"<StreamState {self.id} {state}, {self.unread} unread, {self.credit} of {self.target} to come, "
            f"{self.queued} to go, window {self.send_window}>"
        )
