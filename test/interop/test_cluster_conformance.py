"""The conformance suite on tiers of real servers: a Kubo, a cluster of two peers, Kubo's gateway."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from ipfs_kit_py.core.cid import CODEC_NAMES
from ipfs_kit_py.storage.remote import conformance
from ipfs_kit_py.storage.remote.build import TierContext, build_tier
from test.peers import locate
from test.peers.cluster import Cluster
from test.peers.kubo import Kubo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipfs_kit_py.core.cid import Block

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def kubo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubo]:
    try:
        binary = locate.kubo()
    except locate.PeerMissing as error:
        pytest.skip(str(error))
    settings = {"Gateway.NoFetch": True}
    with Kubo(binary, tmp_path_factory.mktemp("kubo"), gateway=True, settings=settings) as found:
        yield found


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    try:
        ipfs, service = locate.kubo(), locate.cluster()
    except locate.PeerMissing as error:
        pytest.skip(str(error))
    with Cluster(ipfs, service, tmp_path_factory.mktemp("cluster"), peers=2) as found:
        yield found


def build(table: dict[str, Any]) -> Any:
    return build_tier(table, TierContext(rng=random.Random(1)))


@pytest.mark.parametrize("check", conformance.CHECKS, ids=str)
def test_kubo(check: conformance.Check, kubo: Kubo) -> None:
    assert conformance.run(check, lambda: build({"type": "kubo", "endpoint": kubo.api_url, "offline": True}))


@pytest.mark.parametrize("check", conformance.CHECKS, ids=str)
def test_ipfs_cluster(check: conformance.Check, cluster: Cluster) -> None:
    peer = cluster.peers[0]
    reader = {"endpoint": peer.proxy_url, "offline": True}
    assert conformance.run(check, lambda: build({"type": "ipfs_cluster", "endpoint": peer.api_url, "kubo": reader}))


@pytest.mark.parametrize("check", [one for one in conformance.CHECKS if "put" not in one.needs], ids=str)
def test_gateway(check: conformance.Check, kubo: Kubo) -> None:
    def place(blocks: list[Block]) -> None:
        for cid, data in blocks:
            kubo.block_put(bytes(data), codec=CODEC_NAMES[cid.codec])

    assert conformance.run(check, lambda: build({"type": "gateway", "urls": [kubo.gateway_url]}), place=place)
