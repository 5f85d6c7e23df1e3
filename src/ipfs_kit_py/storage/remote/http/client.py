"""HTTP to one origin, over h11: bodies stream both ways at once, and the trailers of an answer are not lost.

Kubo's RPC and IPFS Cluster's REST interface tell a failure in the middle of an answer by the trailer
``X-Stream-Error``, which the usual clients drop. Redirects are never followed here, nothing comes from environment
variables, compressed answers are refused, and every header, answer and wait has a bound. A request is sent
again by itself only where a connection that was kept turns out to be closed; those that may not be repeated say
``fresh``.
Source: RFC 9112; ipfs/go-ipfs-cmds http/responseemitter.go for the trailer.
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import SplitResult, urlencode, urlsplit

import h11
import trio

from ipfs_kit_py.core.config import (
    API_ANSWER_BYTES,
    API_ERROR_CHARS,
    API_MAX_CONNECTIONS,
    API_SECONDS,
    HTTP_CONNECT_SECONDS,
)
from ipfs_kit_py.core.errors import BackendError, ConfigError
from ipfs_kit_py.core.text import printable
from ipfs_kit_py.storage.remote.base import Transient
from ipfs_kit_py.storage.remote.http.wire import (
    Answer,
    Connection,
    NoConnection,
    Stale,
    StreamFailed,
    Whole,
    as_type,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Iterable

    from typing_extensions import Buffer

T = TypeVar("T")

_PORTS = {"http": 80, "https": 443}
__all__ = ["Answer", "Http", "NoConnection", "StreamFailed", "Whole", "as_type", "checked_url"]


class Http:
    """One origin at ``base``, a URL whose path is put before that of every request.

    ``token`` is sent as ``Authorization: Bearer``, ``login`` (name, password) as Basic. ``seconds``: what the beginning
    of an answer may take, and each ``API_PROGRESS_BYTES`` of its rest; ``None`` for no limit but on connecting.
    ``ConfigError`` for a base or a secret that cannot be used.
    """

    def __init__(
        self,
        base: str,
        *,
        token: str = "",
        login: tuple[str, str] | None = None,
        seconds: float | None = API_SECONDS,
        tls: ssl.SSLContext | None = None,
        connections: int = API_MAX_CONNECTIONS,
    ) -> None:
        url = checked_url(base)
        self.scheme = url.scheme
        self.host = url.hostname or ""
        self.port = url.port or _PORTS[url.scheme]
        self.prefix = url.path.rstrip("/")
        self.seconds = seconds
        self._seconds = float("inf") if seconds is None else seconds
        self._tls = tls
        self._authority = url.netloc
        self._authorization, self._secrets = _authorization(token, login, self.host)
        self._slots = trio.Semaphore(connections)
        self._idle: list[Connection] = []
        self._closed = False

    @property
    def base(self) -> str:
        """The URL, without a secret."""
        return f"{self.scheme}://{self._authority}{self.prefix}"

    def __repr__(self) -> str:
        return f"<Http {self.base}>"

    async def aclose(self) -> None:
        """Close the connections that are kept; those in use close when their answers end."""
        self._closed = True
        while self._idle:
            await self._idle.pop().discard()

    async def open(
        self,
        method: str,
        path: str,
        *,
        params: Iterable[tuple[str, str]] = (),
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        seconds: float | None = None,
        fresh: bool = False,
    ) -> Answer:
        """Send a request and wait for the beginning of its answer, whatever its status. Close the answer.

        ``fresh``: on a connection of its own, so that it is never sent twice.
        ``Transient`` where the way there failed or it took too long, ``BackendError`` for an answer that is none.
        """
        what = f"{method} {self.base}{path.partition('?')[0]}"
        within = self._seconds if seconds is None else seconds
        with trio.move_on_after(within):
            while True:
                connection = await self._acquire(what, fresh=fresh)
                try:
                    return await connection.begin(self._request(method, path, params, headers, len(body)), body, what)
                except Stale:
                    await connection.drop()
                    if not connection.reused:
                        raise Transient(f"{what}: the answer was cut") from None
                    fresh = True
                except BaseException:
                    await connection.drop()
                    raise
        raise Transient(f"{what}: no answer within {within:g} s")

    async def call(self, method: str, path: str, *, limit: int = API_ANSWER_BYTES, **options: Any) -> Whole:
        """``open``, and the whole body of at most ``limit`` bytes."""
        answer = await self.open(method, path, **options)
        try:
            return Whole(answer, await answer.read(limit))
        finally:
            await answer.aclose()

    async def upload(
        self,
        method: str,
        path: str,
        body: AsyncIterable[Buffer],
        take: Callable[[Answer], Awaitable[T]],
        *,
        params: Iterable[tuple[str, str]] = (),
        headers: Iterable[tuple[str, str]] = (),
        size: int | None = None,
    ) -> T:
        """Send a body, of ``size`` bytes or in chunks, while ``take`` reads the answer; gives what ``take`` gives.

        The time for the answer's beginning counts from the end of the body. Raises as ``open``, what ``body`` and
        ``take`` raise as it is, and ``NoConnection`` before anything was read of ``body``.
        """
        what = f"{method} {self.base}{path.partition('?')[0]}"
        request = self._request(method, path, params, headers, size)
        with trio.move_on_after(self._seconds) as connecting:
            connection = await self._acquire(what, fresh=True)
        if connecting.cancelled_caught:
            raise NoConnection(f"{what}: no connection was free within {self._seconds:g} s")
        return await _Upload(connection, request, what).run(body, take)

    def words(self, text: str) -> str:
        """What a server says of an error: short, printable, and without our secrets."""
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return printable(" ".join(text.split()))[:API_ERROR_CHARS]

    def _request(
        self,
        method: str,
        path: str,
        params: Iterable[tuple[str, str]],
        headers: Iterable[tuple[str, str]],
        size: int | None,
    ) -> h11.Request:
        query = urlencode(list(params), errors="surrogateescape")
        sent = [
            ("Host", self._authority),
            ("User-Agent", "ipfs-kit-py"),
            ("Accept-Encoding", "identity"),
            *headers,
        ]
        if self._authorization:
            sent.append(("Authorization", self._authorization))
        if size is None:
            sent.append(("Transfer-Encoding", "chunked"))
        elif size or method not in ("GET", "HEAD"):
            sent.append(("Content-Length", str(size)))
        try:
            target = f"{self.prefix}{path}{'?' if query else ''}{query}"
            return h11.Request(method=method, target=target, headers=sent)
        except (h11.LocalProtocolError, UnicodeEncodeError):
            raise ConfigError(f"{method} {self.base}: the path or a header has characters that HTTP has not") from None

    # --- connections --------------------------------------------------------------------------------------------------
    async def _acquire(self, what: str, *, fresh: bool = False) -> Connection:
        await self._slots.acquire()
        try:
            while self._idle and not fresh:
                connection = self._idle.pop()
                if connection.lease():
                    return connection
                await connection.discard()
            return await self._connect(what)
        except BaseException:
            self._slots.release()
            raise

    async def _connect(self, what: str) -> Connection:
        stream: trio.abc.Stream | None = None
        try:
            with trio.fail_after(HTTP_CONNECT_SECONDS):
                stream = await trio.open_tcp_stream(self.host, self.port)
                if self.scheme == "https":
                    stream = await self._secured(stream)
        except (OSError, trio.TooSlowError, trio.BrokenResourceError) as error:
            await _closed(stream)
            raise _unconnected(what, error) from None
        except BaseException:
            await _closed(stream)
            raise
        return Connection(self, stream)

    async def _secured(self, stream: trio.abc.Stream) -> trio.abc.Stream:
        if self._tls is None:
            self._tls = ssl.create_default_context()
        secured = trio.SSLStream(stream, self._tls, server_hostname=self.host, https_compatible=True)
        try:
            await secured.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return secured

    def keep(self, connection: Connection) -> bool:
        """Take a connection back for the next request; whether it was."""
        if self._closed:
            return False
        self._idle.append(connection)
        self._slots.release()
        return True

    def let_go(self) -> None:
        """A connection is closed: another may be opened."""
        self._slots.release()


class _Upload:
    """One request whose body is sent while its answer is read."""

    def __init__(self, connection: Connection, request: h11.Request, what: str) -> None:
        self._connection = connection
        self._turn = connection.turn
        self._request = request
        self._what = what
        self._seconds = connection.seconds
        self._waiting = trio.CancelScope()
        self._failure: Exception | None = None

    async def run(self, body: AsyncIterable[Buffer], take: Callable[[Answer], Awaitable[T]]) -> T:
        results: list[T] = []
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send, body, nursery.cancel_scope)
                try:
                    results.append(await self._receive(take))
                except Stale:
                    self._fail(Transient(f"{self._what}: the connection was closed without an answer"))
                except Exception as error:  # noqa: BLE001 - raised again below, alone
                    self._fail(error)
                nursery.cancel_scope.cancel()
        finally:
            await self._connection.drop(self._turn)
        if self._failure is not None:
            raise self._failure
        return results[0]

    def _fail(self, error: Exception) -> None:
        if self._failure is None:
            self._failure = error

    async def _receive(self, take: Callable[[Answer], Awaitable[T]]) -> T:
        answer: Answer | None = None
        with self._waiting:
            answer = await self._connection.response(self._what)
        if answer is None:
            raise Transient(f"{self._what}: no answer within {self._seconds:g} s of the end of the upload")
        try:
            return await take(answer)
        finally:
            await answer.aclose()

    async def _send(self, body: AsyncIterable[Buffer], scope: trio.CancelScope) -> None:
        try:
            await self._sent(self._request)
            async for piece in body:
                view = memoryview(piece)
                if view.nbytes:
                    await self._sent(h11.Data(data=view.cast("B") if view.ndim != 1 else view))  # type: ignore[arg-type]
            await self._sent(h11.EndOfMessage())
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the server stopped reading: its answer says why
        except h11.LocalProtocolError:
            self._fail(BackendError(f"{self._what}: the body has not as many bytes as were announced"))
            scope.cancel()
        except Exception as error:  # noqa: BLE001 - raised again by run, alone
            self._fail(error)
            scope.cancel()
        finally:
            if isinstance(body, AsyncGenerator):
                await body.aclose()
        self._waiting.deadline = trio.current_time() + self._seconds

    async def _sent(self, event: h11.Event) -> None:
        with trio.move_on_after(self._seconds) as scope:
            await self._connection.send(event)
        if scope.cancelled_caught:
            raise Transient(f"{self._what}: the upload stalled")


def checked_url(base: str) -> SplitResult:
    """A URL of http or https that names a host and has no user, query or fragment; else ``ConfigError``."""
    try:
        url = urlsplit(base)
        valid = base.isascii() and base.isprintable() and " " not in base and url.port != 0
    except (ValueError, AttributeError):
        raise ConfigError("an endpoint is not a URL") from None
    if not valid or url.scheme not in _PORTS or not url.hostname:
        raise ConfigError("an endpoint is a URL that begins with http:// or https:// and names a host")
    if "@" in url.netloc or url.query or url.fragment:
        raise ConfigError(
            f"the endpoint at {url.hostname} has a user, query or fragment in its URL: secrets go elsewhere"
        )
    return url


def _authorization(token: str, login: tuple[str, str] | None, host: str) -> tuple[str, tuple[str, ...]]:
    """The header's value, and the texts that must not be shown."""
    if token and login:
        raise ConfigError(f"{host} is given both a token and a login; use one of them")
    if login is not None:
        name, password = login
        if ":" in name:
            raise ConfigError(f"the user name for {host} has a colon, which Basic authentication cannot carry")
        encoded = base64.b64encode(f"{name}:{password}".encode()).decode()
        return f"Basic {encoded}", tuple(secret for secret in (password, encoded) if secret)
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        raise ConfigError(f"the token for {host} has characters that a header cannot carry")
    return (f"Bearer {token}", (token,)) if token else ("", ())


async def _closed(stream: trio.abc.Stream | None) -> None:
    if stream is not None:
        await trio.aclose_forcefully(stream)


def _unconnected(what: str, error: Exception) -> BackendError:
    cause = error.__cause__
    if isinstance(cause, ssl.SSLError):
        return BackendError(f"{what}: no TLS with it ({printable(str(cause.reason))[:API_ERROR_CHARS]})")
    if isinstance(error, trio.TooSlowError):
        return NoConnection(f"{what}: no connection within {HTTP_CONNECT_SECONDS:.0f} s")
    return NoConnection(f"{what}: no connection ({printable(str(error))[:API_ERROR_CHARS]})")
