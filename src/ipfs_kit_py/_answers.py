"""What takes the answer of a verb: collected whole, or handed on as it comes; and how long nothing may come."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import trio

from ipfs_kit_py.core.errors import BackendError, TimedOut
from ipfs_kit_py.verbs.on_daemon import DaemonError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from typing_extensions import Buffer

T = TypeVar("T")


class Patience:
    """Ends a verb with which nothing went on for ``seconds``, or a little more; ``None`` for as long as it takes."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = float("inf") if seconds is None else seconds
        self._scope = trio.CancelScope()
        self._due = 0.0  # when the deadline is moved again: doing that for each row would cost more than the row

    def more(self) -> None:
        """Something went on: the time begins anew."""
        now = trio.current_time()
        if now >= self._due or self._scope.deadline == float("inf"):
            slack = self._seconds / 16
            self._scope.deadline = now + self._seconds + slack
            self._due = now + slack

    def wait(self) -> None:
        """It is somebody else's turn: no time is counted until ``more``."""
        self._scope.deadline = float("inf")

    async def run(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Await ``function``. ``TimedOut``."""
        with self._scope:
            self.more()
            return await function(*args)
        raise TimedOut(
            f"nothing came for {self._seconds:g} s; give a longer timeout, or check this node's peers and tiers"
        )


class Whole:
    """An answer that is collected. Its bytes are copied once, piece by piece as they come, or not at all where they
    come in one piece."""

    def __init__(self, patience: Patience) -> None:
        self.patience = patience
        self.rows: list[dict[str, Any]] = []
        self._first: Buffer = b""
        self._all: io.BytesIO | None = None  # once there is a second piece

    async def row(self, row: dict[str, Any]) -> None:
        self.rows.append(checked(row))
        self.patience.more()

    async def data(self, data: Buffer) -> None:
        if self._all is not None:
            self._all.write(data)
        elif not self._first:
            self._first = data
        else:
            self._all = io.BytesIO()
            self._all.write(self._first)
            self._all.write(data)
        self.patience.more()

    def bytes(self) -> bytes:
        """All bytes of the answer."""
        if self._all is not None:
            return self._all.getvalue()  # what was written to, not a copy of it
        view = memoryview(self._first)
        return view.obj if type(view.obj) is bytes and len(view.obj) == view.nbytes else bytes(view)


class AsItComes(Generic[T]):
    """An answer that somebody reads at the same time; at most ``most`` items wait for him."""

    def __init__(self, patience: Patience, most: int) -> None:
        self.patience = patience
        self._most = most
        self._items: list[T] = []
        self._ended = False
        self._came = trio.Event()
        self._room = trio.Event()

    async def row(self, row: dict[str, Any]) -> None:
        raise BackendError(f"expected bytes, but the answer has a row: {checked(row)}")

    async def data(self, data: Buffer) -> None:
        raise BackendError("expected rows, but the answer has bytes")

    async def _hand_on(self, item: T) -> None:
        while len(self._items) >= self._most:
            self.patience.wait()
            self._room = trio.Event()
            await self._room.wait()
        self._items.append(item)
        self._came.set()
        self.patience.more()

    def end(self) -> None:
        """There is no more."""
        self._ended = True
        self._came.set()

    async def take(self) -> list[T]:
        """All items that wait, at least one; none at the end."""
        while not self._items and not self._ended:
            self._came = trio.Event()
            await self._came.wait()
        items, self._items = self._items, []
        self._room.set()
        return items


class RowsAsTheyCome(AsItComes[dict[str, Any]]):
    """An answer of rows."""

    async def row(self, row: dict[str, Any]) -> None:
        await self._hand_on(checked(row))


class BytesAsTheyCome(AsItComes[memoryview]):
    """An answer of bytes."""

    async def data(self, data: Buffer) -> None:
        await self._hand_on(memoryview(data))


def checked(row: dict[str, Any]) -> dict[str, Any]:
    """A row, unless it tells of a failure after the answer had begun."""
    if row.get("Type") == "error" and "Message" in row:
        raise DaemonError(row["Message"], row.get("Kind", ""))
    return row
