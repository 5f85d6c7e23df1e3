"""Servers written from published interfaces, since none of them can be run here: no mocks of clients, real HTTP.

``PdpServer``: Curio's PDP interface (filecoin-project/curio pdp/README.md and pdp/handlers*.go at e0294b0f) with its
checks: bytes are hashed, sizes and CIDs compared, uploads in unknown sessions refused, pieces that are not there cannot
be added, signatures are checked as the contract would. Also ``GET /piece/{cid}`` with ranges (market/retrieval).
``ChainServer``: Lotus JSON-RPC (api/api_full.go). ``PinServer``: ipfs/pinning-services-api-spec 1.0.0.
"""

from __future__ import annotations

import itertools
import re
import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ipfs_kit_py.core.errors import InvalidCID
from ipfs_kit_py.storage.remote.filecoin.commp import Piece, piece_of
from test.remote.loopback import Cut, Reply, Request, reply_json

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

MIN_BYTES, MAX_BYTES = 127, 1_065_353_216
CHUNK = 1 << 15


def refused(request: Request, token: str) -> Reply | None:
    return None if request.headers.get("authorization") == f"Bearer {token}" else Reply(401, b"Unauthorized: bad token")


@dataclass
class PdpServer:
    """A provider. ``faults`` holds replies to give instead, by method and path beginning, each once."""

    token: str = "a-secret-token"
    pieces: dict[str, bytes] = field(default_factory=dict)
    sessions: dict[str, bytes | None] = field(default_factory=dict)
    data_sets: dict[int, dict[int, str]] = field(default_factory=dict)
    changes: dict[str, dict[str, Any]] = field(default_factory=dict)
    arrive: int = 0  # questions after which a piece that was uploaded is taken in
    settle: bool = True  # whether transactions confirm at once
    verdict: bool = True  # and how
    extra: list[str] = field(default_factory=list)  # signed data that came, in order
    seen: list[str] = field(default_factory=list)  # requests that came, in order
    faults: dict[str, list[Callable[[Request], Awaitable[Reply]]]] = field(default_factory=dict)
    _arriving: dict[str, int] = field(default_factory=dict)
    _count: Any = field(default_factory=lambda: itertools.count(1))

    async def __call__(self, request: Request) -> Reply:
        line = f"{request.method} {request.path}"
        self.seen.append(line)
        for start, queue in self.faults.items():
            if line.startswith(start) and queue:
                return await queue.pop(0)(request)
        if request.path.startswith("/piece/"):
            return self._retrieve(request)
        if bad := refused(request, self.token):
            return bad
        for method, pattern, handler in self._routes:
            if method == request.method and (found := re.fullmatch(pattern, request.path)):
                reply: Reply = await getattr(self, handler)(request, *found.groups())
                return reply
        return Reply(404, b"404 page not found")

    _routes = (
        ("GET", "/pdp/ping", "_ping"),
        ("POST", "/pdp/piece/uploads", "_open"),
        ("PUT", "/pdp/piece/uploads/([^/]+)", "_take"),
        ("POST", "/pdp/piece/uploads/([^/]+)", "_finish"),
        ("GET", "/pdp/piece/?", "_find"),
        ("GET", "/pdp/piece/([^/]+)/status", "_state"),
        ("POST", "/pdp/data-sets", "_create"),
        ("POST", "/pdp/data-sets/create-and-add", "_create"),
        ("GET", "/pdp/data-sets/created/(0x[0-9a-f]{64})", "_created"),
        ("GET", r"/pdp/data-sets/(\d+)", "_data_set"),
        ("POST", r"/pdp/data-sets/(\d+)/pieces", "_add"),
        ("GET", r"/pdp/data-sets/(\d+)/pieces/added/(0x[0-9a-f]{64})", "_added"),
        ("DELETE", r"/pdp/data-sets/(\d+)/pieces/(\d+)", "_delete"),
    )

    async def _ping(self, request: Request) -> Reply:
        return Reply(200)

    # --- uploads ------------------------------------------------------------------------------------------------------
    async def _open(self, request: Request) -> Reply:
        session = str(uuid.UUID(int=next(self._count)))
        self.sessions[session] = None
        return Reply(201, b"", {"Location": f"/pdp/piece/uploads/{session}"})

    async def _take(self, request: Request, session: str) -> Reply:
        if session not in self.sessions:
            return Reply(404, b"404 page not found")
        taken = bytearray()
        async for chunk in request.chunks:
            taken += chunk
            if len(taken) > MAX_BYTES:
                return Reply(413, b"piece data exceeds the maximum allowed size")
        if len(taken) < MIN_BYTES:
            return Reply(400, b"piece data is below the minimum allowed size (127 bytes)")
        self.sessions[session] = bytes(taken)
        return Reply(204)

    async def _finish(self, request: Request, session: str) -> Reply:
        taken = self.sessions.get(session)
        if session not in self.sessions:
            return Reply(404, b"404 page not found")
        piece = parse_piece((await request.json()).get("pieceCid"))
        if piece is None:
            return Reply(400, b"Invalid request body: invalid pieceCid")
        if taken is None:
            return Reply(500, b"Database error")
        if piece.payload != len(taken):
            return Reply(400, b"Invalid request body: pieceCid size does not match uploaded piece size")
        if piece != piece_of(taken):
            return Reply(400, b"Invalid request body: pieceCid does not match the calculated pieceCid")
        self.pieces[str(piece)] = taken
        self._arriving[str(piece)] = self.arrive
        del self.sessions[session]
        return Reply(200)

    async def _find(self, request: Request) -> Reply:
        piece = parse_piece(request.query.get("pieceCid"))
        if piece is None:
            return Reply(400, b"Failed to parse CID")
        if self._arriving.get(str(piece)):
            self._arriving[str(piece)] -= 1
            return Reply(404, b"404 page not found")
        return reply_json({"pieceCid": str(piece)}) if str(piece) in self.pieces else Reply(404, b"404 page not found")

    async def _state(self, request: Request, cid: str) -> Reply:
        if cid not in self.pieces:
            return Reply(404, b"Piece not found or does not belong to service")
        return reply_json(
            {"pieceCid": cid, "status": "announced", "indexed": True, "advertised": True, "retrieved": False}
        )

    # --- data sets ----------------------------------------------------------------------------------------------------
    def _send(self, data_set: int | None, cids: list[str]) -> str:
        sent = f"0x{next(self._count):064x}"
        self.changes[sent] = {"data_set": data_set, "cids": cids, "done": None, "numbers": []}
        if self.settle:
            self.confirm(sent)
        return sent

    def confirm(self, sent: str) -> None:
        """The chain settles a transaction, as ``verdict`` says."""
        change = self.changes[sent]
        change["done"] = self.verdict
        if not self.verdict:
            return
        if change["data_set"] is None:
            change["data_set"] = next(self._count)
            self.data_sets[change["data_set"]] = {}
        for cid in change["cids"]:
            change["numbers"].append(number := next(self._count))
            self.data_sets[change["data_set"]][number] = cid

    def _batch(self, value: dict[str, Any]) -> list[str] | Reply:
        rows = value.get("pieces", [])
        if len(rows) > 40:
            return Reply(400, b"piece count exceeds the maximum allowed per call (40)")
        for row in rows:
            if [sub["subPieceCid"] for sub in row["subPieces"]] != [row["pieceCid"]]:
                return Reply(400, b"provided PieceCid does not match generated PieceCid")
            if row["pieceCid"] not in self.pieces or self._arriving.get(row["pieceCid"]):
                return Reply(400, b"Failed to process request: subPiece CID not found or does not belong to service")
        return [row["pieceCid"] for row in rows]

    async def _create(self, request: Request) -> Reply:
        value = await request.json()
        if not re.fullmatch("0x[0-9a-fA-F]{40}", value.get("recordKeeper", "")):
            return Reply(400, b"recordKeeper address is required")
        cids = self._batch(value)
        if isinstance(cids, Reply):
            return cids
        if request.path.endswith("add") and not cids:
            return Reply(400, b"At least one piece must be provided")
        self.extra.append(value.get("extraData", ""))
        return Reply(201, b"", {"Location": f"/pdp/data-sets/created/{self._send(None, cids)}"})

    async def _created(self, request: Request, sent: str) -> Reply:
        change = self.changes.get(sent)
        if change is None or (change["done"] and change.get("added")):
            return Reply(404, b"Data set creation not found for given txHash")
        value = {"createMessageHash": sent, "service": "test", "txStatus": words(change["done"]), "ok": change["done"]}
        value["dataSetCreated"] = change["done"] is True
        if change["done"]:
            value |= {"dataSetId": change["data_set"], "confirmedTxHash": sent}
        return reply_json(value)

    async def _data_set(self, request: Request, number: str) -> Reply:
        pieces = self.data_sets.get(int(number))
        if pieces is None:
            return Reply(404, b"Data set not found")
        rows = [
            {"pieceId": key, "pieceCid": cid, "subPieceCid": cid, "subPieceOffset": 0} for key, cid in pieces.items()
        ]
        return reply_json({"id": int(number), "nextChallengeEpoch": 4242, "pieces": rows})

    async def _add(self, request: Request, number: str) -> Reply:
        if int(number) not in self.data_sets:
            return Reply(404, b"Data set not found")
        value = await request.json()
        cids = self._batch(value)
        if isinstance(cids, Reply):
            return cids
        self.extra.append(value.get("extraData", ""))
        sent = self._send(int(number), cids)
        self.changes[sent]["added"] = True
        return Reply(201, b"", {"Location": f"/pdp/data-sets/{number}/pieces/added/{sent}"})

    async def _added(self, request: Request, number: str, sent: str) -> Reply:
        change = self.changes.get(sent)
        if change is None or change["data_set"] != int(number):
            return Reply(404, b"piece addition not found for given transaction")
        value = {"txHash": sent, "txStatus": words(change["done"]), "dataSetId": int(number)}
        value |= {
            "pieceCount": len(change["cids"]),
            "addMessageOk": change["done"],
            "piecesAdded": bool(change["done"]),
        }
        if change["done"]:
            value |= {"confirmedPieceIds": change["numbers"], "confirmedTxHash": sent}
        return reply_json(value)

    async def _delete(self, request: Request, number: str, piece: str) -> Reply:
        value = await request.json() or {}
        pieces = self.data_sets.get(int(number), {})
        numbers = value.get("pieceIds") or [int(piece)]
        if any(key not in pieces for key in numbers):
            return Reply(404, b"One or more piece not found")
        self.extra.append(value.get("extraData", ""))
        for key in numbers:
            del pieces[key]
        return reply_json({"txHash": f"0x{next(self._count):064x}"})

    # --- retrieval ----------------------------------------------------------------------------------------------------
    def _retrieve(self, request: Request) -> Reply:
        payload = self.pieces.get(request.path.removeprefix("/piece/"))
        if payload is None:
            return Reply(404)
        at = int(found[1]) if (found := re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))) else 0
        headers = {"Content-Length": str(len(payload) - at), "Content-Type": "application/octet-stream"}
        if at:
            headers["Content-Range"] = f"bytes {at}-{len(payload) - 1}/{len(payload)}"
        return Reply(206 if at else 200, pieces_of(payload[at:]), headers)


async def pieces_of(payload: bytes, cut: int | None = None) -> AsyncGenerator[bytes, None]:
    """A body in chunks; ``cut``: the connection ends after so many bytes."""
    for at in range(0, len(payload), CHUNK):
        if cut is not None and at + CHUNK > cut:
            yield payload[at:cut]
            raise Cut
        yield payload[at : at + CHUNK]


def words(done: bool | None) -> str:
    return {None: "pending", True: "confirmed", False: "rejected"}[done]


def parse_piece(text: Any) -> Piece | None:
    try:
        return Piece.from_v2(text)
    except InvalidCID:
        return None


@dataclass
class ChainServer:
    """A chain node: what it knows is in its fields, by number or address."""

    token: str = "chain-secret"
    epoch: int = 1000
    deals: dict[int, dict[str, Any]] = field(default_factory=dict)
    allocations: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    receipts: dict[str, str] = field(default_factory=dict)

    async def __call__(self, request: Request) -> Reply:
        if request.path != "/rpc/v1" or request.method != "POST":
            return Reply(404)
        if bad := refused(request, self.token):
            return bad
        call = await request.json()
        name = str(call["method"]).removeprefix("Filecoin.")
        handler = getattr(self, f"on_{name}", None)
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": call["id"]}
        if handler is None:
            return reply_json(answer | {"error": {"code": -32601, "message": f"method '{call['method']}' not found"}})
        try:
            return reply_json(answer | {"result": handler(*call["params"])})
        except LookupError as error:
            return reply_json(answer | {"error": {"code": 1, "message": str(error.args[0])}})

    def on_Version(self) -> Any:
        return {"Version": "1.36.2+test", "APIVersion": 131840, "BlockDelay": 30}

    def on_ChainHead(self) -> Any:
        cid = "bafy2bzacecnamqgqmifpluoeldx7zzglxcljo6oja4vrmtj7432rphldpdmm2"
        return {"Cids": [{"/": cid}], "Blocks": [], "Height": self.epoch}

    def on_StateMarketStorageDeal(self, number: int, tipset: Any) -> Any:
        if number not in self.deals:
            raise LookupError(
                f"deal {number} not found - deal may not have completed sealing before deal proposal start"
            )
        return self.deals[number]

    def on_StateGetAllocation(self, client: str, number: int, tipset: Any) -> Any:
        return self.allocations.get((client, number))

    def on_StateMarketBalance(self, address: str, tipset: Any) -> Any:
        if address != "f01000":
            raise LookupError("actor not found")
        return {"Escrow": "123456789012345678901234567890", "Locked": "0"}

    def on_eth_chainId(self) -> Any:
        return "0x13a"

    def on_eth_getTransactionReceipt(self, sent: str) -> Any:
        status = self.receipts.get(sent)
        return None if status is None else {"transactionHash": sent, "status": status, "blockNumber": "0x1"}


@dataclass
class PinServer:
    """A pinning service: new pins are ``first``, and go on by one of ``then`` each time that they are asked about."""

    token: str = "pin-secret"
    first: str = "queued"
    then: list[str] = field(default_factory=lambda: ["pinning", "pinned"])
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    delegates: list[Any] = field(default_factory=lambda: [DELEGATE])
    seen: list[str] = field(default_factory=list)
    _count: Any = field(default_factory=lambda: itertools.count(1))

    async def __call__(self, request: Request) -> Reply:
        self.seen.append(f"{request.method} {request.path}")
        if bad := refused(request, self.token):
            return Reply(bad.status, b'{"error": {"reason": "UNAUTHORIZED", "details": "Access token is invalid"}}')
        request_id = request.path.removeprefix("/pins").removeprefix("/")
        if request.method == "GET" and not request_id:
            return self._list(request.query)
        if request.method == "POST":
            if request_id and self.rows.pop(request_id, None) is None:
                return missing()
            return reply_json(self.pin(await request.json()), 202)
        row = self.rows.get(request_id)
        if row is None:
            return missing()
        if request.method == "DELETE":
            del self.rows[request_id]
            return Reply(202)
        if row["status"] in ("queued", "pinning") and self.then:
            row["status"] = self.then.pop(0)
        return reply_json(row)

    def pin(self, value: dict[str, Any], state: str | None = None) -> dict[str, Any]:
        """A new pin."""
        number = next(self._count)
        row = {
            "requestid": f"request {number}/α",
            "status": state or self.first,
            "created": f"2026-11-23T00:{number // 60:02}:{number % 60:02}.000Z",
            "pin": value,
            "delegates": self.delegates,
            "info": {"status_details": "Queue position: 1 of 1"},
        }
        self.rows[quoted(row["requestid"])] = row
        return row

    def _list(self, query: dict[str, str]) -> Reply:
        states = query.get("status", "pinned").split(",")
        cids = query["cid"].split(",") if "cid" in query else None
        if cids is not None and len(cids) > 10:
            return reply_json({"error": {"reason": "BAD_REQUEST"}}, 400)
        rows = [
            row
            for row in reversed(self.rows.values())
            if row["status"] in states
            and (cids is None or row["pin"]["cid"] in cids)
            and time_of(row["created"]) < time_of(query.get("before", "9999-01-01T00:00:00Z"))
        ]
        return reply_json({"count": len(rows), "results": rows[: int(query.get("limit", "10"))]})


DELEGATE = "/ip4/127.0.0.1/tcp/4001/p2p/12D3KooWHFrmLWTTDD4NodngtRMEVYgxrsDMp4F9iSwYntZ9WjHa"


def time_of(text: str) -> datetime:
    return datetime.fromisoformat(text)


def quoted(request: str) -> str:
    return request.replace(" ", "%20").replace("/", "%2F").replace("α", "%CE%B1")


def missing() -> Reply:
    return reply_json({"error": {"reason": "NOT_FOUND", "details": "no such pin"}}, 404)
