"""Reading ahead in the node's nursery."""

from __future__ import annotations

import pytest
import trio

from ipfs_kit_py.content.pump import Reading
from ipfs_kit_py.content.source import BlockSource
from ipfs_kit_py.core.cid import Block
from ipfs_kit_py.core.errors import NotRunning
from ipfs_kit_py.dag.walk import DagWalk
from ipfs_kit_py.storage.memory import MemoryStore
from test.remote.dags import tree


def test_a_node_that_ends_while_it_is_read_is_no_end_of_the_content() -> None:
    async def main() -> None:
        blocks, got = tree(30), list[Block]()
        store = MemoryStore()
        store.put_many(blocks)
        async with trio.open_nursery() as services:
            reading = Reading(services, BlockSource(store, None), DagWalk(blocks[0].cid), 1 << 20)
            got.append(await anext(reading))
            services.cancel_scope.cancel()
        with pytest.raises(NotRunning, match="not all of it"):
            got += [block async for block in reading]
        assert len(got) < len(blocks)

    trio.run(main)
