"""The common part of reading plans: places in order, a bounded look-ahead, results in order whatever comes first.

A plan is a chain of places. A place is a CID that is not asked for yet, one that is under way, or bytes that are here.
The look-ahead asks for places from the front on, as long as what is under way or held stays within the budget; the
children of a block that arrives stand right behind it.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

from ipfs_kit_py.core.config import MAX_BLOCK_BYTES, MAX_DAG_DEPTH
from ipfs_kit_py.core.errors import InvalidBlock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Buffer

    from ipfs_kit_py.core.cid import CID

UNKNOWN_BYTES = 256 << 10  # what a block is taken to weigh while nothing says what it does
INNER_BYTES = 64 << 10  # the same for a node that is known to be an inner one
MIN_BYTES = 1 << 10  # the least that one counts: a place costs memory too


class Place:
    """One place of the chain. ``weight`` is what it counts against the budget, in bytes; ``key`` orders places: the
    indexes of the links that lead to it."""

    __slots__ = ("at", "cid", "data", "following", "key", "size", "weight")

    def __init__(self, cid: CID, weight: int, *, at: int = 0, size: int | None = None) -> None:
        self.cid = cid
        self.weight = max(weight, MIN_BYTES)
        self.at = at
        self.size = size
        self.key: tuple[int, ...] = ()
        self.data: Buffer | None = None
        self.following: Place | None = None

    @property
    def depth(self) -> int:
        """How many links lead to it."""
        return len(self.key)


class _Run:
    """Siblings that are still to be asked for, from ``next`` on."""

    __slots__ = ("next", "places")

    def __init__(self, places: Sequence[Place]) -> None:
        self.places = places
        self.next = 0


class Chain:
    """The places in order, and what is under way. Plans are built on it."""

    def __init__(self, first: Place) -> None:
        self._first: Place | None = first
        self._held = 0
        self._under_way: dict[CID, list[Place]] = {}
        self._runs: list[tuple[tuple[int, ...], _Run]] = [((), _Run([first]))]  # a heap: the front is asked for first

    @property
    def done(self) -> bool:
        """Whether there is nothing left to give out."""
        return self._first is None

    def wanted(self, budget: int) -> list[tuple[CID, int | None]]:
        """Blocks to get now, with what they are expected to weigh, so that at most ``budget`` bytes are under way or
        held, and always the next one."""
        found: list[tuple[CID, int | None]] = []
        while self._runs:
            run = self._runs[0][1]
            place = run.places[run.next]
            # the front place is asked for whatever the budget says: nothing else can make room
            if place is not self._first and self._held + place.weight > budget:
                break
            heappop(self._runs)
            run.next += 1
            if run.next < len(run.places):
                heappush(self._runs, (run.places[run.next].key, run))
            self._held += place.weight
            waiting = self._under_way.get(place.cid)
            if waiting is None:
                self._under_way[place.cid] = [place]
                found.append((place.cid, place.weight))
            else:
                waiting.append(place)
        return found

    def arrived(self, cid: CID) -> list[Place]:
        """The places that wait for a block; none where nobody asked for it."""
        return self._under_way.pop(cid, [])

    def keep(self, place: Place, data: Buffer) -> None:
        """What a place gives out is here and stays until then."""
        weight = max(memoryview(data).nbytes, MIN_BYTES)
        self._held += weight - place.weight
        place.weight = weight
        place.data = data

    def splice(self, place: Place, children: Sequence[Place]) -> None:
        """Put ``children`` right behind a place. ``InvalidBlock`` where the DAG is too deep."""
        if not children:
            return
        if place.depth >= MAX_DAG_DEPTH:
            raise InvalidBlock(f"the DAG at {place.cid} is deeper than {MAX_DAG_DEPTH} levels")
        rest, last = place.following, place
        for index, child in enumerate(children):
            child.key = (*place.key, index)
            last.following = child
            last = child
        last.following = rest
        heappush(self._runs, (children[0].key, _Run(children)))

    def take(self) -> tuple[Place, Buffer] | None:
        """The next place and its bytes, in order; ``None`` where they are not here. The chain lets go of them."""
        place = self._first
        if place is None or place.data is None:
            return None
        data, place.data = place.data, None
        self._held -= place.weight
        self._first = place.following
        return place, data


def link_weight(cid: CID, raw_codec: int, size: int | None) -> int:
    """What the block behind a link is taken to weigh; ``size`` is the cumulative size, where the link tells one."""
    if size is None:
        return UNKNOWN_BYTES
    if cid.codec == raw_codec:
        return min(size, MAX_BLOCK_BYTES)
    return size if size <= MAX_BLOCK_BYTES else INNER_BYTES
