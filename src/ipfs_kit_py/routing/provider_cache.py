"""Providers that were found lately, and contents that nobody was found for. Sans-I/O."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING

from ipfs_kit_py.core.config import (
    PROVIDER_ABSENT_SECONDS,
    PROVIDER_CACHE_ADDRESSES,
    PROVIDER_CACHE_KEYS,
    PROVIDER_CACHE_PROVIDERS,
    PROVIDER_CACHE_SECONDS,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.core.interfaces import Provider


class ProviderCache:
    """By multihash, the last used. A find is believed for ``PROVIDER_CACHE_SECONDS``, that nobody provides for
    ``PROVIDER_ABSENT_SECONDS``."""

    def __init__(self, *, keys: int = PROVIDER_CACHE_KEYS) -> None:
        self._most = keys
        self._found: OrderedDict[bytes, tuple[float, tuple[Provider, ...]]] = OrderedDict()
        self.hits = self.misses = 0

    def __len__(self) -> int:
        return len(self._found)

    def get(self, multihash: bytes, now: float) -> tuple[Provider, ...] | None:
        """Those known; empty where it is known that there are none; ``None`` where nothing is known."""
        row = self._found.get(multihash)
        if row is None or not 0.0 < row[0] - now <= PROVIDER_CACHE_SECONDS:  # over, or the clock was put back
            self._found.pop(multihash, None)
            self.misses += 1
            return None
        self._found.move_to_end(multihash)
        self.hits += 1
        return row[1]

    def put(self, multihash: bytes, providers: Sequence[Provider], now: float) -> None:
        """A search has found these, or nobody."""
        kept = tuple(
            one if len(one.addresses) <= PROVIDER_CACHE_ADDRESSES
            else replace(one, addresses=one.addresses[:PROVIDER_CACHE_ADDRESSES])
            for one in providers[:PROVIDER_CACHE_PROVIDERS]
        )  # fmt: skip
        self._found[multihash] = now + (PROVIDER_CACHE_SECONDS if kept else PROVIDER_ABSENT_SECONDS), kept
        self._found.move_to_end(multihash)
        if len(self._found) > self._most:
            self._found.popitem(last=False)

    def drop(self, multihash: bytes, peer: PeerID) -> None:
        """A provider turned out not to have it."""
        row = self._found.get(multihash)
        if row is None:
            return
        kept = tuple(one for one in row[1] if one.peer != peer)
        if kept:
            self._found[multihash] = row[0], kept
        elif row[1]:  # all that was known is wrong, which is not to know that there are none
            del self._found[multihash]

    def forget(self, multihash: bytes) -> None:
        """What was known may be over: somebody provides it now."""
        self._found.pop(multihash, None)

    def __repr__(self) -> str:
        return f"<ProviderCache of {len(self._found)}, {self.hits} hits, {self.misses} misses>"
