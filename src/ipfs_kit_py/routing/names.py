"""What is known of names: a cache that no replayed record gets into, and when our own are due to be published again.

Source: specs.ipfs.tech/ipns/ipns-record; Kubo republishes every 4 h what is valid for 48 h.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from ipfs_kit_py.core.config import (
    IPNS_CACHE_NAMES,
    IPNS_MARKS,
    IPNS_MARKS_DROPPED,
    IPNS_REPUBLISH_MIN_SECONDS,
    IPNS_REPUBLISH_SECONDS,
    IPNS_RETRY_SECONDS,
)
from ipfs_kit_py.core.errors import InvalidRecord
from ipfs_kit_py.crypto import ipns
from ipfs_kit_py.routing.kept_names import Mark

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.crypto.ipns import IpnsRecord

_NANO = 1_000_000_000
_NEVER = float("inf")


@dataclass(frozen=True)
class Publish:
    """A name of ours is due."""

    name: PeerID


@dataclass(frozen=True)
class NamesStatistics:
    """``replayed``: records refused because a newer one of their name was known; ``marks``: names of which the newest
    is remembered, also when it is no longer in the cache."""

    cached: int
    hits: int
    misses: int
    replayed: int
    marks: int
    ours: int
    published: int
    failed: int


def interval(lifetime: float) -> float:
    """Seconds between publications of a record that is valid for ``lifetime``: twice before it ends, at most every
    ``IPNS_REPUBLISH_MIN_SECONDS``."""
    return max(IPNS_REPUBLISH_MIN_SECONDS, min(IPNS_REPUBLISH_SECONDS, lifetime / 2))


class Names:
    """Resolved names by their TTL, and the times of our own. ``now`` is in seconds since 1970.

    An older record than one that was seen is refused until the newer has ended, for our names and the ``IPNS_MARKS``
    others that were followed last.
    """

    def __init__(self) -> None:
        self._cache: OrderedDict[PeerID, tuple[IpnsRecord, float]] = OrderedDict()
        self._marks: OrderedDict[PeerID, Mark] = OrderedDict()
        self._new_marks: dict[PeerID, Mark] = {}
        self._old_marks: dict[PeerID, None] = {}
        self._due: dict[PeerID, float] = {}
        self._every: dict[PeerID, float] = {}
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

    def known(self, name: PeerID) -> IpnsRecord | None:
        """The newest record in the cache, however old."""
        return self._cache.get(name, (None, 0.0))[0]

    def mark(self, name: PeerID, now: float) -> Mark | None:
        """How new a record of this name has to be."""
        found = self._marks.get(name)
        return None if found is None or found.ends <= now * _NANO else found

    def on_record(self, name: PeerID, raw: bytes, now: float) -> IpnsRecord:
        """A record came; returns the newest that is known. ``InvalidRecord`` where what came may not be used, or is
        older than one that was seen and is gone from the cache."""
        record = ipns.verify(raw, name, now)
        known, mark = self.known(name), self.mark(name, now)
        if known is not None and known.expires > now and known.order > record.order:
            self._replayed += 1
            return known  # not made fresh: the next one asks again
        if mark is not None and Mark(*record.order[:2]) < mark:
            self._replayed += 1
            raise InvalidRecord(
                f"a record of {ipns.name_text(name)} with sequence {record.sequence} is older than one seen before"
                f" with {mark.sequence}: it was replayed, or its publisher went back"
            )
        self._cache[name] = (record, now + record.ttl)
        self._cache.move_to_end(name)
        if len(self._cache) > IPNS_CACHE_NAMES:
            self._cache.popitem(last=False)
        self._set_mark(name, Mark(*record.order[:2]))
        return record

    def on_marks(self, marks: Iterable[tuple[PeerID, Mark]], now: float) -> None:
        """What was remembered at the last start."""
        for name, mark in marks:
            if mark.ends > now * _NANO and mark > self._marks.get(name, Mark(-1, 0)):
                self._marks[name] = mark
            elif name not in self._marks:
                self._old_marks[name] = None
        self._evict_marks()

    def take_marks(self) -> dict[PeerID, Mark | None]:
        """What is to be remembered over restarts since the last call, and with ``None`` what no longer is: of these
        at most ``IPNS_MARKS_DROPPED`` at once."""
        changed: dict[PeerID, Mark | None] = dict(self._new_marks)
        self._new_marks.clear()
        for name in list(islice(self._old_marks, IPNS_MARKS_DROPPED)):
            del self._old_marks[name]
            changed[name] = None
        return changed

    def _set_mark(self, name: PeerID, mark: Mark) -> None:
        if self._marks.get(name) != mark:
            self._new_marks[name] = mark
            self._old_marks.pop(name, None)
        self._marks[name] = mark
        self._marks.move_to_end(name)
        self._evict_marks()

    def _evict_marks(self) -> None:
        """Those that were followed longest ago go; never ours, which are fewer than there may be keys."""
        turns = len(self._marks)
        while len(self._marks) > IPNS_MARKS and turns:
            turns -= 1
            name = next(iter(self._marks))
            if name in self._due:
                self._marks.move_to_end(name)
            else:
                del self._marks[name]
                self._new_marks.pop(name, None)
                self._old_marks[name] = None

    # --- our names ----------------------------------------------------------------------------------------------------
    def on_ours(self, name: PeerID, due: float, lifetime: float) -> None:
        """We publish this name, for ``lifetime`` seconds each time, and next at ``due``."""
        self._due[name], self._every[name] = due, interval(lifetime)

    def on_started(self, name: PeerID) -> None:
        """A record of ours is on its way: its name is not due before the outcome is told."""
        if name in self._due:
            self._due[name] = _NEVER

    def on_published(self, name: PeerID, now: float) -> None:
        """A record of ours has gone out."""
        self._published += 1
        if name in self._due:
            self._due[name] = now + self._every[name]

    def on_failed(self, name: PeerID, now: float) -> None:
        """A record of ours reached nobody: it is due again soon."""
        self._failed += 1
        if name in self._due:
            self._due[name] = now + min(IPNS_RETRY_SECONDS, self._every[name])

    def on_removed(self, name: PeerID) -> None:
        """The key is gone: nothing of it is published any more."""
        self._due.pop(name, None)
        self._every.pop(name, None)
        self._cache.pop(name, None)

    def next_action(self, now: float) -> Publish | None:
        """The name that waits longest, if one is due."""
        name = min(self._due, key=self._due.__getitem__, default=None)
        return None if name is None or self._due[name] > now else Publish(name)

    def deadline(self) -> float | None:
        """When the next is due; ``None`` where none will be."""
        first = min(self._due.values(), default=_NEVER)
        return None if first == _NEVER else first

    def statistics(self) -> NamesStatistics:
        """Counters since the start."""
        return NamesStatistics(
            len(self._cache), self._hits, self._misses, self._replayed, len(self._marks), len(self._due),
            self._published, self._failed,
        )  # fmt: skip
