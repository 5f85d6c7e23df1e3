"""The filesystem's parts that need no node: ranges fetched together, reading ahead, what is remembered, patience."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from ipfs_kit_py._answers import Patience, RowsAsTheyCome
from ipfs_kit_py._fs import listings
from ipfs_kit_py._fs.files import AHEAD_LEAST, AheadCache
from ipfs_kit_py._fs.listings import Item, Listings
from ipfs_kit_py._fs.ranges import NEAR_BYTES, SPAN_BYTES, Range, joined
from ipfs_kit_py.core.errors import TimedOut

DATA = bytes(at * 7 % 251 for at in range(300))
PLACES = st.integers(0, 320)


@given(
    st.lists(st.tuples(st.sampled_from("ab"), PLACES, st.none() | PLACES), max_size=20),
    st.integers(0, 100),
)
def test_each_range_lies_in_what_is_fetched_for_it(found: list[tuple[str, int, int | None]], gap: int) -> None:
    ranges = [Range(key, start, stop if stop is None else max(start, stop)) for key, start, stop in found]
    fetched, places = joined(ranges, gap)
    assert len(fetched) <= len(ranges)
    for wanted, place in zip(ranges, places, strict=True):
        whole = fetched[place]
        assert whole.key == wanted.key
        assert wanted.within(whole, DATA[whole.start : whole.stop]) == DATA[wanted.start : wanted.stop]
    wanted_bytes = {(key, at) for key, start, stop in ranges for at in range(start, 400 if stop is None else stop)}
    for key, start, stop in fetched:
        idle = 0
        for at in range(start, 400 if stop is None else stop):
            idle = 0 if (key, at) in wanted_bytes else idle + 1
            assert idle <= gap


def test_what_is_fetched_together_is_bounded() -> None:
    far = [Range("a", at * (NEAR_BYTES + 10), at * (NEAR_BYTES + 10) + 9) for at in range(5)]
    assert joined(far)[0] == far
    near = [Range("a", at * 1000, at * 1000 + 10) for at in range(20_000)]
    spans = [found.stop - found.start for found in joined(near)[0] if found.stop is not None]
    assert max(spans) <= SPAN_BYTES
    assert len(spans) == 3


@given(st.lists(st.tuples(st.integers(0, 310), st.none() | st.integers(0, 310)), max_size=30), st.integers(1, 50))
def test_reading_ahead_gives_what_is_there(reads: list[tuple[int, int | None]], ahead: int) -> None:
    cache = AheadCache(ahead, lambda start, end: DATA[start:end], len(DATA))
    for start, end in reads:
        assert cache._fetch(start, end) == DATA[start : len(DATA) if end is None else end]


def test_only_reads_in_a_row_read_ahead() -> None:
    size = 100 * AHEAD_LEAST
    calls: list[tuple[int, int]] = []

    def fetch(start: int, end: int) -> bytes:
        calls.append((start, end))
        return bytes(end - start)

    cache = AheadCache(4 * AHEAD_LEAST, fetch, size)
    for at in (500, 90_000, 7):
        cache._fetch(at, at + 10)
    assert calls == [(500, 510), (90_000, 90_010), (7, 17)]
    for at in range(17, 20 * AHEAD_LEAST, 1000):
        cache._fetch(at, at + 1000)
    sizes = [end - start for start, end in calls[3:]]
    assert sizes[0] == AHEAD_LEAST
    assert 3 * AHEAD_LEAST < max(sizes) <= 4 * AHEAD_LEAST
    cache._fetch(50, 60)
    assert calls[-1] == (50, 60)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listings, "MAX_ENTRIES", 10)
    item = Item("cid", "file", 1)
    found = Listings(3)
    for name in "abcd":
        found.keep_directory(f"/ipfs/{name}", {"x": item})
        found.keep_item(f"/ipfs/{name}", item)
    assert found.directory("/ipfs/a") is None
    assert found.item("/ipfs/a") is None
    assert found.item("/ipfs/b/x") == item
    with pytest.raises(KeyError):
        found.item("/ipfs/b/y")
    found.keep_directory("/ipfs/large", {str(at): item for at in range(9)})
    assert found.directory("/ipfs/b") is not None  # used last
    assert len(found) == 2
    found.keep_directory("/ipfs/larger", {str(at): item for at in range(11)})
    assert found.directory("/ipfs/larger") is None
    found.clear()
    assert "0 directories with 0 entries, 0 paths" in repr(found)


def test_a_verb_with_which_nothing_goes_on_ends() -> None:
    async def main() -> None:
        patience = Patience(10)
        with pytest.raises(TimedOut, match="10 s"):
            await patience.run(trio.sleep_forever)
        assert 10 <= trio.current_time() - begun <= 11

        async def slow_but_sure() -> str:
            for _ in range(10):
                await trio.sleep(9)
                patience.more()
            patience.wait()
            await trio.sleep(1000)  # somebody else's turn
            patience.more()
            return "done"

        patience = Patience(10)
        assert await patience.run(slow_but_sure) == "done"
        assert await Patience(None).run(trio.sleep, 10_000) is None

    begun = 0.0
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_rows_wait_for_their_reader_in_bounds() -> None:
    async def main() -> None:
        patience = Patience(10)
        rows = RowsAsTheyCome(patience, 3)
        sent: list[int] = []

        async def send() -> None:
            for at in range(10):
                await rows.row({"at": at})
                sent.append(at)
            rows.end()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(patience.run, send)
            await trio.sleep(100)  # a reader who takes his time does not end the verb
            assert sent == [0, 1, 2]
            came = []
            while items := await rows.take():
                assert len(items) <= 3
                came += [item["at"] for item in items]
                await trio.sleep(100)
        assert came == list(range(10))

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
