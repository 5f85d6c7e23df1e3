"""Piece commitments over several processes, since a tree of 64-byte hashes holds the interpreter's lock.

Each worker is a plain child process that takes segments over a pipe: nothing of the program that uses it is imported
again there, so it works in a script without a main guard, in a notebook and in a frozen loop alike, and ends with its
pipe. At most one segment per worker is under way. A payload that is short never starts one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

import trio

from ipfs_kit_py.core.config import COMMP_MAX_WORKERS, COMMP_SEGMENT_SECONDS
from ipfs_kit_py.core.errors import BackendError, ConfigError
from ipfs_kit_py.storage.remote.filecoin import commp, fr32

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterator

    from typing_extensions import Buffer

    from ipfs_kit_py.storage.remote.filecoin.commp import Piece

_SOURCE = str(Path(__file__).resolve().parents[4])
_RUN = (
    f"import sys; sys.path.insert(0, {_SOURCE!r}); "
    "from ipfs_kit_py.storage.remote.filecoin import commp_worker as w; w.main()"
)


@contextmanager
def _limited() -> Iterator[None]:
    """A time limit, and the errors of a broken pipe as ours."""
    try:
        with trio.fail_after(COMMP_SEGMENT_SECONDS):
            yield
    except trio.TooSlowError:
        raise BackendError("a worker process for piece commitments does not answer") from None
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        raise BackendError("a worker process for piece commitments ended early") from None


class _Worker:
    """One child. ``send`` waits until it has taken a segment, ``receive`` for its root."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self.busy = False

    @classmethod
    async def start(cls) -> _Worker:
        try:
            process = await trio.lowlevel.open_process(
                [sys.executable, "-c", _RUN], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        except OSError as error:
            raise BackendError(f"no worker process for piece commitments could be started: {error}") from None
        return cls(process)

    async def send(self, segment: bytearray) -> None:
        assert self._process.stdin is not None
        self.busy = True
        size = len(segment)
        with _limited():
            await self._process.stdin.send_all(size.to_bytes(4, "big"))
            await self._process.stdin.send_all(segment)

    async def receive(self) -> bytes:
        assert self._process.stdout is not None
        root = b""
        with _limited():
            while len(root) < fr32.NODE_BYTES:
                found = await self._process.stdout.receive_some(fr32.NODE_BYTES - len(root))
                if not found:
                    raise BackendError("a worker process for piece commitments ended early")
                root += bytes(found)
        self.busy = False
        return root

    async def aclose(self) -> None:
        with trio.CancelScope(shield=True):
            if self._process.stdin is not None:
                await self._process.stdin.aclose()
            self._process.kill()
            await self._process.wait()
            if self._process.stdout is not None:
                await self._process.stdout.aclose()


class PieceHasher:
    """A commitment in the making over ``workers`` processes (default: the processors there are; 0 works in a thread).

    ``feed`` takes the payload in pieces of any length and waits while all workers are busy; ``finish`` gives the piece.
    An async context manager; memory is two segments of 4 MiB and one per worker. ``BackendError`` where a worker
    fails, ``ValueError`` beyond 64 GiB.
    """

    def __init__(self, workers: int | None = None) -> None:
        wanted = (os.cpu_count() or 1) if workers is None else workers
        if wanted < 0:
            raise ConfigError(f"a number of workers is at least 0, not {wanted}")
        self._most = min(wanted, COMMP_MAX_WORKERS)
        self._workers: list[_Worker] = []
        self._turn = 0
        self._tree = commp.Segments()
        self._rest = bytearray()
        self._first: bytearray | None = None
        self.payload = 0  # bytes taken

    async def feed(self, data: Buffer) -> None:
        """The next bytes of the payload."""
        view = memoryview(data).cast("B")
        commp.check_payload(self.payload + view.nbytes)
        self.payload += view.nbytes
        at = 0
        while at < view.nbytes:
            size = min(commp.SEGMENT_PAYLOAD - len(self._rest), view.nbytes - at)
            self._rest += view[at : at + size]
            at += size
            if len(self._rest) == commp.SEGMENT_PAYLOAD:
                segment, self._rest = self._rest, bytearray()
                await self._segment(segment)

    async def _segment(self, segment: bytearray) -> None:
        if not self._workers and self._first is None:
            self._first = segment  # perhaps the only one: it is not worth a process yet
            return
        if self._first is not None:
            first, self._first = self._first, None
            await self._dispatch(first)
        await self._dispatch(segment)

    async def _dispatch(self, segment: bytearray) -> None:
        if not self._most:
            self._tree.push((await trio.to_thread.run_sync(fr32.root_of, segment))[0])
            return
        if len(self._workers) < self._most:
            self._workers.append(await _Worker.start())
            worker = self._workers[-1]
        else:
            worker = self._workers[self._turn]
            self._turn = (self._turn + 1) % self._most
            self._tree.push(await worker.receive())  # in the order that they were sent in
        await worker.send(segment)

    async def finish(self) -> Piece:
        """The piece; call it once, nothing may be fed after it."""
        busy = self._workers[self._turn :] + self._workers[: self._turn]
        for worker in busy:
            if worker.busy:
                self._tree.push(await worker.receive())
        if self._first is not None:
            self._tree.push((await trio.to_thread.run_sync(fr32.root_of, self._first))[0])
        return await trio.to_thread.run_sync(self._tree.piece, self._rest)

    async def aclose(self) -> None:
        """End the workers."""
        workers, self._workers = self._workers, []
        for worker in workers:
            await worker.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.aclose()


async def piece_cid(stream: AsyncIterable[Buffer], workers: int | None = None) -> Piece:
    """The piece of a payload that comes as a stream, over ``workers`` processes; errors as ``PieceHasher``."""
    async with PieceHasher(workers) as hasher:
        async for data in stream:
            await hasher.feed(data)
        return await hasher.finish()
