"""The routing table: k-buckets that keep who has been there long, bounded by networks. Sans-I/O. (Signatures first.)"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ipfs_kit_py.core.config import KAD_K

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.routing.kad_wire import PeerInfo
    from ipfs_kit_py.routing.keys import Chance


@dataclass(frozen=True, slots=True)
class Check:
    """Ask this peer whether it is there (a FIND_NODE for ourselves, say); tell the table by ``on_checked``."""

    peer: PeerID


@dataclass(frozen=True, slots=True)
class Refresh:
    """Look up ``target``; ``key`` are bytes for FIND_NODE that hash to it (our own peer id for the deepest bucket)."""

    bucket: int
    key: bytes
    target: int


@dataclass(frozen=True, slots=True)
class TableStatistics:
    """Counts of a table; ``buckets`` are peers per bucket from the farthest on."""

    peers: int
    replacements: int
    suspects: int
    checking: int
    buckets: tuple[int, ...]
    groups: int
    added: int
    evicted: int
    refused_groups: int
    offline: bool


class Table:
    """``lan``: loopback and private addresses are not counted by group. ``now`` is in seconds of any one clock."""

    def __init__(self, me: PeerID, *, k: int = KAD_K, rng: Chance, lan: bool = False) -> None: ...

    def on_seen(self, peer: PeerID, addresses: Iterable[str], now: float, *, latency: float | None = None) -> bool:
        """A peer that serves the DHT has answered us. Whether it is in the table now."""
        ...

    def on_failed(self, peer: PeerID, now: float) -> None:
        """A request to a peer failed: it is checked before it may go."""

    def on_checked(self, peer: PeerID, ok: bool, now: float) -> None:
        """The outcome of a ``Check``."""

    def on_lookup(self, target: int, now: float) -> None:
        """A lookup for ``target`` was done: its bucket needs no refresh for a while."""

    def remove(self, peer: PeerID) -> None:
        """Drop a peer at once: it serves the DHT no longer, or misbehaved."""

    def nearest(self, target: int, count: int = KAD_K) -> list[PeerInfo]:
        """The closest known peers, the closest first."""
        ...

    def latency(self, peer: PeerID) -> float | None:
        """How long a peer takes to answer, in seconds, where that is known."""
        ...

    def next_action(self, now: float) -> Check | Refresh | None: ...

    def deadline(self) -> float | None: ...

    def on_timeout(self, now: float) -> None: ...

    def dump(self, now: float) -> list[dict[str, Any]]:
        """The peers as plain values for JSON; times are ages, since clocks differ between runs."""
        ...

    def load(self, rows: Iterable[Any], now: float) -> int:
        """Take up what ``dump`` gave; how many peers. What cannot be read is skipped."""
        ...

    def statistics(self) -> TableStatistics: ...

    def __len__(self) -> int: ...

    def __contains__(self, peer: object) -> bool: ...
