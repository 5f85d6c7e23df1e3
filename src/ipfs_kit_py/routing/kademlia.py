"""One DHT of a node, the public one or that of its networks: its table kept, its lookups walked, its requests answered.

The engines decide (``kbuckets``, ``lookup``, the two stores); this gives them the network and the time.
"""

from __future__ import annotations

import logging
import math
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from ipfs_kit_py.core.config import (
    KAD_ASK_SECONDS,
    KAD_CHECK_SECONDS,
    KAD_K,
    KAD_LOOKUPS,
    KAD_PATIENCE,
    KAD_REFRESH_PAUSE,
    KAD_RETRY_SECONDS,
    KAD_SEND_SECONDS,
    KAD_SENDS,
)
from ipfs_kit_py.core.errors import IPFSKitError, NotSupported, PeerUnreachable, TimedOut
from ipfs_kit_py.core.histogram import Histogram
from ipfs_kit_py.routing.kad_rpc import Rpc
from ipfs_kit_py.routing.kad_server import KadServer
from ipfs_kit_py.routing.kad_walk import Walk
from ipfs_kit_py.routing.kad_wire import Message, MessageType, PeerInfo
from ipfs_kit_py.routing.kbuckets import Check, Refresh, Table
from ipfs_kit_py.routing.keys import kad_key
from ipfs_kit_py.routing.lookup import Lookup

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence
    from random import Random

    from trio import TaskStatus

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.routing.kad_network import KadNetwork
    from ipfs_kit_py.routing.kad_rpc import RpcStatistics
    from ipfs_kit_py.routing.kad_server import ServerStatistics
    from ipfs_kit_py.routing.kad_side import Side
    from ipfs_kit_py.routing.kad_walk import AskFunction
    from ipfs_kit_py.routing.kbuckets import TableStatistics
    from ipfs_kit_py.routing.lookup import Done, LookupStatistics
    from ipfs_kit_py.routing.provider_store import ProviderStore
    from ipfs_kit_py.routing.value_store import ValueStore

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class KademliaStatistics:
    """Of one DHT. ``lookups`` that have ended, ``hops`` and ``asked`` peers of all together, ``seconds`` of half and
    of 95 % of them at most."""

    name: str
    mode: str
    table: TableStatistics
    rpc: RpcStatistics
    server: ServerStatistics
    lookups: int
    hops: int
    asked: int
    p50: float | None
    p95: float | None


class Kademlia:
    """``run`` it. ``server``: whether requests of others are answered, so that they take us into their tables."""

    def __init__(
        self, network: KadNetwork, side: Side, providers: ProviderStore, values: ValueStore,
        *, server: bool, clock: Callable[[], float], rng: Random, paths: int = 1,
    ) -> None:  # fmt: skip
        self.network, self.side, self.is_server = network, side, server
        self.table = Table(network.peer_id, rng=rng, lan=side.lan)
        self.rpc = Rpc(network, side.protocol)
        self.server = KadServer(network, side, self.table, providers, values, clock=clock, rng=rng)
        self._paths = paths
        self._lookups = trio.CapacityLimiter(KAD_LOOKUPS)
        self._news = trio.Event()
        self._meeting: set[PeerID] = set()
        self._unmet: set[PeerID] = set()  # connected, and silent when they were met
        self._nursery: trio.Nursery | None = None
        self._seconds = Histogram()
        self._hops = self._asked = 0
        self.on_closest: Callable[[int, tuple[PeerInfo, ...], float], None] | None = None

    # --- life ---------------------------------------------------------------------------------------------------------

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the table and answer until cancelled."""
        network = self.network
        leave = [
            self.rpc.watch(),
            network.on_identified(self._on_identified),
            network.on_change(_nothing, self.server.forget),
        ]
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                self.set_server(self.is_server)
                self._meet_again()
                task_status.started()
                try:
                    await self._keep_table(nursery)
                finally:
                    self._nursery = None  # whoever is identified from now on is not met
        finally:
            if self.is_server:
                network.remove_handler(self.side.protocol)
            for end in leave:
                end()
            self.rpc.close()

    def set_server(self, server: bool) -> None:
        """Whether requests of others are answered from now on."""
        if self._nursery is not None:
            if server:
                self.network.set_handler(self.side.protocol, self.server.serve)
            elif self.is_server:
                self.network.remove_handler(self.side.protocol)
        self.is_server = server

    @property
    def is_joining(self) -> bool:
        """Whether there is nobody to ask yet, but a connected peer may enter the table at any moment."""
        if len(self.table):
            return False
        return bool(self._meeting) or any(not self.network.protocols_of(peer) for peer in self.network.connected())

    def _meet_again(self) -> None:
        """Who did not answer in a bad moment may do so now; where few are known, so may anybody who is connected."""
        unmet, self._unmet = self._unmet, set()
        connected = self.network.connected()
        for peer in connected if len(self.table) < KAD_K else [peer for peer in unmet if peer in connected]:
            self._on_identified(peer)

    def _on_identified(self, peer: PeerID) -> None:
        """A peer has said what it speaks: if it serves this DHT and answers, it enters the table."""
        if self.side.protocol not in self.network.protocols_of(peer):
            self.table.remove(peer)
            return
        known = peer in self._meeting or peer in self.table
        if not known and self._nursery is not None and self._addresses(PeerInfo(peer)):
            self._meeting.add(peer)
            self._nursery.start_soon(self._meet, peer)

    async def _meet(self, peer: PeerID) -> None:
        try:
            if not await self._check(peer):
                self._unmet.add(peer)
        finally:
            self._meeting.discard(peer)

    async def _keep_table(self, nursery: trio.Nursery) -> None:
        meet = trio.current_time() + KAD_RETRY_SECONDS
        while True:
            now = trio.current_time()
            self.table.on_timeout(now)
            match self.table.next_action(now):
                case Check(peer):
                    nursery.start_soon(self._check, peer)
                case Refresh() as refresh:
                    nursery.start_soon(self._refresh, refresh)
                case None:
                    deadline = self.table.deadline()
                    with trio.move_on_at(meet if deadline is None else min(meet, max(deadline, now))):
                        await self._news.wait()
                    self._news = trio.Event()
                    if trio.current_time() >= meet:
                        meet = trio.current_time() + KAD_RETRY_SECONDS
                        self._meet_again()

    async def _check(self, peer: PeerID) -> bool:
        """Ask a peer who is close to us: one that answers is there."""
        ok = False
        try:
            with trio.move_on_after(KAD_CHECK_SECONDS):
                await self._request(PeerInfo(peer), Message(MessageType.FIND_NODE, self.network.peer_id.raw))
                ok = True
        except IPFSKitError as error:
            logger.debug("%s of the %s DHT does not answer: %s", peer, self.side.name, error)
        self.table.on_checked(peer, ok, trio.current_time())
        self._news.set()
        return ok

    async def _refresh(self, refresh: Refresh) -> None:
        await trio.sleep(KAD_REFRESH_PAUSE)
        await self.closest(refresh.key, patience=KAD_PATIENCE)
        self.table.on_lookup(refresh.target, trio.current_time())
        self._news.set()

    # --- asking -------------------------------------------------------------------------------------------------------

    def _addresses(self, info: PeerInfo) -> tuple[str, ...]:
        """Where a peer is, of what it told us itself, else of what others say."""
        known = self.side.usable(row.text for row in self.network.addresses_of(info.peer))
        return known or self.side.usable(info.addresses)

    async def request(self, info: PeerInfo, message: Message) -> Message:
        """Ask a peer, dialling it where needed, ``KAD_ASK_SECONDS`` at most; the table learns from it. Raises as
        ``Rpc.request``, and ``TimedOut``."""
        try:
            with trio.move_on_after(KAD_ASK_SECONDS):
                return await self._request(info, message)
            raise TimedOut(f"{info.peer} did not answer within {KAD_ASK_SECONDS:.0f} s")
        except IPFSKitError:
            self.on_failed(info.peer)
            raise

    async def _request(self, info: PeerInfo, message: Message) -> Message:
        network, peer = self.network, info.peer
        async with self.rpc.turn(peer):
            if peer not in network.connected():
                await network.connect(peer, self.side.usable(info.addresses))
            begun = trio.current_time()
            answer = await self.rpc.request(peer, message)
        now = trio.current_time()
        addresses = self._addresses(info)
        if addresses:
            self.table.on_seen(peer, addresses, now, latency=now - begun)
            self._news.set()
        return answer

    def on_failed(self, peer: PeerID) -> None:
        """A peer did not answer, or not in its time: one of the table is checked."""
        self.table.on_failed(peer, trio.current_time())
        self._news.set()

    async def ask(self, info: PeerInfo, message: Message) -> tuple[Message, list[PeerInfo]]:
        """The answer of a peer, and those it names who are closer: with the addresses that it can know of."""
        answer = await self.request(info, message)
        return answer, self.side.cut(answer.closer, self.network.reach_of(info.peer))

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place among the lookups that may go on at once."""
        async with self._lookups:
            yield

    def walk(self, key: bytes, ask: AskFunction, *, paths: int | None = None, patience: float = KAD_PATIENCE) -> Walk:
        """A walk towards a key that asks peers by ``ask``; count it by ``ended`` when it has."""
        target = kad_key(key)
        lookup = Lookup(
            target, self.table.nearest(target, 2 * KAD_K), paths=paths or self._paths, me=self.network.peer_id,
            latency=self.table.latency, patience=patience,
        )  # fmt: skip
        return Walk(lookup, ask, late=self.on_failed)

    async def closest(self, key: bytes, *, patience: float = math.inf) -> Done:
        """The peers that are closest to a key; each has answered. What is stored has to be where others look: so it
        waits for those to whom a connection takes longer than an answer of one that is connected."""

        async def ask(info: PeerInfo) -> list[PeerInfo]:
            return (await self.ask(info, Message(MessageType.FIND_NODE, key)))[1]

        async with self.place():
            walk = self.walk(key, ask, patience=patience)
            done = await walk.run()
        self.ended(walk, done)
        return done

    def ended(self, walk: Walk, done: Done | None) -> None:
        """Count a walk."""
        found: LookupStatistics = walk.lookup.statistics()
        self._seconds.add(found.seconds)
        self._hops += found.hops
        self._asked += found.asked
        now = trio.current_time()
        if done is not None and done.complete:
            self.table.on_lookup(walk.lookup.target, now)
            if self.on_closest is not None:
                self.on_closest(walk.lookup.target, done.closest, now)

    async def send(self, info: PeerInfo, messages: list[Message]) -> None:
        """Send a peer messages that have no answer. Raises as ``Rpc.send``, and ``TimedOut``."""
        seconds = KAD_SEND_SECONDS + len(messages) * _SEND_SECONDS
        with trio.move_on_after(seconds):
            if info.peer not in self.network.connected():
                await self.network.connect(info.peer, self.side.usable(info.addresses))
            async with self.rpc.turn(info.peer):
                await self.rpc.send(info.peer, messages)
            return
        raise TimedOut(f"{info.peer} did not take {len(messages)} messages within {seconds:.0f} s")

    async def closest_peers(self, key: bytes) -> tuple[PeerInfo, ...]:
        """The peers that are closest to a key, the closest first. ``PeerUnreachable`` where nobody answers."""
        found = (await self.closest(key)).closest
        if not found:
            raise PeerUnreachable(f"no peer of the {self.side.name} DHT answers; connect to one first")
        return found

    async def add_providers_to(self, peers: Iterable[PeerInfo], multihashes: Sequence[bytes]) -> int:
        """Tell peers that this node provides; how many of them took it."""
        told = 0
        limiter = trio.CapacityLimiter(KAD_SENDS)

        async def tell(info: PeerInfo) -> None:
            nonlocal told
            async with limiter:
                try:
                    await self.tell(info, multihashes)
                    told += 1
                except IPFSKitError as error:
                    logger.debug("%s was not told what is provided here: %s", info.peer, error)

        async with trio.open_nursery() as nursery:
            for info in peers:
                nursery.start_soon(tell, info)
        return told

    async def tell(self, info: PeerInfo, multihashes: Sequence[bytes]) -> None:
        """Tell one peer that this node provides. ``NotSupported`` where there is no address of ours that it could
        use, else raises as ``send``."""
        with trio.move_on_after(KAD_SEND_SECONDS):
            if info.peer not in self.network.connected():
                await self.network.connect(info.peer, self.side.usable(info.addresses))
        own = self.own_addresses(info.peer)
        if not own:
            raise NotSupported(f"this node has no address that {info.peer} could tell others of")
        me = (PeerInfo(self.network.peer_id, own),)
        await self.send(info, [Message(MessageType.ADD_PROVIDER, key, providers=me) for key in multihashes])

    def own_addresses(self, peer: PeerID) -> tuple[str, ...]:
        """The addresses of ours that a connected peer may tell others, who are as near to it as it is to us."""
        return self.side.usable(self.network.addresses(), self.network.reach_of(peer))

    # --- questions ----------------------------------------------------------------------------------------------------

    def statistics(self) -> KademliaStatistics:
        """The counts of this moment."""
        return KademliaStatistics(
            self.side.name, "server" if self.is_server else "client", self.table.statistics(), self.rpc.statistics(),
            self.server.statistics(), self._seconds.count, self._hops, self._asked, self._seconds.quantile(0.5),
            self._seconds.quantile(0.95),
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"<Kademlia {self.side.name} {'server' if self.is_server else 'client'}, {len(self.table)} peers>"


_SEND_SECONDS = 0.05  # for each message of a batch beyond the first: a slow line takes twenty a second


def _nothing(_peer: PeerID) -> None:
    pass
