"""What a Filecoin chain node says, read-only: head, deals, allocations, balances, receipts.

JSON-RPC 2.0 of Lotus and Forest at ``/rpc/v1``, whose ``eth_`` methods are on the same port. Nothing is signed or sent
to the chain from here. Source: lotus api/api_full.go, documentation/en/api-v1-unstable-methods.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio

from ipfs_kit_py.core.cid import CID
from ipfs_kit_py.core.config import API_ERROR_CHARS, API_SECONDS
from ipfs_kit_py.core.errors import BackendError, InvalidCID, IPFSKitError, NotFound
from ipfs_kit_py.core.text import printable
from ipfs_kit_py.storage.remote.base import Health
from ipfs_kit_py.storage.remote.http.api import Api
from ipfs_kit_py.storage.remote.http.client import as_type

if TYPE_CHECKING:
    import random
    import ssl

NEVER = -1  # an epoch that has not come
TRANSACTION = re.compile(r"0x[0-9a-fA-F]{64}")
_NOT_FOUND = re.compile(r"not found|not exist|no such", re.IGNORECASE)
_ADDRESS = re.compile(r"[ft][0-4][0-9a-z]{1,100}")


@dataclass(frozen=True)
class Head:
    """The chain's newest tipset: its epoch (30 seconds each) and its blocks' CIDs."""

    epoch: int
    blocks: tuple[CID, ...]


@dataclass(frozen=True)
class Deal:
    """A storage deal. ``size`` is the padded piece in bytes; epochs are ``NEVER`` where they have not come."""

    number: int
    piece: CID
    size: int
    client: str
    provider: str
    start: int
    end: int
    activated: int
    slashed: int
    verified: bool

    def active(self, epoch: int) -> bool:
        """Whether a sector holds and proves it at an epoch."""
        return self.activated != NEVER and self.slashed == NEVER and epoch < self.end


@dataclass(frozen=True)
class Allocation:
    """Data cap set aside for a piece that a provider has not yet claimed. ``size`` in padded bytes, terms in epochs."""

    client: int
    provider: int
    piece: CID
    size: int
    term_min: int
    term_max: int
    expiration: int


@dataclass(frozen=True)
class Balance:
    """Funds of an address in the storage market, in attoFIL."""

    escrow: int
    locked: int


class Chain:
    """A chain node at ``endpoint``, the URL of its ``/rpc/v1``; ``token`` is a JWT that may read."""

    def __init__(
        self,
        endpoint: str,
        *,
        rng: random.Random,
        token: str = "",
        seconds: float = API_SECONDS,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._api = Api(endpoint, token=token, rng=rng, seconds=seconds, tls=tls)
        self._last = 0

    def __repr__(self) -> str:
        return f"<Chain {self._api.base}>"

    async def aclose(self) -> None:
        await self._api.aclose()

    async def call(self, method: str, *params: Any) -> Any:
        """One call's result. ``NotFound`` where the node says that there is no such thing, else ``BackendError``."""
        self._last += 1
        number = self._last
        value = {"jsonrpc": "2.0", "id": number, "method": method, "params": list(params)}
        answer = await self._api.call("POST", "", value=value)
        found = answer.json_map()
        if found.get("id") != number:
            raise BackendError(f"{method}: the answer belongs to another call")
        error = found.get("error")
        if error is not None:
            text = str(error.get("message", "")) if isinstance(error, dict) else str(error)
            text = printable(" ".join(text[: 4 * API_ERROR_CHARS].split()))[:API_ERROR_CHARS]
            if _NOT_FOUND.search(text):
                raise NotFound(f"{method}: {text}")
            raise BackendError(f"{method}: {text}")
        if "result" not in found:
            raise BackendError(f"{method}: neither a result nor an error")
        return found["result"]

    async def head(self) -> Head:
        """``ChainHead``."""
        found = as_type(await self.call("Filecoin.ChainHead"), dict, "ChainHead")
        blocks = as_type(found.get("Cids"), list, "ChainHead")
        epoch = as_type(found.get("Height"), int, "ChainHead")
        return Head(epoch, tuple(_cid(block, "ChainHead") for block in blocks))

    async def deal(self, number: int) -> Deal:
        """``StateMarketStorageDeal`` at the head."""
        what = "StateMarketStorageDeal"
        found = as_type(await self.call(f"Filecoin.{what}", number, None), dict, what)
        proposal = as_type(found.get("Proposal"), dict, what)
        state = as_type(found.get("State"), dict, what)
        return Deal(
            number=number,
            piece=_cid(proposal.get("PieceCID"), what),
            size=as_type(proposal.get("PieceSize"), int, what),
            client=as_type(proposal.get("Client"), str, what)[:128],
            provider=as_type(proposal.get("Provider"), str, what)[:128],
            start=as_type(proposal.get("StartEpoch"), int, what),
            end=as_type(proposal.get("EndEpoch"), int, what),
            activated=as_type(state.get("SectorStartEpoch"), int, what),
            slashed=as_type(state.get("SlashEpoch"), int, what),
            verified=as_type(proposal.get("VerifiedDeal"), bool, what),
        )

    async def allocation(self, client: str, number: int) -> Allocation:
        """``StateGetAllocation`` at the head; ``NotFound`` where it was claimed, has expired or never was."""
        what = "StateGetAllocation"
        found = await self.call(f"Filecoin.{what}", _checked_address(client), number, None)
        if found is None:
            raise NotFound(f"{what}: no allocation {number} of {client}")
        row = as_type(found, dict, what)
        return Allocation(
            client=as_type(row.get("Client"), int, what),
            provider=as_type(row.get("Provider"), int, what),
            piece=_cid(row.get("Data"), what),
            size=as_type(row.get("Size"), int, what),
            term_min=as_type(row.get("TermMin"), int, what),
            term_max=as_type(row.get("TermMax"), int, what),
            expiration=as_type(row.get("Expiration"), int, what),
        )

    async def balance(self, address: str) -> Balance:
        """``StateMarketBalance`` at the head."""
        what = "StateMarketBalance"
        found = as_type(await self.call(f"Filecoin.{what}", _checked_address(address), None), dict, what)
        return Balance(_amount(found.get("Escrow"), what), _amount(found.get("Locked"), what))

    async def chain_number(self) -> int:
        """``eth_chainId``: 314 main, 314159 calibration."""
        return _hexadecimal(await self.call("eth_chainId"), "eth_chainId")

    async def succeeded(self, transaction: str) -> bool | None:
        """Whether a transaction, by its Ethereum hash, succeeded on the chain; ``None`` where it is not there yet."""
        what = "eth_getTransactionReceipt"
        if not TRANSACTION.fullmatch(transaction):
            raise BackendError(f"not a transaction's hash: {printable(transaction[:80])!r}")
        try:
            found = await self.call(what, transaction)
        except NotFound:
            return None
        if found is None:
            return None
        row = as_type(found, dict, what)
        if str(row.get("transactionHash")).lower() != transaction.lower():
            raise BackendError(f"{what}: the receipt is of another transaction")
        return _hexadecimal(row.get("status"), what) == 1

    async def health(self) -> Health:
        """Whether the node answers, and which version it is."""
        started = trio.current_time()
        try:
            found = as_type(await self.call("Filecoin.Version"), dict, "Version")
        except IPFSKitError as error:
            return Health(False, trio.current_time() - started, str(error))
        return Health(True, trio.current_time() - started, printable(str(found.get("Version")))[:API_ERROR_CHARS])


def _cid(value: Any, what: str) -> CID:
    row = as_type(value, dict, what)
    try:
        return CID.parse(as_type(row.get("/"), str, what))
    except InvalidCID as error:
        raise BackendError(f"{what}: {error}") from None


def _amount(value: Any, what: str) -> int:
    text = as_type(value, str, what)
    if not (text.isascii() and text.isdecimal()) or len(text) > 40:
        raise BackendError(f"{what}: an amount is no number")
    return int(text)


def _hexadecimal(value: Any, what: str) -> int:
    text = as_type(value, str, what)
    if not re.fullmatch(r"0x[0-9a-fA-F]{1,64}", text):
        raise BackendError(f"{what}: {printable(text[:80])!r} is no number")
    return int(text, 16)


def _checked_address(text: str) -> str:
    if not _ADDRESS.fullmatch(text):
        raise BackendError(f"not a Filecoin address: {printable(text[:120])!r}")
    return text
