"""Cutting a stream: any writes give the same chunks, whole chunks are not copied."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ipfs_kit_py.dag.chunker import Chunker


@given(st.integers(1, 17), st.lists(st.binary(max_size=60), max_size=12))
def test_any_writes_give_the_chunks_of_the_whole(size: int, writes: list[bytes]) -> None:
    chunker = Chunker(size)
    got = [bytes(chunk) for data in writes for chunk in chunker.feed(data)]
    assert chunker.pending < size
    assert all(len(chunk) == size for chunk in got)
    if (rest := chunker.flush()) is not None:
        got.append(bytes(rest))
    whole = b"".join(writes)
    assert got == [whole[at : at + size] for at in range(0, len(whole), size)]
    assert chunker.flush() is None


def test_whole_chunks_are_views_of_what_was_given() -> None:
    data = bytearray(b"aaaabbbbcc")
    first, second = Chunker(4).feed(data)
    data[0:8] = b"ccccdddd"
    assert (bytes(first), bytes(second)) == (b"cccc", b"dddd")


def test_a_held_rest_is_a_copy() -> None:
    data = bytearray(b"aaaabb")
    chunker = Chunker(4)
    chunker.feed(data)
    data[:] = b"xxxxxx"
    assert bytes(chunker.flush() or b"") == b"bb"


def test_views_of_wider_items_count_as_bytes() -> None:
    words = memoryview(bytes(range(16))).cast("I")
    chunks = Chunker(5).feed(words)
    assert [bytes(chunk) for chunk in chunks] == [bytes(range(5)), bytes(range(5, 10)), bytes(range(10, 15))]
