"""What is likely to be read next: by the shape of DAGs, by what followed before, by what was read together. Sans-I/O.

Each guesser learns from every read and names, on a read, what it takes to come next, the likeliest first. All of their
tables are bounded; what was used longest ago goes first.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from ipfs_kit_py.core.config import (
    PREFETCH_AFFINE,
    PREFETCH_AFFINITY_ROOTS,
    PREFETCH_AFFINITY_SECONDS,
    PREFETCH_CHAIN,
    PREFETCH_CONFIDENCE,
    PREFETCH_LINKS,
    PREFETCH_NODE_LINKS,
    PREFETCH_SEQUENCES,
    PREFETCH_TOGETHER,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ipfs_kit_py.core.cid import CID

_FOLLOWERS = 4  # of one block that are counted
_FADE = 16  # uses counted of one block, after which all of its counts halve: habits change


class _Site(NamedTuple):
    """Where a block was met as a link."""

    parent: CID
    place: int


class Family:
    """Children and siblings: the links of nodes that were read, at most ``capacity`` of them."""

    def __init__(self, capacity: int = PREFETCH_LINKS) -> None:
        self._capacity = capacity
        self._nodes: OrderedDict[CID, tuple[CID, ...]] = OrderedDict()
        self._sites: dict[CID, _Site] = {}
        self._links = 0

    def __len__(self) -> int:
        return self._links

    def learn(self, parent: CID, links: Sequence[CID]) -> None:
        """A node with links was read."""
        if not links:
            return
        if parent in self._nodes:
            self._nodes.move_to_end(parent)
            return
        kept = self._nodes[parent] = tuple(links[: min(PREFETCH_NODE_LINKS, self._capacity)])
        self._links += len(kept)
        for index, cid in enumerate(kept):
            self._sites.setdefault(cid, _Site(parent, index))
        while self._links > self._capacity:
            old, gone = self._nodes.popitem(last=False)
            self._links -= len(gone)
            for cid in gone:
                site = self._sites.get(cid)
                if site is not None and site.parent == old:
                    del self._sites[cid]

    def knows(self, cid: CID) -> bool:
        """Whether a block is a link of a node that was read."""
        return cid in self._sites

    def follows(self, before: CID, cid: CID) -> bool:
        """Whether the DAG alone says that ``cid`` comes after ``before``."""
        site, last = self._sites.get(cid), self._sites.get(before)
        if site is None:
            return False
        return site.parent == before or (last is not None and last.parent == site.parent)

    def children(self, cid: CID) -> Iterator[CID]:
        """What a node links to, in order."""
        return iter(self._nodes.get(cid, ()))

    def siblings(self, cid: CID) -> Iterator[CID]:
        """What comes after a block in its parent, in order."""
        site = self._sites.get(cid)
        if site is None or (links := self._nodes.get(site.parent)) is None:
            return iter(())
        self._nodes.move_to_end(site.parent)
        return islice(links, site.place + 1, None)


class _Counts:
    """How often which others came with one block, and how often it was used itself."""

    __slots__ = ("others", "uses")

    def __init__(self) -> None:
        self.uses = 0
        self.others: dict[CID, int] = {}

    def use(self) -> None:
        self.uses += 1
        if self.uses >= _FADE:
            self.uses //= 2
            self.others = {cid: half for cid, count in self.others.items() if (half := count // 2)}

    def add(self, cid: CID, most: int) -> None:
        if cid not in self.others and len(self.others) >= most:
            rarest = min(self.others, key=self.others.__getitem__)
            self.others[rarest] -= 1  # a newcomer takes the place of one that does not come any more
            if self.others[rarest] > 0:
                return
            del self.others[rarest]
        self.others[cid] = self.others.get(cid, 0) + 1

    def likely(self) -> list[CID]:
        """Those seen at least twice and in a large enough part of the uses, the likeliest first."""
        least = max(2.0, PREFETCH_CONFIDENCE * self.uses)
        found = [(count, cid) for cid, count in self.others.items() if count >= least]
        return [cid for _count, cid in sorted(found, key=lambda item: -item[0])]


class _Table:
    """Counts by block, at most ``capacity`` blocks."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._rows: OrderedDict[CID, _Counts] = OrderedDict()

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, cid: CID) -> _Counts:
        counts = self._rows.get(cid)
        if counts is None:
            counts = self._rows[cid] = _Counts()
            if len(self._rows) > self._capacity:
                self._rows.popitem(last=False)
        else:
            self._rows.move_to_end(cid)
        return counts

    def likely(self, cid: CID) -> list[CID]:
        counts = self._rows.get(cid)
        return [] if counts is None else counts.likely()


class Sequences:
    """What came right after what."""

    def __init__(self, capacity: int = PREFETCH_SEQUENCES) -> None:
        self._table = _Table(capacity)

    def __len__(self) -> int:
        return len(self._table)

    def learn(self, before: CID, cid: CID) -> None:
        """``cid`` was read right after ``before``."""
        row = self._table.row(before)
        row.use()
        row.add(cid, _FOLLOWERS)

    def after(self, cid: CID) -> Iterator[CID]:
        """What comes after a block, and after that, as far as it is known."""
        seen = {cid}
        for _ in range(PREFETCH_CHAIN):
            following = [other for other in self._table.likely(cid) if other not in seen]
            if not following:
                return
            yield from following
            seen.update(following)
            cid = following[0]


class Affinity:
    """Which roots are read together, whatever their order: within a short time and with few others between."""

    def __init__(self, capacity: int = PREFETCH_AFFINITY_ROOTS) -> None:
        self._table = _Table(capacity)
        self._lately: deque[tuple[CID, float]] = deque(maxlen=PREFETCH_TOGETHER)

    def __len__(self) -> int:
        return len(self._table)

    def learn(self, root: CID, now: float) -> None:
        """A root was read at ``now``."""
        lately = [(other, at) for other, at in self._lately if now - at <= PREFETCH_AFFINITY_SECONDS]
        row = self._table.row(root)
        if any(other == root for other, _at in lately):
            return  # still the same use
        row.use()
        for other, _at in lately:
            row.add(other, PREFETCH_AFFINE)
            self._table.row(other).add(root, PREFETCH_AFFINE)
        self._lately.append((root, now))

    def together(self, root: CID) -> Iterator[CID]:
        """What is usually read with a root."""
        return iter(self._table.likely(root))
