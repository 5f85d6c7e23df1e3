"""When each bucket of a routing table is looked up again, and by which key. Sans-I/O.

Source: Maymounkov and Mazières, *Kademlia*, 2002, section 2.3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ipfs_kit_py.core.config import KAD_REFRESH_BITS, KAD_REFRESH_SECONDS
from ipfs_kit_py.routing.keys import KEY_BITS, bucket_of, kad_key, preimage

if TYPE_CHECKING:
    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.routing.keys import Chance

_OURSELVES = KEY_BITS - 1  # stands for all the buckets that are deeper than any with a key of its own
_DEEP = 8  # from this bucket on a key is kept: 500 hashes and more
_AGAIN_SECONDS = 1.0  # until the next tries for a key of a deep bucket, whose many hashes must not hold the loop


@dataclass(frozen=True, slots=True)
class Refresh:
    """Look up ``target``; ``key`` are bytes for FIND_NODE that hash to it (our own peer id for the deepest buckets)."""

    bucket: int
    key: bytes
    target: int


class Refresher:
    """The times of one table's buckets: at most ``KAD_REFRESH_BITS`` and one more."""

    def __init__(self, me: PeerID, me_key: int, rng: Chance) -> None:
        self._me, self._key, self._rng = me, me_key, rng
        self._due: dict[int, float] = {}
        self._deep: dict[int, bytes] = {}  # keys of deep buckets: they take long to find, and any shows a small bucket

    def on_lookup(self, target: int, now: float) -> None:
        """A lookup for ``target`` was done: it has refreshed the bucket there."""
        bucket = bucket_of(self._key, target)
        if bucket < KAD_REFRESH_BITS or bucket == _OURSELVES:
            self._due[bucket] = now + KAD_REFRESH_SECONDS

    def next_action(self, deepest: int, now: float) -> Refresh | None:
        """The refresh that is due, ourselves first: there our neighbours are. ``deepest`` bucket with peers."""
        for bucket in self._buckets(deepest):
            if self._due.get(bucket, -math.inf) > now:
                continue
            self._due[bucket] = now + KAD_REFRESH_SECONDS
            if bucket == _OURSELVES:
                return Refresh(bucket, self._me.raw, self._key)
            found = self._key_in(bucket)
            if found is not None:
                return Refresh(bucket, found, kad_key(found))
            self._due[bucket] = now + _AGAIN_SECONDS
            return None
        return None

    def _key_in(self, bucket: int) -> bytes | None:
        """Bytes that hash into a bucket, found within a bounded time or not."""
        found = self._deep.get(bucket)
        if found is None:
            found = preimage(self._key ^ (1 << (KEY_BITS - 1 - bucket)), bucket + 1, self._rng)
            if found is not None and bucket >= _DEEP:
                self._deep[bucket] = found
        return found

    def deadline(self, deepest: int) -> float:
        """When the next refresh is due."""
        return min(self._due.get(bucket, -math.inf) for bucket in self._buckets(deepest))

    def _buckets(self, deepest: int) -> list[int]:
        return [_OURSELVES, *range(min(deepest + 1, KAD_REFRESH_BITS))]
