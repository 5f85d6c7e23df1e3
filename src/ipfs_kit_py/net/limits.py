"""How many connections there may be, and which of them go first. Sans-I/O.

Authenticated connections have the water marks of the role table; those still in their handshake have their own table,
so that neither can use up the other's room.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ipfs_kit_py.core.config import (
    CONNECTIONS_HARD_FACTOR,
    MAX_UNAUTHENTICATED,
    MAX_UNAUTHENTICATED_PER_IP,
    VALUE_HALF_LIFE_SECONDS,
)
from ipfs_kit_py.net.standing import decayed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.core.roles import Role
    from ipfs_kit_py.net.addresses import IP

_OUTBOUND_BONUS = 1.0  # what we dialled we had a reason for; a stranger that dialled us must first be of use
_STREAM_BONUS = 0.5  # each stream in use, up to ten: a peer that opens many gains no more by it


class Values:
    """How useful connected peers have been, fading over ``VALUE_HALF_LIFE_SECONDS``. Whoever disconnects is dropped."""

    def __init__(self) -> None:
        self._values: dict[PeerID, tuple[float, float]] = {}

    def add(self, peer: PeerID, amount: float, now: float) -> None:
        """Raise a peer's value, by any unit that the callers share (bytes)."""
        if amount > 0:
            self._values[peer] = (self.get(peer, now) + amount, now)

    def get(self, peer: PeerID, now: float) -> float:
        """The value as it is now."""
        value, at = self._values.get(peer, (0.0, now))
        return decayed(value, now - at, VALUE_HALF_LIFE_SECONDS)

    def forget(self, peer: PeerID) -> None:
        """Drop a peer that disconnected."""
        self._values.pop(peer, None)

    def __len__(self) -> int:
        return len(self._values)


class Held(NamedTuple):
    """One open connection as the trimmer sees it; ``key`` is the caller's own. ``opened`` in seconds."""

    key: int
    opened: float
    value: float
    protected: bool
    streams: int
    outbound: bool


def worth(row: Held, now: float) -> float:
    """The larger, the longer it stays: usefulness on a logarithmic scale, and age, so that newcomers in large numbers
    cannot push out whoever has been here for hours."""
    age = math.log2(1.0 + max(0.0, now - row.opened) / 60.0)
    return math.log2(1.0 + row.value) + age + _OUTBOUND_BONUS * row.outbound + _STREAM_BONUS * min(row.streams, 10)


def plan_trim(rows: Sequence[Held], role: Role, now: float) -> list[int]:
    """The keys of the connections to close: none up to the high water mark, else the least worthy ones that are older
    than the grace period and not protected, until the low water mark is reached."""
    if len(rows) <= role.high_water:
        return []
    mature = [row for row in rows if not row.protected and now - row.opened >= role.grace]
    mature.sort(key=lambda row: (worth(row, now), -row.opened))
    return [row.key for row in mature[: len(rows) - role.low_water]]


def next_trim(rows: Iterable[Held], role: Role, now: float) -> float | None:
    """When ``plan_trim`` could find something that it does not find now: the next connection outgrows its grace."""
    young = [row.opened + role.grace for row in rows if not row.protected and now - row.opened < role.grace]
    return min(young, default=None)


def is_full(count: int, role: Role) -> bool:
    """Whether another inbound connection is one too many even before trimming can act."""
    return count >= max(1, role.high_water * CONNECTIONS_HARD_FACTOR)


def _host(ip: IP | None) -> int | None:
    """What counts as one host: an IPv4 address, or the IPv6 network of 64 bits that one customer has."""
    return None if ip is None else int(ip) >> 64 if ip.version == 6 else int(ip)


@dataclass(slots=True)
class _Pending:
    host: int | None
    since: float
    received: Callable[[], int]


class Unauthenticated:
    """The inbound connections that have not proved who they are.

    When the table is full the one goes that has been silent longest, else the oldest: a flood of idle sockets cannot
    keep a peer out that talks.
    """

    def __init__(self, *, capacity: int = MAX_UNAUTHENTICATED, per_ip: int = MAX_UNAUTHENTICATED_PER_IP) -> None:
        self._capacity = capacity
        self._per_ip = per_ip
        self._rows: dict[int, _Pending] = {}
        self.evicted = 0
        self.refused = 0

    def admit(self, key: int, ip: IP | None, received: Callable[[], int], now: float) -> tuple[bool, int | None]:
        """Whether the connection may begin its handshake, and which other one has to be dropped for it.

        ``received`` tells the bytes that came from it so far."""
        evicted, host = None, _host(ip)
        if ip is not None and not ip.is_loopback:
            same = [other for other, row in self._rows.items() if row.host == host]
            if len(same) >= self._per_ip:
                self.refused += 1
                return False, None
        if len(self._rows) >= self._capacity:
            evicted = min(self._rows, key=lambda other: (self._rows[other].received() > 0, self._rows[other].since))
            del self._rows[evicted]
            self.evicted += 1
        self._rows[key] = _Pending(host, now, received)
        return True, evicted

    def release(self, key: int) -> None:
        """The handshake ended, one way or the other."""
        self._rows.pop(key, None)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"<Unauthenticated {len(self._rows)} of {self._capacity}>"
