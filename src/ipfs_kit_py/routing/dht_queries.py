"""What is looked for in both DHTs at once: providers as they come, a peer's addresses, the best of several values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ipfs_kit_py.core.config import KAD_QUORUM, KAD_RESILIENCY, KAD_TABLE_ADDRESSES
from ipfs_kit_py.core.errors import InvalidRecord
from ipfs_kit_py.core.interfaces import Provider
from ipfs_kit_py.routing.found_providers import FoundProviders
from ipfs_kit_py.routing.kad_wire import Message, MessageType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.routing.kad_walk import Walk
    from ipfs_kit_py.routing.kad_wire import PeerInfo
    from ipfs_kit_py.routing.kademlia import Kademlia
    from ipfs_kit_py.routing.lookup import Done
    from ipfs_kit_py.routing.validators import Validators


class Search:
    """A walk in each DHT that has peers; ``stop`` ends all of them."""

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.asked = 0
        self._walks: list[Walk] = []

    async def run(self, sides: Sequence[Kademlia]) -> None:
        """Walk to the end."""
        async with trio.open_nursery() as nursery:
            for side in sides:
                if len(side.table):
                    nursery.start_soon(self._walk, side)

    async def _walk(self, side: Kademlia) -> None:
        async def ask(info: PeerInfo) -> list[PeerInfo]:
            answer, closer = await side.ask(info, self.request())
            self.asked += 1
            await self.on_answer(side, info, answer)
            return closer

        async with side.place():
            walk = side.walk(self.key, ask)
            self._walks.append(walk)
            if self.is_over():
                walk.stop()
            done = await walk.run()
        side.ended(walk, done)
        self.on_done(side, done)

    def stop(self) -> None:
        for walk in self._walks:
            walk.stop()

    def request(self) -> Message:
        raise TypeError("each search has its own request")

    async def on_answer(self, side: Kademlia, info: PeerInfo, answer: Message) -> None:
        """A peer has answered."""

    def on_done(self, side: Kademlia, done: Done) -> None:
        """One walk has ended."""

    def is_over(self) -> bool:
        """Whether enough was found before this walk began."""
        return False


class ProviderSearch(Search):
    """Providers of a multihash, as they come, in ``found``; ``count`` of them were given out."""

    def __init__(self, multihash: bytes, count: int, me: PeerID) -> None:
        super().__init__(multihash)
        self._me = me
        self._met = FoundProviders(count)
        self._give, self.found = trio.open_memory_channel[Provider](max(1, count))  # never waits: no more are given
        self._scope = trio.CancelScope()
        self.count = 0

    def on_here(self, infos: Iterable[PeerInfo]) -> None:
        """Those whom this node itself was told of, as one answer: whoever likes tells it."""
        self._hand(Provider(info.peer, info.addresses, "dht") for info in infos)

    async def run(self, sides: Sequence[Kademlia]) -> None:
        """Search until enough are found, nobody is left, or ``close``."""
        with self._scope, self._give:
            await super().run(sides)
            self._send(self._met.rest())

    def close(self) -> None:
        """Whoever waited has left."""
        self._scope.cancel()
        self.found.close()

    def is_over(self) -> bool:
        return self._met.enough

    def request(self) -> Message:
        return Message(MessageType.GET_PROVIDERS, self.key)

    async def on_answer(self, side: Kademlia, info: PeerInfo, answer: Message) -> None:
        reach = side.network.reach_of(info.peer)
        self._hand(
            Provider(found.peer, side.side.usable(found.addresses, reach), f"{side.side.name} dht")
            for found in answer.providers
        )

    def _hand(self, providers: Iterable[Provider]) -> None:
        self._send(self._met.on_answer(provider for provider in providers if provider.peer != self._me))
        if self._met.enough:
            self.stop()

    def _send(self, providers: Iterable[Provider]) -> None:
        for provider in providers:
            self.count += 1
            try:
                self._give.send_nowait(provider)
            except trio.BrokenResourceError:  # whoever waited has left
                return


class PeerSearch(Search):
    """Where a peer is, as ``KAD_RESILIENCY`` others say, or itself."""

    def __init__(self, peer: PeerID) -> None:
        super().__init__(peer.raw)
        self._peer = peer
        self._told: dict[str, None] = {}
        self._voices = 0

    @property
    def addresses(self) -> tuple[str, ...]:
        """What was told, the first first."""
        return tuple(self._told)

    def is_over(self) -> bool:
        return self._voices >= KAD_RESILIENCY

    def request(self) -> Message:
        return Message(MessageType.FIND_NODE, self.key)

    async def on_answer(self, side: Kademlia, info: PeerInfo, answer: Message) -> None:
        if info.peer == self._peer:  # we are connected to it
            self._voices += KAD_RESILIENCY
            self._take(info.addresses)
        for found in answer.closer:
            told = side.side.usable(found.addresses, side.network.reach_of(info.peer))
            if found.peer == self._peer and told:
                self._voices += 1
                self._take(told)
        if self.is_over():
            self.stop()

    def _take(self, texts: Iterable[str]) -> None:
        for text in texts:
            if len(self._told) < KAD_TABLE_ADDRESSES:
                self._told[text] = None


class ValueSearch(Search):
    """The best value of a key, and who of the closest has it not."""

    def __init__(self, key: bytes, validators: Validators, clock: Callable[[], float]) -> None:
        super().__init__(key)
        self._validators, self._clock = validators, clock
        self._values: dict[PeerID, bytes] = {}  # that peers gave, all valid
        self._closest: list[tuple[Kademlia, Done]] = []
        self.best: bytes | None = None

    def request(self) -> Message:
        return Message(MessageType.GET_VALUE, self.key)

    def is_over(self) -> bool:
        return sum(value == self.best for value in self._values.values()) >= KAD_QUORUM

    def on_here(self, value: bytes | None) -> None:
        """What is kept here."""
        if value is not None:
            self._choose(value)

    async def on_answer(self, side: Kademlia, info: PeerInfo, answer: Message) -> None:
        record = answer.record
        if record is None or record.key != self.key:
            return
        try:
            self._validators.validate(self.key, record.value, self._clock())
        except InvalidRecord:
            return
        self._values[info.peer] = record.value
        self._choose(record.value)
        if self.is_over():
            self.stop()

    def on_done(self, side: Kademlia, done: Done) -> None:
        self._closest.append((side, done))

    def _choose(self, value: bytes) -> None:
        if self.best is None or self._validators.select(self.key, [self.best, value]) == 1:
            self.best = value

    def behind(self) -> Iterator[tuple[Kademlia, list[PeerInfo]]]:
        """Of each DHT those of the closest that gave another value, or none."""
        for side, done in self._closest:
            behind = [info for info in done.closest if self._values.get(info.peer) != self.best]
            if behind:
                yield side, behind
