"""Backoff: how long a peer that could not be dialled is left alone. Sans-I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ipfs_kit_py.core.config import BACKOFF_BASE_SECONDS, BACKOFF_MAX_PEERS, BACKOFF_MAX_SECONDS, DIAL_MAX_ADDRESSES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from ipfs_kit_py.core.cid import PeerID


class Chance(Protocol):
    """What is asked of an rng."""

    def random(self) -> float:
        """From 0 to 1, less than 1."""
        ...


class _Dead(NamedTuple):
    failures: int
    until: float
    tried: frozenset[str]


@dataclass(frozen=True)
class BackoffStatistics:
    """``peers`` that are remembered as unreachable."""

    peers: int


class Backoff:
    """Unreachable peers, each with the time of its next trial: 5 s, 10 s … 1 h, less up to half by chance.

    Chance keeps nodes that lost the same peer from coming back all at once."""

    def __init__(self, rng: Chance, *, capacity: int = BACKOFF_MAX_PEERS) -> None:
        self._rng = rng
        self._capacity = capacity
        self._dead: dict[PeerID, _Dead] = {}

    def on_failure(self, peer: PeerID, tried: Iterable[str], now: float) -> float:
        """All of ``tried`` failed; returns when the peer may be dialled again."""
        old = self._dead.pop(peer, None)
        failures = old.failures + 1 if old is not None else 1
        wait = min(BACKOFF_MAX_SECONDS, BACKOFF_BASE_SECONDS * 2.0 ** min(failures - 1, 30))
        until = now + wait * (0.5 + 0.5 * self._rng.random())
        known = [*tried, *(sorted(old.tried) if old is not None else ())][: 2 * DIAL_MAX_ADDRESSES]
        if len(self._dead) >= self._capacity:
            self._forget(now)
        self._dead[peer] = _Dead(failures, until, frozenset(known))
        return until

    def on_success(self, peer: PeerID) -> None:
        """The peer answered: forget its failures."""
        self._dead.pop(peer, None)

    def wait(self, peer: PeerID, now: float) -> float:
        """Seconds until the peer may be dialled; 0 where it may now."""
        found = self._dead.get(peer)
        return max(0.0, found.until - now) if found is not None else 0.0

    def fresh(self, peer: PeerID, addresses: Collection[str]) -> list[str]:
        """Those addresses that have no part in the peer's failures: they are tried at once."""
        found = self._dead.get(peer)
        return list(addresses) if found is None else [text for text in addresses if text not in found.tried]

    def _forget(self, now: float) -> None:
        """Make room: what is over, else the eighth that ends first (by eighths, so that it costs O(log n) each)."""
        over = [peer for peer, row in self._dead.items() if row.until <= now]
        if not over:
            over = sorted(self._dead, key=lambda peer: self._dead[peer].until)[: max(1, self._capacity // 8)]
        for peer in over:
            del self._dead[peer]

    def statistics(self) -> BackoffStatistics:
        return BackoffStatistics(peers=len(self._dead))

    def __repr__(self) -> str:
        return f"<Backoff of {len(self._dead)} peers>"
