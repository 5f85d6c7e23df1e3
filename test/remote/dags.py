"""Small DAGs for tests of remote tiers, and a tier that gives blocks from memory."""

from __future__ import annotations

import random
from contextlib import aclosing
from typing import TYPE_CHECKING

from ipfs_kit_py.core.cid import CID, DAG_CBOR, RAW, Block
from ipfs_kit_py.core.errors import HashMismatch, NotFound
from ipfs_kit_py.dag import codecs, dag_cbor
from ipfs_kit_py.storage.remote.base import Health, Status

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable


def block(data: bytes, codec: int = RAW) -> Block:
    return Block(CID.of(data, codec), data)


def tree(leaves: int, size: int = 1000, seed: int = 1) -> list[Block]:
    """A root, nodes of at most 10 links below it, leaves below them; parents first, a shared leaf at the end."""
    rng = random.Random(seed)
    bottom = [block(rng.randbytes(size)) for _ in range(leaves)]
    nodes = [
        block(dag_cbor.encode({"at": at, "links": [leaf.cid for leaf in bottom[at : at + 10]]}), DAG_CBOR)
        for at in range(0, leaves, 10)
    ]
    root = block(dag_cbor.encode([*(node.cid for node in nodes), bottom[0].cid]), DAG_CBOR)
    return [root, *nodes, *bottom]


class stream:
    """Blocks as an async iterator that may be left anywhere, as no generator may."""

    def __init__(self, blocks: Iterable[Block]) -> None:
        self._blocks = iter(blocks)

    def __aiter__(self) -> AsyncIterator[Block]:
        return self

    async def __anext__(self) -> Block:
        for one in self._blocks:
            return one
        raise StopAsyncIteration


class MemoryTier:
    """A remote tier that gives what is in ``blocks``; ``ends_after`` blocks of a DAG it fails."""

    name = "memory"
    verbs = frozenset({"get", "get_dag", "has"})

    def __init__(self, blocks: Iterable[Block], ends_after: int | None = None) -> None:
        self.blocks = {one.cid: bytes(one.data) for one in blocks}
        self.ends_after = ends_after

    async def get(self, cid: CID) -> bytes:
        if cid not in self.blocks:
            raise NotFound(f"no {cid}", cid=cid)
        return self.blocks[cid]

    async def get_dag(self, root: CID) -> AsyncGenerator[Block, None]:
        if root not in self.blocks:
            raise NotFound(f"no {root}", cid=root)
        for count, (cid, data) in enumerate(self.blocks.items()):
            if count == self.ends_after:
                raise NotFound(f"no {cid}", cid=cid)
            yield Block(cid, data)

    async def has(self, cid: CID) -> bool:
        return cid in self.blocks

    async def put(self, root: CID, blocks: AsyncIterable[Block], *, label: str = "") -> Status:
        raise AssertionError("nothing is put here")

    async def remove(self, root: CID) -> None:
        raise AssertionError("nothing is removed here")

    async def status(self, root: CID) -> Status:
        raise AssertionError("nothing is asked here")

    async def health(self) -> Health:
        return Health(True, 0.0)

    async def aclose(self) -> None:
        self.blocks = {}


class KeepingTier(MemoryTier):
    """One that takes DAGs too: whole ones alone, and nothing false."""

    verbs = frozenset({"get", "get_dag", "has", "put", "remove", "status"})

    def __init__(self) -> None:
        super().__init__([])
        self.roots: dict[CID, str] = {}

    async def get_dag(self, root: CID) -> AsyncGenerator[Block, None]:
        waiting, known = [root], {root}
        while waiting:
            cid = waiting.pop()
            data = await self.get(cid)
            yield Block(cid, data)
            new = [link for link in codecs.links(cid, data) if link not in known]
            known.update(new)
            waiting += new

    async def put(self, root: CID, blocks: AsyncIterable[Block], *, label: str = "") -> Status:
        async for cid, data in blocks:
            if not cid.verify(data):
                raise HashMismatch(f"{cid} has another hash", expected=cid)
            self.blocks[cid] = bytes(data)
        async with aclosing(self.get_dag(root)) as found:
            async for _one in found:
                pass
        self.roots[root] = label
        return await self.status(root)

    async def remove(self, root: CID) -> None:
        self.roots.pop(root, None)

    async def status(self, root: CID) -> Status:
        if root not in self.roots:
            raise NotFound(f"{root} is not kept", cid=root)
        return Status(root, "kept", True, 1)
