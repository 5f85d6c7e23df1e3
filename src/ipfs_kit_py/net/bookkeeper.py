"""The address book of a running node: the book, the backoff, the clock that they need, and the file behind them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from ipfs_kit_py.core.config import BOOK_FLUSH_BATCH, BOOK_FLUSH_SECONDS
from ipfs_kit_py.core.errors import BackendError
from ipfs_kit_py.net.address_book import AddressBook
from ipfs_kit_py.net.book_store import BookStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.net.address_book import Known
    from ipfs_kit_py.net.dial_plan import Candidate, Provenance

log = logging.getLogger(__name__)

_LOAD_STEP = 500  # records taken in between two looks at the loop: about 5 ms


class BookKeeper:
    """Keeps an ``AddressBook`` and writes its changes in batches from a worker thread. Without ``path`` it is in memory
    alone. ``clock`` gives seconds since 1970."""

    def __init__(self, own: PeerID, path: Path | None, clock: Callable[[], float]) -> None:
        self.book = AddressBook(own)
        self._store = BookStore(path) if path is not None else None
        self._clock = clock
        self._many = trio.Event()
        self._loaded = trio.Event()

    def add(self, peer: PeerID, texts: Iterable[str], provenance: Provenance, *, replace: bool = False) -> int:
        """Take down addresses; how many were accepted."""
        count = self.book.add(peer, texts, provenance, self._clock(), replace=replace)
        self._note()
        return count

    def on_success(self, peer: PeerID, address: str) -> None:
        """An address worked."""
        self.book.on_success(peer, address, self._clock())
        self._note()

    def on_failure(self, peer: PeerID, address: str) -> None:
        """An address did not work."""
        self.book.on_failure(peer, address, self._clock())

    def get(self, peer: PeerID) -> list[Known]:
        """What is known of a peer, the most trusted first."""
        return self.book.get(peer, self._clock())

    async def candidates(self, peer: PeerID) -> list[Candidate]:
        """What can be dialled; while the file is still being read, a peer that is not here yet waits for its end."""
        if peer not in self.book:
            await self._loaded.wait()
        return self.book.candidates(peer, self._clock())

    async def open(self) -> None:
        """Open the file. ``BackendError`` where that cannot be."""
        if self._store is None:
            self._loaded.set()
        else:
            await trio.to_thread.run_sync(self._store.open)

    async def run(self) -> None:
        """Read what the file has, then write what changes, until cancelled."""
        if self._store is None:
            return
        await self._load(self._store)
        while True:
            with trio.move_on_after(BOOK_FLUSH_SECONDS):
                await self._many.wait()
            self._many = trio.Event()
            await self._flush(self._store)

    async def _load(self, store: BookStore) -> None:
        try:
            rows = await trio.to_thread.run_sync(store.load)
            for at in range(0, len(rows), _LOAD_STEP):
                self.book.load(rows[at : at + _LOAD_STEP], self._clock())
                await trio.lowlevel.checkpoint()
        except BackendError as error:
            log.warning("%s; going on without what it had", error)
        finally:
            self._loaded.set()

    async def _flush(self, store: BookStore) -> None:
        while changes := self.book.take_changes(BOOK_FLUSH_BATCH):
            try:
                await trio.to_thread.run_sync(store.write, changes)
            except BackendError as error:  # a full disk: the book in memory goes on
                log.warning("%s", error)
                return

    async def close(self) -> None:
        """Write what is left and close the file. Shield it."""
        if self._store is not None:
            await self._flush(self._store)
            await trio.to_thread.run_sync(self._store.close)

    def _note(self) -> None:
        if self.book.changes >= BOOK_FLUSH_BATCH:
            self._many.set()
