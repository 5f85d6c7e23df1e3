"""The sweep among real peers: Kubo finds what our node has told of by regions, and at once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
import trio

from ipfs_kit_py.core.cid import CID
from ipfs_kit_py.routing.network_size import NetworkSize
from ipfs_kit_py.routing.provide_dht import KademliaAnnouncer
from ipfs_kit_py.routing.provider import Reprovider
from ipfs_kit_py.storage.records import MemoryRecords
from test.interop.test_dht import kubos, members
from test.net.swarms import settle

if TYPE_CHECKING:
    from test.peers.kubo import Kubo

__all__ = ["kubos"]  # the fixture

pytestmark = pytest.mark.interop


def test_kubo_finds_what_the_sweep_tells_of(kubos: list[Kubo]) -> None:
    async def scenario() -> None:
        async with members(2) as (one, two):
            for kubo in kubos[1:]:
                await trio.to_thread.run_sync(kubo.connect, kubos[0].address)
            await one.join(kubos[0].address)
            await two.join(kubos[1].address)
            cids = [CID.of(b"%d" % number) for number in range(300)]
            at_once = CID.of(b"at once")
            dhts = {}
            for side in one.dht.sides:
                size = NetworkSize()
                dhts[side.side.name] = KademliaAnnouncer(side, size, time.time), size
            contents = [cid.multihash for cid in cids]
            reprovider = Reprovider(one.peer_id, dhts, MemoryRecords(), lambda: contents)
            async with trio.open_nursery() as nursery:
                await nursery.start(reprovider.run)
                await settle(lambda: reprovider.statistics().sweeps["lan"].total.keys == len(cids), 60.0)
                found = reprovider.statistics().sweeps["lan"]
                assert found.total.lookups < 30
                assert found.total.failed_peers == 0
                await reprovider.provide([at_once.multihash])
                for number, cid in enumerate([*cids[::30], at_once]):
                    kubo = kubos[number % 3]
                    rows = await trio.to_thread.run_sync(
                        lambda kubo=kubo, cid=cid: kubo.lines("routing/findprovs", str(cid))
                    )
                    told = [peer["ID"] for row in rows if row["Type"] == 4 for peer in row["Responses"]]
                    assert told == [str(one.peer_id)]
                nursery.cancel_scope.cancel()

    trio.run(scenario)
