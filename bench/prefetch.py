"""What fetching ahead saves: readers of several habits over a source with latency, with and without it.

`python -m bench.prefetch`. Time is a clock that jumps, so that the figures are the same on every machine.
"""

from __future__ import annotations

import argparse
import random
from typing import TYPE_CHECKING, NamedTuple

import trio

from ipfs_kit_py.content.prefetching import Prefetching
from ipfs_kit_py.content.source import BlockSource
from ipfs_kit_py.core.cid import CID, DAG_PB, Block
from ipfs_kit_py.core.config import MIB
from ipfs_kit_py.dag import dag_pb
from ipfs_kit_py.storage.memory import MemoryStore
from ipfs_kit_py.storage.prefetch import Prefetcher
from test.net.exchanges import play

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from ipfs_kit_py.core.interfaces import BlockStore

LEAVES, READS, SIZE = 4000, 1000, 16 << 10
THINK = 0.002  # seconds of the reader between two blocks


class Far:
    """An exchange and its session: everything is there, a round trip away, over a line of some rate."""

    def __init__(self, store: BlockStore, have: Sequence[Block], latency: float, rate: float) -> None:
        self._store = store
        self._have = {block.cid: block for block in have}
        self._latency, self._rate = latency, rate
        self._free_at = 0.0
        self.sent = self.trips = 0

    def session(self) -> AbstractContextManager[Far]:
        return self

    def __enter__(self) -> Far:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    async def announce_have(self, blocks: Sequence[Block]) -> None:
        """Nobody waits."""

    def nobody_has(self, cid: CID) -> bool:
        return cid not in self._have

    async def fetch_many(self, cids: Sequence[CID], *, size_hint: int | None = None) -> AsyncGenerator[Block, None]:
        self.trips += 1
        asked = trio.current_time()
        for cid in cids:
            self._free_at = max(self._free_at, asked) + SIZE / self._rate
            await trio.sleep_until(self._free_at + self._latency)
            self.sent += SIZE
            self._store.put_many([self._have[cid]])
            yield self._have[cid]


class Found(NamedTuple):
    """Seconds of the reader, bytes over the line, round trips, blocks fetched ahead of use and of none."""

    seconds: float
    sent: int
    trips: int
    used: int
    wasted: int


def tree() -> list[Block]:
    """A node and its leaves."""
    leaves = [Block(CID.of(data), data) for data in (random.Random(n).randbytes(SIZE) for n in range(LEAVES))]
    links = [dag_pb.PBLink(one.cid, f"{at:06}", SIZE) for at, one in enumerate(leaves)]
    data = dag_pb.encode(dag_pb.PBNode(links))
    return [Block(CID.of(data, DAG_PB), data), *leaves]


def in_order(blocks: Sequence[Block]) -> Iterator[Block]:
    yield from blocks[: READS + 1]


def at_random(blocks: Sequence[Block]) -> Iterator[Block]:
    yield blocks[0]
    yield from random.Random(1).sample(blocks[1:], READS)


def in_runs(blocks: Sequence[Block]) -> Iterator[Block]:
    """Twenty in order at places of chance."""
    yield blocks[0]
    rng = random.Random(2)
    for start in rng.sample(range(1, LEAVES, 20), READS // 20):
        yield from blocks[start : start + 20]


HABITS: dict[str, Callable[[Sequence[Block]], Iterator[Block]]] = {
    "in order": in_order,
    "in runs of 20": in_runs,
    "at random": at_random,
}


async def measure(blocks: Sequence[Block], wanted: Sequence[Block], *, ahead: bool, latency: float) -> Found:
    """One reader, alone with the line."""
    store = MemoryStore(512 * MIB)
    far = Far(store, blocks, latency, 50e6)
    source = BlockSource(store, far)
    engine = Prefetcher(64 * MIB)
    async with trio.open_nursery() as nursery:
        if ahead:
            await nursery.start(Prefetching(source, far, engine).run)
        begun = trio.current_time()
        with source.session() as session:
            for block in wanted:
                await session.get(block.cid)
                await trio.sleep(THINK)
        seconds = trio.current_time() - begun
        nursery.cancel_scope.cancel()
    found = engine.statistics()
    return Found(seconds, far.sent, far.trips, found.used, found.wasted)


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.prefetch", description=__doc__)
    parser.add_argument("--latency", type=float, default=0.05, help="seconds until a block comes")
    chosen = parser.parse_args(argv)
    blocks = tree()
    for name, habit in HABITS.items():
        wanted = list(habit(blocks))
        for ahead in (False, True):
            results: list[Found] = []

            async def one(wanted: list[Block] = wanted, ahead: bool = ahead, results: list[Found] = results) -> None:
                results.append(await measure(blocks, wanted, ahead=ahead, latency=chosen.latency))

            play(one)
            [found] = results
            print(
                f"{name:14} {'ahead' if ahead else 'alone'}  {found.seconds:7.2f} s {found.trips:6} trips "
                f"{found.sent / 1e6:6.1f} MB  {found.used} of use, {found.wasted} of none",
                flush=True,
            )


if __name__ == "__main__":
    main()
