"""Figures of an outcome."""

from __future__ import annotations

import math
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sim.run import Outcome
    from sim.sweeping import Sweeping


def quantile(values: Iterable[float], share: float) -> float:
    """The value that so many are at most; nan of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def mean(values: Iterable[float]) -> float:
    """The mean; nan of none."""
    found = list(values)
    return fmean(found) if found else math.nan


def figures(outcome: Outcome) -> dict[str, float]:
    """The figures of a run by name; seconds, shares and counts."""
    finds, health = outcome.results.finds, outcome.health
    found = [find for find in finds if find.first is not None]
    first = [find.first for find in found if find.first is not None]
    provides = outcome.results.provides
    found_by_all = {} if outcome.sweeping is None else _sweep(outcome.sweeping)
    return {
        **found_by_all,
        "finds": len(finds),
        "success": len(found) / max(1, len(finds)),
        "hops": mean(find.hops for find in found),
        "first_p50": quantile(first, 0.5),
        "first_p95": quantile(first, 0.95),
        "first_p99": quantile(first, 0.99),
        "first_messages": mean(find.asked for find in found),
        "walk_p50": quantile((find.seconds for find in finds), 0.5),
        "walk_p95": quantile((find.seconds for find in finds), 0.95),
        "walk_p99": quantile((find.seconds for find in finds), 0.99),
        "messages": mean(find.messages for find in finds),
        "right": mean(find.right for find in finds),
        "lookup_hops": mean(find.lookup_hops for find in finds),
        "provide_p50": quantile((row.seconds for row in provides), 0.5),
        "provide_messages": mean(row.messages for row in provides),
        "told": mean(row.told for row in provides),
        "peers": mean(health.peers),
        "live": mean(health.live),
        "modelled": mean(health.modelled),
        "missing": mean(health.missing),
        "slower": mean(health.slower),
        "identities": outcome.identities,
        "online": outcome.online,
        "sent": outcome.messages,
        "refreshes": outcome.refreshes,
        "checks": outcome.checks,
        "cpu": outcome.seconds,
        "megabytes": outcome.megabytes,
    }


def _sweep(swept: Sweeping) -> dict[str, float]:
    """The cost of providing many keys by the sweep: one by one each takes a lookup, and 20 peers to be told."""
    finds = swept.results.finds
    return {
        "swept": swept.keys if swept.done else math.nan,
        "sweep_lookups": swept.lookups,
        "sweep_saved": 1 - swept.lookups / swept.keys,
        "sweep_messages": swept.lookup_messages / swept.keys,
        "sweep_tells": swept.batches / swept.keys,
        "sweep_held": swept.held,
        "sweep_minutes": swept.seconds / 60,
        "sweep_success": sum(find.first is not None for find in finds) / max(1, len(finds)),
    }
