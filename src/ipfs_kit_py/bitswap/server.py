"""The server's driver: look-ups on a worker thread, answers on a stream of our own, blocks straight from the store."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING

import trio

from ipfs_kit_py.bitswap.ledger import Account, Answer, Ledger, LedgerStatistics
from ipfs_kit_py.bitswap.wire import PROTOCOLS, Message, encode
from ipfs_kit_py.core.config import SERVER_WORKERS, WRITE_STALL_SECONDS
from ipfs_kit_py.core.errors import IPFSKitError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trio import TaskStatus

    from ipfs_kit_py.bitswap.wire import Entry
    from ipfs_kit_py.core.cid import CID, PeerID
    from ipfs_kit_py.core.interfaces import BlockStore, Network, Stream

logger = logging.getLogger(__name__)


class _Out:
    """The stream of our answers to one peer; one message at a time."""

    def __init__(self) -> None:
        self.lock = trio.Lock()
        self.stream: Stream | None = None


class Server:
    """Answers wantlists. ``may_serve(peer, cid)`` can refuse: to that peer the block is then not there."""

    def __init__(
        self, network: Network, store: BlockStore, may_serve: Callable[[PeerID, CID], bool] | None = None
    ) -> None:
        self._network = network
        self._store = store
        self._may_serve = may_serve
        self._ledger = Ledger()
        self._out: dict[PeerID, _Out] = {}
        self._work = trio.Event()

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Work until cancelled: several answers are under way, so that one is read while another is sealed."""
        async with trio.open_nursery() as nursery:
            for _ in range(SERVER_WORKERS):
                nursery.start_soon(self._worker)
            task_status.started()

    def on_connected(self, peer: PeerID) -> None:
        """A peer connected."""
        self._ledger.on_peer_connected(peer)

    def on_disconnected(self, peer: PeerID) -> None:
        """The last connection to a peer closed."""
        self._ledger.on_peer_disconnected(peer)
        out = self._out.pop(peer, None)
        if out is not None and out.stream is not None:
            out.stream.reset()

    def on_received(self, peer: PeerID, size: int) -> None:
        """A peer gave us so many bytes of blocks."""
        self._ledger.on_received(peer, size)

    async def receive(self, peer: PeerID, entries: Sequence[Entry], *, full: bool) -> None:
        """A wantlist came."""
        look_up = self._ledger.on_message(peer, entries, full=full)
        if look_up:
            sizes = await trio.to_thread.run_sync(self._store.sizes, look_up)
            found = {
                cid.multihash: size if self._may_serve is None or self._may_serve(peer, cid) else None
                for cid, size in zip(look_up, sizes, strict=True)
            }
            self._ledger.on_lookup(peer, found)
        self._wake()

    def on_blocks_stored(self, blocks: Sequence[tuple[bytes, int]]) -> None:
        """Blocks came into the store: multihash and size in bytes."""
        self._ledger.on_blocks_stored(blocks)
        self._wake()

    def account(self, peer: PeerID) -> Account:
        """Bytes each way."""
        return self._ledger.account(peer)

    def wantlist(self, peer: PeerID) -> list[CID]:
        """What a peer wants of us."""
        return self._ledger.wantlist(peer)

    def statistics(self) -> LedgerStatistics:
        """Counters."""
        return self._ledger.statistics()

    def _wake(self) -> None:
        self._work.set()

    async def _worker(self) -> None:
        while True:
            answer = self._ledger.next_action()
            if answer is None:
                if self._work.is_set():
                    self._work = trio.Event()
                await self._work.wait()
                continue
            done = False
            try:
                done = await self._answer(answer)
            except IPFSKitError as error:
                logger.debug("an answer did not reach %s: %s", answer.peer, error)
            except Exception:
                logger.exception("an answer to %s failed; the server goes on", answer.peer)
            finally:
                self._ledger.on_sent(answer, done=done)
                self._wake()

    async def _answer(self, answer: Answer) -> bool:
        """Send an answer; whether it was sent. The store's view is let go as soon as its bytes are sealed."""
        held = ExitStack()
        cids = [cid for cid, _ in answer.blocks]
        views: list[memoryview | None] = []
        if cids:
            views = await trio.to_thread.run_sync(lambda: held.enter_context(self._store.view(cids)))
        message = Message(haves=list(answer.haves), dont_haves=list(answer.dont_haves))
        message.pending_bytes = answer.pending_bytes
        for cid, view in zip(cids, views, strict=True):
            if view is None:
                message.dont_haves.append(cid)  # removed since it was looked up
            else:
                message.blocks.append((cid.prefix, view))
        try:
            out = self._out.setdefault(answer.peer, _Out())
            async with out.lock:
                return await self._send(answer.peer, out, message, held.close)
        finally:
            held.close()

    async def _send(self, peer: PeerID, out: _Out, message: Message, release: Callable[[], None]) -> bool:
        with trio.move_on_after(WRITE_STALL_SECONDS):
            try:
                if out.stream is None:
                    if peer not in self._network.connected():
                        return False
                    out.stream = await self._network.open_stream(peer, PROTOCOLS)
                parts = encode(message, out.stream.protocol)
                size = sum(memoryview(data).nbytes for _, data in message.blocks)
                await out.stream.write_message(*parts, release=release)
            except IPFSKitError:
                self._lose(out)
                raise
            self._network.add_value(peer, size / (4 << 20))
            return True
        self._lose(out)
        return False

    def _lose(self, out: _Out) -> None:
        if out.stream is not None:
            out.stream.reset()
            out.stream = None
