"""The network: who answers what, and when. Measured nodes ask and are asked by their own engines."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Protocol

from ipfs_kit_py.core.config import KAD_ASK_SECONDS, KAD_K
from ipfs_kit_py.routing.provider_store import ProviderStore
from sim.background import Background, Manners
from sim.clock import Clock
from sim.latency import DIAL_ROUNDS, exchange, round_trip
from sim.population import TOP, Population, peer_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.routing.kad_wire import PeerInfo
    from sim.latency import Place

REFUSED = 0.3  # of the dead, these refuse at once (the host is there, the node is not); nothing is heard of the others
DROPS, COLLUDES, INVENTS, POISONS = 1, 2, 3, 4  # kinds of liars


class Answer:
    """What came back. ``latency`` is that of the request alone, without dialling."""

    __slots__ = ("closer", "latency", "providers")

    def __init__(self, closer: list[PeerInfo], providers: list[PeerID], latency: float) -> None:
        self.closer, self.providers, self.latency = closer, providers, latency


class Responder(Protocol):
    """A measured node that serves."""

    def closer(self, key: int) -> list[PeerInfo]: ...
    def on_contact(self, number: int) -> None: ...


class World:
    """All randomness hangs on ``seed``."""

    def __init__(self, size: int, hours: float, seed: int) -> None:
        self.rng = random.Random(seed)
        self.clock = Clock()
        self.people = Population(size, hours, self.clock, self.rng)
        self.manners = Manners()
        self.background = Background(self.people, self.manners, self.rng)
        self.servers: dict[int, Responder] = {}
        self.stores: dict[int, ProviderStore] = {}
        self.impostor = peer_id(self.rng)  # whom liars name as a provider
        self.messages = 0

    def number_of(self, info: PeerInfo) -> int | None:
        """Who is reached by what was told of a peer; ``None`` for nobody."""
        number = self.people.index.get(info.peer.raw)
        if number is None or not self.people.up[number]:
            return None
        known = self.people.infos[number]
        if info is known:
            return number
        real = known.addresses
        return number if any(text in real for text in info.addresses) else None

    def request(
        self, place: Place, info: PeerInfo, connected: bool, key: int | None, wanted: bytes | None,
        then: Callable[[Answer | None], None],
    ) -> None:  # fmt: skip
        """Ask a peer for whom it knows near ``key``, and (``wanted``) who provides that; ``then`` gets the answer, or
        ``None`` after what a failure takes: a dead peer's host refuses or is silent until the dial is given up."""
        self.messages += 1
        rng, number = self.rng, self.number_of(info)
        if number is None:
            there = self.people.index.get(info.peer.raw)
            if there is not None and rng.random() < REFUSED:
                self.clock.after(round_trip(place, self.people.places[there]), lambda: then(None))
            else:
                self.clock.after(KAD_ASK_SECONDS, lambda: then(None))
            return
        other = self.people.places[number]
        latency = exchange(place, other, rng)
        dialling = 0.0 if connected else (DIAL_ROUNDS - 1) * round_trip(place, other)

        def arrive() -> None:
            closer, providers = self.answer(number, key, wanted)
            then(Answer(closer, providers, latency))

        self.clock.after(dialling + latency, arrive)

    def answer(self, number: int, key: int | None, wanted: bytes | None) -> tuple[list[PeerInfo], list[PeerID]]:
        """What a node says: the truth as it knows it, or what its kind of liar says."""
        people = self.people
        liar = people.liar[number]
        if key is None:
            return [], []
        providers = [] if wanted is None else self._providers(number, wanted, liar)
        if liar == COLLUDES:
            return people.colluders(key, KAD_K), providers
        if liar == INVENTS:
            return people.fakes(key, KAD_K), providers
        server = self.servers.get(number)
        if server is not None:
            return server.closer(key), providers
        near = self.background.nearest(number, key >> (256 - TOP), KAD_K)
        if liar == POISONS:
            return [self._poisoned(people.infos[other]) for other in near], providers
        return [people.infos[other] for other in near], providers

    def _providers(self, number: int, wanted: bytes, liar: int) -> list[PeerID]:
        if liar:
            return [self.impostor] if liar == COLLUDES else []
        store = self.stores.get(number)
        return [] if store is None else [info.peer for info in store.get(wanted, self.clock.now, self.rng)]

    def _poisoned(self, info: PeerInfo) -> PeerInfo:
        other = self.people.infos[int(self.rng.random() * len(self.people.infos))]
        return type(info)(info.peer, other.addresses)

    def tell(self, info: PeerInfo, keys: list[bytes], provider: PeerInfo) -> bool:
        """Give a peer provider records, which it keeps over its absences; liars keep none. Whether it took them."""
        self.messages += len(keys)
        number = self.number_of(info)
        if number is None:
            return False
        if not self.people.liar[number]:
            store = self.stores.setdefault(number, ProviderStore())
            for key in keys:
                store.add(key, provider.peer, provider.addresses, self.clock.now)
        return True
