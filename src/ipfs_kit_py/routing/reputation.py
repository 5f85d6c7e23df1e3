"""What is known of peers from all dealings with them, with how sure of it one can be. Sans-I/O.

Three things apart, each a decayed Beta distribution: whether a peer answers, whether it delivers, whether it is honest.
Ranked by what is true of it with some confidence: a new peer is below one that is known to be good and above one that
is known to be bad, so that nobody gains by coming back under a new name. Lies weigh more than deliveries, are forgotten
last, and no number of deliveries makes up for them.
Source: Jøsang and Ismail, *The Beta Reputation System*, 2002.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ipfs_kit_py.core.cid import PeerID
from ipfs_kit_py.core.config import (
    CHOICE_BACKOFF_MAX_SECONDS,
    CHOICE_BACKOFF_SECONDS,
    REPUTATION_ANSWERS_SECONDS,
    REPUTATION_CLOCK_SECONDS,
    REPUTATION_DELIVERS_SECONDS,
    REPUTATION_HONEST_SECONDS,
    REPUTATION_LIARS,
    REPUTATION_LIE,
    REPUTATION_MAX_BAD,
    REPUTATION_MAX_GOOD,
    REPUTATION_MEASURED_SECONDS,
    REPUTATION_METER_BYTES,
    REPUTATION_MIB,
    REPUTATION_PEERS,
)
from ipfs_kit_py.core.errors import InvalidAddress, InvalidCID

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ipfs_kit_py.routing.keys import Chance

_GAIN = 0.25  # weight of the newest measurement
_LEAST_THROUGHPUT = 1.0  # bytes a second: expected times stay finite
_CONFIDENCE = 1.0  # standard deviations below the mean that count as sure: about 84 %


class Belief:
    """A decayed Beta distribution over a chance. ``good`` and ``bad`` begin as what is thought of a stranger."""

    __slots__ = ("at", "bad", "good", "half_life", "prior_bad", "prior_good")

    def __init__(self, prior_good: float, prior_bad: float, half_life: float) -> None:
        self.prior_good, self.prior_bad, self.half_life = prior_good, prior_bad, half_life
        self.good = self.bad = self.at = 0.0

    def see(self, good: float, bad: float, now: float) -> None:
        """So much spoke for it, and so much against it."""
        self._decay(now)
        self.good = min(self.good + good, REPUTATION_MAX_GOOD)
        self.bad = min(self.bad + bad, REPUTATION_MAX_BAD)

    def _decay(self, now: float) -> None:
        kept = math.exp2(-max(0.0, now - self.at) / self.half_life)  # a clock that goes back changes nothing
        self.good *= kept
        self.bad *= kept
        self.at = now if self.at > now + REPUTATION_CLOCK_SECONDS else max(self.at, now)

    def mean(self, now: float) -> float:
        """The most likely chance."""
        good, bad = self._counts(now)
        return good / (good + bad)

    def sure(self, now: float) -> float:
        """A chance that the true one is hardly below."""
        good, bad = self._counts(now)
        count = good + bad
        mean = good / count
        return max(0.0, mean - _CONFIDENCE * math.sqrt(mean * (1.0 - mean) / (count + 1.0)))

    def weight(self, now: float) -> float:
        """How much was seen."""
        good, bad = self._counts(now)
        return good + bad - self.prior_good - self.prior_bad

    def _counts(self, now: float) -> tuple[float, float]:
        kept = math.exp2(-max(0.0, now - self.at) / self.half_life)
        return self.prior_good + self.good * kept, self.prior_bad + self.bad * kept


class Peer:
    """One peer. ``latency`` in seconds and ``throughput`` in bytes a second as measured, ``None`` before."""

    __slots__ = (
        "answers", "delivers", "failures", "false_blocks", "honest", "latency", "measured_at", "refusals", "seen",
        "successes", "throughput", "until", "verified",
    )  # fmt: skip

    def __init__(self) -> None:
        self.answers = Belief(2.0, 1.0, REPUTATION_ANSWERS_SECONDS)
        self.delivers = Belief(2.0, 1.0, REPUTATION_DELIVERS_SECONDS)
        self.honest = Belief(4.0, 1.0, REPUTATION_HONEST_SECONDS)
        self.latency: float | None = None
        self.throughput: float | None = None
        self.measured_at = 0.0
        self.verified = self.false_blocks = self.refusals = self.successes = 0
        self.failures = 0  # in a row
        self.until = 0.0  # it is left alone
        self.seen = 0.0

    def reputation(self, now: float) -> float:
        """One number from 0 to 1 for people to read: how surely it answers, delivers and is honest."""
        return self.answers.sure(now) * self.delivers.sure(now) * self.honest.sure(now)

    def worth(self, now: float) -> float:
        """How much would be lost by forgetting it."""
        known = self.answers.weight(now) + self.delivers.weight(now)
        return known + 100.0 * self.honest.bad * math.exp2(-max(0.0, now - self.honest.at) / self.honest.half_life)

    def lies(self, now: float) -> bool:
        """Whether it is more likely to send what is false than what is true: it comes after everybody else."""
        return self.honest.mean(now) < 0.5

    def wait(self, now: float) -> float:
        """Seconds for which it is better left alone after failures. None where the clock was put back since."""
        left = self.until - now
        return left if 0.0 < left <= CHOICE_BACKOFF_MAX_SECONDS else 0.0

    def expected(self, now: float, latency: float, throughput: float) -> tuple[float, float]:
        """Latency and throughput as measured, the longer ago the nearer to those of strangers, which are given: who
        was slow once is tried again some day."""
        fresh = math.exp2(-max(0.0, now - self.measured_at) / REPUTATION_MEASURED_SECONDS)
        if self.latency is not None:
            latency += fresh * (self.latency - latency)
        if self.throughput is not None:
            throughput *= (self.throughput / throughput) ** fresh
        return latency, throughput


@dataclass(frozen=True)
class ReputationStatistics:
    """``peers`` that are remembered, ``liars`` of them whose honesty is not believed, ``waiting`` are left alone."""

    peers: int
    liars: int
    waiting: int
    forgotten: int


class Reputation:
    """All peers. ``now`` is in seconds since 1970, since it outlives the process. Numbers that can be none (negative,
    infinite) are passed over."""

    def __init__(self, rng: Chance, *, most: int = REPUTATION_PEERS) -> None:
        self._rng, self._most = rng, most
        self._peers: dict[PeerID, Peer] = {}
        self._forgotten = 0
        self.changes = 0  # since the start: what is kept of this elsewhere is old when it has grown
        self._stranger = Peer()
        self._hope = self._stranger.delivers.sure(0.0) * self._stranger.honest.sure(0.0)

    def __len__(self) -> int:
        return len(self._peers)

    def __repr__(self) -> str:
        return f"<Reputation of {len(self._peers)} peers>"

    def get(self, peer: PeerID) -> Peer:
        """What is known of a peer; of one that is not known what is thought of strangers. Not to be changed."""
        return self._peers.get(peer, self._stranger)

    def doubt(self, peer: PeerID, now: float) -> float:
        """How much less sure than a stranger's its delivering what is true is: 1.0 for strangers and better ones, some
        hundreds for the worst."""
        row = self._peers.get(peer)
        return 1.0 if row is None else max(1.0, self._hope / max(row.delivers.sure(now) * row.honest.sure(now), 1e-3))

    def trusts(self, peer: PeerID, now: float) -> bool:
        """Whether it has delivered, and nothing speaks against it."""
        row = self._peers.get(peer)
        return row is not None and row.successes > 0 and self.doubt(peer, now) <= 1.0

    def knows(self, peer: PeerID) -> bool:
        """Whether anything is known of a peer."""
        return peer in self._peers

    # --- what happens -------------------------------------------------------------------------------------------------

    def on_answer(self, peer: PeerID, now: float, *, latency: float | None = None) -> None:
        """It answered a request, in ``latency`` seconds."""
        row = self._row(peer, now)
        row.answers.see(1.0, 0.0, now)
        _measure(row, latency, None, now)

    def on_delivered(self, peer: PeerID, size: int, now: float, *, seconds: float | None = None) -> None:
        """It delivered ``size`` bytes that were verified, which took ``seconds`` if they were timed."""
        if not 0 < size < 1 << 62:
            return
        row = self._row(peer, now)
        row.successes += 1
        row.verified += size
        row.failures, row.until = 0, 0.0
        row.answers.see(1.0, 0.0, now)
        row.delivers.see(1.0, 0.0, now)
        row.honest.see(size / REPUTATION_MIB, 0.0, now)
        if seconds is not None and 0.0 < seconds < math.inf and size >= REPUTATION_METER_BYTES:
            _measure(row, None, size / seconds, now)

    def on_measured(self, peer: PeerID, now: float, latency: float | None, throughput: float | None) -> None:
        """How fast it was: seconds of a round trip, bytes a second; ``None`` where that was not measured."""
        if latency is not None or throughput is not None:
            _measure(self._row(peer, now), latency, throughput, now)

    def on_failed(self, peer: PeerID, now: float) -> None:
        """It could not be reached, was silent or broke off. The next time it is left alone for longer."""
        row = self._row(peer, now)
        row.answers.see(0.0, 1.0, now)
        row.delivers.see(0.0, 1.0, now)
        row.failures += 1
        wait = min(CHOICE_BACKOFF_MAX_SECONDS, CHOICE_BACKOFF_SECONDS * 2.0 ** min(row.failures - 1, 30))
        row.until = now + wait * (0.5 + 0.5 * self._rng.random())

    def on_refused(self, peer: PeerID, now: float) -> None:
        """It said that it has not got, or does not give, what it was said to provide."""
        row = self._row(peer, now)
        row.refusals += 1
        row.answers.see(1.0, 0.0, now)
        row.delivers.see(0.0, 0.5, now)

    def on_lie(self, peer: PeerID, now: float) -> None:
        """It sent what has another hash."""
        row = self._row(peer, now)
        row.false_blocks += 1
        row.honest.see(0.0, REPUTATION_LIE, now)
        row.delivers.see(0.0, 1.0, now)

    def _row(self, peer: PeerID, now: float) -> Peer:
        row = self._peers.get(peer)
        if row is None:
            if len(self._peers) >= self._most:
                self._forget(now)
            row = self._peers[peer] = Peer()
        row.seen = max(row.seen, now)
        self.changes += 1
        return row

    def _forget(self, now: float) -> None:
        """Make room for an eighth: liars beyond their share, then whoever least is known of."""
        order = sorted(self._peers, key=lambda peer: (self._peers[peer].worth(now), self._peers[peer].seen))
        liars = [peer for peer in order if self._peers[peer].honest.bad > 1.0 and self._peers[peer].lies(now)]
        order = list(dict.fromkeys(liars[: max(0, len(liars) - int(REPUTATION_LIARS * self._most))] + order))
        for peer in order[: max(1, self._most // 8)]:
            del self._peers[peer]
            self._forgotten += 1

    # --- questions ----------------------------------------------------------------------------------------------------

    def statistics(self, now: float) -> ReputationStatistics:
        """The counts of this moment."""
        rows = self._peers.values()
        return ReputationStatistics(
            len(self._peers),
            sum(row.lies(now) for row in rows),
            sum(row.wait(now) > 0.0 for row in rows),
            self._forgotten,
        )

    # --- across runs --------------------------------------------------------------------------------------------------

    def dump(self) -> Iterator[list[Any]]:
        """A row for each peer, as plain values for JSON."""
        for peer, row in list(self._peers.items()):
            beliefs = [[one.good, one.bad, one.at] for one in (row.answers, row.delivers, row.honest)]
            counts = [row.verified, row.false_blocks, row.refusals, row.successes]
            yield [str(peer), beliefs, [row.latency, row.throughput, row.measured_at], counts, row.seen]

    def load(self, rows: Iterable[Any], now: float) -> int:
        """Take up what ``dump`` gave; how many peers. What cannot be read is skipped."""
        count = 0
        for values in rows:
            if len(self._peers) >= self._most:
                break
            try:
                text, beliefs, (latency, throughput, measured_at), counts, seen = values
                row, peer = Peer(), PeerID.parse(text)
                for belief, (good, bad, at) in zip((row.answers, row.delivers, row.honest), beliefs, strict=True):
                    belief.good = _bounded(good, REPUTATION_MAX_GOOD)
                    belief.bad = _bounded(bad, REPUTATION_MAX_BAD)
                    belief.at = min(_bounded(at, math.inf), now)
                _measure(row, _maybe(latency), _maybe(throughput), now)
                row.measured_at = min(_bounded(measured_at, math.inf), now)
                row.verified, row.false_blocks, row.refusals, row.successes = (
                    int(_bounded(n, 2.0**62)) for n in counts
                )
                row.seen = min(_bounded(seen, math.inf), now)
            except (InvalidAddress, InvalidCID, TypeError, ValueError, OverflowError, AttributeError):
                continue
            self._peers[peer] = row
            count += 1
        return count


def _measure(row: Peer, latency: float | None, throughput: float | None, now: float) -> None:
    if latency is not None and 0.0 <= latency < math.inf:
        row.latency = latency if row.latency is None else row.latency + _GAIN * (latency - row.latency)
        row.measured_at = now
    if throughput is not None and 0.0 < throughput < math.inf:
        old, new = row.throughput, max(throughput, _LEAST_THROUGHPUT)
        row.throughput = new if old is None else old + _GAIN * (new - old)
        row.measured_at = now


def _bounded(value: Any, most: float) -> float:
    number = float(value)
    if not 0.0 <= number < math.inf:
        raise ValueError(f"{value} is no count")
    return min(number, most)


def _maybe(value: Any) -> float | None:
    return None if value is None else float(value)
