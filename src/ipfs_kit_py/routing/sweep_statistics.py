"""What the sweep counts. Sans-I/O."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """Of some time: regions done, keys in them, lookups, messages (one key to one peer), peers told, regions that
    failed, keys that went to the closest known where lookups told too little, peers that could not be told."""

    regions: int = 0
    keys: int = 0
    lookups: int = 0
    messages: int = 0
    peers: int = 0
    failed_regions: int = 0
    failed_peers: int = 0
    unsure: int = 0


@dataclass(frozen=True, slots=True)
class SweepStatistics:
    """Counts of this moment. ``behind``: seconds since the region that waits the longest was due, and ``late`` how many
    are due; ``network`` is the estimate of its peers. ``total`` counts since the start, ``cycle`` since the begin of
    the interval, and ``last_cycle`` is the one before."""

    keys: int
    queued: int
    regions: int
    working: int
    behind: float
    late: int
    offline: bool
    network: float | None
    total: Counters
    cycle: Counters
    last_cycle: Counters | None
