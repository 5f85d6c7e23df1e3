"""The tiers of a node and of a cache manager over real Kubo daemons and their gateways."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import trio

from ipfs_kit_py import NodeConfig, open_node
from ipfs_kit_py.core.cid import CID
from ipfs_kit_py.core.errors import BackendError, ConfigError, LocalError, NotFound
from ipfs_kit_py.libp2p_peer import IPFSLibp2pPeer
from ipfs_kit_py.tiered_cache import TieredCacheManager
from test.interop.conftest import _found
from test.peers import locate
from test.peers.kubo import Kubo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.interop

DATA = random.Random(1).randbytes(3 << 20)
NOBODY = str(CID.of(b"nobody has this"))


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Kubo]:
    """A Kubo that is a gateway too, for what it has itself."""
    with Kubo(_found(locate.kubo), tmp_path / "kubo", gateway=True, settings={"Gateway.NoFetch": True}) as peer:
        yield peer


def tables(kubo: Kubo, **more: Any) -> list[dict[str, Any]]:
    """The gateway and the RPC of a daemon, as a user writes them."""
    return [
        {"type": "gateway", "urls": [kubo.gateway_url]},
        {"type": "kubo", "endpoint": kubo.api_url, "offline": True, **more},
    ]


def eventually(true: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for what another process does."""

    async def main() -> None:
        with trio.fail_after(seconds):
            while not await trio.to_thread.run_sync(true):
                await trio.sleep(0.05)

    trio.run(main)


def test_a_cache_reads_through_its_tiers_and_then_from_its_own(serving: Kubo, tmp_path: Path) -> None:
    cid = serving.add_bytes(DATA)
    settings = {"local_cache_path": tmp_path / "cache", "memory_cache_size": 64 << 20, "tiers": tables(serving)}
    with TieredCacheManager(settings) as cache:
        assert not cache.contains(cid)
        assert cache.get(cid) == DATA
        assert cache.contains(cid)
        assert cache.get(NOBODY) is None
        given = sum(source["hits"] for source in cache.get_stats()["sources"])
        assert given >= 3
        assert cache.get(cid) == DATA
        assert sum(source["hits"] for source in cache.get_stats()["sources"]) == given
    serving.close()
    with TieredCacheManager(settings) as cache:
        assert cache.get(cid) == DATA
        with pytest.raises(BackendError, match="may be there"):
            cache.get(NOBODY)


def test_many_blocks_at_once(serving: Kubo, tmp_path: Path) -> None:
    some = [serving.block_put(b"block %d" % number) for number in range(100)]
    with TieredCacheManager({"tiers": tables(serving), "memory_cache_size": 16 << 20}) as cache:
        file = serving.add_bytes(DATA[:300_000])
        found = cache.get_many([*some, NOBODY, file])
        assert [found[cid] for cid in some] == [b"block %d" % number for number in range(100)]
        assert found[NOBODY] is None
        assert found[file] == DATA[:300_000]


def test_what_is_demoted_is_at_the_daemon_alone_until_it_is_read_again(serving: Kubo, tmp_path: Path) -> None:
    with TieredCacheManager({"local_cache_path": tmp_path / "cache", "tiers": tables(serving)}) as cache:
        with IPFSLibp2pPeer() as other:
            cid = other.add_bytes(DATA)
        cache.put(cid, DATA, {"name": "mine", "tags": [1, 2]})
        moved = cache.demote(cid)
        assert (moved["root"], moved["tier"]) == (cid, "kubo")
        assert moved["size"] > len(DATA)
        assert not cache.contains(cid)
        assert cache.get_metadata(cid) == {"name": "mine", "tags": [1, 2]}
        assert serving.rpc("cat", cid, offline=True) == DATA
        assert [one["safe"] for one in cache.replicas(cid, refresh=True)] == [True]
        assert cache.get(cid) == DATA
        assert cache.promote(cid)["tier"] == "memory"

        cache.pin(cid)
        with pytest.raises(LocalError, match="pinned"):
            cache.demote(cid)
        with pytest.raises(LocalError, match="pinned"):
            cache.delete(cid)
        cache.unpin(cid)
        assert cache.demote(cid, "disk")["tier"] == "disk"
        assert cache.delete(cid)
        assert not cache.contains(cid)
        assert cache.get_metadata(cid) is None
        with pytest.raises(ConfigError, match="no remote tier is called 'moon'"):
            cache.demote(serving.block_put(b"x"), "moon")


def test_what_is_pinned_is_copied_to_the_daemon_and_removed_there_when_it_is_unpinned(
    serving: Kubo, tmp_path: Path
) -> None:
    settings = {"local_cache_path": tmp_path / "cache", "tiers": tables(serving, replicate=True)}
    with TieredCacheManager(settings) as cache:
        with IPFSLibp2pPeer() as other:
            cid = other.add_bytes(DATA)
        cache.put(cid, DATA)
        cache.pin(cid)
        eventually(lambda: cid in serving.rpc("pin/ls", type="recursive").decode())
        assert serving.rpc("cat", cid, offline=True) == DATA
        eventually(lambda: cache.replicas(cid) and cache.replicas(cid)[0]["safe"])
        cache.unpin(cid)
        eventually(lambda: cid not in serving.rpc("pin/ls", type="recursive").decode())
        eventually(lambda: not cache.replicas(cid))


def test_a_daemon_that_dies_and_comes_back_gets_its_copies_then(serving: Kubo, tmp_path: Path) -> None:
    """The pin is made while no daemon answers."""
    with TieredCacheManager(
        {"local_cache_path": tmp_path / "cache", "tiers": [{"type": "kubo", "endpoint": "http://127.0.0.1:9"}],
         "role": "master"}
    ) as cache:  # fmt: skip
        with IPFSLibp2pPeer() as other:
            cid = other.add_bytes(DATA)
        cache.put(cid, DATA)
        cache.pin(cid)
        eventually(lambda: [one["state"] for one in cache.replicas(cid)] == ["failed"], 60.0)
    settings = {"local_cache_path": tmp_path / "cache", "tiers": tables(serving)[1:], "role": "master"}
    with TieredCacheManager(settings) as cache:
        eventually(lambda: cache.replicas(cid) and cache.replicas(cid)[0]["safe"], 60.0)
    assert serving.rpc("cat", cid, offline=True) == DATA


def test_a_peer_asks_the_tiers_of_its_cache(serving: Kubo, tmp_path: Path) -> None:
    cid = serving.add_bytes(DATA)
    with (
        TieredCacheManager({"local_cache_path": tmp_path / "cache", "tiers": tables(serving)}) as cache,
        IPFSLibp2pPeer(tiered_storage_manager=cache) as peer,
        IPFSLibp2pPeer() as other,
    ):
        assert peer.request_content(cid) == DATA
        assert cache.contains(cid)
        other.connect_peer(peer.get_multiaddrs()[0])
        assert other.request_content(cid) == DATA


def test_peers_and_a_gateway_at_once_each_give_what_the_other_has_not(serving: Kubo, tmp_path: Path) -> None:
    theirs, at_gateway = DATA[: 1 << 20], DATA[1 << 20 :]
    cid = serving.add_bytes(at_gateway)

    async def main() -> None:
        tiers = tuple(tables(serving)[:1])
        async with open_node(NodeConfig()) as other, open_node(NodeConfig(tiers=tiers)) as node:
            mine = await other.add_bytes(theirs)
            await node.connect(other.addresses()[0])
            with trio.fail_after(30):
                assert await node.read_bytes(mine) == theirs
                assert await node.read_bytes(cid) == at_gateway
            peers, gateway = (await node.statistics()).sources
            assert peers.hits > 0
            assert gateway.hits > 0

    trio.run(main)


def test_the_command_line_has_the_same_tiers(serving: Kubo, tmp_path: Path) -> None:
    cid = serving.add_bytes(DATA)
    repo = tmp_path / "repo"
    repo.mkdir()
    (repo / "config.toml").write_text(
        f'[[tiers]]\ntype = "gateway"\nurls = ["{serving.gateway_url}"]\n'
        f'[[tiers]]\ntype = "kubo"\nname = "home"\nendpoint = "${{HOME_KUBO}}"\noffline = true\n'
    )

    def ipfs_kit(*words: str, ok: bool = True) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "ipfs_kit_py.cli", "--repo", str(repo), *words],
            capture_output=True, timeout=120, env={**os.environ, "HOME_KUBO": serving.api_url}, check=False,
        )  # fmt: skip
        assert (done.returncode == 0) == ok, done.stderr.decode()
        return (done.stdout if ok else done.stderr).decode(errors="replace")

    assert len(ipfs_kit("cat", cid)) > 0
    assert "gateway" in ipfs_kit("cache", "stat")
    assert "now in memory" in ipfs_kit("cache", "promote", cid)
    assert f"home {cid}" in ipfs_kit("cache", "replicate", cid, "--to", "home")
    assert "safe" in ipfs_kit("cache", "replicas", cid)
    assert "now in home" in ipfs_kit("cache", "demote", cid, "--to", "home")
    assert "not in the store" in ipfs_kit("--offline", "block", "get", cid, ok=False)
    assert len(ipfs_kit("cat", cid)) > 0
    assert "blocks checked" in ipfs_kit("cache", "verify")
    assert "no remote tier is called 'moon'" in ipfs_kit("cache", "demote", cid, "--to", "moon", ok=False)


def test_content_that_is_nowhere_is_not_found_by_a_node_without_peers(serving: Kubo) -> None:
    async def main() -> None:
        async with open_node(NodeConfig(libp2p=False, tiers=tuple(tables(serving)))) as node:
            with trio.fail_after(60), pytest.raises(NotFound):
                await node.block_get(NOBODY)

    trio.run(main)


def test_a_master_fetches_ahead_and_replicates_and_a_leecher_does_neither(serving: Kubo, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number:02}").write_bytes(random.Random(number).randbytes(20_000))
    root = serving.add(folder)
    names = sorted(serving.ls(root))

    async def read(role: str) -> tuple[int | None, list[str]]:
        config = NodeConfig(role=role, libp2p=False, tiers=tuple(tables(serving)[1:]), repo=tmp_path / role)
        async with open_node(config) as node:
            for name in names:
                assert len(await node.read_bytes(f"{root}/{name}")) == 20_000
            await node.pin_add(root)
            found = await node.statistics()
            return None if found.prefetch is None else found.prefetch.used, [row.tier for row in found.replicas]

    async def main() -> None:
        used, _tiers = await read("master")
        assert used is not None
        assert used > 0
        assert (await read("leecher"))[0] is None

    trio.run(main)
