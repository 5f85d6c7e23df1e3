"""Asking several sources for one thing: each after the one expected to be faster has had its usual time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import trio

from ipfs_kit_py.core.config import GATEWAY_LEAD_MAX, GATEWAY_LEAD_MIN, GATEWAY_LEAD_SECONDS
from ipfs_kit_py.core.errors import BackendError, HashMismatch, IPFSKitError, NotFound
from ipfs_kit_py.storage.remote.base import Transient

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

S = TypeVar("S")
T = TypeVar("T")


class Unable(BackendError):
    """A source that cannot give this in the form asked for, but may in another."""


@dataclass
class Latency:
    """A smoothed time in seconds and its mean deviation; ``None`` before it was measured. Source: RFC 6298."""

    mean: float | None = None
    deviation: float = 0.0

    def measured(self, seconds: float) -> None:
        """One more measurement."""
        if self.mean is None:
            self.mean, self.deviation = seconds, seconds / 2
        else:
            self.deviation += (abs(seconds - self.mean) - self.deviation) / 4
            self.mean += (seconds - self.mean) / 8

    @property
    def lead(self) -> float:
        """How long this one is waited for alone."""
        if self.mean is None:
            return GATEWAY_LEAD_SECONDS
        return min(max(self.mean + 2 * self.deviation, GATEWAY_LEAD_MIN), GATEWAY_LEAD_MAX)


async def race(
    sources: Sequence[S],
    attempt: Callable[[S], Awaitable[T]],
    *,
    lead: Callable[[S], float],
    most: int,
    discard: Callable[[T], Awaitable[None]] | None = None,
) -> T:
    """What the first successful attempt gives; the others are cancelled. The next starts ``lead`` seconds after the one
    before, or at once where one fails; at most ``most`` are under way. ``discard`` closes a result that came too late.

    Where all fail: ``Unable`` of one, else a ``HashMismatch``, else one that may pass, else one that is not
    ``NotFound``.
    """
    won: list[T] = []
    failures: list[IPFSKitError] = []
    slots = trio.Semaphore(most)

    async def run(source: S, failed: trio.Event, scope: trio.CancelScope) -> None:
        try:
            won.append(await attempt(source))
            scope.cancel()
        except IPFSKitError as error:
            failures.append(error)
            failed.set()
            slots.release()

    try:
        async with trio.open_nursery() as nursery:
            for source in sources:
                await slots.acquire()
                failed = trio.Event()
                nursery.start_soon(run, source, failed, nursery.cancel_scope)
                with trio.move_on_after(lead(source)):
                    await failed.wait()
    except BaseException:
        await _discarded(won, discard)
        raise
    if not won:
        raise worst(failures)
    await _discarded(won[1:], discard)
    return won[0]


async def _discarded(results: list[T], discard: Callable[[T], Awaitable[None]] | None) -> None:
    if discard is not None:
        for result in results:
            await discard(result)


def worst(failures: Sequence[IPFSKitError]) -> IPFSKitError:
    """Of several failures the one that says most: that another form may do, a lie, one that may pass, any, and that
    nobody has it."""
    order = (Unable, HashMismatch, Transient, IPFSKitError)

    def rank(error: IPFSKitError) -> int:
        if isinstance(error, NotFound):
            return len(order)
        return next(at for at, kind in enumerate(order) if isinstance(error, kind))

    return min(failures, key=rank)
