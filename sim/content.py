"""What is provided and looked for by the measured nodes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ipfs_kit_py.core.config import KAD_K
from ipfs_kit_py.core.interfaces import Provider
from ipfs_kit_py.routing.found_providers import FoundProviders
from ipfs_kit_py.routing.keys import kad_key
from sim.latency import DIAL_ROUNDS, round_trip

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.routing.kad_wire import PeerInfo
    from ipfs_kit_py.routing.lookup import Done
    from sim.node import Node
    from sim.walk import Walk

_TRIES = 1000  # until a node is found by chance that is online
WANTED = 20  # providers that a search wants, as the content router asks for


@dataclass(slots=True)
class Find:
    """One search. ``first``: seconds until a true provider was handed out, ``None`` for never; ``hops`` answers in a
    row led to it and ``asked`` messages had been sent. ``seconds`` and ``messages`` of the whole walk; ``right``: of
    the 20 truly closest that it ended with."""

    age: float
    first: float | None = None
    hops: int = 0
    asked: int = 0
    seconds: float = 0.0
    messages: int = 0
    right: int = 0
    lookup_hops: int = 0


@dataclass(slots=True)
class Provide:
    """One key told of: ``seconds`` and ``messages`` of the lookup; ``told`` of the 20."""

    seconds: float
    messages: int
    told: int


@dataclass(slots=True)
class Results:
    """What was measured; ``broken``: nodes that went offline meanwhile, which says nothing."""

    finds: list[Find] = field(default_factory=list)
    provides: list[Provide] = field(default_factory=list)
    broken: int = 0


class Content:
    """Keys that were provided, by whom, and when."""

    def __init__(self, nodes: Sequence[Node], rng: random.Random) -> None:
        self.nodes, self.rng, self.results = nodes, rng, Results()
        self.provided: list[tuple[bytes, PeerID, float]] = []

    def online(self) -> Node:
        """A measured node that is online."""
        for _ in range(_TRIES):
            node = self.rng.choice(self.nodes)
            if node.up:
                return node
        raise RuntimeError("none of the measured nodes is online: more of them are needed")

    def provide(self) -> None:
        """A node provides something: it looks up the closest and tells them, one by one."""
        node, key = self.online(), b"\x12\x20" + self.rng.randbytes(32)

        def on_done(done: Done | None, walk: Walk) -> None:
            if done is None:
                self.results.broken += 1
                return
            told = sum(tell(node, info, [key]) for info in done.closest)
            self.results.provides.append(Provide(walk.seconds, walk.messages + len(done.closest), told))
            self.provided.append((key, node.me, node.world.clock.now))

        node.closest(kad_key(key), on_done)

    def find(self) -> None:
        """Another node looks for something that was provided."""
        if not self.provided:
            return
        key, provider, when = self.rng.choice(self.provided)
        for _ in range(_TRIES):
            node = self.online()
            if node.me != provider:
                search(node, key, provider, when, self.results)
                return


def tell(node: Node, info: PeerInfo, keys: list[bytes]) -> bool:
    """Tell a peer that a node provides; whether it took it."""
    return node.world.tell(info, keys, node.info)


def tell_seconds(node: Node, info: PeerInfo, keys: int) -> float:
    """How long that takes: dialling, and the bytes at 1 MB/s."""
    number = node.world.number_of(info)
    place = node.place if number is None else node.world.people.places[number]
    return DIAL_ROUNDS * round_trip(node.place, place) + keys * 1e-4


def search(node: Node, key: bytes, provider: PeerID, when: float, results: Results) -> None:
    """A search for providers, as ``routing.dht_queries`` does it."""
    clock = node.world.clock
    find, met = Find(clock.now - when), FoundProviders(WANTED)
    target = kad_key(key)

    def on_answer(peer: PeerID, providers: list[PeerID], walk: Walk) -> None:
        handed = met.on_answer(Provider(one, (), "dht") for one in providers)
        if find.first is None and any(one.peer == provider for one in handed):
            find.first, find.asked, find.hops = walk.seconds, walk.messages, walk.lookup.hops_to(peer)
        if met.enough:
            walk.lookup.stop()

    def on_done(done: Done | None, walk: Walk) -> None:
        if done is None:
            results.broken += 1
            return
        find.seconds, find.messages = walk.seconds, walk.messages
        if find.first is None and any(one.peer == provider for one in met.rest()):
            find.first, find.asked = walk.seconds, walk.messages
        people = node.world.people
        wanted = {people.infos[number].peer for number in people.closest(target, KAD_K + 1)} - {node.me}
        find.right = min(KAD_K, len(wanted & {info.peer for info in done.closest}))
        find.lookup_hops = max((walk.lookup.hops_to(info.peer) for info in done.closest), default=0)
        results.finds.append(find)

    node.walk(target, on_done, wanted=key, on_answer=on_answer)
