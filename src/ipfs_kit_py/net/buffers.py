"""The memory that a connection reads into and writes from."""

from __future__ import annotations

import mmap

from ipfs_kit_py.core.config import (
    MAPPED_BUFFER_BYTES,
    READ_BUFFER_MAX,
    READ_BUFFER_MIN,
    SMALL_READ_BYTES,
    SMALL_READS,
)
from ipfs_kit_py.net.noise import FRAME_ROOM


def buffer(size: int) -> memoryview:
    """Memory for sealed bytes. Large ones go back to the system as soon as they are dropped, which the heap would not
    do: idle connections are many."""
    return memoryview(mmap.mmap(-1, size) if size >= MAPPED_BUFFER_BYTES else bytearray(size))


def resized(data: memoryview, used: int, have: int, small_reads: int) -> tuple[memoryview, int]:
    """The buffer for the next read, with the ``have`` bytes after ``used`` at its begin: larger where the last read
    filled it or a frame needs more, small again after some reads of little."""
    size = len(data)
    need = 2 + (data[used] << 8 | data[used + 1]) if have >= 2 else 0
    small_reads = small_reads + 1 if used < SMALL_READ_BYTES else 0
    wanted = size
    if need > size:
        wanted = FRAME_ROOM
    elif used + have == size and size < READ_BUFFER_MAX:
        wanted = min(max(size * 4, FRAME_ROOM), READ_BUFFER_MAX)
    elif small_reads > SMALL_READS and size > READ_BUFFER_MIN:
        wanted, small_reads = max(READ_BUFFER_MIN, need, have + 1), 0
    if wanted != size:
        fresh = buffer(wanted)
        fresh[:have] = data[used : used + have]
        return fresh, small_reads
    if used and have:
        data[:have] = data[used : used + have]
    return data, small_reads
