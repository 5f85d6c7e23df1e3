"""yamux, the sending half: which frames leave next. Sans-I/O."""

from __future__ import annotations

import struct
from collections import deque
from typing import TYPE_CHECKING

from ipfs_kit_py.core.config import YAMUX_MAX_FRAME, YAMUX_QUANTUM

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipfs_kit_py.net.yamux_stream import StreamState, Write

DATA, WINDOW_UPDATE, PING, GO_AWAY = 0, 1, 2, 3
SYN, ACK, FIN, RST = 1, 2, 4, 8
HEADER = struct.Struct(">BBHII")  # version, type, flags, stream, length
HEADER_BYTES = HEADER.size
MAX_U32 = 0xFFFF_FFFF


class Outbox:
    """Control frames first, then window updates, then the streams that can send, each in its turn.

    ``born`` gives a stream of ours its number when its first frame leaves; ``ended`` is told of a stream whose end has
    left.
    """

    __slots__ = ("_born", "_control", "_ended", "_round", "_sealed", "updates")

    def __init__(self, born: Callable[[StreamState], None], ended: Callable[[StreamState], None]) -> None:
        self._born = born
        self._ended = ended
        self._control = bytearray()
        self._round: deque[StreamState] = deque()
        self._sealed: list[Write] = []
        self.updates: dict[StreamState, None] = {}  # streams whose window is to be opened again

    @property
    def waiting(self) -> bool:
        """Whether anything is to go."""
        return bool(self._control or self._round or self.updates)

    @property
    def control_bytes(self) -> int:
        """How much of what the remote has asked for still waits."""
        return len(self._control)

    def control(self, kind: int, flags: int, stream_id: int, value: int) -> None:
        """Queue a frame without payload."""
        self._control += HEADER.pack(0, kind, flags, stream_id, value)

    def ready(self, stream: StreamState) -> None:
        """Give the stream a turn if it can use one."""
        if not stream.ready and not stream.gone and stream.can_send:
            stream.ready = True
            self._round.append(stream)

    def clear(self) -> None:
        """Drop everything."""
        self._control.clear()
        self._round.clear()
        self.updates.clear()
        for write in self.take_sealed():
            write.finish(dropped=True)

    def take_sealed(self) -> list[Write]:
        """The writes whose last bytes the last ``gather`` returned."""
        sealed, self._sealed = self._sealed, []
        return sealed

    def gather(self, budget: int, now: float) -> list[bytes | memoryview]:
        """Whole frames of about ``budget`` payload bytes, as parts to be sealed one after another."""
        parts: list[bytes | memoryview] = []
        if self._control:
            parts.append(bytes(self._control))
            self._control.clear()
        if self.updates:
            self._gather_updates(parts)
        turns = self._round
        while turns and budget > 0:
            stream = turns.popleft()
            stream.ready = False
            if stream.can_send:
                budget -= self._frame(stream, budget if not turns else min(budget, YAMUX_QUANTUM), parts, now)
                self.ready(stream)
        return parts

    def _gather_updates(self, parts: list[bytes | memoryview]) -> None:
        for stream in self.updates:
            delta = stream.target - stream.unread - stream.credit
            if delta > 0 and stream.syn_sent:
                stream.credit += delta
                parts.append(HEADER.pack(0, WINDOW_UPDATE, self._opening_flags(stream), stream.id, delta))
        self.updates.clear()

    def _frame(self, stream: StreamState, room: int, parts: list[bytes | memoryview], now: float) -> int:
        """One DATA frame, at most ``room`` bytes of payload; returns what it takes of the budget."""
        size = min(stream.queued, stream.send_window, room, YAMUX_MAX_FRAME)
        last = stream.fin_wanted and size == stream.queued
        flags = self._opening_flags(stream) | (FIN if last and not size else 0)
        parts.append(HEADER.pack(0, DATA, flags, stream.id, size))
        stream.queued -= size
        stream.send_window -= size
        stream.progress_at = now
        left = size
        while left:
            write = stream.writes[0]
            left -= write.take(left, parts)
            if not write.left:
                stream.writes.popleft()
                self._sealed.append(write)
        if last:
            if size:  # in a frame of its own: js-libp2p ends the stream by the flags before it takes the bytes
                parts.append(HEADER.pack(0, DATA, FIN, stream.id, 0))
            stream.fin_sent = True
            self._ended(stream)
        return size + HEADER_BYTES

    def _opening_flags(self, stream: StreamState) -> int:
        """SYN on the first frame of a stream of ours, ACK on the first of the remote's."""
        if stream.outbound:
            if stream.syn_sent:
                return 0
            self._born(stream)
            stream.syn_sent = True
            return SYN
        if stream.acked:
            return 0
        stream.acked = True
        return ACK
