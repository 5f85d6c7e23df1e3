"""The server's driver: look-ups on a worker thread, answers on a stream of our own, blocks straight from the store."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import trio

from ipfs_kit_py.bitswap.ledger import Account, Answer, Ledger, LedgerStatistics
from ipfs_kit_py.bitswap.wire import PROTOCOLS, Message, encode
from ipfs_kit_py.core.config import MAX_MESSAGE_BYTES, SERVER_WORKERS, VIEW_HOLD_SECONDS, WRITE_STALL_SECONDS
from ipfs_kit_py.core.errors import IPFSKitError, StreamClosed
from ipfs_kit_py.storage import threads
from ipfs_kit_py.storage.threads import Pool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trio import TaskStatus

    from ipfs_kit_py.bitswap.wire import Entry
    from ipfs_kit_py.core.cid import CID, PeerID
    from ipfs_kit_py.core.interfaces import Network, Served, Stream

logger = logging.getLogger(__name__)


class _Out:
    """The stream of our answers to one peer; one message at a time."""

    def __init__(self) -> None:
        self.lock = trio.Lock()
        self.stream: Stream | None = None

    def lose(self) -> None:
        """Drop the stream; the next answer opens another."""
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.reset()


class _Turn:
    """One of the few places among the answers that are being read or sealed; given back once."""

    def __init__(self, turns: trio.Semaphore) -> None:
        self._turns: trio.Semaphore | None = turns

    def end(self) -> None:
        """Let another answer begin. What is left to do here waits for the peer alone."""
        turns, self._turns = self._turns, None
        if turns is not None:
            turns.release()


class _Loaded(NamedTuple):
    """An answer with its blocks as views into the store, until ``held`` is closed."""

    message: Message
    size: int  # bytes of its blocks
    held: ExitStack


class Server:
    """Answers wantlists. ``may_serve(peer, cid)`` can refuse: to that peer the block is then not there."""

    def __init__(self, network: Network, store: Served, may_serve: Callable[[PeerID, CID], bool] | None = None) -> None:
        self._network = network
        self._store = store
        self._may_serve = may_serve
        self._ledger = Ledger()
        self._out: dict[PeerID, _Out] = {}
        self._turns = trio.Semaphore(SERVER_WORKERS)
        self._work = trio.Event()

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Work until cancelled: several answers are under way, so that one is read while another is sealed."""
        async with trio.open_nursery() as nursery:
            task_status.started()
            while True:
                await self._turns.acquire()
                while (answer := self._ledger.next_action()) is None:
                    self._work = trio.Event()
                    await self._work.wait()
                nursery.start_soon(self._give, answer)

    def serve_from(self, store: Served) -> None:
        """Serve from this store from now on."""
        self._store = store

    def on_connected(self, peer: PeerID) -> None:
        """A peer connected."""
        self._ledger.on_peer_connected(peer)

    def on_disconnected(self, peer: PeerID) -> None:
        """The last connection to a peer closed."""
        self._ledger.on_peer_disconnected(peer)
        out = self._out.pop(peer, None)
        if out is not None:
            out.lose()

    def on_received(self, peer: PeerID, size: int) -> None:
        """A peer gave us so many bytes of blocks."""
        self._ledger.on_received(peer, size)

    async def receive(self, peer: PeerID, entries: Sequence[Entry], *, full: bool) -> None:
        """A wantlist came."""
        look_up = self._ledger.on_message(peer, entries, full=full)
        if look_up:
            sizes = await threads.run(Pool.WORK, self._store.sizes, look_up)
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

    async def _give(self, answer: Answer) -> None:
        """An answer's life; whatever happens to it concerns its peer alone."""
        turn, done = _Turn(self._turns), False
        try:
            done = await self._answer(answer, turn)
        except IPFSKitError as error:
            logger.debug("an answer did not reach %s: %s", answer.peer, error)
        except Exception:
            logger.exception("an answer to %s failed; the server goes on", answer.peer)
        finally:
            turn.end()
            self._ledger.on_sent(answer, done=done)
            self._wake()

    async def _answer(self, answer: Answer, turn: _Turn) -> bool:
        """Send an answer; whether it was sent. One that waits for its peer holds neither views nor a turn."""
        out = self._out_of(answer.peer)
        if out is None:
            return False
        loaded = None
        if out.stream is not None:  # else it has to be opened first, which the peer can make last
            loaded = await self._load(answer)
            with trio.move_on_after(VIEW_HOLD_SECONDS) as patience:
                await self._lock(out, loaded)
            if patience.cancelled_caught:
                loaded = None
        if loaded is None:
            turn.end()
            await out.lock.acquire()
        try:
            return await self._send(answer, out, loaded, turn)
        finally:
            out.lock.release()

    @staticmethod
    async def _lock(out: _Out, loaded: _Loaded) -> None:
        try:
            await out.lock.acquire()
        except trio.Cancelled:
            loaded.held.close()
            raise

    async def _load(self, answer: Answer) -> _Loaded:
        held = ExitStack()
        cids = [cid for cid, _ in answer.blocks]
        views: list[memoryview | None] = []
        if cids:
            views = await threads.run(Pool.WORK, lambda: held.enter_context(self._store.view(cids)))
        message = Message(haves=list(answer.haves), dont_haves=list(answer.dont_haves))
        message.pending_bytes = answer.pending_bytes
        size = 0
        for cid, view in zip(cids, views, strict=True):
            if view is None:
                message.dont_haves.append(cid)  # removed since it was looked up
            else:
                message.blocks.append((cid.prefix, view))
                size += view.nbytes
        return _Loaded(message, size, held)

    async def _send(self, answer: Answer, out: _Out, loaded: _Loaded | None, turn: _Turn) -> bool:
        """Write an answer, on a new stream where the remote has closed the one that there was."""
        began, kept = trio.current_time(), out.stream is not None
        try:
            return await self._write(answer, out, loaded, turn)
        except StreamClosed:
            # yamux resets the stream of a peer that takes nothing for WRITE_STALL_SECONDS: that one is not told again
            if not kept or trio.current_time() - began > WRITE_STALL_SECONDS / 2:
                raise
        return await self._write(answer, out, None, turn)

    async def _write(self, answer: Answer, out: _Out, loaded: _Loaded | None, turn: _Turn) -> bool:
        try:
            if self._out.get(answer.peer) is not out:
                return False  # it has gone
            if out.stream is None:
                turn.end()
                out.stream = await self._network.open_stream(answer.peer, PROTOCOLS)
            if loaded is None:
                loaded = await self._load(answer)
            size = loaded.size
            parts = encode(loaded.message, out.stream.protocol)
            if parts:  # an old version has no words for what we have not got
                await out.stream.write_message(*parts, release=partial(self._let_go, loaded, turn))
        except IPFSKitError:
            out.lose()
            raise
        finally:
            if loaded is not None:
                loaded.held.close()
        self._network.add_value(answer.peer, size / MAX_MESSAGE_BYTES)
        return True

    @staticmethod
    def _let_go(loaded: _Loaded, turn: _Turn) -> None:
        """The bytes are sealed, or copied because the peer is slow."""
        loaded.held.close()
        turn.end()

    def _out_of(self, peer: PeerID) -> _Out | None:
        """The way to a peer, ``None`` where it has gone: nothing is kept of it then."""
        out = self._out.get(peer)
        if out is None and peer in self._network.connected():
            out = self._out[peer] = _Out()
        return out
