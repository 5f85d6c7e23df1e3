"""Which providers to ask for so many bytes: those from which they are expected first. Sans-I/O.

What a choice stands on is told with it, term by term, in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ipfs_kit_py.core.config import (
    CHOICE_LATENCY,
    CHOICE_LOCAL_LATENCY,
    CHOICE_LOCAL_THROUGHPUT,
    CHOICE_RELAY_THROUGHPUT,
    CHOICE_SIZE,
    CHOICE_THROUGHPUT,
    CHOICE_TRIES_UNKNOWN,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.core.interfaces import Provider
    from ipfs_kit_py.routing.keys import Chance
    from ipfs_kit_py.routing.reputation import Peer, Reputation

_PATIENCE = 4.0  # times the expected time that a peer is waited for in vain
_LEAST_PATIENCE = 1.0  # seconds of it at least
_LEAST_CHANCE = 0.02  # of delivering, that is reckoned with: expected times stay finite
_RELAY_LATENCY = 2.0  # times the latency, through a relay
_CONNECT = 3.0  # round trips until a peer that is not connected can be asked
_AFFINITY_GAIN = 0.5  # of the doubt whether it has the content at all that is gone with full affinity
_HAS = 0.8  # chance that who is said to provide still has it, before affinity says more


class Candidate(NamedTuple):
    """A provider. ``rtt`` in seconds where its connection is measured; ``load`` bytes that are asked of it already;
    ``affinity`` from 0 to 1."""

    provider: Provider
    connected: bool = False
    rtt: float | None = None
    load: int = 0
    local: bool = False
    relayed: bool = False
    affinity: float = 0.0


@dataclass(frozen=True)
class Choice:
    """A provider and why. ``seconds`` are expected until all bytes are here: ``queue`` for what it owes already,
    ``connect``, ``answer`` (a round trip), ``transfer``, and ``risk``, the time that is lost where it does not deliver,
    which it does by the chance ``chance``. ``latency`` as it was measured, ``None`` before. ``wait``: seconds for which
    it is better left alone after failures; ``lies``: it is asked after everybody else."""

    provider: Provider
    seconds: float
    queue: float
    connect: float
    answer: float
    transfer: float
    risk: float
    chance: float
    reputation: float
    latency: float | None
    known: bool
    local: bool
    affinity: float
    wait: float
    lies: bool = False
    explored: bool = False

    @property
    def peer(self) -> PeerID:
        """Who it is."""
        return self.provider.peer


def weigh(candidate: Candidate, row: Peer, size: int, now: float, *, known: bool, hopeful: bool = False) -> Choice:
    """What is expected of one candidate. ``hopeful``: a stranger counts as likely as it may be, not as is sure."""
    answer, rate = _speed(candidate, row, now)
    queue, transfer = candidate.load / rate, size / rate
    connect = 0.0 if candidate.connected else _CONNECT * answer
    has = _HAS + (1.0 - _HAS) * _AFFINITY_GAIN * min(max(candidate.affinity, 0.0), 1.0)
    beliefs = (row.answers, row.delivers, row.honest, row.honest)  # a lie costs bytes and time: it counts twice
    chance = has
    for belief in beliefs:
        chance *= belief.mean(now) if hopeful else belief.sure(now)
    chance = max(chance, _LEAST_CHANCE)
    whole = queue + connect + answer + transfer
    risk = (1.0 / chance - 1.0) * max(_LEAST_PATIENCE, _PATIENCE * whole)
    measured = row.latency if candidate.rtt is None else candidate.rtt
    return Choice(
        candidate.provider, whole + risk, queue, connect, answer, transfer, risk, chance, row.reputation(now), measured,
        known, candidate.local, candidate.affinity, row.wait(now), row.lies(now),
    )  # fmt: skip


def _speed(candidate: Candidate, row: Peer, now: float) -> tuple[float, float]:
    near = candidate.local and candidate.connected  # who only says that it is near may be slow
    latency, rate = row.expected(
        now,
        CHOICE_LOCAL_LATENCY if candidate.local else CHOICE_LATENCY,
        CHOICE_LOCAL_THROUGHPUT if near else CHOICE_THROUGHPUT,
    )
    if candidate.relayed:
        latency, rate = latency * _RELAY_LATENCY, min(rate, CHOICE_RELAY_THROUGHPUT)
    return latency if candidate.rtt is None else candidate.rtt, rate


def choose(
    candidates: Iterable[Candidate], reputation: Reputation, rng: Chance, now: float,
    *, size: int | None = None, count: int = 3, preferred: Collection[PeerID] = (),
) -> list[Choice]:  # fmt: skip
    """The best ``count`` for ``size`` bytes, the best first.

    Liars come last, however fast; equals by chance, whoever was named first. Those of ``preferred`` come first where
    nothing speaks against them (lies, failures). Where three or more are chosen, the last is now and then a stranger,
    the most promising one.
    """
    size = CHOICE_SIZE if size is None or size < 0 else size
    rows = [(one, reputation.get(one.provider.peer), reputation.knows(one.provider.peer)) for one in candidates]
    weighed = [weigh(one, row, size, now, known=known) for one, row, known in rows]
    if any(one.wait <= 0.0 and not one.lies for one in weighed):
        weighed = [one for one in weighed if one.wait <= 0.0]
    best = sorted(
        weighed,
        key=lambda one: (
            one.lies,
            one.wait > 0.0,
            one.peer not in preferred or not _fit(one),
            one.seconds,
            rng.random(),
        ),
    )
    chosen = best[: max(0, count)]
    if count >= 3 and len(best) > count and all(one.known for one in chosen) and rng.random() < CHOICE_TRIES_UNKNOWN:
        strangers = [weigh(one, row, size, now, known=False, hopeful=True) for one, row, known in rows if not known]
        if strangers:
            found = min(strangers, key=lambda one: one.seconds)
            chosen[-1] = Choice(**{**vars(found), "explored": True})
    return chosen


def _fit(choice: Choice) -> bool:
    """Whether a preferred peer may have its preference."""
    return choice.chance > _LEAST_CHANCE and choice.wait <= 0.0 and not choice.lies
