"""Verbs in Kubo's words for synchronous callers: on the daemon of a repo, or on nodes of this process.

What a verb answers is collected whole, or comes as it is made, as the caller likes; several can be under way at once.
"""

from __future__ import annotations

from contextlib import aclosing, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import trio

from ipfs_kit_py._answers import AsItComes, BytesAsTheyCome, Patience, RowsAsTheyCome, Whole
from ipfs_kit_py._portal import LoopThread, NodeThread
from ipfs_kit_py.content.files import Entry
from ipfs_kit_py.core.closing import finishing
from ipfs_kit_py.core.errors import BackendError
from ipfs_kit_py.repo import Repo
from ipfs_kit_py.verbs.on_daemon import OnDaemon
from ipfs_kit_py.verbs.on_node import OnNode

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from typing_extensions import Buffer

    from ipfs_kit_py.core.config import NodeConfig

T = TypeVar("T")

STREAM_PARTS = 16  # of an answer that may wait for whoever reads it: 16 MiB at most, of blocks
STREAM_ROWS = 64  # of an answer of rows, likewise: one of a listing has about 100 KiB in memory
SENT_PARTS = 1  # of a file that is written which may wait for whoever takes it
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

    Options are given as keywords, ``_`` for ``-``; those that are ``None`` are left out. ``timeout`` in seconds for the
    whole verb, ``stall`` for nothing to go on with it (``TimedOut``), ``None`` for as long as it takes. What the
    performer raises comes through; what a daemon tells at the end of rows is raised as ``DaemonError``.
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
        stall: float | None = None, **options: Any,
    ) -> list[dict[str, Any]]:  # fmt: skip
        """All objects of an answer."""
        return self.thread.call(self._collect, verb, arguments, options, uploads, stall, timeout=timeout).rows

    def row(
        self, verb: str, *arguments: str, uploads: Iterable[Entry] | None = None, timeout: float | None = None,
        stall: float | None = None, **options: Any,
    ) -> dict[str, Any]:  # fmt: skip
        """The only object of an answer, the last where there are several, ``{}`` where there is none."""
        found = self.rows(verb, *arguments, uploads=uploads, timeout=timeout, stall=stall, **options)
        return found[-1] if found else {}

    def data(
        self, verb: str, *arguments: str, timeout: float | None = None, stall: float | None = None, **options: Any
    ) -> bytes:
        """An answer of bytes."""
        return self.thread.call(self._collect, verb, arguments, options, None, stall, timeout=timeout).bytes()

    def data_many(
        self, calls: Sequence[tuple[str, Sequence[str], Mapping[str, object]]], timeout: float | None = None,
        stall: float | None = None,
    ) -> list[bytes | Exception]:  # fmt: skip
        """Answers of bytes of many calls (verb, arguments, options), many at once; for one that fails, why."""
        found = self.thread.call(self._many, calls, stall, timeout=timeout)
        return [answer if isinstance(answer, Exception) else answer.bytes() for answer in found]

    async def _many(
        self, calls: Sequence[tuple[str, Sequence[str], Mapping[str, object]]], stall: float | None
    ) -> list[Whole | Exception]:
        answers: list[Whole | Exception] = []
        waiting = iter(enumerate(calls))

        async def some() -> None:
            for at, (verb, arguments, options) in waiting:
                try:
                    answers[at] = await self._collect(verb, arguments, options, None, stall)
                except Exception as error:  # noqa: BLE001 - the caller's to raise or to return
                    answers[at] = error

        nothing = Whole(Patience(None))
        answers += [nothing] * len(calls)
        async with trio.open_nursery() as nursery:
            for _ in range(min(AT_ONCE, len(calls))):
                nursery.start_soon(some)
        return answers

    async def _collect(
        self, verb: str, arguments: Sequence[str], options: Mapping[str, object], uploads: Iterable[Entry] | None,
        stall: float | None,
    ) -> Whole:  # fmt: skip
        whole = Whole(Patience(stall))
        await self._perform(verb, arguments, options, uploads, whole)
        return whole

    async def _perform(
        self, verb: str, arguments: Sequence[str], options: Mapping[str, object], uploads: Iterable[Entry] | None,
        output: Whole | AsItComes[Any],
    ) -> None:  # fmt: skip
        told = {name.replace("_", "-"): _text(value) for name, value in options.items() if value is not None}
        perform = self.performer(verb).perform
        sent = None if uploads is None else _each(uploads, output.patience)
        async with nullcontext() if sent is None else aclosing(sent):
            with self.reading():
                await output.patience.run(perform, verb, arguments, told, output, sent)

    # --- answers as they come -----------------------------------------------------------------------------------------

    @contextmanager
    def stream_rows(
        self, verb: str, *arguments: str, stall: float | None = None, **options: Any
    ) -> Iterator[Iterator[dict[str, Any]]]:
        """The objects of an answer as they come; leaving the context ends the verb."""
        with self._stream(verb, arguments, options, RowsAsTheyCome(Patience(stall), STREAM_ROWS)) as rows:
            yield rows

    @contextmanager
    def stream(
        self, verb: str, *arguments: str, stall: float | None = None, **options: Any
    ) -> Iterator[Iterator[memoryview]]:
        """The pieces of an answer of bytes as they come; leaving the context ends the verb."""
        with self._stream(verb, arguments, options, BytesAsTheyCome(Patience(stall), STREAM_PARTS)) as pieces:
            yield pieces

    @contextmanager
    def _stream(
        self, verb: str, arguments: Sequence[str], options: Mapping[str, object], answer: AsItComes[T]
    ) -> Iterator[Iterator[T]]:
        async def run() -> None:
            try:
                await self._perform(verb, arguments, options, None, answer)
            finally:
                answer.end()

        future = self.thread.submit(run)
        try:
            yield self._drain(answer, future)
        finally:
            future.cancel()

    def _drain(self, answer: AsItComes[T], future: concurrent.futures.Future[None]) -> Iterator[T]:
        while items := self.thread.call(answer.take):
            yield from items
        future.result()

    def send(self, verb: str, *arguments: str, path: str = "", stall: float | None = None, **options: Any) -> Sending:
        """Begin a verb that takes one file, called ``path``; its content is written to what this returns."""
        return Sending(self, verb, arguments, options, path, stall)

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


class Sending:
    """A verb whose file is written piece by piece. End it by ``finish`` or ``cancel``."""

    def __init__(
        self, backend: Backend, verb: str, arguments: Sequence[str], options: Mapping[str, object], path: str,
        stall: float | None,
    ) -> None:  # fmt: skip
        self._thread = backend.thread
        self._send, receive = trio.open_memory_channel[Any](SENT_PARTS)

        async def chunks() -> AsyncIterator[Buffer]:
            async for piece in receive:
                yield piece

        async def run() -> Whole:
            with receive:
                uploads = [Entry(path, "file", chunks=chunks)]
                return await backend._collect(verb, arguments, options, uploads, stall)

        self._future = self._thread.submit(run)

    def write(self, data: Buffer) -> None:
        """Send a piece, which must not change afterwards; waits while others wait to be taken. Raises what the verb
        raises."""
        try:
            self._thread.call(self._send.send, data)
        except trio.BrokenResourceError:
            self._future.result()
            raise BackendError("the verb took no more of what it was sent") from None

    def finish(self) -> list[dict[str, Any]]:
        """That was all: the objects of the answer. Raises what the verb raises."""
        self._thread.run_sync(self._send.close)
        return self._future.result().rows

    def cancel(self) -> None:
        """End the verb, as if it had been interrupted."""
        self._future.cancel()


async def _each(items: Iterable[Entry], patience: Patience) -> AsyncGenerator[Entry, None]:
    for item in items:
        patience.more()
        yield item if item.chunks is None else replace(item, chunks=partial(_chunks, item.chunks, patience))
    patience.more()


async def _chunks(chunks: Callable[[], AsyncIterator[Buffer]], patience: Patience) -> AsyncGenerator[Buffer, None]:
    """The pieces of a file; the time until the next is theirs who make them."""
    patience.wait()
    async with finishing(chunks()) as pieces:
        async for piece in pieces:
            patience.more()
            yield piece
            patience.wait()
    patience.more()


def _text(value: object) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
