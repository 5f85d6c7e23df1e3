"""The routing table: k-buckets that keep who has been there long, bounded by networks. Sans-I/O.

A peer enters once it has answered us; it leaves when it fails a check, never because a newer one came. Who comes to a
full bucket waits as a replacement, and the peer there that was silent the longest is checked. While every check fails
and nobody answers, it is our own network that is down, and nobody is evicted.
Source: Maymounkov and Mazières, *Kademlia*, 2002, sections 2.2 to 2.4 and 4.1; libp2p/specs kad-dht/README.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ipfs_kit_py.core.cid import PeerID
from ipfs_kit_py.core.config import (
    KAD_CHECK_SECONDS,
    KAD_CHECKS_AT_ONCE,
    KAD_FRESH_SECONDS,
    KAD_K,
    KAD_OFFLINE_FAILURES,
    KAD_RETRY_SECONDS,
    KAD_STALE_SECONDS,
)
from ipfs_kit_py.core.errors import InvalidAddress
from ipfs_kit_py.routing.kad_wire import PeerInfo
from ipfs_kit_py.routing.kbuckets_groups import Diversity, Groups, first_addresses, groups_of
from ipfs_kit_py.routing.kbuckets_refresh import Refresh, Refresher
from ipfs_kit_py.routing.keys import KEY_BITS, bucket_of, kad_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ipfs_kit_py.routing.keys import Chance

__all__ = ["Check", "Refresh", "Table", "TableStatistics"]

_LATENCY_SHARE = 0.2  # of a new measurement in the running mean: about the last five count


@dataclass(frozen=True, slots=True)
class Check:
    """Ask this peer whether it is there (a FIND_NODE for ourselves, say); tell the table by ``on_checked``."""

    peer: PeerID


@dataclass(frozen=True, slots=True)
class TableStatistics:
    """Counts of a table; ``buckets`` are peers per bucket from the farthest on."""

    peers: int
    replacements: int
    suspects: int
    checking: int
    buckets: tuple[int, ...]
    groups: int
    added: int
    evicted: int
    refused_groups: int
    offline: bool


class _Entry:
    """A peer of the table or a replacement. ``failed``: when a request to it failed last and it must be checked."""

    __slots__ = ("added", "bucket", "due", "failed", "groups", "info", "key", "latency", "seen")

    def __init__(self, info: PeerInfo, key: int, bucket: int, groups: Groups, now: float) -> None:
        self.info, self.key, self.bucket, self.groups = info, key, bucket, groups
        self.added = self.seen = self.due = now
        self.latency: float | None = None
        self.failed = False

    def measured(self, latency: float | None) -> None:
        if latency is None or not 0.0 <= latency < math.inf:
            return
        old = self.latency
        self.latency = latency if old is None else old + _LATENCY_SHARE * (latency - old)


class _Bucket:
    __slots__ = ("entries", "pressed", "spare")

    def __init__(self) -> None:
        self.entries: dict[bytes, _Entry] = {}
        self.spare: dict[bytes, _Entry] = {}  # whoever was seen last is last
        self.pressed = -math.inf  # when a peer here was last checked because others wait for its place


class Table:
    """``lan``: loopback and private addresses are not counted by group. ``now`` is in seconds of any one clock."""

    def __init__(self, me: PeerID, *, k: int = KAD_K, rng: Chance, lan: bool = False) -> None:
        self.me, self.me_key, self.k, self.lan = me, kad_key(me.raw), k, lan
        self._entries: dict[bytes, _Entry] = {}
        self._buckets: dict[int, _Bucket] = {}
        self._checking: dict[bytes, float] = {}  # peer -> when its check has failed
        self._diversity = Diversity()
        self._refresher = Refresher(me, self.me_key, rng)
        self._next = math.inf  # before this, nothing is due
        self._failures = 0  # checks that failed since anybody answered
        self._added = self._evicted = self._refused = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, peer: object) -> bool:
        return isinstance(peer, PeerID) and peer.raw in self._entries

    def __repr__(self) -> str:
        return f"<Table of {self.me}: {len(self)} peers in {len(self._buckets)} buckets, {len(self._checking)} checks>"

    # --- what happens -------------------------------------------------------------------------------------------------

    def on_seen(self, peer: PeerID, addresses: Iterable[str], now: float, *, latency: float | None = None) -> bool:
        """A peer that serves the DHT has answered us. Whether it is in the table now.

        ``addresses`` replace those known, unless none are given. ``latency`` in seconds is how long it took.
        """
        self._failures = 0
        entry = self._entries.get(peer.raw)
        if entry is None:
            return peer != self.me and self._newcomer(peer, addresses, now, latency)
        self._update(entry, addresses)
        entry.measured(latency)
        entry.seen, entry.failed = now, False
        return True

    def on_failed(self, peer: PeerID, now: float) -> None:
        """A request to a peer failed: it is checked before it may go, and passed over until then."""
        entry = self._entries.get(peer.raw)
        if entry is None:
            self._forget_spare(peer)
            return
        if not entry.failed:
            entry.failed, entry.due = True, now
            self._next = min(self._next, now)

    def on_checked(self, peer: PeerID, ok: bool, now: float) -> None:
        """The outcome of a ``Check``."""
        self._checking.pop(peer.raw, None)
        self._next = min(self._next, now)
        entry = self._entries.get(peer.raw)
        if ok:
            self._failures = 0
            if entry is not None:
                entry.seen, entry.failed = now, False
        elif entry is not None:
            self._failures += 1
            if self._failures > KAD_OFFLINE_FAILURES:
                entry.failed, entry.due = True, now + KAD_RETRY_SECONDS
            else:
                self._evicted += 1
                self._drop(entry, now)

    def on_lookup(self, target: int, now: float) -> None:
        """A lookup for ``target`` was done: its bucket needs no refresh for a while."""
        self._refresher.on_lookup(target, now)

    def remove(self, peer: PeerID) -> None:
        """Drop a peer at once: it serves the DHT no longer, or misbehaved."""
        entry = self._entries.get(peer.raw)
        if entry is None:
            self._forget_spare(peer)
        else:
            self._drop(entry, entry.seen)

    # --- questions ----------------------------------------------------------------------------------------------------

    def nearest(self, target: int, count: int = KAD_K) -> list[PeerInfo]:
        """The closest known peers, the closest first; those that failed last only where others do not suffice."""
        found: list[tuple[int, _Entry]] = []
        suspects: list[tuple[int, _Entry]] = []
        for group in self._outward(target):
            near = [(entry.key ^ target, entry) for bucket in group for entry in bucket.entries.values()]
            near.sort()
            found += [row for row in near if not row[1].failed]
            if len(found) >= count:
                break
            suspects += [row for row in near if row[1].failed]
        if len(found) < count:
            found += suspects
        return [entry.info for _distance, entry in found[:count]]

    def _outward(self, target: int) -> Iterator[list[_Bucket]]:
        """The buckets from the closest to ``target`` on; all in one list are closer than all in the next.

        Peers of the target's own bucket share a bit more with it than those of all deeper ones, which share with it
        exactly what we do; those of each shallower one share less, and less again.
        """
        buckets, home = self._buckets, bucket_of(self.me_key, target)
        if home in buckets:
            yield [buckets[home]]
        deeper = [bucket for number, bucket in buckets.items() if number > home]
        if deeper:
            yield deeper
        for number in range(home - 1, -1, -1):
            if number in buckets:
                yield [buckets[number]]

    def latency(self, peer: PeerID) -> float | None:
        """How long a peer takes to answer, in seconds, where that is known."""
        entry = self._entries.get(peer.raw)
        return None if entry is None else entry.latency

    def statistics(self) -> TableStatistics:
        """The counts of this moment."""
        deepest = max(self._buckets, default=-1)
        sizes = tuple(len(self._buckets[n].entries) if n in self._buckets else 0 for n in range(deepest + 1))
        return TableStatistics(
            peers=len(self._entries),
            replacements=sum(len(bucket.spare) for bucket in self._buckets.values()),
            suspects=sum(entry.failed for entry in self._entries.values()),
            checking=len(self._checking),
            buckets=sizes,
            groups=len(self._diversity),
            added=self._added,
            evicted=self._evicted,
            refused_groups=self._refused,
            offline=self._failures > KAD_OFFLINE_FAILURES,
        )

    # --- what to do ---------------------------------------------------------------------------------------------------

    def next_action(self, now: float) -> Check | Refresh | None:
        """The next check or refresh that is due; each is given once."""
        if now < self._next:
            return None
        soonest = self._soonest_check()
        if soonest is not None and soonest[0] <= now:
            return self._check(soonest[1], now)
        refresh = self._refresher.next_action(self._deepest(), now) if self._entries else None
        if refresh is None:
            self._next = self._soonest(soonest)
        return refresh

    def deadline(self) -> float | None:
        """When to call ``on_timeout`` and ``next_action``."""
        soonest = min(self._next, *self._checking.values()) if self._checking else self._next
        return None if soonest == math.inf else soonest

    def on_timeout(self, now: float) -> None:
        """Checks that were not answered in time have failed."""
        for raw in [raw for raw, until in self._checking.items() if until <= now]:
            self.on_checked(PeerID(raw), False, now)

    def _check(self, entry: _Entry, now: float) -> Check:
        peer = entry.info.peer
        self._checking[peer.raw] = now + KAD_CHECK_SECONDS
        self._buckets[entry.bucket].pressed = now
        return Check(peer)

    def _soonest(self, check: tuple[float, _Entry] | None) -> float:
        refresh = self._refresher.deadline(self._deepest()) if self._entries else math.inf
        return min(refresh, check[0] if check is not None else math.inf)

    def _soonest_check(self) -> tuple[float, _Entry] | None:
        """The peer to be checked first and when; ``None`` while as many checks are under way as may be."""
        if len(self._checking) >= KAD_CHECKS_AT_ONCE:
            return None
        best, soonest, checking = None, math.inf, self._checking
        for bucket in self._buckets.values():
            oldest = None
            for raw, entry in bucket.entries.items():
                if raw in checking:
                    continue
                if oldest is None or entry.seen < oldest.seen:
                    oldest = entry
                due = entry.due if entry.failed else entry.seen + KAD_STALE_SECONDS
                if due < soonest:
                    best, soonest = entry, due
            if oldest is not None and bucket.spare:
                due = max(oldest.seen, bucket.pressed) + KAD_FRESH_SECONDS
                if due < soonest:
                    best, soonest = oldest, due
        return None if best is None else (soonest, best)

    def _deepest(self) -> int:
        return max(self._buckets, default=0)

    # --- coming and going ---------------------------------------------------------------------------------------------

    def _entry(self, peer: PeerID, addresses: Iterable[str], now: float) -> _Entry:
        told, key = first_addresses(addresses), kad_key(peer.raw)
        groups = groups_of(told, exempt=self.lan)
        return _Entry(PeerInfo(peer, told), key, bucket_of(self.me_key, key), groups, now)

    def _newcomer(self, peer: PeerID, addresses: Iterable[str], now: float, latency: float | None) -> bool:
        entry = self._entry(peer, addresses, now)
        entry.measured(latency)
        bucket = self._buckets.get(entry.bucket)
        old = bucket.spare.pop(peer.raw, None) if bucket is not None else None
        if old is not None and entry.latency is None:
            entry.latency = old.latency
        if bucket is None or len(bucket.entries) < self.k:
            return self._enter(entry, now)
        self._wait(bucket, entry)
        return False

    def _enter(self, entry: _Entry, now: float) -> bool:
        if not self._diversity.allows(entry.bucket, entry.groups):
            self._refused += 1
            return False
        raw = entry.info.peer.raw
        new_region = not self._entries or entry.bucket > self._deepest()
        self._buckets.setdefault(entry.bucket, _Bucket()).entries[raw] = self._entries[raw] = entry
        self._diversity.add(entry.bucket, entry.groups)
        self._added += 1
        self._next = min(self._next, now if new_region else entry.seen + KAD_STALE_SECONDS)
        return True

    def _wait(self, bucket: _Bucket, entry: _Entry) -> None:
        """Keep a peer as a replacement: of each network as few as in a bucket, the last seen."""
        limit = self._diversity.in_bucket
        for group in entry.groups:
            if sum(group in other.groups for other in bucket.spare.values()) >= limit:
                self._refused += 1
                return
        if not bucket.spare:
            self._next = min(self._next, entry.seen)
        elif len(bucket.spare) >= self.k:
            del bucket.spare[next(iter(bucket.spare))]
        bucket.spare[entry.info.peer.raw] = entry

    def _drop(self, entry: _Entry, now: float) -> None:
        """Take a peer out; of those that wait for its place, the one that answers fastest enters."""
        raw, bucket = entry.info.peer.raw, self._buckets[entry.bucket]
        del self._entries[raw], bucket.entries[raw]
        self._checking.pop(raw, None)
        self._diversity.drop(entry.bucket, entry.groups)
        waiting = sorted(bucket.spare.items(), key=lambda row: math.inf if row[1].latency is None else row[1].latency)
        for name, heir in waiting:
            if self._diversity.allows(entry.bucket, heir.groups):
                del bucket.spare[name]
                self._enter(heir, now)
                return
        if not bucket.entries and not bucket.spare:
            del self._buckets[entry.bucket]

    def _forget_spare(self, peer: PeerID) -> None:
        bucket = self._buckets.get(bucket_of(self.me_key, kad_key(peer.raw)))
        if bucket is not None:
            bucket.spare.pop(peer.raw, None)

    def _update(self, entry: _Entry, addresses: Iterable[str]) -> None:
        """Take new addresses, unless they are in networks that have their share already."""
        told = first_addresses(addresses)
        if not told or told == entry.info.addresses:
            return
        groups = groups_of(told, exempt=self.lan)
        self._diversity.drop(entry.bucket, entry.groups)
        if self._diversity.allows(entry.bucket, groups):
            entry.info, entry.groups = PeerInfo(entry.info.peer, told), groups
        self._diversity.add(entry.bucket, entry.groups)

    # --- across runs --------------------------------------------------------------------------------------------------

    def dump(self, now: float) -> list[dict[str, Any]]:
        """The peers as plain values for JSON; times are ages in seconds, since clocks differ between runs."""
        return [
            {
                "peer": str(entry.info.peer),
                "addresses": list(entry.info.addresses),
                "known": now - entry.added,
                "latency": entry.latency,
            }
            for entry in self._entries.values()
        ]

    def load(self, rows: Iterable[Any], now: float) -> int:
        """Take up what ``dump`` gave; how many peers. What cannot be read is skipped; all are checked soon."""
        count = 0
        for number, row in enumerate(rows):
            if number >= self.k * KEY_BITS:
                break
            entry = self._restored(row, now)
            if entry is None or entry.info.peer == self.me or entry.info.peer in self:
                continue
            bucket = self._buckets.get(entry.bucket)
            if bucket is None or len(bucket.entries) < self.k:
                count += self._enter(entry, now)
        return count

    def _restored(self, row: Any, now: float) -> _Entry | None:
        try:
            entry = self._entry(PeerID.parse(row["peer"]), row["addresses"], now)
            known, latency = float(row["known"]), row["latency"]
            entry.measured(None if latency is None else float(latency))
        except (InvalidAddress, KeyError, TypeError, ValueError, AttributeError):
            return None
        entry.added = now - known if 0.0 <= known < math.inf else now
        entry.seen = now - KAD_STALE_SECONDS
        return entry
