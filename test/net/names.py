"""A router, records and a clock to try names with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
import trio.testing

from ipfs_kit_py.core.errors import NotFound, PeerUnreachable, StorageError
from ipfs_kit_py.crypto import ipns
from ipfs_kit_py.crypto.keys import PrivateKey
from ipfs_kit_py.routing.kept_names import Kept, Mark
from ipfs_kit_py.routing.naming import Naming

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from ipfs_kit_py.core.cid import PeerID

START = 1_800_000_000.0
KEY, OTHER = PrivateKey.generate(), PrivateKey.generate()
NAME = KEY.peer_id()
TEXT = ipns.name_text(NAME)


class Shelf:
    """A router and a folder of records in memory."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.puts: list[float] = []
        self.asked = 0
        self.down = False
        self.slow: dict[bytes, float] = {}

    async def put_value(self, key: bytes, value: bytes) -> None:
        await trio.sleep(self.slow.get(key, 0))
        if self.down:
            raise PeerUnreachable("nobody is there")
        self.puts.append(clock())
        self.values[key] = value

    async def get_value(self, key: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        self.asked += 1
        if key not in self.values:
            raise NotFound("no record")
        return self.values[key]


class Folder:
    def __init__(self) -> None:
        self.records: dict[PeerID, bytes] = {}

    async def get(self, name: PeerID) -> bytes | None:
        await trio.lowlevel.checkpoint()
        return self.records.get(name)

    async def swap(self, name: PeerID, old: bytes | None, new: bytes) -> bool:
        await trio.lowlevel.checkpoint()
        if self.records.get(name) != old:
            return False
        self.records[name] = new
        return True


class Memory:
    """Marks that outlive a start."""

    def __init__(self) -> None:
        self.marks: dict[PeerID, Mark] = {}
        self.broken = False

    async def load(self) -> list[tuple[PeerID, Mark]]:
        await trio.lowlevel.checkpoint()
        if self.broken:
            raise StorageError("the disk is gone")
        return list(self.marks.items())

    async def save(self, changes: Mapping[PeerID, Mark | None]) -> None:
        await trio.lowlevel.checkpoint()
        if self.broken:
            raise StorageError("the disk is gone")
        for name, mark in changes.items():
            if mark is None:
                self.marks.pop(name, None)
            else:
                self.marks[name] = mark


def clock() -> float:
    return START + trio.current_time()


def kept_by(folder: Folder, name: PeerID = NAME) -> Kept:
    return Kept.decode(folder.records[name])


def naming(play: Callable[[Naming, Shelf, Folder], Awaitable[None]]) -> None:
    async def main() -> None:
        shelf, folder = Shelf(), Folder()
        await play(Naming(shelf, folder, clock), shelf, folder)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
