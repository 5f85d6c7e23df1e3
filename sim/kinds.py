"""What a measured node runs: the engines of the package, or plain Kademlia."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ipfs_kit_py.core.config import KAD_K
from ipfs_kit_py.routing.kbuckets import Table
from ipfs_kit_py.routing.lookup import Lookup
from sim.plain import PlainLookup, PlainTable

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.routing.kad_wire import PeerInfo
    from ipfs_kit_py.routing.kbuckets import Check, Refresh
    from ipfs_kit_py.routing.lookup import Ask, Done


class AnyTable(Protocol):
    """What is used of ``Table``."""

    def __len__(self) -> int: ...
    def __contains__(self, peer: object) -> bool: ...
    def on_seen(self, peer: PeerID, addresses: Iterable[str], now: float, *, latency: float | None = None) -> bool: ...
    def on_failed(self, peer: PeerID, now: float) -> None: ...
    def on_checked(self, peer: PeerID, ok: bool, now: float) -> None: ...
    def on_lookup(self, target: int, now: float) -> None: ...
    def on_timeout(self, now: float) -> None: ...
    def nearest(self, target: int, count: int = ...) -> list[PeerInfo]: ...
    def next_action(self, now: float) -> Check | Refresh | None: ...
    def deadline(self) -> float | None: ...
    def dump(self, now: float) -> list[dict[str, Any]]: ...
    def load(self, rows: Iterable[Any], now: float) -> int: ...


class AnyLookup(Protocol):
    """What is used of ``Lookup``."""

    def next_action(self, now: float) -> Ask | Done | None: ...
    def deadline(self) -> float | None: ...
    def on_timeout(self, now: float) -> None: ...
    def on_answer(self, peer: PeerID, closer: Iterable[PeerInfo], now: float) -> None: ...
    def on_failure(self, peer: PeerID, now: float) -> None: ...
    def hops_to(self, peer: PeerID) -> int: ...
    def stop(self) -> None: ...


class Kind(Protocol):
    """Makes tables and lookups."""

    name: str

    def table(self, me: PeerID, rng: random.Random) -> AnyTable: ...
    def lookup(self, target: int, table: AnyTable, me: PeerID) -> AnyLookup: ...


class Ours:
    """The engines as ``routing.kademlia`` uses them."""

    name = "ours"

    def table(self, me: PeerID, rng: random.Random) -> AnyTable:
        """An empty table."""
        return Table(me, rng=rng)

    def lookup(self, target: int, table: AnyTable, me: PeerID) -> AnyLookup:
        """A lookup from a table."""
        assert isinstance(table, Table)
        return Lookup(target, table.nearest(target, 2 * KAD_K), me=me, latency=table.latency)


class Plain:
    """Kademlia as it was published."""

    name = "plain"

    def table(self, me: PeerID, rng: random.Random) -> AnyTable:
        """An empty table."""
        return PlainTable(me, rng)

    def lookup(self, target: int, table: AnyTable, me: PeerID) -> AnyLookup:
        """A lookup from a table."""
        return PlainLookup(target, table.nearest(target, KAD_K), me)


KINDS: dict[str, Kind] = {kind.name: kind for kind in (Ours(), Plain())}
