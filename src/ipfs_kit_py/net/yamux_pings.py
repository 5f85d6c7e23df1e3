"""yamux's pings: round trips measured, and whether the remote is still there. Sans-I/O."""

from __future__ import annotations

from ipfs_kit_py.core.config import YAMUX_PING_INTERVAL, YAMUX_PING_TIMEOUT

MAX_PINGS = 8  # of ours without an answer
_MAX_NUMBER = 0xFFFF_FFFF


class Pings:
    """Our pings that are under way. Times are seconds of one clock; ``rtt`` is smoothed, ``None`` before the first."""

    __slots__ = ("_due", "_next", "_sent", "heard_at", "rtt")

    def __init__(self, now: float) -> None:
        self._next = 1
        self._sent: dict[int, float] = {}
        self._due = now
        self.heard_at = now  # when anything last came from the remote
        self.rtt: float | None = None

    def start(self, now: float) -> int | None:
        """The number of a new ping, ``None`` where too many are under way."""
        if len(self._sent) >= MAX_PINGS:
            return None
        number, self._next = self._next, (self._next + 1) & _MAX_NUMBER
        self._sent[number] = now
        return number

    def start_if_due(self, now: float) -> int | None:
        """The number of the next regular ping, ``None`` before its time."""
        if now < self._due:
            return None
        self._due = now + YAMUX_PING_INTERVAL
        return self.start(now)

    def answered(self, number: int, now: float) -> float | None:
        """The round trip of a ping; ``None`` for an answer that nobody waits for."""
        sent = self._sent.pop(number, None)
        if sent is None:
            return None
        sample = now - sent
        self.rtt = sample if self.rtt is None else self.rtt + (sample - self.rtt) / 8
        return sample

    def _silent_since(self) -> float:
        """Since when the remote owes a sign of life; any byte is one."""
        return max(self.heard_at, next(iter(self._sent.values())))

    def deadline(self) -> float:
        """When the next ping is due, or the remote is dead."""
        if not self._sent:
            return self._due
        return min(self._due, self._silent_since() + YAMUX_PING_TIMEOUT)

    def is_dead(self, now: float) -> bool:
        """Whether a ping has waited too long for any sign of life."""
        return bool(self._sent) and now - self._silent_since() >= YAMUX_PING_TIMEOUT

    def __repr__(self) -> str:
        return f"<Pings {len(self._sent)} under way, rtt {self.rtt}>"
