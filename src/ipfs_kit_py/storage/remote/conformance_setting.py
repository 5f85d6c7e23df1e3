"""What the conformance checks of remote tiers work with: a tier, new contents, ways to bring them there."""

from __future__ import annotations

import inspect
import random
import secrets
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from ipfs_kit_py.core.cid import CID, DAG_CBOR, RAW, Block
from ipfs_kit_py.dag import dag_cbor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from ipfs_kit_py.storage.remote.base import RemoteTier


class NotConforming(AssertionError):
    """A tier did something else than the Protocol of remote tiers says."""


@dataclass
class Setting:
    """What checks work with. ``seconds``: what one call, or the way of a DAG until it is safe, may take. ``place``
    brings blocks to a tier that has no ``put``. ``seed`` makes the contents."""

    tier: RemoteTier
    seconds: float = 60.0
    place: Callable[[list[Block]], Awaitable[object] | object] | None = None
    seed: int = field(default_factory=lambda: secrets.randbits(64))

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    def dag(self, leaves: int = 12, size: int = 1000) -> list[Block]:
        """A new DAG of three levels, parents first; one leaf is linked to twice."""
        bottom = [new_block(self.rng.randbytes(size)) for _ in range(leaves)]
        nodes = [
            new_block(dag_cbor.encode({"at": at, "links": [leaf.cid for leaf in bottom[at : at + 5]]}), DAG_CBOR)
            for at in range(0, leaves, 5)
        ]
        links = [*(node.cid for node in nodes), bottom[0].cid]
        return [new_block(dag_cbor.encode([self.rng.getrandbits(60), links]), DAG_CBOR), *nodes, *bottom]

    async def keep(self, blocks: list[Block], root: CID | None = None) -> None:
        """Bring a DAG to the tier, by whatever way there is, until it is safe there."""
        root = blocks[0].cid if root is None else root
        if "put" not in self.tier.verbs:
            assert self.place is not None
            done = self.place(blocks)
            if inspect.isawaitable(done):
                await done
            return
        status = await self.tier.put(root, Source(blocks), label="conformance")
        with trio.move_on_after(self.seconds):
            while not status.safe and "status" in self.tier.verbs:
                await trio.sleep(0.1)
                status = await self.tier.status(root)
        wants(status.safe, f"a DAG that was put is not safe after {self.seconds:.0f} s: {status}")

    async def drop(self, root: CID) -> None:
        """Tidy up."""
        if "remove" in self.tier.verbs:
            await self.tier.remove(root)

    async def whole(self, root: CID) -> dict[CID, bytes]:
        """What ``get_dag`` gives, each block once and verified."""
        found: dict[CID, bytes] = {}
        async with aclosing(self.tier.get_dag(root)) as blocks:
            async for cid, data in blocks:
                wants(cid.verify(data), f"get_dag gave false bytes for {cid}")
                wants(cid not in found, f"get_dag gave {cid} twice")
                found[cid] = bytes(data)
        return found


class Source:
    """Blocks as a put is given them; after the last comes ``then``, an error or a wait that never ends."""

    def __init__(self, blocks: Iterable[Block], then: BaseException | trio.Event | None = None) -> None:
        self._blocks = iter(blocks)
        self._then = then

    def __aiter__(self) -> AsyncIterator[Block]:
        return self

    async def __anext__(self) -> Block:
        for one in self._blocks:
            return one
        if isinstance(self._then, trio.Event):
            self._then.set()
            await trio.sleep_forever()
        if self._then is not None:
            raise self._then
        raise StopAsyncIteration


def new_block(data: bytes, codec: int = RAW) -> Block:
    return Block(CID.of(data, codec), data)


def wants(true: bool, what: str) -> None:
    if not true:
        raise NotConforming(what)
