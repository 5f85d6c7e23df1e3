"""Outbound connections: whether a peer is dialled at all, and what follows from how that went."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

import trio

from ipfs_kit_py.core.errors import NotRunning, PeerError, PeerUnreachable
from ipfs_kit_py.net.backoff import Backoff
from ipfs_kit_py.net.connection import SecureConnection, secure
from ipfs_kit_py.net.dial_plan import Candidate, Provenance, Surroundings
from ipfs_kit_py.net.dialer import Attempts, Dialer, Race
from ipfs_kit_py.net.resolver import DnsResolver

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.crypto.keys import PrivateKey
    from ipfs_kit_py.net.addresses import Address
    from ipfs_kit_py.net.bookkeeper import BookKeeper
    from ipfs_kit_py.net.gate import Gate
    from ipfs_kit_py.net.resolver import Resolver
    from ipfs_kit_py.net.standing import Standing
    from ipfs_kit_py.net.transports import RawStream, Transport

R = TypeVar("R")


class Outbound(Generic[R]):
    """Makes connections to peers. ``adopt`` takes an authenticated one and returns what its callers get."""

    def __init__(
        self,
        key: PrivateKey,
        *,
        transports: Sequence[Transport],
        gate: Gate,
        standing: Standing,
        book: BookKeeper,
        resolver: Resolver | None,
        surroundings: Callable[[], Surroundings],
        rng: random.Random,
        adopt: Callable[[SecureConnection], R],
    ) -> None:
        self._key = key
        self._gate = gate
        self._standing = standing
        self._book = book
        self._adopt = adopt
        self._dialer: Dialer[SecureConnection] = Dialer(
            transports=transports,
            upgrade=self,
            gate=gate,
            notes=book,
            resolver=resolver if resolver is not None else DnsResolver(),
            surroundings=surroundings,
        )
        self._nursery: trio.Nursery | None = None
        self._attempts: Attempts[SecureConnection, R] | None = None
        self.backoff = Backoff(rng)
        self.opened = 0
        self.failed = 0

    def start(self, nursery: trio.Nursery) -> None:
        """Dial from now on, in ``nursery``."""
        self._nursery = nursery
        self._attempts = Attempts(nursery)

    def stop(self) -> None:
        """Dial no more."""
        self._nursery = self._attempts = None

    @property
    def is_running(self) -> bool:
        return self._attempts is not None

    @property
    def dialling(self) -> int:
        """Addresses being dialled now."""
        return self._dialer.running

    @property
    def attempts(self) -> int:
        """Peers being dialled now."""
        return len(self._attempts) if self._attempts is not None else 0

    async def connect(self, peer: PeerID, wanted: Sequence[Address], *, force: bool) -> R:
        """A new connection to a peer, over ``wanted`` and what the book has. Callers for one peer share an attempt.

        Raises ``PeerUnreachable``, also where the peer is refused or backed off (``force`` overrides the second).
        """
        if self._attempts is None:
            raise NotRunning("the network is not running; enter the node's context first")
        now = trio.current_time()
        self._check_allowed(peer, now)
        wait = 0.0 if force else self.backoff.wait(peer, now)
        if wait and not self.backoff.fresh(peer, [address.text for address in wanted]):
            raise PeerUnreachable(
                f"{peer} could not be reached lately; it is tried again in {wait:.0f} s, or give another address",
                peer=peer,
            )
        mine = [Candidate(address, Provenance.GIVEN) for address in wanted]
        return await self._attempts.share(peer, partial(self._attempt, mine), partial(self._join, mine))

    def _check_allowed(self, peer: PeerID, now: float) -> None:
        if not self._gate.admits_peer(peer):
            raise PeerUnreachable(f"{peer} is refused by the configuration (allow, deny)", peer=peer)
        refused = self._standing.refuses(peer, now)
        if refused:
            raise PeerUnreachable(f"{peer} misbehaved and is refused for another {refused:.0f} s", peer=peer)

    async def _attempt(self, mine: list[Candidate], race: Race[SecureConnection]) -> R:
        known = await self._book.candidates(race.peer)
        names = self._dialer.offer(race, [*mine, *known])
        try:
            secured = await self._dialer.dial(race, names)
        except PeerError:
            self.failed += 1
            self.backoff.on_failure(race.peer, race.plan.tried, trio.current_time())
            raise
        self.backoff.on_success(race.peer)
        if not self.is_running:
            await self.discard(secured)
            raise NotRunning("the network is closing")
        self.opened += 1
        return self._adopt(secured)

    def _join(self, mine: list[Candidate], race: Race[SecureConnection]) -> None:
        names = self._dialer.offer(race, mine, first=True)
        if self._nursery is not None:
            for name in names:
                self._nursery.start_soon(self._dialer.resolve, race, name)

    async def upgrade(self, raw: RawStream, peer: PeerID) -> SecureConnection:
        """Authenticate a pipe (for the dialler)."""
        return await secure(raw, self._key, outbound=True, expected=peer)

    async def discard(self, late: SecureConnection) -> None:
        """Close a connection that nobody is left to take (for the dialler)."""
        await late.raw.aclose()
