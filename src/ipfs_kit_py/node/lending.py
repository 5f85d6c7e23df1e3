"""A node without a network that fetches through the network of another node of the same loop, and is served by it."""

from __future__ import annotations

from contextlib import aclosing, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from ipfs_kit_py.content.source import READ_BLOCKS
from ipfs_kit_py.core.cid import Block
from ipfs_kit_py.core.errors import IPFSKitError, NotFound
from ipfs_kit_py.storage import threads
from ipfs_kit_py.storage.threads import Pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Sequence

    from ipfs_kit_py.bitswap.client import ClientSession
    from ipfs_kit_py.bitswap.exchange import Bitswap
    from ipfs_kit_py.core.cid import CID
    from ipfs_kit_py.core.interfaces import BlockStore

_reading: ContextVar[LentRead | None] = ContextVar("ipfs_kit_lent_read", default=None)


@dataclass
class LentRead:
    """What one read asked peers for: blocks wanted and had, their bytes, how many peers had some, seconds, and why it
    failed, if it did."""

    wanted: int = 0
    holders: int = 0
    blocks: int = 0
    size: int = 0
    seconds: float = 0.0
    failure: str = ""


class LentExchange:
    """The exchange of a node that has a network, for one that has none. On the loop of both.

    ``lender`` is the lender's store, ``None`` where it is the borrower's too. ``store`` is where blocks are put that
    come, ``None`` where that is not wanted. ``on_read`` is told of every read that peers were asked for something for:
    all within ``reading``, or one session. After ``close`` it is as if there were no peers.
    """

    def __init__(
        self, exchange: Bitswap, *, lender: BlockStore | None, store: BlockStore | None,
        on_read: Callable[[LentRead], None],
    ) -> None:  # fmt: skip
        self._exchange = exchange
        self._lender = lender
        self._store = store
        self._on_read = on_read
        self._waiting: set[trio.CancelScope] = set()
        self._closed = False

    @contextmanager
    def reading(self, read: LentRead | None = None, *, told: bool = True) -> Iterator[None]:
        """What is read within, by this task and those that it starts, is one read; ``told`` to ``on_read`` or not."""
        read = LentRead() if read is None else read
        token = _reading.set(read)
        try:
            with self._counting(read) if told else nullcontext():
                yield
        finally:
            _reading.reset(token)

    @contextmanager
    def _counting(self, read: LentRead) -> Iterator[None]:
        begun = trio.current_time()
        try:
            yield
        except BaseException as error:
            read.failure = str(error) or type(error).__name__
            raise
        finally:
            if read.wanted:
                read.seconds = trio.current_time() - begun
                self._on_read(read)

    @contextmanager
    def session(self) -> Iterator[LentSession]:
        """Fetches that belong together."""
        outer = _reading.get()
        read = LentRead() if outer is None else outer
        if self._closed:
            yield LentSession(self, None, read)
            return
        with self._exchange.session() as inner, self._counting(read) if outer is None else nullcontext():
            try:
                yield LentSession(self, inner, read)
            finally:
                read.holders += inner.holders()

    async def announce_have(self, blocks: Sequence[Block]) -> None:
        """These blocks are in the borrower's store now: the lender's peers are served with them."""
        if not self._closed:
            await self._exchange.announce_have(blocks)

    async def fetch(
        self, inner: ClientSession, cids: Sequence[CID], size_hint: int | None, read: LentRead
    ) -> AsyncGenerator[Block, None]:
        """Blocks as they come, stored where that is wanted: the lender's own first."""
        read.wanted += len(cids)
        missing = cids
        if self._lender is not None:
            missing = []
            for at in range(0, len(cids), READ_BLOCKS):
                part = cids[at : at + READ_BLOCKS]
                found = await threads.run(Pool.READ, self._lender.get_many, part)
                for cid, data in zip(part, found, strict=True):
                    if data is None:
                        missing.append(cid)
                    else:
                        yield await self._took(Block(cid, data), read)
        if not missing:
            return
        async with aclosing(inner.fetch_many(missing, size_hint=size_hint)) as blocks:
            while (block := await self._next(blocks, missing)) is not None:
                yield await self._took(block, read)

    async def _took(self, block: Block, read: LentRead) -> Block:
        if self._store is not None:
            await threads.run(Pool.WORK, self._store.put_many, [block])
        read.blocks += 1
        read.size += memoryview(block.data).nbytes
        return block

    async def _next(self, blocks: AsyncGenerator[Block, None], cids: Sequence[CID]) -> Block | None:
        if self._closed:
            raise nobody(cids)
        with trio.CancelScope() as scope:
            self._waiting.add(scope)
            try:
                return await anext(blocks, None)
            finally:
                self._waiting.discard(scope)
        raise nobody(cids)

    def close(self) -> None:
        """The lender ends: whoever waits for its peers is told that they have nothing."""
        self._closed = True
        for scope in self._waiting:
            scope.cancel()

    def __repr__(self) -> str:
        return f"<LentExchange of {self._exchange!r}{' closed' if self._closed else ''}>"


class LentSession:
    """A group of related fetches; made by ``LentExchange.session``."""

    def __init__(self, lent: LentExchange, inner: ClientSession | None, read: LentRead) -> None:
        self._lent = lent
        self._inner = inner
        self._read = read

    def nobody_has(self, cid: CID) -> bool:
        """Whether everybody who was asked for a block has not got it."""
        return self._inner is None or self._inner.nobody_has(cid)

    async def fetch_many(self, cids: Sequence[CID], *, size_hint: int | None = None) -> AsyncGenerator[Block, None]:
        """Blocks as they come, any order, verified. ``NotFound`` where the lender has ended."""
        if self._inner is None:
            raise nobody(cids)
        async with aclosing(self._lent.fetch(self._inner, cids, size_hint, self._read)) as blocks:
            async for block in blocks:
                yield block


def nobody(cids: Sequence[CID]) -> IPFSKitError:
    """There is nobody to fetch from any more."""
    return NotFound(
        f"block {cids[0]} is not in the store, and the libp2p peer is closed; register another", cid=cids[0]
    )
