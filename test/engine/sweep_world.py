"""A key space with peers and nothing else: lookups that know everything, and a clock that jumps."""

from __future__ import annotations

import heapq
import random
from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING

from ipfs_kit_py.core.cid import PeerID
from ipfs_kit_py.routing.kad_wire import PeerInfo
from ipfs_kit_py.routing.keys import kad_key
from ipfs_kit_py.routing.network_size import NetworkSize
from ipfs_kit_py.routing.sweep import Explore, Sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

HOUR = 3600.0
BEGIN = 1_790_000_000.0
_WINDOW = 256  # neighbours in order that surely have the 20 closest where keys are even


def multihash(rng: random.Random) -> bytes:
    return b"\x12\x20" + rng.randbytes(32)


def peer(rng: random.Random) -> PeerInfo:
    return PeerInfo(PeerID(b"\x12\x20" + rng.randbytes(32)), ("/ip4/10.0.0.1/tcp/4001",))


class SweepWorld:
    """``told`` is what each peer was told of, and when last."""

    def __init__(self, size: int, seed: int, *, k: int = 20, even: bool = True) -> None:
        self.rng = random.Random(seed)
        self.k, self.even = k, even
        self.now = BEGIN
        self.infos = {kad_key(info.peer.raw): info for info in (peer(self.rng) for _ in range(size))}
        self.order = sorted(self.infos)
        self.dead: set[PeerID] = set()
        self.online = True
        self.told: dict[bytes, dict[bytes, float]] = {}
        self.lookups = 0
        self.batches: Counter[bytes] = Counter()

    def change(self, count: int) -> None:
        """So many peers leave, others come."""
        for key in self.rng.sample(self.order, min(count, len(self.order) - 1)):
            del self.infos[key]
        self.infos |= {kad_key(info.peer.raw): info for info in (peer(self.rng) for _ in range(count))}
        self.order = sorted(self.infos)

    def closest(self, key: int) -> list[PeerInfo]:
        near = self.order
        if self.even and len(near) > 4 * _WINDOW:
            at = bisect_left(near, key)
            near = near[max(0, at - _WINDOW) : at + _WINDOW]
        return [self.infos[found] for found in heapq.nsmallest(self.k, near, key=lambda other: other ^ key)]

    def measured(self) -> NetworkSize:
        """What a node knows that has looked up a few keys before."""
        size = NetworkSize(k=self.k)
        for _ in range(10):
            target = self.rng.getrandbits(256)
            size.on_closest(target, [kad_key(info.peer.raw) for info in self.closest(target)], self.now)
        return size

    def act(self, sweep: Sweep) -> bool:
        """Perform one action, if there is any."""
        action = sweep.next_action(self.now)
        if action is None:
            return False
        self.perform(sweep, action)
        return True

    def perform(self, sweep: Sweep, action: object) -> None:
        if isinstance(action, Explore):
            self.lookups += 1
            if self.online:
                sweep.on_explored(action, self.closest(kad_key(action.multihash)), self.now)
            else:
                sweep.on_failed(action, self.now)
        elif not self.online or action.peer in self.dead:
            sweep.on_failed(action, self.now)
        else:
            self.batches[action.peer.raw] += 1
            mine = self.told.setdefault(action.peer.raw, {})
            for key in action.multihashes:
                mine[key] = self.now
            sweep.on_told(action, self.now)

    def run(self, sweep: Sweep, seconds: float, *, watch: Callable[[], None] | None = None) -> None:
        """Let the sweep go on for so long; actions take no time."""
        until = self.now + seconds
        while True:
            while self.act(sweep):
                if watch is not None:
                    watch()
            deadline = sweep.deadline()
            if deadline is None or deadline > until:
                self.now = until
                return
            assert deadline > self.now, "it wants to be called at once and then does nothing"
            self.now = deadline

    def holders(self, key: bytes) -> set[bytes]:
        return {raw for raw, keys in self.told.items() if key in keys}

    def expected(self, key: bytes) -> set[bytes]:
        return {info.peer.raw for info in self.closest(kad_key(key))}

    def check(self, keys: Iterable[bytes]) -> None:
        """Each key is with its closest peers and with nobody else."""
        where: dict[bytes, set[bytes]] = {}
        for raw, held in self.told.items():
            for key in held:
                where.setdefault(key, set()).add(raw)
        for key in keys:
            assert where.get(key, set()) == self.expected(key)
