"""What tiers remember of what was put, as small files in their folder: one for each root.

A file is written whole and takes its place by a rename, without a sync: what a power failure takes is asked for, or
put, again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ipfs_kit_py.core.cid import CID
from ipfs_kit_py.core.errors import ConfigError, InvalidCID
from ipfs_kit_py.storage.remote.filecoin.pdp_store import OpenDataSet

if TYPE_CHECKING:
    from pathlib import Path

T = TypeVar("T")


def write_text(path: Path, text: str) -> None:
    """Give a file a new content, wholly or not at all."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(text)
    part.replace(path)


class RootFiles(MutableMapping[CID, T], Generic[T]):
    """Values by root. ``dump`` gives a value's text, ``load`` the value; ``ConfigError`` from it is as if there were
    none. Of several versions of a CID there is one file."""

    def __init__(self, folder: Path, dump: Callable[[T], str], load: Callable[[str], T]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._dump = dump
        self._load = load

    def __repr__(self) -> str:
        return f"<RootFiles in {self._folder}>"

    def _path(self, root: object) -> Path:
        if not isinstance(root, CID):
            raise KeyError(root)
        return self._folder / f"{root.to_v1()}.json"

    def __getitem__(self, root: CID) -> T:
        try:
            return self._load(self._path(root).read_text())
        except (FileNotFoundError, UnicodeDecodeError, ConfigError):
            raise KeyError(root) from None

    def __setitem__(self, root: CID, value: T) -> None:
        write_text(self._path(root), self._dump(value))

    def __delitem__(self, root: CID) -> None:
        try:
            self._path(root).unlink()
        except FileNotFoundError:
            raise KeyError(root) from None

    def __iter__(self) -> Iterator[CID]:
        for name in os.listdir(self._folder):
            with suppress(InvalidCID):
                if name.endswith(".json"):
                    yield CID.parse(name.removesuffix(".json"))

    def __len__(self) -> int:
        return sum(1 for _root in self)


class KeptDataSet(OpenDataSet):
    """The open data set of a provider, written to a file whenever it changes."""

    _path: Path | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if self._path is not None and name != "_path":
            fields = {"number": self.number, "client": self.client, "creating": self.creating}
            write_text(self._path, json.dumps(fields))

    @classmethod
    def at(cls, path: Path) -> KeptDataSet:
        """The one of a file, a new one where there is none; ``ConfigError`` where it cannot be read."""
        kept = cls()
        with suppress(FileNotFoundError):
            try:
                value = json.loads(path.read_text())
                number = value["number"]
                kept = cls(None if number is None else int(number), int(value["client"]), str(value["creating"]))
            except (ValueError, KeyError, TypeError):
                raise ConfigError(f"{path} does not say which data set is open: mend or remove it") from None
        kept._path = path
        return kept
