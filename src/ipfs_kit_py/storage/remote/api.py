"""Requests to the HTTP interfaces of services: bounded answers, failures as ours, secrets kept out of every text.

Redirects are never followed, nothing comes from environment variables or a netrc file, and bodies are taken as they
are sent: a compressed answer, which could grow without bound, is refused.
"""

from __future__ import annotations

import json
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
import trio

from ipfs_kit_py.core.config import (
    API_ANSWER_BYTES,
    API_ERROR_CHARS,
    API_MAX_CONNECTIONS,
    API_PROGRESS_BYTES,
    API_SECONDS,
)
from ipfs_kit_py.core.errors import BackendError, ConfigError, NotFound
from ipfs_kit_py.core.text import printable
from ipfs_kit_py.storage.remote.base import Transient, retried

if TYPE_CHECKING:
    import random
    import ssl
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping

T = TypeVar("T")

_PASSING = frozenset({408, 425, 429, 502, 503, 504})  # answers that may be others next time
_REFUSED = frozenset({429, 503})  # of them, those that say that nothing was done


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    what: str  # the request, for messages

    def json(self) -> Any:
        """The body's JSON value; ``BackendError`` where it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise BackendError(f"{self.what}: the answer is no JSON") from None

    def json_map(self) -> dict[str, Any]:
        """The body's JSON object; ``BackendError`` where it is none."""
        return as_type(self.json(), dict, self.what)


def as_type(value: Any, kind: type[T], what: str) -> T:
    """``value`` if it is of ``kind`` (``bool`` is no ``int``); else ``BackendError``."""
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise BackendError(f"{what}: the answer has {type(value).__name__} where {kind.__name__} belongs")
    return value


class Api:
    """One service at ``base``, a URL. ``token`` is sent as ``Authorization: Bearer``; ``seconds`` is what one request
    may take, with its repetitions. ``ConfigError`` for a base or token that cannot be used."""

    def __init__(
        self,
        base: str,
        *,
        rng: random.Random,
        token: str = "",
        seconds: float = API_SECONDS,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.base = _checked_base(base)
        if not (token.isascii() and token.isprintable()) or " " in token:
            raise ConfigError(f"the token for {self.base.host} has characters that a header cannot carry")
        self.seconds = seconds
        self._rng = rng
        self._token = token
        headers = {"Accept-Encoding": "identity", "User-Agent": "ipfs-kit-py"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        self._client = httpx.AsyncClient(
            headers=headers,
            verify=True if tls is None else tls,
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(seconds),
            limits=httpx.Limits(max_connections=API_MAX_CONNECTIONS),
        )

    def __repr__(self) -> str:
        return f"<Api {self.base}>"

    async def aclose(self) -> None:
        """Close its connections."""
        await self._client.aclose()

    def url(self, path: str | httpx.URL) -> httpx.URL:
        """The address of a path below the base; the base itself for none. Whole URLs are taken as they are, but no
        token is sent to them: ``ConfigError`` where one is set."""
        if isinstance(path, httpx.URL):
            if self._token:
                raise ConfigError(f"the token for {self.base.host} is not for other addresses")
            return path
        if not path:
            return self.base
        return httpx.URL(f"{str(self.base).rstrip('/')}/{path.lstrip('/')}")

    async def call(
        self,
        method: str,
        path: str | httpx.URL,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        value: Any = None,
        body: Callable[[], AsyncIterator[bytes]] | None = None,
        size: int | None = None,
        again: bool = True,
        single: bool = False,
        limit: int = API_ANSWER_BYTES,
        seconds: float | None = None,
    ) -> Answer:
        """One request and its whole answer of status 2xx.

        ``value`` is sent as JSON (bytes as they are), or ``body`` gives ``size`` bytes from their beginning at each
        attempt. ``headers`` come before what follows from the body. ``again``:
        whether the request may be sent twice; if not, it is tried again only where it surely was not taken. ``single``:
        one attempt alone, whose failures that may pass are ``Transient``.
        ``NotFound`` for 404 and 410, ``TimedOut``, ``BackendError`` for all else; ``limit`` bounds the answer in bytes.
        """

        async def once() -> Answer:
            request = self._request(method, path, params, headers, value, body, size)
            async with aclosing(_Open(self, request, again)) as opened:
                response = await opened.response()
                found = await opened.read(response, limit)
            self._judge(response, found, again)
            return Answer(response.status_code, response.headers, found, _named(request))

        within = self.seconds if seconds is None else seconds
        url = self.url(path)
        what = f"{method} {url.host}{url.path}"
        if single:
            with trio.move_on_after(within):
                return await once()
            raise Transient(f"{what} did not answer within {within:.0f} s")
        return await retried(once, self._rng, seconds=within, what=what)

    async def stream(
        self, path: str | httpx.URL, *, headers: Mapping[str, str] | None = None
    ) -> AsyncGenerator[httpx.Response | bytes, None]:
        """A GET whose answer is not held: first the response of status 2xx, then its bytes as they come.

        Raises as ``call``, and ``Transient`` where it is cut or stalls in the middle. Close it when leaving early.
        """
        request = self._client.build_request("GET", self.url(path), headers=headers)
        async with aclosing(_Open(self, request, True)) as opened:
            with opened.limited(self.seconds):
                response = await opened.response()
            if not response.is_success:
                self._judge(response, await opened.read(response, API_ANSWER_BYTES), True)
            yield response
            async with aclosing(opened.chunks(response)) as chunks:
                async for chunk in chunks:
                    yield chunk

    def _request(
        self,
        method: str,
        path: str | httpx.URL,
        params: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        value: Any,
        body: Callable[[], AsyncIterator[bytes]] | None,
        size: int | None,
    ) -> httpx.Request:
        url = self.url(path)
        if params:
            url = url.copy_merge_params(params)
        if body is None and value is None:
            return self._client.build_request(method, url, headers=headers)
        source: AsyncIterator[bytes]
        if body is None:
            kind = "application/octet-stream" if isinstance(value, bytes) else "application/json"
            data = value if isinstance(value, bytes) else json.dumps(value).encode()
            size, source = len(data), _Once(data)
        else:
            kind, source = "application/octet-stream", body()
        sent = httpx.Headers({"Content-Type": kind})
        sent.update(headers)
        sent["Content-Length"] = str(size)
        request = self._client.build_request(method, url, headers=sent)
        request.stream = _Upload(source)
        return request

    def _judge(self, response: httpx.Response, body: bytes, again: bool) -> None:
        """Raise where the answer is not of status 2xx."""
        status = response.status_code
        if response.is_success:
            return
        what = _named(response.request)
        if 300 <= status < 400:
            raise BackendError(f"{what}: redirected, which is not followed here")
        text = self._words(body)
        if status in (404, 410):
            raise NotFound(f"{what}: {status}{text}")
        if status in (401, 403):
            raise BackendError(f"{what}: {status}, the token was not accepted{text}")
        if status in _PASSING and (again or status in _REFUSED):
            raise Transient(f"{what}: {status}{text}", after=_retry_after(response.headers))
        raise BackendError(f"{what}: {status}{text}")

    def _words(self, body: bytes) -> str:
        """What a server says of an error, short and without our secret."""
        text = body[: 16 * API_ERROR_CHARS].decode(errors="replace")
        if self._token:
            text = text.replace(self._token, "…")
        text = printable(" ".join(text.split()))[:API_ERROR_CHARS]
        return f": {text}" if text else ""


class _Once:
    """One piece of a body. No generator: httpx leaves those open where a request fails, which trio complains of."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __aiter__(self) -> _Once:
        return self

    async def __anext__(self) -> bytes:
        if not self._data:
            raise StopAsyncIteration
        data, self._data = self._data, b""
        return data


class _Upload(httpx.AsyncByteStream):
    """A body that is sent as it is read."""

    def __init__(self, source: AsyncIterator[bytes]) -> None:
        self._source = source

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._source


class _Open:
    """One request under way."""

    def __init__(self, api: Api, request: httpx.Request, again: bool) -> None:
        self._api = api
        self._request = request
        self._again = again
        self._what = _named(request)
        self._response: httpx.Response | None = None

    async def response(self) -> httpx.Response:
        with self._mapped():
            self._response = await self._api._client.send(self._request, stream=True)
        if self._response.headers.get("content-encoding", "identity").lower() != "identity":
            raise BackendError(f"{self._what}: the answer is compressed, which was not asked for")
        return self._response

    async def read(self, response: httpx.Response, limit: int) -> bytes:
        """The body; ``BackendError`` where it is longer than ``limit`` bytes."""
        body = bytearray()
        async with aclosing(self.chunks(response)) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) > limit:
                    raise BackendError(f"{self._what}: the answer is over {limit} bytes")
        return bytes(body)

    async def chunks(self, response: httpx.Response) -> AsyncGenerator[bytes, None]:
        """The body as it comes; it must get on by ``API_PROGRESS_BYTES`` in the time of one request."""
        left, since = self._api.seconds, 0
        source = response.aiter_raw()
        try:
            while True:
                started = trio.current_time()
                with self._mapped(), trio.fail_after(max(left, 0.0)):
                    chunk = await anext(source, b"")
                if not chunk:
                    return
                since += len(chunk)
                left -= trio.current_time() - started  # what a slow caller takes does not count
                if since >= API_PROGRESS_BYTES:
                    left, since = self._api.seconds, 0
                yield chunk
        finally:
            await response.aclose()
            with suppress(httpx.HTTPError, httpx.StreamError):
                async for _chunk in source:
                    pass  # what is left in buffers: then httpx's own generators, which trio wants ended, meet the end

    @contextmanager
    def limited(self, seconds: float) -> Iterator[None]:
        """So long may the beginning of an answer take, however it trickles."""
        with self._mapped(), trio.fail_after(seconds):
            yield

    async def aclose(self) -> None:
        if self._response is not None:
            await self._response.aclose()

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        """The failures of the way there as ours. None of them quotes a header."""
        what = self._what
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise Transient(f"{what}: no connection ({printable(str(error))[:API_ERROR_CHARS]})") from None
        except trio.TooSlowError:
            raise Transient(f"{what}: the answer stalled") from None
        except httpx.TimeoutException:
            raise self._failed(f"{what}: no answer in time") from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise self._failed(f"{what}: {type(error).__name__}, the answer was cut or is malformed") from None

    def _failed(self, message: str) -> BackendError:
        return Transient(message) if self._again else BackendError(message)


def _checked_base(base: str) -> httpx.URL:
    try:
        url = httpx.URL(base)
    except (httpx.InvalidURL, TypeError):
        raise ConfigError("an endpoint is not a URL") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigError("an endpoint is a URL that begins with http:// or https:// and names a host")
    if url.userinfo or url.query or url.fragment:
        raise ConfigError(f"the endpoint at {url.host} has a user, query or fragment in its URL: secrets go elsewhere")
    return url


def _named(request: httpx.Request) -> str:
    return f"{request.method} {request.url.copy_with(query=None)}"


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds of a ``Retry-After``; a date counts from the answer's own date. RFC 9110 section 10.2.3."""
    text = headers.get("retry-after", "")
    if text.isdecimal() and len(text) < 10:
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - parsedate_to_datetime(headers["date"])).total_seconds())
    except (ValueError, TypeError, KeyError, OverflowError):
        return None
