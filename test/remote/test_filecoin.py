"""The Filecoin tier: DAGs put as pieces and fetched back, against servers written from the published interfaces."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import trio

from ipfs_kit_py.core.cid import CID, Block
from ipfs_kit_py.core.errors import BackendError, ConfigError, NotFound, NotSupported, TimedOut
from ipfs_kit_py.storage.remote import base
from ipfs_kit_py.storage.remote.filecoin import pdp_store, pieces
from ipfs_kit_py.storage.remote.filecoin.commp import piece_of
from ipfs_kit_py.storage.remote.filecoin.pdp_store import Deposit, OpenDataSet, Terms
from ipfs_kit_py.storage.remote.filecoin.pinning import PinningTier
from ipfs_kit_py.storage.remote.filecoin.tier import FilecoinTier
from ipfs_kit_py.storage.remote.filecoin.warm_storage import ChainKey, WarmStorage, keccak, signer_of
from test.remote.dags import MemoryTier, block, stream, tree
from test.remote.filecoin_servers import ChainServer, PdpServer, PinServer
from test.remote.filecoin_tiers import KEEPER, World, run
from test.remote.loopback import serving
from test.remote.test_chain import allocation, deal

if TYPE_CHECKING:
    from ipfs_kit_py.storage.remote.base import RemoteTier

BLOCKS = tree(25, 5000)
ROOT = BLOCKS[0].cid


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "RETRY_BASE_SECONDS", 0.001)
    monkeypatch.setattr(pieces, "RETRY_BASE_SECONDS", 0.001)


async def all_of(tier: RemoteTier, root: CID = ROOT) -> list[Block]:
    return [one async for one in tier.get_dag(root)]


# --- put and get ------------------------------------------------------------------------------------------------------
def test_a_dag_is_put_and_comes_back() -> None:
    async def work(world: World) -> None:
        tier: RemoteTier = world.tier
        assert tier.verbs == {"get", "get_dag", "has", "put", "remove", "status"}
        assert not await tier.has(ROOT)
        status = await tier.put(ROOT, stream(BLOCKS), label="a name")
        assert (status.state, status.safe, status.replicas) == ("stored", True, 1)
        [payload] = world.provider.pieces.values()
        piece = piece_of(payload)
        [number] = world.provider.data_sets
        assert status.detail == {str(piece): "announced", "data set": str(number), "next challenge": "4242"}
        assert await all_of(tier) == BLOCKS
        assert await tier.get(ROOT) == BLOCKS[0].data
        assert await tier.has(ROOT)
        await tier.remove(ROOT)
        assert world.provider.data_sets == {number: {}}
        with pytest.raises(NotFound):
            await tier.status(ROOT)
        with pytest.raises(NotFound):
            await all_of(tier)
        assert (await tier.health()).ok

    run(work)


def test_leaves_first_comes_back_parents_first() -> None:
    async def work(world: World) -> None:
        await world.tier.put(ROOT, stream(BLOCKS[::-1]))
        found = await all_of(world.tier)
        assert found[0] == BLOCKS[0]
        assert sorted(found) == sorted(BLOCKS)

    run(work)


def test_a_large_dag_is_several_pieces() -> None:
    blocks = tree(20, 1 << 20)

    async def work(world: World) -> None:
        assert (await world.tier.put(blocks[0].cid, stream(blocks))).safe
        assert len(world.provider.pieces) == 3
        assert await all_of(world.tier, blocks[0].cid) == blocks

    run(work, piece_bytes=(8 << 20) + 4096)


def test_a_piece_is_waited_for_until_it_is_taken_in() -> None:
    """Before that it cannot be added to a data set."""

    async def work(world: World) -> None:
        assert (await world.tier.put(ROOT, stream(BLOCKS))).safe
        assert world.provider.seen.count("GET /pdp/piece") == 5  # before the upload, four after it

    async def never(world: World) -> None:
        with pytest.raises(TimedOut, match="did not take in"):
            await world.tier.put(ROOT, stream(BLOCKS))

    run(work, PdpServer(arrive=3))
    run(never, PdpServer(arrive=1000), wait=0.05)


def test_putting_again_sends_and_adds_nothing() -> None:
    async def work(world: World) -> None:
        await world.tier.put(ROOT, stream(BLOCKS))
        before = list(world.provider.seen)
        assert (await world.tier.put(ROOT, stream(BLOCKS))).safe
        assert not [line for line in world.provider.seen[len(before) :] if not line.startswith("GET")]

    run(work)


def test_a_second_dag_goes_to_the_same_data_set() -> None:
    other = tree(3, seed=9)

    async def work(world: World) -> None:
        await world.tier.put(ROOT, stream(BLOCKS))
        assert (await world.tier.put(other[0].cid, stream(other))).safe
        [(number, there)] = world.provider.data_sets.items()
        assert len(there) == 2
        assert world.store.data_set == OpenDataSet(number, world.store.data_set.client)

    run(work)


def test_many_pieces_are_added_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdp_store, "PIECES_PER_CALL", 2)
    blocks = tree(36, 1 << 20)

    async def work(world: World) -> None:
        assert (await world.tier.put(blocks[0].cid, stream(blocks))).safe
        deposit = world.tier.deposits[blocks[0].cid]
        assert (len(deposit.pieces), len(deposit.transactions)) == (5, 3)
        assert len(world.provider.data_sets[deposit.data_set or 0]) == 5
        await world.tier.remove(blocks[0].cid)
        assert world.provider.data_sets == {deposit.data_set: {}}

    run(work, piece_bytes=(8 << 20) + 4096)


def test_without_terms_pieces_are_uploaded_and_not_safe() -> None:
    async def work(world: World) -> None:
        status = await world.tier.put(ROOT, stream(BLOCKS))
        assert (status.state, status.safe) == ("uploaded", False)
        assert world.provider.data_sets == {}
        world.provider.pieces.clear()
        assert (await world.tier.status(ROOT)).state == "lost"
        assert not await world.tier.has(ROOT)

    run(work, terms=None)


# --- signatures -------------------------------------------------------------------------------------------------------
def words_of(extra: str) -> list[bytes]:
    raw = bytes.fromhex(extra.removeprefix("0x"))
    return [raw[at : at + 32] for at in range(0, len(raw), 32)]


def tail(raw: bytes, head: int) -> bytes:
    """The byte string whose offset stands at ``head``."""
    at = int.from_bytes(raw[head : head + 32], "big")
    size = int.from_bytes(raw[at : at + 32], "big")
    return raw[at + 32 : at + 32 + size]


def test_calls_are_signed_where_the_contract_wants_it() -> None:
    """As the contract checks them: the signer of each message, and the same number of ours in all."""
    signer = WarmStorage(ChainKey(bytes(31) + b"\x07"), KEEPER, 314)
    other = tree(3, seed=9)

    async def work(world: World) -> None:
        await world.tier.put(ROOT, stream(BLOCKS))
        await world.tier.put(other[0].cid, stream(other))
        await world.tier.remove(ROOT)
        both, add, remove = (bytes.fromhex(text[2:]) for text in world.provider.extra)
        create, first = tail(both, 0), tail(both, 32)
        client = int.from_bytes(create[32:64], "big")
        assert client == world.store.data_set.client
        assert create[12:32].hex() == signer.key.address[2:]
        expected = signer.create(client, KEEPER, {"withIPFSIndexing": ""})
        assert create == expected
        for extra, deposit_root in ((first, ROOT), (add, other[0].cid)):
            nonce = int.from_bytes(extra[:32], "big")
            [payload] = [raw for raw in world.provider.pieces.values() if deposit_root.raw in raw[:200]]
            rows = [(piece_of(payload).v2, {"ipfsRootCID": str(deposit_root)})]
            assert extra == signer.add(client, nonce, rows)
        numbers = [number for number in range(10) if remove == signer.remove(client, [number])]
        assert len(numbers) == 1
        message = keccak(b"any")
        assert signer_of(message, signer.key.sign(message)) == signer.key.address

    run(work, terms=Terms(KEEPER, payee=KEEPER, signer=signer))


# --- the chain takes its time, or refuses -----------------------------------------------------------------------------
def test_what_the_chain_has_not_settled_is_pending_and_not_added_twice() -> None:
    async def work(world: World) -> None:
        provider = world.provider
        provider.settle = False
        status = await world.tier.put(ROOT, stream(BLOCKS))
        assert (status.state, status.safe) == ("pending", False)
        [sent] = provider.changes
        with pytest.raises(TimedOut, match="put again later"):
            await world.tier.put(ROOT, stream(BLOCKS))
        assert list(provider.changes) == [sent]
        provider.confirm(sent)
        assert (await world.tier.status(ROOT)).state == "stored"
        assert (await world.tier.put(ROOT, stream(BLOCKS))).safe
        assert list(provider.changes) == [sent]

    run(work, wait=0.1)


def test_an_addition_that_is_pending_is_not_sent_again() -> None:
    async def work(world: World) -> None:
        provider = world.provider
        provider.data_sets[7] = {}
        provider.settle = False
        assert (await world.tier.put(ROOT, stream(BLOCKS))).state == "pending"
        [sent] = provider.changes
        with pytest.raises(TimedOut, match="put again later"):
            await world.tier.put(ROOT, stream(BLOCKS))
        provider.verdict = False
        provider.confirm(sent)
        assert (await world.tier.status(ROOT)).state == "failed"
        provider.verdict = provider.settle = True
        assert (await world.tier.put(ROOT, stream(BLOCKS))).state == "stored"
        assert len(provider.changes) == 2
        assert len(world.tier.deposits[ROOT].transactions) == 1

    run(work, wait=0.1, data_set=OpenDataSet(7, 1))


def test_a_data_set_that_is_rejected_is_made_again() -> None:
    async def work(world: World) -> None:
        world.provider.verdict = False
        with pytest.raises(BackendError, match="rejected"):
            await world.tier.put(ROOT, stream(BLOCKS))
        assert (await world.tier.status(ROOT)).state == "failed"
        world.provider.verdict = True
        assert (await world.tier.put(ROOT, stream(BLOCKS))).state == "stored"

    run(work)


def test_two_puts_at_once_make_one_data_set() -> None:
    other = tree(3, seed=9)

    async def work(world: World) -> None:
        async with trio.open_nursery() as nursery:
            for blocks in (BLOCKS, other):
                nursery.start_soon(world.tier.put, blocks[0].cid, stream(blocks))
        assert len(world.provider.data_sets) == 1
        assert (await world.tier.status(ROOT)).safe
        assert (await world.tier.status(other[0].cid)).safe

    run(work)


# --- the gateway ------------------------------------------------------------------------------------------------------
def test_the_gateway_comes_first_and_pieces_bring_the_rest() -> None:
    async def work(world: World) -> None:
        await world.tier.put(ROOT, stream(BLOCKS))
        found = await all_of(world.tier)
        assert found[:4] == BLOCKS[:4]
        assert sorted(found) == sorted(BLOCKS)
        assert await world.tier.get(BLOCKS[3].cid) == BLOCKS[3].data
        assert [line for line in world.provider.seen if line.startswith("GET /piece/")]

    run(work, gateway=MemoryTier(BLOCKS, ends_after=4))


def test_a_gateway_alone_is_enough() -> None:
    async def main() -> None:
        tier = FilecoinTier(gateway=MemoryTier(BLOCKS))
        assert tier.verbs == {"get", "get_dag", "has"}
        assert await all_of(tier) == BLOCKS
        assert await tier.has(ROOT)
        with pytest.raises(NotFound):
            await tier.get(CID.of(b"elsewhere"))
        with pytest.raises(NotSupported):
            await tier.put(ROOT, stream(BLOCKS))
        with pytest.raises(NotSupported):
            await tier.remove(ROOT)
        await tier.aclose()

    trio.run(main)


def test_nothing_configured_says_so() -> None:
    async def main() -> None:
        tier = FilecoinTier()
        assert tier.verbs == frozenset()
        with pytest.raises(NotSupported):
            await tier.get(ROOT)
        with pytest.raises(NotSupported):
            await all_of(tier)
        assert not await tier.has(ROOT)
        assert not (await tier.health()).ok

    trio.run(main)


def test_leaving_a_dag_early_leaves_nothing_open() -> None:
    async def work(world: World) -> None:
        await world.tier.put(ROOT, stream(BLOCKS))
        dag = world.tier.get_dag(ROOT)
        assert await anext(dag) == BLOCKS[0]
        await dag.aclose()
        assert await all_of(world.tier) == BLOCKS

    run(work)


# --- a pinning service instead of a provider --------------------------------------------------------------------------
def test_a_pinning_service_may_keep_it() -> None:
    async def main() -> None:
        server = PinServer()
        async with serving(server) as url:
            store = PinningTier(url, token=server.token, rng=random.Random(1), poll=0.001)
            tier = FilecoinTier(gateway=MemoryTier(BLOCKS), store=store)
            assert (await tier.put(ROOT, stream(BLOCKS), label="x")).safe
            assert await tier.has(ROOT)
            assert (await tier.status(ROOT)).state == "pinned"
            assert (await tier.health()).ok
            await tier.remove(ROOT)
            with pytest.raises(NotFound):
                await tier.status(ROOT)
            await tier.aclose()

    trio.run(main)


# --- the chain's own word ---------------------------------------------------------------------------------------------
def test_the_chain_must_agree() -> None:
    async def work(world: World) -> None:
        status = await world.tier.put(ROOT, stream(BLOCKS))
        [sent] = world.provider.changes
        assert (status.state, status.safe, status.detail[sent]) == ("unconfirmed", False, "not on the chain")
        assert status.detail["epoch"] == "1000"
        world.chain.receipts[sent] = "0x1"
        status = await world.tier.status(ROOT)
        assert (status.state, status.safe, status.replicas) == ("stored", True, 1)
        world.chain.receipts[sent] = "0x0"
        status = await world.tier.status(ROOT)
        assert (status.state, status.safe, status.replicas) == ("failed", False, 0)

    run(work, with_chain=True)


def test_deals_and_allocations_count_where_they_are_of_the_piece() -> None:
    chain = ChainServer()

    async def work(world: World) -> None:
        await world.tier.put(ROOT, stream(BLOCKS))
        deposit = world.tier.deposits[ROOT]
        own = {"/": str(deposit.pieces[0].v1)}
        mine, theirs, over, early = deal(), deal(), deal(SlashEpoch=960), deal(SectorStartEpoch=-1)
        for row in (mine, over, early):
            row["Proposal"]["PieceCID"] = own
        chain.deals |= {1: mine, 2: theirs, 3: over, 4: early}
        open_now, gone = allocation() | {"Data": own}, allocation(999) | {"Data": own}
        chain.allocations |= {("f01234", 1): open_now, ("f01234", 2): gone, ("f01234", 3): allocation()}
        numbers = tuple(("f01234", number) for number in (1, 2, 3, 4))
        world.tier.know(replace(deposit, deals=(1, 2, 3, 4, 5), allocations=numbers))
        status = await world.tier.status(ROOT)
        assert (status.state, status.safe, status.replicas) == ("active", True, 1)
        detail = status.detail
        assert detail["deal 1"] == "active with f02000 until epoch 2000"
        assert detail["deal 2"].startswith("of another piece")
        assert [detail[f"deal {number}"] for number in (3, 4, 5)] == ["over", "not proven yet", "unknown"]
        assert detail["allocation 1"] == "open until epoch 1500"
        assert detail["allocation 2"] == "expired"
        assert detail["allocation 3"].startswith("of another piece")
        assert detail["allocation 4"] == "claimed or gone"

    run(work, terms=None, chain=chain, with_chain=True)


# --- records ----------------------------------------------------------------------------------------------------------
def test_a_deposit_survives_as_text() -> None:
    one = piece_of(b"x" * 1000)
    deposit = Deposit(ROOT, (one, one), 7, ("0x" + "1" * 64,), (5,), (("f01234", 9),))
    assert Deposit.from_json(deposit.to_json()) == deposit
    for text in ("", "{}", "[]", "[" * 5000, deposit.to_json().replace(str(one), str(ROOT))):
        with pytest.raises(ConfigError):
            Deposit.from_json(text)


def test_a_tier_that_starts_again_knows_its_deposits() -> None:
    kept: dict[str, Any] = {}
    provider = PdpServer()

    async def first(world: World) -> None:
        await world.tier.put(ROOT, stream(BLOCKS))
        kept["text"] = world.tier.deposits[ROOT].to_json()
        kept["set"] = world.store.data_set

    async def second(world: World) -> None:
        world.tier.know(Deposit.from_json(kept["text"]))
        assert await all_of(world.tier) == BLOCKS
        assert (await world.tier.status(ROOT)).safe

    run(first, provider)
    run(second, provider, data_set=kept["set"])


def test_one_small_block_is_a_piece_too() -> None:
    only = block(b"")

    async def work(world: World) -> None:
        assert (await world.tier.put(only.cid, stream([only]))).safe
        assert await all_of(world.tier, only.cid) == [only]

    run(work)
