"""The synchronous faces of finding: names, signatures and behaviour that must not move, over real nodes on loopback."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import json
import logging
import random

import pytest
import trio

from ipfs_kit_py._peer_routing import PeerRouting
from ipfs_kit_py.core.errors import ConfigError, InvalidAddress, InvalidCID, NotRunning, TimedOut, TooLarge
from ipfs_kit_py.libp2p.enhanced_dht_discovery import ContentRoutingManager, EnhancedDHTDiscovery
from ipfs_kit_py.libp2p_peer import IPFSLibp2pPeer

NOBODY = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
STRANGER = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"
DATA = random.Random(1).randbytes(900_000)


@pytest.fixture
def trio_of_peers():
    """A hub, and two that know nobody but it."""
    with (
        IPFSLibp2pPeer(role="master") as hub,
        IPFSLibp2pPeer(role="worker") as alice,
        IPFSLibp2pPeer(role="worker") as bob,
    ):
        for peer in (alice, bob):
            peer.connect_peer(hub.get_multiaddrs()[0])
        yield hub, alice, bob


@pytest.fixture
def alone():
    with IPFSLibp2pPeer() as peer:
        yield peer


@pytest.mark.parametrize(
    ("thing", "parameters"),
    [
        (EnhancedDHTDiscovery, ["libp2p_peer", "role", "bootstrap_peers"]),
        (EnhancedDHTDiscovery.start, []),
        (EnhancedDHTDiscovery.stop, []),
        (EnhancedDHTDiscovery.find_providers, ["cid", "count"]),
        (EnhancedDHTDiscovery.find_providers_async, ["cid", "count"]),
        (EnhancedDHTDiscovery.add_provider, ["cid", "peer_id", "multiaddrs"]),
        (EnhancedDHTDiscovery.get_optimal_providers, ["cid", "content_size", "preferred_peers", "count"]),
        (EnhancedDHTDiscovery.update_provider_stats, ["peer_id", "success", "latency", "bytes_received"]),
        (EnhancedDHTDiscovery.record_content_affinity, ["peer_id", "cid"]),
        (ContentRoutingManager, ["discovery", "peer"]),
        (ContentRoutingManager.find_content, ["cid", "options"]),
        (ContentRoutingManager.retrieve_content, ["cid", "options"]),
        (ContentRoutingManager.announce_content, ["cid", "size", "metadata"]),
        (ContentRoutingManager.get_metrics, []),
        (PeerRouting.announce_content, ["cid", "metadata"]),
        (PeerRouting.find_providers, ["cid", "count", "timeout"]),
        (PeerRouting.integrate_enhanced_dht_discovery, []),
        (PeerRouting.find_providers_enhanced, ["cid", "count", "timeout"]),
        (PeerRouting.get_dht_mode, []),
    ],
)
def test_the_names_stand(thing, parameters):
    found = [name for name in inspect.signature(thing).parameters if name != "self"]
    assert found[: len(parameters)] == parameters


def test_the_whole_way_of_the_spec(trio_of_peers):
    hub, alice, bob = trio_of_peers
    cid = alice.add_bytes(DATA)
    assert ContentRoutingManager(EnhancedDHTDiscovery(alice), alice).announce_content(
        cid, size=len(DATA), metadata={"title": "bytes"}
    )
    discovery = EnhancedDHTDiscovery(bob, role="worker", bootstrap_peers=[hub.get_multiaddrs()[0]])
    discovery.start()
    router = ContentRoutingManager(discovery, bob)

    [found] = discovery.find_providers(cid, count=5)
    assert set(found) == {"peer_id", "multiaddrs", "reputation", "latency"}
    assert found["peer_id"] == alice.get_peer_id()
    assert 0 <= found["reputation"] <= 1
    [best] = discovery.get_optimal_providers(cid, content_size=len(DATA), count=3)
    assert best["peer_id"] == alice.get_peer_id()
    assert all(text.endswith(f"/p2p/{alice.get_peer_id()}") for text in best["multiaddrs"])
    assert [row["peer_id"] for row in router.find_content(cid, {"count": 1, "size": 5})] == [alice.get_peer_id()]

    steps = []
    future = router.retrieve_content(
        cid, {"timeout": 30, "max_size": 10 << 20, "progress": lambda *step: steps.append(step)}
    )
    assert isinstance(future, concurrent.futures.Future)
    assert future.result(timeout=30) == DATA
    assert steps[-1] == (len(DATA), len(DATA))
    assert bob.get_stored_bytes(cid) == DATA
    assert bob.find_providers_enhanced(cid)[0]["reputation"] >= found["reputation"]  # it has delivered

    metrics = router.get_metrics()
    json.dumps(metrics)
    assert metrics["counts"]["retrievals"]["bytes"] == len(DATA)
    assert metrics["counts"]["lookups"]["succeeded"] >= 3
    assert {row["name"] for row in metrics["routers"]} == {"connected", "dht"}
    chosen_cid, chosen = metrics["choices"][-1]
    assert chosen_cid.startswith("bafkrei")
    assert chosen[0]["provider"]["peer"] == alice.get_peer_id()
    assert chosen[0]["seconds"] > 0
    discovery.stop()
    discovery.stop()


def test_the_peers_own_methods(trio_of_peers):
    hub, alice, bob = trio_of_peers
    cid = alice.add_bytes(b"some content")
    assert alice.announce_content(cid, {"kind": "note"}) is True
    assert [row["peer_id"] for row in bob.find_providers(cid)] == [alice.get_peer_id()]
    discovery = bob.integrate_enhanced_dht_discovery()
    assert discovery is bob.integrate_enhanced_dht_discovery()
    assert [row["peer_id"] for row in discovery.find_providers(cid)] == [alice.get_peer_id()]
    assert hub.get_dht_mode() == "server"


def test_finding_can_be_awaited_under_asyncio_and_under_trio(trio_of_peers):
    _hub, alice, bob = trio_of_peers
    cid = alice.add_bytes(b"some content")
    alice.announce_content(cid)
    discovery = EnhancedDHTDiscovery(bob)
    for run in (lambda: asyncio.run(discovery.find_providers_async(cid)), lambda: trio.run(_find, discovery, cid)):
        assert [row["peer_id"] for row in run()] == [alice.get_peer_id()]


async def _find(discovery, cid):
    return await discovery.find_providers_async(cid, count=3)


def test_a_search_that_is_awaited_can_be_given_up(trio_of_peers):
    _hub, _alice, bob = trio_of_peers
    discovery = EnhancedDHTDiscovery(bob)

    async def impatient():
        with trio.move_on_after(0) as patience:
            await discovery.find_providers_async(NOBODY)
        return patience.cancelled_caught

    async def given_up():
        search = asyncio.create_task(discovery.find_providers_async(NOBODY))
        await asyncio.sleep(0)  # it has begun, and cannot have ended: what it waits for is told by this loop
        search.cancel()
        await search

    assert trio.run(impatient)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(given_up())


def test_nobody_can_be_asked(alone, caplog):
    discovery = EnhancedDHTDiscovery(alone)
    with caplog.at_level(logging.WARNING, "ipfs_kit_py.libp2p"):
        assert discovery.find_providers(NOBODY) == []
        assert asyncio.run(discovery.find_providers_async(NOBODY)) == []
        assert discovery.find_providers("no cid") == []
    assert len(caplog.records) == 3
    assert alone.announce_content(alone.add_bytes(b"x")) is False  # it waits for a peer
    assert alone.get_dht_mode() == "client"


def test_what_the_caller_knows_counts(trio_of_peers):
    hub, alice, bob = trio_of_peers
    discovery = EnhancedDHTDiscovery(bob)
    discovery.add_provider(NOBODY, STRANGER, ["/ip4/10.1.2.3/tcp/4001"])
    discovery.add_provider(NOBODY, alice.get_peer_id())
    discovery.record_content_affinity(alice.get_peer_id(), NOBODY)
    before = {row["peer_id"]: row for row in discovery.find_providers(NOBODY)}
    assert before[STRANGER]["multiaddrs"] == [f"/ip4/10.1.2.3/tcp/4001/p2p/{STRANGER}"]
    assert before.keys() == {STRANGER, alice.get_peer_id()}
    for _ in range(5):
        discovery.update_provider_stats(alice.get_peer_id(), True, latency=0.01, bytes_received=1 << 20)
        discovery.update_provider_stats(STRANGER, False)
    discovery.add_provider(NOBODY, STRANGER)
    discovery.add_provider(NOBODY, alice.get_peer_id())
    rows = discovery.find_providers(NOBODY)
    assert [row["peer_id"] for row in rows] == [alice.get_peer_id(), STRANGER]
    assert rows[0]["reputation"] > before[alice.get_peer_id()]["reputation"]
    assert rows[1]["reputation"] < before[STRANGER]["reputation"]
    [chosen] = discovery.get_optimal_providers(NOBODY, count=1, preferred_peers=[STRANGER])
    assert chosen["peer_id"] == alice.get_peer_id()  # one that fails is not preferred
    assert hub.get_peer_id() not in {row["peer_id"] for row in rows}


def test_retrieving_raises_what_went_wrong(trio_of_peers):
    _hub, alice, bob = trio_of_peers
    cid = alice.add_bytes(DATA)
    alice.announce_content(cid)
    router = ContentRoutingManager(EnhancedDHTDiscovery(bob), bob)
    with pytest.raises(TooLarge):
        router.retrieve_content(cid, {"max_size": 1000}).result(30)
    with pytest.raises(TimedOut):
        router.retrieve_content(NOBODY, {"timeout": 0.2}).result(30)
    with pytest.raises(InvalidCID):
        router.retrieve_content("nonsense")
    with pytest.raises(ConfigError, match="maxsize"):
        router.retrieve_content(cid, {"maxsize": 5})
    pending = router.retrieve_content(NOBODY)
    assert pending.cancel()


def test_constructing_checks_what_it_is_given(alone):
    with pytest.raises(ConfigError):
        EnhancedDHTDiscovery(alone, role="king")
    with pytest.raises(InvalidAddress):
        EnhancedDHTDiscovery(alone, bootstrap_peers=["/ip4/127.0.0.1/tcp/4001"])
    alone.close()
    with pytest.raises(NotRunning):
        EnhancedDHTDiscovery(alone).start()


def test_starting_connects_to_the_bootstrap_peers(alone):
    with IPFSLibp2pPeer(role="master") as hub:
        discovery = EnhancedDHTDiscovery(alone, bootstrap_peers=[hub.get_multiaddrs()[0]])
        assert not alone.is_connected_to(hub.get_peer_id())
        discovery.start()
        assert discovery._dialling is not None
        assert discovery._dialling.result(10) == 1
        assert alone.is_connected_to(hub.get_peer_id())
