"""The names that users type, and how they are called: these do not move."""

import inspect
from importlib import import_module
from importlib.metadata import entry_points

import pytest

CLASSES = {
    "ipfs_kit_py.libp2p_peer:IPFSLibp2pPeer": {
        "__init__": (
            "identity_path=None, bootstrap_peers=None, listen_addrs=None, role='leecher', enable_mdns=True, "
            "enable_hole_punching=False, enable_relay=False, tiered_storage_manager=None, metadata=None, *, config=None"
        ),
        **dict.fromkeys(
            (
                "get_peer_id", "get_multiaddrs", "get_protocols", "get_dht_mode", "peers",
                "integrate_enhanced_dht_discovery", "list_topics", "enable_relay",
                "is_relay_enabled", "is_hole_punching_enabled", "get_stats", "close"
            ),
            "",
        ),
        "connect_peer": "addr",
        "disconnect_peer": "peer_id",
        "is_connected_to": "peer_id",
        "add_bytes": "data",
        "store_bytes": "cid, data",
        "get_stored_bytes": "cid",
        "request_content": "cid, timeout=30",
        "request_block": "cid, timeout=30",
        "stream_content": "cid",
        "receive_streamed_data": "peer_id, cid, callback",
        "stream_data": "callback",
        "announce_content": "cid, metadata=None",
        "find_providers": "cid, count=20, timeout=60",
        "start_discovery": "rendezvous_string='ipfs-kit'",
        "find_providers_enhanced": "cid, count=5, timeout=30",
        "publish_to_topic": "topic, data",
        "subscribe_to_topic": "topic, handler",
        "unsubscribe_from_topic": "topic, handler=None",
        "get_topic_peers": "topic",
        "send_message": "peer_id, data",
        "on_message": "handler",
        "register_protocol_handler": "protocol_id, handler",
        "open_stream": "peer_id, protocol_id",
        "connect_via_relay": "peer_id, relay_addr",
    },
    "ipfs_kit_py.libp2p.enhanced_dht_discovery:EnhancedDHTDiscovery": {
        "__init__": "libp2p_peer, role='leecher', bootstrap_peers=None",
        "start": "",
        "stop": "",
        "find_providers": "cid, count=5",
        "find_providers_async": "cid, count=5",
        "add_provider": "cid, peer_id, multiaddrs=None",
        "get_optimal_providers": "cid, content_size=None, preferred_peers=None, count=3",
        "update_provider_stats": "peer_id, success, latency=None, bytes_received=None",
        "record_content_affinity": "peer_id, cid",
    },
    "ipfs_kit_py.libp2p.enhanced_dht_discovery:ContentRoutingManager": {
        "__init__": "discovery, peer",
        "find_content": "cid, options=None",
        "retrieve_content": "cid, options=None",
        "announce_content": "cid, size=None, metadata=None",
        "get_metrics": "",
    },
    "ipfs_kit_py.libp2p.p2p_integration:LibP2PIntegration": {
        "__init__": "libp2p_peer, ipfs_kit=None, cache_manager=None",
        "handle_cache_miss": "cid",
        "announce_content": "cid, data=None, size=None, metadata=None",
        "get_stats": "",
        "stop": "",
    },
    "ipfs_kit_py.tiered_cache:TieredCacheManager": {
        "__init__": "config=None",
        "get": "cid",
        "get_many": "cids",
        "put": "cid, data, metadata=None",
        **dict.fromkeys(("delete", "contains", "pin", "unpin", "promote", "demote", "heat", "get_metadata"), "cid"),
        **dict.fromkeys(("verify", "get_stats", "close"), ""),
    },
    "ipfs_kit_py.ipfs_kit:ipfs_kit": {
        "__init__": "resources=None, metadata=None",
        "get_filesystem": "use_libp2p",
        "ipfs_add_string": "text",
        "ipfs_add": "path",
        **dict.fromkeys(("ipfs_cat", "ipfs_get", "ipfs_ls", "ipfs_dag_get", "ipfs_dag_export"), "path"),
        **dict.fromkeys(("ipfs_block_get", "ipfs_block_stat", "ipfs_dht_findprovs", "ipfs_dht_provide"), "cid"),
        "ipfs_block_put": "data",
        "ipfs_dag_put": "value",
        "ipfs_dag_import": "car",
        **dict.fromkeys(("ipfs_pin_add", "ipfs_pin_rm", "ipfs_name_publish"), "path"),
        "ipfs_pin_ls": "",
        **dict.fromkeys(("ipfs_id", "ipfs_swarm_peers", "ipfs_repo_gc", "ipfs_repo_stat", "ipfs_repo_verify"), ""),
        "close": "",
        "ipfs_swarm_connect": "address",
        "ipfs_name_resolve": "name=None",
    },
    "ipfs_kit_py.ipfs_fsspec:IPFSFileSystem": {
        **dict.fromkeys(
            ("ls", "info", "cat", "cat_file", "open", "find", "walk", "glob", "exists", "ukey"), "path"
        ),
        "cat_ranges": "paths, starts, ends",
        "get": "rpath, lpath",
        "put": "lpath, rpath",
    },
}  # fmt: skip
FUNCTIONS = {
    "ipfs_kit_py.libp2p.p2p_integration:register_libp2p_with_ipfs_kit": "kit, peer, extend_cache=True",
    "ipfs_kit_py.libp2p.ipfs_kit_integration:extend_ipfs_kit_class": "ipfs_kit_cls",
    "ipfs_kit_py.libp2p.ipfs_kit_integration:apply_ipfs_kit_integration": "",
    "ipfs_kit_py:open_node": "config=None",
}


def load(name):
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)


def takes(function, promised):
    """What is promised is how it begins; more may follow, if it has defaults."""
    parameters = [item for item in inspect.signature(function).parameters.values() if item.name != "self"]
    wanted = [item.strip() for item in promised.split(",") if item.strip() not in ("", "*")]
    for item, text in zip(parameters, wanted, strict=False):
        name, _, default = text.partition("=")
        same = item.name == name or item.kind is item.VAR_POSITIONAL or name == "path"
        assert same, f"{function.__qualname__}: {item.name} instead of {name}"
        if default:
            assert float(item.default) == float(default) if default.isdigit() else repr(item.default) == default
    assert len(parameters) >= len(wanted)
    for item in parameters[len(wanted) :]:
        assert item.default is not item.empty or item.kind in (item.VAR_POSITIONAL, item.VAR_KEYWORD), item


@pytest.mark.parametrize(("name", "method"), [(name, method) for name in CLASSES for method in CLASSES[name]])
def test_methods(name, method):
    found = inspect.getattr_static(load(name), method)
    takes(getattr(found, "__func__", found), CLASSES[name][method])
    assert load(name).__doc__ if method == "__init__" else inspect.getdoc(found), "it says what it does"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    takes(load(name), FUNCTIONS[name])


def test_the_package_does_not_hide_the_module_of_the_kit():
    import ipfs_kit_py.ipfs_kit

    assert inspect.ismodule(ipfs_kit_py.ipfs_kit)
    assert inspect.isclass(ipfs_kit_py.NodeConfig)


def test_entry_points():
    found = {point.name: point.value for point in entry_points(group="fsspec.specs")}
    assert found["ipfs"] == found["ipns"] == "ipfs_kit_py.ipfs_fsspec:IPFSFileSystem"
    assert "ipfs-kit" in {point.name for point in entry_points(group="console_scripts")}


def test_it_is_typed():
    from importlib.resources import files

    assert files("ipfs_kit_py").joinpath("py.typed").is_file()
