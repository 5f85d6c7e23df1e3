"""The tier of a cluster, and that of a pinning service, against three peers of IPFS Cluster 1.1.6 over three Kubos."""

from __future__ import annotations

import random
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio

from ipfs_kit_py.core.cid import DAG_CBOR, DAG_JSON
from ipfs_kit_py.core.errors import BackendError, ConfigError, InvalidBlock, NotFound
from ipfs_kit_py.dag import dag_cbor
from ipfs_kit_py.storage.remote.build import TierContext, build_tier
from ipfs_kit_py.storage.remote.cluster.tier import ClusterTier
from ipfs_kit_py.storage.remote.filecoin import pinning
from ipfs_kit_py.storage.remote.filecoin.pinning import PinningTier
from test.peers import locate
from test.peers.cluster import Cluster
from test.remote.dags import block, stream, tree

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from ipfs_kit_py.core.cid import CID
    from ipfs_kit_py.storage.remote.base import Status

pytestmark = pytest.mark.interop

USER, PASSWORD = "user", "open-sesame-42"
SECONDS = 60.0  # for what a cluster does by itself


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three peers that ask for a password, and give up a pin after a second without progress."""
    settings = {"ipfs_connector.ipfshttp.pin_timeout": "1s"}
    with _cluster(tmp_path_factory, credentials={USER: PASSWORD}, settings=settings) as found:
        yield found


@pytest.fixture
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three peers of which a test may end some."""
    with _cluster(tmp_path_factory) as found:
        yield found


def _cluster(tmp_path_factory: pytest.TempPathFactory, **options: Any) -> Cluster:
    try:
        ipfs, service = locate.kubo(), locate.cluster()
    except locate.PeerMissing as error:
        pytest.skip(str(error))
    return Cluster(ipfs, service, tmp_path_factory.mktemp("cluster"), **options)


@asynccontextmanager
async def tier_of(cluster: Cluster, at: int = 0, **options: Any) -> AsyncIterator[ClusterTier]:
    """A tier made as a configuration makes it, when all peers know each other."""
    peer = cluster.peers[at]
    table = {"type": "ipfs_cluster", "endpoint": peer.api_url, "proxy": peer.proxy_url, "wait": SECONDS, **options}
    tier = build_tier(table, TierContext(rng=random.Random(1)))
    assert isinstance(tier, ClusterTier)
    try:
        yield tier
    finally:
        await tier.aclose()


def run(cluster: Cluster, work: Callable[[ClusterTier], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        async with tier_of(cluster, **{"user": USER, "password": PASSWORD, **options}) as tier:
            await together(tier)
            await work(tier)

    trio.run(main)


async def together(tier: ClusterTier, count: int = 3) -> None:
    """Wait until the peer that is asked can allot pins to so many, and to no others."""
    with trio.fail_after(SECONDS):
        while len(await tier.api.free_space()) != count:
            await trio.sleep(0.05)


async def until(tier: ClusterTier, root: CID, true: Callable[[Status], bool]) -> Status:
    """Wait for a status."""
    found: Status | None = None
    with trio.move_on_after(SECONDS):
        while True:
            found = await tier.status(root)
            if true(found):
                return found
            await trio.sleep(0.05)
    pytest.fail(f"not within {SECONDS} s; the last status was {found}")


async def all_of(tier: ClusterTier, root: CID) -> dict[CID, bytes]:
    async with aclosing(tier.get_dag(root)) as blocks:
        return {one.cid: bytes(one.data) async for one in blocks}


# --- putting and reading ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("jwt", [False, True], ids=["basic", "jwt"])
def test_a_dag_is_kept_by_two_of_three(cluster: Cluster, jwt: bool) -> None:
    dag = tree(20, 1 << 20, seed=10 + jwt)
    root = dag[0].cid

    async def work(tier: ClusterTier) -> None:
        assert not await tier.has(root)
        with pytest.raises(NotFound):
            await tier.status(root)
        status = await tier.put(root, stream(dag), label="a name, with ünicode & signs")
        allocation = await tier.api.allocation(root)
        assert (status.state, status.safe, status.replicas, status.wanted) == ("pinned", True, 2, 2)
        assert status.detail == dict.fromkeys(allocation.peers, "pinned")
        assert (allocation.least, allocation.most, allocation.name) == (2, 2, "a name, with ünicode & signs")
        kubos = {peer.peer_id: peer.kubo for peer in cluster.peers}
        for peer in allocation.peers:  # theirs to say, and not that of the cluster
            assert all(kubos[peer].has(str(one.cid)) for one in dag)
        assert await tier.has(root)
        assert await all_of(tier, root) == {one.cid: one.data for one in dag}
        assert await tier.get(dag[-1].cid) == dag[-1].data
        assert [one.cid async for one in tier.api.allocations()] == [root]
        assert [one.pinned async for one in tier.api.statuses(states=("pinned",))] == [list(status.detail)]
        await tier.remove(root)
        with pytest.raises(NotFound):
            await tier.status(root)
        assert not (await tier.api.status(root)).pinned
        await tier.remove(root)
        assert [one async for one in tier.api.allocations()] == []

    run(cluster, work, replication_min=2, jwt=jwt)


def test_all_peers_by_the_cluster_s_own_default(cluster: Cluster) -> None:
    dag = tree(5, seed=2)

    async def work(tier: ClusterTier) -> None:
        status = await tier.put(dag[0].cid, stream(dag))
        assert (status.safe, status.replicas, status.wanted) == (True, 3, 3)
        await tier.remove(dag[0].cid)

    run(cluster, work)


def test_more_copies_than_there_are_peers_are_refused(cluster: Cluster) -> None:
    dag = tree(5, seed=3)

    async def work(tier: ClusterTier) -> None:
        with pytest.raises(BackendError, match="not enough peers"):
            await tier.put(dag[0].cid, stream(dag))
        with pytest.raises(NotFound):
            await tier.status(dag[0].cid)

    run(cluster, work, replication_min=4)


def test_an_error_in_the_trailer_is_raised(cluster: Cluster) -> None:
    """The cluster answers 200 to a block whose codec it does not know, and says so at the end."""
    odd = block(b'{"a":1}', DAG_JSON)

    async def work(tier: ClusterTier) -> None:
        with pytest.raises(BackendError, match="failed in the middle: could not choose a decoder"):
            await tier.put(odd.cid, stream([odd]))
        with pytest.raises(NotFound):
            await tier.status(odd.cid)

    run(cluster, work)


def test_a_dag_with_a_gap_is_not_pinned(cluster: Cluster) -> None:
    dag = tree(5, seed=4)

    async def work(tier: ClusterTier) -> None:
        with pytest.raises(InvalidBlock, match="is not among the blocks"):
            await tier.put(dag[0].cid, stream(dag[:-1]))
        with pytest.raises(NotFound):
            await tier.status(dag[0].cid)

    run(cluster, work)


def test_an_expiry_ends_a_pin(cluster: Cluster) -> None:
    dag = tree(5, seed=5)

    async def work(tier: ClusterTier) -> None:
        status = await tier.put(dag[0].cid, stream(dag))
        assert status.safe
        assert status.detail["expires"].startswith("20")
        with pytest.raises(NotFound):
            await until(tier, dag[0].cid, lambda status: not status)

    run(cluster, work, expire=2, meta={"from": "tests"})


def test_a_pin_that_failed_is_recovered(cluster: Cluster) -> None:
    """Nobody has the block at first: each peer gives up. Then one has it."""
    one = block(dag_cbor.encode({"late": True}), DAG_CBOR)

    async def work(tier: ClusterTier) -> None:
        status = await tier.pin(one.cid, label="late")
        assert (status.state, status.safe, status.replicas) == ("pin_error", False, 0)
        assert all(text.startswith("pin_error: ") for text in status.detail.values())
        for peer in cluster.peers:
            peer.kubo.block_put(one.data, codec="dag-cbor")
        await tier.recover(one.cid)
        assert (await until(tier, one.cid, lambda status: status.safe)).replicas == 2
        await tier.remove(one.cid)

    run(cluster, work, replication_min=2)


# --- who may ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "login",
    [
        {"user": USER, "password": "wrong-sesame-43"},
        {"user": USER, "password": "wrong-sesame-43", "jwt": True},
        {"token": "wrong-sesame-43"},
        {},
    ],
)
def test_a_wrong_password_is_told_and_not_shown(cluster: Cluster, login: dict[str, Any]) -> None:
    dag = tree(3, seed=6)

    async def main() -> None:
        async with tier_of(cluster, **login) as tier:
            health = await tier.health()
            assert not health.ok
            with pytest.raises(BackendError, match="401 unauthorized") as caught:
                await tier.put(dag[0].cid, stream(dag))
            assert "sesame" not in f"{health}{caught.value}{tier!r}"

    trio.run(main)


def test_a_password_is_needed_for_a_token(cluster: Cluster) -> None:
    with pytest.raises(ConfigError, match="user and password"):
        build_tier({"type": "ipfs_cluster", "endpoint": cluster.peers[0].api_url, "jwt": True},
                   TierContext(rng=random.Random(1)))  # fmt: skip


def test_a_token_that_was_made_elsewhere(cluster: Cluster) -> None:
    tokens: list[str] = []

    async def fetch(tier: ClusterTier) -> None:
        assert (await tier.health()).detail == "ipfs-cluster 1.1.6"
        tokens.append(await tier.api.new_token())

    async def use() -> None:
        async with tier_of(cluster, token=tokens[0]) as tier:
            assert (await tier.health()).ok

    run(cluster, fetch, jwt=True)
    trio.run(use)


# --- peers that end ---------------------------------------------------------------------------------------------------
def test_one_of_three_ends_and_the_data_are_safe(mortal: Cluster) -> None:
    """Two copies are asked for and three are made: without one peer it is still safe, and the status names it."""
    dag = tree(20, 1 << 20, seed=7)
    root = dag[0].cid

    async def work(tier: ClusterTier) -> None:
        assert (await tier.put(root, stream(dag))).safe
        await until(tier, root, lambda status: status.replicas == 3)
        mortal.kubos[2].close()
        status = await until(tier, root, lambda status: status.replicas == 2)
        assert (status.state, status.safe, status.wanted) == ("pinned", True, 2)
        assert "connection refused" in status.detail[mortal.peers[2].peer_id]
        assert await all_of(tier, root) == {one.cid: one.data for one in dag}
        mortal.peers[1].close()
        status = await until(tier, root, lambda status: status.replicas == 1)
        assert (status.state, status.safe) == ("cluster_error", False)
        assert status.detail[mortal.peers[0].peer_id] == "pinned"
        assert "dial" in status.detail[mortal.peers[1].peer_id]
        mortal.peers[1].start()
        assert (await until(tier, root, lambda status: status.safe)).replicas == 2

    run(mortal, work, replication_min=2, replication_max=3)


def test_a_pin_moves_to_a_peer_that_lives(mortal: Cluster) -> None:
    dag = tree(10, seed=8)
    root = dag[0].cid

    async def work(tier: ClusterTier) -> None:
        before = await tier.put(root, stream(dag))
        gone = next(at for at in (1, 2) if mortal.peers[at].peer_id in before.detail)
        mortal.peers[gone].close()
        await until(tier, root, lambda status: not status.safe)
        await together(tier, 2)  # when the cluster itself has noticed that the peer is gone
        after = await tier.pin(root)
        assert (after.safe, after.replicas) == (True, 2), after
        assert mortal.peers[gone].peer_id not in after.detail

    run(mortal, work, replication_min=2)


# --- the pinning service of a cluster ---------------------------------------------------------------------------------
def pins(cluster: Cluster, work: Callable[[PinningTier], Awaitable[None]]) -> None:
    async def main() -> None:
        async with tier_of(cluster, user=USER, password=PASSWORD) as rest:
            assert list((await rest.api.peers()).values()) == ["", "", ""]
            await together(rest)
            token = await _pinning_token(cluster)
        tier = PinningTier(
            cluster.peers[0].pinning_url, token=token, rng=random.Random(1), meta={"from": "tests"}, poll=0.05
        )
        try:
            await work(tier)
        finally:
            await tier.aclose()

    trio.run(main)


async def _pinning_token(cluster: Cluster) -> str:
    table = {"type": "ipfs_cluster", "endpoint": cluster.peers[0].pinning_url, "user": USER, "password": PASSWORD}
    async with tier_of(cluster, **table) as tier:
        return await tier.api.new_token()


def test_a_pinning_service_fetches_and_keeps(cluster: Cluster) -> None:
    kubo = cluster.kubos[1]
    root = block(b"in a kubo of the cluster").cid
    kubo.block_put(b"in a kubo of the cluster")

    async def work(tier: PinningTier) -> None:
        assert (await tier.health()).ok
        assert not await tier.has(root)
        with pytest.raises(NotFound):
            await tier.status(root)
        status = await tier.put(root, stream([]), label="a name")
        assert (status.state, status.safe) == ("pinned", True)
        assert await tier.has(root)
        assert (await tier.status(root)).safe
        (found,) = await tier.find(root)
        assert (found.cid, found.name, found.state) == (root, "a name", "pinned")
        assert (await tier.put(root, stream([]))).detail["request"] == found.request
        await tier.remove(root)
        await tier.remove(root)
        assert not await tier.has(root)
        assert await tier.pins() == []

    pins(cluster, work)


def test_pins_are_listed_page_by_page(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster lists in no order: pages are cut by time, and nothing is lost between them."""
    monkeypatch.setattr(pinning, "PIN_PAGE", 3)
    roots = []
    for at in range(10):
        data = b"page %d" % at
        for kubo in cluster.kubos:
            kubo.block_put(data)
        roots.append(block(data).cid)

    async def work(tier: PinningTier) -> None:
        for root in roots:
            assert (await tier.put(root, stream([]))).safe
        assert {one.cid for one in await tier.pins()} == set(roots)
        assert await tier.pins(states=("failed",)) == []
        for root in roots:
            await tier.remove(root)

    pins(cluster, work)
