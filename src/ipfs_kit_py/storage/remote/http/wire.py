"""One connection of HTTP/1.1 and the answers on it, for ``http``: bounded headers and waits, trailers kept."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import h11
import trio

from ipfs_kit_py.core.config import (
    API_PROGRESS_BYTES,
    HTTP_HEADER_BYTES,
    HTTP_IDLE_SECONDS,
    HTTP_MAX_INFORMATIONAL,
    HTTP_READ_BYTES,
)
from ipfs_kit_py.core.errors import BackendError
from ipfs_kit_py.storage.remote.base import Transient

if TYPE_CHECKING:
    from typing_extensions import Buffer

T = TypeVar("T")

_ERROR_TRAILER = "x-stream-error"


class NoConnection(Transient):
    """Nothing listens there, or it cannot be reached: the request was not sent."""


class StreamFailed(BackendError):
    """An answer that began well and says in its trailer that it failed. ``text`` are the server's words."""

    def __init__(self, message: str, *, text: str) -> None:
        super().__init__(message)
        self.text = text


class Stale(Exception):
    """A connection ended before a byte of an answer came; where it was one that was kept, another may do."""


class Pool(Protocol):
    """Where connections come from and go to."""

    @property
    def seconds(self) -> float | None: ...
    def words(self, text: str) -> str: ...
    def keep(self, connection: Connection) -> bool:
        """Take a connection back for the next request; whether it was."""
        ...

    def let_go(self) -> None:
        """A connection is closed: another may be opened."""
        ...


class Connection:
    """One connection, which is in use or kept."""

    def __init__(self, pool: Pool, stream: trio.abc.Stream) -> None:
        self.pool = pool
        self.seconds = float("inf") if pool.seconds is None else pool.seconds
        self.reused = False
        self._stream = stream
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=HTTP_HEADER_BYTES)
        self.turn = 0  # how often it was used again: who let go of it may not touch it in a later one
        self._leased = True
        self._sending = False
        self._idle_since = 0.0
        self._received = False  # a byte of the present answer
        self._eof = False
        self._next: Any = None  # an event that was looked at

    def lease(self) -> bool:
        """Use a kept connection again: where it is still open, with nothing said on it meanwhile, and not too old."""
        stream = self._stream.transport_stream if isinstance(self._stream, trio.SSLStream) else self._stream
        assert isinstance(stream, trio.SocketStream)
        if trio.current_time() - self._idle_since >= HTTP_IDLE_SECONDS or stream.socket.is_readable():
            return False
        self._leased = self.reused = True
        self.turn += 1
        self._received = False
        return True

    async def begin(self, request: h11.Request, body: bytes, what: str) -> Answer:
        """Send a whole request; ``Stale`` where the connection ends before an answer begins."""
        parts = [self._h11.send(request) or b""]
        if body:
            parts.append(self._h11.send(h11.Data(data=body)) or b"")
        parts.append(self._h11.send(h11.EndOfMessage()) or b"")
        try:
            await self._stream.send_all(b"".join(parts))
        except trio.BrokenResourceError:
            if self.reused:
                raise Stale from None  # else an answer that is here already may say why
        return await self.response(what)

    async def send(self, event: h11.Event) -> None:
        """Send a part of a request; ``trio.BrokenResourceError`` where the server reads no more."""
        data = self._h11.send(event)
        if data:
            self._sending = True  # and so it stays where this is left in the middle
            await self._stream.send_all(data)
            self._sending = False

    async def response(self, what: str) -> Answer:
        """The beginning of the answer."""
        for _ in range(HTTP_MAX_INFORMATIONAL):
            event = self.buffered(what) or await self.event(what)
            if isinstance(event, h11.Response):
                return Answer(self, event, what)
        raise BackendError(f"{what}: the answer is malformed: it does not begin")

    def data_nowait(self) -> bytes | bytearray | None:
        """More of the body where it is here already. What else is here is kept for ``buffered``."""
        if self._next is None:
            with suppress(h11.RemoteProtocolError):
                self._next = self._h11.next_event()
        if not isinstance(self._next, h11.Data):
            return None
        event, self._next = self._next, None
        return event.data

    def buffered(self, what: str) -> Any:
        """The next event of what came, ``None`` where more has to come."""
        if self._next not in (None, h11.NEED_DATA):
            event, self._next = self._next, None
            return event
        self._next = None
        try:
            event = self._h11.next_event()
        except h11.RemoteProtocolError as error:
            if self._eof:
                raise Transient(f"{what}: the answer was cut") from None
            raise BackendError(f"{what}: the answer is malformed ({error})") from None
        if event is h11.NEED_DATA:
            return None
        if isinstance(event, h11.ConnectionClosed):
            raise Transient(f"{what}: the answer was cut")
        return event

    async def event(self, what: str) -> Any:
        """The next event, with more bytes."""
        while True:
            try:
                data: Buffer = await self._stream.receive_some(HTTP_READ_BYTES)
            except trio.BrokenResourceError:
                data = b""
            if data:
                self._received = True
            else:
                self._eof = True
                if not self._received:
                    raise Stale
            self._h11.receive_data(data)  # type: ignore[arg-type]
            event = self.buffered(what)
            if event is not None:
                return event

    def at_end(self) -> bool:
        """Whether the rest of the answer is its end alone, and is here."""
        if isinstance(self._next, h11.EndOfMessage):
            return True
        if self._h11.their_state is h11.SEND_BODY:
            try:
                return isinstance(self._h11.next_event(), h11.EndOfMessage)
            except h11.RemoteProtocolError:
                return False
        return self._h11.their_state is h11.DONE

    async def ended(self) -> None:
        """The answer is read to its end: keep the connection if it may be."""
        done = self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE
        if self._leased and done and not self._sending:
            self._h11.start_next_cycle()
            self._next = None
            self._idle_since = trio.current_time()
            if self.pool.keep(self):
                self._leased = False
                return
        await self.drop()

    async def drop(self, turn: int | None = None) -> None:
        """Where it is in use (and, if it is said, still in this turn): close it at once, and let another be opened."""
        if self._leased and turn in (None, self.turn):
            self._leased = False
            self.pool.let_go()
            await trio.aclose_forcefully(self._stream)

    async def discard(self) -> None:
        """Close one that was kept."""
        await trio.aclose_forcefully(self._stream)


class Answer:
    """An answer that has begun; iterate for its body as it comes, as ``bytes`` or ``bytearray``. ``headers`` and, at
    the end, ``trailers`` have lower-case names. Close it: a connection that is at its answer's end is kept.

    Reading raises ``Transient`` where the answer is cut or stalls, ``StreamFailed`` where its trailer says so.
    """

    def __init__(self, connection: Connection, response: h11.Response, what: str) -> None:
        self.status = response.status_code
        self.headers = _headers(response.headers)
        self.trailers: dict[str, str] = {}
        self.what = what
        self._connection: Connection | None = connection
        self._left = connection.seconds
        self._since = 0
        if self.headers.get("content-encoding", "identity").lower() != "identity":
            raise BackendError(f"{what}: the answer is compressed, which was not asked for")

    def __aiter__(self) -> Answer:
        return self

    async def __anext__(self) -> bytes | bytearray:
        connection = self._connection
        if connection is None:
            raise StopAsyncIteration
        try:
            event = await self._next(connection)
        except BaseException:
            await self.aclose()
            raise
        if isinstance(event, h11.Data):
            self._count(len(event.data))
            return event.data
        self._connection = None
        self.trailers = _headers(event.headers)
        await connection.ended()
        if failure := self.trailers.get(_ERROR_TRAILER):
            text = connection.pool.words(failure)
            raise StreamFailed(f"{self.what}: failed in the middle: {text}", text=text)
        raise StopAsyncIteration

    async def some(self, most: int) -> bytes | bytearray:
        """What is here of the body, about ``most`` bytes, after a wait where nothing is; empty at the end."""
        first = await anext(self, b"")
        parts, size = [first], len(first)
        while first and size < most and self._connection is not None:
            event = self._connection.data_nowait()
            if event is None:
                break
            parts.append(event)
            size += len(event)
            self._count(len(event))
        return first if len(parts) == 1 else b"".join(parts)

    async def _next(self, connection: Connection) -> Any:
        event = connection.buffered(self.what)
        if event is not None:
            return event
        started = trio.current_time()
        with trio.move_on_after(max(self._left, 0.0)) as scope:
            event = await connection.event(self.what)
        if scope.cancelled_caught:
            raise Transient(f"{self.what}: the answer stalled")
        self._left -= trio.current_time() - started  # what a slow reader takes does not count
        return event

    def _count(self, size: int) -> None:
        self._since += size
        if self._since >= API_PROGRESS_BYTES:
            self.renew()

    def renew(self) -> None:
        """The server got on: let it have its time from now again. For answers whose few bytes tell of progress."""
        if self._connection is not None:
            self._left, self._since = self._connection.seconds, 0

    async def read(self, limit: int) -> bytes:
        """The whole body; ``BackendError`` where it is longer than ``limit`` bytes."""
        body = bytearray()
        async for data in self:
            body += data
            if len(body) > limit:
                raise BackendError(f"{self.what}: the answer is over {limit} bytes")
        return bytes(body)

    async def aclose(self) -> None:
        """Let go of the connection; where the answer has not ended it is closed, which the server notices."""
        connection, self._connection = self._connection, None
        if connection is not None:
            if connection.at_end():
                await connection.ended()
            else:
                await connection.drop()


class Whole:
    """An answer with its whole body."""

    def __init__(self, answer: Answer, body: bytes) -> None:
        self.status = answer.status
        self.headers = answer.headers
        self.body = body
        self.what = answer.what

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


def _headers(pairs: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for raw_name, raw_value in pairs:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found
