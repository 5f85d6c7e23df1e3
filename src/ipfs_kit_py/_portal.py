"""Where synchronous calls cross into the loop: one trio loop in one background thread for the whole process.

Each node lives in a task of that loop. What a call costs is the crossing (about 0.2 ms), so callers batch.
"""

from __future__ import annotations

import atexit
import concurrent.futures
import threading
from typing import TYPE_CHECKING, Any, TypeVar

import trio
from anyio.from_thread import BlockingPortal, start_blocking_portal

from ipfs_kit_py.core.closing import finishing
from ipfs_kit_py.core.errors import IPFSKitError, NodeDied, NotRunning, TimedOut
from ipfs_kit_py.node import Node, open_node

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from contextlib import AbstractContextManager

    from ipfs_kit_py.core.config import NodeConfig
    from ipfs_kit_py.storage.base import LocalStore

T = TypeVar("T")

STREAM_BATCH_BYTES = 4 << 20  # gathered per crossing of a streamed read

_lock = threading.Lock()
_holder: AbstractContextManager[BlockingPortal] | None = None
_portal: BlockingPortal | None = None
_thread: int | None = None
_users = 0
_open: set[NodeThread] = set()


def _acquire() -> BlockingPortal:
    global _holder, _portal, _thread, _users
    with _lock:
        if _portal is None:
            _holder = start_blocking_portal(backend="trio", name="ipfs-kit")
            _portal = _holder.__enter__()
            _thread = _portal.call(threading.get_ident)
        _users += 1
        return _portal


def _release() -> None:
    global _holder, _portal, _thread, _users
    with _lock:
        _users -= 1
        if _users:
            return
        holder, _holder, _portal, _thread = _holder, None, None, None
    if holder is not None:
        holder.__exit__(None, None, None)


class NodeThread:
    """A node in the background loop, and the way to call it from any other thread.

    Raises what starting the node raises. ``close`` it; what is left open at exit is closed then.
    """

    def __init__(self, config: NodeConfig, *, store: LocalStore | None = None) -> None:
        if threading.get_ident() == _thread:
            raise NotRunning("a synchronous node cannot be started on the loop; use `async with open_node(…)` there")
        self._portal = _acquire()
        self._stop = trio.Event()
        self._calls: set[trio.CancelScope] = set()
        self._cause: BaseException | None = None
        self._dead = False
        self._closed = False
        try:
            self._done, node = self._portal.start_task(self._live, config, store)
        except BaseException:
            _release()
            raise
        self.node: Node = node
        _open.add(self)

    async def _live(self, config: NodeConfig, store: LocalStore | None, *, task_status: Any) -> None:
        try:
            async with open_node(config, store=store) as node:
                task_status.started(node)
                await self._stop.wait()
        except Exception as error:
            self._cause = error
            if not self._stop.is_set():
                raise
        finally:
            self._dead = True
            for scope in self._calls:
                scope.cancel()

    def call(self, function: Callable[..., Awaitable[T]], *args: Any, timeout: float | None = None) -> T:
        """Run an async function on the loop and return what it returns. ``timeout`` in seconds (``TimedOut``).

        ``NotRunning`` after ``close`` and from the loop itself; ``NodeDied`` where the node has ended.
        """
        future = self.submit(function, *args, timeout=timeout)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise
        except IPFSKitError as error:
            if self._dead and not self._closed:
                raise NodeDied(f"the node ended: {error}") from (self._cause or error)
            raise

    def submit(
        self, function: Callable[..., Awaitable[T]], *args: Any, timeout: float | None = None
    ) -> concurrent.futures.Future[T]:
        """Begin an async function on the loop as ``call`` does, without waiting. Cancelling the future cancels it."""
        self._check()

        async def run() -> T:
            with trio.CancelScope() as scope:
                self._calls.add(scope)
                try:
                    with trio.move_on_after(float("inf") if timeout is None else timeout):
                        return await function(*args)
                finally:
                    self._calls.discard(scope)
                raise TimedOut(f"no answer within {timeout:g} s; give a longer timeout, or check this node's peers")
            raise NodeDied("the node ended during the call") from self._cause

        return self._portal.start_task_soon(run)

    def run_sync(self, function: Callable[..., T], *args: Any) -> T:
        """Run a plain function on the loop."""

        async def run() -> T:
            return function(*args)

        return self.call(run)

    def iterate(self, make: Callable[[], AsyncIterator[T]], *, size: Callable[[T], int]) -> Iterator[T]:
        """An asynchronous iterator as a plain one, several items per crossing."""
        source = self.run_sync(make)

        async def some() -> tuple[list[T], bool]:
            items: list[T] = []
            total = 0
            async for item in source:
                items.append(item)
                total += size(item)
                if total >= STREAM_BATCH_BYTES:
                    return items, True
            return items, False

        async def stop() -> None:
            async with finishing(source):
                pass

        more = True
        try:
            while more:
                items, more = self.call(some)
                yield from items
        finally:
            if more and not self._dead:
                self.call(stop)

    def _check(self) -> None:
        if threading.get_ident() == _thread:
            raise NotRunning("this call would block the node's own loop; await the same verb of the node there")
        if self._closed:
            raise NotRunning("this node is closed; open another")
        if self._dead:
            raise NodeDied(f"the node ended: {self._cause!r}") from self._cause

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._closed

    def close(self) -> None:
        """Stop the node and wait for it; idempotent."""
        if self._closed:
            return
        self._closed = True
        _open.discard(self)
        try:
            if not self._dead:
                self._portal.call(self._stop.set)
            concurrent.futures.wait([self._done])
        finally:
            _release()


@atexit.register
def _close_all() -> None:
    for node in list(_open):
        node.close()


__all__ = ["Node", "NodeThread"]
