"""Plain Kademlia, to compare with: k-buckets by time of last contact, three requests at a time, the closest first.

Source: Maymounkov and Mazières, *Kademlia*, 2002: sections 2.2 (buckets), 2.3 (lookup; the refresh), 4.1 (replacement
cache). To be fair it has what the engines have where the paper leaves it open or is slower: buckets are refreshed every
10 minutes, not every hour; a dead peer is waited for as long as the engines' first wait, not for 5 to 15 s as most
implementations do; tables are kept over a restart and checked then.
"""

from __future__ import annotations

import math
from bisect import insort
from typing import TYPE_CHECKING, Any

from ipfs_kit_py.core.cid import PeerID
from ipfs_kit_py.core.config import KAD_ASK_FIRST_SECONDS, KAD_CHECK_SECONDS, KAD_CHECKS_AT_ONCE, KAD_K
from ipfs_kit_py.routing.kad_wire import PeerInfo
from ipfs_kit_py.routing.kbuckets import Check
from ipfs_kit_py.routing.kbuckets_refresh import Refresh, Refresher
from ipfs_kit_py.routing.keys import bucket_of, kad_key
from ipfs_kit_py.routing.lookup import Ask, Done

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Sequence

ALPHA = 3
_HEARD, _ASKED, _ANSWERED, _FAILED = range(4)


class PlainTable:
    """``buckets``: the one that was heard of longest ago first; ``spare`` likewise, taken from the other end."""

    def __init__(self, me: PeerID, rng: random.Random) -> None:
        self.me, self.key = me, kad_key(me.raw)
        self._rows: dict[bytes, tuple[int, PeerInfo]] = {}
        self._buckets: dict[int, dict[bytes, None]] = {}
        self._spare: dict[int, dict[bytes, PeerInfo]] = {}
        self._refresher = Refresher(me, self.key, rng)
        self._todo: dict[bytes, None] = {}
        self._checking: dict[bytes, float] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, peer: object) -> bool:
        return isinstance(peer, PeerID) and peer.raw in self._rows

    def on_seen(self, peer: PeerID, addresses: Iterable[str], now: float, *, latency: float | None = None) -> bool:
        """A peer has answered: it goes to its bucket's end, or waits while the first one there is checked."""
        raw, row = peer.raw, self._rows.get(peer.raw)
        if row is None:
            key = kad_key(raw)
            number = bucket_of(self.key, key)
            if peer == self.me:
                return False
            bucket = self._buckets.setdefault(number, {})
            if len(bucket) >= KAD_K:
                self._wait(number, PeerInfo(peer, tuple(addresses)))
                return False
            row = self._rows[raw] = key, PeerInfo(peer, tuple(addresses))
        bucket = self._buckets[bucket_of(self.key, row[0])]
        bucket.pop(raw, None)
        bucket[raw] = None
        return True

    def _wait(self, number: int, info: PeerInfo) -> None:
        spare = self._spare.setdefault(number, {})
        spare.pop(info.peer.raw, None)
        spare[info.peer.raw] = info
        if len(spare) > KAD_K:
            del spare[next(iter(spare))]
        oldest = next(iter(self._buckets[number]))
        if oldest not in self._checking:
            self._todo[oldest] = None

    def on_failed(self, peer: PeerID, now: float) -> None:
        """A peer did not answer: the one heard of last takes its place."""
        row = self._rows.pop(peer.raw, None)
        if row is None:
            return
        number = bucket_of(self.key, row[0])
        del self._buckets[number][peer.raw]
        self._todo.pop(peer.raw, None)
        self._checking.pop(peer.raw, None)
        spare = self._spare.get(number)
        if spare:
            _raw, info = spare.popitem()
            self.on_seen(info.peer, info.addresses, now)

    def on_checked(self, peer: PeerID, ok: bool, now: float) -> None:
        """The outcome of a check."""
        self._checking.pop(peer.raw, None)
        if not ok:
            self.on_failed(peer, now)
        elif peer.raw in self._rows:
            self.on_seen(peer, self._rows[peer.raw][1].addresses, now)

    def on_lookup(self, target: int, now: float) -> None:
        """A lookup has refreshed a bucket."""
        self._refresher.on_lookup(target, now)

    def on_timeout(self, now: float) -> None:
        """Checks that were not answered have failed."""
        for raw in [raw for raw, until in self._checking.items() if until <= now]:
            self.on_checked(PeerID(raw), False, now)

    def nearest(self, target: int, count: int = KAD_K) -> list[PeerInfo]:
        """The closest, the closest first."""
        rows = sorted((key ^ target, info.peer.raw, info) for key, info in self._rows.values())
        return [info for _distance, _raw, info in rows[:count]]

    def next_action(self, now: float) -> Check | Refresh | None:
        """The next check, or bucket to be refreshed."""
        if self._todo and len(self._checking) < KAD_CHECKS_AT_ONCE:
            raw = next(iter(self._todo))
            del self._todo[raw]
            self._checking[raw] = now + KAD_CHECK_SECONDS
            return Check(self._rows[raw][1].peer)
        return self._refresher.next_action(self._deepest(), now) if self._rows else None

    def deadline(self) -> float | None:
        """When the next check or refresh is due."""
        if not self._rows:
            return None
        soonest = self._refresher.deadline(self._deepest())
        if self._todo and len(self._checking) < KAD_CHECKS_AT_ONCE:
            soonest = -math.inf
        return min(soonest, *self._checking.values()) if self._checking else soonest

    def _deepest(self) -> int:
        return max((number for number, bucket in self._buckets.items() if bucket), default=0)

    def dump(self, now: float) -> list[dict[str, Any]]:
        """The peers."""
        return [{"peer": info.peer, "addresses": info.addresses} for _key, info in self._rows.values()]

    def load(self, rows: Iterable[Any], now: float) -> int:
        """Take up what was dumped; all are checked."""
        for row in rows:
            self.on_seen(row["peer"], row["addresses"], now)
            self._todo[row["peer"].raw] = None
        return len(self._rows)


class PlainLookup:
    """Asks the closest of whom it knows, three at a time; all of the ``k`` closest once answers bring nobody closer."""

    def __init__(self, target: int, seeds: Sequence[PeerInfo], me: PeerID, wait: float = KAD_ASK_FIRST_SECONDS) -> None:
        self.target, self._me, self._wait = target, me, wait
        self._order: list[tuple[int, bytes]] = []
        self._known: dict[bytes, _Row] = {}
        self._flying: dict[bytes, float] = {}
        self._wide = self._stopped = False
        for info in seeds:
            self._hear(info, 0)

    def _hear(self, info: PeerInfo, hops: int) -> None:
        raw = info.peer.raw
        if raw in self._known or raw == self._me.raw:
            return
        self._known[raw] = _Row(info, hops)
        insort(self._order, (kad_key(raw) ^ self.target, raw))

    def _near(self) -> list[_Row]:
        found: list[_Row] = []
        for _distance, raw in self._order:
            row = self._known[raw]
            if row.state != _FAILED:
                found.append(row)
                if len(found) >= KAD_K:
                    break
        return found

    def next_action(self, now: float) -> Ask | Done | None:
        """As ``Lookup.next_action``."""
        near = self._near()
        if not self._stopped:
            for row in near:
                if row.state == _HEARD and len(self._flying) < (KAD_K if self._wide else ALPHA):
                    row.state = _ASKED
                    self._flying[row.info.peer.raw] = now + self._wait
                    return Ask(row.info, self._wait)
            if any(row.state != _ANSWERED for row in near):
                return None
        return Done(tuple(row.info for row in near if row.state == _ANSWERED))

    def deadline(self) -> float | None:
        """When a peer has had its time."""
        return min(self._flying.values(), default=None)

    def on_timeout(self, now: float) -> None:
        """Peers that did not answer in time have failed."""
        for raw in [raw for raw, until in self._flying.items() if until <= now]:
            self._end(raw, _FAILED)

    def on_answer(self, peer: PeerID, closer: Iterable[PeerInfo], now: float) -> None:
        """A peer has answered; where it names nobody closer than the closest known, the end is near."""
        row = self._known[peer.raw]
        if row.state == _ANSWERED:
            return
        self._end(peer.raw, _ANSWERED)
        best = self._order[0]
        for info in closer:
            self._hear(info, row.hops + 1)
        self._wide = self._order[0] == best

    def on_failure(self, peer: PeerID, now: float) -> None:
        """A peer could not be reached."""
        if self._known[peer.raw].state == _ASKED:
            self._end(peer.raw, _FAILED)

    def _end(self, raw: bytes, state: int) -> None:
        self._flying.pop(raw, None)
        self._known[raw].state = state

    def hops_to(self, peer: PeerID) -> int:
        """How many answers in a row led to this peer's."""
        return self._known[peer.raw].hops + 1

    def stop(self) -> None:
        """End with what is known."""
        self._stopped = True


class _Row:
    __slots__ = ("hops", "info", "state")

    def __init__(self, info: PeerInfo, hops: int) -> None:
        self.info, self.hops, self.state = info, hops, _HEARD
