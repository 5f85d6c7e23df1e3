"""What is known of providers, in a few lines: for tests of what asks it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.core.interfaces import Provider


@dataclass(frozen=True)
class Judged:
    provider: Provider
    reputation: float
    latency: float | None
    wait: float = 0.0


@dataclass
class Book:
    """The best is the one with the best reputation; under 0.1 nobody is asked."""

    reputation: dict[PeerID, float] = field(default_factory=dict)
    known: dict[bytes, list[Provider]] = field(default_factory=dict)
    stats: list[tuple[PeerID, bool, float | None, int]] = field(default_factory=list)
    affinity: list[tuple[PeerID, bytes]] = field(default_factory=list)
    chosen: list[tuple[bytes, list[Judged]]] = field(default_factory=list)

    def find_cached(self, multihash: bytes) -> Sequence[Provider] | None:
        return self.known.get(multihash)

    def remember(self, multihash: bytes, providers: Sequence[Provider]) -> None:
        self.known[multihash] = list(providers)

    def judge(self, provider: Provider) -> Judged:
        return Judged(provider, self.reputation.get(provider.peer, 0.5), None)

    def explained(self) -> Sequence[tuple[bytes, Sequence[Judged]]]:
        return self.chosen

    def optimal(
        self, multihash: bytes, providers: Sequence[Provider], *, size: int | None = None,
        preferred: Collection[PeerID] = (), count: int = 3,
    ) -> Sequence[Judged]:  # fmt: skip
        judged = [self.judge(provider) for provider in providers]
        good = [item for item in judged if item.reputation >= 0.1]
        good.sort(key=lambda item: (item.provider.peer in preferred, item.reputation), reverse=True)
        self.chosen.append((multihash, good[:count]))
        return good[:count]

    def update_stats(self, peer: PeerID, success: bool, *, latency: float | None = None, size: int = 0) -> None:
        self.stats.append((peer, success, latency, size))

    def record_affinity(self, peer: PeerID, multihash: bytes) -> None:
        self.affinity.append((peer, multihash))
