"""The DHT of a node: the public one and that of its networks, asked at once and told both.

Source: libp2p/specs kad-dht/README.md; go-libp2p-kad-dht's dual DHT for what belongs to which.
"""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from ipfs_kit_py.core.config import KAD_EXPIRE_SECONDS, KAD_JOIN_SECONDS
from ipfs_kit_py.core.errors import IPFSKitError, NotFound, NotRunning, PeerUnreachable
from ipfs_kit_py.routing.dht_queries import PeerSearch, ProviderSearch, Search, ValueSearch
from ipfs_kit_py.routing.dht_records import DhtRecords
from ipfs_kit_py.routing.kad_side import LAN, WAN
from ipfs_kit_py.routing.kad_wire import Message, MessageType, PeerInfo, Record
from ipfs_kit_py.routing.kademlia import Kademlia
from ipfs_kit_py.routing.provider_store import ProviderStore
from ipfs_kit_py.routing.validators import Validators
from ipfs_kit_py.routing.value_store import ValueStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from trio import TaskStatus

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.core.interfaces import Provider
    from ipfs_kit_py.routing.dht_records import Keeper
    from ipfs_kit_py.routing.kad_network import KadNetwork
    from ipfs_kit_py.routing.kad_side import Side
    from ipfs_kit_py.routing.kademlia import KademliaStatistics
    from ipfs_kit_py.routing.provider_store import ProviderStoreStatistics
    from ipfs_kit_py.routing.value_store import ValueStoreStatistics

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DhtStatistics:
    """Of both DHTs, the public one first, and of what is kept for others in each."""

    sides: list[KademliaStatistics]
    providers: list[ProviderStoreStatistics]
    values: list[ValueStoreStatistics]


class Dht:
    """A ``ContentRouter``; ``run`` it. ``server``: whether it answers in the public DHT; that of its own networks it
    serves always. ``clock`` gives seconds since 1970. ``keeper`` keeps tables and records over restarts."""

    name = "dht"

    def __init__(
        self, network: KadNetwork, *, server: bool = False, keeper: Keeper | None = None,
        clock: Callable[[], float] = time.time, rng: random.Random | None = None, paths: int = 1,
    ) -> None:  # fmt: skip
        rng = rng if rng is not None else random.Random()
        self._network, self._clock = network, clock
        self.validators = Validators()
        self._providers: dict[Side, ProviderStore] = {}
        self._values: dict[Side, ValueStore] = {}
        self.sides: list[Kademlia] = []
        for side in (WAN, LAN):
            providers = self._providers[side] = ProviderStore()
            values = self._values[side] = ValueStore(self.validators)
            self.sides.append(
                Kademlia(network, side, providers, values, server=server or side.lan, clock=clock, rng=rng, paths=paths)
            )
        self._records = None if keeper is None else DhtRecords(self.sides, self._providers, self._values, keeper, clock)
        self._nursery: trio.Nursery | None = None

    @property
    def mode(self) -> str:
        """``"server"`` or ``"client"`` of the public DHT."""
        return "server" if self.sides[0].is_server else "client"

    def set_mode(self, mode: str) -> None:
        """Answer in the public DHT (``"server"``) or ask there alone (``"client"``) from now on: for whoever measures
        whether others can reach this node."""
        if mode not in ("server", "client"):
            raise ValueError(f"a DHT is server or client, not {mode!r}")
        self.sides[0].set_server(mode == "server")

    # --- life ---------------------------------------------------------------------------------------------------------

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep tables and answer until cancelled; what is to last is written now and then, and at the end."""
        if self._records is not None:
            await self._records.load()
        try:
            async with trio.open_nursery() as nursery:
                for side in self.sides:
                    await nursery.start(side.run)
                self._nursery = nursery
                nursery.start_soon(self._expire)
                task_status.started()
                if self._records is not None:
                    await self._records.keep()
                await trio.sleep_forever()
        finally:
            self._nursery = None
            if self._records is not None:
                await self._records.save_last()

    async def _expire(self) -> None:
        while True:
            await trio.sleep(KAD_EXPIRE_SECONDS)
            for store in self._providers.values():
                store.expire(trio.current_time())

    def _home(self) -> trio.Nursery:
        if self._nursery is None:
            raise NotRunning("the DHT is not running")
        return self._nursery

    async def _join(self) -> None:
        """Wait for those who have just connected: who searches as soon as there is a connection would ask nobody."""
        with trio.move_on_after(KAD_JOIN_SECONDS):
            while self._is_joining():  # noqa: ASYNC110 - a table tells nobody
                await trio.sleep(_LOOK_SECONDS)

    def _is_joining(self) -> bool:
        return not any(len(side.table) for side in self.sides) and any(side.is_joining for side in self.sides)

    async def _run(self, search: Search) -> None:
        await self._join()
        await search.run(self.sides)

    # --- content ------------------------------------------------------------------------------------------------------

    async def find_providers(self, multihash: bytes, *, count: int = 20) -> AsyncGenerator[Provider, None]:
        """Providers as they are found, each peer once, of both DHTs. ``PeerUnreachable`` where nobody can be asked."""
        search = ProviderSearch(multihash, count, self._network.peer_id)
        now, rng = trio.current_time(), random.Random()
        for side in self.sides:
            search.on_here(self._providers[side.side].get(multihash, now, rng))
        self._home().start_soon(self._run, search)
        try:
            async for provider in search.found:
                yield provider
        finally:
            search.close()
        if not search.asked and not search.count:
            raise PeerUnreachable("no peer of the DHT answers: connect to one (bootstrap in config.toml, --peer)")

    async def provide(self, multihashes: Sequence[bytes]) -> None:
        """Tell the peers closest to each that this node has it. ``PeerUnreachable`` where nobody could be told."""
        await self._join()
        told = 0
        limiter = trio.CapacityLimiter(_PROVIDES)

        async def one(side: Kademlia, multihash: bytes) -> None:
            nonlocal told
            async with limiter:
                self._providers[side.side].add(multihash, self._network.peer_id, (), trio.current_time())
                done = await side.closest(multihash)
                count = await side.add_providers_to(done.closest, [multihash])
                told += count

        async with trio.open_nursery() as nursery:
            for multihash in multihashes:
                for side in self.sides:
                    nursery.start_soon(one, side, multihash)
        if multihashes and not told:
            raise PeerUnreachable("nobody could be told what is provided here: no peer of the DHT takes it")

    def provides_no_more(self, multihash: bytes) -> None:
        """Stop answering that this node has it; what others were told ends by itself."""
        for store in self._providers.values():
            store.remove(multihash, self._network.peer_id)

    # --- peers --------------------------------------------------------------------------------------------------------

    async def find_peer(self, peer: PeerID) -> PeerInfo:
        """Where a peer is. ``NotFound`` where nobody knows it."""
        if peer == self._network.peer_id:
            return PeerInfo(peer, tuple(self._network.addresses()), 1)
        known = tuple(row.text for row in self._network.addresses_of(peer))
        if peer in self._network.connected():
            return PeerInfo(peer, known, 1)
        search = PeerSearch(peer)
        await self._run(search)
        if not search.addresses:
            raise NotFound(f"peer {peer} was not found: none of {search.asked} peers knows where it is")
        return PeerInfo(peer, search.addresses)

    async def closest_peers(self, key: bytes) -> Sequence[PeerInfo]:
        """The peers closest to a key in the public DHT, or where that has nobody in that of our networks.
        ``PeerUnreachable`` where neither has."""
        for side in self.sides:
            found = (await side.closest(key)).closest if len(side.table) else ()
            if found:
                return found
        raise PeerUnreachable("no peer of the DHT answers: connect to one (bootstrap in config.toml, --peer)")

    # --- values -------------------------------------------------------------------------------------------------------

    async def put_value(self, key: bytes, value: bytes) -> None:
        """Keep a record at the peers closest to its key. ``InvalidRecord`` for one that its validator refuses or that
        is older than one known here; ``PeerUnreachable`` where nobody takes it."""
        now = self._clock()
        for store in self._values.values():
            store.put(key, value, self._network.peer_id, now)
        await self._join()
        stored = 0

        async def on(side: Kademlia) -> None:
            nonlocal stored
            done = await side.closest(key)
            count = await self.store_at(side, done.closest, key, value)
            stored += count

        async with trio.open_nursery() as nursery:
            for side in self.sides:
                nursery.start_soon(on, side)
        if not stored:
            raise PeerUnreachable("no peer of the DHT took the record: connect to one, then publish again")

    async def get_value(self, key: bytes) -> bytes:
        """The best record of those that the peers closest to a key have. Those of them that have none, or an older
        one, are given it. ``NotFound``; ``PeerUnreachable`` where nobody can be asked."""
        search = ValueSearch(key, self.validators, self._clock)
        for store in self._values.values():
            search.on_here(store.get(key, self._clock()))
        await self._run(search)
        if search.best is None:
            if not search.asked:
                raise PeerUnreachable("no peer of the DHT answers: connect to one (bootstrap in config.toml, --peer)")
            raise NotFound(f"no record of that name was found at {search.asked} peers")
        for side, behind in search.behind():
            self._home().start_soon(self.store_at, side, behind, key, search.best)
        return search.best

    async def store_at(self, side: Kademlia, peers: Sequence[PeerInfo], key: bytes, value: bytes) -> int:
        """Have peers keep a record; how many took it."""
        message = Message(MessageType.PUT_VALUE, key, record=Record(key, value))
        stored = 0

        async def at(info: PeerInfo) -> None:
            nonlocal stored
            with trio.move_on_after(_STORE_SECONDS):
                try:
                    answer = await side.request(info, message)
                except IPFSKitError as error:
                    logger.debug("%s did not take a record: %s", info.peer, error)
                    return
                stored += answer.record is not None and answer.record.value == value

        async with trio.open_nursery() as nursery:
            for info in peers:
                nursery.start_soon(at, info)
        return stored

    # --- questions ----------------------------------------------------------------------------------------------------

    def statistics(self) -> DhtStatistics:
        """The counts of this moment."""
        return DhtStatistics(
            [side.statistics() for side in self.sides],
            [store.statistics() for store in self._providers.values()],
            [store.statistics() for store in self._values.values()],
        )

    def __repr__(self) -> str:
        return f"<Dht {self.mode}, {', '.join(f'{len(side.table)} {side.side.name}' for side in self.sides)}>"


_LOOK_SECONDS = 0.02  # between looks at a table that is being joined: it tells nobody
_PROVIDES = 8  # keys that one call looks up at once
_STORE_SECONDS = 10.0  # for one peer to take a record
