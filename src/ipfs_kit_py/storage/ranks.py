"""Blocks in queues by rank, under one half-life, with the ghosts of those that went: what ``arc`` is made of. Sans-I/O.

score     each use adds 1, all scores halve every *half-life*. Its logarithm is kept on a scale that moves with time, so
          that nothing is ever computed anew, also where the half-life changes. (LRFU: Lee et al., IEEE Transactions on
          Computers 50, 2001. A short half-life is LRU, an endless one LFU.)
rank      the logarithm less ``SIZE_WEIGHT`` times that of the size: of two blocks used alike the larger one goes first.
queues    one FIFO for each half step of rank. A use only raises the score; a block that comes to the head of the
          lowest queue moves to where it belongs by now, or goes (lazy promotion, as in S3-FIFO and SIEVE).
ghosts    scores of blocks that went, by hash, two for each that is here: with more, loops look promising that are too
          long to be held. In two generations, the older of which is forgotten when the younger is full.
"""

from __future__ import annotations

from collections import deque
from math import inf, log2
from typing import TYPE_CHECKING, Final, NamedTuple

from ipfs_kit_py.core.config import POLICY_MAX_GHOSTS

if TYPE_CHECKING:
    from collections.abc import Container

SIZE_WEIGHT: Final = 0.25  # exponent of the size: 0 is best for bytes, 1 for objects; this is good for both
RESOLUTION: Final = 2  # queues for each doubling of the score
FORGOTTEN: Final = -12.0  # logarithm of a score that adds nothing: 1/4096 of a use
RETURNING: Final = 0.58  # logarithm of the score of a newcomer that was here lately: one use and a half
BEGIN: Final = 64.0  # of the scale: high enough that no rank is ever negative
MORE_GHOSTS: Final = 16  # in each of the two generations: so that small trials are not blind
MIN_LENGTH: Final = 64  # blocks that the half-life counts by at least


class Arm(NamedTuple):
    """One policy: its half-life, in accesses for each block that is here, and whether a block that comes yields at
    equal rank even where it was not here before."""

    half_life: float
    holds: bool = False


class Entry:
    """A block that is here: its score's logarithm on the moving scale, and what its size takes off its rank."""

    __slots__ = ("key", "place", "returning", "score", "size", "weight")

    def __init__(self, key: bytes, size: int, score: float, weight: float, returning: bool) -> None:
        self.key = key
        self.size = size
        self.score = score
        self.weight = weight
        self.returning = returning
        self.place = WAITING


WAITING, QUEUED, GONE = range(3)  # where an entry is: in no queue yet, in one, no longer here


class Shelf:
    """Blocks of at most ``budget`` bytes, except those that wait for their queue."""

    __slots__ = (
        "_dead", "_ghosts", "_least", "_length", "_low", "_most", "_old_ghosts", "_queues", "_scale", "_step", "arm",
        "budget", "entries", "going", "used",
    )  # fmt: skip

    def __init__(self, budget: int, arm: Arm) -> None:
        self.budget = budget
        self.used = 0
        self.entries: dict[bytes, Entry] = {}
        self.going: list[bytes] | None = None  # where those that go are told
        self._queues: dict[int, deque[Entry]] = {}
        self._low = 0  # there is no queue below it
        self._dead = 0  # entries in queues that are no longer here
        self._ghosts: dict[int, float] = {}
        self._old_ghosts: dict[int, float] = {}
        self._scale = BEGIN  # the logarithm of the score of a block used once, now
        self._length = self._most = MIN_LENGTH  # blocks that the half-life counts by
        self._least = 0
        self.set_arm(arm)

    @property
    def ghosts(self) -> int:
        """How many there are."""
        return len(self._ghosts) + len(self._old_ghosts)

    @property
    def half_life(self) -> float:
        """In accesses, as it is now."""
        return self.arm.half_life * self._length

    def set_arm(self, arm: Arm) -> None:
        """Another policy from now on; what has decayed has decayed."""
        self.arm = arm
        self._step = 1.0 / self.half_life

    def measure(self) -> bool:
        """Let the half-life follow the number of blocks; whether that has changed by a quarter."""
        count = len(self.entries)
        if self._least <= count <= self._most:
            return False
        self._length = max(count, MIN_LENGTH)
        self._least = int(0.8 * count) if count > MIN_LENGTH else 0
        self._most = max(int(1.25 * count), MIN_LENGTH)
        self.set_arm(self.arm)
        return True

    def reuse(self, key: bytes) -> Entry | None:
        """A use of a block; ``None`` where it is not here (and no time has passed)."""
        entry = self.entries.get(key)
        if entry is not None:
            scale = self._scale = self._scale + self._step
            past = entry.score - scale
            entry.score = scale + log2(1.0 + 2.0**past) if past > FORGOTTEN else scale
        return entry

    def enter(self, key: bytes, size: int) -> Entry:
        """A block that is not here comes in, and waits for its queue."""
        scale = self._scale = self._scale + self._step
        name = hash(key)
        score = self._ghosts.get(name)
        if score is None:
            score = self._old_ghosts.get(name)
        if score is None or score - scale <= FORGOTTEN:
            entry = Entry(key, size, scale, SIZE_WEIGHT * log2(size + 1), False)
        else:
            fresh = log2(1.0 + 2.0 ** (score - scale))
            entry = Entry(key, size, scale + fresh, SIZE_WEIGHT * log2(size + 1), fresh > RETURNING)
        self.entries[key] = entry
        self.used += size
        return entry

    def access(self, key: bytes, size: int) -> bool:
        """A use of a block, which is stored where it is not here; whether it was."""
        if self.reuse(key) is not None:
            return True
        if size <= self.budget:
            self.settle(self.enter(key, size))
            if not self._least <= len(self.entries) <= self._most:
                self.measure()
        return False

    def settle(self, entry: Entry, spare: Container[bytes] = ()) -> None:
        """Give a block its queue: while not all fit, it or the lowest of the others goes, except those in ``spare``."""
        rank = int(RESOLUTION * (entry.score - entry.weight))
        if self.used > self.budget:
            self.shrink(spare, rank - 1 if entry.returning or self.arm.holds else rank)
            if self.used > self.budget:
                self.drop(entry)
                return
        entry.place = QUEUED
        self._append(rank, entry)

    def shrink(self, spare: Container[bytes] = (), most: float = inf) -> None:
        """Until all fit let the lowest go, as far as they rank ``most`` or less and are not in ``spare``."""
        queues = self._queues
        aside: list[Entry] = []
        while queues and self.used > self.budget:
            low = self._low
            while low not in queues:
                low += 1
            self._low = low
            if low > most:
                break
            queue = queues[low]
            entry = queue.popleft()
            if not queue:
                del queues[low]
            if entry.place != QUEUED:
                self._dead -= 1
                continue
            rank = int(RESOLUTION * (entry.score - entry.weight))
            if rank > low:
                self._append(rank, entry)
            elif entry.key in spare:
                aside.append(entry)
            else:
                self.drop(entry)
        for entry in aside:
            self.queue(entry)

    def queue(self, entry: Entry) -> None:
        """Put an entry that is in no queue into that of its rank."""
        entry.place = QUEUED
        self._append(int(RESOLUTION * (entry.score - entry.weight)), entry)

    def _append(self, rank: int, entry: Entry) -> None:
        queue = self._queues.get(rank)
        if queue is not None:
            queue.append(entry)
            return
        if not self._queues or rank < self._low:
            self._low = rank
        self._queues[rank] = deque((entry,))

    def drop(self, entry: Entry) -> None:
        """A block that was taken out of its queue goes, and its ghost stays."""
        key = entry.key
        entry.place = GONE
        del self.entries[key]
        self.used -= entry.size
        ghosts = self._ghosts
        ghosts[hash(key)] = entry.score
        if len(ghosts) > len(self.entries) + MORE_GHOSTS or 2 * len(ghosts) > POLICY_MAX_GHOSTS:
            self._old_ghosts, self._ghosts = ghosts, {}
        if self.going is not None:
            self.going.append(key)

    def forget(self, entry: Entry) -> None:
        """A block is taken away without a ghost; if it is in a queue it is skipped there."""
        if entry.place == QUEUED:
            self._dead += 1
        entry.place = GONE
        del self.entries[entry.key]
        self.used -= entry.size
        if self._dead > len(self.entries) + MIN_LENGTH:
            self._compact()

    def _compact(self) -> None:
        for rank, queue in list(self._queues.items()):
            living = deque(entry for entry in queue if entry.place == QUEUED)
            if living:
                self._queues[rank] = living
            else:
                del self._queues[rank]
        self._dead = 0
