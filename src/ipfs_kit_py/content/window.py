"""How much of a DAG to ask for ahead of its reader: as much as comes while he waits for one block. Sans-I/O."""

from __future__ import annotations

from ipfs_kit_py.core.config import READ_AHEAD_LEAST_BYTES

_GAIN = 0.125  # of a new sample in what is measured
_SPARE = (
    4.0  # times what the measurement says: a window that fills the line, and one that finds out that it is too small
)
_INTERVAL = 0.05  # seconds between two samples of the rate, at least


class Window:
    """Bytes under way or held, from ``READ_AHEAD_LEAST_BYTES`` to ``most``.

    What comes in a second, no more than the reader takes, times the seconds that a block takes to come, is what has to
    be under way. A block of the store counts as one that comes at once: a long window over the store costs memory and
    brings nothing.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._least = min(READ_AHEAD_LEAST_BYTES, most)
        self._latency = 0.0
        self._rate: float | None = None
        self._came = 0  # bytes since then
        self._since: float | None = None
        self.bytes = self._least

    def on_block(self, size: int, waited: float | None, now: float) -> None:
        """A block of ``size`` bytes came: from the store (``None``), or after it was waited for so many seconds."""
        self._latency += _GAIN * ((waited or 0.0) - self._latency)
        self._came += size
        if self._since is None:
            self._since = now - (waited or 0.0)
        elif now - self._since >= _INTERVAL:
            rate = self._came / (now - self._since)
            self._rate = rate if self._rate is None else self._rate + _GAIN * (rate - self._rate)
            self._came, self._since = 0, now
        self._adapt()

    def _adapt(self) -> None:
        if self._rate is None:  # not measured yet: whoever waits at all may wait for long
            self.bytes = self._least if self._latency < _INTERVAL / 8 else self._most
        else:
            self.bytes = int(min(max(_SPARE * self._rate * self._latency, self._least), self._most))

    def __repr__(self) -> str:
        return f"<Window {self.bytes} bytes>"
