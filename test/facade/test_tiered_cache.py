"""The cache manager as a program uses it, on the tiers of this machine. Over daemons: test/interop/test_tiers.py."""

from __future__ import annotations

import inspect
import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from ipfs_kit_py.core.cid import CID, DAG_CBOR
from ipfs_kit_py.core.errors import (
    ConfigError,
    HashMismatch,
    InvalidCID,
    LocalError,
    NotFound,
    NotRunning,
    QuotaExceeded,
)
from ipfs_kit_py.dag import dag_cbor
from ipfs_kit_py.libp2p_peer import IPFSLibp2pPeer
from ipfs_kit_py.tiered_cache import TieredCacheManager

if TYPE_CHECKING:
    from pathlib import Path

DATA = random.Random(1).randbytes(3 << 20)


def raw(data: bytes) -> str:
    return str(CID.of(data))


@pytest.fixture(scope="module")
def file_cid() -> str:
    """The root of ``DATA`` as a file."""
    with IPFSLibp2pPeer() as peer:
        return peer.add_bytes(DATA)


@pytest.fixture(params=["memory", "disk", "shared memory"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    if request.param == "memory":
        return {"memory_cache_size": 32 << 20}
    return {
        "memory_cache_size": 32 << 20, "local_cache_path": str(tmp_path / "cache"), "local_cache_size": 64 << 20,
        "shared_memory": request.param == "shared memory",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("get", ["cid"]),
        ("get_many", ["cids"]),
        ("put", ["cid", "data", "metadata"]),
        ("delete", ["cid"]),
        ("contains", ["cid"]),
        ("pin", ["cid"]),
        ("unpin", ["cid"]),
        ("promote", ["cid"]),
        ("demote", ["cid"]),
        ("heat", ["cid"]),
        ("get_metadata", ["cid"]),
        ("verify", []),
        ("get_stats", []),
        ("close", []),
    ],
)
def test_the_names_stand(name: str, parameters: list[str]) -> None:
    found = list(inspect.signature(getattr(TieredCacheManager, name)).parameters)
    assert found[1 : 1 + len(parameters)] == parameters


def test_files_and_blocks_go_in_and_come_back(settings: dict[str, Any], file_cid: str) -> None:
    value = dag_cbor.encode({"a": 1})
    node = str(CID.of(value, DAG_CBOR))
    with TieredCacheManager(settings) as cache:
        assert cache.get(file_cid) is None
        assert not cache.contains(file_cid)
        assert cache.put(file_cid, DATA, {"name": "a file"})
        assert cache.put(raw(b"block"), b"block")
        assert cache.put(node, value)
        assert cache.get(file_cid) == DATA
        assert cache.get(raw(b"block")) == b"block"
        assert cache.get(node) == value
        assert file_cid in cache
        assert cache.get_metadata(file_cid) == {"name": "a file"}
        assert cache.get_metadata(node) is None
        found = cache.get_many([file_cid, raw(b"block"), raw(b"nothing"), node])
        assert found == {file_cid: DATA, raw(b"block"): b"block", raw(b"nothing"): None, node: value}
        assert cache.verify() == {"checked": 6, "damaged": {}}
        assert cache.delete(file_cid)
        assert not cache.delete(file_cid)
        assert cache.get(file_cid) is None
        assert cache.get(node) == value


def test_what_was_put_is_there_after_a_restart(tmp_path: Path, file_cid: str) -> None:
    settings = {"local_cache_path": tmp_path / "cache"}
    with TieredCacheManager(settings) as cache:
        cache.put(file_cid, DATA, {"n": 1})
        cache.pin(file_cid)
    with TieredCacheManager(settings) as cache:
        assert cache.get(file_cid) == DATA
        assert cache.get_metadata(file_cid) == {"n": 1}
        with pytest.raises(LocalError, match="pinned"):
            cache.delete(file_cid)
        assert cache.unpin(file_cid)
        with pytest.raises(NotFound):
            cache.unpin(file_cid)


def test_the_cache_stays_within_its_size_and_keeps_what_is_pinned(tmp_path: Path) -> None:
    blocks = [random.Random(number).randbytes(100_000) for number in range(200)]
    with TieredCacheManager({"local_cache_path": tmp_path / "cache", "local_cache_size": 4_000_000}) as cache:
        cache.put(raw(blocks[0]), blocks[0])
        cache.pin(raw(blocks[0]))
        for block in blocks[1:]:
            cache.put(raw(block), block)
        assert cache.get_stats()["store"]["kept_bytes"] + cache.get_stats()["store"]["fetched_bytes"] <= 4_000_000
        assert cache.get(raw(blocks[0])) == blocks[0]
        assert cache.get(raw(blocks[-1])) == blocks[-1]
        assert cache.get(raw(blocks[1])) is None
        assert cache.get_stats()["store"]["evicted"] > 100
        big = [bytes(1_500_000) + bytes([number]) for number in range(3)]
        for data in big[:2]:
            cache.put(raw(data), data)
            cache.pin(raw(data))
        cache.put(raw(big[2]), big[2])
        with pytest.raises(QuotaExceeded):
            cache.pin(raw(big[2]))


def test_promotion_and_demotion_move_between_memory_and_disk(tmp_path: Path, file_cid: str) -> None:
    with TieredCacheManager({"local_cache_path": tmp_path / "cache", "memory_cache_size": 16 << 20}) as cache:
        cache.put(file_cid, DATA)
        up = cache.promote(file_cid)
        assert (up["root"], up["tier"], up["blocks"]) == (file_cid, "memory", 4)
        assert cache.demote(file_cid, "disk")["blocks"] == 4
        assert cache.demote(file_cid, "disk")["blocks"] == 0
        assert cache.get(file_cid) == DATA
        with pytest.raises(ConfigError, match="promoted to memory or disk"):
            cache.promote(file_cid, "moon")
        with pytest.raises(ConfigError, match="no remote tier"):
            cache.demote(file_cid)
        with pytest.raises(ConfigError, match="no remote tier"):
            cache.replicate(file_cid)


def test_a_collection_evicts_all_that_is_not_pinned(settings: dict[str, Any], file_cid: str) -> None:
    with TieredCacheManager(settings) as cache:
        cache.put(file_cid, DATA)
        cache.put(raw(b"kept"), b"kept")
        cache.pin(raw(b"kept"))
        assert cache.gc() == {"blocks": 0, "bytes": 0}
        freed = cache.gc(everything=True)
        assert freed["blocks"] == 4
        assert freed["bytes"] > len(DATA)
        assert not cache.contains(file_cid)
        assert cache.get(raw(b"kept")) == b"kept"


def test_what_is_read_is_warm_and_the_cache_is_emptied_of_all_that_is_not_pinned(
    settings: dict[str, Any], file_cid: str
) -> None:
    with TieredCacheManager(settings) as cache:
        cache.put(file_cid, DATA)
        cache.put(raw(b"kept"), b"kept")
        cache.pin(raw(b"kept"))
        for _ in range(5):
            cache.get(file_cid)
        assert cache.heat(file_cid) > cache.heat(raw(b"kept"))
        assert cache.heat(raw(b"never")) == 0
        node, thread = cache._node, cache._thread
        warmest = thread.call(node.warmest, 4)
        assert CID.parse(file_cid).multihash in {cid.multihash for cid, _heat in warmest}
        assert thread.call(node.cache_gc) == (0, 0)
        blocks, size = thread.call(lambda: node.cache_gc(everything=True))
        assert blocks >= 4
        assert size > len(DATA)
        assert not cache.contains(file_cid)
        assert cache.get(raw(b"kept")) == b"kept"
        assert next(tier["name"] for tier in cache.get_stats()["tiers"]) == "memory"


def test_false_content_is_refused_and_nothing_of_it_kept(settings: dict[str, Any], file_cid: str) -> None:
    with TieredCacheManager(settings) as cache:
        with pytest.raises(HashMismatch):
            cache.put(raw(b"this"), b"that")
        with pytest.raises(HashMismatch):
            cache.put(file_cid, DATA[:-1])
        with pytest.raises(LocalError, match="no JSON"):
            cache.put(raw(b"x"), b"x", {"set": {1, 2}})
        with pytest.raises(InvalidCID):
            cache.get("no cid")
        assert cache.get(file_cid) is None


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"memory_size": 1}, "no setting 'memory_size'"),
        ({"memory_cache_size": "64MB"}, "memory_cache_size is a number of bytes, not '64MB'"),
        ({"local_cache_size": -1}, "storage_max must be 0 or more"),
        ({"tiers": "kubo"}, "tiers is a list of tables"),
        ({"tiers": [{"endpoint": "http://127.0.0.1:1"}]}, "a table with a type"),
        ({"tiers": [{"type": "no-such"}]}, "no-such"),
        ({"tiers": [{"type": "kubo"}]}, "endpoint"),
        ({"tiers": [{"type": "kubo", "endpoint": "http://127.0.0.1:1"}] * 2}, "two tiers are called 'kubo'"),
        ({"tiers": [{"type": "gateway", "urls": ["http://127.0.0.1:1"], "replicate": True}]}, "stores nothing"),
        ({"role": "king"}, "role 'king'"),
    ],
)
def test_what_cannot_be_used_is_named(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        TieredCacheManager(settings)


def test_many_threads_at_once(settings: dict[str, Any]) -> None:
    blocks = {raw(data): data for data in (random.Random(number).randbytes(5000) for number in range(300))}

    def work(number: int) -> None:
        rng = random.Random(number)
        for _ in range(10):
            some = rng.sample(list(blocks), 20)
            for cid in some[:5]:
                cache.put(cid, blocks[cid], {"by": number})
            for cid, data in cache.get_many(some).items():
                assert data is None or data == blocks[cid]
            assert cache.get(some[0]) == blocks[some[0]]

    with TieredCacheManager(settings) as cache, ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(16)))


def test_a_closed_cache_says_so(file_cid: str) -> None:
    cache = TieredCacheManager()
    cache.close()
    cache.close()
    with pytest.raises(NotRunning):
        cache.get(file_cid)
    assert "closed" in repr(cache)
