"""Finding peers with Kubo as the peer found: by a name's records, by walks in its DHT, by the user's own list."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import dns.asyncresolver
import pytest
import trio

from ipfs_kit_py import NodeConfig, open_node
from ipfs_kit_py.core.cid import CID, PeerID
from ipfs_kit_py.routing.discovery.listed import Static
from test.interop.suite import SECONDS, in_thread
from test.interop.test_dht import DHT
from test.net.swarms import settle
from test.net.test_discovery import serve_dns
from test.peers.kubo import Kubo

if TYPE_CHECKING:
    from pathlib import Path

    from ipfs_kit_py import Node
    from ipfs_kit_py.routing.discovery.found import Found

pytestmark = pytest.mark.interop


def layer(node: Node, name: str) -> Any:
    [found] = [one for one in node.discovery.statistics().layers if one.name == name]
    return found


def test_a_name_leads_to_kubo_and_a_walk_to_those_it_knows(
    kubo_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(near: Kubo, far: Kubo) -> None:
        await in_thread(far.connect, near.address)
        zone = {
            "_dnsaddr.boot.test": ["dnsaddr=/dnsaddr/one.boot.test"],
            "_dnsaddr.one.boot.test": [f"dnsaddr={near.address}"],
        }
        asked: list[str] = []
        with trio.fail_after(SECONDS):
            async with trio.open_nursery() as nursery:
                resolver = dns.asyncresolver.Resolver(configure=False)
                resolver.nameservers, resolver.port = ["127.0.0.1"], await nursery.start(serve_dns, zone, asked)
                monkeypatch.setattr(dns.asyncresolver, "default_resolver", resolver)
                config = NodeConfig(role="master", bootstrap=("/dnsaddr/boot.test",), mdns=False, provide="none")
                async with open_node(config) as node:
                    node.discovery.switch("dht", False)
                    dht = node._dht
                    assert dht is not None
                    await settle(lambda: PeerID.parse(near.peer_id) in node.network.connected(), 60.0)
                    assert set(zone) <= set(asked)
                    await settle(lambda: layer(node, "bootstrap").reached == 1, 60.0)
                    await settle(lambda: PeerID.parse(near.peer_id) in dht.sides[1].table, 60.0)
                    met: list[Found] = []
                    await node.discovery._by_name["random-walk"].round(met.append)
                    assert {str(found.peer) for found in met} == {near.peer_id, far.peer_id}
                    node.start_discovery()
                    await settle(lambda: layer(node, "random-walk").found > 1, 60.0)
                    await settle(lambda: PeerID.parse(far.peer_id) in node.network.connected(), 60.0)
                nursery.cancel_scope.cancel()

    with (
        Kubo(kubo_path, tmp_path / "near", settings=DHT) as near,
        Kubo(kubo_path, tmp_path / "far", settings=DHT) as far,
    ):
        trio.run(scenario, near, far)


def test_a_configured_kubo_that_comes_back_is_connected_again(
    kubo_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Static, "retry", 0.5)
    first = Kubo(kubo_path, tmp_path / "first")
    same = {
        "Identity": json.loads((first.repo / "config").read_text())["Identity"],
        "Addresses.Swarm": [first.address.partition("/p2p/")[0]],
    }

    async def scenario() -> None:
        peer = PeerID.parse(first.peer_id)
        with trio.fail_after(SECONDS):
            async with open_node(NodeConfig(peers=(first.address,), mdns=False, dht_mode="off")) as node:
                await settle(lambda: peer in node.network.connected(), 60.0)
                await in_thread(first.close)
                await settle(lambda: peer not in node.network.connected(), 60.0)
                again = await in_thread(lambda: Kubo(kubo_path, tmp_path / "again", settings=same))
                try:
                    assert again.address == first.address
                    await settle(lambda: peer in node.network.connected(), 60.0)
                    cid = await in_thread(again.block_put, b"since it is back")
                    assert await node.retrieve_content(CID.parse(cid)) == b"since it is back"
                finally:
                    await in_thread(again.close)

    try:
        trio.run(scenario)
    finally:
        first.close()
