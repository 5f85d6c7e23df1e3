"""An iterative lookup: who are the closest peers to a key. Sans-I/O. (Signatures first.)"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ipfs_kit_py.core.config import KAD_ALPHA, KAD_GROUP_IN_LOOKUP, KAD_K, KAD_RESILIENCY
from ipfs_kit_py.routing.kad_wire import PeerInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ipfs_kit_py.core.cid import PeerID


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask this peer for the target, then ``on_answer`` or ``on_failure``. ``timeout`` (seconds) is how long the lookup
    waits; an answer that comes later is still of use until the lookup is done."""

    info: PeerInfo
    timeout: float

    @property
    def peer(self) -> PeerID:
        """Who is to be asked."""
        return self.info.peer


@dataclass(frozen=True, slots=True)
class Done:
    """The lookup has ended: the closest peers, closest first. ``complete`` unless stopped or out of bounds."""

    closest: tuple[PeerInfo, ...]
    complete: bool = True


@dataclass(frozen=True, slots=True)
class LookupStatistics:
    """``hops``: of the longest chain of answers that led to one of the closest; ``seconds`` since the first request."""

    hops: int
    asked: int
    answered: int
    failed: int
    candidates: int
    ignored: int
    seconds: float


class Lookup:
    """``paths``: disjoint ones (S/Kademlia). ``latency`` gives seconds of known peers (``Table.latency``): the faster
    of equally useful ones go first. ``me`` is never asked. ``per_group``: of one IP group among the closest, 0 for any
    number; loopback and private addresses do not count."""

    def __init__(
        self,
        target: int,
        seeds: Sequence[PeerInfo],
        *,
        alpha: int = KAD_ALPHA,
        k: int = KAD_K,
        resiliency: int = KAD_RESILIENCY,
        paths: int = 1,
        me: PeerID | None = None,
        latency: Callable[[PeerID], float | None] | None = None,
        per_group: int = KAD_GROUP_IN_LOOKUP,
    ) -> None: ...

    def next_action(self, now: float) -> Ask | Done | None:
        """Call until ``None`` after each event; after ``Done`` it gives the same ``Done`` always."""
        ...

    def on_answer(self, peer: PeerID, closer: Iterable[PeerInfo], now: float) -> None:
        """A peer has answered with these closer ones."""

    def on_failure(self, peer: PeerID, now: float) -> None:
        """A peer could not be dialled, broke off, or answered what is none."""

    def deadline(self) -> float | None: ...

    def on_timeout(self, now: float) -> None: ...

    def stop(self) -> None:
        """End with what is known: the next action is ``Done``."""

    def statistics(self) -> LookupStatistics: ...
