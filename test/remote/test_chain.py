"""The read-only client of chain nodes, against a server written from the published interface."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
import trio

from ipfs_kit_py.core.cid import CID
from ipfs_kit_py.core.errors import BackendError, NotFound
from ipfs_kit_py.storage.remote import base
from ipfs_kit_py.storage.remote.filecoin.chain import Allocation, Balance, Chain, Deal
from ipfs_kit_py.storage.remote.filecoin.commp import piece_of
from test.remote.filecoin_servers import ChainServer
from test.remote.loopback import Reply, Request, reply_json, serving

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PIECE = piece_of(b"x" * 5000)
SENT = "0x" + "ab" * 32


def deal(**state: int) -> dict[str, Any]:
    """A deal as Lotus gives it."""
    return {
        "Proposal": {
            "PieceCID": {"/": str(PIECE.v1)}, "PieceSize": PIECE.padded, "VerifiedDeal": True, "Client": "f01234",
            "Provider": "f02000", "Label": "", "StartEpoch": 900, "EndEpoch": 2000, "StoragePricePerEpoch": "0",
            "ProviderCollateral": "0", "ClientCollateral": "0",
        },
        "State": {"SectorNumber": 7, "SectorStartEpoch": 950, "LastUpdatedEpoch": -1, "SlashEpoch": -1, **state},
    }  # fmt: skip


def allocation(expiration: int = 1500) -> dict[str, Any]:
    return {
        "Client": 1234, "Provider": 2000, "Data": {"/": str(PIECE.v1)}, "Size": PIECE.padded, "TermMin": 518400,
        "TermMax": 5256000, "Expiration": expiration,
    }  # fmt: skip


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "RETRY_BASE_SECONDS", 0.001)


def run(server: Any, work: Callable[[Chain], Awaitable[None]], token: str = "chain-secret", **options: Any) -> None:
    async def main() -> None:
        async with serving(server) as url:
            chain = Chain(f"{url}/rpc/v1", token=token, rng=random.Random(1), **options)
            try:
                await work(chain)
            finally:
                await chain.aclose()

    trio.run(main)


def test_what_a_node_says_is_read() -> None:
    server = ChainServer(deals={5: deal()}, allocations={("f01234", 9): allocation()}, receipts={SENT: "0x1"})

    async def work(chain: Chain) -> None:
        head = await chain.head()
        assert (head.epoch, len(head.blocks)) == (1000, 1)
        assert await chain.deal(5) == Deal(
            5, PIECE.v1, PIECE.padded, "f01234", "f02000", 900, 2000, 950, -1, True
        )  # fmt: skip
        assert await chain.allocation("f01234", 9) == Allocation(
            1234, 2000, PIECE.v1, PIECE.padded, 518400, 5256000, 1500
        )  # fmt: skip
        assert await chain.balance("f01000") == Balance(123456789012345678901234567890, 0)
        assert await chain.chain_number() == 314
        assert await chain.succeeded(SENT) is True
        server.receipts[SENT] = "0x0"
        assert await chain.succeeded(SENT) is False
        assert await chain.succeeded("0x" + "00" * 32) is None
        health = await chain.health()
        assert (health.ok, health.detail) == (True, "1.36.2+test")

    run(server, work)


@pytest.mark.parametrize(
    ("state", "epoch", "active"),
    [
        ({}, 1999, True),
        ({}, 2000, False),
        ({"SectorStartEpoch": -1}, 1000, False),
        ({"SlashEpoch": 990}, 1000, False),
    ],
)
def test_when_a_deal_is_active(state: dict[str, int], epoch: int, active: bool) -> None:
    async def work(chain: Chain) -> None:
        assert (await chain.deal(1)).active(epoch) is active

    run(ChainServer(deals={1: deal(**state)}), work)


def test_what_is_not_there_is_not_found() -> None:
    async def work(chain: Chain) -> None:
        with pytest.raises(NotFound, match="deal 5 not found"):
            await chain.deal(5)
        with pytest.raises(NotFound):
            await chain.allocation("f01234", 9)
        with pytest.raises(NotFound):
            await chain.balance("f01001")
        with pytest.raises(NotFound, match="method"):
            await chain.call("Filecoin.MpoolPush", {})

    run(ChainServer(), work)


def test_a_wrong_token_is_said_and_not_shown() -> None:
    async def work(chain: Chain) -> None:
        with pytest.raises(BackendError, match="token was not accepted") as caught:
            await chain.head()
        assert "wr0ng" not in f"{caught.value} {chain}"
        assert not (await chain.health()).ok

    run(ChainServer(), work, token="wr0ng")


@pytest.mark.parametrize("address", ["", "f0", "x01000", "f01000/../..", "f05" + "a" * 200, "0x12"])
def test_only_addresses_are_asked_about(address: str) -> None:
    async def work(chain: Chain) -> None:
        with pytest.raises(BackendError, match="not a Filecoin address"):
            await chain.balance(address)

    run(ChainServer(), work)


def test_only_transactions_are_asked_about() -> None:
    async def work(chain: Chain) -> None:
        with pytest.raises(BackendError, match="not a transaction's hash"):
            await chain.succeeded("0x12")

    run(ChainServer(), work)


# --- hostile ----------------------------------------------------------------------------------------------------------
def answering(result: Any) -> Callable[[Request], Awaitable[Reply]]:
    async def server(request: Request) -> Reply:
        return reply_json({"jsonrpc": "2.0", "id": (await request.json())["id"], "result": result})

    return server


@pytest.mark.parametrize(
    "result",
    [
        None,
        [],
        {},
        {"Cids": [], "Height": "1000"},
        {"Cids": [], "Height": True},
        {"Cids": {}, "Height": 1},
        {"Cids": [{"/": 7}], "Height": 1},
        {"Cids": [{"/": "bafy"}], "Height": 1},
        {"Cids": ["bafy"], "Height": 1},
    ],
)
def test_heads_that_are_none_are_refused(result: Any) -> None:
    async def work(chain: Chain) -> None:
        with pytest.raises(BackendError):
            await chain.head()

    run(answering(result), work)


def test_deals_and_amounts_that_are_none_are_refused() -> None:
    lacking = deal()
    del lacking["State"]["SlashEpoch"]
    other = deal()
    other["Proposal"]["PieceCID"] = {"/": str(CID.of(b"x"))[:20]}

    async def no_deal(chain: Chain) -> None:
        with pytest.raises(BackendError):
            await chain.deal(1)

    async def no_amount(chain: Chain) -> None:
        with pytest.raises(BackendError, match="amount"):
            await chain.balance("f01000")

    for result in (lacking, other, {"Proposal": []}, 7):
        run(answering(result), no_deal)
    for text in ("-1", "1.5", "", "1" * 41, "٣"):
        run(answering({"Escrow": text, "Locked": "0"}), no_amount)


def test_a_receipt_of_another_transaction_is_refused() -> None:
    async def work(chain: Chain) -> None:
        with pytest.raises(BackendError, match="another transaction"):
            await chain.succeeded(SENT)

    run(answering({"transactionHash": "0x" + "cd" * 32, "status": "0x1"}), work)


def test_answers_of_other_calls_and_none_are_refused() -> None:
    async def other(request: Request) -> Reply:
        return reply_json({"jsonrpc": "2.0", "id": 999, "result": {}})

    async def nothing(request: Request) -> Reply:
        return reply_json({"jsonrpc": "2.0", "id": (await request.json())["id"]})

    async def odd(request: Request) -> Reply:
        return reply_json({"id": (await request.json())["id"], "error": "\x1b[2J" + "no" * 5000})

    async def work(chain: Chain) -> None:
        with pytest.raises(BackendError) as caught:
            await chain.head()
        assert "\x1b" not in str(caught.value)
        assert len(str(caught.value)) < 400

    for server in (other, nothing, odd):
        run(server, work)
