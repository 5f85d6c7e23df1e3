"""One region of the sweep: look until the closest peers of all its keys are known, then tell each peer its keys.
Sans-I/O."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from itertools import chain, islice
from typing import TYPE_CHECKING

from ipfs_kit_py.core.config import SWEEP_EXPLORE_TRIES, SWEEP_LOOKUPS, SWEEP_PEER_FAILURES, SWEEP_TELL_KEYS
from ipfs_kit_py.routing.keys import KEY_BITS, kad_key
from ipfs_kit_py.routing.sweep_regions import Explored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.routing.kad_wire import PeerInfo

_FEW = 8  # keys left that are rather looked up each by itself; of all, one in so many may be one lookup too many


class _Batch:
    """The keys of one peer that it was not told of yet."""

    __slots__ = ("failures", "info", "left", "next", "told")

    def __init__(self, info: PeerInfo, groups: list[list[bytes]]) -> None:
        self.info = info
        self.left: Iterator[bytes] = chain.from_iterable(groups)
        self.next = tuple(islice(self.left, SWEEP_TELL_KEYS))
        self.failures = 0
        self.told = False

    def advance(self) -> bool:
        """Go on to the next keys; whether there are any."""
        self.failures, self.told = 0, True
        self.next = tuple(islice(self.left, SWEEP_TELL_KEYS))
        return bool(self.next)


class Work:
    """A region under way: the bins from ``first`` to before ``last``; ``new``: its new keys alone.

    A lookup is always for one of our keys: that needs no search for bytes that hash into a region, and where keys are
    few there is nothing to look up between them. ``nearest`` gives that of any region which is nearest to a point.
    """

    def __init__(
        self,
        first: int,
        last: int,
        multihashes: Iterable[bytes],
        k: int,
        *,
        new: bool,
        now: float,
        nearest: Callable[[int], bytes | None],
    ) -> None:
        self.first, self.last, self.new, self.began = first, last, new, now
        self._nearest = nearest
        self._looked: set[bytes] = set()
        self._of = {kad_key(multihash): multihash for multihash in multihashes}
        self._pending = sorted(self._of)  # keys whose closest peers are not known
        self._explored = Explored(k)
        self._groups: dict[int, list[list[bytes]]] = {}  # peer -> keys, shared by the peers
        self._batches: dict[bytes, _Batch] = {}
        self._waiting: deque[_Batch] = deque()
        self._looking = False
        self._tries = self._flying = 0
        self.failed = not self._pending
        self.lookups = self.unsure = 0

    def __repr__(self) -> str:
        state = f"{len(self._pending)} keys to explore" if self._pending else f"{len(self._waiting)} peers to tell"
        return f"<Work on bins {self.first} to {self.last}: {len(self._of)} keys, {self.lookups} lookups, {state}>"

    @property
    def multihashes(self) -> Iterable[bytes]:
        """The keys of the region."""
        return self._of.values()

    @property
    def size(self) -> int:
        """How many keys."""
        return len(self._of)

    @property
    def peers(self) -> int:
        """How many peers are told."""
        return len(self._batches)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do and nothing is waited for."""
        return not self._flying and not self._looking and (self.failed or not (self._pending or self._waiting))

    @property
    def succeeded(self) -> bool:
        """Whether at least half of the peers were told something."""
        return not self.failed and 2 * sum(batch.told for batch in self._batches.values()) >= len(self._batches) > 0

    # --- exploring ----------------------------------------------------------------------------------------------------

    def next_target(self) -> bytes | None:
        """The multihash that is to be looked up now, if any."""
        if self._looking or self.failed or not self._pending:
            return None
        self._looking = True
        return self._best_target()

    def on_explored(self, multihash: bytes, closest: Sequence[PeerInfo], *, everybody: bool) -> None:
        """Who is closest to a key, or ``everybody`` there is."""
        self._looking = False
        self._tries = 0
        self.lookups += 1
        self._looked.add(multihash)
        key = kad_key(multihash)
        self._explored.learn(key, closest, everybody=everybody)
        at = bisect_left(self._pending, key)
        if self._pending[at : at + 1] == [key]:
            del self._pending[at]
            self._give(self._explored.closest(key)[0], [key])
        self._settle(at_any_rate=self.lookups >= SWEEP_LOOKUPS)
        if not self._pending:
            self._share_out()

    def on_not_explored(self) -> None:
        """A lookup has failed: after some of these the region has."""
        self._looking = False
        self._tries += 1
        self.failed = self._tries >= SWEEP_EXPLORE_TRIES

    def _best_target(self) -> bytes:
        """The first key of the largest block of which nothing is known: so lookups overlap the least. Where all of
        that is known, one in the neighbourhood that shows whether anybody there is among the closest of ours."""
        best, found, at = -1, self._pending[0], 0
        while at < len(self._pending):
            key = self._pending[at]
            room = self._explored.room(key)
            if room > best:
                best, found = room, key
            at = at + 1 if room < 0 else bisect_left(self._pending, ((key >> room) + 1) << room, at)
        return self._neighbour(found) if best < 0 else self._of[found]

    def _neighbour(self, key: int) -> bytes:
        """A key beside what is known, which shows others of the region more than a lookup of this one would."""
        spared = self.size - len(self._pending) - self.lookups  # by what was seen
        if len(self._pending) > _FEW and spared + self.size // _FEW > 0:
            gap = self._explored.gap(key, *self._explored.closest(key))
            near = None if gap is None else self._nearest(gap[0])
            if near is not None and near not in self._looked:
                return near
        return self._of[key]

    def _settle(self, *, at_any_rate: bool) -> None:
        """Give away the keys whose closest peers are known by now."""
        left: list[int] = []
        at = 0
        while at < len(self._pending):
            key = self._pending[at]
            chosen, shared = self._explored.closest(key)
            low = KEY_BITS - shared
            end = bisect_left(self._pending, ((key >> low) + 1) << low, at)
            alike = self._pending[at:end]
            if self._explored.gap(key, chosen, shared) is None:
                self._give(chosen, alike)
            elif at_any_rate:
                self.unsure += len(alike)
                self._give(chosen, alike)
            else:
                left += alike
            at = end
        self._pending = left

    def _give(self, peers: Iterable[int], keys: list[int]) -> None:
        multihashes = [self._of[key] for key in keys]
        for peer in peers:
            self._groups.setdefault(peer, []).append(multihashes)

    def _share_out(self) -> None:
        for peer in sorted(self._groups):
            info = self._explored.infos[peer]
            self._batches[info.peer.raw] = batch = _Batch(info, self._groups.pop(peer))
            self._waiting.append(batch)

    # --- telling ------------------------------------------------------------------------------------------------------

    def next_tell(self, most: int) -> tuple[PeerInfo, tuple[bytes, ...]] | None:
        """A peer and keys that it is to be told of now, if any; ``most`` at a time, one message to each peer."""
        if self._pending or self.failed or not self._waiting or self._flying >= most:
            return None
        self._flying += 1
        batch = self._waiting.popleft()
        return batch.info, batch.next

    def on_told(self, peer: PeerID) -> None:
        """A peer has the keys that it was to be told of."""
        self._flying -= 1
        batch = self._batches[peer.raw]
        if batch.advance():
            self._waiting.append(batch)

    def on_not_told(self, peer: PeerID) -> None:
        """A peer could not be told: it is tried once more after the others."""
        self._flying -= 1
        batch = self._batches[peer.raw]
        batch.failures += 1
        if batch.failures < SWEEP_PEER_FAILURES:
            self._waiting.append(batch)
