"""The pools of worker threads: no more at work than their size, the others waiting, both counted."""

from __future__ import annotations

import platform
import subprocess
import sys
import threading

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ipfs_kit_py.core.config import READER_THREADS_MAX, WORK_THREADS_MAX
from ipfs_kit_py.storage import threads
from ipfs_kit_py.storage.threads import Pool, ThreadStatistics


def of(pool: Pool) -> ThreadStatistics:
    return next(one for one in threads.statistics() if one.name == pool.value)


@pytest.mark.parametrize("pool", list(Pool))
def test_what_has_no_thread_waits_and_is_counted(pool: Pool) -> None:
    async def main() -> None:
        go = threading.Event()
        names: list[str] = []

        def work(number: int) -> None:
            names.append(threading.current_thread().name)
            assert go.wait(30), number

        size = of(pool).size
        assert of(pool) == ThreadStatistics(pool.value, size, 0, 0)
        async with trio.open_nursery() as nursery:
            for number in range(size + 5):
                nursery.start_soon(threads.run, pool, work, number)
            await wait_all_tasks_blocked()
            assert of(pool) == ThreadStatistics(pool.value, size, size, 5)
            others = [one for one in threads.statistics() if one.name != pool.value]
            assert {(one.busy, one.waiting) for one in others} == {(0, 0)}
            go.set()
        assert of(pool) == ThreadStatistics(pool.value, size, 0, 0)
        assert set(names) == {f"ipfs-kit {pool.value}"}

    trio.run(main)


def test_sizes_follow_the_machine_within_bounds() -> None:
    assert [threads.size_of(Pool.READ, count) for count in (1, 2, 3, 4, 64)] == [4, 4, 6, 8, READER_THREADS_MAX]
    assert [threads.size_of(Pool.WORK, count) for count in (1, 2, 4, 64)] == [8, 8, 16, WORK_THREADS_MAX]
    assert threads.size_of(Pool.USER, 1) == threads.size_of(Pool.USER, 64)
    assert threads.processors() >= 1


def test_every_loop_has_pools_of_its_own() -> None:
    async def main() -> trio.CapacityLimiter:
        return threads.limiter(Pool.READ)

    assert trio.run(main) is not trio.run(main)


def test_what_a_function_gives_and_raises_comes_through() -> None:
    async def main() -> None:
        assert await threads.run(Pool.WORK, divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            await threads.run(Pool.WORK, divmod, 7, 0)
        assert of(Pool.WORK).busy == 0

    trio.run(main)


def test_what_the_user_says_of_heaps_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "4")
    assert not threads.share_heaps()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this system's malloc has no arenas")
def test_threads_share_their_heaps() -> None:
    code = """
import ctypes, sys, threading, trio
from ipfs_kit_py.storage import threads

async def main():
    barrier = threading.Barrier(8)
    def work():
        barrier.wait()
        b"x".join([b""] * 100_000)
    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(threads.run, threads.Pool.WORK, work)

trio.run(main)
libc = ctypes.CDLL(None)
libc.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
libc.fdopen.restype = ctypes.c_void_p
out = libc.fdopen(1, b"w")
libc.malloc_info(0, out)
libc.fflush(None)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert 1 <= found.count("<heap nr=") <= threads.HEAPS
