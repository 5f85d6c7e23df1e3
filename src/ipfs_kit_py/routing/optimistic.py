"""Providing one key in a hurry: peers are told as soon as they are probably among its closest. Sans-I/O.

The last peers of a lookup take the most time, above all those that never answer. From the size of the network is known
how far the 20th closest of a key usually is; who answers and is clearly closer need not wait for the lookup's end. The
caller has its answer when half of the peers have the record, the others are told behind its back.
Source: Trautwein et al., *IPFS in the Fast Lane: Accelerating Record Storage with Optimistic Provide*, INFOCOM 2024.
Otherwise than there only those are told early who have answered for themselves, and the lookup goes on to its end.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ipfs_kit_py.core.config import KAD_K, OPTIMISTIC_CERTAINTY, OPTIMISTIC_RETURN
from ipfs_kit_py.routing.keys import KEY_BITS, kad_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.routing.kad_wire import PeerInfo


@dataclass(frozen=True, slots=True)
class Store:
    """Send this peer the record; then ``on_stored`` or ``on_failed``."""

    info: PeerInfo


@dataclass(frozen=True, slots=True)
class OptimisticStatistics:
    """Peers told, of them ``early``: before the lookup ended; ``failed`` could not be told."""

    told: int
    early: int
    failed: int


class Optimistic:
    """One record on its way. ``size``: peers of the network; unknown, nobody is told before the lookup's end."""

    def __init__(self, target: int, size: float | None, *, k: int = KAD_K) -> None:
        self.target, self.k = target, k
        self._near = near_share(k, OPTIMISTIC_CERTAINTY) / size * (1 << KEY_BITS) if size else 0.0
        self._todo: deque[PeerInfo] = deque()
        self._seen: set[bytes] = set()
        self._flying = self._told = self._early = self._failed = 0
        self._ended = False

    def __repr__(self) -> str:
        state = "ended" if self._ended else "looking"
        return f"<Optimistic {self.target >> 224:08x}…: {self._told} told, {self._flying} being told, {state}>"

    @property
    def enough(self) -> bool:
        """Whether the caller has what it came for: half of ``k`` peers have the record, or nobody else will."""
        return self._told >= math.ceil(self.k * OPTIMISTIC_RETURN) or self.finished

    @property
    def finished(self) -> bool:
        """Whether the lookup has ended and all have been told."""
        return self._ended and not self._todo and not self._flying

    @property
    def told(self) -> int:
        """How many peers have the record."""
        return self._told

    def on_answered(self, info: PeerInfo) -> None:
        """A peer has answered the lookup. It is told if it is near enough, one of ``k`` at most."""
        if self._ended or self._early >= self.k or info.peer.raw in self._seen:
            return
        if kad_key(info.peer.raw) ^ self.target <= self._near:
            self._early += 1
            self._tell(info)

    def on_closest(self, closest: Iterable[PeerInfo]) -> None:
        """The lookup has ended with these, or with none: those are told who were not yet."""
        self._ended = True
        for info in closest:
            if info.peer.raw not in self._seen:
                self._tell(info)

    def _tell(self, info: PeerInfo) -> None:
        self._seen.add(info.peer.raw)
        self._todo.append(info)

    def next_action(self) -> Store | None:
        """Call until ``None`` after each event."""
        if not self._todo:
            return None
        self._flying += 1
        return Store(self._todo.popleft())

    def on_stored(self, _peer: PeerID) -> None:
        """A peer has the record."""
        self._flying -= 1
        self._told += 1

    def on_failed(self, _peer: PeerID) -> None:
        """A peer could not be told."""
        self._flying -= 1
        self._failed += 1

    def give_up(self) -> None:
        """Nobody else will be told: it took too long, or the node ends."""
        self._failed += self._flying + len(self._todo)
        self._flying = 0
        self._todo.clear()
        self._ended = True

    def statistics(self) -> OptimisticStatistics:
        """The counts of this moment."""
        return OptimisticStatistics(self._told, self._early, self._failed)


def near_share(k: int, certainty: float) -> float:
    """How many peers are expected within the distance that the ``k``-th closest is beyond with this certainty.

    The number within a distance is Poisson distributed: the ``k``-th is beyond where fewer than ``k`` are within.
    """
    low, high = 0.0, float(k)
    while high - low > 1e-6 * k:
        middle = (low + high) / 2
        term = total = math.exp(-middle)
        for count in range(1, k):
            term *= middle / count
            total += term
        low, high = (middle, high) if total > certainty else (low, middle)
    return low
