"""Filecoin as a remote tier: blocks fetched back through gateways and as pieces, DAGs stored with a provider.

``put`` goes to a PDP provider or to a pinning service, as configured; ``get`` and ``get_dag`` come from a trustless
gateway, and where that fails from the pieces that were put. What a provider says is checked: bytes by their hashes,
pieces by their commitments, and transactions on the chain where a chain node is configured.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

import trio

from ipfs_kit_py.core.errors import (
    BackendError,
    HashMismatch,
    IPFSKitError,
    NotFound,
    NotSupported,
    TimedOut,
)
from ipfs_kit_py.storage.remote.base import Health, Status
from ipfs_kit_py.storage.remote.filecoin.pdp_store import Deposit, PdpStore
from ipfs_kit_py.storage.remote.filecoin.pinning import PinningTier

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, MutableMapping, Sequence
    from pathlib import Path

    from ipfs_kit_py.core.cid import CID, Block
    from ipfs_kit_py.storage.remote.base import RemoteTier
    from ipfs_kit_py.storage.remote.filecoin.chain import Chain
    from ipfs_kit_py.storage.remote.filecoin.pieces import PieceSource

_FAILED = (NotFound, BackendError, HashMismatch, TimedOut)  # of one way: the next may do better


class FilecoinTier:
    """Filecoin by its parts, each optional: ``gateway`` gives blocks, ``sources`` give pieces, ``store`` takes DAGs,
    ``chain`` says what is on the chain. ``deposits`` remembers where DAGs were put; a mapping that lasts makes the
    tier know them after a restart. ``folder`` is for blocks that wait on the disk. It closes what it was given."""

    def __init__(
        self,
        *,
        gateway: RemoteTier | None = None,
        sources: Sequence[PieceSource] = (),
        store: PdpStore | PinningTier | None = None,
        chain: Chain | None = None,
        deposits: MutableMapping[CID, Deposit] | None = None,
        folder: Path | None = None,
        name: str = "filecoin",
    ) -> None:
        self._gateway = gateway
        self._sources = tuple(sources)
        self._store = store
        self._chain = chain
        self.deposits: MutableMapping[CID, Deposit] = {} if deposits is None else deposits
        self._folder = folder
        self._name = name

    def __repr__(self) -> str:
        return f"<FilecoinTier {self._name}: {self._gateway} {list(self._sources)} {self._store} {self._chain}>"

    @property
    def name(self) -> str:
        return self._name

    @property
    def verbs(self) -> frozenset[str]:
        found = set()
        if self._gateway is not None or self._sources:
            found |= {"get", "get_dag", "has"}
        if self._store is not None:
            found |= {"put", "remove", "status", "has"}
        if self._chain is not None:
            found.add("status")
        return frozenset(found)

    def know(self, deposit: Deposit) -> None:
        """Tell of a DAG that is in pieces, deals or allocations already."""
        self.deposits[deposit.root] = deposit

    # --- reading ------------------------------------------------------------------------------------------------------
    async def get(self, cid: CID) -> bytes:
        """One block, from the gateway; where that fails and it is a root that was put, from the piece that begins with
        it."""
        failure: IPFSKitError | None = None
        if self._gateway is not None:
            try:
                return await self._gateway.get(cid)
            except _FAILED as error:
                failure = error
        deposit = self.deposits.get(cid)
        pieces = () if deposit is None else deposit.pieces[:1]
        for piece, source in product(pieces, self._sources):
            try:
                return await source.first(cid, piece)
            except _FAILED as error:
                failure = error
        raise failure or self._nowhere(cid)

    def _nowhere(self, cid: CID) -> IPFSKitError:
        if not self.verbs & {"get"}:
            return NotSupported(f"{self._name} has neither a gateway nor a source of pieces configured")
        return NotFound(f"{self._name} knows of no piece with {cid}", cid=cid)

    async def get_dag(self, root: CID) -> AsyncGenerator[Block, None]:
        """A DAG's blocks, from the gateway; where that fails, the rest from the pieces of each source in turn.

        ``HashMismatch`` may come after the last block, where a piece turns out to hold more or other than was put;
        every block given was of this DAG all the same.
        """
        given: set[bytes] = set()
        failure: IPFSKitError | None = None
        ways = [] if self._gateway is None else [self._gateway.get_dag(root)]
        if (deposit := self.deposits.get(root)) is not None and deposit.pieces:
            ways += [source.blocks(root, deposit.pieces, folder=self._folder) for source in self._sources]
        for way in ways:
            try:
                async with aclosing(way) as blocks:
                    async for block in blocks:
                        if block.cid.raw not in given:
                            given.add(block.cid.raw)
                            yield block
            except _FAILED as error:
                failure = error
            else:
                return
        raise failure or self._nowhere(root)

    async def has(self, cid: CID) -> bool:
        """Whether the provider holds the pieces of a root that was put, or the gateway the block."""
        deposit = self.deposits.get(cid)
        if isinstance(self._store, PinningTier):
            if await self._store.has(cid):
                return True
        elif self._store is not None and deposit is not None and deposit.pieces:
            return await self._store.has(deposit)
        return self._gateway is not None and await self._gateway.has(cid)

    # --- keeping ------------------------------------------------------------------------------------------------------
    async def put(self, root: CID, blocks: AsyncIterable[Block], *, label: str = "") -> Status:
        """Store and keep a DAG; with a provider ``label`` is not sent. Put again what is not ``stored`` in the end."""
        if self._store is None:
            raise NotSupported(
                f"{self._name} has nowhere to put {root}: neither a provider nor a pinning service is set"
            )
        if isinstance(self._store, PinningTier):
            return await self._store.put(root, blocks, label=label)
        deposit = self._merged(await self._store.upload(root, blocks))
        self.know(deposit)  # what is uploaded is found again even where the chain fails
        await self._store.commit(deposit, self.know)
        return await self.status(root)

    def _merged(self, deposit: Deposit) -> Deposit:
        """With what is known of the same pieces from before."""
        before = self.deposits.get(deposit.root)
        if before is None:
            return deposit
        if before.pieces != deposit.pieces:
            return replace(deposit, deals=before.deals, allocations=before.allocations)
        return before

    async def remove(self, root: CID) -> None:
        if self._store is None:
            raise NotSupported(f"{self._name} keeps nothing: neither a provider nor a pinning service is set")
        if isinstance(self._store, PinningTier):
            await self._store.remove(root)
        elif (deposit := self.deposits.get(root)) is not None:
            await self._store.remove(deposit)
        self.deposits.pop(root, None)

    async def status(self, root: CID) -> Status:
        """Where a DAG stands: what the store says and, where a chain node is configured, what the chain says of its
        transactions, deals and allocations. ``safe`` means that both agree."""
        deposit = self.deposits.get(root)
        if isinstance(self._store, PinningTier):
            found = await self._store.status(root)
        elif deposit is None:
            raise NotFound(f"{self._name} does not know {root}", cid=root)
        elif self._store is not None and deposit.pieces:
            found = await self._store.status(deposit)
        else:
            found = Status(root, "unknown", False, 0, 1)
        if self._chain is None or deposit is None:
            return found
        return await self._on_chain(self._chain, found, deposit)

    async def _on_chain(self, chain: Chain, found: Status, deposit: Deposit) -> Status:
        """A status with what the chain says added. A provider's word for a transaction that the chain does not know
        makes nothing safe; a proven deal does."""
        head = await chain.head()
        detail = {**found.detail, "epoch": str(head.epoch)}
        safe, replicas, state = found.safe, found.replicas, found.state
        if isinstance(self._store, PdpStore) and deposit.transactions:
            for sent in await self._store.confirmed(deposit):
                done = await chain.succeeded(sent)
                detail[sent] = {True: "succeeded", False: "reverted", None: "not on the chain"}[done]
                if not done and safe:
                    safe, replicas, state = False, 0, "unconfirmed" if done is None else "failed"
        active = await self._deals(chain, deposit, head.epoch, detail)
        for client, number in deposit.allocations:
            detail[f"allocation {number}"] = await self._allocation(chain, client, number, deposit, head.epoch)
        if active and not safe:
            safe, state = True, "active"
        return Status(found.cid, state, safe, replicas + active, found.wanted, detail)

    async def _deals(self, chain: Chain, deposit: Deposit, epoch: int, detail: dict[str, str]) -> int:
        """In how many places deals keep all pieces."""
        holders: dict[CID, set[str]] = {piece.v1: set() for piece in deposit.pieces}
        for number in deposit.deals:
            name = f"deal {number}"
            try:
                deal = await chain.deal(number)
            except NotFound:
                detail[name] = "unknown"
                continue
            if deal.piece not in holders:
                detail[name] = f"of another piece, {deal.piece}"
            elif deal.active(epoch):
                detail[name] = f"active with {deal.provider} until epoch {deal.end}"
                holders[deal.piece].add(deal.provider)
            else:
                detail[name] = "over" if deal.slashed >= 0 or epoch >= deal.end else "not proven yet"
        return min((len(providers) for providers in holders.values()), default=0)

    async def _allocation(self, chain: Chain, client: str, number: int, deposit: Deposit, epoch: int) -> str:
        try:
            found = await chain.allocation(client, number)
        except NotFound:
            return "claimed or gone"
        if found.piece not in {piece.v1 for piece in deposit.pieces}:
            return f"of another piece, {found.piece}"
        return "expired" if epoch >= found.expiration else f"open until epoch {found.expiration}"

    # --- all of it ----------------------------------------------------------------------------------------------------
    async def health(self) -> Health:
        """Whether all parts answer; ``detail`` says which do not."""
        started = trio.current_time()
        found: dict[str, Health] = {}
        if self._gateway is not None:
            found["gateway"] = await self._gateway.health()
        for source in self._sources:
            found[source.host] = await source.health()
        if isinstance(self._store, PinningTier):
            found["pinning"] = await self._store.health()
        elif self._store is not None:
            found["pdp"] = await self._ping(self._store)
        if self._chain is not None:
            found["chain"] = await self._chain.health()
        bad = [f"{name}: {health.detail}" for name, health in found.items() if not health.ok]
        return Health(not bad and bool(found), trio.current_time() - started, "; ".join(bad))

    async def _ping(self, store: PdpStore) -> Health:
        started = trio.current_time()
        try:
            await store.api.ping()
        except IPFSKitError as error:
            return Health(False, trio.current_time() - started, str(error))
        return Health(True, trio.current_time() - started)

    async def aclose(self) -> None:
        for part in (self._gateway, *self._sources, self._store, self._chain):
            if part is not None:
                await part.aclose()
