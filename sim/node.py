"""A node that is measured: its table is kept and its lookups walked by the engines, as ``routing.kademlia`` does it."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from ipfs_kit_py.core.config import KAD_K
from ipfs_kit_py.routing.kad_wire import PeerInfo
from ipfs_kit_py.routing.kbuckets import Check
from ipfs_kit_py.routing.keys import kad_key
from sim.latency import place
from sim.population import TOP, address, peer_id
from sim.walk import Walk

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.routing.lookup import Done
    from sim.kinds import Kind
    from sim.world import Answer, World

CONNECTIONS = 96  # kept, the last used: a leecher's high water mark
BOOTSTRAP = 6  # peers that a new node knows
CONTACTS = 20.0  # seconds between two strangers who speak to a server of their own accord; in truth there are more
_NEIGHBOURS = 3 * KAD_K  # identities about a server whose coming is watched
_PAUSE = 0.001  # at least, between two looks at the table's deadlines


class Node:
    """A server is one of the population's identities and comes and leaves as that does; a client (``number`` None) is
    in no table and stays until ``retire``; ``chosen`` is the chance by which it is where it is."""

    def __init__(self, world: World, kind: Kind, number: int | None, chosen: Random) -> None:
        self.world, self.kind, self.number = world, kind, number
        people = world.people
        self.info = people.infos[number] if number is not None else PeerInfo(peer_id(chosen), (address(chosen),))
        self.me, self.key = self.info.peer, kad_key(self.info.peer.raw)
        self.place = people.places[number] if number is not None else place(chosen)
        self.session = 0  # counts comings and leavings
        self.up = False
        self.table = kind.table(self.me, world.rng)
        self.connected: OrderedDict[bytes, None] = OrderedDict()
        self.refreshes = self.checks = 0
        self._saved: list[dict[str, Any]] = []
        self._wake = float("inf")
        if number is not None:
            world.servers[number] = self
            self._watch(number)
        if number is None or people.up[number]:
            self._come()

    def __repr__(self) -> str:
        return f"<Node {self.number if self.number is not None else 'client'}, {len(self.table)} peers>"

    # --- life ---------------------------------------------------------------------------------------------------------

    def _watch(self, number: int) -> None:
        people = self.world.people
        bits = TOP
        low, high = number, number + 1
        while high - low < _NEIGHBOURS and bits:
            bits -= 1
            low, high = people.span(people.tops[number], bits)
        for other in range(low, high):
            people.watch(other, self)

    def on_change(self, number: int, up: bool) -> None:
        """This node or one of its neighbours comes or leaves. Who comes looks for itself, and so speaks to its closest:
        they hear of it."""
        if number == self.number:
            self._come() if up else self._leave()
        elif up and self.up and self.number in self.world.people.closest(self.world.people.keys[number], KAD_K):
            self.on_contact(number)

    def _come(self) -> None:
        world = self.world
        self.up, now = True, world.clock.now
        self.session += 1
        self.table = self.kind.table(self.me, world.rng)
        self.table.load(self._saved, now)
        while len(self.table) < BOOTSTRAP:
            other = int(world.rng.random() * len(world.people.infos))
            if world.people.up[other]:
                info = world.people.infos[other]
                self.table.on_seen(info.peer, info.addresses, now)
        self._wake = float("inf")
        self.arm()
        if self.number is not None:
            self._expect_contact()

    def _leave(self) -> None:
        self._saved = self.table.dump(self.world.clock.now)
        self.up = False
        self.session += 1
        self.connected.clear()

    def retire(self) -> None:
        """Be measured no more."""
        self._leave()
        if self.number is not None:
            del self.world.servers[self.number]

    def _expect_contact(self) -> None:
        session, world = self.session, self.world

        def contact() -> None:
            if self.session == session:
                other = int(world.rng.random() * len(world.people.infos))
                if world.people.up[other] and other != self.number:
                    self.on_contact(other)
                self._expect_contact()

        world.clock.after(world.rng.expovariate(1 / CONTACTS), contact)

    def on_contact(self, number: int) -> None:
        """A server has connected to us and said that it is one: it is asked, and if it answers it is in the table."""
        info = self.world.people.infos[number]
        if self.up and info.peer not in self.table:
            self.connected[info.peer.raw] = None
            self.request(info, self.key, None, lambda _answer: None, lambda: False)

    # --- the table ----------------------------------------------------------------------------------------------------

    def arm(self) -> None:
        """Look at the table when it wants that."""
        deadline = self.table.deadline()
        if deadline is not None and deadline < self._wake:
            clock = self.world.clock
            self._wake = max(deadline, clock.now + _PAUSE)
            session = self.session
            clock.at(self._wake, lambda: self._tick(session))

    def _tick(self, session: int) -> None:
        now = self.world.clock.now
        if session != self.session or now < self._wake:
            return
        self._wake = float("inf")
        self.table.on_timeout(now)
        while (action := self.table.next_action(now)) is not None:
            if isinstance(action, Check):
                self._check(action.peer)
            else:
                self.refreshes += 1
                self.closest(action.target, lambda _done, _walk: None)
        self.arm()

    def _check(self, peer: PeerID) -> None:
        self.checks += 1
        number = self.world.people.index[peer.raw]

        def checked(answer: Answer | None) -> None:
            self.table.on_checked(peer, answer is not None, self.world.clock.now)
            self.arm()

        self.request(self.world.people.infos[number], self.key, None, checked, lambda: False)

    def closer(self, key: int) -> list[PeerInfo]:
        """Whom this node names to others."""
        return self.table.nearest(key, KAD_K)

    # --- asking -------------------------------------------------------------------------------------------------------

    def request(
        self, info: PeerInfo, key: int, wanted: bytes | None, then: Callable[[Answer | None], None],
        over: Callable[[], bool],
    ) -> None:  # fmt: skip
        """Ask a peer. The table learns from the outcome, unless nobody waits for that (``over``) or we left."""
        raw, session = info.peer.raw, self.session
        connected = raw in self.connected
        if connected or info.peer in self.table:  # then its addresses are known, whatever others say
            info = self.world.people.infos[self.world.people.index[raw]]

        def end(answer: Answer | None) -> None:
            if self.session != session or over():
                return
            now = self.world.clock.now
            if answer is None:
                self.connected.pop(raw, None)
                self.table.on_failed(info.peer, now)
            else:
                self.connected[raw] = None
                self.connected.move_to_end(raw)
                if len(self.connected) > CONNECTIONS:
                    self.connected.popitem(last=False)
                self.table.on_seen(info.peer, info.addresses, now, latency=answer.latency)
            self.arm()
            then(answer)

        self.world.request(self.place, info, connected, key, wanted, end)

    def walk(
        self, key: int, on_done: Callable[[Done | None, Walk], None], *, wanted: bytes | None = None,
        on_answer: Callable[[PeerID, list[PeerID], Walk], None] | None = None,
    ) -> Walk:  # fmt: skip
        """Walk towards a key."""
        lookup = self.kind.lookup(key, self.table, self.me)
        return Walk(self, lookup, key, wanted=wanted, on_answer=on_answer, on_done=on_done)

    def closest(self, key: int, then: Callable[[Done | None, Walk], None]) -> None:
        """The closest peers to a key."""

        def on_done(done: Done | None, walk: Walk) -> None:
            if done is not None and done.complete:
                self.table.on_lookup(key, self.world.clock.now)
                self.arm()
            then(done, walk)

        self.walk(key, on_done)
