"""Verbs in Kubo's words for synchronous callers: on the daemon of a repo, or on nodes of this process.

What a verb answers is collected whole, or comes as it is made, as the caller likes; several can be under way at once.
"""

from __future__ import annotations

from contextlib import aclosing, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import trio

from ipfs_kit_py._portal import LoopThread, NodeThread
from ipfs_kit_py.content.files import Entry
from ipfs_kit_py.core.errors import BackendError
from ipfs_kit_py.repo import Repo
from ipfs_kit_py.verbs.on_daemon import DaemonError, OnDaemon
from ipfs_kit_py.verbs.on_node import OnNode

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from typing_extensions import Buffer

    from ipfs_kit_py.core.config import NodeConfig

T = TypeVar("T")

STREAM_BYTES = 4 << 20  # of an answer gathered for one crossing between the threads
STREAM_PARTS = 16  # of an answer that may wait for whoever reads it: 16 MiB at most, of blocks
AT_ONCE = 32  # of many calls that are under way: each may hold READ_AHEAD_BYTES


class Performer(Protocol):
    """Who performs verbs: a node of this process, or a daemon."""

    async def perform(
        self, verb: str, arguments: Sequence[str], options: Mapping[str, str], output: Any,
        uploads: AsyncIterator[Entry] | None = None,
    ) -> None: ...  # fmt: skip

    async def get(self, path: str, dest: Path, *, progress: Callable[[int], None]) -> None: ...


class Backend:
    """Verbs performed by ``performer``, called on the loop of ``thread``.

    Options are given as keywords, ``_`` for ``-``; those that are ``None`` are left out. ``timeout`` in seconds
    (``TimedOut``), ``None`` for none. What the performer raises comes through; what a daemon tells at the end of rows
    is raised as ``DaemonError``.
    """

    def __init__(self, thread: LoopThread, performer: Performer) -> None:
        self.thread = thread
        self._performer = performer

    def performer(self, verb: str) -> Performer:
        """Who performs a verb."""
        return self._performer

    def reading(self) -> AbstractContextManager[None]:
        """Entered, on the loop, around each verb."""
        return nullcontext()

    # --- whole answers ------------------------------------------------------------------------------------------------

    def rows(
        self, verb: str, *arguments: str, uploads: Iterable[Entry] | None = None, timeout: float | None = None,
        **options: Any,
    ) -> list[dict[str, Any]]:  # fmt: skip
        """All objects of an answer."""
        return self.thread.call(self._collect, verb, arguments, options, uploads, timeout=timeout).rows

    def row(
        self, verb: str, *arguments: str, uploads: Iterable[Entry] | None = None, timeout: float | None = None,
        **options: Any,
    ) -> dict[str, Any]:  # fmt: skip
        """The only object of an answer, the last where there are several, ``{}`` where there is none."""
        found = self.rows(verb, *arguments, uploads=uploads, timeout=timeout, **options)
        return found[-1] if found else {}

    def data(self, verb: str, *arguments: str, timeout: float | None = None, **options: Any) -> bytes:
        """An answer of bytes."""
        return bytes(self.thread.call(self._collect, verb, arguments, options, None, timeout=timeout).bytes)

    def data_many(
        self, calls: Sequence[tuple[str, Sequence[str], Mapping[str, object]]], timeout: float | None = None
    ) -> list[bytes | Exception]:
        """Answers of bytes of many calls (verb, arguments, options), many at once; for one that fails, why."""
        return self.thread.call(self._many, calls, timeout=timeout)

    async def _many(self, calls: Sequence[tuple[str, Sequence[str], Mapping[str, object]]]) -> list[bytes | Exception]:
        answers: list[bytes | Exception] = [b""] * len(calls)
        places = trio.CapacityLimiter(AT_ONCE)

        async def one(at: int) -> None:
            verb, arguments, options = calls[at]
            async with places:
                try:
                    answers[at] = bytes((await self._collect(verb, arguments, options, None)).bytes)
                except Exception as error:  # noqa: BLE001 - the caller's to raise or to return
                    answers[at] = error

        async with trio.open_nursery() as nursery:
            for at in range(len(calls)):
                nursery.start_soon(one, at)
        return answers

    async def _collect(
        self, verb: str, arguments: Sequence[str], options: Mapping[str, object], uploads: Iterable[Entry] | None
    ) -> _Whole:
        whole = _Whole()
        await self._perform(verb, arguments, options, uploads, whole)
        return whole

    async def _perform(
        self, verb: str, arguments: Sequence[str], options: Mapping[str, object], uploads: Iterable[Entry] | None,
        output: Any,
    ) -> None:  # fmt: skip
        sent = None if uploads is None else _each(uploads)
        told = {name.replace("_", "-"): _text(value) for name, value in options.items() if value is not None}
        performer = self.performer(verb)
        async with nullcontext() if sent is None else aclosing(sent):
            with self.reading():
                await performer.perform(verb, arguments, told, output, sent)

    # --- answers as they come -----------------------------------------------------------------------------------------

    @contextmanager
    def stream_rows(self, verb: str, *arguments: str, **options: Any) -> Iterator[Iterator[dict[str, Any]]]:
        """The objects of an answer as they come; leaving the context ends the verb."""
        with self._stream(verb, arguments, options, _RowsAsTheyCome) as rows:
            yield rows

    @contextmanager
    def stream(self, verb: str, *arguments: str, **options: Any) -> Iterator[Iterator[bytes]]:
        """The pieces of an answer of bytes as they come; leaving the context ends the verb."""
        with self._stream(verb, arguments, options, _BytesAsTheyCome) as pieces:
            yield pieces

    @contextmanager
    def _stream(
        self, verb: str, arguments: Sequence[str], options: Mapping[str, object], kind: type[_AsItComes[T]]
    ) -> Iterator[Iterator[T]]:
        send, receive = self.thread.run_sync(lambda: trio.open_memory_channel[T](STREAM_PARTS))

        async def run() -> None:
            with send:
                await self._perform(verb, arguments, options, None, kind(send))

        future = self.thread.submit(run)
        try:
            yield self._drain(receive, future)
        finally:
            future.cancel()

    def _drain(self, receive: trio.MemoryReceiveChannel[T], future: concurrent.futures.Future[None]) -> Iterator[T]:
        async def some() -> list[T]:
            items: list[T] = []
            size = 0
            async for item in receive:
                items.append(item)
                size += len(item)  # type: ignore[arg-type]
                if size >= STREAM_BYTES or receive.statistics().current_buffer_used == 0:
                    break
            return items

        while items := self.thread.call(some):
            yield from items
        future.result()

    # --- trees --------------------------------------------------------------------------------------------------------

    def get(self, path: str, dest: Path, timeout: float | None = None) -> None:
        """Write a file or tree to ``dest``, which it becomes."""

        async def get() -> None:
            with self.reading():
                await self.performer("get").get(path, dest, progress=lambda _size: None)

        self.thread.call(get, timeout=timeout)

    def close(self) -> None:
        """Let go of what performs; idempotent."""
        self.thread.close()

    def __repr__(self) -> str:
        return f"<Backend {self._performer!r}{' closed' if self.thread.closed else ''}>"


def running_daemon(config: NodeConfig) -> Backend | None:
    """Verbs on the daemon that runs on the repo of ``config``, ``None`` where none does."""
    address = None if config.repo is None else Repo(config.repo).daemon_address()
    return None if address is None else Backend(LoopThread(), OnDaemon(address))


def open_backend(config: NodeConfig, *, daemon: bool = True) -> Backend:
    """Verbs on the daemon that runs on the repo of ``config``, unless ``daemon`` is false or the node is to be offline;
    else on a node of this process. Raises what opening a node raises."""
    found = running_daemon(config) if daemon and not config.offline else None
    if found is not None:
        return found
    thread = NodeThread(config)
    return Backend(thread, OnNode(thread.node))


def sent_bytes(data: Buffer, path: str = "") -> Entry:
    """Bytes to send as one file."""

    async def chunks() -> AsyncIterator[Buffer]:
        yield data

    return Entry(path, "file", chunks=chunks)


class _Whole:
    """An answer that is collected."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.bytes = bytearray()

    async def row(self, row: dict[str, Any]) -> None:
        self.rows.append(_checked(row))

    async def data(self, data: Buffer) -> None:
        self.bytes += data


class _AsItComes(Generic[T]):
    """An answer that somebody reads at the same time."""

    def __init__(self, send: trio.MemorySendChannel[T]) -> None:
        self._send = send

    async def row(self, row: dict[str, Any]) -> None:
        raise BackendError(f"expected bytes, but the answer has a row: {_checked(row)}")

    async def data(self, data: Buffer) -> None:
        raise BackendError("expected rows, but the answer has bytes")


class _RowsAsTheyCome(_AsItComes[dict[str, Any]]):
    async def row(self, row: dict[str, Any]) -> None:
        await self._send.send(_checked(row))


class _BytesAsTheyCome(_AsItComes[bytes]):
    async def data(self, data: Buffer) -> None:
        await self._send.send(bytes(data))


def _checked(row: dict[str, Any]) -> dict[str, Any]:
    """A row, unless it tells of a failure after the answer had begun."""
    if row.get("Type") == "error" and "Message" in row:
        raise DaemonError(row["Message"])
    return row


async def _each(items: Iterable[Entry]) -> AsyncGenerator[Entry, None]:
    for item in items:
        yield item


def _text(value: object) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
