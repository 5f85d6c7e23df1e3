"""Where blocks are read from: the store, and on a miss the exchange. The one place that holds the miss path."""

from __future__ import annotations

from contextlib import aclosing, contextmanager, nullcontext
from typing import TYPE_CHECKING, Protocol, TypeVar

from ipfs_kit_py.core import multihash
from ipfs_kit_py.core.cid import Block
from ipfs_kit_py.core.errors import NotFound
from ipfs_kit_py.storage import threads
from ipfs_kit_py.storage.threads import Pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
    from contextlib import AbstractContextManager

    from ipfs_kit_py.core.cid import CID
    from ipfs_kit_py.core.interfaces import BlockStore, Exchange, ExchangeSession

T = TypeVar("T")

# Blocks read from the store at once. With the threads that do it: what blocks that are larger than their links said can
# take of the memory before a plan has weighed them
READ_BLOCKS = 32

# Blocks of no bytes, by every function: known from their names. Go servers never send one (they answer HAVE).
_EMPTY = frozenset(multihash.of(b"", code) for code in multihash.NAMES if code != multihash.IDENTITY)


class ReadObserver(Protocol):
    """Who is told of every read, on the loop: ``cids`` is all that one call of ``get_many`` by ``reader`` asked for."""

    def on_hits(self, reader: SourceSession, cids: Sequence[CID], blocks: Sequence[Block]) -> None:
        """Some of them were in the store."""
        ...

    def missing(
        self, reader: SourceSession, cids: Sequence[CID], missing: Sequence[CID]
    ) -> AbstractContextManager[Callable[[Block], None]]:
        """Entered while the reader waits for those that were not; what it gives is called with each that comes."""
        ...


class BlockSource:
    """Blocks of this node: its store first, then its peers (``exchange`` is ``None`` on an offline node)."""

    def __init__(self, store: BlockStore, exchange: Exchange | None) -> None:
        self.store = store
        self.exchange = exchange
        self.observer: ReadObserver | None = None

    @contextmanager
    def session(self) -> Iterator[SourceSession]:
        """Reads that belong together: peers that had one block are asked first for the next."""
        with self.exchange.session() if self.exchange else nullcontext() as fetches:
            yield SourceSession(self.store, fetches, self.observer)

    async def put_many(self, blocks: Sequence[Block], *, kept: bool = False) -> None:
        """Store blocks of our own and serve them to the peers that wait for them."""
        await threads.run(Pool.WORK, lambda: self.store.put_many(blocks, kept=kept))
        if self.exchange:
            await self.exchange.announce_have(blocks)


class SourceSession:
    """One group of related reads; made by ``BlockSource.session``."""

    def __init__(
        self, store: BlockStore, fetches: ExchangeSession | None, observer: ReadObserver | None = None
    ) -> None:
        self._store = store
        self._fetches = fetches
        self._observer = observer
        self.missed = 0  # blocks that were not in the store

    async def get_many(self, cids: Sequence[CID], *, size_hint: int | None = None) -> AsyncGenerator[Block, None]:
        """Blocks as they come: those in the store first and in order, then those of peers in any order.

        ``size_hint`` is what one block is expected to weigh, in bytes. Raises ``InvalidCID`` for a hash function that
        cannot be trusted and ``NotFound`` naming the CID where nobody can be asked. Close it when leaving early.
        """
        local = [cid for cid in cids if cid.check_allowed().hash_code != multihash.IDENTITY]
        if len(local) < len(cids):
            for cid in cids:
                if cid.hash_code == multihash.IDENTITY:
                    yield Block(cid, cid.digest)
        missing = []
        for at in range(0, len(local), READ_BLOCKS):
            part = local[at : at + READ_BLOCKS]
            found = await threads.run(Pool.READ, self._store.get_many, part)
            if self._observer is not None:
                here = zip(part, found, strict=True)
                self._observer.on_hits(self, cids, [Block(cid, data) for cid, data in here if data is not None])
            for cid, data in zip(part, found, strict=True):
                if data is None and cid.multihash in _EMPTY:
                    yield Block(cid, b"")
                elif data is None:
                    missing.append(cid)
                else:
                    yield Block(cid, data)
        if not missing:
            return
        if self._fetches is None:
            raise NotFound(
                f"block {missing[0]} is not in the store and the node is offline: give it peers or tiers",
                cid=missing[0],
            )
        watched = nullcontext(_ignore) if self._observer is None else self._observer.missing(self, cids, missing)
        async with aclosing(self._fetches.fetch_many(missing, size_hint=size_hint)) as blocks:
            with watched as came:
                async for block in blocks:
                    self.missed += 1
                    came(block)
                    yield block

    async def get(self, cid: CID) -> bytes:
        """One block's bytes; raises as ``get_many``."""
        async with aclosing(self.get_many([cid])) as blocks:
            async for block in blocks:
                return bytes(block.data)
        raise NotFound(f"block {cid} was not found", cid=cid)

    async def run(self, plan: Generator[CID, bytes, T]) -> T:
        """Drive a plan that yields the CIDs that it needs one after another, and return its result."""
        try:
            cid = next(plan)
            while True:
                cid = plan.send(await self.get(cid))
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def _ignore(_block: Block) -> None:
    """Nobody wants to know."""
