"""The programs of the documentation, run as they stand with real peers in the place of made-up ones, and what they rest
on: connections and discovery, content routing, cache misses, metrics, roles, errors and timeouts.

``python -m unittest test.test_libp2p_integration`` runs it alone.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
import threading
import unittest
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ipfs_kit_py.core.errors import IPFSKitError, NotRunning, NotSupported, PeerUnreachable, TimedOut, TooLarge
from ipfs_kit_py.ipfs_kit import ipfs_kit
from ipfs_kit_py.libp2p.enhanced_dht_discovery import ContentRoutingManager, EnhancedDHTDiscovery
from ipfs_kit_py.libp2p.ipfs_kit_integration import apply_ipfs_kit_integration, extend_ipfs_kit_class
from ipfs_kit_py.libp2p.p2p_integration import LibP2PIntegration, register_libp2p_with_ipfs_kit
from ipfs_kit_py.libp2p_peer import IPFSLibp2pPeer
from ipfs_kit_py.tiered_cache import TieredCacheManager

LOOPBACK = "/ip4/127.0.0.1/tcp/0"
NOBODY_HAS = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"
FILE = bytes(range(256)) * 12_000  # 3 MB: a root and its leaves


class Nodes(unittest.TestCase):
    """A folder of its own as the default repo, and whatever was opened is closed."""

    def setUp(self) -> None:
        self.stack = ExitStack()
        self.addCleanup(self.stack.close)
        self.folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        before = os.environ.get("IPFS_KIT_PATH")
        os.environ["IPFS_KIT_PATH"] = str(self.folder / "repo")
        self.addCleanup(self._restore, before)

    def _restore(self, before: str | None) -> None:
        os.environ.pop("IPFS_KIT_PATH")
        if before is not None:
            os.environ["IPFS_KIT_PATH"] = before

    def peer(self, **options: Any) -> IPFSLibp2pPeer:
        return self.stack.enter_context(IPFSLibp2pPeer(**options))

    def kit(self, cls: type[ipfs_kit] = ipfs_kit, **resources: Any) -> ipfs_kit:
        return self.stack.enter_context(cls(resources))

    def remote(self, data: bytes = FILE, **options: Any) -> tuple[IPFSLibp2pPeer, str, str]:
        """A peer that has a file: itself, its address, and the file's CID."""
        peer = self.peer(**options)
        return peer, peer.get_multiaddrs()[0], peer.add_bytes(data)


class Programs(Nodes):
    """Each program of the documentation."""

    def test_basic_usage(self) -> None:
        apply_ipfs_kit_integration()
        kit = ipfs_kit()
        self.addCleanup(kit.close)
        fs = kit.get_filesystem(use_libp2p=True)
        result = kit.ipfs_add_string("Hello, IPFS Kit with LibP2P integration!")
        cid = result["Hash"]
        content = fs.cat(cid)
        self.assertEqual(content, b"Hello, IPFS Kit with LibP2P integration!")
        self.assertIsNotNone(kit.libp2p_peer)

    def test_direct_use_of_a_peer(self) -> None:
        _other, address, cid = self.remote()
        with self.assertLogs("ipfs_kit_py", logging.WARNING) as logs:
            peer = self.peer(role="worker", listen_addrs=[LOOPBACK, "/ip4/127.0.0.1/udp/0/quic"])
        self.assertEqual(len([line for line in logs.output if "quic" in line.lower()]), 1)
        peer.connect_peer(address)
        content = peer.request_content(cid)
        self.assertEqual(content, FILE)
        self.assertTrue(peer.announce_content(cid, metadata={"size": 1024}))
        peer.start_discovery()

    def test_tiered_storage(self) -> None:
        with TieredCacheManager(
            {
                "memory_cache_size": 100 * 1024 * 1024,
                "local_cache_size": 1 * 1024 * 1024 * 1024,
                "local_cache_path": str(self.folder / "ipfs_cache"),
            }
        ) as storage_manager:
            peer = IPFSLibp2pPeer(role="worker", listen_addrs=[LOOPBACK], tiered_storage_manager=storage_manager)
            with peer:
                content = b"Hello, IPFS!"
                cid = self.peer().add_bytes(content)
                peer.store_bytes(cid, content)
                peer.announce_content(cid, metadata={"size": len(content)})
                self.assertEqual(peer.request_content(cid), content)
                self.assertGreater(storage_manager.heat(cid), 0)
                self.assertEqual(storage_manager.get_metadata(cid), {"size": len(content)})

    def test_advanced_configuration(self) -> None:
        server, bootstrap, _cid = self.remote(role="worker")
        storage_manager = self.stack.enter_context(TieredCacheManager())
        peer = self.peer(
            role="master",
            identity_path=str(self.folder / "ipfs" / "libp2p_identity"),
            listen_addrs=[LOOPBACK, "/ip4/127.0.0.1/udp/4001/quic"],
            bootstrap_peers=[bootstrap],
            enable_mdns=True,
            enable_hole_punching=True,
            enable_relay=True,
            tiered_storage_manager=storage_manager,
        )

        async def handle_custom_protocol(stream: Any) -> None:
            data = await stream.read()
            await stream.write(b"Response data to " + data)
            await stream.close()

        peer.register_protocol_handler("/my/custom/protocol/1.0.0", handle_custom_protocol)
        self.assertEqual(peer.get_stats()["live"] | {"mdns": None}, dict.fromkeys(
            ("relay", "hole_punching", "quic", "pubsub"), False) | {"mdns": None})  # fmt: skip
        server.connect_peer(peer.get_multiaddrs()[0])
        with server.open_stream(peer.get_peer_id(), "/my/custom/protocol/1.0.0") as stream:
            stream.write(b"a request")
            stream.close_write()
            self.assertEqual(stream.read(timeout=20), b"Response data to a request")

    def test_enhanced_discovery_and_routing(self) -> None:
        hub, bootstrap, _cid = self.remote(b"something else", role="worker")
        provider = self.peer(role="worker")
        provider.connect_peer(bootstrap)
        content = provider.add_bytes(FILE)
        provider.announce_content(content)
        peer = self.peer(role="worker")
        discovery = EnhancedDHTDiscovery(peer, role="worker", bootstrap_peers=[bootstrap])
        discovery.start()
        peer.connect_peer(bootstrap)  # what start does in the background is done when this returns
        router = ContentRoutingManager(discovery, peer)
        providers = discovery.find_providers(content, count=5)
        self.assertEqual([found["peer_id"] for found in providers], [provider.get_peer_id()])
        optimal_providers = discovery.get_optimal_providers(content, content_size=1024 * 1024, count=3)
        self.assertEqual([found["peer_id"] for found in optimal_providers], [provider.get_peer_id()])
        self.assertGreaterEqual(optimal_providers[0].keys(), {"peer_id", "multiaddrs", "reputation", "latency"})
        future = router.retrieve_content(content, {"timeout": 30, "max_size": 10 * 1024 * 1024})
        self.assertEqual(future.result(timeout=30), FILE)
        self.assertTrue(peer.is_connected_to(hub.get_peer_id()))

    def test_a_peer_is_registered_with_a_kit(self) -> None:
        _other, bootstrap, cid = self.remote()
        kit = ipfs_kit()
        self.addCleanup(kit.close)
        libp2p_peer = self.peer(role="worker", bootstrap_peers=[bootstrap], listen_addrs=[LOOPBACK])
        integration = register_libp2p_with_ipfs_kit(kit, libp2p_peer, extend_cache=True)
        fs = kit.get_filesystem()
        self.assertEqual(fs.cat(cid), FILE)
        stats = integration.get_stats()
        self.assertEqual(f"Cache miss success rate: {stats['success_rate']:.2f}", "Cache miss success rate: 1.00")

    def test_statistics(self) -> None:
        _other, address, cid = self.remote()
        peer = self.peer()
        peer.connect_peer(address)
        integration = LibP2PIntegration(peer)
        self.assertEqual(integration.handle_cache_miss(cid), FILE)
        stats = integration.get_stats()
        self.assertEqual(stats.get("cache_misses", 0), 1)
        self.assertEqual(stats.get("cache_misses_handled", 0), 1)
        self.assertEqual(stats["cache_misses_failed"], 0)
        self.assertEqual(f"{stats.get('success_rate', 0):.2f}", "1.00")
        self.assertGreater(stats.get("average_retrieve_time", 0), 0)
        self.assertEqual(stats.get("total_bytes_retrieved", 0), len(FILE))
        discovery_metrics = stats.get("discovery_metrics", {})
        self.assertGreaterEqual(discovery_metrics.get("providers_found", 0), 0)
        self.assertEqual(discovery_metrics.get("failed_discoveries", 0), 0)

    def test_a_cache_miss_is_handled_and_cached(self) -> None:
        _other, address, cid = self.remote()
        peer = self.peer()
        peer.connect_peer(address)
        cache = self.stack.enter_context(TieredCacheManager())
        integration = LibP2PIntegration(peer, cache_manager=cache)
        self.assertEqual(integration.handle_cache_miss(cid), FILE)
        self.assertTrue(cache.contains(cid))

    def test_providers_are_found_asynchronously_the_best_first(self) -> None:
        hub, bootstrap, cid = self.remote(role="worker")
        peer = self.peer(role="worker")
        peer.connect_peer(bootstrap)
        discovery = peer.integrate_enhanced_dht_discovery()
        discovery.add_provider(cid, hub.get_peer_id(), [bootstrap])
        for _ in range(3):
            discovery.update_provider_stats(hub.get_peer_id(), True, latency=0.01, bytes_received=10_000_000)
        providers = asyncio.run(discovery.find_providers_async(cid, count=5))
        self.assertEqual(providers[0]["peer_id"], hub.get_peer_id())
        order = [found["reputation"] for found in providers]
        self.assertEqual(order, sorted(order, reverse=True))

    def test_connections_are_kept_within_the_limits_of_the_role(self) -> None:
        expected = {"master": (100, 400, 30.0), "worker": (50, 200, 20.0), "leecher": (20, 100, 10.0)}
        for role, limits in expected.items():
            policy = self.peer(role=role).node_thread.node.config.role_policy
            self.assertEqual((policy.low_water, policy.high_water, policy.grace), limits)

    def test_a_directory_is_listed_in_libp2p_mode(self) -> None:
        apply_ipfs_kit_integration()
        folder = self.folder / "tree"
        (folder / "below").mkdir(parents=True)
        (folder / "a.txt").write_bytes(b"a")
        (folder / "below" / "b.bin").write_bytes(FILE)
        with ipfs_kit({"repo": None, "libp2p": True}) as other:
            root = other.ipfs_add(folder)["Hash"]
            kit = self.kit(repo=None)
            fs = kit.get_filesystem(use_libp2p=True)
            kit.ipfs_swarm_connect(other.ipfs_id()["Addresses"][0])
            self.assertEqual(fs.ls(root, detail=False), [f"{root}/a.txt", f"{root}/below"])
            self.assertEqual(
                {item["name"]: (item["type"], item["size"]) for item in fs.ls(f"{root}/below")},
                {f"{root}/below/b.bin": ("file", len(FILE))},
            )


class Kits(Nodes):
    """The kit without peers, with peers, and beside a daemon."""

    def test_without_peers_it_works_on_its_tiers(self) -> None:
        kit = self.kit()
        cid = kit.ipfs_add_string("here")["Hash"]
        self.assertEqual(kit.ipfs_cat(cid), b"here")
        self.assertIsNone(kit.get_stats()["libp2p"])
        with self.assertRaisesRegex(NotRunning, "use_libp2p=True"):
            kit.ipfs_swarm_peers()
        with self.assertRaises(IPFSKitError):
            kit.ipfs_cat(NOBODY_HAS, timeout=5)

    def test_the_extension_is_idempotent_and_works_on_a_subclass(self) -> None:
        class Mine(ipfs_kit):
            pass

        class Other(ipfs_kit):
            def get_filesystem(self, use_libp2p: bool | None = None, **options: Any) -> Any:
                return ("mine", super().get_filesystem(use_libp2p=use_libp2p, **options))

        self.assertIs(extend_ipfs_kit_class(Mine), Mine)
        once = Mine.get_filesystem
        self.assertIs(extend_ipfs_kit_class(Mine).get_filesystem, once)
        extend_ipfs_kit_class(Other)
        self.assertIs(apply_ipfs_kit_integration(), ipfs_kit)
        plain = ipfs_kit.get_filesystem
        self.assertIs(apply_ipfs_kit_integration().get_filesystem, plain)
        kit = self.kit(Mine, repo=None)
        kit.get_filesystem()
        self.assertIsNotNone(kit.libp2p_peer)
        other = self.kit(Other, repo=None)
        self.assertEqual(other.get_filesystem(use_libp2p=False)[0], "mine")
        self.assertIsNone(other.libp2p_peer)
        with self.assertRaises(TypeError):
            extend_ipfs_kit_class(int)  # type: ignore[type-var]

    def test_a_miss_is_handled_by_the_method_of_the_extended_kit(self) -> None:
        _other, address, cid = self.remote()
        extend_ipfs_kit_class(ipfs_kit)
        kit = self.kit(repo=None, peers=[address])
        self.assertEqual(kit._handle_content_miss_with_libp2p(cid), FILE)  # type: ignore[attr-defined]
        self.assertEqual(kit.ipfs_cat(cid), FILE)

    def test_what_the_kit_adds_is_served_by_a_registered_peer(self) -> None:
        kit = self.kit(repo=None)
        peer = self.peer()
        register_libp2p_with_ipfs_kit(kit, peer)
        other = self.peer()
        other.connect_peer(peer.get_multiaddrs()[0])
        cid = kit.ipfs_add_bytes(FILE)["Hash"]
        self.assertEqual(other.request_content(cid), FILE)
        self.assertIsNone(peer.get_stored_bytes(cid))  # it is in the kit's tiers alone

    def test_two_kits_share_a_peer(self) -> None:
        one, two, peer, other = self.kit(repo=None), self.kit(repo=None), self.peer(), self.peer()
        first, second = register_libp2p_with_ipfs_kit(one, peer), register_libp2p_with_ipfs_kit(two, peer)
        other.connect_peer(peer.get_multiaddrs()[0])
        cids = [kit.ipfs_add_string(f"of kit {number}")["Hash"] for number, kit in enumerate((one, two))]
        self.assertEqual([other.request_content(cid) for cid in cids], [b"of kit 0", b"of kit 1"])
        second.stop()
        late = one.ipfs_add_string("later")["Hash"]
        self.assertEqual(other.request_content(late), b"later")
        first.stop()
        mine = peer.add_bytes(b"the peer's own")
        self.assertEqual(other.request_content(mine), b"the peer's own")

    def test_a_cache_goes_on_with_the_peer_that_came_last(self) -> None:
        _other, address, cid = self.remote()
        cache = self.stack.enter_context(TieredCacheManager())
        first, second = self.peer(), self.peer()
        old, new = LibP2PIntegration(first, cache_manager=cache), LibP2PIntegration(second, cache_manager=cache)
        old.stop()
        second.connect_peer(address)
        self.assertEqual(cache.get(cid), FILE)
        new.stop()
        self.assertIsNone(cache.get(NOBODY_HAS))

    def test_a_peer_outlives_the_cache_that_it_served(self) -> None:
        peer, other = self.peer(), self.peer()
        cache = TieredCacheManager({"local_cache_path": str(self.folder / "cache"), "memory_cache_size": 0})
        integration = LibP2PIntegration(peer, cache_manager=cache)
        other.connect_peer(peer.get_multiaddrs()[0])
        cache.close()
        with self.assertNoLogs("ipfs_kit_py", logging.WARNING), self.assertRaises(TimedOut):
            other.request_content(NOBODY_HAS, timeout=0.5)
        mine = peer.add_bytes(b"the peer's own")
        self.assertEqual(other.request_content(mine, timeout=10), b"the peer's own")
        integration.stop()

    def test_threads_that_ask_for_a_peer_at_once_get_one(self) -> None:
        kit = self.kit(repo=None)
        found: list[Any] = []
        threads = [threading.Thread(target=lambda: found.append(kit.enable_libp2p().libp2p_peer)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len({id(peer) for peer in found}), 1)

    def test_a_second_peer_takes_the_place_of_the_first(self) -> None:
        _other, address, cid = self.remote()
        kit = self.kit(repo=None)
        first, second = self.peer(), self.peer()
        old = register_libp2p_with_ipfs_kit(kit, first)
        new = register_libp2p_with_ipfs_kit(kit, second)
        self.assertFalse(old.get_stats()["running"])
        self.assertIs(kit.libp2p_integration, new)
        second.connect_peer(address)
        self.assertEqual(kit.ipfs_cat(cid), FILE)
        self.assertEqual(old.get_stats()["cache_misses"], 0)
        new.stop()
        with self.assertRaises(IPFSKitError):
            kit.ipfs_cat(NOBODY_HAS, timeout=5)

    def test_the_cache_is_extended_only_where_that_is_wanted(self) -> None:
        _other, address, cid = self.remote()
        for extend in (True, False):
            with self.subTest(extend_cache=extend):
                kit, peer = self.kit(repo=None), self.peer()
                peer.connect_peer(address)
                integration = register_libp2p_with_ipfs_kit(kit, peer, extend_cache=extend)
                self.assertEqual(kit.ipfs_cat(cid), FILE)
                integration.stop()
                if extend:
                    self.assertEqual(kit.ipfs_cat(cid, timeout=5), FILE)
                else:
                    with self.assertRaises(IPFSKitError):
                        kit.ipfs_cat(cid, timeout=5)

    def test_the_kit_goes_on_when_its_peer_is_closed(self) -> None:
        kit, peer = self.kit(repo=None), self.peer()
        register_libp2p_with_ipfs_kit(kit, peer)
        here = kit.ipfs_add_string("here")["Hash"]
        failures: list[BaseException] = []

        def wait() -> None:
            try:
                kit.ipfs_cat(NOBODY_HAS)
            except IPFSKitError as error:
                failures.append(error)

        waiting = threading.Thread(target=wait)
        waiting.start()
        peer.close()
        waiting.join(timeout=30)
        self.assertEqual(len(failures), 1)
        self.assertEqual(kit.ipfs_cat(here), b"here")
        self.assertEqual(kit.get_stats()["libp2p"]["running"], False)


class Misses(Nodes):
    """Cache misses: what is counted, bounded, tried again and logged."""

    def integration(self, **options: Any) -> tuple[LibP2PIntegration, IPFSLibp2pPeer, str]:
        other, address, cid = self.remote()
        peer = self.peer()
        peer.connect_peer(address)
        found = LibP2PIntegration(peer, **options)
        self.addCleanup(found.stop)
        return found, other, cid

    def test_nobody_has_it(self) -> None:
        integration, _other, _cid = self.integration(timeout=0.2)
        with self.assertLogs("ipfs_kit_py.libp2p.p2p_integration", logging.WARNING) as logs:
            self.assertIsNone(integration.handle_cache_miss(NOBODY_HAS))
        record = logs.records[0]
        self.assertEqual((record.event, record.fields["cid"]), ("not retrieved", NOBODY_HAS))  # type: ignore[attr-defined]
        stats = integration.get_stats()
        self.assertEqual((stats["cache_misses_failed"], stats["success_rate"]), (1, 0.0))
        self.assertEqual(stats["timeouts"], {"stall": 0.2, "whole": 2.0})
        self.assertEqual(stats["retries"], 1)

    def test_what_did_not_come_in_time_is_had_in_the_background(self) -> None:
        integration, other, _cid = self.integration(timeout=0.5)
        late = self.peer().add_bytes(b"comes late")
        self.assertIsNone(integration.handle_cache_miss(late))
        recovery = next(iter(integration._recovering.values()))
        other.store_bytes(late, b"comes late")
        recovery.result(timeout=30)
        self.assertEqual(integration.get_stats()["recovered"], 1)
        self.assertEqual(integration.libp2p_peer.get_stored_bytes(late), b"comes late")  # type: ignore[attr-defined]

    def test_more_than_is_allowed_is_not_fetched(self) -> None:
        integration, _other, cid = self.integration(max_size=1_000_000)
        self.assertIsNone(integration.handle_cache_miss(cid))
        self.assertEqual(integration.get_stats()["cache_misses_failed"], 1)

    def test_a_cache_of_somebody_elses_gets_what_came(self) -> None:
        class Cache:
            def __init__(self) -> None:
                self.held: dict[str, bytes] = {}

            def put(self, cid: str, data: bytes) -> None:
                self.held[cid] = data

        cache = Cache()
        integration, _other, cid = self.integration(cache_manager=cache)
        integration.handle_cache_miss(cid)
        self.assertEqual(cache.held, {cid: FILE})

    def test_each_read_of_a_cache_that_goes_to_peers_is_one_miss(self) -> None:
        _other, address, cid = self.remote()
        peer, kit = self.peer(), self.kit(repo=None)
        peer.connect_peer(address)
        integration = register_libp2p_with_ipfs_kit(kit, peer)
        self.assertEqual(kit.ipfs_cat(cid), FILE)
        self.assertEqual(kit.ipfs_cat(cid), FILE)
        stats = integration.get_stats()
        self.assertEqual((stats["cache_misses"], stats["cache_misses_handled"]), (1, 1))
        self.assertEqual(stats["fallback_order"], ["memory", "libp2p"])

    def test_content_is_announced_with_its_bytes_or_from_the_kit(self) -> None:
        hub, bootstrap, _cid = self.remote(role="worker")
        kit, peer = self.kit(repo=None), self.peer(role="worker")
        integration = register_libp2p_with_ipfs_kit(kit, peer)
        peer.connect_peer(bootstrap)
        given = self.peer().add_bytes(b"given")
        self.assertTrue(integration.announce_content(given, b"given", size=5, metadata={"kind": "text"}))
        added = kit.ipfs_add_string("added by the kit")["Hash"]
        self.assertTrue(integration.announce_content(added))
        seeker = self.peer()
        seeker.connect_peer(bootstrap)
        for cid, data in ((given, b"given"), (added, b"added by the kit")):
            self.assertEqual([found["peer_id"] for found in seeker.find_providers(cid)], [peer.get_peer_id()])
            self.assertEqual(seeker.request_content(cid), data)
        with self.assertRaises(IPFSKitError):
            integration.announce_content(given, b"other bytes")
        with self.assertRaises(IPFSKitError):
            integration.announce_content(NOBODY_HAS)
        self.assertIsNotNone(hub)


class Errors(Nodes):
    """What goes wrong is said, and in time."""

    def test_a_peer_that_is_not_there(self) -> None:
        gone = self.peer()
        address = gone.get_multiaddrs()[0]
        gone.close()
        with self.assertRaises(PeerUnreachable):
            self.peer().connect_peer(address)

    def test_a_timeout(self) -> None:
        with self.assertRaises(TimedOut):
            self.peer().request_content(NOBODY_HAS, timeout=0.1)

    def test_a_content_that_is_too_large(self) -> None:
        _other, address, cid = self.remote()
        peer = self.peer()
        peer.connect_peer(address)
        router = ContentRoutingManager(peer.integrate_enhanced_dht_discovery(), peer)
        with self.assertRaises(TooLarge):
            router.retrieve_content(cid, {"max_size": 1000}).result(timeout=30)

    def test_what_this_version_has_not_got_says_so(self) -> None:
        peer = self.peer(enable_relay=True, enable_hole_punching=True)
        calls = (
            lambda: peer.publish_to_topic("topic", b"data"),
            lambda: peer.subscribe_to_topic("topic", print),
            lambda: peer.unsubscribe_from_topic("topic"),
            lambda: peer.get_topic_peers("topic"),
            lambda: peer.list_topics(),
            lambda: peer.enable_relay(),
            lambda: peer.connect_via_relay("peer", "/ip4/127.0.0.1/tcp/1"),
        )
        for call in calls:
            with self.assertRaisesRegex(NotSupported, "this version has no (relay|PubSub)"):
                call()
        self.assertFalse(peer.is_relay_enabled() or peer.is_hole_punching_enabled())

    def test_providers_that_fail_are_chosen_last(self) -> None:
        peer = self.peer(role="worker")
        good, bad = self.peer(), self.peer()
        discovery = peer.integrate_enhanced_dht_discovery()
        for other, success in ((good, True), (bad, False)):
            for _ in range(5):
                discovery.update_provider_stats(other.get_peer_id(), success, latency=0.01, bytes_received=5_000_000)
            discovery.add_provider(NOBODY_HAS, other.get_peer_id(), other.get_multiaddrs())
        peer.connect_peer(good.get_multiaddrs()[0])
        found = discovery.get_optimal_providers(NOBODY_HAS, count=1)
        self.assertEqual([one["peer_id"] for one in found], [good.get_peer_id()])


if __name__ == "__main__":
    unittest.main()
