"""The client's driver: wants go out on one stream a peer, blocks come in through the ingest, waiters are woken.

``Client.session()`` is the Exchange's; everything that decides is in ``bitswap.session``.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

from ipfs_kit_py.bitswap.finder import DialledFunction, Finder, FindProvidersFunction
from ipfs_kit_py.bitswap.ingest import Arrived, Ingest, Unwanted
from ipfs_kit_py.bitswap.sender import Sender, has_presences
from ipfs_kit_py.bitswap.session import Wants
from ipfs_kit_py.bitswap.wants import FindProviders, Penalise, Send, Statistics
from ipfs_kit_py.bitswap.wire import PROTOCOLS, V120, Message
from ipfs_kit_py.core.cid import Block
from ipfs_kit_py.core.config import MIB
from ipfs_kit_py.core.errors import IPFSKitError, NotFound, NotRunning, StorageError, TimedOut
from ipfs_kit_py.storage import threads
from ipfs_kit_py.storage.threads import Pool

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncGenerator, Callable, Iterator, Sequence

    from trio import TaskStatus

    from ipfs_kit_py.bitswap.inquiries import Inquiry
    from ipfs_kit_py.core.cid import CID, PeerID
    from ipfs_kit_py.core.interfaces import BlockStore, Network, PeerLore

logger = logging.getLogger(__name__)

__all__ = ["Client", "ClientSession", "FindProvidersFunction"]

LOOK_SECONDS = 2.0  # between looks into the store for what is waited for that long
LOOK_BATCH = 64  # blocks looked for at once
TIMER_GRAIN = 0.002  # seconds; deadlines closer together than this are met together


class _Waiter:
    """One ``fetch_many``: blocks that came for it, and what it still waits for."""

    __slots__ = ("blocks", "error", "missing", "woken")

    def __init__(self, cids: Sequence[CID]) -> None:
        self.missing = dict.fromkeys(cids)
        self.blocks: list[Block] = []
        self.error: IPFSKitError | None = None
        self.woken = trio.Event()

    def fail(self, error: IPFSKitError) -> None:
        """What is missing will not come."""
        self.error = error
        self.woken.set()

    async def wait_filled(self) -> list[Block]:
        """The blocks that came since the last call; waits for the first. Raises what kept one from being stored."""
        while not self.blocks and self.error is None:
            self.woken = trio.Event()
            await self.woken.wait()
        blocks, self.blocks = self.blocks, []
        if not blocks and self.error is not None:
            raise self.error
        return blocks


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
        on_dialled: DialledFunction | None = None,
        lore: PeerLore | None = None,
    ) -> None:
        self._network = network
        self._store = store
        self._wants = Wants(rng, lore)
        self._ingest = Ingest(store, self._wants.is_wanted, self._stored)
        demand = None if lore is None else lore.wanted
        self._finder = Finder(network, find_providers, self._on_provider, on_dialled, demand)
        self._on_stored = on_stored
        self._waiters: dict[CID, list[_Waiter]] = {}
        self._sessions: dict[int, set[_Waiter]] = {}
        self._searches: dict[CID, trio.CancelScope] = {}
        self._senders: dict[PeerID, Sender] = {}
        self._nursery: trio.Nursery | None = None
        self._alarm = trio.CancelScope()
        self._bytes_received = self._bytes_unwanted = 0

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Work until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._ingest.run)
            nursery.start_soon(self._timer)
            nursery.start_soon(self._look_again)
            task_status.started()
            self._act()  # what was asked for before
            await trio.sleep_forever()

    # --- sessions -----------------------------------------------------------------------------------------------------

    @contextmanager
    def session(self) -> Iterator[ClientSession]:
        """Fetches that belong together."""
        number = self._wants.open_session()
        self._sessions[number] = set()
        try:
            yield ClientSession(self, number)
        finally:
            for waiter in self._sessions.pop(number):
                waiter.fail(NotRunning("the session was closed before its blocks came"))
            self._wants.close_session(number, trio.current_time())
            self._act()

    async def fetch(
        self, session: int, cids: Sequence[CID], size_hint: int | None, priority: int, timeout: float | None
    ) -> AsyncGenerator[Block, None]:
        """Blocks as they come; what is left is cancelled when the generator is closed. See ``ClientSession``."""
        waiter = _Waiter(cids)
        self._wants.want(session, waiter.missing, trio.current_time(), size=size_hint, priority=priority)
        for cid in waiter.missing:
            self._waiters.setdefault(cid, []).append(waiter)
        self._sessions[session].add(waiter)
        try:
            self._act()
            while waiter.missing or waiter.blocks:
                limit = float("inf") if timeout is None else timeout + self._wants.expected_seconds(session, 0)
                blocks: list[Block] = []
                with trio.move_on_after(limit) as patience:
                    blocks = await waiter.wait_filled()
                if patience.cancelled_caught and not waiter.blocks:
                    raise self._gave_up(next(iter(waiter.missing)), limit)
                for block in blocks:
                    yield block
        finally:
            self._abandon(session, waiter)

    def _gave_up(self, cid: CID, seconds: float) -> NotFound | TimedOut:
        if self.nobody_has(cid):
            return NotFound(f"block {cid} was not found: no peer that was asked has it", cid=cid)
        return TimedOut(f"block {cid} did not come within {seconds:.1f} s; ask for it with a longer timeout")

    def _abandon(self, session: int, waiter: _Waiter) -> None:
        self._sessions.get(session, set()).discard(waiter)
        over = []
        for cid in waiter.missing:
            rest = [other for other in self._waiters.get(cid, ()) if other is not waiter]
            if rest:
                self._waiters[cid] = rest
            else:
                self._waiters.pop(cid, None)
                self._end_search(cid)
                over.append(cid)
        if over:
            self._wants.cancel(session, over, trio.current_time())
            self._act()

    def nobody_has(self, cid: CID) -> bool:
        """Whether everybody who was asked for a block has not got it, and no search is under way."""
        return self._wants.nobody_has(cid)

    def expected_seconds(self, session: int, size: int) -> float:
        """How long ``size`` bytes would take a session, as its peers were measured."""
        return self._wants.expected_seconds(session, size)

    def holders(self, session: int) -> int:
        """How many peers had something of what a session wants."""
        return self._wants.holders(session)

    def owed(self, peer: PeerID) -> int:
        """Bytes that are asked of a peer and not here yet."""
        return self._wants.owed(peer)

    def inquire(self, multihash: bytes, listener: Callable[[], None]) -> Inquiry | None:
        """Ask connected peers whether they have a block; ``listener`` hears of answers. ``None`` beyond the limit."""
        inquiry = self._wants.inquiries.ask(multihash, listener, trio.current_time())
        self._act()
        return inquiry

    def end_inquiry(self, inquiry: Inquiry, listener: Callable[[], None]) -> None:
        """Nothing more of it is needed."""
        self._wants.inquiries.end(inquiry, listener)
        self._act()

    # --- what happens -------------------------------------------------------------------------------------------------

    def always_ask(self, peer: PeerID) -> None:
        """Ask this peer for everything that nobody is known to have: the caller chose it."""
        self._wants.always_ask(peer, trio.current_time())
        self._act()

    def on_connected(self, peer: PeerID) -> None:
        """A peer connected."""
        known = self._network.protocols_of(peer)
        if known and not known.intersection(PROTOCOLS):
            return
        self._wants.on_peer_connected(
            peer,
            trio.current_time(),
            has_presences=not known or V120 in known,
            local=self._network.is_local(peer),
            rtt=self._network.rtt(peer),
        )
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
        now = trio.current_time()
        if message.haves or message.dont_haves:
            self._wants.on_presences(peer, message.haves, message.dont_haves, now)
            self._act()
        if message.blocks:
            await self._ingest.put(peer, message.blocks, now)

    def on_local(self, blocks: Sequence[Block]) -> None:
        """Blocks came into the store by another way than from a peer: whoever waits for them has them."""
        wanted = [block for block in blocks if self.is_wanted(block.cid)]
        if wanted:
            now = trio.current_time()
            for block in wanted:
                self._deliver(block.cid.multihash, block)
            self._wants.on_blocks(None, [(cid.multihash, memoryview(data).nbytes, now) for cid, data in wanted], now)
            self._act()

    def is_wanted(self, cid: CID) -> bool:
        """Whether somebody waits for a block."""
        return self._wants.is_wanted(cid.multihash)

    def _stored(self, arrived: list[Arrived], unwanted: list[Unwanted]) -> None:
        """A batch was hashed and stored. Waiters are woken once, however many of the blocks are theirs."""
        now = trio.current_time()
        by_peer: dict[PeerID, list[tuple[bytes, int, float]]] = {}
        for item in arrived:
            multihash = item.cid.multihash
            if item.error is not None:
                self._fail(multihash, item.error)
                continue
            self._deliver(multihash, Block(item.cid, item.data))
            by_peer.setdefault(item.peer, []).append((multihash, item.size, item.at))
        for peer, blocks in by_peer.items():
            size = sum(size for _, size, _ in blocks)
            self._bytes_received += size
            self._wants.on_blocks(peer, blocks, now)
            self._network.add_value(peer, size / MIB)
            if self._on_stored is not None:
                for multihash, size, _ in blocks:
                    self._on_stored(peer, multihash, size)
        for stray in unwanted:
            self._bytes_unwanted += stray.size
            self._wants.on_unwanted(stray.peer, stray.multihash, now)
        self._act()

    def _deliver(self, multihash: bytes, block: Block) -> None:
        """Hand a block to whoever waits for it under any CID of its multihash."""
        for cid in self._wants.cids_of(multihash):
            self._end_search(cid)
            for waiter in self._waiters.pop(cid, ()):
                del waiter.missing[cid]
                waiter.blocks.append(block if cid is block.cid else Block(cid, block.data))
                waiter.woken.set()

    def _fail(self, multihash: bytes, error: StorageError) -> None:
        for cid in self._wants.cids_of(multihash):
            for waiter in self._waiters.get(cid, ()):
                waiter.fail(error)

    # --- doing --------------------------------------------------------------------------------------------------------

    def _act(self) -> None:
        if self._nursery is None:
            return
        now = trio.current_time()
        while (action := self._wants.next_action(now)) is not None:
            match action:
                case Send(peer):
                    self._sender(peer, self._nursery).wake()
                case Penalise(peer, amount, why):
                    self._network.penalise(peer, amount, why)
                case FindProviders(cid) if cid in self._searches:
                    self._wants.on_search_done(cid)  # the one before is still under way
                case FindProviders(cid):
                    self._searches[cid] = trio.CancelScope()
                    self._nursery.start_soon(self._search, cid, self._searches[cid])
        deadline = self._wants.deadline()
        self._alarm.deadline = float("inf") if deadline is None else max(deadline, now + TIMER_GRAIN)

    def _sender(self, peer: PeerID, nursery: trio.Nursery) -> Sender:
        sender = self._senders.get(peer)
        if sender is None:
            sender = self._senders[peer] = Sender(
                self._network,
                peer,
                take=self._wants.take,
                spoken=self._spoken,
                lost=self._lost,
                refused=self.on_disconnected,
            )
            nursery.start_soon(sender.run)
        return sender

    def _spoken(self, peer: PeerID, protocol: str) -> None:
        self._wants.on_protocol(peer, trio.current_time(), has_presences=has_presences(protocol))
        self._act()

    def _lost(self, peer: PeerID) -> None:
        self._wants.on_stream_lost(peer)
        self._act()

    async def _search(self, cid: CID, scope: trio.CancelScope) -> None:
        with scope:
            await self._finder.search(cid)
        if self._searches.get(cid) is scope:
            del self._searches[cid]
            self._wants.on_search_done(cid)

    def _end_search(self, cid: CID) -> None:
        """Nobody waits for a block any more."""
        scope = self._searches.pop(cid, None)
        if scope is not None:
            scope.cancel()

    def _on_provider(self, cid: CID, peer: PeerID) -> None:
        self.on_connected(peer)  # it may have been before this client was told
        self._wants.on_provider(cid, peer, trio.current_time())
        self._act()

    async def _timer(self) -> None:
        while True:
            with self._alarm:
                await trio.sleep_forever()
            self._alarm = trio.CancelScope()
            self._wants.on_timeout(trio.current_time())
            self._act()

    async def _look_again(self) -> None:
        """What is waited for long may have come into the store unseen: by another process, or just before the want."""
        before: set[CID] = set()
        while True:
            await trio.sleep(LOOK_SECONDS)
            still = [cid for cid in self._waiters if cid in before]
            for at in range(0, len(still), LOOK_BATCH):
                batch = still[at : at + LOOK_BATCH]
                try:
                    found = await threads.run(Pool.WORK, self._store.get_many, batch)
                except IPFSKitError as error:
                    logger.debug("the store could not be looked at: %s", error)
                    break
                self.on_local([Block(cid, data) for cid, data in zip(batch, found, strict=True) if data is not None])
            before = set(self._waiters)

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

    def fetch_many(
        self, cids: Sequence[CID], *, size_hint: int | None = None, priority: int = 1, timeout: float | None = None
    ) -> AsyncGenerator[Block, None]:
        """Blocks as they come, any order, verified and stored; see ``ExchangeSession``.

        ``priority``: wants with a higher one are asked for first. ``timeout``: seconds that may pass without a block,
        besides those that the session's peers, as measured, need for what they were asked; then ``NotFound`` where
        nobody who was asked has the block, else ``TimedOut``. Without it, wants stay until the block comes. Raises
        ``StorageError`` where a block cannot be stored, ``NotRunning`` where the session is closed.
        """
        return self._client.fetch(self._number, cids, size_hint, priority, timeout)

    def nobody_has(self, cid: CID) -> bool:
        """Whether everybody who was asked for a block has not got it, and no search is under way."""
        return self._client.nobody_has(cid)

    def expected_seconds(self, size: int) -> float:
        """How long ``size`` bytes more would take, as this session's peers were measured: for timeouts by size."""
        return self._client.expected_seconds(self._number, size)

    def holders(self) -> int:
        """How many peers had something of what this session wants."""
        return self._client.holders(self._number)
