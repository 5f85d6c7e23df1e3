"""What is known of names: a cache that no replayed record gets into, and when our own are due to be published again.

Source: specs.ipfs.tech/ipns/ipns-record; Kubo republishes every 4 h what is valid for 48 h.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ipfs_kit_py.core.config import IPNS_CACHE_NAMES, IPNS_REPUBLISH_SECONDS, IPNS_RETRY_SECONDS
from ipfs_kit_py.crypto import ipns

if TYPE_CHECKING:
    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.crypto.ipns import IpnsRecord


@dataclass(frozen=True)
class Publish:
    """A name of ours is due."""

    name: PeerID


@dataclass(frozen=True)
class NamesStatistics:
    """``replayed``: records refused because a newer one of their name was known."""

    cached: int
    hits: int
    misses: int
    replayed: int
    ours: int
    published: int
    failed: int


class Names:
    """Resolved names by their TTL, and the times of our own. ``now`` is in seconds since 1970."""

    def __init__(self) -> None:
        self._cache: OrderedDict[PeerID, tuple[IpnsRecord, float]] = OrderedDict()
        self._due: dict[PeerID, float] = {}
        self._hits = self._misses = self._replayed = self._published = self._failed = 0

    def __repr__(self) -> str:
        return f"<Names {len(self._cache)} cached, {len(self._due)} ours>"

    # --- names of others ----------------------------------------------------------------------------------------------
    def lookup(self, name: PeerID, now: float) -> IpnsRecord | None:
        """The record that may be used without asking anybody."""
        record, fresh_until = self._cache.get(name, (None, 0.0))
        if record is None or not now < min(fresh_until, record.expires):
            self._misses += 1
            return None
        self._hits += 1
        self._cache.move_to_end(name)
        return record

    def on_record(self, name: PeerID, raw: bytes, now: float) -> IpnsRecord:
        """A record came; returns the newest that is known. ``InvalidRecord`` where what came may not be used."""
        record = ipns.verify(raw, name, now)
        known, _fresh_until = self._cache.get(name, (None, 0.0))
        if known is not None and known.expires > now and known.order > record.order:
            self._replayed += 1
            return known  # not made fresh: the next one asks again
        self._cache[name] = (record, now + record.ttl)
        self._cache.move_to_end(name)
        if len(self._cache) > IPNS_CACHE_NAMES:
            self._cache.popitem(last=False)
        return record

    # --- our names ----------------------------------------------------------------------------------------------------
    def on_ours(self, name: PeerID, now: float) -> None:
        """We have published this name before: it is due at once."""
        self._due.setdefault(name, now)

    def on_published(self, name: PeerID, now: float) -> None:
        """A record of ours has gone out."""
        self._published += 1
        self._due[name] = now + IPNS_REPUBLISH_SECONDS

    def on_failed(self, name: PeerID, now: float) -> None:
        """A record of ours reached nobody: it is due again soon."""
        self._failed += 1
        self._due[name] = now + IPNS_RETRY_SECONDS

    def on_removed(self, name: PeerID) -> None:
        """The key is gone: nothing of it is published any more."""
        self._due.pop(name, None)
        self._cache.pop(name, None)

    def next_action(self, now: float) -> Publish | None:
        """The name that waits longest, if one is due."""
        name = min(self._due, key=self._due.__getitem__, default=None)
        return None if name is None or self._due[name] > now else Publish(name)

    def deadline(self) -> float | None:
        """When the next is due; ``None`` where we have no names."""
        return min(self._due.values(), default=None)

    def statistics(self) -> NamesStatistics:
        """Counters since the start."""
        return NamesStatistics(
            len(self._cache), self._hits, self._misses, self._replayed, len(self._due), self._published, self._failed
        )
