"""The daemon's RPC: Kubo's words over HTTP, on loopback, for this machine's own programs.

POST only, so that no link or image can trigger a verb; the Host must name loopback, so that no rebound DNS name reaches
it; a request with an Origin must come from loopback itself. Errors are ``{"Message", "Code", "Type"}`` with status 500
(400 for wrong usage); once bytes of an answer were sent, rows end with such an object and byte answers are cut off.
"""

from __future__ import annotations

import ipaddress
import json
import logging
from contextlib import AsyncExitStack, aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl, urlsplit

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ipfs_kit_py.core import kubo_shapes as shapes
from ipfs_kit_py.core.config import RPC_HEADER_BYTES, RPC_MAX_CONNECTIONS
from ipfs_kit_py.core.errors import ConfigError, IPFSKitError
from ipfs_kit_py.gateway.uploads import Uploads
from ipfs_kit_py.verbs.call import Call, UsageError
from ipfs_kit_py.verbs.table import VERBS
from ipfs_kit_py.verbs.verb import BYTES, Verb

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from hypercorn.typing import ASGIFramework
    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send
    from typing_extensions import Buffer

    from ipfs_kit_py.node import Node

logger = logging.getLogger(__name__)

PREFIX = "/api/v0/"
_CONTENT_TYPES = {BYTES: "application/octet-stream"}


def is_loopback(authority: str) -> bool:
    """Whether ``HOST[:PORT]`` names this machine's loopback interface."""
    host = urlsplit(f"//{authority}").hostname
    if host is None:
        return False
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def refusal(request: Request) -> Response | None:
    """Why a request is not served, or ``None`` where it is."""
    if request.method != "POST":
        return _error(405, f"{request.method} is not allowed: every verb is a POST", {"Allow": "POST"})
    if not is_loopback(request.headers.get("host", "")):
        return _error(403, "the Host header must name loopback (127.0.0.1, localhost, [::1])")
    for name in ("origin", "referer"):
        given = request.headers.get(name)
        if given is not None and not is_loopback(urlsplit(given).netloc):
            return _error(403, f"{name} {given!r} may not call this node")
    return None


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse(shapes.error(message), status_code=status, headers=headers)


def _told(error: Exception) -> dict[str, Any]:
    kind = type(error).__name__ if isinstance(error, IPFSKitError) else ""
    return shapes.error(str(error) or type(error).__name__, kind=kind)


class _Answer:
    """An output that feeds a streaming response."""

    def __init__(self, send: trio.MemorySendChannel[bytes]) -> None:
        self._send = send

    async def row(self, row: dict[str, Any]) -> None:
        await self._send.send(json.dumps(row).encode() + b"\n")

    async def data(self, data: Buffer) -> None:
        await self._send.send(bytes(data))


class _Streamed(Response):
    """A body as it comes, while the request's own body may still be read; ends ``scope`` when the client goes.

    ``watch`` listens for that; where the verb reads the body itself, it sees it.
    """

    def __init__(self, body: AsyncGenerator[bytes, None], media_type: str, scope: trio.CancelScope, *, watch: bool):
        self._body = body
        self._scope = scope
        self._watch = watch
        self.background = None
        self.status_code = 200
        self.media_type = media_type
        self.init_headers(None)

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            self._scope.cancel()

        try:
            async with trio.open_nursery() as nursery, aclosing(self._body) as pieces:
                if self._watch:
                    nursery.start_soon(watch)
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                async for piece in pieces:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                nursery.cancel_scope.cancel()
        finally:
            self._scope.cancel()


class RPC:
    """The application. ``nursery`` runs the verbs: one that is being answered ends with its client."""

    def __init__(self, node: Node, nursery: trio.Nursery) -> None:
        self._node = node
        self._nursery = nursery
        methods = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]
        self.app = Starlette(routes=[Route(PREFIX + "{verb:path}", self._serve, methods=methods)])

    async def _serve(self, request: Request) -> Response:
        refused = refusal(request)
        if refused is not None:
            return refused
        verb = VERBS.get(request.path_params["verb"])
        if verb is None:
            return _error(404, f"no verb is called {request.path_params['verb']!r}")
        return await self._answer(request, verb)

    async def _answer(self, request: Request, verb: Verb) -> Response:
        send, receive = trio.open_memory_channel[bytes](4)
        failure: list[Exception] = []
        scope = trio.CancelScope()
        self._nursery.start_soon(self._run, request, verb, send, failure, scope)
        try:
            first = await receive.receive()
        except trio.EndOfChannel:
            if failure:
                return self._failed(failure[0])
            return Response(status_code=200)

        async def body() -> AsyncGenerator[bytes, None]:
            yield first
            async for piece in receive:
                yield piece
            if failure and verb.answers != BYTES:
                yield json.dumps(_told(failure[0])).encode() + b"\n"
            elif failure:
                raise failure[0]

        media_type = _CONTENT_TYPES.get(verb.answers, "application/json")
        return _Streamed(body(), media_type, scope, watch=not verb.uploads)

    async def _run(
        self,
        request: Request,
        verb: Verb,
        send: trio.MemorySendChannel[bytes],
        failure: list[Exception],
        scope: trio.CancelScope,
    ) -> None:
        with scope, send:
            try:
                query = parse_qsl(request.url.query, keep_blank_values=True, errors="surrogateescape")
                options = dict(query)
                timeout = options.pop("timeout", None)
                options.pop("arg", None)
                async with AsyncExitStack() as stack:
                    uploads = None
                    if verb.uploads:
                        pieces = await stack.enter_async_context(aclosing(request.stream()))
                        sent = Uploads(request.headers.get("content-type", ""), pieces).entries()
                        uploads = await stack.enter_async_context(aclosing(sent))
                    arguments = [value for name, value in query if name == "arg"]
                    call = Call(self._node, _Answer(send), arguments, options, uploads)
                    with trio.fail_after(_seconds(timeout)):
                        await verb.run(call)
            except trio.TooSlowError:
                failure.append(TimeoutError(f"not done within {timeout}; give a longer --timeout"))
            except (trio.BrokenResourceError, ClientDisconnect):
                return  # the client has gone
            except Exception as error:  # noqa: BLE001 - one failed verb is that client's answer, the daemon lives
                failure.append(error)

    def _failed(self, error: Exception) -> Response:
        if not isinstance(error, IPFSKitError | TimeoutError | OSError):
            logger.error("a verb failed", exc_info=error)
        return JSONResponse(_told(error), status_code=400 if isinstance(error, UsageError) else 500)


def _seconds(text: str | None) -> float:
    """A timeout such as ``30``, ``30s``, ``500ms`` or ``2m``; none is forever."""
    if not text:
        return float("inf")
    for suffix, factor in (("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("", 1.0)):
        if text.endswith(suffix):
            try:
                return float(text.removesuffix(suffix)) * factor
            except ValueError:
                break
    raise UsageError(f"timeout {text!r} is not a time; use 30s, 500ms or 2m")


async def serve_rpc(node: Node, address: str, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
    """Serve the RPC at ``HOST:PORT`` until cancelled; reports the address that it got. ``ConfigError`` off loopback."""
    if not is_loopback(address):
        raise ConfigError(f"the API has no authentication and must listen on loopback, not on {address}")
    config = Config()
    config.bind = [address]
    config.accesslog = None
    config.errorlog = None
    config.include_server_header = False
    config.h11_max_incomplete_size = RPC_HEADER_BYTES
    config.backlog = RPC_MAX_CONNECTIONS
    config.graceful_timeout = 1.0
    async with trio.open_nursery() as nursery:
        rpc = RPC(node, nursery)
        try:
            binds = await nursery.start(partial(serve, cast("ASGIFramework", rpc.app), config))
        except OSError as error:
            raise ConfigError(f"the API cannot listen on {address}: {error.strerror or error}") from None
        task_status.started(urlsplit(binds[0]).netloc)
