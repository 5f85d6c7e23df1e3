"""The HTTP interface of a provider that proves possession of pieces on the chain (PDP), as Curio serves it.

A piece is uploaded in three steps: a session, its bytes, its CommP. Pieces are then added to a data set by a
transaction that the provider sends and that a client has signed for (``extraData``, see ``warm_storage``). What a
server says of where to go next (``Location``) is only read for its identifier: requests go to the configured host
alone. Source: filecoin-project/curio pdp/README.md and handlers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ipfs_kit_py.core.config import (
    API_SECONDS,
    API_UPLOAD_FLOOR,
    PDP_EXTRA_BYTES,
    PIECE_MAX_BYTES,
    PIECE_MIN_BYTES,
    PIECES_PER_CALL,
)
from ipfs_kit_py.core.errors import BackendError, ConfigError, InvalidCID, NotFound
from ipfs_kit_py.core.text import printable
from ipfs_kit_py.storage.remote.base import retried
from ipfs_kit_py.storage.remote.filecoin.chain import TRANSACTION
from ipfs_kit_py.storage.remote.filecoin.commp import Piece
from ipfs_kit_py.storage.remote.http.api import Api
from ipfs_kit_py.storage.remote.http.client import Whole, as_type

if TYPE_CHECKING:
    import random
    import ssl
    from collections.abc import AsyncIterator, Callable, Sequence

_SESSION = re.compile(r"(?:/.*)?/pdp/piece/uploads/([0-9a-fA-F-]{1,64})/?")
_CREATED = re.compile(r"(?:/.*)?/pdp/data-sets/created/(0x[0-9a-fA-F]{64})/?")
_ADDED = re.compile(r"(?:/.*)?/pdp/data-sets/\d+/pieces/added/(0x[0-9a-fA-F]{64})/?")
PIECE_STATES = ("pending", "indexing", "creating_ad", "announced", "retrieved")


@dataclass(frozen=True)
class Change:
    """A transaction about a data set. ``done`` is ``None`` while it is pending, ``False`` where it was rejected.
    ``data_set`` and ``pieces`` are the numbers that the chain gave, once it did; ``on_chain`` is the hash of what was
    included, which differs from ``sent`` where the fee was raised."""

    sent: str
    done: bool | None
    on_chain: str
    data_set: int | None = None
    pieces: tuple[int, ...] = ()


@dataclass(frozen=True)
class DataSet:
    """A data set. ``next_challenge`` is an epoch, 0 before the first proof is due; ``pieces`` by their CID's text."""

    number: int
    next_challenge: int
    pieces: dict[str, int]


class PdpApi:
    """A PDP server at ``endpoint``, the URL that ``/pdp`` is below; ``token`` is a JWT where it wants one."""

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
        self._rng = rng

    def __repr__(self) -> str:
        return f"<PdpApi {self._api.base}>"

    async def aclose(self) -> None:
        await self._api.aclose()

    async def ping(self) -> None:
        """Raises where the server or the token is no good."""
        await self._api.call("GET", "pdp/ping")

    # --- pieces -------------------------------------------------------------------------------------------------------
    async def upload(self, piece: Piece, body: Callable[[], AsyncIterator[bytes]]) -> None:
        """Bring a piece's payload. ``body`` gives it from its beginning, once for each attempt.

        ``ConfigError`` where servers take no piece of this size, ``BackendError`` where it got other bytes there.
        """
        if not PIECE_MIN_BYTES <= piece.payload <= PIECE_MAX_BYTES:
            raise ConfigError(
                f"PDP servers take pieces of {PIECE_MIN_BYTES} to {PIECE_MAX_BYTES} bytes, not {piece.payload}"
            )

        async def once() -> None:
            opened = await self._api.call("POST", "pdp/piece/uploads", single=True)
            path = f"pdp/piece/uploads/{self._location(opened, _SESSION)}"
            await self._api.call("PUT", path, body=body, size=piece.payload, single=True, seconds=seconds)
            await self._api.call("POST", path, value={"pieceCid": str(piece)}, single=True)

        seconds = self._api.seconds + piece.payload / API_UPLOAD_FLOOR
        await retried(once, self._rng, seconds=seconds, what=f"the upload of {piece} to {self._api.host}")

    async def has(self, piece: Piece) -> bool:
        """Whether the server holds a piece."""
        try:
            answer = await self._api.call("GET", "pdp/piece", params={"pieceCid": str(piece)})
        except NotFound:
            return False
        if answer.status == 202:  # being taken in
            return False
        found = _piece(answer.json_map().get("pieceCid"), answer.what)
        if found != piece:
            raise BackendError(f"{answer.what}: asked for {piece}, it answers about {found}")
        return True

    async def piece_state(self, piece: Piece) -> str:
        """How far a piece is on its way to being found by others: one of ``PIECE_STATES``; ``NotFound``."""
        answer = await self._api.call("GET", f"pdp/piece/{piece}/status")
        state = answer.json_map().get("status")
        if state not in PIECE_STATES:
            raise BackendError(f"{answer.what}: a piece's status is none of {', '.join(PIECE_STATES)}")
        return str(state)

    # --- data sets ----------------------------------------------------------------------------------------------------
    async def create(self, record_keeper: str, extra: bytes, pieces: Sequence[Piece] = ()) -> str:
        """Have a data set made, with pieces in it where there are any; the transaction's hash."""
        value: dict[str, Any] = {"recordKeeper": record_keeper, **_signed(extra)}
        if not pieces:
            return self._location(await self._api.call("POST", "pdp/data-sets", value=value, again=False), _CREATED)
        value["pieces"] = _entries(pieces)
        answer = await self._api.call("POST", "pdp/data-sets/create-and-add", value=value, again=False)
        return self._location(answer, _CREATED)

    async def created(self, transaction: str) -> Change:
        """What has become of ``create``."""
        answer = await self._api.call("GET", f"pdp/data-sets/created/{transaction}")
        return _change(answer, transaction, "createMessageHash", "ok", "dataSetCreated")

    async def add(self, data_set: int, pieces: Sequence[Piece], extra: bytes) -> str:
        """Have uploaded pieces added to a data set; the transaction's hash."""
        value = {"pieces": _entries(pieces), **_signed(extra)}
        answer = await self._api.call("POST", f"pdp/data-sets/{data_set}/pieces", value=value, again=False)
        return self._location(answer, _ADDED)

    async def added(self, data_set: int, transaction: str) -> Change:
        """What has become of ``add``."""
        answer = await self._api.call("GET", f"pdp/data-sets/{data_set}/pieces/added/{transaction}")
        return _change(answer, transaction, "txHash", "addMessageOk", "piecesAdded")

    async def data_set(self, number: int) -> DataSet:
        """A data set as the server has it; ``NotFound``."""
        answer = await self._api.call("GET", f"pdp/data-sets/{number}")
        value = answer.json_map()
        rows = as_type(value.get("pieces") or [], list, answer.what)
        pieces: dict[str, int] = {}
        for row in rows:
            entry = as_type(row, dict, answer.what)
            piece = _piece(entry.get("pieceCid"), answer.what)
            pieces[str(piece)] = as_type(entry.get("pieceId"), int, answer.what)
        if as_type(value.get("id"), int, answer.what) != number:
            raise BackendError(f"{answer.what}: it answers about another data set")
        return DataSet(number, as_type(value.get("nextChallengeEpoch"), int, answer.what), pieces)

    async def remove(self, data_set: int, pieces: Sequence[int], extra: bytes) -> str:
        """Have pieces, by their numbers in a data set, removed at its next proof; the transaction's hash."""
        value = {"pieceIds": list(pieces), **_signed(extra)}
        answer = await self._api.call(
            "DELETE", f"pdp/data-sets/{data_set}/pieces/{pieces[0]}", value=value, again=False
        )
        found = as_type(answer.json_map().get("txHash"), str, answer.what)
        if not TRANSACTION.fullmatch(found):
            raise BackendError(f"{answer.what}: the answer names no transaction")
        return found

    def _location(self, answer: Whole, form: re.Pattern[str]) -> str:
        """The identifier in an answer's ``Location``. ``BackendError`` where it leads elsewhere."""
        text = answer.headers.get("location", "")
        try:
            parts = urlsplit(text)
            own = not parts.netloc or (parts.hostname, parts.port or _port(parts.scheme)) == (
                self._api.host,
                self._api.port,
            )
        except ValueError:
            own = False
        if not own:
            raise BackendError(f"{answer.what}: sent on to another host, {printable(text[:120])!r}")
        found = form.fullmatch(parts.path)
        if answer.status != 201 or found is None:
            raise BackendError(f"{answer.what}: {answer.status} with the Location {printable(text[:120])!r}")
        return found[1]


def _port(scheme: str) -> int | None:
    return {"http": 80, "https": 443}.get(scheme)


def _signed(extra: bytes) -> dict[str, str]:
    if len(extra) > PDP_EXTRA_BYTES:
        raise ConfigError(f"the signed data of one call has at most {PDP_EXTRA_BYTES} bytes, not {len(extra)}")
    return {"extraData": f"0x{extra.hex()}"} if extra else {}


def _entries(pieces: Sequence[Piece]) -> list[dict[str, Any]]:
    if not 0 < len(pieces) <= PIECES_PER_CALL:
        raise ConfigError(f"1 to {PIECES_PER_CALL} pieces are added at once, not {len(pieces)}")
    return [{"pieceCid": str(piece), "subPieces": [{"subPieceCid": str(piece)}]} for piece in pieces]


def _piece(value: Any, what: str) -> Piece:
    try:
        return Piece.from_v2(as_type(value, str, what))
    except InvalidCID as error:
        raise BackendError(f"{what}: {error}") from None


def _change(answer: Whole, sent: str, key: str, ok: str, settled: str) -> Change:
    """The state of a transaction, in either of the two forms that there are."""
    value, what = answer.json_map(), answer.what
    if str(value.get(key)).lower() != sent.lower():
        raise BackendError(f"{what}: it answers about another transaction")
    state, good = value.get("txStatus"), value.get(ok)
    done: bool | None = None
    if state == "rejected" or good is False:
        done = False
    elif state == "confirmed" and good is True and value.get(settled) is True:
        done = True
    elif state not in ("pending", "confirmed"):
        raise BackendError(f"{what}: {printable(str(state)[:60])!r} is no status of a transaction")
    on_chain = str(value.get("confirmedTxHash") or sent)
    if not TRANSACTION.fullmatch(on_chain):
        raise BackendError(f"{what}: the answer names no transaction")
    number = value.get("dataSetId")
    numbers = as_type(value.get("confirmedPieceIds") or [], list, what)
    return Change(
        sent=sent,
        done=done,
        on_chain=on_chain,
        data_set=None if number is None else as_type(number, int, what),
        pieces=tuple(as_type(piece, int, what) for piece in numbers[:PIECES_PER_CALL]),
    )
