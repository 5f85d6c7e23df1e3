"""The common part of reading plans: a bounded look-ahead, and results in order whatever block comes first.

A plan is a list in the order of its results. A *place* is a block that was asked for or is here; a *run* stands for
siblings that nobody has asked for yet. The look-ahead asks for the first of the first run, again and again, as long as
what is under way or held stays within the budget; what a block links to becomes a run right behind its place.

What bounds the memory: a block that turns out to weigh more than its link said, and is not the next one, is put back
and asked for again when there is room (by then it is in the store); and the links that wait are counted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from ipfs_kit_py.core.cid import RAW
from ipfs_kit_py.core.config import MAX_BLOCK_BYTES, MAX_PLAN_LINKS
from ipfs_kit_py.core.errors import InvalidBlock
from ipfs_kit_py.core.multihash import IDENTITY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Buffer

    from ipfs_kit_py.core.cid import CID

UNKNOWN_BYTES = 256 << 10  # what a block is taken to weigh while nothing says what it does
INNER_BYTES = 64 << 10  # the same for a node that is known to be an inner one
MIN_BYTES = 1 << 10  # the least that a place counts: it costs memory too
LINK_BYTES = 120  # what a link that waits costs: its CID's bytes, its size, and their places in lists
REFILL = 8  # a look-ahead that was full asks again when so small a part of it is free: many blocks at once cost less
OVERDRAFT = 2  # times the budget: blocks that weigh more than they were taken to are kept up to there
_STEP = 1 << 192  # between the order numbers of two neighbours: room for 25 levels of 200 links each before renumbering


class _Item:
    """One item of the list; ``order`` rises along it."""

    __slots__ = ("before", "following", "order")

    def __init__(self) -> None:
        self.before: _Item | None = None
        self.following: _Item | None = None
        self.order = 0


class Place(_Item):
    """A block. ``weight`` is what it counts against the budget in bytes, ``depth`` how many links lead to it; ``at``
    and ``size`` are where its content is in a file, in bytes."""

    __slots__ = ("at", "cid", "data", "depth", "size", "weight")

    def __init__(self, cid: CID, weight: int, *, depth: int = 0, at: int = 0, size: int | None = None) -> None:
        super().__init__()
        self.cid = cid
        self.weight = max(weight, MIN_BYTES)
        self.depth = depth
        self.at = at
        self.size = size
        self.data: Buffer | None = None


class Run(_Item):
    """Siblings from ``index`` up to ``stop``: their CIDs in binary form and the sizes that their links tell. ``ready``
    is the first of them once it is a place; ``at`` is where the next one's content is in a file."""

    __slots__ = ("at", "cids", "depth", "index", "ready", "sizes", "stop", "weight")

    def __init__(
        self, cids: Sequence[bytes], sizes: Sequence[int | None], *, depth: int = 0, index: int = 0, at: int = 0
    ) -> None:
        super().__init__()
        self.cids = cids
        self.sizes = sizes
        self.depth = depth
        self.index = index
        self.stop = len(cids)
        self.at = at
        self.weight = len(cids) * LINK_BYTES
        self.ready: Place | None = None


class OrderedPlan(ABC):
    """The list, and what is under way. A plan says what it makes of a link (``_place``) and of a block (``_read``)."""

    def __init__(self, root: Place) -> None:
        self._first: _Item | None = None
        self._runs: list[tuple[int, Run]] = []  # a heap: the first run of the list is the first to be asked for
        self._under_way: dict[CID, list[Place]] = {}
        self._held = 0  # bytes
        self._links = 0
        self._budget = 0
        self._full = False  # the look-ahead was filled, and too little came free since
        self._add_run(_waiting(root), None)

    @abstractmethod
    def _place(self, run: Run, index: int) -> Place | None:
        """The place of a run's link; ``None`` where the plan does not need it."""

    @abstractmethod
    def _read(self, place: Place, data: Buffer) -> tuple[Buffer, Run | None]:
        """What a block gives out, and what it links to."""

    @property
    def done(self) -> bool:
        """Whether everything was given out."""
        return self._first is None

    def wanted(self, budget: int) -> list[tuple[CID, int | None]]:
        """Blocks to get now, with what they are expected to weigh, so that about ``budget`` bytes are under way or
        held, and always the next one."""
        self._budget = budget
        self._full = self._full and self._held > budget - budget // REFILL
        found: list[tuple[CID, int | None]] = []
        while self._runs:
            run = self._runs[0][1]
            place = self._next(run)
            if place is None:
                self._drop_run(run)
                continue
            # the next one is asked for whatever the budget says: nothing else can make room
            if run is not self._first and (self._full or self._held + place.weight > budget):
                self._full = True
                break
            if self._ask(run, place):
                found.append((place.cid, place.weight))
        return found

    def feed(self, cid: CID, data: Buffer) -> None:
        """Take a block; one that nobody asked for is ignored."""
        for place in self._under_way.pop(cid, ()):
            self._arrived(place, data)

    def _take(self) -> tuple[Place, Buffer] | None:
        """The next place and what it gives out; ``None`` where that is not here. The plan lets go of it."""
        while (item := self._first) is not None:
            if isinstance(item, Run):
                place = self._next(item)
                if place is None:
                    self._drop_run(item)
                elif _is_inline(place.cid):
                    self._ask(item, place)
                else:
                    return None
                continue
            assert isinstance(item, Place)
            data, item.data = item.data, None
            if data is None:
                return None
            self._held -= item.weight
            self._unlink(item)
            return item, data
        return None

    def _next(self, run: Run) -> Place | None:
        while run.ready is None and run.index < run.stop:
            run.index += 1
            run.ready = self._place(run, run.index - 1)
        return run.ready

    def _ask(self, run: Run, place: Place) -> bool:
        """Move the first of the first run into the list; whether it has to be asked for now."""
        run.ready = None
        self._link(place, run.before, run, run.stop - run.index + 1)
        self._held += place.weight
        if run.index == run.stop:
            self._drop_run(run)
        if _is_inline(place.cid):
            self._arrived(place, place.cid.digest)
            return False
        waiting = self._under_way.setdefault(place.cid, [])
        waiting.append(place)
        return len(waiting) == 1

    def _arrived(self, place: Place, data: Buffer) -> None:
        content, run = self._read(place, data)
        weight = max(memoryview(content).nbytes, MIN_BYTES)
        below = run.weight if run is not None else 0
        grown = weight + below - place.weight
        if grown > 0 and place is not self._first and self._held + grown > self._budget * OVERDRAFT:
            self._put_back(place, weight + below)
            return
        self._held += weight - place.weight
        place.weight = weight
        place.data = content
        if run is not None:
            self._add_run(run, place)

    def _put_back(self, place: Place, weight: int) -> None:
        """Forget what came for a place, and ask for it again when there is room for this weight."""
        self._held -= place.weight
        place.weight = weight
        run = _waiting(place)
        self._link(run, place.before, place, 1)
        self._unlink(place)
        heappush(self._runs, (run.order, run))

    def _add_run(self, run: Run, parent: Place | None) -> None:
        self._links += len(run.cids)
        if self._links > MAX_PLAN_LINKS and parent is not None:
            raise InvalidBlock(f"block {parent.cid}: more than {MAX_PLAN_LINKS} links wait to be followed")
        self._held += run.weight
        self._link(run, parent, parent.following if parent is not None else None, 1)
        heappush(self._runs, (run.order, run))

    def _drop_run(self, run: Run) -> None:
        """The first run has no more."""
        heappop(self._runs)
        self._links -= len(run.cids)
        self._held -= run.weight
        self._unlink(run)

    def _link(self, item: _Item, left: _Item | None, right: _Item | None, parts: int) -> None:
        """Put an item between two neighbours, in the first of ``parts`` + 1 equal parts of the room between them."""
        item.order = _between(left, right, parts)
        if left is not None and item.order <= left.order:
            self._renumber()
            item.order = _between(left, right, parts)
        item.before, item.following = left, right
        if left is None:
            self._first = item
        else:
            left.following = item
        if right is not None:
            right.before = item

    def _unlink(self, item: _Item) -> None:
        left, right = item.before, item.following
        item.before = item.following = None
        if left is None:
            self._first = right
        else:
            left.following = right
        if right is not None:
            right.before = left

    def _renumber(self) -> None:
        order, item = 0, self._first
        while item is not None:
            order += _STEP
            item.order = order
            if isinstance(item, Run) and item.ready is not None:
                item.ready.order = order
            item = item.following
        self._runs = [(run.order, run) for _, run in self._runs]
        heapify(self._runs)


def _between(left: _Item | None, right: _Item | None, parts: int) -> int:
    if right is None:
        return (left.order if left is not None else 0) + _STEP
    if left is None:
        return right.order - _STEP
    return left.order + (right.order - left.order) // (parts + 1)


def _waiting(place: Place) -> Run:
    """A run of this one place."""
    run = Run((), ())
    run.ready = place
    return run


def _is_inline(cid: CID) -> bool:
    """Whether the CID is an identity one: it carries its block. ``InvalidCID`` where it carries more than it may."""
    if cid.multihash[0] != IDENTITY:
        return False
    cid.check_allowed()
    return True


def link_weight(cid: CID, size: int | None) -> int:
    """What the block behind a link is taken to weigh; ``size`` is the cumulative size, where the link tells one."""
    if size is None:
        return UNKNOWN_BYTES
    if cid.codec == RAW:
        return min(size, MAX_BLOCK_BYTES)
    return size if size <= MAX_BLOCK_BYTES else INNER_BYTES
