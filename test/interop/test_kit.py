"""The kit and a real Kubo: verbs, names and files, both ways."""

import hashlib
import random

import pytest

from ipfs_kit_py.ipfs_kit import ipfs_kit
from ipfs_kit_py.libp2p.p2p_integration import register_libp2p_with_ipfs_kit
from ipfs_kit_py.libp2p_peer import IPFSLibp2pPeer
from test.peers import locate
from test.peers.kubo import Kubo

DATA = random.Random(12).randbytes(5_000_000)


@pytest.fixture(scope="module")
def kubo(tmp_path_factory):
    try:
        binary = locate.kubo()
    except locate.PeerMissing as error:
        pytest.skip(str(error))
    with Kubo(binary, tmp_path_factory.mktemp("kubo")) as found:
        yield found


@pytest.fixture(params=["own peer", "registered peer"])
def kit(request, kubo):
    """A kit that is connected to Kubo."""
    with ipfs_kit({"repo": None, "libp2p": request.param == "own peer"}) as found, IPFSLibp2pPeer() as peer:
        if request.param == "registered peer":
            register_libp2p_with_ipfs_kit(found, peer)
        found.ipfs_swarm_connect(kubo.address)
        yield found


def test_what_kubo_has_comes_and_counts(kubo, kit, tmp_path):
    folder = tmp_path / "tree"
    (folder / "below").mkdir(parents=True)
    (folder / "below" / "large").write_bytes(DATA)
    (folder / "a").write_bytes(random.randbytes(100))
    root = kubo.add(folder)
    fs = kit.get_filesystem()
    assert sorted(fs.ls(root, detail=False)) == [f"{root}/a", f"{root}/below"]
    assert fs.cat(f"{root}/below/large") == DATA
    kit.ipfs_get(root, tmp_path / "out", timeout=60)
    assert (tmp_path / "out" / "below" / "large").read_bytes() == DATA
    stats = kit.libp2p_integration.get_stats()
    assert stats["success_rate"] == 1.0
    assert stats["total_bytes_retrieved"] >= len(DATA)


def test_kubo_has_what_the_kit_adds(kubo, kit):
    cid = kit.ipfs_add_bytes(DATA[::-1] + random.randbytes(10))["Hash"]
    assert kubo.fetch(cid).sha256 == hashlib.sha256(kit.ipfs_cat(cid)).hexdigest()


def test_a_miss_is_handled_by_kubo(kubo, kit):
    data = random.randbytes(700_000)
    cid = kubo.add_bytes(data)
    assert kit.libp2p_integration.handle_cache_miss(cid) == data
    assert kit.ipfs_cat(cid) == data
