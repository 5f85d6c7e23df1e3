"""Piece commitments over worker processes: the same as in one, bounded, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest
import trio

from ipfs_kit_py.core.errors import BackendError, ConfigError
from ipfs_kit_py.storage.remote.filecoin.commp import SEGMENT_PAYLOAD, piece_of
from ipfs_kit_py.storage.remote.filecoin.commp_pool import PieceHasher, piece_cid

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

UNIT = bytes(range(256)) * 4 + b"end"


async def stream(size: int, step: int) -> AsyncIterator[memoryview]:
    payload = memoryview(UNIT * (size // len(UNIT) + 1))[:size]
    for at in range(0, size, step):
        yield payload[at : at + step]


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("size", [0, 5, SEGMENT_PAYLOAD, SEGMENT_PAYLOAD + 1, 5 * SEGMENT_PAYLOAD - 3])
def test_the_same_as_in_one_process(workers: int, size: int) -> None:
    before = children()
    expected = piece_of((UNIT * (size // len(UNIT) + 1))[:size])
    assert trio.run(piece_cid, stream(size, 1_000_003), workers) == expected
    assert children() == before


def test_little_starts_no_process() -> None:
    async def main() -> None:
        before = children()
        async with PieceHasher(2) as hasher:
            await hasher.feed(bytes(SEGMENT_PAYLOAD + 5))
            assert children() == before
            assert (await hasher.finish()).payload == SEGMENT_PAYLOAD + 5

    trio.run(main)


def test_a_worker_that_ends_is_an_error_and_the_rest_are_ended() -> None:
    before = children()

    async def main() -> None:
        async with PieceHasher(2) as hasher:
            await hasher.feed(bytes(2 * SEGMENT_PAYLOAD))
            started = children() - before
            assert len(started) == 2
            for child in started:
                os.kill(child, signal.SIGKILL)
            with pytest.raises(BackendError, match="ended early"):
                await hasher.finish()

    trio.run(main)
    assert children() == before


def test_nothing_is_left_when_it_is_cancelled() -> None:
    before = children()

    async def main() -> None:
        with trio.CancelScope() as scope:
            async with PieceHasher(2) as hasher:
                await hasher.feed(bytes(3 * SEGMENT_PAYLOAD))
                scope.cancel()
                await hasher.feed(bytes(3 * SEGMENT_PAYLOAD))
        assert scope.cancelled_caught

    trio.run(main)
    assert children() == before


def test_workers_are_bounded() -> None:
    with pytest.raises(ConfigError):
        PieceHasher(-1)
    assert PieceHasher(10_000)._most == 16


def test_too_much_is_refused_before_it_is_kept() -> None:
    async def main() -> None:
        async with PieceHasher(0) as hasher:
            hasher.payload = (64 << 30) // 128 * 127
            with pytest.raises(ValueError, match="at most"):
                await hasher.feed(b"x")

    trio.run(main)


def test_a_script_without_a_main_guard_may_use_it(tmp_path: Path) -> None:
    script = f"""
import trio
from ipfs_kit_py.storage.remote.filecoin.commp_pool import piece_cid
async def stream():
    for _ in range(3):
        yield bytes({SEGMENT_PAYLOAD})
print(trio.run(piece_cid, stream(), 2))
"""
    path = tmp_path / "script.py"
    path.write_text(script)
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == [str(piece_of(bytes(3 * SEGMENT_PAYLOAD)).v2)]
