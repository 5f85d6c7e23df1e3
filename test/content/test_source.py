"""Reading from the store: in bounded pieces, missing blocks named, empty and inline blocks known without it."""

from __future__ import annotations

import threading
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest
import trio

from ipfs_kit_py.content.pump import pump
from ipfs_kit_py.content.source import READ_BLOCKS, BlockSource
from ipfs_kit_py.core.cid import CID, RAW, Block
from ipfs_kit_py.core.config import MIB, READ_AHEAD_BYTES, READER_THREADS_MAX
from ipfs_kit_py.core.errors import InvalidCID, NotFound
from ipfs_kit_py.core.multihash import IDENTITY, wrap
from ipfs_kit_py.dag.reader import FileReader
from ipfs_kit_py.storage.memory import MemoryStore
from test.engine.plans import Part, Store, join, leaf

if TYPE_CHECKING:
    from collections.abc import Sequence


class Watched(MemoryStore):
    """Counts what is read at once."""

    def __init__(self) -> None:
        super().__init__(512 * MIB)
        self._counting = threading.Lock()
        self._reading = 0
        self.most_blocks = self.most_readers = 0

    def get_many(self, cids: Sequence[CID]) -> list[bytes | None]:
        with self._counting:
            self._reading += 1
            self.most_readers = max(self.most_readers, self._reading)
            self.most_blocks = max(self.most_blocks, len(cids))
        try:
            return super().get_many(cids)
        finally:
            with self._counting:
                self._reading -= 1


def test_small_links_to_many_blocks_are_read_in_bounded_pieces() -> None:
    made = Store()
    parts = [leaf(made, b"%d" % number) for number in range(3000)]
    root = join(made, parts)
    store = Watched()
    store.put_many([Block(CID.of(data, RAW), data) for data in made.values()])
    out: list[bytes] = []

    async def emit(piece: memoryview) -> None:
        out.append(bytes(piece))

    async def main() -> None:
        with BlockSource(store, None).session() as session:
            await pump(session, FileReader(root.cid), READ_AHEAD_BYTES, emit)

    trio.run(main)
    assert b"".join(out) == root.content
    assert store.most_blocks == READ_BLOCKS
    assert 1 <= store.most_readers <= READER_THREADS_MAX


async def read(store: MemoryStore, cids: list[CID]) -> list[Block]:
    with BlockSource(store, None).session() as session:
        async with aclosing(session.get_many(cids)) as blocks:
            return [block async for block in blocks]


def test_empty_and_inline_blocks_need_no_store() -> None:
    inline = CID(1, RAW, wrap(IDENTITY, b"inline"))
    found = trio.run(read, MemoryStore(MIB), [inline, CID.of(b"")])
    assert found == [Block(inline, b"inline"), Block(CID.of(b""), b"")]


def test_what_is_not_here_or_cannot_be_trusted_is_named() -> None:
    gone, odd, long = CID.of(b"gone"), CID(1, RAW, wrap(0x99, bytes(32))), CID(1, RAW, wrap(IDENTITY, bytes(129)))
    with pytest.raises(NotFound, match=f"{gone} is not in the store") as caught:
        trio.run(read, MemoryStore(MIB), [gone])
    assert caught.value.cid == gone
    for cid in (odd, long):
        with pytest.raises(InvalidCID, match=str(cid)):
            trio.run(read, MemoryStore(MIB), [cid])


def test_a_part_that_is_missing_is_named_when_a_file_is_read() -> None:
    made = Store()
    root = join(made, [leaf(made, b"here"), Part(CID.of(b"gone"), b"gone")])
    store = MemoryStore(MIB)
    store.put_many([Block(CID.of(data, RAW), data) for data in made.values()])

    async def emit(_piece: memoryview) -> None:
        return

    async def main() -> None:
        with BlockSource(store, None).session() as session:
            await pump(session, FileReader(root.cid), READ_AHEAD_BYTES, emit)

    with pytest.raises(NotFound, match=str(CID.of(b"gone"))):
        trio.run(main)
