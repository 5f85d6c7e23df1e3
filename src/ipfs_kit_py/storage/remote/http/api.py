"""Requests to the JSON and piece interfaces of services, over ``http``: whole answers judged by their status, tried
again where that may help, and answers that are not held. Secrets are kept out of every text.

Redirects are never followed. What a service names as another address is gone to without a token.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlencode

import trio

from ipfs_kit_py.core.config import API_ANSWER_BYTES, API_SECONDS, HTTP_READ_BYTES
from ipfs_kit_py.core.errors import BackendError, ConfigError, NotFound
from ipfs_kit_py.storage.remote.base import PASSING, Transient, retried, retry_after
from ipfs_kit_py.storage.remote.http.client import Http, NoConnection, Whole
from ipfs_kit_py.storage.remote.http.origins import Origins, target_of

if TYPE_CHECKING:
    import random
    import ssl
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping

    from ipfs_kit_py.storage.remote.http.client import Answer

_REFUSED = frozenset({429, 503})  # of the answers that may pass, those that say that nothing was done
_OURS = frozenset({"content-length", "transfer-encoding", "host", "connection"})  # headers that follow from a request


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
        self._http = Http(base, token=token, seconds=seconds, tls=tls)
        self._others = Origins(seconds=seconds, tls=tls)
        self._root = "/" if base.endswith("/") or not self._http.prefix else ""
        self._has_token = bool(token)
        self._rng = rng
        self.base = self._http.base
        self.scheme, self.host, self.port = self._http.scheme, self._http.host, self._http.port
        self.seconds = seconds

    def __repr__(self) -> str:
        return f"<Api {self.base}>"

    async def aclose(self) -> None:
        """Close its connections."""
        await self._http.aclose()
        await self._others.aclose()

    async def call(
        self,
        method: str,
        path: str | SplitResult,
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
    ) -> Whole:
        """One request and its whole answer of status 2xx. ``path`` is below the base, the base itself where it is
        empty, or a whole URL, to which no token is sent: ``ConfigError`` where one is set.

        ``value`` is sent as JSON (bytes as they are), or ``body`` gives ``size`` bytes from their beginning at each
        attempt. ``headers`` come before what follows from the body. ``again``:
        whether the request may be sent twice; if not, it is tried again only where it surely was not taken. ``single``:
        one attempt alone, whose failures that may pass are ``Transient``.
        ``NotFound`` for 404 and 410, ``TimedOut``, ``BackendError`` for all else; ``limit`` bounds the answer in bytes.
        """
        data, sent = _content(value, headers, body is not None)
        http, target = await self._target(path, params)

        async def once() -> Whole:
            try:
                if body is None:
                    options: dict[str, Any] = {"headers": sent, "body": data, "seconds": within, "fresh": not again}
                    found = await http.call(method, target, limit=limit, **options)
                else:
                    whole = partial(_whole, limit=limit)
                    found = await http.upload(method, target, body(), whole, headers=sent, size=size)
            except NoConnection:
                raise
            except Transient as error:
                if again:
                    raise
                raise BackendError(str(error)) from None
            self._judge(found, again)
            return found

        within = self.seconds if seconds is None else seconds
        what = f"{method} {http.base}{target.partition('?')[0]}"
        if single:
            with trio.move_on_after(within):
                return await once()
            raise Transient(f"{what} did not answer within {within:g} s")
        return await retried(once, self._rng, seconds=within, what=what)

    async def stream(
        self, path: str | SplitResult, *, headers: Mapping[str, str] | None = None
    ) -> AsyncGenerator[Answer | bytes, None]:
        """A GET whose answer is not held: first the beginning of status 2xx, then its bytes as they come.

        Raises as ``call``, and ``Transient`` where it is cut or stalls in the middle. Close it when leaving early.
        """
        http, target = await self._target(path, None)
        answer = await http.open("GET", target, headers=(headers or {}).items())
        try:
            if not 200 <= answer.status < 300:
                self._judge(Whole(answer, await answer.read(API_ANSWER_BYTES)), True)
            yield answer
            while data := await answer.some(HTTP_READ_BYTES):
                yield data if isinstance(data, bytes) else bytes(data)
        finally:
            await answer.aclose()

    async def _target(self, path: str | SplitResult, params: Mapping[str, str] | None) -> tuple[Http, str]:
        """Where a request goes: an origin, and path with query there."""
        if isinstance(path, SplitResult):
            if self._has_token:
                raise ConfigError(f"the token for {self.host} is not for other addresses")
            http, target = await self._others.at(path), target_of(path)
        else:
            http, target = self._http, f"/{path.lstrip('/')}" if path else self._root
        if params:
            target += f"{'&' if '?' in target else '?'}{urlencode(params)}"
        return http, target

    def _judge(self, answer: Whole, again: bool) -> None:
        """Raise where the answer is not of status 2xx."""
        status, what = answer.status, answer.what
        if 200 <= status < 300:
            return
        if 300 <= status < 400:
            raise BackendError(f"{what}: redirected, which is not followed here")
        words = self._http.words(answer.body.decode(errors="replace"))
        text = f": {words}" if words else ""
        if status in (404, 410):
            raise NotFound(f"{what}: {status}{text}")
        if status in (401, 403):
            raise BackendError(f"{what}: {status}, the token was not accepted{text}")
        if status in PASSING and (again or status in _REFUSED):
            raise Transient(f"{what}: {status}{text}", after=retry_after(answer.headers))
        raise BackendError(f"{what}: {status}{text}")


async def _whole(answer: Answer, *, limit: int) -> Whole:
    return Whole(answer, await answer.read(limit))


def _content(value: Any, headers: Mapping[str, str] | None, streamed: bool) -> tuple[bytes, list[tuple[str, str]]]:
    """The bytes of a value, and the headers that go with it."""
    own = {name: text for name, text in (headers or {}).items() if name.lower() not in _OURS}
    data = b""
    if streamed or value is not None:
        binary = streamed or isinstance(value, bytes)
        if not streamed:
            data = value if isinstance(value, bytes) else json.dumps(value).encode()
        if not any(name.lower() == "content-type" for name in own):
            own["Content-Type"] = "application/octet-stream" if binary else "application/json"
    return data, list(own.items())
