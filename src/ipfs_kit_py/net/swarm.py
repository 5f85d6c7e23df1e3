"""The swarm: this node among its peers. Listens, dials, keeps connections within bounds, and opens streams."""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import trio

from ipfs_kit_py.core.config import FAREWELL_SECONDS, INTERFACE_POLL_SECONDS, NodeConfig
from ipfs_kit_py.core.errors import InvalidAddress, NotRunning, PeerUnreachable, StreamClosed
from ipfs_kit_py.net import ping
from ipfs_kit_py.net.accept import Acceptor
from ipfs_kit_py.net.addresses import Scope, ip_of, parse
from ipfs_kit_py.net.bookkeeper import BookKeeper
from ipfs_kit_py.net.connection import MuxedConnection, SecureConnection, secure
from ipfs_kit_py.net.dial_plan import Provenance
from ipfs_kit_py.net.gate import Gate
from ipfs_kit_py.net.housekeeper import Housekeeper
from ipfs_kit_py.net.identify import IDENTIFY, IDENTIFY_PUSH
from ipfs_kit_py.net.identify_service import IdentifyService, Ourselves, reach
from ipfs_kit_py.net.limits import Unauthenticated, is_full
from ipfs_kit_py.net.listening import Listening
from ipfs_kit_py.net.outbound import Outbound
from ipfs_kit_py.net.pool import Entry, Pool, streams_of
from ipfs_kit_py.net.standing import Standing
from ipfs_kit_py.net.transports import TcpTransport, interfaces

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
    from pathlib import Path

    from trio import TaskStatus

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.core.interfaces import Connection, Network, Stream
    from ipfs_kit_py.crypto.keys import PrivateKey
    from ipfs_kit_py.net.address_book import Known
    from ipfs_kit_py.net.addresses import Address, IPInterface
    from ipfs_kit_py.net.identify import Identity
    from ipfs_kit_py.net.resolver import Resolver
    from ipfs_kit_py.net.transports import AcceptedStream, Transport

    Handler = Callable[[Stream], Awaitable[None]]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SwarmStatistics:
    """Numbers of a running swarm, now or (past participles) since its start."""

    peers: int
    connections: int
    inbound: int
    outbound: int
    streams: int
    unauthenticated: int
    evicted_unauthenticated: int
    dialling: int
    attempts: int
    known_peers: int
    backed_off: int
    refused_peers: int
    trimmed: int
    accepted: int
    opened: int
    failed_attempts: int


class Swarm:
    """Implements ``core.interfaces.Network``; ``run`` is its life. Everything else belongs to the same loop.

    ``transports`` default to TCP. ``clock`` gives seconds since 1970, for what outlives the process.
    """

    def __init__(
        self,
        key: PrivateKey,
        config: NodeConfig | None = None,
        *,
        transports: Sequence[Transport] | None = None,
        resolver: Resolver | None = None,
        book_path: Path | None = None,
        local_interfaces: Callable[[], list[IPInterface]] = interfaces,
        clock: Callable[[], float] = time.time,
        rng: random.Random | None = None,
    ) -> None:
        self.config = config if config is not None else NodeConfig()
        self._key = key
        self.peer_id: PeerID = key.peer_id()
        self._role = self.config.role_policy
        self._transports = tuple(transports) if transports is not None else (TcpTransport(),)
        self._gate = Gate(self.config.allow, self.config.deny)
        self._listening = Listening(self.config.announce, interfaces=local_interfaces)
        path = book_path or (self.config.repo / "peers.sqlite" if self.config.repo is not None else None)
        self._book = BookKeeper(self.peer_id, path, clock)
        self._standing = Standing()
        self._pool: Pool[MuxedConnection] = Pool(self.peer_id)
        self._housekeeper = Housekeeper(self._pool, self._role)
        self._pending = Unauthenticated()
        self._outbound: Outbound[MuxedConnection] = Outbound(
            key,
            transports=self._transports,
            gate=self._gate,
            standing=self._standing,
            book=self._book,
            resolver=resolver,
            surroundings=self._listening.surroundings,
            rng=rng if rng is not None else random.Random(),
            adopt=self._adopt,
        )
        self._handlers: dict[str, Handler] = {ping.PING: ping.serve}
        own = Ourselves(key, self.config.agent, self._protocols, self._listening.announced, clock)
        self._identify = IdentifyService(
            own, self._book, penalise=self.penalise, open_on=self._open_on, connections=self.connections
        )
        self._home: trio.Nursery | None = None
        self._accepted = 0

    # --- life ---------------------------------------------------------------------------------------------------------
    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen and serve until cancelled; then say good-bye to all peers, for at most ``FAREWELL_SECONDS``.

        Raises ``InvalidAddress`` where an address cannot be listened on, ``BackendError`` where the address book's file
        cannot be opened. Nothing that a peer does ends it.
        """
        await self._listening.bind(self.config.listen, self._transports)
        try:
            await self._book.open()
            async with trio.open_nursery() as services:
                self._home = await services.start(self._keep_home)
                try:
                    await self._serve(services, task_status)
                finally:
                    await self._end(services)
        finally:
            with trio.CancelScope(shield=True):
                await self._listening.close()
                await self._book.close()

    async def _keep_home(self, *, task_status: TaskStatus[trio.Nursery]) -> None:
        """The nursery of the connections. Shielded, so that a cancelled node still takes leave of its peers."""
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as home:
                task_status.started(home)
                await trio.sleep_forever()

    async def _serve(self, services: trio.Nursery, task_status: TaskStatus[None]) -> None:
        assert self._home is not None
        self._outbound.start(services)
        acceptor = Acceptor(
            gate=self._gate,
            table=self._pending,
            is_full=lambda: is_full(len(self._pool), self._role),
            authenticate=self._authenticate,
            adopt=self._adopt_inbound,
        )
        for listener in self._listening.listeners:
            services.start_soon(acceptor.serve, listener, services)
        for service in (self._book.run, self._housekeeper.run, self._identify.run, self._watch_interfaces):
            services.start_soon(service)
        task_status.started()
        await trio.sleep_forever()

    async def _end(self, services: trio.Nursery) -> None:
        home, self._home = self._home, None
        self._outbound.stop()
        services.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await self._listening.close()
            with trio.move_on_after(FAREWELL_SECONDS):
                async with trio.open_nursery() as nursery:
                    for connection in self.connections():
                        nursery.start_soon(connection.close)
        if home is not None:
            home.cancel_scope.cancel()

    async def _watch_interfaces(self) -> None:
        while True:
            await trio.sleep(INTERFACE_POLL_SECONDS)
            if self._listening.refresh():
                self._identify.changed()

    # --- peers --------------------------------------------------------------------------------------------------------
    def connected(self) -> Collection[PeerID]:
        return frozenset(self._pool.peers())  # a copy: peers come and go while the caller waits for something

    def rtt(self, peer: PeerID) -> float | None:
        found = [entry.connection.rtt for entry in self._pool.of(peer)]
        return min((value for value in found if value is not None), default=None)

    def is_local(self, peer: PeerID) -> bool:
        return any(reach(entry.connection) < Scope.PUBLIC for entry in self._pool.of(peer))

    def reach_of(self, peer: PeerID) -> Scope:
        """From how far away a peer talks to us, by its nearest connection; ``PUBLIC`` without any."""
        return min((reach(entry.connection) for entry in self._pool.of(peer)), default=Scope.PUBLIC)

    def on_identified(self, identified: Callable[[PeerID], None]) -> Callable[[], None]:
        """Call back, on the loop, after a peer has said what it speaks and where it is, and whenever that changes.
        Returns the function that ends it."""
        return self._identify.watch(identified)

    def protocols_of(self, peer: PeerID) -> frozenset[str]:
        return self._identify.protocols_of(peer)

    def identity(self, peer: PeerID) -> Identity | None:
        """What identify has told of a connected peer: agent, addresses, where it sees us."""
        return self._identify.identity(peer)

    def observed_addresses(self) -> dict[str, int]:
        """Where peers see this node: address to how many of them."""
        return self._identify.observed()

    def addresses_of(self, peer: PeerID) -> list[Known]:
        """What the address book has of a peer, the most trusted first."""
        return self._book.get(peer)

    def add_addresses(self, peer: PeerID, texts: Iterable[str], provenance: Provenance = Provenance.HEARSAY) -> int:
        """Tell the address book what someone said of a peer; how many addresses were accepted."""
        return self._book.add(peer, texts, min(provenance, Provenance.SIGNED))

    def connections(self) -> list[MuxedConnection]:
        """The open connections."""
        return [entry.connection for entry in self._pool]

    def on_change(
        self, connected: Callable[[PeerID], None], disconnected: Callable[[PeerID], None]
    ) -> Callable[[], None]:
        return self._pool.on_change(connected, disconnected)

    def listen_addresses(self) -> list[str]:
        """What this node is bound to, ports resolved."""
        return self._listening.bound()

    def addresses(self) -> list[str]:
        """What this node announces, without ``/p2p``; each peer is told those that it could use."""
        return self._listening.announced()

    # --- standing -----------------------------------------------------------------------------------------------------
    def penalise(self, peer: PeerID, amount: float, why: str) -> None:
        log.info("%s loses standing (%.2f): %s", peer, amount, why)
        if self._standing.penalise(peer, amount, trio.current_time()) and self._home is not None:
            for entry in self._pool.of(peer):
                self._home.start_soon(entry.connection.close)

    def add_value(self, peer: PeerID, amount: float) -> None:
        if self._pool.of(peer):
            self._housekeeper.values.add(peer, amount, trio.current_time())

    def protect(self, peer: PeerID, tag: str) -> None:
        """Never trim a peer's connections; each ``tag`` is a reason of its own."""
        self._housekeeper.protect(peer, tag)

    def unprotect(self, peer: PeerID, tag: str) -> bool:
        """Take one reason back; whether others remain."""
        return self._housekeeper.unprotect(peer, tag)

    # --- connections --------------------------------------------------------------------------------------------------
    async def connect(self, peer: PeerID, addresses: Iterable[str] = (), *, force: bool = False) -> MuxedConnection:
        """The open connection to a peer, or a new one over ``addresses`` and those that are known.

        All that want the same peer share one attempt. A peer that could not be reached is left alone for a while, but
        an address that is new is tried at once, and with ``force`` all are. Raises ``PeerUnreachable``, another
        ``PeerError`` where somebody else answered, ``InvalidAddress`` for a false or foreign address.
        """
        if peer == self.peer_id:
            raise InvalidAddress(f"{peer} is this node itself")
        wanted = [found for text in addresses if (found := _of_peer(text, peer)).text]  # "/p2p/…" alone has none
        open_one = self._pool.best(peer)
        if open_one is not None:
            return open_one.connection
        return await self._outbound.connect(peer, wanted, force=force)

    async def disconnect(self, peer: PeerID) -> None:
        """Close all connections to a peer; no error where there are none."""
        async with trio.open_nursery() as nursery:
            for entry in self._pool.of(peer):
                nursery.start_soon(entry.connection.close)

    async def _authenticate(self, raw: AcceptedStream) -> SecureConnection:
        secured = await secure(raw, self._key, outbound=False, expected=None)
        peer = secured.peer_id
        admitted = self._gate.admits(peer, ip_of(raw.remote_address))
        if not admitted or peer == self.peer_id or self._standing.refuses(peer, trio.current_time()):
            await secured.raw.aclose()
            raise PeerUnreachable(f"{peer} is refused", peer=peer)
        return secured

    def _adopt_inbound(self, secured: SecureConnection) -> None:
        self._accepted += 1
        self._adopt(secured)

    def _adopt(self, secured: SecureConnection) -> MuxedConnection:
        """Take an authenticated connection in; its task begins before anything else runs."""
        if self._home is None:
            raise NotRunning("the network is closing")
        connection: MuxedConnection = MuxedConnection(
            secured, handler_for=lambda protocol: self._handler_for(connection, protocol)
        )
        entry, is_first, spare = self._pool.add(connection, trio.current_time())
        self._home.start_soon(self._live, entry)
        for other in spare:
            self._home.start_soon(other.close)
        if is_first:
            self._pool.tell(connection.peer_id, connected=True)
        self._home.start_soon(self._identify.ask, connection)
        self._housekeeper.wake()
        return connection

    async def _live(self, entry: Entry[MuxedConnection]) -> None:
        try:
            await entry.connection.run()
        except Exception:  # a defect of ours costs this connection alone
            log.exception("the connection to %s failed inside", entry.connection.peer_id)
            await entry.connection.close()
        finally:
            peer = entry.connection.peer_id
            if entry.connection.outbound:  # it worked until now
                self._book.on_success(peer, entry.connection.remote_address)
            if self._pool.remove(entry):
                self._housekeeper.values.forget(peer)
                self._identify.forget(peer)
                self._pool.tell(peer, connected=False)

    # --- streams ------------------------------------------------------------------------------------------------------
    async def open_stream(self, peer: PeerID, protocols: Sequence[str]) -> Stream:
        connection = await self.connect(peer)
        try:
            return await self._open_on(connection, protocols)
        except StreamClosed:
            if not connection.is_closing:
                raise
        # it closed just then; another one may be open, or can be made
        return await self._open_on(await self.connect(peer), protocols)

    async def _open_on(self, connection: Connection, protocols: Sequence[str]) -> Stream:
        """A stream on one connection; a protocol that identify has told of is not asked for again."""
        assert isinstance(connection, MuxedConnection)
        known = self._identify.protocols_of(connection.peer_id)
        if protocols[0] == IDENTIFY:  # every peer has it; where one has not, this stream alone fails
            known = known | {IDENTIFY}
        return await connection.open_stream(protocols, known=known)

    def set_handler(self, protocol: str, handler: Handler) -> None:
        self._handlers[protocol] = handler
        self._identify.changed()

    def remove_handler(self, protocol: str) -> None:
        self._handlers.pop(protocol, None)
        self._identify.changed()

    def protocols(self) -> list[str]:
        """The protocols that this node answers, sorted."""
        return sorted(self._protocols())

    def _protocols(self) -> frozenset[str]:
        return frozenset((*self._handlers, IDENTIFY, IDENTIFY_PUSH))

    def _handler_for(self, connection: MuxedConnection, protocol: str) -> Handler | None:
        if protocol == IDENTIFY:
            return partial(self._identify.answer, connection)
        if protocol == IDENTIFY_PUSH:
            return partial(self._identify.receive_push, connection)
        return self._handlers.get(protocol)

    async def ping(self, peer: PeerID) -> float:
        """One round trip by ``/ipfs/ping/1.0.0``, in seconds. ``TimedOut``, ``PeerUnreachable``, ``NotSupported``."""
        stream = await self.open_stream(peer, [ping.PING])
        try:
            return await ping.measure(stream)
        finally:
            stream.reset()

    # --- seen from outside --------------------------------------------------------------------------------------------
    def statistics(self) -> SwarmStatistics:
        """Numbers as they are now."""
        open_ones = self.connections()
        outbound = sum(connection.outbound for connection in open_ones)
        return SwarmStatistics(
            peers=len(self._pool.peers()),
            connections=len(open_ones),
            inbound=len(open_ones) - outbound,
            outbound=outbound,
            streams=sum(map(streams_of, open_ones)),
            unauthenticated=len(self._pending),
            evicted_unauthenticated=self._pending.evicted,
            dialling=self._outbound.dialling,
            attempts=self._outbound.attempts,
            known_peers=len(self._book.book),
            backed_off=self._outbound.backoff.statistics().peers,
            refused_peers=self._standing.statistics(trio.current_time()).refused,
            trimmed=self._housekeeper.trimmed,
            accepted=self._accepted,
            opened=self._outbound.opened,
            failed_attempts=self._outbound.failed,
        )

    def __repr__(self) -> str:
        state = "running" if self._outbound.is_running else "not running"
        return f"<Swarm {self.peer_id} {state}, {len(self._pool)} connections to {len(self._pool.peers())} peers>"


def _of_peer(text: str, peer: PeerID) -> Address:
    address = parse(text)
    if address.peer not in (None, peer):
        raise InvalidAddress(f"{text} is an address of {address.peer}, not of {peer}")
    return address


if TYPE_CHECKING:

    def _is_a_network(swarm: Swarm) -> Network:
        return swarm
