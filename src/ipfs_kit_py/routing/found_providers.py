"""The providers that a search has met, so that no single peer can fill it with names of its own. Sans-I/O.

Of one answer only a share is handed out at once; the rest waits for another peer to name the same, or for the end of
the search. An answer is a claim: who dials a provider, and what it then sends, is checked by others.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from ipfs_kit_py.core.config import KAD_MAX_PROVIDERS, KAD_RESILIENCY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.core.interfaces import Provider


class FoundProviders:
    """``count`` are wanted. ``resiliency``: how many peers it takes at least to fill a search."""

    def __init__(self, count: int, *, resiliency: int = KAD_RESILIENCY) -> None:
        self._count = count
        self._share = max(1, ceil(count / resiliency))
        self._held: dict[PeerID, Provider] = {}
        self._given: set[PeerID] = set()

    @property
    def enough(self) -> bool:
        """Whether as many as were wanted have been handed out."""
        return len(self._given) >= self._count

    def __len__(self) -> int:
        return len(self._given) + len(self._held)

    def on_answer(self, providers: Iterable[Provider]) -> list[Provider]:
        """One peer's answer; those of it that are to be handed out now."""
        mine: dict[PeerID, Provider] = {}
        for provider in providers:
            mine.setdefault(provider.peer, provider)
        confirmed = [self._held.pop(peer) for peer in mine if peer in self._held]
        fresh = [provider for peer, provider in mine.items() if peer not in self._given]
        named = {provider.peer for provider in confirmed}
        fresh = [provider for provider in fresh if provider.peer not in named]
        for provider in fresh[self._share :]:
            if len(self) < KAD_MAX_PROVIDERS:
                self._held[provider.peer] = provider
        return self._give([*confirmed, *fresh[: self._share]])

    def rest(self) -> list[Provider]:
        """The search is over: whoever was held back, as far as they are wanted."""
        held, self._held = list(self._held.values()), {}
        return self._give(held)

    def _give(self, providers: list[Provider]) -> list[Provider]:
        now = providers[: max(0, self._count - len(self._given))]
        self._given.update(provider.peer for provider in now)
        return now
