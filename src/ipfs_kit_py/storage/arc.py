"""Which blocks of the memory tier make room: replacement that adapts between recency and frequency, by bytes. Sans-I/O.

Its purpose is that of ARC (Megiddo and Modha, FAST 2003), its way another: ARC moves the border between two LRU lists
when their ghosts are hit. Here a half-life says how fast uses are forgotten, from LRU to LFU (see ``ranks``), and
which half-life is best is measured all the time:

window    newcomers first pass a small FIFO. Where it ends, the newcomer goes or the block that ranks lowest, whichever
          ranks lower; at equal rank a newcomer stays and one that came back does not, which is what makes loops pay.
trials    a sample of all keys, chosen by hash, also runs through a small copy of the cache for each half-life. The
          half-life whose copy had the most hits lately, in objects and in bytes, is used (miniature simulation:
          Waldspurger et al., USENIX ATC 2017).

Every access is O(1), amortised. A scan passes through the window and leaves the rest as it is. Besides its key a block
takes about 250 bytes here, its share of the ghosts and trials another 300 or less.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Final

from ipfs_kit_py.core.errors import QuotaExceeded
from ipfs_kit_py.storage.ranks import MIN_LENGTH, WAITING, Arm, Entry, Shelf

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Sequence

WINDOW_SHARE: Final = 0.02  # of the budget: what newcomers pass through; more costs frequent blocks their place
ARMS: Final = (Arm(1.0), Arm(4.0), Arm(16.0), Arm(64.0), Arm(inf, holds=True))
FIRST_ARM: Final = 2  # a guess until the trials have run: seldom the best, never bad

TRIAL_BLOCKS: Final = 300  # of one trial at most when it begins: enough to tell half-lives apart
TRIAL_MOST_KEYS: Final = 4  # one of so many is sampled at most: five trials then cost as much as the cache itself
TRIAL_DRIFT: Final = 4  # by how much the number of blocks may change until trials begin anew
TRIAL_MEMORY: Final = 3 / 4  # what the hits of earlier rounds count for; a round has as many accesses as a trial blocks
TRIAL_MIN_ROUND: Final = 64  # accesses
TRIAL_MARGIN: Final = 1.01  # how much better another half-life must have been
SIZE_MEMORY: Final = 0.99  # of the mean size, for each access sampled


class _Trials:
    """The small copies of a cache, one for each half-life. Keys whose hash has no bit of ``mask`` are sampled."""

    def __init__(self, arms: Sequence[Arm]) -> None:
        self._arms = arms
        self.shelves: list[Shelf] = []
        self.mask = -1
        self._values = [0.0] * len(arms)
        self._round = self._left = 0
        self._mean = 1.0

    def fit(self, blocks: int, used: int, budget: int) -> None:
        """Begin, or begin anew, where the cache is half full and has another number of blocks than was thought."""
        if blocks < MIN_LENGTH or 2 * used < budget:
            return
        whole = blocks * budget / max(used, 1)
        shift = max(int(whole / TRIAL_BLOCKS).bit_length(), TRIAL_MOST_KEYS.bit_length() - 1)
        mask = (1 << shift) - 1
        if self.mask < 0 or not self.mask // TRIAL_DRIFT <= mask <= self.mask * TRIAL_DRIFT:
            self.mask = mask
            self.shelves = [Shelf(budget >> shift, arm) for arm in self._arms]
            self._round = self._left = max(int(whole) >> shift, TRIAL_MIN_ROUND)
            self._values = [0.0] * len(self._arms)

    def resize(self, budget: int) -> None:
        """The cache has so many bytes."""
        for shelf in self.shelves:
            shelf.budget = budget // (self.mask + 1)

    def access(self, key: bytes, size: int, current: int) -> int:
        """A use of a key that is sampled; which arm is to rule, ``current`` unless another was better for long."""
        self._mean = SIZE_MEMORY * self._mean + (1.0 - SIZE_MEMORY) * size
        value = 0.5 + 0.5 * size / self._mean
        values = self._values
        for at, shelf in enumerate(self.shelves):
            if shelf.access(key, size):
                values[at] += value
        self._left -= 1
        if self._left > 0:
            return current
        self._left = self._round
        best = max(range(len(values)), key=values.__getitem__)
        better = values[best] > TRIAL_MARGIN * values[current] + 1.0
        self._values = [TRIAL_MEMORY * each for each in values]
        return best if better else current


@dataclass(frozen=True, slots=True)
class PolicyStatistics:
    """Numbers of a policy. Sizes are bytes, ``half_life`` accesses; ``switches`` counts its changes, ``trials`` the
    small copies that run, and one of ``sampled`` keys goes through them (0: none)."""

    blocks: int
    used: int
    budget: int
    window_bytes: int
    ghosts: int
    half_life: float
    switches: int
    trials: int
    sampled: int


class AdaptiveReplacement:
    """Keys whose blocks have at most ``budget`` bytes together, and which of them go. Not thread safe.

    ``reuse`` a key that is asked for; where it is not here and its block was fetched, ``add`` it. What must stay
    anyway is not told here: the owner takes it off the budget. Deterministic but for the hashes of keys.
    """

    def __init__(self, budget: int, *, arms: Sequence[Arm] = ARMS, first: int = FIRST_ARM) -> None:
        self._arms = arms
        self._arm = first
        self._shelf = Shelf(budget, arms[first])
        self._trials = _Trials(arms)
        self._window: deque[Entry] = deque()
        self._window_bytes = self._window_dead = 0
        self._switches = 0

    def __len__(self) -> int:
        return len(self._shelf.entries)

    def __contains__(self, key: object) -> bool:
        return key in self._shelf.entries

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._shelf.entries)

    @property
    def used(self) -> int:
        """Bytes of all that is here."""
        return self._shelf.used

    @property
    def budget(self) -> int:
        """Bytes that all together may have."""
        return self._shelf.budget

    def reuse(self, key: bytes) -> bool:
        """A use of a key; whether it is here."""
        entry = self._shelf.reuse(key)
        if entry is None:
            return False
        if not hash(key) & self._trials.mask:
            self._sample(key, entry.size)
        return True

    def add(self, key: bytes, size: int) -> list[bytes]:
        """The block of a key, not here before, has come. Returns the keys that go for it, never its own.
        ``QuotaExceeded`` where it is larger than the budget."""
        self._check(size)
        self._enter(key, size)
        return self._settle((key,))

    def add_many(self, fresh: Sequence[tuple[bytes, int]], again: Iterable[bytes] = ()) -> list[bytes]:
        """Blocks with their sizes, not here before, have come together, and others with them that are here ``again``.
        Returns the keys that go, none of these. ``QuotaExceeded`` where that cannot be: then nothing has changed."""
        entries = self._shelf.entries
        staying = [entries[key] for key in again]
        self._check(sum([size for _key, size in fresh]) + sum([entry.size for entry in staying]))
        for key, size in fresh:
            self._enter(key, size)
        return self._settle({key for key, _size in fresh}.union([entry.key for entry in staying]))

    def _check(self, need: int) -> None:
        if need > self._shelf.budget:
            raise QuotaExceeded(f"{need} bytes do not fit: there is room for {self._shelf.budget}")

    def _enter(self, key: bytes, size: int) -> None:
        self._window.append(self._shelf.enter(key, size))
        self._window_bytes += size
        if not hash(key) & self._trials.mask:
            self._sample(key, size)

    def _settle(self, spare: Container[bytes]) -> list[bytes]:
        """Move out of the window what is too much for it, and let go what does not fit."""
        shelf = self._shelf
        shelf.going = going = list[bytes]()
        if self._window_bytes > WINDOW_SHARE * shelf.budget:
            self._pass_window(spare, WINDOW_SHARE * shelf.budget)
        if shelf.used > shelf.budget:
            shelf.shrink(spare)
            while shelf.used > shelf.budget:  # all that may go is in the window
                self._pass_window(spare, max(self._window_bytes - (shelf.used - shelf.budget), 0))
                shelf.shrink(spare)
        if shelf.measure():
            self._trials.fit(len(shelf.entries), shelf.used, shelf.budget)
        return going

    def _pass_window(self, spare: Container[bytes], most: float) -> None:
        """Give a queue to the oldest in the window until it has ``most`` bytes; those in ``spare`` wait on where one of
        them would have to go."""
        window, shelf = self._window, self._shelf
        waiting: list[Entry] = []
        while window and self._window_bytes > most:
            entry = window.popleft()
            if entry.place != WAITING:
                self._window_dead -= 1
            elif shelf.used > shelf.budget and entry.key in spare:
                waiting.append(entry)
            else:
                self._window_bytes -= entry.size
                shelf.settle(entry, spare)
        window.extendleft(reversed(waiting))

    def _sample(self, key: bytes, size: int) -> None:
        arm = self._trials.access(key, size, self._arm)
        if arm != self._arm:
            self._arm = arm
            self._switches += 1
            self._shelf.set_arm(self._arms[arm])

    def remove(self, key: bytes) -> bool:
        """Take a key out, without a ghost; whether it was here."""
        entry = self._shelf.entries.get(key)
        if entry is None:
            return False
        if entry.place == WAITING:
            self._window_bytes -= entry.size
            self._window_dead += 1
        self._shelf.forget(entry)
        if 2 * self._window_dead > len(self._window) + MIN_LENGTH:
            self._window = deque(each for each in self._window if each.place == WAITING)
            self._window_dead = 0
        return True

    def resize(self, budget: int, spare: Container[bytes] = ()) -> list[bytes]:
        """Have another budget; the keys that go, none of ``spare``, which must fit."""
        self._shelf.budget = budget
        self._trials.resize(budget)
        return self._settle(spare)

    def statistics(self) -> PolicyStatistics:
        shelf = self._shelf
        return PolicyStatistics(
            blocks=len(shelf.entries), used=shelf.used, budget=shelf.budget,
            window_bytes=self._window_bytes, ghosts=shelf.ghosts, half_life=shelf.half_life,
            switches=self._switches, trials=len(self._trials.shelves), sampled=self._trials.mask + 1,
        )  # fmt: skip

    def __repr__(self) -> str:
        found = self.statistics()
        return (
            f"<AdaptiveReplacement {found.blocks} blocks, {found.used} of {found.budget} bytes, "
            f"half-life {found.half_life:g}>"
        )
