"""Who of the connected peers has a block."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest
import trio

from ipfs_kit_py.core.config import CONNECTED_LEAST_SECONDS, CONNECTED_SECONDS
from ipfs_kit_py.core.errors import NotSupported, PeerUnreachable
from ipfs_kit_py.net.memory import MemoryNetwork
from ipfs_kit_py.routing.connected import Connected
from test.net.exchanges import Side, Talker, block, exchanging, play, talking

if TYPE_CHECKING:
    from ipfs_kit_py.core.interfaces import Provider


async def providers(side: Side, multihash: bytes, **options) -> list[Provider]:
    router = Connected(side.swarm, side.bitswap)
    async with aclosing(router.find_providers(multihash, **options)) as found:
        return [item async for item in found]


def test_those_that_have_it_are_found_and_the_block_is_not_fetched():
    async def scenario():
        wanted = block(1, 5000)
        network = MemoryNetwork()
        me = Side(network, "10.0.0.1")
        holders = [Side(network, f"10.0.0.{n}", [wanted]) for n in (2, 3)]
        others = [Side(network, f"10.0.0.{n}") for n in (4, 5)]
        async with exchanging(me, *holders, *others):
            await me.connect(*holders, *others)
            begun = trio.current_time()
            found = await providers(me, wanted.cid.multihash)
            assert {item.peer for item in found} == {side.peer_id for side in holders}
            assert {item.source for item in found} == {"connected"}
            assert trio.current_time() - begun < CONNECTED_SECONDS
            assert me.stats.bytes_received == 0
            assert len(await providers(me, wanted.cid.multihash, count=1)) == 1
            assert await me.fetch([wanted.cid]) == {wanted.cid: wanted.data}
            assert all(not me.penalty(side.peer_id) for side in holders)
            assert me.idle()

    play(scenario)


def test_once_one_has_answered_the_others_have_little_time_and_without_an_answer_all_of_it():
    async def scenario():
        network = MemoryNetwork()
        me, silent, holder = Side(network, "10.0.0.1"), Talker(network, "10.0.0.2"), Talker(network, "10.0.0.3")
        wanted = block(1)
        holder.serve([wanted])
        async with exchanging(me):
            async with talking(me, silent):
                me.bitswap.always_ask(silent.peer_id)
                begun = trio.current_time()
                assert await providers(me, wanted.cid.multihash) == []
                assert trio.current_time() - begun == pytest.approx(CONNECTED_SECONDS, abs=0.1)
            async with talking(me, silent, holder):
                me.bitswap.always_ask(holder.peer_id)
                begun = trio.current_time()
                assert [item.peer for item in await providers(me, wanted.cid.multihash)] == [holder.peer_id]
                assert trio.current_time() - begun == pytest.approx(CONNECTED_LEAST_SECONDS, abs=0.1)

    play(scenario)


def test_nobody_is_connected():
    async def scenario():
        me = Side(MemoryNetwork(), "10.0.0.1")
        async with exchanging(me):
            with pytest.raises(PeerUnreachable):
                await providers(me, block(1).cid.multihash)
            with pytest.raises(NotSupported):
                await Connected(me.swarm, me.bitswap).provide([block(1).cid.multihash])

    play(scenario)
