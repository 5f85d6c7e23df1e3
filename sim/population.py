"""Who there is: identities in the order of their keys, their addresses and places, who is online and who lies.

Sessions have a median of 2 h; most identities return after about 1 h, the others are replaced by new ones. Sessions are
exponential, so that nothing is gained by keeping those that have been there long: measured ones have a heavier tail
(Stutzbach and Rejaie, *Understanding Churn in Peer-to-Peer Networks*, IMC 2006), which would be kinder to tables.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from heapq import nsmallest
from typing import TYPE_CHECKING, Protocol

from ipfs_kit_py.core.cid import PeerID
from ipfs_kit_py.routing.kad_wire import PeerInfo
from ipfs_kit_py.routing.keys import kad_key
from sim.clock import HOUR
from sim.latency import Place, place

if TYPE_CHECKING:
    import random

    from sim.clock import Clock

SESSION = 2 * HOUR  # median
PAUSE = 1 * HOUR  # median, of those that return
RETURN = 0.85  # of those that leave, these return
LIARS = 0.10
LIAR_KINDS = 4  # 1 drops records, 2 names colluders alone, 3 made-up peers, 4 real ones at addresses of nobody
TOP = 64  # bits of a key that are looked at here: no two of a million identities share them
_MEAN_SESSION = SESSION / math.log(2)
_PAUSE_SIGMA = 0.5
_MEAN_PAUSE = PAUSE * math.exp(_PAUSE_SIGMA**2 / 2)
_FAKES = 4  # made-up identities of the liars, as a multiple of the identities: each shares 2 bits more with any key
_RENTED = 600  # networks (/16) of data centres, which have half of all nodes


class Watcher(Protocol):
    """Whoever wants to know who comes and leaves."""

    def on_change(self, number: int, up: bool) -> None: ...


@dataclass(frozen=True, slots=True)
class Counts:
    """How many identities there are, and of them online and liars."""

    identities: int
    online: int
    liars: int


def peer_id(rng: random.Random) -> PeerID:
    """An identity by chance."""
    return PeerID(b"\x12\x20" + rng.randbytes(32))


def address(rng: random.Random) -> str:
    """A public address; half of them are in a few hundred networks."""
    net = rng.randrange(_RENTED) if rng.random() < 0.5 else rng.randrange(_RENTED, 87 * 256)
    return f"/ip4/{11 + net // 256}.{net % 256}.{rng.randrange(256)}.{rng.randrange(1, 255)}/tcp/4001"


class Population:
    """``size`` servers are online at any time, on average. An identity is a number, in the order of the keys."""

    def __init__(self, size: int, hours: float, clock: Clock, rng: random.Random) -> None:
        self.clock, self.rng = clock, rng
        slots = round(size * (1 + _MEAN_PAUSE / _MEAN_SESSION))
        changes = hours * HOUR / (_MEAN_SESSION + _MEAN_PAUSE)
        count = slots + math.ceil(slots * changes * (1 - RETURN) * 1.05) + 64
        peers = sorted(
            ((kad_key(one.raw), one) for one in (peer_id(rng) for _ in range(count))), key=lambda row: row[0]
        )
        self.infos = [PeerInfo(peer, (address(rng),)) for _key, peer in peers]
        self.keys = [key for key, _peer in peers]
        self.tops = [key >> (256 - TOP) for key in self.keys]
        self.index = {peer.raw: number for number, (_key, peer) in enumerate(peers)}
        self.places: list[Place] = [place(rng) for _ in peers]
        self.up = bytearray(count)
        self.changed = [-math.inf] * count  # when it came or left last
        order = list(range(count))
        rng.shuffle(order)
        self.liar = bytearray(count)
        for number in rng.sample(order, round(LIARS * count)):
            self.liar[number] = 1 + rng.randrange(LIAR_KINDS)
        self._unborn = order[slots:]
        self._watchers: dict[int, list[Watcher]] = {}
        self._steady: set[int] = set()
        for number in order[:slots]:
            self._begin(number)
        self._fakes: list[tuple[int, PeerInfo]] | None = None
        self._colluders = [number for number in range(count) if self.liar[number]]
        self._colluder_tops = [self.tops[number] for number in self._colluders]

    def _begin(self, number: int) -> None:
        """At the begin each is online with the share of time that it is."""
        if self.rng.random() < _MEAN_SESSION / (_MEAN_SESSION + _MEAN_PAUSE):
            self.up[number] = 1
            self.clock.after(self.rng.expovariate(1 / _MEAN_SESSION), lambda: self._leave(number))
        else:
            self.clock.after(self.rng.random() * self._pause(), lambda: self._come(number))

    def _pause(self) -> float:
        return PAUSE * math.exp(self.rng.gauss(0.0, _PAUSE_SIGMA))

    def _come(self, number: int) -> None:
        self._change(number, 1)
        self.clock.after(self.rng.expovariate(1 / _MEAN_SESSION), lambda: self._leave(number))

    def _leave(self, number: int) -> None:
        if number in self._steady:
            return
        self._change(number, 0)
        heir = number if self.rng.random() < RETURN or not self._unborn else self._unborn.pop()
        self.clock.after(self._pause(), lambda: self._come(heir))

    def _change(self, number: int, up: int) -> None:
        self.up[number] = up
        self.changed[number] = self.clock.now
        for watcher in self._watchers.get(number, ()):
            watcher.on_change(number, bool(up))

    def always(self, number: int) -> None:
        """This one is online from now on, whatever it was to be: a node whose long run is measured."""
        self._steady.add(number)
        self.up[number] = 1
        self.changed[number] = -math.inf

    def watch(self, number: int, watcher: Watcher) -> None:
        """Tell when an identity comes or leaves."""
        self._watchers.setdefault(number, []).append(watcher)

    # --- the key space ------------------------------------------------------------------------------------------------

    def span(self, top: int, bits: int) -> tuple[int, int]:
        """The identities that share the first ``bits`` bits with ``top``: the first number, and that after the last."""
        low = (top >> (TOP - bits)) << (TOP - bits)
        return bisect_left(self.tops, low), bisect_left(self.tops, low + (1 << (TOP - bits)))

    def closest(self, key: int, count: int) -> list[int]:
        """Those online that truly are closest to a key."""
        top = key >> (256 - TOP)
        for bits in range(TOP - 1, -1, -1):
            low, high = self.span(top, bits)
            if high - low >= count:
                online = [number for number in range(low, high) if self.up[number]]
                if len(online) >= count or not bits:
                    return nsmallest(count, online, key=lambda number: self.tops[number] ^ top)
        return []

    def counts(self) -> Counts:
        """The counts of this moment."""
        return Counts(len(self.keys), sum(self.up), sum(map(bool, self.liar)))

    # --- what liars name ----------------------------------------------------------------------------------------------

    def fakes(self, key: int, count: int) -> list[PeerInfo]:
        """Made-up peers that are closer to a key than anybody real; where they are said to be is nobody."""
        if self._fakes is None:
            total = _FAKES * len(self.keys)
            made = (PeerInfo(peer_id(self.rng), (address(self.rng),)) for _ in range(total))
            self._fakes = sorted(
                ((kad_key(info.peer.raw) >> (256 - TOP), info) for info in made), key=lambda row: row[0]
            )
        top, fakes = key >> (256 - TOP), self._fakes
        at = bisect_left(fakes, top, key=lambda row: row[0])
        near = fakes[max(0, at - count) : at + count]
        return [info for _top, info in nsmallest(count, near, key=lambda row: row[0] ^ top)]

    def colluders(self, key: int, count: int) -> list[PeerInfo]:
        """The liars online that are closest to a key."""
        top = key >> (256 - TOP)
        at = bisect_left(self._colluder_tops, top)
        near = [number for number in self._colluders[max(0, at - 3 * count) : at + 3 * count] if self.up[number]]
        return [self.infos[number] for number in nsmallest(count, near, key=lambda number: self.tops[number] ^ top)]
