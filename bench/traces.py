"""Seeded sequences of requests that a cache meets: which keys in what order, and the bytes of each."""

from __future__ import annotations

import random
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

KIB = 1 << 10
KEYS, REQUESTS = 20_000, 200_000
LEAF = 256 * KIB


class Trace(NamedTuple):
    """Keys as they are asked for, and the bytes of each."""

    keys: list[int]
    sizes: dict[int, int]


def zipf(alpha: float, count: int = KEYS) -> list[float]:
    """Cumulative weights."""
    return list(accumulate(1 / (at + 1) ** alpha for at in range(count)))


def popular(alpha: float) -> Callable[[random.Random], list[int]]:
    """Independent requests by Zipf's law."""
    return lambda rng: rng.choices(range(KEYS), cum_weights=zipf(alpha), k=REQUESTS)


def scanned(alpha: float, *, again: bool = False) -> Callable[[random.Random], list[int]]:
    """The same with a scan of 5,000 keys after every 10,000 requests: new keys, or ``again`` the same."""

    def make(rng: random.Random) -> list[int]:
        base, out, first = popular(alpha)(rng), list[int](), KEYS
        for start in range(0, REQUESTS, 10_000):
            out += base[start : start + 10_000]
            out += range(first, first + 5000)
            first += 0 if again else 5000
        return out

    return make


def mixed_once(alpha: float, share: float = 0.3) -> Callable[[random.Random], list[int]]:
    """Keys asked for once among popular ones."""
    return lambda rng: [KEYS + at if rng.random() < share else number for at, number in enumerate(popular(alpha)(rng))]


def loop(length: int = 5000) -> Callable[[random.Random], list[int]]:
    return lambda _rng: [at % length for at in range(REQUESTS)]


def loops(rng: random.Random) -> list[int]:
    """Loops over 1,000, 3,000 and 8,000 keys, each a few times, in turns."""
    out: list[int] = []
    while len(out) < REQUESTS:
        length, first = rng.choice(((1000, 0), (3000, 1000), (8000, 4000)))
        for _ in range(rng.randint(2, 6)):
            out += range(first, first + length)
    return out[:REQUESTS]


def loop_beside(alpha: float, length: int = 4000) -> Callable[[random.Random], list[int]]:
    """A loop, and popular keys in every other request."""

    def make(rng: random.Random) -> list[int]:
        out, turn = [], 0
        for number in popular(alpha)(rng):
            if rng.random() < 0.5:
                out.append(KEYS + turn % length)
                turn += 1
            else:
                out.append(number)
        return out

    return make


def shifting(alpha: float, every: int = 40_000) -> Callable[[random.Random], list[int]]:
    """What is popular changes altogether."""

    def make(rng: random.Random) -> list[int]:
        names, weights, out = list(range(KEYS)), zipf(alpha), list[int]()
        for _ in range(0, REQUESTS, every):
            rng.shuffle(names)
            out += rng.choices(names, cum_weights=weights, k=every)
        return out

    return make


def drifting(alpha: float) -> Callable[[random.Random], list[int]]:
    """With every tenth request a new key takes a place among the popular."""

    def make(rng: random.Random) -> list[int]:
        names, out = list(range(KEYS)), []
        for at, number in enumerate(popular(alpha)(rng)):
            if at % 10 == 0:
                names[int(KEYS * rng.random() ** 3)] = KEYS + at
            out.append(names[number])
        return out

    return make


def recent(rng: random.Random) -> list[int]:
    """Seven of ten requests are for what was asked for some hundred requests ago, the others are new."""
    out: list[int] = []
    for at in range(REQUESTS):
        back = int(rng.expovariate(1 / 600)) + 1
        out.append(out[-min(back, len(out))] if out and rng.random() < 0.7 else at)
    return out


def alike(make: Callable[[random.Random], list[int]]) -> Callable[[random.Random], Trace]:
    """All of 4 KiB."""

    def trace(rng: random.Random) -> Trace:
        keys = make(rng)
        return Trace(keys, dict.fromkeys(keys, 4 * KIB))

    return trace


def sized(make: Callable[[random.Random], list[int]]) -> Callable[[random.Random], Trace]:
    """Sizes from 64 bytes to 1 MiB, log-normal, half of them over 8 KiB."""

    def trace(rng: random.Random) -> Trace:
        keys = make(rng)
        return Trace(
            keys, {key: min(1024 * KIB, max(64, int(rng.lognormvariate(9, 1.5)))) for key in sorted(set(keys))}
        )

    return trace


def files(alpha: float, every: int = 0) -> Callable[[random.Random], Trace]:
    """DAGs of files: a root and leaves of 256 KiB; read whole, from the beginning, or in the middle. With ``every``
    so many reads other files are popular."""

    def trace(rng: random.Random) -> Trace:
        sizes: dict[int, int] = {}
        shape: list[tuple[int, range]] = []
        for _ in range(600):
            count, root = max(1, min(200, int(rng.lognormvariate(2.2, 1.2)))), len(sizes)
            leaves = range(root + 1, root + 1 + count)
            sizes |= {root: 100 + 45 * count} | dict.fromkeys(leaves, LEAF) | {leaves[-1]: rng.randint(1, LEAF)}
            shape.append((root, leaves))
        rng.shuffle(shape)
        out, weights, reads = list[int](), zipf(alpha, len(shape)), 0
        while len(out) < REQUESTS:
            reads += 1
            if every and reads % every == 0:
                rng.shuffle(shape)
            root, leaves = rng.choices(shape, cum_weights=weights)[0]
            start = rng.randrange(len(leaves))
            out += [root, *rng.choices((leaves, leaves[:4], leaves[start : start + 8]), weights=(4, 3, 3))[0]]
        return Trace(out[:REQUESTS], sizes)

    return trace


TRACES: dict[str, Callable[[random.Random], Trace]] = {
    **{f"zipf {alpha}": alike(popular(alpha)) for alpha in (0.6, 0.8, 1.0, 1.2)},
    "zipf 0.8, scans": alike(scanned(0.8)),
    "zipf 1.0, scans": alike(scanned(1.0)),
    "zipf 1.0, one scan again": alike(scanned(1.0, again=True)),
    "zipf 0.9, once": alike(mixed_once(0.9)),
    "loop": alike(loop()),
    "loops": alike(loops),
    "loop beside zipf 0.9": alike(loop_beside(0.9)),
    "shifting 0.8": alike(shifting(0.8)),
    "shifting 1.0": alike(shifting(1.0)),
    "drifting 1.0": alike(drifting(1.0)),
    "recent": alike(recent),
    **{f"sized zipf {alpha}": sized(popular(alpha)) for alpha in (0.6, 0.9, 1.2)},
    "sized 1.0, scans": sized(scanned(1.0)),
    "sized shifting 0.9": sized(shifting(0.9)),
    "sized loop, zipf 0.9": sized(loop_beside(0.9)),
    "sized recent": sized(recent),
    "files 0.9": files(0.9),
    "files 0.7, shifting": files(0.7, 1500),
}


def load(name: str) -> Trace:
    """The same requests for the same name, always."""
    return TRACES[name](random.Random(f"policy {name}"))
