"""Bitswap as one service: inbound messages are decoded once and split, wants to the server, blocks to the client."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from ipfs_kit_py.bitswap.client import Client, ClientSession
from ipfs_kit_py.bitswap.server import Server
from ipfs_kit_py.bitswap.wire import PROTOCOLS, decode
from ipfs_kit_py.core import varint
from ipfs_kit_py.core.config import (
    CONNECTED_LEAST_SECONDS,
    CONNECTED_PATIENCE,
    CONNECTED_SECONDS,
    LARGE_MESSAGE_BYTES,
    MAX_BITSWAP_STREAMS_PER_PEER,
    MAX_LARGE_MESSAGES_PER_PEER,
    MAX_MESSAGE_BYTES,
)
from ipfs_kit_py.core.errors import ProtocolViolation
from ipfs_kit_py.storage.joined import JoinedStores

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncGenerator, Callable, Sequence
    from contextlib import AbstractContextManager

    from trio import TaskStatus

    from ipfs_kit_py.bitswap.finder import DialledFunction, FindProvidersFunction
    from ipfs_kit_py.bitswap.ledger import Account
    from ipfs_kit_py.bitswap.wire import Message
    from ipfs_kit_py.core.cid import CID, Block, PeerID
    from ipfs_kit_py.core.interfaces import BlockStore, Network, PeerLore, Served, Stream

logger = logging.getLogger(__name__)

MALFORMED_PENALTY = 0.5  # standing for a message that is none


@dataclass(frozen=True)
class BitswapStatistics:
    """Counters since the start, bytes of blocks, and what is open now."""

    wants: int
    sessions: int
    peers: int
    blocks_received: int
    bytes_received: int
    duplicates: int
    bytes_unwanted: int
    timeouts: int
    broadcasts: int
    blocks_sent: int
    bytes_sent: int
    peer_wants: int
    wants_evicted: int


class Bitswap:
    """The exchange of a node: ``run`` it, and use ``session`` to fetch. Serves what the store has.

    ``find_providers`` searches for peers that have a block; ``on_dialled(peer, ok, seconds)`` hears what came of
    connecting to those that it names.
    """

    def __init__(
        self,
        network: Network,
        store: BlockStore,
        rng: random.Random,
        *,
        find_providers: FindProvidersFunction | None = None,
        on_dialled: DialledFunction | None = None,
        may_serve: Callable[[PeerID, CID], bool] | None = None,
        lore: PeerLore | None = None,
    ) -> None:
        self._network = network
        self._store = store
        self._client = Client(
            network, store, rng, find_providers=find_providers, on_stored=self._on_stored, on_dialled=on_dialled,
            lore=lore,
        )  # fmt: skip
        self._server = Server(network, store, may_serve)
        self._inbound: dict[PeerID, _Inbound] = {}
        self._lent: list[Served] = []  # stores of others that are served too

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Work until cancelled."""
        for protocol in PROTOCOLS:
            self._network.set_handler(protocol, self._serve)
        leave = self._network.on_change(self._connected, self._disconnected)
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._client.run)
                await nursery.start(self._server.run)
                for peer in tuple(self._network.connected()):
                    self._connected(peer)
                task_status.started()
        finally:
            leave()
            for protocol in PROTOCOLS:
                self._network.remove_handler(protocol)

    def session(self) -> AbstractContextManager[ClientSession]:
        """Fetches that belong together."""
        return self._client.session()

    def serve_also(self, store: Served) -> None:
        """Serve from this store too, beside the node's own."""
        self._lent.append(store)
        self._server.serve_from(JoinedStores([self._store, *self._lent]))

    def serve_no_more(self, store: Served) -> None:
        """Serve no more from a store that ``serve_also`` was called with."""
        self._lent.remove(store)
        self._server.serve_from(JoinedStores([self._store, *self._lent]) if self._lent else self._store)

    def always_ask(self, peer: PeerID) -> None:
        """Ask this peer for everything that must be probed: the caller chose it."""
        self._client.always_ask(peer)

    def owed(self, peer: PeerID) -> int:
        """Bytes that are asked of a peer and not here yet."""
        return self._client.owed(peer)

    async def who_has(self, multihash: bytes, *, seconds: float = CONNECTED_SECONDS) -> AsyncGenerator[PeerID, None]:
        """Connected peers that say within ``seconds`` that they have a block, as they answer. Asked are those that a
        want would be told to; the block is not fetched. Once one has answered, whatever it is, the others have a few
        times as long as it took him."""
        woken = trio.Event()
        begun = trio.current_time()
        until = begun + seconds

        def wake() -> None:
            woken.set()

        inquiry = self._client.inquire(multihash, wake)
        if inquiry is None:
            return
        given = 0
        try:
            while True:
                for peer in list(inquiry.have)[given:]:
                    given += 1
                    yield peer
                if given < len(inquiry.have):
                    continue
                with trio.move_on_at(until) as patience:
                    if inquiry.waiting:
                        await woken.wait()
                    took = trio.current_time() - begun
                    until = min(until, begun + max(CONNECTED_LEAST_SECONDS, CONNECTED_PATIENCE * took))
                woken = trio.Event()
                if given == len(inquiry.have) and (patience.cancelled_caught or not inquiry.waiting):
                    return
        finally:
            self._client.end_inquiry(inquiry, wake)

    async def announce_have(self, blocks: Sequence[Block]) -> None:
        """These blocks are in the store now: serve the peers, and our own fetches, that wait for them."""
        self._client.on_local(blocks)
        self._server.on_blocks_stored([(cid.multihash, memoryview(data).nbytes) for cid, data in blocks])
        await trio.lowlevel.checkpoint()

    def account(self, peer: PeerID) -> Account:
        """Bytes of blocks sent to a peer and received from it."""
        return self._server.account(peer)

    def wantlist(self, peer: PeerID) -> list[CID]:
        """What a peer wants of us."""
        return self._server.wantlist(peer)

    def statistics(self) -> BitswapStatistics:
        """Counters."""
        client, received, unwanted = self._client.statistics()
        server = self._server.statistics()
        return BitswapStatistics(
            wants=client.wants,
            sessions=client.sessions,
            peers=client.peers,
            blocks_received=client.blocks,
            bytes_received=received,
            duplicates=client.duplicates,
            bytes_unwanted=unwanted,
            timeouts=client.timeouts,
            broadcasts=client.broadcasts,
            blocks_sent=server.blocks_sent,
            bytes_sent=server.bytes_sent,
            peer_wants=server.wants,
            wants_evicted=server.evicted,
        )

    def __repr__(self) -> str:
        return f"<Bitswap {self._client!r}>"

    def _connected(self, peer: PeerID) -> None:
        self._server.on_connected(peer)
        self._client.on_connected(peer)

    def _disconnected(self, peer: PeerID) -> None:
        self._client.on_disconnected(peer)
        self._server.on_disconnected(peer)

    def _on_stored(self, peer: PeerID, multihash: bytes, size: int) -> None:
        self._server.on_received(peer, size)
        self._server.on_blocks_stored([(multihash, size)])

    async def _serve(self, stream: Stream) -> None:
        """Read a peer's messages until its stream ends. What is malformed costs it the stream and standing."""
        peer = stream.peer_id
        inbound = self._inbound.setdefault(peer, _Inbound())
        if inbound.streams >= MAX_BITSWAP_STREAMS_PER_PEER:
            stream.reset()
            return
        inbound.streams += 1
        try:
            while (size := await _read_length(stream)) is not None:
                async with inbound.large if size > LARGE_MESSAGE_BYTES else nullcontext():
                    await self._receive(peer, decode(await stream.read_exactly(size)))
            await stream.close()
        except ProtocolViolation as error:
            stream.reset()
            self._network.penalise(peer, MALFORMED_PENALTY, str(error))
        finally:
            inbound.streams -= 1
            if not inbound.streams:
                del self._inbound[peer]

    async def _receive(self, peer: PeerID, message: Message) -> None:
        if message.entries or message.full:
            await self._server.receive(peer, message.entries, full=message.full)
        await self._client.receive(peer, message)
        await trio.lowlevel.checkpoint()  # many that say nothing must not keep the loop from the others


class _Inbound:
    """What one peer has open: so many streams, and a few places for large messages, of which every byte is held."""

    def __init__(self) -> None:
        self.streams = 0
        self.large = trio.Semaphore(MAX_LARGE_MESSAGES_PER_PEER)


async def _read_length(stream: Stream) -> int | None:
    """The length before a message; ``None`` at a clean end."""
    head = bytearray(await stream.read(1))
    if not head:
        return None
    while head[-1] >= 0x80 and len(head) < varint.MAX_BYTES:
        head += await stream.read_exactly(1)
    try:
        size, _ = varint.decode(head, strict=False)
    except (IndexError, ValueError) as error:
        raise ProtocolViolation(f"the length of a bitswap message: {error}", peer=stream.peer_id) from None
    if size > MAX_MESSAGE_BYTES:
        raise ProtocolViolation(
            f"a bitswap message of {size} bytes; at most {MAX_MESSAGE_BYTES} are read", peer=stream.peer_id
        )
    return size
