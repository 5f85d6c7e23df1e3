"""What lookups have shown of a part of the key space, and whose 20 closest peers are known by it. Sans-I/O.

A lookup for a key that ends with its closest peers shows more than these: nobody else is as near to the key as the
farthest of them. In the numbers' order that is a handful of intervals. Once they cover all that is as near to another
key as its 20th peer, its closest peers are known as well, exactly and without a lookup of its own.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from typing import TYPE_CHECKING

from ipfs_kit_py.routing.keys import KEY_BITS, kad_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ipfs_kit_py.routing.kad_wire import PeerInfo

SPACE = 1 << KEY_BITS


class Explored:
    """Peers by their keys, and the intervals of the key space that have no other peers. ``k``: how many are wanted."""

    def __init__(self, k: int) -> None:
        self.k = k
        self.infos: dict[int, PeerInfo] = {}
        self._peers: list[int] = []
        self._edges: list[int] = []  # begin and end of each interval, in order; they do not touch

    def __repr__(self) -> str:
        return f"<Explored: {len(self._peers)} peers, {self.share():.3g} of the key space>"

    @property
    def peers(self) -> Sequence[int]:
        """The keys of the peers, in order."""
        return self._peers

    def share(self) -> float:
        """The part of the key space that is known."""
        known = sum(self._edges[1::2]) - sum(self._edges[::2])
        return known / SPACE

    # --- learning -----------------------------------------------------------------------------------------------------

    def learn(self, target: int, closest: Sequence[PeerInfo], *, everybody: bool = False) -> int:
        """These are the closest to ``target``, or ``everybody`` there is. How many of them are new."""
        before, farthest = len(self._peers), 0
        for info in closest:
            key = kad_key(info.peer.raw)
            farthest = max(farthest, key ^ target)
            if key not in self.infos:
                insort(self._peers, key)
                self.infos[key] = info
        if everybody:
            self._edges = [0, SPACE]
        elif closest:
            for begin, end in pieces(target, farthest + 1):
                self._cover(begin, end)
        return len(self._peers) - before

    def _cover(self, begin: int, end: int) -> None:
        edges = self._edges
        left, right = bisect_left(edges, begin), bisect_right(edges, end)
        # an even position lies outside of all intervals: there the new one has an edge of its own
        edges[left:right] = [begin] * (not left % 2) + [end] * (not right % 2)

    # --- asking -------------------------------------------------------------------------------------------------------

    def closest(self, key: int) -> tuple[list[int], int]:
        """The known peers closest to a key (no order), and so many first bits that another key which has them too has
        the very same."""
        if len(self._peers) < self.k:
            return list(self._peers), 0
        farthest = sorted(peer ^ key for peer in self._peers)[self.k - 1]
        # no fewer bits than tell distances of a sixteenth of this from each other: a coarser gap would be none
        chosen, shared, before, last = [], KEY_BITS - max(0, farthest.bit_length() - 4), 0, False
        for number, peer in enumerate(self._peers):
            inside = peer ^ key <= farthest
            if inside:
                chosen.append(peer)
            if number and inside is not last:
                shared = max(shared, KEY_BITS + 1 - (peer ^ before).bit_length())
            before, last = peer, inside
        return chosen, shared

    def gap(self, key: int, chosen: Sequence[int], shared: int) -> tuple[int, int] | None:
        """Where somebody unknown could be who is among the ``closest`` of a key that shares so many bits with this one:
        the first such interval, or ``None`` where nobody can be."""
        if len(chosen) < self.k:
            return self._gap_in(0, SPACE)
        low = KEY_BITS - shared
        farthest = max((peer ^ key) >> low for peer in chosen)
        gaps = (self._gap_in(begin, end) for begin, end in pieces(key, (farthest + 1) << low))
        return next((gap for gap in gaps if gap is not None), None)

    def _gap_in(self, begin: int, end: int) -> tuple[int, int] | None:
        at = bisect_right(self._edges, begin)
        if at % 2:
            begin, at = self._edges[at], at + 1
        if begin >= end:
            return None
        return begin, min(end, self._edges[at]) if at < len(self._edges) else end

    def room(self, key: int) -> int:
        """How large a block around a key (2 to the power of this) is all unknown; -1 where the key is not."""
        at = bisect_right(self._edges, key)
        if at % 2:
            return -1
        begin = self._edges[at - 1] if at else 0
        end = self._edges[at] if at < len(self._edges) else SPACE
        bits = KEY_BITS
        while (key >> bits) << bits < begin or ((key >> bits) + 1) << bits > end:
            bits -= 1
        return bits


def pieces(key: int, radius: int) -> Iterator[tuple[int, int]]:
    """The intervals of all that is nearer to ``key`` than ``radius``, the largest first; they do not touch each other
    in order, but cover together."""
    above = 0
    while radius > above:
        bit = (radius - above).bit_length() - 1
        begin = ((key ^ above) >> bit) << bit
        yield begin, begin + (1 << bit)
        above += 1 << bit
