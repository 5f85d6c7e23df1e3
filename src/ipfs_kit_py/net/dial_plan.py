"""Which address of a peer is dialled when: the ranking, and the staggered race over it. Sans-I/O.

Source: RFC 8305 (happy eyeballs) for the race; which addresses come first depends on where this node is.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from ipfs_kit_py.core.config import (
    DIAL_MAX_ADDRESSES,
    DIAL_MAX_CONCURRENT_PER_PEER,
    DIAL_STAGGER_LOCAL_SECONDS,
    DIAL_STAGGER_SECONDS,
)
from ipfs_kit_py.net.addresses import Address, Scope

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ipfs_kit_py.net.addresses import IPInterface


class Provenance(IntEnum):
    """How an address became known; a larger one is trusted more."""

    HEARSAY = 1  # told by someone
    SIGNED = 2  # told by the peer itself: in a signed record, or over a channel that it authenticated
    CONNECTED = 3  # it worked
    GIVEN = 4  # by the caller, now


class Candidate(NamedTuple):
    """An address that could be dialled. ``worked`` is when it last did (seconds, 0 for never); ``failures`` count since
    then."""

    address: Address
    provenance: Provenance
    worked: float = 0.0
    failures: int = 0


@dataclass(frozen=True)
class Surroundings:
    """Where this node is: its interfaces, and the addresses that are its own."""

    interfaces: tuple[IPInterface, ...] = ()
    own: frozenset[str] = frozenset()

    @property
    def has_global_ip6(self) -> bool:
        """Whether an IPv6 address of the internet can be expected to answer."""
        return any(face.version == 6 and face.ip.is_global for face in self.interfaces)

    def is_near(self, address: Address) -> bool:
        """Whether an address is on this machine or on one of its networks."""
        if address.ip is None:
            return False
        return address.scope is Scope.LOOPBACK or any(
            address.ip.version == face.version and address.ip in face.network for face in self.interfaces
        )


class Ranked(NamedTuple):
    """An address in its place; the next one starts ``stagger`` seconds after it."""

    text: str
    stagger: float


def rank(candidates: Iterable[Candidate], here: Surroundings) -> list[Ranked]:
    """The candidates in the order in which they should be dialled, at most ``DIAL_MAX_ADDRESSES``.

    What worked last comes first, then what the caller gave, what is near, the internet, other people's private
    networks; what failed since it last worked comes after all that. Within a class IPv6 and IPv4 take turns.
    """
    best: dict[str, Candidate] = {}
    for row in candidates:
        old = best.get(row.address.text)
        if old is None or (row.provenance, row.worked) > (old.provenance, old.worked):
            best[row.address.text] = row
    rows = sorted(best.values(), key=lambda row: (*_class(row, here), -row.provenance, -row.worked))
    turn: dict[tuple[int, int, int], int] = {}
    keyed = []
    for row in rows:
        family = _family(row.address, here)
        place = (*_class(row, here), family)
        turn[place] = turn.get(place, -1) + 1
        keyed.append((*_class(row, here), turn[place], family, row.address))
    keyed.sort(key=lambda item: item[:4])
    return [Ranked(item[4].text, _stagger(item[4])) for item in keyed[:DIAL_MAX_ADDRESSES]]


def _class(row: Candidate, here: Surroundings) -> tuple[int, int]:
    failed = int(row.failures > 0 and row.provenance is not Provenance.GIVEN)
    if row.provenance is Provenance.GIVEN or (row.worked > 0 and not failed):
        return failed, 0
    if here.is_near(row.address):
        return failed, 1
    return failed, 2 if row.address.scope is Scope.PUBLIC else 3


def _family(address: Address, here: Surroundings) -> int:
    """0 goes before 1: IPv6 first where this node has it (RFC 8305 section 4), last where it has not."""
    is_ip6 = address.ip is not None and address.ip.version == 6
    return int(is_ip6 != here.has_global_ip6)


def _stagger(address: Address) -> float:
    return DIAL_STAGGER_SECONDS if address.scope is Scope.PUBLIC else DIAL_STAGGER_LOCAL_SECONDS


@dataclass(frozen=True)
class PlanStatistics:
    """Addresses of one attempt by state; ``expected`` names are still being resolved."""

    waiting: int
    running: int
    failed: int
    expected: int


class DialPlan:
    """One attempt to reach one peer: call ``next_action`` until it is ``None``, then again at ``deadline``."""

    def __init__(self, *, max_running: int = DIAL_MAX_CONCURRENT_PER_PEER) -> None:
        self._max_running = max_running
        self._waiting: list[Ranked] = []
        self._seen: set[str] = set()
        self._running: set[str] = set()
        self._next_at = 0.0
        self._expected = 0
        self.failures: dict[str, str] = {}
        self.refused: dict[str, str] = {}

    def on_addresses(self, ranked: Sequence[Ranked], now: float, *, first: bool = False) -> None:
        """More addresses, in order; those seen before are left out. ``first`` puts them before what waits and lets the
        next one start at once."""
        room = DIAL_MAX_ADDRESSES - len(self._seen)
        fresh = [row for row in ranked if row.text not in self._seen][: max(0, room)]
        self._seen.update(row.text for row in fresh)
        self._waiting = [*fresh, *self._waiting] if first else [*self._waiting, *fresh]
        if first and fresh:
            self._next_at = min(self._next_at, now)

    def on_refused(self, address: str, why: str) -> None:
        """An address that is not dialled at all, for the error's text."""
        self._seen.add(address)
        if len(self.refused) < DIAL_MAX_ADDRESSES:
            self.refused[address] = why

    def on_expected(self, names: int) -> None:
        """Names are being resolved (a positive number) or have been (a negative one): the plan waits for them."""
        self._expected += names

    def on_failure(self, address: str, why: str, now: float) -> None:
        """An address did not work: the next one starts at once."""
        self._running.discard(address)
        self.failures[address] = why
        self._next_at = min(self._next_at, now)

    def next_action(self, now: float) -> str | None:
        """The address to dial now."""
        if not self._waiting or len(self._running) >= self._max_running or now < self._next_at:
            return None
        row = self._waiting.pop(0)
        self._running.add(row.text)
        self._next_at = now + row.stagger
        return row.text

    def deadline(self) -> float | None:
        """When ``next_action`` has something to say again, unless an event comes first."""
        return self._next_at if self._waiting and len(self._running) < self._max_running else None

    @property
    def is_over(self) -> bool:
        """Whether nothing runs, waits or is expected."""
        return not (self._waiting or self._running or self._expected)

    @property
    def tried(self) -> frozenset[str]:
        """The addresses that have been in the race."""
        return frozenset(self._seen)

    def statistics(self) -> PlanStatistics:
        return PlanStatistics(len(self._waiting), len(self._running), len(self.failures), self._expected)

    def __repr__(self) -> str:
        found = self.statistics()
        return f"<DialPlan {found.running} running, {found.waiting} waiting, {found.failed} failed>"
