"""Where missing blocks may come from, as it was measured; and what is known not to be there. Sans-I/O."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from ipfs_kit_py.content.miss.breaker import Breaker, State
from ipfs_kit_py.core.config import ABSENT_MAX, ABSENT_SECONDS, MISS_LEAD_MAX, MISS_LEAD_MIN
from ipfs_kit_py.core.histogram import Histogram

if TYPE_CHECKING:
    from ipfs_kit_py.content.miss.breaker import Chance

_GAIN = 0.125  # of a new sample in the mean, and half of it as much again in the deviation: RFC 6298's
_LEAST_CHANCE = 0.02  # a source that never had anything is asked all the same, after the others


@dataclass(frozen=True)
class OriginStatistics:
    """Of one source since the start. ``hits`` are blocks that it gave, ``misses`` times that it had not got one,
    ``lost`` requests that another source was faster than, ``lies`` false blocks; ``bytes`` of blocks. ``seconds`` and
    ``deviation``: until a block comes, smoothed. ``state`` is that of its breaker; ``in_flight`` requests now."""

    name: str
    state: str
    hits: int
    misses: int
    failures: int
    lies: int
    lost: int
    bytes: int
    in_flight: int
    seconds: float
    deviation: float
    p50: float | None
    p95: float | None
    p99: float | None


class Origin:
    """One source. ``limit``: requests under way at once. ``patient``: it never says that it has not got a block, but
    waits for one that does (peers). ``prior``: seconds that a block takes as long as nothing was measured."""

    def __init__(self, name: str, rng: Chance, *, limit: float = inf, patient: bool = False, prior: float) -> None:
        self.name = name
        self.limit = limit
        self.patient = patient
        self.breaker = Breaker(rng)
        self.in_flight = 0
        self.seconds = prior
        self.deviation = prior / 2
        self._chance = 0.5  # that it has what it is asked for
        self._times = Histogram()
        self._measured = False
        self._hits = self._misses = self._failures = self._lies = self._lost = self._bytes = 0

    @property
    def free(self) -> bool:
        """Whether one more request may be sent now."""
        return self.in_flight < self.limit and self.breaker.allows(self.in_flight)

    @property
    def open(self) -> bool:
        """Whether it is left alone for now."""
        return self.breaker.state is State.OPEN

    def expected(self, ahead: int = 0) -> float:
        """Seconds until a block comes from here behind ``ahead`` others, as far as it has what is asked for."""
        return self.seconds / max(self._chance, _LEAST_CHANCE) * (1.0 + ahead / self.limit)

    def lead(self) -> float:
        """Seconds that this source usually takes: what it is given before the next is asked too."""
        return min(max(self.seconds + 2.0 * self.deviation, MISS_LEAD_MIN), MISS_LEAD_MAX)

    def on_block(self, seconds: float, size: int) -> None:
        """It gave a block that was wanted."""
        self._hits += 1
        self._bytes += size
        self._chance += _GAIN * (1.0 - self._chance)
        self._times.add(seconds)
        self._measure(seconds)
        self.breaker.on_success()

    def on_absent(self) -> None:
        """It has not got a block."""
        self._misses += 1
        self._chance -= _GAIN * self._chance
        self.breaker.on_success()

    def on_unlikely(self) -> None:
        """Nobody there is known to have a block."""
        self._chance -= _GAIN * self._chance

    def on_lost(self, seconds: float) -> None:
        """Another was faster, after this one had ``seconds``: it takes at least so long."""
        self._lost += 1
        if seconds > self.seconds:
            self._measure(seconds)

    def on_failure(self, now: float, after: float = 0.0) -> None:
        """A request failed; the source asked to be left alone for ``after`` seconds."""
        self._failures += 1
        self.breaker.on_failure(now, after=after)

    def on_lie(self, now: float) -> None:
        """It gave a block that does not have its hash."""
        self._lies += 1
        self._chance = 0.0
        self.breaker.on_lie(now)

    def _measure(self, seconds: float) -> None:
        if not self._measured:
            self.seconds, self.deviation, self._measured = seconds, seconds / 2, True
            return
        self.deviation += 2 * _GAIN * (abs(seconds - self.seconds) - self.deviation)
        self.seconds += _GAIN * (seconds - self.seconds)

    def statistics(self) -> OriginStatistics:
        """Counters and what was measured."""
        times = self._times
        return OriginStatistics(
            name=self.name, state=self.breaker.state.value, hits=self._hits, misses=self._misses,
            failures=self._failures, lies=self._lies, lost=self._lost, bytes=self._bytes, in_flight=self.in_flight,
            seconds=self.seconds, deviation=self.deviation, p50=times.quantile(0.5), p95=times.quantile(0.95),
            p99=times.quantile(0.99),
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"<Origin {self.name} {self.breaker.state.value} {self.seconds:.3f} s>"


class Absent:
    """Which sources lately said that they have not got a block: for ``ABSENT_SECONDS`` they are not asked again."""

    def __init__(self, capacity: int = ABSENT_MAX) -> None:
        self._capacity = capacity
        self._until: OrderedDict[tuple[str, bytes], float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until)

    def add(self, origin: Origin, multihash: bytes, now: float) -> None:
        """It has not got the block now."""
        key = (origin.name, multihash)
        self._until.pop(key, None)
        self._until[key] = now + ABSENT_SECONDS
        while len(self._until) > self._capacity:
            self._until.popitem(last=False)

    def until(self, origin: Origin, multihash: bytes, now: float) -> float | None:
        """Until when it need not be asked; ``None`` where it may be."""
        key = (origin.name, multihash)
        until = self._until.get(key)
        if until is not None and until <= now:
            del self._until[key]
            return None
        return until

    def forget(self, origin: Origin, multihash: bytes) -> None:
        """It may have the block by now: something was stored there."""
        self._until.pop((origin.name, multihash), None)
