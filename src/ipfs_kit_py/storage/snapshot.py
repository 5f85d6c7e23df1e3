"""Looking blocks up in both environments as if they were one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from ipfs_kit_py.storage.blocktable import BlockTable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from ipfs_kit_py.storage.blocktable import Txn
    from ipfs_kit_py.storage.databases import Databases
    from ipfs_kit_py.storage.heat_store import HeatBook

T = TypeVar("T")


class Snapshot:
    """Read transactions of both environments, begun where they are needed; what was found in them dies with it."""

    def __init__(self, databases: Databases) -> None:
        self._databases = databases
        self._open: list[tuple[BlockTable, Txn]] = []
        self._staying: list[BlockTable] = []

    def _begin(self, table: BlockTable, *, again: bool = False) -> Txn:
        txn = table.environment.begin(again=again)
        self._open.append((table, txn))
        return txn

    def find(self, keys: Sequence[bytes], get: Callable[[BlockTable, Txn, bytes], T | None]) -> list[T | None]:
        """What ``get`` finds for each multihash, kept blocks first.

        A block that becomes a kept one is deleted from the fetched ones afterwards. So what is missing in both is
        looked for in a newer snapshot of the kept blocks: it may have moved between the two looks.
        """
        kept, fetched = self._databases.kept, self._databases.fetched
        first = self._begin(kept)
        found = [get(kept, first, key) for key in keys]
        missing = [at for at, value in enumerate(found) if value is None]
        if missing:
            txn = self._begin(fetched)
            for at in missing:
                found[at] = get(fetched, txn, keys[at])
            missing = [at for at in missing if found[at] is None]
        if missing:
            newest = self._begin(kept, again=True)
            if newest.id() != first.id():
                for at in missing:
                    found[at] = get(kept, newest, keys[at])
        return found

    def covers(self, kept: int, fetched: int) -> bool:
        """Whether all that was found is of these commits or later ones."""
        numbers = ((kept if table is self._databases.kept else fetched, txn) for table, txn in self._open)
        return all(txn.id() >= number for number, txn in numbers)

    def let_go(self) -> None:
        """End the transactions; the maps stay where they are until it is closed, for what is leased."""
        while self._open:
            table, txn = self._open.pop()
            table.environment.gate.enter(again=True)
            self._staying.append(table)
            table.environment.end(txn)

    def close(self) -> None:
        """End the transactions, on any thread."""
        while self._open:
            table, txn = self._open.pop()
            table.environment.end(txn)
        while self._staying:
            self._staying.pop().environment.gate.leave()

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


class View:
    """Blocks in place: entering finds them and touches their pages, leaving ends them; each on any thread. ``done`` is
    told how many were asked for, how many missed, the bytes of the others, and the seconds that it took;
    ``heat`` which were used."""

    def __init__(
        self,
        databases: Databases,
        keys: Sequence[bytes],
        done: Callable[[int, int, int, float], None],
        heat: HeatBook,
    ) -> None:
        self._keys = keys
        self._done = done
        self._heat = heat
        self._snapshot = Snapshot(databases)
        self._views: list[memoryview | None] = []

    def __enter__(self) -> list[memoryview | None]:
        begun = time.perf_counter()
        try:
            self._views = self._snapshot.find(self._keys, BlockTable.get)
        except BaseException:
            self._snapshot.close()
            raise
        size = sum([view.nbytes for view in self._views if view is not None])
        self._done(len(self._views), self._views.count(None), size, time.perf_counter() - begun)
        return list(self._views)

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        views, self._views = self._views, []
        used = [key for key, view in zip(self._keys, views, strict=False) if view is not None]
        try:
            for view in views:
                if view is not None:
                    view.release()
        finally:
            self._snapshot.close()
        self._heat.on_access(used)  # may write, which the snapshot would hold up
