"""The read-ahead window over sources near and far, in a scripted world: a line that is as fast as it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_kit_py.content.window import Window
from ipfs_kit_py.core.config import MIB, READ_AHEAD_BYTES, READ_AHEAD_LEAST_BYTES

BLOCK = 256 * 1024


def reading(latency: float, line: float, reader: float, *, blocks: int = 4000) -> Window:
    """A window after a reader of ``reader`` bytes a second has read over a ``line`` with ``latency``."""
    window = Window(READ_AHEAD_BYTES)
    now = 0.0
    for _ in range(blocks):
        waited = max(latency, window.bytes / line)
        now += BLOCK / min(line, reader, window.bytes / latency)
        window.on_block(BLOCK, waited if reader >= line else latency, now)
    return window


def test_over_the_store_it_is_short_from_the_beginning() -> None:
    window = Window(READ_AHEAD_BYTES)
    for number in range(1000):
        assert window.bytes == READ_AHEAD_LEAST_BYTES
        window.on_block(BLOCK, None, number * 1e-3)


def test_a_far_source_has_all_of_it_from_its_first_block() -> None:
    window = Window(READ_AHEAD_BYTES)
    window.on_block(BLOCK, 0.2, 0.2)
    assert window.bytes == READ_AHEAD_BYTES


@pytest.mark.parametrize("latency", [0.05, 0.1, 0.3])
def test_a_fast_reader_over_a_long_line_keeps_it_filled(latency: float) -> None:
    assert reading(latency, 100e6, 1e9).bytes == READ_AHEAD_BYTES


def test_a_slow_reader_has_no_more_than_he_needs_fetched() -> None:
    assert reading(0.05, 100e6, 2e6).bytes == READ_AHEAD_LEAST_BYTES
    assert READ_AHEAD_LEAST_BYTES < reading(0.1, 500e6, 40e6).bytes < READ_AHEAD_BYTES


def test_it_follows_a_file_that_is_partly_here() -> None:
    window = Window(READ_AHEAD_BYTES)
    now = 0.0
    for _round in range(3):
        for _ in range(300):
            now += 0.002
            window.on_block(BLOCK, 0.1, now)
        assert window.bytes == READ_AHEAD_BYTES
        for _ in range(300):
            now += 0.002
            window.on_block(BLOCK, None, now)
        assert window.bytes == READ_AHEAD_LEAST_BYTES


@given(
    st.lists(st.tuples(st.integers(0, 2 * MIB), st.none() | st.floats(0, 60), st.floats(0, 10))),
    st.integers(1, 64 * MIB),
)
def test_it_never_leaves_its_bounds(blocks: list[tuple[int, float | None, float]], most: int) -> None:
    window = Window(most)
    now = 0.0
    for size, waited, passed in blocks:
        now += passed
        window.on_block(size, waited, now)
        assert min(READ_AHEAD_LEAST_BYTES, most) <= window.bytes <= most
