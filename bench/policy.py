"""Hit ratios of the memory tier's policy beside those of other caches: `python -m bench.policy [--quick] [--markdown]`.

The others are libcachesim's (``pip install '.[bench]'``), on the same requests with the same bytes. A comparison is one
ratio, of objects or of bytes, of one trace at one cache size; the best of the six others counts.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import random
import time
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

from bench import traces
from ipfs_kit_py.storage.arc import AdaptiveReplacement

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

OTHERS = {"LRU": "LRU", "LFU": "LFU", "ARC": "ARC", "S3-FIFO": "S3FIFO", "SIEVE": "Sieve", "W-TinyLFU": "WTinyLFU"}
SHARES = (0.01, 0.05, 0.2)  # of the bytes of all that is asked for: the cache
SAME = 0.1  # points that count as no difference: the standard error of a ratio of 200,000 requests
COST_BLOCKS, COST_USES = 20_000, 300_000


class Ratios(NamedTuple):
    """Hits in per cent, of requests and of their bytes."""

    objects: float
    bytes: float

    def __str__(self) -> str:
        return f"{self.objects:.1f}/{self.bytes:.1f}"


class Cell(NamedTuple):
    """One trace at one cache size: our ratios and those of the others by name."""

    trace: str
    share: float
    own: Ratios
    others: dict[str, Ratios]

    def gaps(self) -> tuple[float, float]:
        """Ours less the best of the others, for objects and bytes, in points."""
        best = [max(ratios) for ratios in zip(*self.others.values(), strict=True)]
        return self.own.objects - best[0], self.own.bytes - best[1]

    def to_the_best(self) -> str:
        """The gaps in words."""
        return "{:+.1f}/{:+.1f}".format(*self.gaps())


class Summary(NamedTuple):
    """``at_best`` of ``count`` comparisons are at or above the best of the others; ``worst`` is the largest gap below
    it in points, ``mean`` the mean difference."""

    at_best: int
    count: int
    worst: float
    mean: float

    def __str__(self) -> str:
        return (
            f"at or above the best of {len(OTHERS)} on {self.at_best} of {self.count}; "
            f"worst gap {self.worst:.1f} points below any; mean {self.mean:+.2f} points from the best"
        )


def multihash(number: int) -> bytes:
    """A key as the store has them."""
    return b"\x12\x20" + hashlib.sha256(b"%d" % number).digest()


def own(trace: traces.Trace, budget: int) -> Ratios:
    """The ratios of the memory tier's policy."""
    policy = AdaptiveReplacement(budget)
    names = {key: multihash(key) for key in trace.sizes}
    hits = hit_bytes = total = 0
    for key in trace.keys:
        size = trace.sizes[key]
        total += size
        name = names[key]
        if policy.reuse(name):
            hits += 1
            hit_bytes += size
        elif size <= budget:
            policy.add(name, size)
    return Ratios(100 * hits / len(trace.keys), 100 * hit_bytes / total)


def other(library: Any, name: str, trace: traces.Trace, budget: int) -> Ratios:
    """The ratios of one of libcachesim's."""
    cache, request = getattr(library, OTHERS[name])(budget, hashpower=16), library.Request()
    hits = hit_bytes = total = 0
    for at, key in enumerate(trace.keys):
        size = trace.sizes[key]
        total += size
        request.obj_id, request.obj_size, request.clock_time = key, size, at
        if cache.get(request):
            hits += 1
            hit_bytes += size
    return Ratios(100 * hits / len(trace.keys), 100 * hit_bytes / total)


def compare(job: tuple[str, tuple[float, ...], int]) -> list[Cell]:
    """One trace at all sizes, the first so many requests of it."""
    name, shares, most = job
    library = importlib.import_module("libcachesim")
    trace = traces.load(name)
    if most < len(trace.keys):
        keys = trace.keys[:most]
        trace = traces.Trace(keys, {key: trace.sizes[key] for key in set(keys)})
    foot = sum(trace.sizes[key] for key in set(trace.keys))
    return [
        Cell(
            name, share, own(trace, int(foot * share)),
            {each: other(library, each, trace, int(foot * share)) for each in OTHERS},
        )
        for share in shares
    ]  # fmt: skip


def measure(*, quick: bool = False) -> list[Cell]:
    """All traces; ``ModuleNotFoundError`` without libcachesim."""
    importlib.import_module("libcachesim")
    jobs = [(name, SHARES[1:2] if quick else SHARES, 20_000 if quick else 1 << 60) for name in traces.TRACES]
    with ProcessPoolExecutor() as pool:
        return [cell for cells in pool.map(compare, jobs) for cell in cells]


def summary(cells: Sequence[Cell]) -> Summary:
    """What they come to."""
    gaps = [gap for cell in cells for gap in cell.gaps()]
    return Summary(sum(gap >= -SAME for gap in gaps), len(gaps), max(0.0, -min(gaps)), sum(gaps) / len(gaps))


def cost() -> float:
    """Microseconds of one access, hits and misses and all that they move, by Zipf's law with a tenth of the blocks
    held; CPU of this thread, without that of the loop around it."""
    keys = [multihash(number) for number in range(COST_BLOCKS)]
    asked = random.Random(1).choices(keys, cum_weights=traces.zipf(0.8, COST_BLOCKS), k=COST_USES)
    policy = AdaptiveReplacement(COST_BLOCKS * 400)

    def use(key: bytes) -> None:
        if not policy.reuse(key):
            policy.add(key, 4096)

    def timed(work: Callable[[bytes], object]) -> float:
        start = time.thread_time()
        for key in asked:
            work(key)
        return time.thread_time() - start

    idle = timed(len)
    return (timed(use) - idle) / COST_USES * 1e6


def table(cells: Sequence[Cell], *, markdown: bool) -> str:
    """Objects/bytes in per cent for each trace and size; the difference to the best in points at the end."""
    head = ["trace", "cache", "ours", *OTHERS, "to the best"]
    rows = [
        [cell.trace, f"{cell.share:.0%}", str(cell.own), *map(str, cell.others.values()), cell.to_the_best()]
        for cell in cells
    ]
    if markdown:
        return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])
    wide = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, wide, strict=True)) for row in [head, *rows]
    )


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.policy", description="Compare the memory tier's policy.")
    parser.add_argument("--quick", action="store_true", help="one cache size, the first 20,000 requests")
    parser.add_argument("--markdown", action="store_true", help="the table as Markdown")
    chosen = parser.parse_args(argv)
    spent = cost()
    cells = measure(quick=chosen.quick)
    print(table(cells, markdown=chosen.markdown))
    print(f"\n{summary(cells)}; {spent:.2f} us an access")


if __name__ == "__main__":
    main()
