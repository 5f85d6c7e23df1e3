"""Parts of the Filecoin tier against real software: Kubo reads and writes the archives in pieces, Kubo's own client of
pinning services speaks to the server that ours is tested on, an Ethereum node finds the signer of our signatures."""

from __future__ import annotations

import random
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio

from ipfs_kit_py.core.cid import CID, DAG_CBOR, Block
from ipfs_kit_py.core.errors import BackendError, NotFound
from ipfs_kit_py.storage.remote import conformance
from ipfs_kit_py.storage.remote.filecoin.chain import Chain
from ipfs_kit_py.storage.remote.filecoin.commp import piece_of
from ipfs_kit_py.storage.remote.filecoin.pdp_store import Deposit
from ipfs_kit_py.storage.remote.filecoin.warm_storage import ChainKey, keccak
from ipfs_kit_py.storage.remote.gateway.tier import GatewayTier
from ipfs_kit_py.storage.remote.http.client import Http
from test.peers import locate
from test.peers.anvil import Anvil
from test.peers.kubo import Kubo
from test.remote.dags import stream, tree
from test.remote.filecoin_servers import DELEGATE, PdpServer, PinServer
from test.remote.filecoin_tiers import World, run, world
from test.remote.loopback import Reply, Request, serving

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.interop


# --- archives ---------------------------------------------------------------------------------------------------------
def test_a_dag_of_kubo_goes_through_pieces_and_back(kubo: Kubo) -> None:
    """Its blocks are put, the archives that the provider then has are imported by Kubo again, and read by the tier."""
    content = random.Random(5).randbytes(20 << 20)
    root = CID.parse(kubo.add_bytes(content))
    names = {str(root), *kubo.refs(str(root))}
    blocks = [Block(CID.parse(name), kubo.block_get(name)) for name in sorted(names)]

    async def work(world: World) -> None:
        assert (await world.tier.put(root, stream(blocks))).safe
        archives = list(world.provider.pieces.values())
        assert len(archives) == 3
        kubo.collect()
        kubo.rpc("pin/rm", str(root))
        kubo.collect()
        assert not kubo.has(str(root))
        for raw in archives:
            kubo.dag_import(raw, pin=False)
        assert kubo.rpc("cat", str(root)) == content
        found = [one async for one in world.tier.get_dag(root)]
        assert found[0].cid == root
        assert sorted(found) == sorted(blocks)

    run(work, piece_bytes=(8 << 20) + 4096)


def test_an_archive_that_kubo_wrote_is_read_from_its_piece(kubo: Kubo) -> None:
    content = random.Random(6).randbytes(3 << 20)
    root = CID.parse(kubo.add_bytes(content))
    raw = kubo.dag_export(str(root))
    piece = piece_of(raw)

    async def work(world: World) -> None:
        world.provider.pieces[str(piece)] = raw
        world.tier.know(Deposit(root, (piece,)))
        found = [str(one.cid) async for one in world.tier.get_dag(root)]
        assert found[0] == str(root)
        assert set(found) == {str(root), *kubo.refs(str(root))}
        assert await world.tier.get(root) == kubo.block_get(str(root))

    run(work)


def test_a_dag_comes_from_a_gateway_and_where_that_lacks_it_from_pieces(tmp_path: Path) -> None:
    """Kubo's gateway has all of one DAG, and of another the first half of the leaves."""
    try:
        binary = locate.kubo()
    except locate.PeerMissing as error:
        pytest.skip(str(error))
    whole, half = tree(40, 20_000, seed=1), tree(40, 20_000, seed=2)
    lacking = half[:25]
    with Kubo(binary, tmp_path / "kubo", gateway=True, settings={"Gateway.NoFetch": True}) as kubo:
        for one in whole + lacking:
            kubo.block_put(bytes(one.data), codec="dag-cbor" if one.cid.codec == DAG_CBOR else "raw")
        gateway = GatewayTier([kubo.gateway_url], rng=random.Random(1))

        async def work(world: World) -> None:
            assert sorted([one async for one in world.tier.get_dag(whole[0].cid)]) == sorted(whole)
            assert not any(name.startswith("GET /piece/") for name in world.provider.seen)
            assert await world.tier.get(whole[3].cid) == whole[3].data
            assert await world.tier.has(whole[3].cid)
            root = half[0].cid
            with pytest.raises(NotFound):
                _ = [one async for one in world.tier.get_dag(root)]
            await world.tier.put(root, stream(half))
            found = [one async for one in world.tier.get_dag(root)]
            assert sorted(found) == sorted(half)
            assert any(name.startswith("GET /piece/") for name in world.provider.seen)
            (statistics,) = gateway.statistics()
            assert statistics.lies == 0

        run(work, gateway=gateway)


def test_it_conforms_beside_a_provider_that_indexes(tmp_path: Path) -> None:
    """Its gateway is Kubo's, which has imported all pieces that came by the time it is asked."""
    try:
        binary = locate.kubo()
    except locate.PeerMissing as error:
        pytest.skip(str(error))
    provider, known = PdpServer(), set[str]()

    async def main() -> None:
        importing = trio.Lock()  # who asks while a piece is imported waits for it

        async def indexed(request: Request) -> Reply:
            async with importing:
                for name, raw in tuple(provider.pieces.items()):
                    if name not in known:
                        await trio.to_thread.run_sync(lambda raw=raw: kubo.dag_import(raw, pin=False))
                        known.add(name)
            headers = [(name, request.headers[name]) for name in ("accept", "cache-control") if name in request.headers]
            answer = await http.call(request.method, request.path, params=request.query.items(), headers=headers)
            kind = answer.headers.get("content-type", "text/plain")
            return Reply(answer.status, answer.body, {"Content-Type": kind})

        http = Http(kubo.gateway_url)
        async with aclosing(http), serving(indexed) as url:
            gateway = GatewayTier([url], rng=random.Random(1))
            async with world(provider, gateway=gateway) as found:
                applied = await conformance.check(found.tier, seconds=20.0)
        assert all(applied.values())

    with Kubo(binary, tmp_path / "kubo", gateway=True, settings={"Gateway.NoFetch": True}) as kubo:
        trio.run(main)


# --- pinning services -------------------------------------------------------------------------------------------------
def test_kubos_client_of_pinning_services_agrees_with_our_server(kubo: Kubo) -> None:
    """What our client is tested against is tested by another client of the same specification."""
    cids = [kubo.add_bytes(bytes((number,))) for number in range(12)]

    def remote(verb: str, *args: str, **options: Any) -> list[dict[str, Any]]:
        return kubo.lines(f"pin/remote/{verb}", *args, service="ours", **options)

    async def main() -> None:
        server = PinServer(delegates=[kubo.address, DELEGATE])
        async with serving(server) as url:
            call = trio.to_thread.run_sync
            await call(partial(kubo.rpc, "pin/remote/service/add", "ours", url, server.token))
            [added] = await call(partial(remote, "add", cids[0], name="first"))
            assert added == {"Status": "pinned", "Cid": cids[0], "Name": "first"}
            [row] = server.rows.values()
            assert row["pin"]["name"] == "first"
            for cid in cids[1:]:
                server.first = "pinned"
                await call(partial(remote, "add", cid, background=True))
            listed = await call(partial(remote, "ls", status="pinned"))
            assert [found["Cid"] for found in listed] == cids[::-1]
            await call(partial(remote, "rm", cid=cids[3]))
            assert len(server.rows) == len(cids) - 1

    trio.run(main)


# --- the chain --------------------------------------------------------------------------------------------------------
@pytest.fixture
def anvil() -> Iterator[Anvil]:
    try:
        binary = locate.anvil()
    except locate.PeerMissing as error:
        pytest.skip(str(error))
    with Anvil(binary) as node:
        yield node


def on_chain(node: Anvil, work: Callable[[Chain], Awaitable[None]]) -> None:
    async def main() -> None:
        chain = Chain(node.url, rng=random.Random(1))
        try:
            await work(chain)
        finally:
            await chain.aclose()

    trio.run(main)


def test_an_ethereum_node_finds_the_signer_of_our_signatures(anvil: Anvil) -> None:
    """By the precompiled contract that contracts call for it."""

    async def work(chain: Chain) -> None:
        for number in range(1, 12):
            key = ChainKey(keccak(bytes((number,))))
            digest = keccak(b"message %d" % number)
            signed = key.sign(digest)
            data = digest + signed[64:].rjust(32, b"\0") + signed[:64]
            call = {"to": "0x" + "1".zfill(40), "data": f"0x{data.hex()}"}
            found = await chain.call("eth_call", call, "latest")
            assert found == "0x" + key.address[2:].zfill(64)

    on_chain(anvil, work)


async def settled(chain: Chain, transaction: str) -> bool:
    """What became of a transaction that is being mined: the node answers before it has done so."""
    with trio.fail_after(10):
        while (found := await chain.succeeded(transaction)) is None:
            pass
    return found


def test_what_becomes_of_transactions_is_read_from_an_ethereum_node(anvil: Anvil) -> None:
    async def work(chain: Chain) -> None:
        assert await chain.chain_number() == 314
        account = (await chain.call("eth_accounts"))[0]
        good = await chain.call("eth_sendTransaction", {"from": account, "to": account, "value": "0x1"})
        assert await settled(chain, good) is True
        bad = await chain.call("eth_sendTransaction", {"from": account, "data": "0xfe", "gas": "0x100000"})
        assert await settled(chain, bad) is False
        await chain.call("evm_setAutomine", False)
        late = await chain.call("eth_sendTransaction", {"from": account, "to": account, "value": "0x2"})
        assert await chain.succeeded(late) is None
        await chain.call("evm_mine")
        assert await settled(chain, late) is True
        with pytest.raises((BackendError, NotFound)):
            await chain.head()  # no Filecoin node

    on_chain(anvil, work)
