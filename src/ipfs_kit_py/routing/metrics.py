"""What a node counts of finding and fetching content: numbers and percentiles, in constant memory. Sans-I/O."""

from __future__ import annotations

from dataclasses import dataclass

from ipfs_kit_py.core.histogram import Histogram


@dataclass(frozen=True)
class Percentiles:
    """Seconds that half, 95 % and 99 % took at most; ``None`` where nothing was measured."""

    count: int
    p50: float | None
    p95: float | None
    p99: float | None

    @classmethod
    def of(cls, histogram: Histogram) -> Percentiles:
        """Those of a histogram."""
        return cls(histogram.count, *(histogram.quantile(share) for share in (0.5, 0.95, 0.99)))


@dataclass(frozen=True)
class LookupCounts:
    """Searches for providers that ended. ``succeeded`` found somebody; of the others ``absent`` were told that nobody
    provides, ``failed`` could ask nobody or were cut short. ``cache_hits`` were answered by the cache, ``known_absent``
    by its knowledge that nobody provides. ``first``: time to the first provider."""

    count: int
    succeeded: int
    absent: int
    failed: int
    cache_hits: int
    known_absent: int
    providers: int
    success_rate: float
    first: Percentiles


@dataclass(frozen=True)
class RetrievalCounts:
    """Contents that were asked for whole. ``local`` of those that succeeded had their root in the store already."""

    count: int
    succeeded: int
    failed: int
    timed_out: int
    too_large: int
    local: int
    bytes: int
    success_rate: float
    seconds: Percentiles


@dataclass(frozen=True)
class DialCounts:
    """Providers that were connected to because a search named them."""

    succeeded: int
    failed: int
    seconds: Percentiles


@dataclass(frozen=True)
class RoutingCounts:
    """All of a node."""

    lookups: LookupCounts
    retrievals: RetrievalCounts
    dials: DialCounts


class RoutingMetrics:
    """Feed it with what happened; ``counts`` gives the numbers of the moment. Times in seconds, sizes in bytes."""

    def __init__(self) -> None:
        self._first, self._seconds, self._dialled = Histogram(), Histogram(), Histogram()
        self._lookups = self._succeeded = self._absent = self._cache_hits = self._known_absent = self._providers = 0
        self._got = self._local = self._bytes = self._timed_out = self._too_large = self._broken = 0
        self._unreachable = 0

    # --- searches -----------------------------------------------------------------------------------------------------

    def on_lookup(self, providers: int, first: float | None, *, complete: bool, cached: bool = False) -> None:
        """A search ended with so many providers, the first after so long. ``complete``: somebody was asked and went to
        the end of it. ``cached``: nobody had to be asked."""
        self._lookups += 1
        self._providers += providers
        self._succeeded += providers > 0
        self._absent += not providers and complete
        self._cache_hits += cached and providers > 0
        self._known_absent += cached and not providers
        if first is not None:
            self._first.add(first)

    def on_dial(self, seconds: float, *, ok: bool) -> None:
        """A provider was connected to, or could not be."""
        if ok:
            self._dialled.add(seconds)
        else:
            self._unreachable += 1

    # --- contents -----------------------------------------------------------------------------------------------------

    def on_retrieved(self, size: int, seconds: float, *, local: bool) -> None:
        """A content is here, whole."""
        self._got += 1
        self._local += local
        self._bytes += size
        self._seconds.add(seconds)

    def on_not_retrieved(self, *, timed_out: bool = False, too_large: bool = False) -> None:
        """A content could not be had."""
        self._timed_out += timed_out
        self._too_large += too_large
        self._broken += not (timed_out or too_large)

    # --- questions ----------------------------------------------------------------------------------------------------

    def counts(self) -> RoutingCounts:
        """The numbers of this moment."""
        lost = self._timed_out + self._too_large + self._broken
        return RoutingCounts(
            LookupCounts(
                count=self._lookups, succeeded=self._succeeded, absent=self._absent,
                failed=self._lookups - self._succeeded - self._absent, cache_hits=self._cache_hits,
                known_absent=self._known_absent, providers=self._providers,
                success_rate=_share(self._succeeded, self._lookups), first=Percentiles.of(self._first),
            ),
            RetrievalCounts(
                count=self._got + lost, succeeded=self._got, failed=self._broken, timed_out=self._timed_out,
                too_large=self._too_large, local=self._local, bytes=self._bytes,
                success_rate=_share(self._got, self._got + lost), seconds=Percentiles.of(self._seconds),
            ),
            DialCounts(self._dialled.count, self._unreachable, Percentiles.of(self._dialled)),
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"<RoutingMetrics {self._lookups} lookups, {self._got} contents of {self._bytes} bytes>"


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
