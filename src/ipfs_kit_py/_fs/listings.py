"""What directories and paths of immutable content were found to be: remembered for ever, bounded in number."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_PATHS = 4096  # directories, and as many single paths, if the user does not say
MAX_ENTRIES = 100_000  # of all directories remembered, about 400 bytes each; one that has more by itself is not


class Item(NamedTuple):
    """What a path is: ``type`` is file, directory, link or other; ``size`` the bytes of a file, 0 of a directory."""

    cid: str
    type: str
    size: int | None


class Listings:
    """Directories and single paths, by absolute path below ``/ipfs/``; the last used stay. Thread safe."""

    def __init__(self, max_paths: int) -> None:
        self._lock = threading.Lock()
        self._max_paths = max_paths
        self._directories: OrderedDict[str, Mapping[str, Item]] = OrderedDict()
        self._single: OrderedDict[str, Item] = OrderedDict()
        self._entries = 0

    def directory(self, path: str) -> Mapping[str, Item] | None:
        """The entries of a directory by name, ``None`` where they are not remembered."""
        with self._lock:
            found = self._directories.get(path)
            if found is not None:
                self._directories.move_to_end(path)
            return found

    def item(self, path: str) -> Item | None:
        """What a path is, ``None`` where that is not remembered. ``KeyError`` where there is nothing."""
        with self._lock:
            found = self._single.get(path)
            if found is not None:
                self._single.move_to_end(path)
                return found
        parent, _, name = path.rpartition("/")
        entries = self.directory(parent)
        return None if entries is None else entries[name]

    def keep_directory(self, path: str, entries: Mapping[str, Item]) -> None:
        """Remember a directory."""
        if len(entries) > MAX_ENTRIES or not self._max_paths:
            return
        with self._lock:
            self._entries += len(entries) - len(self._directories.pop(path, ()))
            self._directories[path] = entries
            while self._entries > MAX_ENTRIES or len(self._directories) > self._max_paths:
                self._entries -= len(self._directories.popitem(last=False)[1])

    def keep_item(self, path: str, item: Item) -> None:
        """Remember what a path is."""
        with self._lock:
            self._single[path] = item
            self._single.move_to_end(path)
            while len(self._single) > self._max_paths:
                self._single.popitem(last=False)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._directories.clear()
            self._single.clear()
            self._entries = 0

    def __len__(self) -> int:
        return len(self._directories)

    def __repr__(self) -> str:
        entries = f"{len(self._directories)} directories with {self._entries} entries"
        return f"<Listings of {entries}, {len(self._single)} paths>"
