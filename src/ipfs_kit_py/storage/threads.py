"""The worker threads of one loop: pools with names, sized to the machine, bounded and counted.

All nodes of a loop share them. What a pool has not got a thread for waits its turn, first come, first served.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

import trio
from trio.lowlevel import RunVar

from ipfs_kit_py.core.config import (
    MESSAGES_AT_ONCE,
    READER_THREADS_MAX,
    READER_THREADS_MIN,
    WORK_THREADS_MAX,
    WORK_THREADS_MIN,
)

if TYPE_CHECKING:
    from collections.abc import Callable


T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Pool(StrEnum):
    """``READ``: blocks from the store for readers of content. ``WORK``: hashing, writing, files, all else of our own.
    ``USER``: functions of the user, which may be slow and may call us again."""

    READ = "read"
    WORK = "work"
    USER = "user"


@dataclass(frozen=True, slots=True)
class ThreadStatistics:
    """Of one pool: threads that there may be, those at work, and what waits for one."""

    name: str
    size: int
    busy: int
    waiting: int


HEAPS = 2  # of the C library's malloc. Each keeps what was freed in it, and its default is eight for each processor
_M_ARENA_MAX = -8  # mallopt(3)

_limiters: RunVar[dict[Pool, trio.CapacityLimiter]] = RunVar("ipfs_kit_threads")


def processors() -> int:
    """How many this process may use: fewer than the machine has, where it is pinned to some."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def size_of(pool: Pool, processors: int) -> int:
    """Threads of a pool on a machine with so many processors."""
    if pool is Pool.READ:
        return min(max(2 * processors, READER_THREADS_MIN), READER_THREADS_MAX)
    if pool is Pool.WORK:
        return min(max(4 * processors, WORK_THREADS_MIN), WORK_THREADS_MAX)
    return MESSAGES_AT_ONCE


def share_heaps() -> bool:
    """Have all threads to come share ``HEAPS`` heaps, where the C library has many; ``False`` where it has not.

    A block that one thread reads and another lets go leaves a hole in the heap of the first, so that with a heap for
    each thread a memory tier takes twice its size. Threads of Python allocate in turn anyway. What the user has said
    himself (``MALLOC_ARENA_MAX``) stays.
    """
    if platform.libc_ver()[0] != "glibc" or "MALLOC_ARENA_MAX" in os.environ:
        return False
    library = ctypes.CDLL(None)
    return bool(library.mallopt(_M_ARENA_MAX, HEAPS))


def limiter(pool: Pool) -> trio.CapacityLimiter:
    """A pool of the running loop."""
    try:
        limiters = _limiters.get()
    except LookupError:
        share_heaps()
        count = processors()
        limiters = {pool: trio.CapacityLimiter(size_of(pool, count)) for pool in Pool}
        _limiters.set(limiters)
    return limiters[pool]


async def run(pool: Pool, function: Callable[[*Ts], T], *args: *Ts) -> T:
    """``function(*args)`` on a thread of a pool. Cancelled only while it waits for one."""
    return await trio.to_thread.run_sync(function, *args, limiter=limiter(pool), thread_name=f"ipfs-kit {pool.value}")


def statistics() -> list[ThreadStatistics]:
    """Of the running loop's pools."""
    found = []
    for pool in Pool:
        counts = limiter(pool).statistics()
        found.append(
            ThreadStatistics(pool.value, int(counts.total_tokens), counts.borrowed_tokens, counts.tasks_waiting)
        )
    return found
