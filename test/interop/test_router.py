"""Finding content at real peers that are connected, and at those that only the DHT knows."""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING

import pytest
import trio

from ipfs_kit_py import NodeConfig, open_node
from ipfs_kit_py.core.cid import CID, PeerID
from ipfs_kit_py.core.config import CONNECTED_SECONDS
from test.interop.suite import SECONDS, in_thread
from test.interop.test_dht import DHT
from test.net.swarms import settle
from test.peers.kubo import Kubo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ipfs_kit_py import Node
    from test.peers.helia import Helia
    from test.peers.kubo022 import Kubo022

pytestmark = pytest.mark.interop

SIZES = {"small, which Kubo sends at once": 500, "large, of which it says that it has it": 100_000}


@pytest.fixture
def dht_kubo(kubo_path: Path, tmp_path: Path) -> Iterator[Kubo]:
    with Kubo(kubo_path, tmp_path / "kubo", settings=DHT) as kubo:
        yield kubo


def penalty(node: Node, peer: PeerID) -> float:
    return node.network._standing.penalty(peer, trio.current_time())


async def _connected(node: Node, peer_id: str, cid: str, other: str) -> None:
    """The peer has one content and not the other, says so, and sends nothing that counts against it."""
    peer = PeerID.parse(peer_id)
    begun = trio.current_time()
    [choice] = await node.find_content(CID.parse(cid))
    assert choice.provider.peer == peer
    assert choice.latency is not None
    assert await node.find_content(CID.parse(other)) == []
    assert trio.current_time() - begun < 2 * CONNECTED_SECONDS
    near = node.routing_metrics().routers[0]
    assert (near.name, near.answered) == ("connected", 1)
    assert penalty(node, peer) == 0.0


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_a_connected_kubo_says_whether_it_has_a_block(kubo: Kubo, size: int) -> None:
    async def scenario() -> None:
        with trio.fail_after(SECONDS):
            async with open_node(NodeConfig(dht_mode="off")) as node:
                data = random.Random(size).randbytes(size)
                cid = await in_thread(kubo.block_put, data)
                await node.connect(kubo.address)
                await _connected(node, kubo.peer_id, cid, str(CID.of(data + b"not")))
                assert not node.store.has_many([CID.parse(cid)])[0]  # it was asked for, not fetched
                assert await node.retrieve_content(CID.parse(cid)) == data
                assert penalty(node, PeerID.parse(kubo.peer_id)) == 0.0
                await settle(lambda: not kubo.wants_of(str(node.peer_id)))

    trio.run(scenario)


def test_a_connected_kubo_0_22_says_so_too(kubo022: Kubo022, tmp_path: Path) -> None:
    async def scenario() -> None:
        with trio.fail_after(SECONDS):
            async with open_node(NodeConfig(dht_mode="off")) as node:
                (tmp_path / "file").write_bytes(b"content of an old Kubo")
                cid = await in_thread(kubo022.add, tmp_path / "file")
                await node.connect(kubo022.address)
                await _connected(node, kubo022.peer_id, cid, str(CID.of(b"not that")))

    trio.run(scenario)


def test_a_connected_helia_says_so_too(helia: Helia, tmp_path: Path) -> None:
    async def scenario() -> None:
        with trio.fail_after(SECONDS):
            async with open_node(NodeConfig(dht_mode="off")) as node:
                (tmp_path / "file").write_bytes(b"content of Helia")
                cid = await in_thread(lambda: helia.add(tmp_path / "file", cidVersion=1, rawLeaves=True))
                await node.connect(helia.address)
                await _connected(node, helia.peer_id, cid, str(CID.of(b"not that")))

    trio.run(scenario)


def test_what_a_node_announces_another_finds_and_has_through_kubos_dht(dht_kubo: Kubo) -> None:
    async def scenario() -> None:
        with trio.fail_after(SECONDS):
            async with open_node(NodeConfig(provide="none")) as one, open_node(NodeConfig(provide="none")) as other:
                for node in (one, other):
                    await node.connect(dht_kubo.address)
                    await settle(lambda node=node: len(node._dht.sides[1].table) > 0)
                data = random.Random(7).randbytes(700_000)
                cid = await one.add_bytes(data)
                assert await one.announce_content(cid) is True
                await other.disconnect(one.peer_id)
                found = await other.find_content(cid, size=len(data))
                assert [choice.provider.peer for choice in found] == [one.peer_id]
                assert await other.retrieve_content(cid) == data
                assert (await in_thread(dht_kubo.fetch, f"/ipfs/{cid}")).sha256 == hashlib.sha256(data).hexdigest()

    trio.run(scenario)
