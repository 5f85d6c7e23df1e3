"""What is measured of one peer that we ask: latency, throughput, what is under way, and how long to wait for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipfs_kit_py.bitswap.wantlist import Wantlist
from ipfs_kit_py.core.config import SESSION_WINDOW_MAX, SESSION_WINDOW_MIN, WANT_TIMEOUT_MAX, WANT_TIMEOUT_MIN

if TYPE_CHECKING:
    from ipfs_kit_py.core.cid import CID, PeerID

FIRST_WINDOW = 4 << 20  # before anything was measured: two of the largest blocks
DEFAULT_LATENCY = 0.1  # seconds, before anything was measured; a timeout is a multiple of it
DEFAULT_THROUGHPUT = 2e6  # bytes a second, likewise
TIMEOUT_LATENCIES = 8.0  # round trips of silence before a peer counts as not having a block
WINDOW_SECONDS = 0.25  # a window holds what a peer delivers in its latency and so long
_GAIN = 0.25  # weight of the newest measurement


class Asked:
    """A block that was asked of a peer: what it is expected to weigh and when to stop waiting."""

    __slots__ = ("expires", "extended", "sent", "size")

    def __init__(self, size: int, sent: float, expires: float) -> None:
        self.size = size
        self.sent = sent
        self.expires = expires
        self.extended = 0


class Peer:
    """A connected peer as the client sees it. ``has_presences``: it speaks 1.2.0."""

    def __init__(self, peer: PeerID, *, has_presences: bool) -> None:
        self.id = peer
        self.has_presences = has_presences
        self.wantlist = Wantlist()
        self.asked: dict[CID, Asked] = {}
        self.outstanding = 0  # bytes
        self.latency: float | None = None
        self.throughput: float | None = None
        self.window = FIRST_WINDOW
        self.delivered = 0  # blocks
        self.timeouts = 0  # in a row
        self.last_heard = 0.0
        self._busy_since = 0.0

    def room(self, size: int) -> bool:
        """Whether so many bytes more may be asked for."""
        return not self.asked or self.outstanding + size <= self.window

    def expected_seconds(self, size: int) -> float:
        """How long a block of ``size`` bytes would take if it were asked for now."""
        rate = self.throughput or DEFAULT_THROUGHPUT
        penalty = float(1 << min(self.timeouts, 10))
        return ((self.latency or DEFAULT_LATENCY) + (self.outstanding + size) / rate) * penalty

    def timeout(self) -> float:
        """Seconds of silence after which what was asked counts as not there."""
        latency = self.latency if self.latency is not None else 10 * DEFAULT_LATENCY
        queued = self.outstanding / (self.throughput or DEFAULT_THROUGHPUT)
        return min(max(TIMEOUT_LATENCIES * latency + 2 * queued, WANT_TIMEOUT_MIN), WANT_TIMEOUT_MAX)

    def ask(self, cid: CID, size: int, priority: int, now: float) -> None:
        """A block is asked of this peer."""
        if not self.asked:
            self._busy_since = now
        self.outstanding += size
        self.asked[cid] = Asked(size, now, now + self.timeout())
        self.wantlist.want(cid, block=True, priority=priority)

    def release(self, cid: CID) -> Asked | None:
        """A block is no longer waited for here."""
        found = self.asked.pop(cid, None)
        if found is not None:
            self.outstanding -= found.size
        return found

    def received(self, cid: CID, size: int, now: float) -> None:
        """The peer delivered a block."""
        asked = self.release(cid)
        self.wantlist.forget(cid)
        self.delivered += 1
        self.timeouts = 0
        self.last_heard = now
        if asked is None:
            return
        waited = max(now - asked.sent, 1e-6)
        if self.latency is None or waited < self.latency:
            self.latency = waited  # the best seen: later ones waited behind other blocks
        else:
            self.latency += 0.02 * (waited - self.latency) if not self.asked else 0.0
        busy = max(now - self._busy_since, 1e-6)
        rate = size / busy
        self._busy_since = now
        self.throughput = rate if self.throughput is None else self.throughput + _GAIN * (rate - self.throughput)
        target = int(self.throughput * (self.latency + WINDOW_SECONDS))
        if self.outstanding < self.window // 2:
            target = max(target, self.window * 2)  # it ran dry before more was asked: probe for more
        self.window = min(max(target, SESSION_WINDOW_MIN), SESSION_WINDOW_MAX)

    def heard(self, now: float) -> None:
        """The peer said something."""
        self.last_heard = now
        self.timeouts = 0
