"""Ranges of many files: which are fetched together, and where in what comes each of them lies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

NEAR_BYTES = 16 << 10  # between ranges: less than a block of any file but the smallest, so that none is fetched for it
SPAN_BYTES = 8 << 20  # fetched together at most: more of them are under way at once then


class Range(NamedTuple):
    """Bytes ``start`` to ``stop`` of the file ``key``; ``stop`` is ``None`` for its end."""

    key: str
    start: int
    stop: int | None

    @property
    def options(self) -> dict[str, Any]:
        """What ``cat`` is told to read them."""
        return {"offset": self.start or None, "length": None if self.stop is None else self.stop - self.start}

    def within(self, other: Range, data: bytes) -> bytes:
        """These bytes, of the ``data`` of a range that holds them."""
        if self == other:
            return data
        begin = self.start - other.start
        return data[begin : None if self.stop is None else begin + self.stop - self.start]


def joined(ranges: Sequence[Range], gap: int | None = None) -> tuple[list[Range], list[int]]:
    """What to fetch, and for each of ``ranges`` which of these holds it. Ranges of one file with at most ``gap`` bytes
    in between (``NEAR_BYTES`` for ``None``) are fetched together, up to ``SPAN_BYTES``."""
    gap = NEAR_BYTES if gap is None else gap
    fetched: list[Range] = []
    places = [0] * len(ranges)
    for at in sorted(range(len(ranges)), key=lambda at: (ranges[at].key, ranges[at].start)):
        found = ranges[at]
        last = fetched[-1] if fetched else None
        if last is None or not _near(last, found, gap):
            fetched.append(found)
        elif last.stop is not None:
            fetched[-1] = last._replace(stop=None if found.stop is None else max(last.stop, found.stop))
        places[at] = len(fetched) - 1
    return fetched, places


def _near(last: Range, found: Range, gap: int) -> bool:
    """Whether ``found``, which does not begin before ``last``, is fetched with it."""
    if last.key != found.key:
        return False
    if last.stop is None or found == last:
        return True
    within = found.stop is not None and found.stop <= max(last.stop, last.start + SPAN_BYTES)
    return within and found.start <= last.stop + gap
