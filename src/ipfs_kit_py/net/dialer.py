"""The dialler: runs the race over a peer's addresses, and lets all who want the same peer wait for one race.

What makes a pipe a connection (``upgrade``) is the caller's: the dialler knows of no handshake.
"""

from __future__ import annotations

import copy
import logging
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import trio

from ipfs_kit_py.core.config import DIAL_MAX_CONCURRENT, DIAL_TIMEOUT_SECONDS
from ipfs_kit_py.core.errors import IPFSKitError, PeerError, PeerUnreachable, TimedOut
from ipfs_kit_py.net import addresses, transports
from ipfs_kit_py.net.dial_plan import Candidate, DialPlan, Provenance, Surroundings, rank

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.net.addresses import Address
    from ipfs_kit_py.net.gate import Gate
    from ipfs_kit_py.net.resolver import Resolver
    from ipfs_kit_py.net.transports import RawStream, Transport

T = TypeVar("T")  # what ``upgrade`` makes of a pipe
R = TypeVar("R")  # what those who wait get

log = logging.getLogger(__name__)

_REASONS_TOLD = 6  # failures that an error's text names


class Upgrade(Protocol[T]):
    """What turns a pipe into a connection, and drops one that came too late."""

    async def upgrade(self, raw: RawStream, peer: PeerID) -> T:
        """Authenticate the remote as ``peer``. ``PeerError`` where it is not, or where the handshake fails."""
        ...

    async def discard(self, late: T) -> None:
        """Close a connection that lost the race."""
        ...


class Notes(Protocol):
    """Where the outcome of each address is written down."""

    def on_success(self, peer: PeerID, address: str) -> None: ...
    def on_failure(self, peer: PeerID, address: str) -> None: ...


class Race(Generic[T]):
    """One race to one peer."""

    def __init__(self, peer: PeerID) -> None:
        self.peer = peer
        self.plan = DialPlan()
        self.winner: T | None = None
        self.impostor: PeerError | None = None
        self.closed = False  # takes no more addresses
        self._changed = trio.Event()

    def wake(self) -> None:
        """Something changed: look at the plan again."""
        self._changed.set()

    async def wait(self) -> None:
        """Until the plan has something to say."""
        deadline = self.plan.deadline()
        with trio.move_on_at(deadline if deadline is not None else float("inf")):
            await self._changed.wait()
        self._changed = trio.Event()

    def failure(self) -> PeerError:
        """Why nobody won: an impostor's handshake if that is all there was, else every reason."""
        failures = self.plan.failures
        if self.impostor is not None and len(failures) == 1:
            return self.impostor
        reasons = [*failures.values(), *self.plan.refused.values()]
        told = "; ".join(reasons[:_REASONS_TOLD]) or "no address of it is known"
        more = f"; and {len(reasons) - _REASONS_TOLD} more" if len(reasons) > _REASONS_TOLD else ""
        return PeerUnreachable(f"cannot reach {self.peer}: {told}{more}", peer=self.peer)


class Dialer(Generic[T]):
    """Dials peers over ``transports``; at most ``DIAL_MAX_CONCURRENT`` addresses at once in all."""

    def __init__(
        self,
        *,
        transports: Sequence[Transport],
        upgrade: Upgrade[T],
        gate: Gate,
        notes: Notes,
        resolver: Resolver,
        surroundings: Callable[[], Surroundings],
    ) -> None:
        self._transports = transports
        self._upgrade = upgrade
        self._gate = gate
        self._notes = notes
        self._resolver = resolver
        self._surroundings = surroundings
        self._slots = trio.CapacityLimiter(DIAL_MAX_CONCURRENT)

    @property
    def running(self) -> int:
        """Addresses being dialled now."""
        return int(self._slots.borrowed_tokens)

    def offer(self, race: Race[T], candidates: Iterable[Candidate], *, first: bool = False) -> list[Address]:
        """Put candidates into a race; returns those that are names, for ``dial`` to resolve."""
        usable, names = [], []
        here = self._surroundings()
        for row in candidates:
            if addresses.is_name(row.address):
                names.append(row.address)
            elif (why := self._unusable(row.address, here)) is not None:
                race.plan.on_refused(row.address.text, f"{row.address.text}: {why}")
            else:
                usable.append(row)
        race.plan.on_addresses(rank(usable, here), trio.current_time(), first=first)
        race.plan.on_expected(len(names))
        race.wake()
        return names

    def _unusable(self, address: Address, here: Surroundings) -> str | None:
        if address.scope is addresses.Scope.UNUSABLE:
            return "no address of one machine"
        if address.text in here.own:
            return "this node's own address"
        if not self._gate.admits_ip(address.ip):
            return "refused by the configuration (allow, deny)"
        if transports.pick(self._transports, address.text) is None:
            return "no transport for it here; TCP is"
        return None

    async def dial(self, race: Race[T], names: Iterable[Address]) -> T:
        """Run a race to its end. Raises ``PeerUnreachable``, or what the handshake raised where the only address that
        answered was somebody else's."""
        try:
            await self._run(race, names)
        except BaseException:
            if race.winner is not None:  # nobody is left to take it
                await self._discard(race.winner)
            raise
        if race.winner is None:
            raise race.failure()
        return race.winner

    async def _run(self, race: Race[T], names: Iterable[Address]) -> None:
        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(self.resolve, race, name)
            while race.winner is None and not race.plan.is_over:
                text = race.plan.next_action(trio.current_time())
                if text is not None:
                    nursery.start_soon(self._try, race, text)
                else:
                    await race.wait()
            race.closed = True
            nursery.cancel_scope.cancel()

    async def _discard(self, late: T) -> None:
        with trio.CancelScope(shield=True):
            await self._upgrade.discard(late)

    async def resolve(self, race: Race[T], name: Address) -> None:
        """Resolve a name for a race and put its addresses in."""
        try:
            with trio.fail_after(DIAL_TIMEOUT_SECONDS):
                found = await self._resolver.resolve(name, race.peer)
            self.offer(race, [Candidate(addresses.parse(text), Provenance.GIVEN) for text in found])
        except IPFSKitError as error:
            race.plan.on_refused(name.text, str(error))
        except trio.TooSlowError:
            race.plan.on_refused(name.text, f"{name.text}: its name was not resolved in time")
        finally:
            race.plan.on_expected(-1)
            race.wake()

    async def _try(self, race: Race[T], text: str) -> None:
        why = f"{text}: no answer within {DIAL_TIMEOUT_SECONDS:.0f} s"
        try:
            async with self._slots:
                with trio.move_on_after(DIAL_TIMEOUT_SECONDS):
                    await self._won(race, text, await self._open(race.peer, text))
                    return
        except (PeerError, TimedOut) as error:
            why = str(error) if text in str(error) else f"{text}: {error}"
            if not isinstance(error, PeerUnreachable):
                race.impostor = error if isinstance(error, PeerError) else race.impostor
        self._notes.on_failure(race.peer, text)
        race.plan.on_failure(text, why, trio.current_time())
        race.wake()

    async def _open(self, peer: PeerID, text: str) -> T:
        transport = transports.pick(self._transports, text)
        if transport is None:
            raise PeerUnreachable(f"{text}: no transport for it here", peer=peer)
        raw = await transport.dial(text)
        try:
            return await self._upgrade.upgrade(raw, peer)
        except BaseException:
            with trio.CancelScope(shield=True):
                await raw.aclose()
            raise

    async def _won(self, race: Race[T], text: str, connection: T) -> None:
        self._notes.on_success(race.peer, text)
        if race.winner is None:
            race.winner = connection
            race.wake()
        else:
            await self._discard(connection)


class Attempt(Generic[T, R]):
    """A race that is running and those who wait for it."""

    def __init__(self, race: Race[T]) -> None:
        self.race = race
        self.waiters = 0
        self.scope = trio.CancelScope()
        self.done = trio.Event()
        self.connection: R | None = None
        self.error: Exception | None = None

    def result(self) -> R:
        """What the race gave, for each waiter anew."""
        if self.connection is not None:
            return self.connection
        raise (
            copy.copy(self.error)
            if self.error is not None
            else PeerUnreachable(f"the attempt to reach {self.race.peer} was given up", peer=self.race.peer)
        )


class Attempts(Generic[T, R]):
    """At most one attempt for each peer. A waiter that is cancelled leaves the others theirs; the last one ends it."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._running: dict[PeerID, Attempt[T, R]] = {}

    async def share(self, peer: PeerID, run: Callable[[Race[T]], Awaitable[R]], join: Callable[[Race[T]], None]) -> R:
        """What ``run`` returns for the peer's race; where one runs already, ``join`` may add to that instead."""
        attempt = self._running.get(peer)
        if attempt is None or attempt.race.closed:
            attempt = self._running[peer] = Attempt(Race(peer))
            self._nursery.start_soon(self._run, attempt, run)
        else:
            join(attempt.race)
        attempt.waiters += 1
        try:
            await attempt.done.wait()
        finally:
            attempt.waiters -= 1
            if not attempt.waiters and not attempt.done.is_set():
                self._drop(attempt)
                attempt.scope.cancel()
        return attempt.result()

    async def _run(self, attempt: Attempt[T, R], run: Callable[[Race[T]], Awaitable[R]]) -> None:
        try:
            with attempt.scope:
                attempt.connection = await run(attempt.race)
        except IPFSKitError as error:
            attempt.error = error
        except Exception as error:  # a defect of ours ends this attempt, not the node
            log.exception("dialling %s failed inside", attempt.race.peer)
            attempt.error = PeerUnreachable(f"dialling {attempt.race.peer} failed inside: {error!r}")
        finally:
            self._drop(attempt)
            attempt.done.set()

    def _drop(self, attempt: Attempt[T, R]) -> None:
        if self._running.get(attempt.race.peer) is attempt:
            del self._running[attempt.race.peer]

    def __len__(self) -> int:
        return len(self._running)
