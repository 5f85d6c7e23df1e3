"""The driver of a reading plan: keeps a window of wants full and hands on what the plan can give, in its order."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar

import trio

from ipfs_kit_py.content.window import Window
from ipfs_kit_py.core.errors import NotRunning

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from typing_extensions import Buffer

    from ipfs_kit_py.content.source import BlockSource, SourceSession
    from ipfs_kit_py.core.cid import CID

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class Plan(Protocol[T_co]):
    """What a reading engine of ``dag`` offers: bytes in, results out, no I/O."""

    @property
    def done(self) -> bool:
        """Whether everything was given out."""
        ...

    def wanted(self, budget: int) -> Sequence[tuple[CID, int | None]]:
        """Blocks to get now with their expected sizes, so that at most ``budget`` bytes are asked for or held."""
        ...

    def feed(self, cid: CID, data: Buffer) -> None:
        """Take a block, in any order; ``InvalidBlock`` naming one that does not fit."""
        ...

    def pop(self) -> T_co | None:
        """The next result in order, ``None`` where it is not here yet or there are no more."""
        ...


async def pump(
    session: SourceSession, plan: Plan[T], budget: int, emit: Callable[[T], Awaitable[None]], *, batch: int = 64
) -> None:
    """Run a plan to its end: fetch what it wants in the background, ``await emit(result)`` in order.

    ``budget`` is the most in bytes that is asked for or held; over a fast source it is less.
    """
    wake = trio.Event()
    window = Window(budget)
    failure: Exception | None = None

    def fail(error: Exception) -> None:
        nonlocal failure
        failure = failure or error  # the first one is the answer, not a group of what followed from it
        nursery.cancel_scope.cancel()

    async def fetch(cids: list[CID], size: int | None) -> None:
        begun, missed = trio.current_time(), session.missed
        try:
            async with aclosing(session.get_many(cids, size_hint=size)) as blocks:
                async for block in blocks:
                    now = trio.current_time()
                    waited = now - begun if session.missed > missed else None
                    window.on_block(memoryview(block.data).nbytes, waited, now)
                    plan.feed(block.cid, block.data)
                    wake.set()
        except Exception as error:  # noqa: BLE001 - raised again below
            fail(error)

    async def drive() -> None:
        nonlocal wake
        while not plan.done:
            while (result := plan.pop()) is not None:
                await emit(result)
            wanted = plan.wanted(window.bytes)
            for at in range(0, len(wanted), batch):
                part = wanted[at : at + batch]
                nursery.start_soon(fetch, [cid for cid, _ in part], _typical(part))
            if not plan.done:
                await wake.wait()
                wake = trio.Event()

    async with trio.open_nursery() as nursery:
        try:
            await drive()
        except Exception as error:  # noqa: BLE001 - raised again below
            fail(error)
    if failure is not None:
        raise failure


def _typical(part: Sequence[tuple[CID, int | None]]) -> int | None:
    sizes = [size for _, size in part if size]
    return sum(sizes) // len(sizes) if sizes else None


class Reading(AsyncIterator[T], Generic[T]):
    """Results of a plan as an asynchronous iterator that reads ahead; close it, or leave its ``async with``, to stop.

    The reading runs in the node's nursery, so that it can be used without a block of its own.
    """

    def __init__(self, nursery: trio.Nursery, source: BlockSource, plan: Plan[T], budget: int) -> None:
        self._send, self._receive = trio.open_memory_channel[T](0)
        self._scope = trio.CancelScope()
        self._error: BaseException | None = None
        nursery.start_soon(self._run, source, plan, budget)

    async def _run(self, source: BlockSource, plan: Plan[T], budget: int) -> None:
        with self._scope, self._send:
            try:
                with source.session() as session:
                    await pump(session, plan, budget, self._send.send)
            except trio.BrokenResourceError:
                return  # the reader has gone
            except Exception as error:  # noqa: BLE001 - handed to the reader, whose error it is
                self._error = error
            except BaseException:  # cancelled, alone or in a group
                self._error = NotRunning("the node ended while this was read; what came is not all of it")
                raise

    async def __anext__(self) -> T:
        try:
            return await self._receive.receive()
        except trio.EndOfChannel:
            error, self._error = self._error, None
            if error is not None:
                raise error from None
            raise StopAsyncIteration from None

    def close(self) -> None:
        """Stop reading ahead; does not wait."""
        self._scope.cancel()
        self._receive.close()

    async def aclose(self) -> None:
        """Stop reading ahead."""
        self.close()
        await trio.lowlevel.checkpoint()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
