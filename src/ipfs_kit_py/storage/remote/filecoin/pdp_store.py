"""Keeping DAGs at a PDP provider: archives uploaded as pieces, the pieces committed to a data set on the chain.

Every step can be done again: a piece that is there is not sent twice, one that is in the data set is not added twice.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import trio

from ipfs_kit_py.core.cid import CID
from ipfs_kit_py.core.config import PIECE_MAX_BYTES, PIECES_PER_CALL, PIECES_PER_DAG, POLL_MAX_SECONDS, POLL_SECONDS
from ipfs_kit_py.core.errors import BackendError, ConfigError, InvalidCID, NotFound, TimedOut
from ipfs_kit_py.storage.remote.base import Status
from ipfs_kit_py.storage.remote.filecoin.commp import Piece
from ipfs_kit_py.storage.remote.shards import Sharder

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from ipfs_kit_py.core.cid import Block
    from ipfs_kit_py.storage.remote.filecoin.pdp import Change, DataSet, PdpApi
    from ipfs_kit_py.storage.remote.filecoin.warm_storage import WarmStorage

_DETAILS = 16  # pieces whose own state is told


class Rejected(BackendError):
    """The chain took a transaction and it failed there."""


@dataclass(frozen=True)
class Deposit:
    """Where a DAG was put: its pieces in order, the data set that they are in, the transactions that put them there.
    ``deals`` and ``allocations`` are numbers on the chain that were made for it elsewhere."""

    root: CID
    pieces: tuple[Piece, ...]
    data_set: int | None = None
    transactions: tuple[str, ...] = ()
    deals: tuple[int, ...] = ()
    allocations: tuple[tuple[str, int], ...] = ()

    def to_json(self) -> str:
        """As text, for a file or a database."""
        value = {
            "root": str(self.root),
            "pieces": [str(piece) for piece in self.pieces],
            "data_set": self.data_set,
            "transactions": self.transactions,
            "deals": self.deals,
            "allocations": self.allocations,
        }
        return json.dumps(value)

    @classmethod
    def from_json(cls, text: str) -> Deposit:
        """What ``to_json`` made; ``ConfigError`` where it is none."""
        try:
            value: dict[str, Any] = json.loads(text)
            return cls(
                root=CID.parse(value["root"]),
                pieces=tuple(Piece.from_v2(piece) for piece in value["pieces"][:PIECES_PER_DAG]),
                data_set=value["data_set"],
                transactions=tuple(value["transactions"]),
                deals=tuple(value["deals"]),
                allocations=tuple((str(client), int(number)) for client, number in value["allocations"]),
            )
        except (ValueError, KeyError, TypeError, InvalidCID, RecursionError) as error:
            raise ConfigError(f"not a deposit's record: {type(error).__name__}") from None


@dataclass(frozen=True)
class Terms:
    """How pieces are committed. ``record_keeper`` is the contract that a data set belongs to, ``payee`` the provider's
    address; ``signer`` is needed where the contract wants signatures, as warm storage does. ``metadata`` is that of a
    new data set; with ``withIPFSIndexing`` the provider announces the blocks in the archives."""

    record_keeper: str
    payee: str = ""
    signer: WarmStorage | None = None
    metadata: Mapping[str, str] = field(default_factory=lambda: {"withIPFSIndexing": ""})


@dataclass
class OpenDataSet:
    """The data set that pieces go to; kept from one run to the next, or a new one is made. ``client`` is our own number
    for it, ``creating`` the transaction that makes it, until it is there and has a ``number``."""

    number: int | None = None
    client: int = 0
    creating: str = ""


class PdpStore:
    """Keeps DAGs at one provider. Without ``terms`` pieces are uploaded and not committed: servers drop such after a
    while. ``piece_bytes`` is the most that one archive takes; ``wait`` how long ``commit`` waits for the chain, in
    seconds, and ``poll`` the first pause between questions, which doubles; ``folder`` where archives under way are
    written, by default the system's for temporary files."""

    def __init__(
        self,
        api: PdpApi,
        terms: Terms | None = None,
        *,
        data_set: OpenDataSet | None = None,
        piece_bytes: int = PIECE_MAX_BYTES,
        folder: Path | None = None,
        workers: int | None = None,
        wait: float = 300.0,
        poll: float = POLL_SECONDS,
    ) -> None:
        if piece_bytes > PIECE_MAX_BYTES:
            raise ConfigError(f"PDP servers take pieces of at most {PIECE_MAX_BYTES} bytes, not {piece_bytes}")
        self.api = api
        self.data_set = data_set or OpenDataSet()
        self._terms = terms
        self._piece_bytes = piece_bytes
        self._folder = folder
        self._workers = workers
        self._wait = wait
        self._poll = poll
        self._lock = trio.Lock()

    def __repr__(self) -> str:
        return f"<PdpStore {self.api!r} {self.data_set}>"

    async def aclose(self) -> None:
        await self.api.aclose()

    async def upload(self, root: CID, blocks: AsyncIterable[Block]) -> Deposit:
        """Bring a whole DAG there; errors as ``Sharder`` and ``PdpApi.upload``."""
        pieces: list[Piece] = []
        sharder = Sharder(root, blocks, most=self._piece_bytes, folder=self._folder, workers=self._workers)
        while True:
            async with sharder.next() as shard:
                if shard is None:
                    return Deposit(root, tuple(pieces))
                if not await self.api.has(shard.piece):
                    await self.api.upload(shard.piece, shard.body)
                    await self._arrived(shard.piece)
                pieces.append(shard.piece)

    async def _arrived(self, piece: Piece) -> None:
        """Wait until the server has taken an uploaded piece in, or it could not be added to a data set."""
        pause = self._poll
        with trio.move_on_after(self._wait):
            while not await self.api.has(piece):
                await trio.sleep(pause)
                pause = min(2 * pause, POLL_MAX_SECONDS)
            return
        raise TimedOut(f"{self.api!r} did not take in {piece} within {self._wait:g} s: put again later")

    async def has(self, deposit: Deposit) -> bool:
        """Whether the server holds all pieces."""
        for piece in deposit.pieces:
            if not await self.api.has(piece):
                return False
        return True

    async def commit(self, deposit: Deposit, note: Callable[[Deposit], None]) -> Deposit:
        """Have a deposit's pieces added to the data set, which is made where there is none; waits for the chain.

        ``note`` is told of the deposit as soon as a transaction is under way. ``BackendError`` where the chain rejects
        one, ``TimedOut`` where one must be settled before another can follow; ``commit`` may then be called again.
        What the chain has not settled when the wait is over stays pending.
        """
        if self._terms is None:
            return deposit
        async with self._lock:
            await self._opened()
            missing = await self._missing(deposit)
            if missing and deposit.transactions:
                deposit = await self._resumed(deposit)
                missing = await self._missing(deposit)
            for batch in _batches(missing):
                deposit = await self._add(deposit, batch, self._terms, note)
            deposit = replace(deposit, data_set=self.data_set.number)
        note(deposit)
        return deposit

    async def _missing(self, deposit: Deposit) -> list[Piece]:
        if self.data_set.creating:
            raise TimedOut(f"the data set of {self.data_set.creating} is not there yet: put again later")
        there: Mapping[str, int] = {}
        if self.data_set.number is not None:
            there = (await self.api.data_set(self.data_set.number)).pieces
        return [piece for piece in dict.fromkeys(deposit.pieces) if str(piece) not in there]

    async def _resumed(self, deposit: Deposit) -> Deposit:
        """With those of its transactions that were not rejected. None may be pending, or a piece is added twice."""
        kept = []
        for sent in deposit.transactions:
            try:
                change = await self._settled(lambda sent=sent: self._change(deposit, sent))  # type: ignore[misc]
            except (NotFound, Rejected):
                continue
            if change.done is None:
                raise TimedOut(f"the chain has not settled {sent} yet: put again later")
            kept.append(sent)
        return replace(deposit, transactions=tuple(kept))

    async def _add(
        self, deposit: Deposit, batch: Sequence[Piece], terms: Terms, note: Callable[[Deposit], None]
    ) -> Deposit:
        if self.data_set.creating:
            raise TimedOut(f"the data set of {self.data_set.creating} is not there yet: put again later")
        rows = [(piece.v2, {"ipfsRootCID": str(deposit.root)}) for piece in batch]
        number, signer = self.data_set.number, terms.signer
        client = secrets.randbits(256) if number is None else self.data_set.client
        extra = b"" if signer is None else signer.add(client, secrets.randbits(256), rows)
        if number is not None:
            sent = await self.api.add(number, batch, extra)
        else:
            if signer is not None:
                extra = signer.create_and_add(signer.create(client, terms.payee, terms.metadata), extra)
            sent = await self.api.create(terms.record_keeper, extra, batch)
            self.data_set.client, self.data_set.creating = client, sent
        deposit = replace(deposit, transactions=(*deposit.transactions, sent), data_set=number)
        note(deposit)
        if number is None:
            await self._opened()
        else:
            await self._settled(lambda: self.api.added(number, sent))
        return deposit

    async def _opened(self) -> None:
        """Wait for the data set that is being made, if one is."""
        creating = self.data_set.creating
        if not creating:
            return
        try:
            change = await self._settled(lambda: self.api.created(creating))
        except Rejected:
            self.data_set.creating = ""  # the next commit makes another
            raise
        if change.done:
            if change.data_set is None:
                raise BackendError(f"{self.api!r}: a data set was made by {creating} and has no number")
            self.data_set.number, self.data_set.creating = change.data_set, ""

    async def _settled(self, ask: Callable[[], Awaitable[Change]]) -> Change:
        """What has become of a transaction when it is settled or the wait is over."""
        change: Change | None = None
        pause = self._poll
        with trio.move_on_after(self._wait):
            while True:
                change = await ask()
                if change.done is not None:
                    break
                await trio.sleep(pause)
                pause = min(2 * pause, POLL_MAX_SECONDS)
        if change is None:
            raise TimedOut(f"{self.api!r} did not say within {self._wait:g} s what became of a transaction")
        if change.done is False:
            raise Rejected(f"{self.api!r}: the chain rejected the transaction {change.on_chain}")
        return change

    # --- afterwards ---------------------------------------------------------------------------------------------------
    async def status(self, deposit: Deposit) -> Status:
        """``stored`` where all pieces are in the data set, ``uploaded`` where they are there without one, ``pending``
        where the chain is to settle it, ``failed`` where it rejected it, ``lost`` where the server lacks a piece."""
        detail: dict[str, str] = {}
        for piece in deposit.pieces[:_DETAILS]:
            try:
                detail[str(piece)] = await self.api.piece_state(piece)
            except NotFound:
                detail[str(piece)] = "unknown"
        number = await self._number(deposit)
        if number is not None:
            found = await self._find(number)
            detail["data set"] = str(number)
            if found is not None and all(str(piece) in found.pieces for piece in deposit.pieces):
                detail["next challenge"] = str(found.next_challenge)
                return Status(deposit.root, "stored", True, 1, 1, detail)
        if not await self.has(deposit):
            return Status(deposit.root, "lost", False, 0, 1, detail)
        return Status(deposit.root, await self._pending(deposit), False, 0, 1, detail)

    async def _number(self, deposit: Deposit) -> int | None:
        """The data set of a deposit, which may have got its number since."""
        if deposit.data_set is not None or not deposit.transactions:
            return deposit.data_set
        try:
            return (await self.api.created(deposit.transactions[0])).data_set
        except NotFound:
            return None

    async def _pending(self, deposit: Deposit) -> str:
        if not deposit.transactions:
            return "uploaded"
        for sent in deposit.transactions:
            try:
                change = await self._change(deposit, sent)
            except NotFound:
                return "failed"
            if change.done is False:
                return "failed"
        return "pending"

    async def _change(self, deposit: Deposit, sent: str) -> Change:
        try:
            return await self.api.created(sent)
        except NotFound:
            if deposit.data_set is None:
                raise
        return await self.api.added(deposit.data_set, sent)

    async def _find(self, number: int) -> DataSet | None:
        try:
            return await self.api.data_set(number)
        except NotFound:
            return None

    async def confirmed(self, deposit: Deposit) -> list[str]:
        """The hashes under which a deposit's transactions are on the chain, as the server says."""
        found = []
        for sent in deposit.transactions:
            try:
                found.append((await self._change(deposit, sent)).on_chain)
            except NotFound:
                found.append(sent)
        return found

    async def remove(self, deposit: Deposit) -> None:
        """Have a deposit's pieces removed from the data set; the server drops them when nothing else holds them."""
        number = await self._number(deposit)
        found = None if number is None else await self._find(number)
        if found is None:
            return
        numbers = [found.pieces[str(piece)] for piece in deposit.pieces if str(piece) in found.pieces]
        signer = None if self._terms is None else self._terms.signer
        for batch in _batches(numbers):
            extra = b"" if signer is None else signer.remove(self.data_set.client, batch)
            await self.api.remove(found.number, batch, extra)


def _batches(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for at in range(0, len(items), PIECES_PER_CALL):
        yield items[at : at + PIECES_PER_CALL]
