"""Telling the DHT what we have, region by region instead of key by key. Sans-I/O.

A lookup finds the 20 closest peers of one key, but in a network of 10,000 some 500 of 100,000 keys have nearly the
same. So the key space is swept: each region in its turn, by as few lookups as show all peers there, and each peer is
told all of its keys at once. Turns are spread evenly over the interval and known over a restart; what was missed
meanwhile is made up for at once. New keys do not wait for their turn, but for others of their region.
Source: libp2p/specs kad-dht/README.md (content advertisement); the idea is that of go-libp2p-kad-dht's provider.
"""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ipfs_kit_py.core.config import (
    KAD_K,
    PROVIDE_INTERVAL_SECONDS,
    SWEEP_GATHER_SECONDS,
    SWEEP_OFFLINE_FAILURES,
    SWEEP_QUEUE_KEYS,
    SWEEP_REGIONS,
    SWEEP_TELLS,
)
from ipfs_kit_py.routing.keys import KEY_BITS, kad_key
from ipfs_kit_py.routing.network_size import NetworkSize
from ipfs_kit_py.routing.sweep_keys import BINS, KeyBins, bin_of, worth_telling
from ipfs_kit_py.routing.sweep_schedule import Schedule, Turn, pack, pause_after, region_bits, unpack
from ipfs_kit_py.routing.sweep_statistics import Counters, SweepStatistics
from ipfs_kit_py.routing.sweep_work import Work

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.routing.kad_wire import PeerInfo


@dataclass(frozen=True, slots=True)
class Explore:
    """Look up the closest peers of this multihash; then ``on_explored`` or ``on_failed``."""

    region: int
    multihash: bytes


@dataclass(frozen=True, slots=True)
class Tell:
    """Send this peer an ADD_PROVIDER for each; then ``on_told`` or ``on_failed``."""

    region: int
    info: PeerInfo
    multihashes: tuple[bytes, ...]

    @property
    def peer(self) -> PeerID:
        """Who is to be told."""
        return self.info.peer


class Sweep:
    """``now`` is in seconds since 1970. ``load`` and ``restore`` what was kept, then ``begin_sync`` and ``end_sync``
    with all keys, before the first ``next_action``. ``size`` may be shared with others that look keys up, and ``keys``
    with the sweep of another DHT."""

    def __init__(
        self,
        me: PeerID,
        *,
        k: int = KAD_K,
        interval: float = PROVIDE_INTERVAL_SECONDS,
        size: NetworkSize | None = None,
        keys: KeyBins | None = None,
    ) -> None:
        self.k = k
        self.size = NetworkSize(k=k) if size is None else size
        self.keys = KeyBins() if keys is None else keys  # all that are told of again and again
        self.queue = KeyBins()  # those to be told of now
        self._schedule = Schedule(kad_key(me.raw) / (1 << KEY_BITS), interval)
        self._marks: array[int] | None = array("Q", bytes(8 * BINS))  # of the keys told of before; None once compared
        self._works: dict[int, Work] = {}
        self._number = 0
        self._log: list[tuple[bool, bytes]] | None = None  # what changed while a sync goes on
        self._turns: list[Turn] | None = None
        self._bits = -1
        self._cursor = 0  # the bin where the next region of new keys is looked for
        self._ready = math.inf  # when the new keys have waited for others
        self._retry: dict[tuple[bool, int], tuple[float, int]] = {}  # region -> when again, failures in a row
        self._failures, self._hold = 0, -math.inf
        self._now = self._since = self._ahead = 0.0
        self._wake = -math.inf
        self._total, self._cycle, self._cycle_number = Counters(), Counters(), -1
        self._last_cycle: Counters | None = None

    def __len__(self) -> int:
        return len(self.keys)

    def __repr__(self) -> str:
        state = ", offline" if self.offline else ""
        return f"<Sweep of {len(self.keys)} keys, {len(self.queue)} queued, {len(self._works)} regions at work{state}>"

    # --- what is to be told -------------------------------------------------------------------------------------------

    def add(self, multihashes: Iterable[bytes], now: float) -> list[bytes]:
        """Tell of these soon, and again and again. Returns the new ones: a sweep that shares the keys is to ``take``
        them."""
        new: list[bytes] = []
        for multihash in filter(worth_telling, multihashes):
            if self._log is not None:
                self._log.append((True, multihash))
            if self.keys.add(multihash):
                new.append(multihash)
        self.take(new, now)
        return new

    def add_once(self, multihashes: Iterable[bytes], now: float) -> None:
        """Tell of these soon, and not again."""
        now = self._tick(now)
        self.queue.update(multihashes)
        self._gather(now)

    def take(self, multihashes: Iterable[bytes], now: float) -> None:
        """Queue what was just added to ``keys``. Where the queue is full their part of the key space is due instead."""
        now = self._tick(now)
        for multihash in multihashes:
            number = bin_of(multihash)
            if self.keys.counts()[number] == 1:  # nothing else there: its turn begins with it
                self._schedule.done[number] = now
                self._turns = None
            if len(self.queue) < SWEEP_QUEUE_KEYS:
                self.queue.add(multihash)
            else:
                self._schedule.done[number] = 0.0
                self._turns = None
        self._gather(now)

    def on_provided(self, multihashes: Iterable[bytes]) -> None:
        """These were told of just now by other means: they wait for their turn."""
        for multihash in multihashes:
            self.queue.discard(multihash)

    def _gather(self, now: float) -> None:
        if len(self.queue):
            self._ready = min(self._ready, now + SWEEP_GATHER_SECONDS)
        self._wake = -math.inf

    def restore(self, multihashes: Iterable[bytes], now: float) -> None:
        """Queue what was queued before the restart."""
        now = self._tick(now)
        self.queue.update(multihashes)
        self._ready = now

    def remove(self, multihashes: Iterable[bytes]) -> None:
        """Tell of these no more; those who were told forget them by themselves."""
        for multihash in multihashes:
            if self._log is not None:
                self._log.append((False, multihash))
            self.keys.discard(multihash)
            self.queue.discard(multihash)
        self._turns = None

    def begin_sync(self) -> None:
        """A full list of the keys is being made; what changes meanwhile is added to it."""
        self._log = []

    def cancel_sync(self) -> None:
        """It could not be made: the keys are those of before."""
        self._log = None

    def end_sync(self, keys: KeyBins, missed: Iterable[bytes], now: float) -> list[bytes]:
        """From now on these are the keys; ``missed`` are those of them that are not in ``self.keys``. Returns those
        that were queued: all that we were not told of, but for the first sync, where a bin that is not as it was
        before the restart is told of as a whole."""
        now = self._tick(now)
        for added, multihash in self._log or ():
            keys.add(multihash) if added else keys.discard(multihash)
        queued: list[bytes] = []
        first, self._marks = self._marks, None
        if first is None:
            queued = [one for one in missed if one in keys and one not in self.keys]
        self.keys, self._log, self._turns = keys, None, None
        self.take(queued, now - self._ahead)
        if first is not None:
            for number, mark in enumerate(keys.marks()):
                if mark != first[number] ^ self.queue.marks()[number]:
                    self._schedule.done[number] = 0.0
        return queued

    # --- what to do ---------------------------------------------------------------------------------------------------

    @property
    def offline(self) -> bool:
        """Whether nobody could be reached of late: one region at a time is tried, now and then."""
        return self._failures >= SWEEP_OFFLINE_FAILURES

    def next_action(self, now: float) -> Explore | Tell | None:
        """Call until ``None`` after each event and at each deadline. At most ``SWEEP_REGIONS`` lookups or
        ``SWEEP_TELLS`` times as many messages are under way."""
        now = self._tick(now)
        while True:
            for number, work in self._works.items():
                target = work.next_target()
                if target is not None:
                    return Explore(number, target)
                tell = work.next_tell(SWEEP_TELLS)
                if tell is not None:
                    return Tell(number, *tell)
            if not self._start(now):
                return None

    def deadline(self) -> float | None:
        """When ``next_action`` may have something, though nothing happens until then."""
        return None if self._wake == math.inf else self._wake - self._ahead

    def _start(self, now: float) -> bool:
        """Begin with the region that is due the longest, or one of new keys; whether there was any."""
        self._wake = math.inf
        if len(self._works) >= (1 if self.offline else SWEEP_REGIONS):
            return False
        if self.offline and now < self._hold:
            self._wake = self._hold
            return False
        bits = region_bits(self.size.estimate(now), len(self.keys), self._bits)
        if bits != self._bits or self._turns is None:
            self._bits, self._turns = bits, self._schedule.turns(self.keys, bits)
        return self._start_new(now) or self._start_turn(now)

    def _start_new(self, now: float) -> bool:
        if not len(self.queue) or sum(work.new for work in self._works.values()) >= max(1, SWEEP_REGIONS - 1):
            return False
        if now < self._ready:
            self._wake = self._ready
            return False
        width, counts = BINS >> self._bits, self.queue.counts()
        for step in range(1 << self._bits):
            first = (self._cursor // width * width + step * width) % BINS
            if any(counts[first : first + width]) and self._free(True, first, first + width, now):
                self._cursor = first + width
                self._begin(first, first + width, now, new=True)
                return True
        return False

    def _start_turn(self, now: float) -> bool:
        for turn in reversed(self._turns or ()):
            if turn.due > now:
                self._wake = min(self._wake, turn.due)
                return False
            if self._free(False, turn.first, turn.last, now):
                self._begin(turn.first, turn.last, now, new=False)
                return True
        return False

    def _free(self, new: bool, first: int, last: int, now: float) -> bool:
        """Whether a region may begin: no other that is worked on overlaps it, and it did not fail just now."""
        if any(work.first < last and first < work.last for work in self._works.values()):
            return False
        when, _tries = self._retry.get((new, first), (-math.inf, 0))
        if when > now:
            self._wake = min(self._wake, when)
        return when <= now

    def _begin(self, first: int, last: int, now: float, *, new: bool) -> None:
        due = range(first, last) if new else self._schedule.due_of(first, last, now)
        rows = (self.queue if new else self.keys).rows(due)
        self._number += 1
        work = Work(first, last, rows, self.k, new=new, now=now, nearest=self.keys.nearest)
        self._works[self._number] = work
        self._after(self._number, work, now)

    # --- what happens -------------------------------------------------------------------------------------------------

    def on_explored(self, action: Explore, closest: Sequence[PeerInfo], now: float) -> None:
        """The lookup has ended with these. None at all is a failure."""
        now = self._tick(now)
        work = self._works.get(action.region)
        if work is None:
            return
        if not closest:
            work.on_not_explored()
        else:
            peers = (kad_key(info.peer.raw) for info in closest)
            everybody = self.size.on_closest(kad_key(action.multihash), peers, now)
            self._count(lookups=1)
            work.on_explored(action.multihash, closest, everybody=everybody)
        self._after(action.region, work, now)

    def on_told(self, action: Tell, now: float) -> None:
        """The peer was sent all of it."""
        now = self._tick(now)
        work = self._works.get(action.region)
        if work is not None:
            self._count(messages=len(action.multihashes))
            work.on_told(action.peer)
            self._after(action.region, work, now)

    def on_failed(self, action: Explore | Tell, now: float) -> None:
        """The lookup ended with an error, or the peer could not be told."""
        now = self._tick(now)
        work = self._works.get(action.region)
        if work is None:
            return
        if isinstance(action, Explore):
            work.on_not_explored()
        else:
            self._count(failed_peers=1)
            work.on_not_told(action.peer)
        self._after(action.region, work, now)

    def on_online(self, now: float) -> None:
        """There is a network again: what failed is tried at once."""
        now = self._tick(now)
        self._retry.clear()
        self._failures, self._hold, self._wake = 0, -math.inf, -math.inf

    def _after(self, number: int, work: Work, now: float) -> None:
        if work.finished:
            del self._works[number]
            if work.succeeded or not work.size:
                self._on_done(work, now)
            else:
                self._on_region_failed(work, now)

    def _on_done(self, work: Work, now: float) -> None:
        self._failures = 0
        self._retry.pop((work.new, work.first), None)
        for multihash in work.multihashes:
            self.queue.discard(multihash)
        if not len(self.queue):
            self._ready = math.inf
        if not work.new:
            for number in self._schedule.due_of(work.first, work.last, work.began):
                self._schedule.done[number] = now
            self._turns = None
        self._count(regions=1, keys=work.size, peers=work.peers, unsure=work.unsure)

    def _on_region_failed(self, work: Work, now: float) -> None:
        self._count(failed_regions=1)
        self._failures += 1
        _when, tries = self._retry.get((work.new, work.first), (0.0, 0))
        self._retry[work.new, work.first] = now + pause_after(tries), tries + 1
        self._hold = now + pause_after(self._failures - SWEEP_OFFLINE_FAILURES)

    def _tick(self, now: float) -> float:
        """The time by a clock that is never set back. If one goes on by much, the machine may just have slept."""
        if now + self._ahead < self._now - 1.0:
            self._ahead = self._now - now
        self._now = max(self._now, now + self._ahead)
        self._since = self._since or self._now
        number = int(self._now // self._schedule.interval)
        if number != self._cycle_number:
            self._last_cycle = self._cycle if self._cycle_number >= 0 else None
            self._cycle, self._cycle_number = Counters(), number
        return self._now

    # --- what is known of it ------------------------------------------------------------------------------------------

    def _count(self, **counts: int) -> None:
        for counters in (self._total, self._cycle):
            for name, count in counts.items():
                setattr(counters, name, getattr(counters, name) + count)

    def statistics(self, now: float | None = None) -> SweepStatistics:
        """The counts, ``behind`` and ``late`` as of ``now`` or of the last event."""
        when = self._now if now is None else self._tick(now)
        turns = self._turns if self._turns is not None else self._schedule.turns(self.keys, max(0, self._bits))
        late = [turn for turn in turns if turn.due <= when]
        return SweepStatistics(
            keys=len(self.keys),
            queued=len(self.queue),
            regions=len(turns),
            working=len(self._works),
            behind=max(0.0, when - max(late[-1].due, self._since)) if late else 0.0,
            late=len(late),
            offline=self.offline,
            network=self.size.estimate(),
            total=replace(self._total),
            cycle=replace(self._cycle),
            last_cycle=self._last_cycle,
        )

    def dump(self) -> bytes:
        """When each part of the key space was done, and a mark of what was told there: ``sweep_schedule.pack``. The
        keys are the store's."""
        done = (seconds - self._ahead for seconds in self._schedule.done)
        return pack(done, (mine ^ queued for mine, queued in zip(self.keys.marks(), self.queue.marks(), strict=True)))

    def load(self, data: bytes, now: float) -> bool:
        """Go on from a ``dump``; False, and everything is due, where it cannot be read. What was done in the future
        by this clock was not."""
        now = self._tick(now)
        found = unpack(data)
        if found is None:
            return False
        done, self._marks = found
        self._schedule.done = array("d", (seconds if seconds <= now else 0.0 for seconds in done))
        self._turns = None
        return True
