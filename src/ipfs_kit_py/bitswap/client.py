"""The client's driver: wants go out on one stream a peer, blocks come in through the ingest, waiters are woken.

``Client.session()`` is the Exchange's; everything that decides is in ``bitswap.session``.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING

import trio

from ipfs_kit_py.bitswap.ingest import Arrived, Ingest, Unwanted
from ipfs_kit_py.bitswap.session import FindProviders, Send, Statistics, Wants
from ipfs_kit_py.bitswap.wire import PROTOCOLS, V120, Message, encode
from ipfs_kit_py.core.cid import Block
from ipfs_kit_py.core.config import MAX_RECENT_WANTS, WANT_TIMEOUT_MIN, WRITE_STALL_SECONDS
from ipfs_kit_py.core.errors import IPFSKitError, StorageError

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence

    from trio import TaskStatus

    from ipfs_kit_py.bitswap.wire import Entry
    from ipfs_kit_py.core.cid import CID, PeerID
    from ipfs_kit_py.core.interfaces import BlockStore, Network, Stream

    FindProvidersFunction = Callable[[CID], AsyncIterator[tuple[PeerID, list[str]]]]

logger = logging.getLogger(__name__)

UNWANTED_PENALTY = 0.25  # standing for an unasked-for block, per started MiB; a late answer to a cancelled want is free


class _Waiter:
    """One ``fetch_many``: blocks that came for it, and what it still waits for."""

    __slots__ = ("blocks", "error", "missing", "woken")

    def __init__(self, cids: Sequence[CID]) -> None:
        self.missing = set(cids)
        self.blocks: list[Block] = []
        self.error: StorageError | None = None
        self.woken = trio.Event()


class Client:
    """Fetches blocks from connected peers.

    ``find_providers`` searches for peers that have a block and gives (peer, addresses); ``None`` where there is no
    routing. ``on_stored(peer, multihash, size)`` hears of every block that a peer gave. Call
    ``on_connected``/``on_disconnected`` as peers come and go, ``receive`` with what they send.
    """

    def __init__(
        self,
        network: Network,
        store: BlockStore,
        rng: random.Random,
        *,
        find_providers: FindProvidersFunction | None = None,
        on_stored: Callable[[PeerID, bytes, int], None] | None = None,
    ) -> None:
        self._network = network
        self._wants = Wants(rng)
        self._ingest = Ingest(store, self._wants.is_wanted, self._stored)
        self._find_providers = find_providers
        self._on_stored = on_stored
        self._waiters: dict[CID, list[_Waiter]] = {}
        self._senders: dict[PeerID, _Sender] = {}
        self._recent: OrderedDict[bytes, None] = OrderedDict()  # multihashes that were wanted: a late answer is no lie
        self._nursery: trio.Nursery | None = None
        self._bytes_received = self._bytes_unwanted = 0

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Work until cancelled."""
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self._ingest.run)
            self._nursery.start_soon(self._timer)
            task_status.started()
            await trio.sleep_forever()

    # --- sessions -----------------------------------------------------------------------------------------------------

    @contextmanager
    def session(self) -> Iterator[ClientSession]:
        """Fetches that belong together."""
        number = self._wants.open_session()
        try:
            yield ClientSession(self, number)
        finally:
            self._wants.close_session(number, trio.current_time())
            self._act()

    async def fetch(self, session: int, cids: Sequence[CID], size_hint: int | None) -> AsyncGenerator[Block, None]:
        """Blocks as they come; what is left is cancelled when the generator is closed."""
        waiter = _Waiter(cids)
        for cid in cids:
            self._waiters.setdefault(cid, []).append(waiter)
        self._wants.want(session, cids, trio.current_time(), size=size_hint)
        self._act()
        try:
            while waiter.missing or waiter.blocks:
                while not waiter.blocks and waiter.error is None:
                    await waiter.woken.wait()
                    waiter.woken = trio.Event()
                if waiter.error is not None:
                    raise waiter.error
                blocks, waiter.blocks = waiter.blocks, []
                for block in blocks:
                    yield block
        finally:
            self._abandon(session, waiter)

    def _abandon(self, session: int, waiter: _Waiter) -> None:
        for cid in waiter.missing:
            rest = self._waiters.get(cid, [])
            if waiter in rest:
                rest.remove(waiter)
            if not rest:
                self._waiters.pop(cid, None)
                self._remember(cid.multihash)
        self._wants.cancel(session, [cid for cid in waiter.missing if cid not in self._waiters], trio.current_time())
        self._act()

    # --- what happens -------------------------------------------------------------------------------------------------

    def always_ask(self, peer: PeerID) -> None:
        """Ask this peer for everything that must be probed: the caller's own choice, or a local one."""
        self._wants.always_ask(peer, trio.current_time())
        self._act()

    def on_connected(self, peer: PeerID) -> None:
        """A peer connected."""
        known = self._network.protocols_of(peer)
        has_presences = V120 in known or not known.intersection(PROTOCOLS)
        now = trio.current_time()
        self._wants.on_peer_connected(peer, now, has_presences=has_presences)
        if self._network.is_local(peer):
            self._wants.always_ask(peer, now)
        self._act()

    def on_disconnected(self, peer: PeerID) -> None:
        """The last connection to a peer closed."""
        sender = self._senders.pop(peer, None)
        if sender is not None:
            sender.stop()
        self._wants.on_peer_disconnected(peer, trio.current_time())
        self._act()

    async def receive(self, peer: PeerID, message: Message) -> None:
        """A message's blocks and presences; waits while too much is waiting to be stored."""
        if message.haves or message.dont_haves:
            self._wants.on_presences(peer, message.haves, message.dont_haves, trio.current_time())
            self._act()
        if message.blocks:
            await self._ingest.put(peer, message.blocks)

    def on_local(self, blocks: Sequence[Block]) -> None:
        """Blocks came into the store by another way than from a peer: whoever waits for them has them."""
        wanted = [block for block in blocks if self.is_wanted(block.cid)]
        if wanted:
            self._deliver(wanted)
            sizes = [(block.cid.multihash, memoryview(block.data).nbytes) for block in wanted]
            self._wants.on_blocks(None, sizes, trio.current_time())
            self._act()

    def is_wanted(self, cid: CID) -> bool:
        """Whether somebody waits for a block."""
        return self._wants.is_wanted(cid.multihash)

    async def _stored(self, arrived: list[Arrived], unwanted: list[Unwanted]) -> None:
        now = trio.current_time()
        self._deliver([Block(item.cid, item.data) for item in arrived if item.error is None])
        for item in arrived:
            if item.error is not None:
                self._fail(item.cid, item.error)
                continue
            size = memoryview(item.data).nbytes
            self._bytes_received += size
            self._remember(item.cid.multihash)
            self._wants.on_blocks(item.peer, [(item.cid.multihash, size)], now)
            self._network.add_value(item.peer, size / (1 << 20))
            if self._on_stored is not None:
                self._on_stored(item.peer, item.cid.multihash, size)
        for stray in unwanted:
            self._bytes_unwanted += stray.size
            if stray.multihash not in self._recent:
                amount = UNWANTED_PENALTY * (1 + stray.size // (1 << 20))
                self._network.penalise(stray.peer, amount, "sent a block that was not asked for")
        self._act()

    def _deliver(self, blocks: Sequence[Block]) -> None:
        """Hand blocks to whoever waits for them under any CID of their multihash."""
        for block in blocks:
            for cid in self._wants.cids_of(block.cid.multihash) or (block.cid,):
                for waiter in self._waiters.pop(cid, ()):
                    if cid in waiter.missing:
                        waiter.missing.discard(cid)
                        waiter.blocks.append(Block(cid, block.data))
                        waiter.woken.set()

    def _fail(self, cid: CID, error: StorageError) -> None:
        for waiter in self._waiters.get(cid, ()):
            waiter.error = error
            waiter.woken.set()

    def _remember(self, multihash: bytes) -> None:
        self._recent[multihash] = None
        while len(self._recent) > MAX_RECENT_WANTS:
            self._recent.popitem(last=False)

    # --- doing --------------------------------------------------------------------------------------------------------

    def _act(self) -> None:
        now = trio.current_time()
        while (action := self._wants.next_action(now)) is not None:
            if isinstance(action, Send):
                self._sender(action.peer).wake()
            elif isinstance(action, FindProviders) and self._find_providers and self._nursery:
                self._nursery.start_soon(self._search, action.cid)

    def _sender(self, peer: PeerID) -> _Sender:
        sender = self._senders.get(peer)
        if sender is None:
            sender = self._senders[peer] = _Sender(self._network, self._wants, peer)
            if self._nursery is not None:
                self._nursery.start_soon(sender.run)
        return sender

    async def _search(self, cid: CID) -> None:
        if self._find_providers is None:
            return
        try:
            async with aclosing(self._find_providers(cid)) as found:  # type: ignore[type-var]
                async for peer, addresses in found:
                    if not self.is_wanted(cid):
                        return
                    await self._network.connect(peer, addresses)
                    self.always_ask(peer)
        except IPFSKitError as error:
            logger.debug("no provider of %s: %s", cid, error)

    async def _timer(self) -> None:
        while True:
            now = trio.current_time()
            deadline = self._wants.deadline()
            # nothing that is asked later expires before this shortest of timeouts
            await trio.sleep_until(max(now + 0.01, min(deadline or now + 60.0, now + WANT_TIMEOUT_MIN)))
            if deadline is not None and deadline <= trio.current_time():
                self._wants.on_timeout(trio.current_time())
                self._act()

    def statistics(self) -> tuple[Statistics, int, int]:
        """The engine's counters, bytes received and bytes that nobody wanted."""
        return self._wants.statistics(), self._bytes_received, self._bytes_unwanted

    def __repr__(self) -> str:
        return f"<Client {self._wants!r}>"


class ClientSession:
    """One session of a client; made by ``Client.session``."""

    def __init__(self, client: Client, number: int) -> None:
        self._client = client
        self._number = number

    def fetch_many(self, cids: Sequence[CID], *, size_hint: int | None = None) -> AsyncGenerator[Block, None]:
        """Blocks as they come, any order, verified and stored; see ``ExchangeSession``."""
        return self._client.fetch(self._number, cids, size_hint)


class _Sender:
    """Tells one peer of our wants, on one stream that is opened when there is something to say and kept."""

    def __init__(self, network: Network, wants: Wants, peer: PeerID) -> None:
        self._network = network
        self._wants = wants
        self._peer = peer
        self._woken = trio.Event()
        self._scope = trio.CancelScope()
        self._stream: Stream | None = None

    def wake(self) -> None:
        self._woken.set()

    def stop(self) -> None:
        self._scope.cancel()

    async def run(self) -> None:
        with self._scope:
            try:
                while True:
                    await self._woken.wait()
                    self._woken = trio.Event()
                    await self._send_all()
            finally:
                if self._stream is not None:
                    self._stream.reset()

    async def _send_all(self) -> None:
        while True:
            entries, full = self._wants.take(self._peer)
            if not entries:
                return
            try:
                with trio.fail_after(WRITE_STALL_SECONDS):
                    await self._send(entries, full)
            except (IPFSKitError, trio.TooSlowError) as error:
                logger.debug("wants did not reach %s: %s", self._peer, error)
                if self._stream is not None:
                    self._stream.reset()
                    self._stream = None
                self._wants.on_stream_lost(self._peer)
                await trio.sleep(WANT_TIMEOUT_MIN)

    async def _send(self, entries: list[Entry], full: bool) -> None:
        if self._stream is None:
            self._stream = await self._network.open_stream(self._peer, PROTOCOLS)
        parts = encode(Message(entries=entries, full=full), self._stream.protocol)
        if parts:
            await self._stream.write_message(*parts)
