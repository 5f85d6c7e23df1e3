"""The kit's verbs, in a process of its own and on a daemon alike; its settings; and beside a daemon."""

import json
import random

import pytest

from ipfs_kit_py.core.cid import CID
from ipfs_kit_py.core.errors import ConfigError, HashMismatch, IPFSKitError, NotFound, NotRunning
from ipfs_kit_py.ipfs_kit import ipfs_kit
from ipfs_kit_py.libp2p.p2p_integration import register_libp2p_with_ipfs_kit
from ipfs_kit_py.libp2p_peer import IPFSLibp2pPeer
from test.daemon import Daemon

DATA = random.Random(6).randbytes(3_000_000)
HELLO = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"


@pytest.fixture(params=["memory", "repo", "daemon"])
def kit(request, tmp_path):
    """A kit that has peers, however it works."""
    if request.param == "daemon":
        daemon = request.getfixturevalue("daemon")
        found = ipfs_kit({"repo": str(daemon.repo)})
        assert found.on_daemon
    else:
        repo = None if request.param == "memory" else tmp_path / "own"
        found = ipfs_kit({"repo": repo, "libp2p": True})
        assert not found.on_daemon
    with found:
        yield found


@pytest.fixture
def daemon(tmp_path):
    with Daemon(tmp_path / "repo") as found:
        yield found


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    (root / "below").mkdir(parents=True)
    (root / "a.txt").write_bytes(b"a")
    (root / "below" / "large").write_bytes(DATA)
    return root


def test_files_and_directories(kit, tree, tmp_path):
    assert kit.ipfs_add_string("hello world") == {"Name": HELLO, "Hash": HELLO, "Size": "11"}
    added = kit.ipfs_add(tree)
    root = added["Hash"]
    assert added["Name"] == "tree"
    assert kit.ipfs_add(tree, only_hash=True)["Hash"] == root
    assert kit.ipfs_cat(f"{root}/below/large") == DATA
    assert kit.ipfs_cat(f"/ipfs/{root}/below/large", offset=2_999_990, length=100) == DATA[2_999_990:]
    [listed] = kit.ipfs_ls(root)["Objects"]
    assert [(link["Name"], link["Type"], link["Size"]) for link in listed["Links"]] == [
        ("a.txt", 2, 1),
        ("below", 1, 0),
    ]
    told = kit.ipfs_get(root, tmp_path / "out")
    assert told == {"Path": str(tmp_path / "out")}
    assert (tmp_path / "out" / "below" / "large").read_bytes() == DATA
    assert kit.ipfs_get(f"{root}/a.txt", tmp_path)["Path"] == str(tmp_path / "a.txt")
    with pytest.raises(IPFSKitError, match="directory"):
        kit.ipfs_cat(root)
    with pytest.raises(IPFSKitError, match="recursive"):
        kit.ipfs_add(tree, recursive=False)
    with pytest.raises(IPFSKitError, match="cannot tell what to call"):
        kit.ipfs_get("..")


def test_blocks_and_dags(kit, tmp_path):
    put = kit.ipfs_block_put(b"a block")
    assert put == {"Key": str(CID.of(b"a block")), "Size": 7}
    assert kit.ipfs_block_get(put["Key"]) == b"a block"
    assert kit.ipfs_block_stat(put["Key"]) == put
    link = kit.ipfs_dag_put({"one": 1, "link": CID.parse(put["Key"]), "same": {"/": put["Key"]}, "raw": b"bytes"})
    cid = link["Cid"]["/"]
    value = kit.ipfs_dag_get(cid)
    assert value == {
        "one": 1, "link": {"/": put["Key"]}, "same": {"/": put["Key"]}, "raw": {"/": {"bytes": "Ynl0ZXM"}}
    }  # fmt: skip
    assert kit.ipfs_dag_put(value) == link
    assert kit.ipfs_dag_get(f"{cid}/one") == 1
    car = kit.ipfs_dag_export(cid)
    told = kit.ipfs_dag_export(cid, tmp_path / "dag.car")
    assert told == {"Path": str(tmp_path / "dag.car"), "Size": len(car)}
    assert (tmp_path / "dag.car").read_bytes() == car
    with pytest.raises(FileExistsError):
        kit.ipfs_dag_export(cid, tmp_path / "dag.car")
    with ipfs_kit({"repo": None}) as other:
        for source in (car, tmp_path / "dag.car"):
            imported = other.ipfs_dag_import(source)
            assert imported["Roots"] == [{"Cid": {"/": cid}, "PinErrorMsg": ""}]
            assert imported["Stats"]["BlockCount"] == 2
        assert other.ipfs_dag_get(cid) == value


def test_what_is_kept(kit):
    cid = kit.ipfs_add_string("hello world", pin=False)["Hash"]
    with pytest.raises(IPFSKitError, match="not pinned"):
        kit.ipfs_pin_ls(cid)
    assert kit.ipfs_pin_add(cid, name="greeting") == {"Pins": [cid]}
    assert kit.ipfs_pin_ls(cid) == {"Keys": {cid: {"Type": "recursive", "Name": "greeting"}}}
    other = kit.ipfs_add_string("goodbye", pin=False)["Hash"]
    assert {"/": other} in kit.ipfs_repo_gc()["Keys"]
    assert kit.ipfs_cat(cid) == b"hello world"
    assert kit.ipfs_pin_rm(cid) == {"Pins": [cid]}
    assert kit.ipfs_repo_stat()["NumObjects"] >= 1
    assert "validated" in kit.ipfs_repo_verify()["Msg"]


def test_peers_routing_and_names(kit):
    with IPFSLibp2pPeer(role="worker") as other:
        cid = other.add_bytes(DATA)
        told = kit.ipfs_swarm_connect(other.get_multiaddrs()[0])
        assert told == {"Strings": [f"connect {other.get_peer_id()} success"]}
        assert [peer["Peer"] for peer in kit.ipfs_swarm_peers()["Peers"]] == [other.get_peer_id()]
        assert kit.ipfs_cat(cid) == DATA
        found = kit.ipfs_dht_findprovs(cid)
        assert (found["Type"], other.get_peer_id() in json.dumps(found)) == (4, True)
        mine = kit.ipfs_add_string("mine")["Hash"]
        kit.ipfs_dht_provide(mine)
        assert [row["peer_id"] for row in other.find_providers(mine)] == [kit.ipfs_id()["ID"]]
        name = kit.ipfs_name_publish(mine)
        assert name["Value"] == f"/ipfs/{mine}"
        assert kit.ipfs_name_resolve(name["Name"]) == {"Path": f"/ipfs/{mine}"}
        assert kit.ipfs_cat(f"/ipns/{name['Name']}") == b"mine"


def test_a_name_is_kept_without_peers():
    with ipfs_kit({"repo": None}) as kit:
        mine = kit.ipfs_add_string("mine")["Hash"]
        with pytest.raises(NotRunning, match="no network"):
            kit.ipfs_name_publish(mine)
        name = kit.ipfs_name_publish(mine, allow_offline=True)["Name"]
        assert kit.ipfs_cat(f"/ipns/{name}") == b"mine"


def test_names_of_others_are_followed(kit):
    with ipfs_kit({"repo": None, "libp2p": True, "role": "worker"}) as other:
        kit.ipfs_swarm_connect(other.ipfs_id()["Addresses"][0])
        theirs = other.ipfs_add_string("theirs")["Hash"]
        name = other.ipfs_name_publish(theirs)["Name"]
        assert kit.ipfs_cat(f"/ipns/{name}", timeout=30) == b"theirs"


def test_numbers(kit):
    stats = kit.get_stats()
    assert stats["node"]["store"]
    assert (stats["libp2p"] is None) == kit.on_daemon == stats["daemon"]
    if not kit.on_daemon:
        assert stats["live"]["relay"] is False


# --- settings ---------------------------------------------------------------------------------------------------------
def test_settings_are_those_of_a_node_and_of_a_cache(tmp_path):
    resources = {
        "memory_cache_size": 1 << 20,
        "local_cache_size": 1 << 26,
        "local_cache_path": str(tmp_path / "cache"),
        "tiers": [{"type": "gateway", "urls": ["http://127.0.0.1:9"]}],
    }
    with ipfs_kit(resources, {"role": "worker", "cluster": "mine"}) as kit:
        config = kit.node_thread.node.config
        assert (config.memory_cache, config.storage_max, config.role) == (1 << 20, 1 << 26, "worker")
        assert config.repo == tmp_path / "cache"
        assert [tier["type"] for tier in config.tiers] == ["gateway"]
        assert kit.metadata["cluster"] == "mine"
    with ipfs_kit(metadata={"ipfs_path": str(tmp_path / "other")}) as kit:
        assert kit.node_thread.node.config.repo == tmp_path / "other"


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"no such": 1}, "resources have no 'no such'"),
        ({"repo": None, "role": "king"}, "role 'king'"),
        ({"repo": 5}, "repo is a folder"),
        ({"repo": None, "memory_cache_size": "much"}, "memory_cache is int"),
        ({"repo": None, "listen": "/ip4/127.0.0.1/tcp/0"}, "listen is a list"),
        ({"repo": None, "tiers": {"type": "kubo"}}, "tiers is a list of tables"),
    ],
)
def test_settings_that_cannot_be(resources, message):
    with pytest.raises(ConfigError, match=message):
        ipfs_kit(resources)


def test_a_closed_kit_says_so():
    kit = ipfs_kit({"repo": None})
    kit.close()
    kit.close()
    with pytest.raises(NotRunning, match="closed"):
        kit.ipfs_id()


# --- beside a daemon --------------------------------------------------------------------------------------------------
def test_a_kit_on_a_daemon_that_gets_a_peer_works_on_the_same_repo(daemon):
    with ipfs_kit({"repo": daemon.repo}) as kit, IPFSLibp2pPeer() as peer, IPFSLibp2pPeer() as other:
        before = kit.ipfs_add_string("before")["Hash"]
        cid = other.add_bytes(DATA)
        peer.connect_peer(other.get_multiaddrs()[0])
        register_libp2p_with_ipfs_kit(kit, peer)
        assert not kit.on_daemon
        assert kit.ipfs_cat(before) == b"before"
        assert kit.ipfs_cat(cid) == DATA
        assert kit.ipfs_id()["ID"] == peer.get_peer_id()
    with ipfs_kit({"repo": daemon.repo}) as kit:
        assert kit.on_daemon
        assert kit.ipfs_cat(cid) == DATA  # what came is in the repo that they share


def test_a_daemon_that_ends_is_named(tmp_path):
    with Daemon(tmp_path / "repo") as daemon:
        kit = ipfs_kit({"repo": daemon.repo})
        kit.ipfs_id()
    with pytest.raises(NotRunning, match="does not answer"):
        kit.ipfs_id()
    kit.close()


def test_what_is_not_what_its_cid_says_is_refused():
    with ipfs_kit({"repo": None}) as kit, IPFSLibp2pPeer() as peer:
        integration = register_libp2p_with_ipfs_kit(kit, peer)
        with pytest.raises(HashMismatch):
            integration.announce_content(HELLO, b"something else")
        with pytest.raises(NotFound):
            integration.announce_content(HELLO)
