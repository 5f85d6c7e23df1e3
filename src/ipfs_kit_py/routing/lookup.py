"""An iterative lookup: who are the closest peers to a key. Sans-I/O.

It walks towards the key by asking those who are closest and fast, and settles when the nearest ``resiliency`` have
answered: then all of the ``k`` closest must have answered for themselves. A peer's word about others is taken on
credit, which it loses when those do not answer. What is found on the way (providers, values) is the driver's.
Source: libp2p/specs kad-dht/README.md (peer routing); Baumgart and Mies, *S/Kademlia*, 2007 (disjoint paths).
"""

from __future__ import annotations

import math
from bisect import insort
from dataclasses import dataclass, field
from itertools import islice
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING

from ipfs_kit_py.core.config import (
    KAD_ALPHA,
    KAD_GROUP_IN_LOOKUP,
    KAD_K,
    KAD_LOOKUP_ASKS,
    KAD_LOOKUP_CANDIDATES,
    KAD_MAX_CLOSER,
    KAD_PATIENCE,
    KAD_RESILIENCY,
)
from ipfs_kit_py.routing.kad_wire import PeerInfo
from ipfs_kit_py.routing.keys import KEY_BITS, kad_key
from ipfs_kit_py.routing.lookup_candidates import Candidate, Pace, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ipfs_kit_py.core.cid import PeerID

_BITS_PER_HOP = 4.0  # that an answer of 20 peers is closer than who gave it: what a fast peer is weighed against
_STALLED_FACTOR = 3  # requests under way at most, stalled ones included, as a multiple of alpha

_distance = attrgetter("distance")
_first = itemgetter(0)
_HEARD, _ASKED, _ANSWERED, _FAILED = State  # read for each candidate at each step


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask this peer for the target, then ``on_answer`` or ``on_failure``. ``timeout`` (seconds) is how long the lookup
    waits; an answer that comes later is still of use until the lookup is done."""

    info: PeerInfo
    timeout: float

    @property
    def peer(self) -> PeerID:
        """Who is to be asked."""
        return self.info.peer


@dataclass(frozen=True, slots=True)
class Done:
    """The lookup has ended: the closest peers, closest first; requests still under way can be given up.

    ``complete`` unless stopped or out of bounds; then all of them have answered. Else peers are among them that have
    not, but that we knew or that two others named. ``by_path`` are the closest of each path, where there are several:
    one path that ended among liars does not hide what another found.
    """

    closest: tuple[PeerInfo, ...]
    complete: bool = True
    by_path: tuple[tuple[PeerInfo, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class LookupStatistics:
    """``hops``: of the longest chain of answers that led to one of the closest; ``seconds`` since the first request."""

    hops: int
    asked: int
    answered: int
    failed: int
    candidates: int
    ignored: int
    seconds: float


@dataclass(slots=True)
class _View:
    """What counts on one path, and what may yet."""

    path: int
    near: list[Candidate] = field(default_factory=list)
    held: list[Candidate] = field(default_factory=list)

    def unsettled(self, more: bool, k: int, now: float) -> bool:
        """Whether an answer is waited for, or (``more``) somebody is yet to be asked.

        Where ``k`` have answered, those who are much slower than the others are not waited for to their very end.
        """
        wanted = (State.ASKED, State.HEARD) if more else (State.ASKED,)
        if any(row.state in wanted for row in self.near):
            return True
        enough = len(self.near) >= k
        return any(row.state in wanted and not (enough and row.late(now)) for row in self.held)


class Lookup:
    """``seeds``: best twice ``k`` of them, since all peers near the key may name the same ``k``, dead ones among them.
    ``paths``: disjoint ones (S/Kademlia). ``latency`` gives seconds of known peers (``Table.latency``): the faster of
    equally useful ones go first. ``me`` is never asked. ``per_group``: of one IP group among the closest, 0 for any
    number; loopback and private addresses do not count. ``patience``: where ``k`` have answered, how many times the
    usual wait a slower one that is closer may take; ``math.inf`` waits for each to its very end.
    """

    def __init__(
        self,
        target: int,
        seeds: Sequence[PeerInfo],
        *,
        alpha: int = KAD_ALPHA,
        k: int = KAD_K,
        resiliency: int = KAD_RESILIENCY,
        paths: int = 1,
        me: PeerID | None = None,
        latency: Callable[[PeerID], float | None] | None = None,
        per_group: int = KAD_GROUP_IN_LOOKUP,
        patience: float = KAD_PATIENCE,
    ) -> None:
        self.patience = patience
        self.target, self.k, self.resiliency, self.per_group = target, k, resiliency, per_group
        self.paths = max(1, paths)
        self.alpha = max(1, alpha // self.paths)  # of each path
        self._latency = latency
        self._me = None if me is None else me.raw
        self._known: dict[bytes, Candidate] = {}
        self._order: list[Candidate] = []  # by distance
        self._flying: dict[bytes, Candidate] = {}  # asked, their time not over
        self._pace = Pace()
        self._views: list[_View] = []  # those of the last action; none where they have changed
        self._fresh = 0.0  # until then they hold
        self._done: Done | None = None
        self._stopped = False
        self._began: float | None = None
        self._last = 0.0
        self._asked = self._answered = self._failed = self._ignored = 0
        near = self._by_distance(islice(seeds, KAD_LOOKUP_CANDIDATES))
        for number, (distance, info) in enumerate(near):
            self._add(Candidate(info, distance, 0, 1 << number % self.paths, self._latency_of(info)))

    def __repr__(self) -> str:
        state = f"{self._answered} answers, {'done' if self._done else f'{len(self._flying)} asked'}"
        return f"<Lookup of {self.target >> 224:08x}…: {len(self._order)} candidates, {state}>"

    # --- what to do ---------------------------------------------------------------------------------------------------

    def next_action(self, now: float) -> Ask | Done | None:
        """Call until ``None`` after each event; after ``Done`` it gives the same ``Done`` always."""
        if self._done is not None:
            return self._done
        if self._stopped:
            return self._finish(complete=False)
        views = self._views_at(now)
        more = self._asked < KAD_LOOKUP_ASKS
        if more:
            for view in sorted(views, key=self._load):
                found = self._choose(view, now)
                if found is not None:
                    return self._ask(found, view.path, now)
        if self._flying and any(view.unsettled(more, self.k, now) for view in views):
            return None
        return self._finish(complete=not any(view.unsettled(True, self.k, now) for view in views))

    def deadline(self) -> float | None:
        """When to call ``on_timeout``: a peer has had its time, or others may be asked in its place."""
        if self._done is not None or not self._flying:
            return None
        now = self._last
        return min(row.soft if row.soft > now else row.next_time(now) for row in self._flying.values())

    def on_timeout(self, now: float) -> None:
        """Peers whose time is over have failed."""
        self._last = max(self._last, now)
        for row in [row for row in self._flying.values() if row.until <= now]:
            self._fail(row)

    def stop(self) -> None:
        """End with what is known: the next action is ``Done``."""
        self._stopped = True

    def _load(self, view: _View) -> int:
        return sum(flying.path == view.path for flying in self._flying.values())

    def _views_at(self, now: float) -> list[_View]:
        """The view of each path; that of the last action while nothing has changed it."""
        if not self._views or now >= self._fresh:
            self._fresh = math.inf
            self._views = [self._view(path, now) for path in range(self.paths)]
        return self._views

    def _view(self, path: int, now: float) -> _View:
        """The ``k`` closest that may still count on a path: not failed, not shunned, few of each network.

        Who is slow or waits for its namer's credit is kept beside them: others are asked meanwhile.
        """
        view, groups, bit = _View(path), dict[str, int](), 1 << path
        near, k = view.near, self.k
        for row in self._order:
            state = row.state
            if state is _FAILED or not row.paths & bit:
                continue
            if state is not _ANSWERED and row.namers:
                if row.shunned:
                    continue
                if state is _HEARD and row.waits:
                    view.held.append(row)
                    continue
            if state is _ASKED:
                if row.soft <= now:
                    view.held.append(row)
                    continue
                self._fresh = min(self._fresh, row.soft)
            if self._fits(row, groups):
                near.append(row)
                if len(near) >= k:
                    break
        return view

    def _choose(self, view: _View, now: float) -> Candidate | None:
        """Whom to ask next on a path, if it has a request free."""
        heard = [row for row in view.near if row.state is _HEARD]
        if not heard:
            return None
        settled = all(row.state is _ANSWERED for row in view.near[: self.resiliency])
        room = self.k if settled else self.alpha
        if sum(row.state is _ASKED and row.path == view.path for row in view.near) >= room:
            return None
        if len(self._flying) >= _STALLED_FACTOR * self.alpha and self._load(view) >= _STALLED_FACTOR * self.alpha:
            return None
        if settled or self._latency is None:
            return heard[0]
        return min(heard, key=self._cost)

    def _cost(self, row: Candidate) -> float:
        """Seconds that asking a peer costs, less those that its closeness spares; the smaller the better."""
        usual = self._pace.mean or 0.2
        shared = KEY_BITS - row.distance.bit_length()
        return (usual if row.latency is None else row.latency) - usual * shared / _BITS_PER_HOP

    def _ask(self, row: Candidate, path: int, now: float) -> Ask:
        if self._began is None:
            self._began = now
        self._last = max(self._last, now)
        soft, hard = self._pace.waits(row.latency)
        row.ask(path, now, now + soft, now + hard, self.patience)
        self._fresh = min(self._fresh, row.soft)
        if len(row.told) > 1 or (len(row.namers) == 1 and row.namers[0].spent(row.namers[0].open)):
            self._views = []  # others wait for the one that named it, or it belongs to more networks
        self._flying[row.info.peer.raw] = row
        self._asked += 1
        return Ask(row.info, hard)

    # --- what happens -------------------------------------------------------------------------------------------------

    def on_answer(self, peer: PeerID, closer: Iterable[PeerInfo], now: float) -> None:
        """A peer has answered with these closer ones. Of them the ``k`` closest count, if they are close enough."""
        row = self._known.get(peer.raw)
        if row is None or self._done is not None or row.state in (State.HEARD, State.ANSWERED):
            return
        self._views = []
        self._flying.pop(peer.raw, None)
        self._last = max(self._last, now)
        self._pace.on_answer(now - row.asked)
        if row.state is State.FAILED:
            self._failed -= 1
        row.end(State.ANSWERED)
        self._answered += 1
        bit, cutoff = 1 << row.path, self._cutoff(row.path)
        named = self._by_distance(islice(closer, KAD_MAX_CLOSER))
        self._ignored += max(0, len(named) - self.k)
        for distance, info in named[: self.k]:
            if distance > cutoff:
                self._ignored += 1
            elif info.peer.raw != peer.raw:
                self._hear(info, distance, row, bit)

    def on_failure(self, peer: PeerID, now: float) -> None:
        """A peer could not be dialled, broke off, or answered what is none."""
        self._last = max(self._last, now)
        row = self._flying.get(peer.raw)
        if row is not None:
            self._fail(row)

    def _fail(self, row: Candidate) -> None:
        self._views = []
        del self._flying[row.info.peer.raw]
        if not row.retried and row.untried():  # who named it first may have told a poisoned address
            row.retried = True
            row.end(State.HEARD)
            return
        self._failed += 1
        row.end(State.FAILED)

    def _hear(self, info: PeerInfo, distance: int, namer: Candidate, bit: int) -> None:
        old = self._known.get(info.peer.raw)
        if old is None:
            row = Candidate(info, distance, namer.hops + 1, bit, self._latency_of(info))
            row.namers.append(namer)
            self._add(row)
            return
        old.paths |= bit
        old.named(namer, info)
        if old.state is State.FAILED and not old.retried and old.untried():
            old.retried = True
            self._failed -= 1
            old.end(State.HEARD)

    def _add(self, row: Candidate) -> None:
        """Take up a candidate; where there are too many, the farthest that was not asked goes."""
        self._known[row.info.peer.raw] = row
        insort(self._order, row, key=_distance)
        if len(self._order) <= KAD_LOOKUP_CANDIDATES:
            return
        self._ignored += 1
        for at in range(len(self._order) - 1, -1, -1):
            if self._order[at].state is State.HEARD:
                del self._known[self._order.pop(at).info.peer.raw]
                return

    def _by_distance(self, infos: Iterable[PeerInfo]) -> list[tuple[int, PeerInfo]]:
        """The peers with their distances, closest first, each once, without ourselves."""
        known, target, rows = self._known, self.target, list[tuple[int, PeerInfo]]()
        for raw, info in {info.peer.raw: info for info in infos if info.peer.raw != self._me}.items():
            row = known.get(raw)
            rows.append((kad_key(raw) ^ target if row is None else row.distance, info))
        rows.sort(key=_first)
        return rows

    def _cutoff(self, path: int) -> int:
        """The distance beyond which nobody can be among the closest: ``k`` that are closer have answered."""
        if self._answered < self.k:
            return 1 << KEY_BITS
        rows = (row for row in self._order if row.state is _ANSWERED and row.paths >> path & 1)
        for count, row in enumerate(self._spread(rows), 1):
            if count == self.k:
                return row.distance
        return 1 << KEY_BITS

    def _latency_of(self, info: PeerInfo) -> float | None:
        return None if self._latency is None else self._latency(info.peer)

    # --- the end ------------------------------------------------------------------------------------------------------

    def _fits(self, row: Candidate, groups: dict[str, int]) -> bool:
        """Whether a network has room for one more; then it is counted."""
        if self.per_group:
            for group in row.groups:
                if groups.get(group, 0) >= self.per_group:
                    return False
            for group in row.groups:
                groups[group] = groups.get(group, 0) + 1
        return True

    def _spread(self, rows: Iterable[Candidate]) -> Iterator[Candidate]:
        """The rows, few of each network."""
        groups: dict[str, int] = {}
        return (row for row in rows if self._fits(row, groups))

    def _closest(self, mask: int, complete: bool) -> list[Candidate]:
        fit = (row for row in self._order if row.paths & mask and row.state is not State.FAILED and not row.shunned)
        sure = (row for row in fit if row.state is State.ANSWERED or (row.confirmed and not complete))
        return list(islice(self._spread(sure), self.k))

    def _finish(self, *, complete: bool) -> Done:
        closest = self._closest((1 << self.paths) - 1, complete)
        by_path = [self._closest(1 << path, complete) for path in range(self.paths)] if self.paths > 1 else []
        self._done = Done(
            tuple(row.info for row in closest),
            complete,
            tuple(tuple(row.info for row in rows) for rows in by_path),
        )
        self._flying.clear()
        return self._done

    def hops_to(self, peer: PeerID) -> int:
        """How many answers in a row led to this peer's: 1 for a seed, 0 where it is not known."""
        row = self._known.get(peer.raw)
        return 0 if row is None else row.hops + 1

    def statistics(self) -> LookupStatistics:
        """The counts of this moment."""
        answered = [row for row in self._order if row.state is State.ANSWERED]
        return LookupStatistics(
            hops=max((row.hops + 1 for row in answered[: self.k]), default=0),
            asked=self._asked,
            answered=self._answered,
            failed=self._failed,
            candidates=len(self._order),
            ignored=self._ignored,
            seconds=0.0 if self._began is None else self._last - self._began,
        )
