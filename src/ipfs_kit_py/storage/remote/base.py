"""What every remote tier offers, and what they share: how answers are judged, how failures are tried again.

A remote tier is a place outside this process where blocks may be: a local daemon, a gateway, a cluster, an archive.
Nothing that comes from one is trusted: what ``get`` and ``get_dag`` give was hashed here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Protocol, TypeVar

import trio

from ipfs_kit_py.core.errors import BackendError, TimedOut

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Mapping

    from ipfs_kit_py.core.cid import CID, Block

T = TypeVar("T")

RETRIES = 3  # attempts after the first, for what may pass: refused connections, 429, 502, 503, 504, a cut answer
RETRY_BASE_SECONDS = 0.2  # before the first of them; doubles, with up to as much again by chance
RETRY_MAX_SECONDS = 10.0  # also what a server's Retry-After is cut to
PASSING = frozenset({408, 425, 429, 502, 503, 504})  # answers of HTTP that may be others next time


class Transient(BackendError):
    """A failure that may pass: the same request is worth sending again. ``after`` are the seconds that the server
    asked for, ``None`` where it did not."""

    def __init__(self, message: str, *, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


@dataclass(frozen=True)
class Status:
    """Where a DAG stands at a tier. ``state`` is the tier's own word, lower case. ``safe``: the tier holds it in as
    many places as was asked for, so that the local copy may go. ``replicas`` are those that hold it now. The state
    ``failed`` says that the tier has given up, and does nothing more until it is put again."""

    cid: CID
    state: str
    safe: bool
    replicas: int = 0
    wanted: int = 1
    detail: dict[str, str] = field(default_factory=dict)  # by place or request: state or error there


@dataclass(frozen=True)
class Health:
    """Whether a tier answers. ``seconds``: how long it took. ``detail``: version, or what is wrong."""

    ok: bool
    seconds: float
    detail: str = ""


class RemoteTier(Protocol):
    """A remote tier. Async, for the node's loop; every verb may be cancelled, and is bounded by the tier's timeout.

    Verbs raise ``NotFound`` where the tier says that it has not got it, ``HashMismatch`` where it lied, ``TimedOut``,
    ``BackendError`` for everything else that it or the way to it failed in, ``NotSupported`` for a verb that is not
    in ``verbs``.
    """

    @property
    def name(self) -> str: ...

    @property
    def verbs(self) -> frozenset[str]:
        """Of ``get``, ``get_dag``, ``has``, ``put``, ``remove``, ``status``: those that this tier has."""
        ...

    async def get(self, cid: CID) -> bytes:
        """One block, verified."""
        ...

    def get_dag(self, root: CID) -> AsyncGenerator[Block, None]:
        """The blocks of a DAG as they come, each verified and of this DAG; close it when leaving early."""
        ...

    async def has(self, cid: CID) -> bool:
        """Whether the tier has the block, without fetching it from elsewhere."""
        ...

    async def put(self, root: CID, blocks: AsyncIterable[Block], *, label: str = "") -> Status:
        """Store and keep a whole DAG; ``blocks`` are all of its blocks, the root among them, in any order."""
        ...

    async def remove(self, root: CID) -> None:
        """Keep a DAG no longer (unpin, delete). No error where it was not kept."""
        ...

    async def status(self, root: CID) -> Status:
        """Where a DAG that was put stands; ``NotFound`` where the tier does not know it."""
        ...

    async def health(self) -> Health:
        """Whether the tier answers; never raises for a tier that does not."""
        ...

    async def aclose(self) -> None:
        """Close its connections."""
        ...


async def retried(work: Callable[[], Awaitable[T]], rng: random.Random, *, seconds: float, what: str) -> T:
    """Do ``work``, again after ``Transient`` failures, within ``seconds``; then ``TimedOut`` or the last failure."""
    failure: Transient | None = None
    with trio.move_on_after(seconds):
        for attempt in range(RETRIES + 1):
            try:
                return await work()
            except Transient as error:
                failure = error
            if attempt < RETRIES:
                wait = RETRY_BASE_SECONDS * (1 << attempt) * (1 + rng.random())
                await trio.sleep(min(max(wait, failure.after or 0.0), RETRY_MAX_SECONDS))
        assert failure is not None
        raise failure
    reason = f"; before that: {failure}" if failure else ""
    raise TimedOut(f"{what} did not answer within {seconds:g} s{reason}")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds of a ``Retry-After``, ``None`` without one; a date counts from the answer's own date. ``headers``
    have lower-case names. Source: RFC 9110 section 10.2.3."""
    text = headers.get("retry-after", "")
    if text.isdecimal() and len(text) < 10:
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - parsedate_to_datetime(headers["date"])).total_seconds())
    except (ValueError, TypeError, KeyError, OverflowError):
        return None
