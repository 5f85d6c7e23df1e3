"""Where synchronous calls cross into the loop: one trio loop in one background thread for the whole process.

Each node lives in a task of that loop. What a call costs is the crossing (about 0.2 ms), so callers batch.
"""

from __future__ import annotations

import atexit
import concurrent.futures
import os
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
_open: set[LoopThread] = set()
_left_behind: list[object] = []  # holders of loops in the processes that this one was forked from


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


class LoopThread:
    """The background loop, and the way to call it from any other thread. ``close`` it; what is left open at exit is
    closed then."""

    def __init__(self) -> None:
        if threading.get_ident() == _thread:
            raise NotRunning("a synchronous node cannot be started on the loop; use `async with open_node(…)` there")
        self._process = os.getpid()
        self._portal = _acquire()
        self._calls: set[trio.CancelScope] = set()
        self._closed = False
        _open.add(self)

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
            raise self._ended()

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
            if more and self._alive:
                self.call(stop)

    @property
    def _alive(self) -> bool:
        return not self._closed

    def _ended(self) -> IPFSKitError:
        """What a call raises that was cut off."""
        return NotRunning("this node was closed during the call")

    def _check(self) -> None:
        if threading.get_ident() == _thread:
            raise NotRunning("this call would block the node's own loop; await the same verb of the node there")
        if self._closed:
            raise NotRunning("this node is closed; open another")
        if self._process != os.getpid():
            raise NotRunning("this node lives in the process that this one was forked from; open another here")

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._closed

    @property
    def is_here(self) -> bool:
        """Whether it can be called: it is open, and was opened by this process, not by one that forked it."""
        return not self._closed and self._process == os.getpid()

    def close(self) -> None:
        """End what still runs and let the loop go; idempotent. In a process that was forked there is nothing to end."""
        if not self.is_here:
            return
        self._closed = True
        _open.discard(self)
        try:
            self._end()
        finally:
            _release()

    def _end(self) -> None:
        """End what still runs."""
        self._portal.call(self._cancel_calls)

    def _cancel_calls(self) -> None:
        for scope in self._calls:
            scope.cancel()


class NodeThread(LoopThread):
    """A node in the background loop. Raises what starting the node raises."""

    def __init__(self, config: NodeConfig, *, store: LocalStore | None = None) -> None:
        super().__init__()
        self._stop = trio.Event()
        self._cause: BaseException | None = None
        self._dead = False
        self.at_end: list[Callable[[], object]] = []  # called on the loop before the node's services end
        try:
            self._done, node = self._portal.start_task(self._live, config, store)
        except BaseException:
            _open.discard(self)
            self._closed = True
            _release()
            raise
        self.node: Node = node

    async def _live(self, config: NodeConfig, store: LocalStore | None, *, task_status: Any) -> None:
        try:
            async with open_node(config, store=store) as node:
                task_status.started(node)
                try:
                    await self._stop.wait()
                finally:
                    for tell in self.at_end:
                        tell()
        except Exception as error:
            self._cause = error
            if not self._stop.is_set():
                raise
        finally:
            self._dead = True
            self._cancel_calls()

    def call(self, function: Callable[..., Awaitable[T]], *args: Any, timeout: float | None = None) -> T:
        """As for any loop; ``NodeDied`` where the node has ended."""
        try:
            return super().call(function, *args, timeout=timeout)
        except IPFSKitError as error:
            if self._dead and not self._closed:
                raise NodeDied(f"the node ended: {error}") from (self._cause or error)
            raise

    @property
    def _alive(self) -> bool:
        return not self._dead

    def _ended(self) -> IPFSKitError:
        error = NodeDied("the node ended during the call")
        error.__cause__ = self._cause
        return error

    def _check(self) -> None:
        super()._check()
        if self._dead:
            raise NodeDied(f"the node ended: {self._cause!r}") from self._cause

    def _end(self) -> None:
        if not self._dead:
            self._portal.call(self._stop.set)
        concurrent.futures.wait([self._done])


def _forget() -> None:
    """In a process that was forked: its loop's thread stayed behind."""
    global _lock, _holder, _portal, _thread, _users
    _left_behind.append(_holder)  # freed, it would wait for its thread to end
    _lock = threading.Lock()
    _holder = _portal = _thread = None
    _users = 0
    _open.clear()


os.register_at_fork(after_in_child=_forget)


@atexit.register
def _close_all() -> None:
    for node in list(_open):
        node.close()


__all__ = ["LoopThread", "Node", "NodeThread"]
