"""One peer that we ask: its latency and throughput as measured, what is under way, and how long to wait for it."""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice
from typing import TYPE_CHECKING

from ipfs_kit_py.bitswap.wantlist import Wantlist
from ipfs_kit_py.core.config import (
    MAX_WANTLIST_ENTRIES,
    SESSION_WINDOW_MAX,
    SESSION_WINDOW_MIN,
    TARGET_MESSAGE_BYTES,
    WANT_TIMEOUT_MAX,
    WANT_TIMEOUT_MIN,
)

if TYPE_CHECKING:
    from ipfs_kit_py.core.cid import CID, PeerID

FIRST_WINDOW = 4 << 20  # bytes, before anything was measured: two of the largest blocks
HOPED_LATENCY = 0.1  # seconds, of a peer that was not measured: when peers are compared
HOPED_THROUGHPUT = 2e7  # bytes a second, likewise: optimistic, so that new peers are tried
FEARED_LATENCY = 0.25  # seconds, of a peer that was not measured: when it is waited for
FEARED_THROUGHPUT = 1e6  # bytes a second, likewise
TIMEOUT_LATENCIES = 4.0  # round trips of silence before a peer counts as not having a block
PATIENCE = 4.0  # timeouts before one block counts as lost though its peer sends others
HEDGE_FACTOR = 3.0  # times the expected wait before a block is late enough to ask another peer for it too
HEDGE_SECONDS = 0.05  # at least: less is the noise of two event loops
HEDGE_SCAN = 8  # oldest blocks of a peer that are looked at
WINDOW_SECONDS = 0.25  # a window holds what a peer delivers in its latency and so long, twice
METER_SECONDS = 0.05  # throughput is measured over so long: blocks of one message come at one time
METER_BYTES = 64 << 10  # and over so much: less measures the latency
MAX_PROBES = MAX_WANTLIST_ENTRIES * 3 // 4  # wants a peer may hold before it is only asked for blocks
_GAIN = 0.25  # weight of the newest measurement


class Asked:
    """A block that was asked of a peer. ``late_at`` is when it is worth asking another for it as well,
    ``lost_at`` when it is given up though the peer sends other blocks."""

    __slots__ = ("alone", "late_at", "lost_at", "sent", "size")

    def __init__(self, size: int, sent: float, late_at: float, lost_at: float, *, alone: bool) -> None:
        self.size = size
        self.sent = sent
        self.late_at = late_at
        self.lost_at = lost_at
        self.alone = alone


class Peer:
    """A connected peer as the client sees it. ``has_presences``: it speaks 1.2.0."""

    def __init__(self, peer: PeerID, *, has_presences: bool = True) -> None:
        self.id = peer
        self.has_presences = has_presences
        self.wantlist = Wantlist()
        self.asked: dict[CID, Asked] = {}  # in the order of asking
        self.overdue: dict[CID, Asked] = {}  # given up for others, but they may still come
        self.refused: OrderedDict[CID, None] = OrderedDict()  # it was told of them and has them not: room for others
        self.outstanding = 0  # bytes asked for and not here
        self.latency: float | None = None
        self.throughput: float | None = None
        self.window = FIRST_WINDOW
        self.silent = 0  # timeouts in a row
        self.doubt = 1.0  # factor of what is expected of it, by what it did before
        self.untold = 0  # bytes that it delivered since that was told, at the time `told_at`, with `topic`
        self.told_at = float("-inf")
        self.topic = b""
        self.last_heard = 0.0
        self._probed: tuple[CID, float] | None = None  # the want-have whose answer is timed
        self._metered_at: float | None = None
        self._metered = 0

    def room(self, size: int) -> bool:
        """Whether a block of ``size`` bytes more may be asked for."""
        if len(self.wantlist) - len(self.refused) >= MAX_WANTLIST_ENTRIES:
            return False
        return not self.outstanding or self.outstanding + size <= self.window

    def expected_seconds(self, size: int) -> float:
        """How long ``size`` bytes would take if they were asked for now."""
        latency = HOPED_LATENCY if self.latency is None else self.latency
        queue = (self.outstanding + size) / (self.throughput or HOPED_THROUGHPUT)
        return (latency + queue) * self.doubt * (1 << min(self.silent, 10))

    def timeout(self) -> float:
        """Seconds of silence after which what was asked counts as not there; it doubles with each in a row."""
        # until its next word: what it is asked for comes in messages, and each of them ends the silence
        return self._wait(min(self.outstanding, TARGET_MESSAGE_BYTES))

    def _wait(self, size: int) -> float:
        latency = FEARED_LATENCY if self.latency is None else self.latency
        queue = size / (self.throughput or FEARED_THROUGHPUT)
        base = max(TIMEOUT_LATENCIES * latency + 2 * queue, WANT_TIMEOUT_MIN)
        return min(base * (1 << min(self.silent, 10)), WANT_TIMEOUT_MAX)

    # --- asking -------------------------------------------------------------------------------------------------------

    def probe(self, cid: CID, priority: int, now: float) -> bool:
        """Ask whether the peer has a block; whether that is news."""
        if len(self.wantlist) - len(self.refused) >= MAX_PROBES or not self._tell(cid, block=False, priority=priority):
            return False
        if self._probed is None or now - self._probed[1] > self.timeout():
            self._probed = cid, now
        return True

    def ask(self, cid: CID, size: int, priority: int, now: float) -> None:
        """Ask the peer for a block that is expected to weigh ``size`` bytes."""
        self.release(cid)
        if self._probed is not None and self._probed[0] == cid:
            self._probed = None  # the answer is the block, after others
        late_at = now + HEDGE_FACTOR * self.expected_seconds(size) / self.doubt + HEDGE_SECONDS  # no grace for doubt
        if not self.outstanding:
            self._metered_at = None  # a new busy time: the pause before it says nothing of the throughput
        alone = not self.outstanding
        self.outstanding += size
        self.asked[cid] = Asked(size, now, late_at, now + PATIENCE * self._wait(self.outstanding), alone=alone)
        self._tell(cid, block=True, priority=priority)

    def _tell(self, cid: CID, *, block: bool, priority: int) -> bool:
        self.refused.pop(cid, None)
        if self.refused and len(self.wantlist) >= MAX_WANTLIST_ENTRIES and not self.wantlist.asked(cid):
            self.wantlist.cancel(self.refused.popitem(last=False)[0])
        return self.wantlist.want(cid, block=block, priority=priority)

    def untell(self, cid: CID) -> None:
        """A want is over."""
        self.refused.pop(cid, None)
        self.wantlist.cancel(cid)
        if self._probed is not None and self._probed[0] == cid:
            self._probed = None

    def forget(self, cid: CID) -> None:
        """The peer does not hold a want any more, or is to be told of it anew."""
        self.refused.pop(cid, None)
        self.wantlist.forget(cid)

    def refuse(self, cid: CID) -> None:
        """The peer has not got a block. It keeps the want while there is room for it."""
        if self.wantlist.asked(cid):
            self.refused[cid] = None

    def release(self, cid: CID) -> Asked | None:
        """A block is no longer waited for here."""
        found = self.asked.pop(cid, None) or self.overdue.pop(cid, None)
        if found is not None:
            self.outstanding -= found.size
        return found

    def delivered(self, cid: CID) -> Asked | None:
        """The peer sent a block, and with it holds the want no longer."""
        self.forget(cid)
        return self.release(cid)

    # --- hearing ------------------------------------------------------------------------------------------------------

    def heard(self, now: float) -> None:
        """The peer said something. After silence, what it still owes has its time again."""
        self.last_heard = max(now, self.last_heard)
        if self.silent:
            self.silent = 0
            until = self.last_heard + self.timeout()
            for asked in self.overdue.values():
                asked.lost_at = until

    def answered(self, cid: CID, now: float) -> None:
        """The peer said whether it has a block, or sent it."""
        if self._probed is not None and self._probed[0] == cid:
            self.measured_latency(now - self._probed[1])
            self._probed = None

    def received(self, cid: CID, size: int, at: float) -> None:
        """The peer delivered a block at the time ``at``, asked for or not."""
        asked = self.delivered(cid)
        self.heard(at)
        self.answered(cid, at)
        if asked is not None and asked.alone:
            self.measured_latency(at - asked.sent)
            if size >= METER_BYTES:
                self.throughput = max(self.throughput or 0.0, size / max(at - asked.sent, 1e-4))
        self._meter(size, at)
        self._resize(size)

    def measured_latency(self, seconds: float) -> None:
        """A round trip took so long."""
        seconds = max(seconds, 0.0)
        self.latency = seconds if self.latency is None else self.latency + _GAIN * (seconds - self.latency)

    def _meter(self, size: int, at: float) -> None:
        if self._metered_at is None:
            self._metered_at, self._metered = at, 0  # this block's own bytes came before
            return
        self._metered += size
        elapsed = at - self._metered_at
        if elapsed < METER_SECONDS or self._metered < METER_BYTES:
            return
        rate = self._metered / elapsed
        saturated = self.outstanding >= self.window // 4
        if self.throughput is None or rate > self.throughput:
            self.throughput = rate
        elif saturated:  # else it was our asking that was slow
            self.throughput += _GAIN * (rate - self.throughput)
        self._metered_at, self._metered = at, 0

    def _resize(self, size: int) -> None:
        """A byte that came opens the window by another, up to twice what latency and throughput need."""
        target = SESSION_WINDOW_MAX
        if self.throughput is not None:
            target = int(2 * self.throughput * ((self.latency or 0.0) + WINDOW_SECONDS))
        target = min(max(target, SESSION_WINDOW_MIN), SESSION_WINDOW_MAX)
        self.window = min(self.window + size, target) if self.window < target else max(target, self.window - size)

    # --- waiting ------------------------------------------------------------------------------------------------------

    def deadline(self) -> float | None:
        """When something asked of this peer is late or overdue."""
        first = next(iter(self.asked.values()), None)
        owed = None if self.silent else next(iter(self.overdue.values()), None)
        if first is None:
            return None if owed is None else owed.lost_at
        late = min(asked.late_at for asked in islice(self.asked.values(), HEDGE_SCAN))
        return min(self._expires(first), late, late if owed is None else owed.lost_at)

    @property
    def waits(self) -> bool:
        """Whether something is to come from this peer."""
        return bool(self.asked) or (bool(self.overdue) and not self.silent)

    def _expires(self, asked: Asked) -> float:
        return min(max(asked.sent, self.last_heard) + self.timeout(), asked.lost_at)

    def take_late(self, now: float) -> list[tuple[CID, float]]:
        """The oldest blocks that are late, with the seconds waited for each; each is named once."""
        found = [(cid, asked) for cid, asked in islice(self.asked.items(), HEDGE_SCAN) if asked.late_at <= now]
        for _, asked in found:
            asked.late_at = float("inf")
        return [(cid, now - asked.sent) for cid, asked in found]

    def take_overdue(self, now: float) -> list[CID]:
        """Blocks that are waited for no longer. Where the peer said nothing at all they still take its room, until it
        speaks of others and not of them."""
        while not self.silent and self.overdue and next(iter(self.overdue.values())).lost_at <= now:
            cid = next(iter(self.overdue))
            self.release(cid)
            self.refuse(cid)
        found = []
        for cid, asked in self.asked.items():
            if self._expires(asked) > now:
                break  # those after it were asked later
            found.append(cid)
        silent = False
        for cid in found:
            asked = self.asked[cid]
            if asked.sent >= self.last_heard and self.has_presences:
                del self.asked[cid]
                self.overdue[cid] = asked
                silent = True
            else:
                self.release(cid)
                self.refuse(cid)
        self.silent += silent
        return found

    def __repr__(self) -> str:
        rate = "?" if self.throughput is None else f"{self.throughput / 1e6:.1f} MB/s"
        delay = "?" if self.latency is None else f"{self.latency * 1e3:.1f} ms"
        return f"<Peer {self.id} {rate} {delay} asked {len(self.asked)} ({self.outstanding} of {self.window} bytes)>"
