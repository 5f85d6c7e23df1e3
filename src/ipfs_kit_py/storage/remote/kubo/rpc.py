"""Kubo's RPC over ``http``: queries, rows of JSON, multipart bodies, and what its errors mean.

Source: docs.ipfs.tech/reference/kubo/rpc; ipfs/go-ipfs-cmds http.
"""

from __future__ import annotations

import json
import re
import secrets
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar

from ipfs_kit_py.core.config import API_ANSWER_BYTES, RPC_LINE_BYTES
from ipfs_kit_py.core.errors import BackendError, IPFSKitError, NotFound, NotSupported, TimedOut
from ipfs_kit_py.storage.remote.archive_body import multipart
from ipfs_kit_py.storage.remote.base import PASSING, Transient, retry_after
from ipfs_kit_py.storage.remote.http.client import Http, StreamFailed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable

    from typing_extensions import Buffer

    from ipfs_kit_py.storage.remote.http.client import Answer

T = TypeVar("T")

_ABSENT = re.compile(r"could not find|not found|no link named|is not pinned|block was not found", re.IGNORECASE)
_LATE = re.compile(r"context deadline exceeded|context canceled", re.IGNORECASE)


class Rpc:
    """The commands below the path of ``http``. ``NotFound`` for what the daemon has not got, ``NotSupported`` for
    commands that it does not know, ``TimedOut`` where it ran out of its own time, else ``BackendError``."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def open(self, verb: str, *args: str, **options: Any) -> Answer:
        """The beginning of an answer that is no error. Close it."""
        answer = await self._http.open("POST", f"/{verb}", params=_query(args, options))
        try:
            await self._judge(answer, verb)
        except BaseException:
            await answer.aclose()
            raise
        return answer

    async def data(self, verb: str, *args: str, limit: int = API_ANSWER_BYTES, **options: Any) -> bytes:
        """A whole answer."""
        answer = await self.open(verb, *args, **options)
        try:
            return await answer.read(limit)
        except StreamFailed as error:
            raise self.meant(error, verb) from None
        finally:
            await answer.aclose()

    async def value(self, verb: str, *args: str, **options: Any) -> dict[str, Any]:
        """An answer that is one object."""
        return _object(await self.data(verb, *args, **options), verb)

    async def rows(
        self, verb: str, *args: str, moved: Callable[[dict[str, Any]], bool] | None = None, **options: Any
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The objects of an answer, one a line. ``moved`` says of a row whether the daemon got on with it: then it
        has its time again."""
        answer = await self.open(verb, *args, **options)
        async with aclosing(self.rows_of(answer, verb, moved)) as rows:
            async for row in rows:
                yield row

    async def rows_of(
        self, answer: Answer, verb: str, moved: Callable[[dict[str, Any]], bool] | None = None
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The same of an answer that has begun; it is closed at the end."""
        rest = b""
        try:
            async for data in answer:
                *lines, rest = (rest + data).split(b"\n")
                if len(rest) > RPC_LINE_BYTES:
                    raise BackendError(f"{verb}: the daemon sent a line of over {RPC_LINE_BYTES} bytes")
                for line in lines:
                    if line.strip():
                        row = self._row(line, verb)
                        if moved is not None and moved(row):
                            answer.renew()
                        yield row
            if rest.strip():
                yield self._row(rest, verb)
        except StreamFailed as error:
            raise self.meant(error, verb) from None
        finally:
            await answer.aclose()

    def _row(self, line: bytes, verb: str) -> dict[str, Any]:
        row = _object(line, verb)
        if row.get("Type") == "error" and "Message" in row:
            raise self.failure(str(row["Message"]), verb)
        return row

    async def upload(
        self,
        verb: str,
        body: AsyncIterable[Buffer],
        take: Callable[[Answer], Awaitable[T]],
        *args: str,
        **options: Any,
    ) -> T:
        """Send one file as a multipart form while ``take`` reads the answer."""
        boundary = secrets.token_hex(16)

        async def judged(answer: Answer) -> T:
            await self._judge(answer, verb)
            return await take(answer)

        headers = [("Content-Type", f"multipart/form-data; boundary={boundary}")]
        return await self._http.upload(
            "POST", f"/{verb}", multipart(body, boundary), judged, params=_query(args, options), headers=headers
        )

    async def _judge(self, answer: Answer, verb: str) -> None:
        if answer.status == 200:
            return
        body = await answer.read(API_ANSWER_BYTES)
        try:
            text = str(json.loads(body)["Message"])
        except (ValueError, TypeError, KeyError, RecursionError):
            text = body.decode(errors="replace")
        if answer.status == 404:
            raise NotSupported(f"{verb}: the daemon does not know this command")
        if answer.status in PASSING:
            raise Transient(f"{verb}: {answer.status} {self._http.words(text)}", after=retry_after(answer.headers))
        if answer.status in (401, 403):
            raise BackendError(f"{verb}: {answer.status}, the daemon refuses this client: {self._http.words(text)}")
        raise self.failure(text, verb)

    def meant(self, error: StreamFailed, verb: str) -> IPFSKitError:
        """What a failure in the middle of an answer means."""
        return self.failure(error.text, verb)

    def failure(self, text: str, verb: str) -> IPFSKitError:
        """What the daemon's words mean."""
        message = f"{verb}: {self._http.words(text)}"
        if _LATE.search(text):
            return TimedOut(message)
        return NotFound(message) if _ABSENT.search(text) else BackendError(message)


def _object(data: bytes, verb: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise BackendError(f"{verb}: the daemon's answer is no JSON") from None
    if not isinstance(value, dict):
        raise BackendError(f"{verb}: the daemon's answer is no JSON object")
    return value


def _query(args: tuple[str, ...], options: dict[str, Any]) -> list[tuple[str, str]]:
    named = [
        (name.replace("_", "-"), str(value).lower() if isinstance(value, bool) else str(value))
        for name, value in options.items()
        if value is not None
    ]
    return [("arg", arg) for arg in args] + named
