"""Several stores as one to serve from."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ipfs_kit_py.core.cid import CID
    from ipfs_kit_py.core.interfaces import Served


class JoinedStores:
    """The blocks of all ``stores``; the first that has a block gives it."""

    def __init__(self, stores: Sequence[Served]) -> None:
        self._stores = tuple(stores)

    def sizes(self, cids: Sequence[CID]) -> list[int | None]:
        """Bytes of each block, ``None`` where no store has it."""
        found: list[int | None] = [None] * len(cids)
        for store in self._stores:
            missing = [at for at, size in enumerate(found) if size is None]
            if not missing:
                break
            for at, size in zip(missing, store.sizes([cids[at] for at in missing]), strict=True):
                found[at] = size
        return found

    @contextmanager
    def view(self, cids: Sequence[CID]) -> Iterator[list[memoryview | None]]:
        """Blocks in place; the views die with the context."""
        found: list[memoryview | None] = [None] * len(cids)
        with ExitStack() as held:
            for store in self._stores:
                missing = [at for at, view in enumerate(found) if view is None]
                if not missing:
                    break
                views = held.enter_context(store.view([cids[at] for at in missing]))
                for at, view in zip(missing, views, strict=True):
                    found[at] = view
            yield found

    def __repr__(self) -> str:
        return f"<JoinedStores {self._stores!r}>"
