"""Identify and identify/push on a running node: who the peers are, told to the book and to whoever opens streams.

Source: libp2p/specs identify/README.md. Runs beside each connection, never in its way.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from ipfs_kit_py.core.config import (
    IDENTIFY_KNOWN_PEERS,
    IDENTIFY_MAX_MESSAGES,
    IDENTIFY_MESSAGE_BYTES,
    IDENTIFY_PROTOCOL_BYTES,
    IDENTIFY_PUSH_CONCURRENT,
    IDENTIFY_PUSH_DELAY_SECONDS,
    IDENTIFY_SECONDS,
    OBSERVED_MAX_ADDRESSES,
)
from ipfs_kit_py.core.errors import InvalidAddress, IPFSKitError, ProtocolViolation
from ipfs_kit_py.crypto.envelope import open_peer_record, seal_peer_record
from ipfs_kit_py.crypto.keys import PublicKey
from ipfs_kit_py.net import addresses
from ipfs_kit_py.net.dial_plan import Provenance
from ipfs_kit_py.net.identify import IDENTIFY, IDENTIFY_PUSH, PROTOCOL_VERSION, Identity, decode, encode, merge

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.core.interfaces import Connection, Stream
    from ipfs_kit_py.crypto.keys import PrivateKey
    from ipfs_kit_py.net.bookkeeper import BookKeeper

log = logging.getLogger(__name__)

_BAD_IDENTITY = 1.0  # standing that a forged record or key costs


@dataclass(frozen=True)
class Ourselves:
    """What this node tells of itself, as it is when asked."""

    key: PrivateKey
    agent: str
    protocols: Callable[[], frozenset[str]]
    addresses: Callable[[], list[str]]
    clock: Callable[[], float]


class IdentifyService:
    """Asks every new peer, answers those that ask, and pushes our changes."""

    def __init__(
        self,
        us: Ourselves,
        book: BookKeeper,
        *,
        penalise: Callable[[PeerID, float, str], None],
        open_on: Callable[[Connection, Sequence[str]], Awaitable[Stream]],
        connections: Callable[[], Iterable[Connection]],
    ) -> None:
        self._us = us
        self._book = book
        self._penalise = penalise
        self._open_on = open_on
        self._connections = connections
        self._known: dict[PeerID, Identity] = {}
        self._left: OrderedDict[PeerID, frozenset[str]] = OrderedDict()
        self._sequences: dict[PeerID, int] = {}
        self._observed: OrderedDict[str, set[PeerID]] = OrderedDict()
        self._changed = trio.Event()
        self._told: tuple[frozenset[str], tuple[str, ...]] | None = None
        self._seq = int(us.clock())  # so that it grows over restarts
        self._records: dict[tuple[int, tuple[str, ...]], bytes] = {}
        self._watchers: list[Callable[[PeerID], None]] = []

    def watch(self, identified: Callable[[PeerID], None]) -> Callable[[], None]:
        """Call back after a peer has said who it is, and whenever it says something new. Returns what ends it."""
        self._watchers.append(identified)
        return lambda: self._watchers.remove(identified)

    # --- what is known ------------------------------------------------------------------------------------------------
    def identity(self, peer: PeerID) -> Identity | None:
        """What a connected peer has said of itself, ``None`` before it has."""
        return self._known.get(peer)

    def protocols_of(self, peer: PeerID) -> frozenset[str]:
        """The protocols of a peer that is connected, or lately was."""
        found = self._known.get(peer)
        return found.protocols if found is not None else self._left.get(peer, frozenset())

    def observed(self) -> dict[str, int]:
        """Where peers see us: address to how many of them."""
        return {text: len(peers) for text, peers in self._observed.items()}

    def forget(self, peer: PeerID) -> None:
        """The peer disconnected: keep its protocols alone."""
        self._sequences.pop(peer, None)
        found = self._known.pop(peer, None)
        if found is None:
            return
        self._left[peer] = found.protocols
        self._left.move_to_end(peer)
        if len(self._left) > IDENTIFY_KNOWN_PEERS:
            self._left.popitem(last=False)

    # --- streams ------------------------------------------------------------------------------------------------------
    async def ask(self, connection: Connection) -> None:
        """Identify a new connection's peer. Logs what goes wrong: a peer need not answer."""
        try:
            with trio.fail_after(IDENTIFY_SECONDS):
                stream = await self._open_on(connection, [IDENTIFY])
                try:
                    identity = await _read(stream)
                finally:
                    stream.reset()
            self._take(connection, identity)
        except (IPFSKitError, trio.TooSlowError) as error:
            log.debug("identify of %s failed: %s", connection.peer_id, error)

    async def answer(self, connection: Connection, stream: Stream) -> None:
        """Serve ``/ipfs/id/1.0.0``."""
        with trio.move_on_after(IDENTIFY_SECONDS) as limit:
            for message in encode(self._for(connection)):
                await stream.write_message(message)
            await stream.close()
        if limit.cancelled_caught:
            stream.reset()

    async def receive_push(self, connection: Connection, stream: Stream) -> None:
        """Serve ``/ipfs/id/push/1.0.0``."""
        with trio.move_on_after(IDENTIFY_SECONDS) as limit:
            pushed = await _read(stream)
            await stream.close()
        if limit.cancelled_caught:
            stream.reset()
            return
        self._take(connection, merge(self._known.get(connection.peer_id, Identity()), pushed), pushed.signed_record)

    # --- pushes -------------------------------------------------------------------------------------------------------
    def changed(self) -> None:
        """Our protocols or addresses may have changed: tell the peers soon."""
        self._changed.set()

    async def run(self) -> None:
        """Push changes, those of ``IDENTIFY_PUSH_DELAY_SECONDS`` together, until cancelled."""
        self._told = self._state()
        while True:
            await self._changed.wait()
            await trio.sleep(IDENTIFY_PUSH_DELAY_SECONDS)
            self._changed = trio.Event()
            state = self._state()
            if state == self._told:
                continue
            self._told = state
            self._seq += 1
            self._records.clear()
            await self._push_all()

    def _state(self) -> tuple[frozenset[str], tuple[str, ...]]:
        return self._us.protocols(), tuple(self._us.addresses())

    async def _push_all(self) -> None:
        limiter = trio.CapacityLimiter(IDENTIFY_PUSH_CONCURRENT)
        async with trio.open_nursery() as nursery:
            for connection in self._connections():
                known = self._known.get(connection.peer_id)
                if known is not None and IDENTIFY_PUSH in known.protocols:
                    nursery.start_soon(self._push, connection, limiter)

    async def _push(self, connection: Connection, limiter: trio.CapacityLimiter) -> None:
        try:
            async with limiter:
                with trio.fail_after(IDENTIFY_SECONDS):
                    stream = await self._open_on(connection, [IDENTIFY_PUSH])
                    for message in encode(self._for(connection)):
                        await stream.write_message(message)
                    await stream.close()
        except (IPFSKitError, trio.TooSlowError) as error:
            log.debug("identify push to %s failed: %s", connection.peer_id, error)

    # --- both ways ----------------------------------------------------------------------------------------------------
    def _for(self, connection: Connection) -> Identity:
        """What the peer on this connection is told: addresses that it could use, and a record of the same."""
        told = tuple(addresses.useful_to(self._us.addresses(), reach(connection)))
        key = (self._seq, told)
        record = self._records.get(key)
        if record is None:
            record = seal_peer_record(self._us.key, self._seq, [addresses.to_bytes(text) for text in told])
            self._records[key] = record
        return Identity(
            protocol_version=PROTOCOL_VERSION,
            agent=self._us.agent,
            public_key=self._us.key.public_key.encode(),
            addresses=told,
            observed=connection.remote_address,
            protocols=self._us.protocols(),
            signed_record=record,
        )

    def _take(self, connection: Connection, identity: Identity, record: bytes | None = None) -> None:
        """Use what a peer said, after checking what it signed."""
        peer = connection.peer_id
        if connection.is_closed:
            return
        try:
            listed = self._certified(peer, identity.signed_record if record is None else record)
            if identity.public_key and PublicKey.decode(identity.public_key).peer_id() != peer:
                raise ProtocolViolation(f"{peer} identified itself with another peer's key", peer=peer)
        except ProtocolViolation as error:
            self._penalise(peer, _BAD_IDENTITY, str(error))
            return
        listed = identity.addresses if listed is None else listed
        self._known[peer] = Identity(
            **{**vars(identity), "protocols": _bounded(identity.protocols), "addresses": listed}
        )
        self._left.pop(peer, None)
        believed = addresses.credible_from(listed, reach(connection))
        if believed:
            self._book.add(peer, believed, Provenance.SIGNED, replace=True)
        if identity.observed is not None:
            self._note_observed(identity.observed, peer)
        for identified in tuple(self._watchers):
            identified(peer)

    def _certified(self, peer: PeerID, raw: bytes) -> tuple[str, ...] | None:
        """The addresses of a signed record, ``None`` where there is none or a newer one is known."""
        if not raw:
            return None
        record = open_peer_record(raw, signer=peer)
        if record.seq < self._sequences.get(peer, 0):
            return None
        self._sequences[peer] = record.seq
        found = []
        for item in record.addresses:
            try:
                found.append(addresses.from_bytes(item).text)
            except InvalidAddress:  # of a transport that is not known here
                continue
        return tuple(found)

    def _note_observed(self, text: str, peer: PeerID) -> None:
        voters = self._observed.setdefault(text, set())
        if len(voters) < OBSERVED_MAX_ADDRESSES:
            voters.add(peer)
        self._observed.move_to_end(text)
        if len(self._observed) > OBSERVED_MAX_ADDRESSES:
            self._observed.popitem(last=False)


def reach(connection: Connection) -> addresses.Scope:
    """From how far away the connection's peer talks to us."""
    ip = addresses.ip_of(connection.remote_address)
    return addresses.scope_of_ip(ip) if ip is not None else addresses.Scope.PUBLIC


def _bounded(protocols: frozenset[str]) -> frozenset[str]:
    """As many of the protocols as ``IDENTIFY_PROTOCOL_BYTES`` hold."""
    if sum(map(len, protocols)) <= IDENTIFY_PROTOCOL_BYTES:
        return protocols
    kept, room = set(), IDENTIFY_PROTOCOL_BYTES
    for text in sorted(protocols, key=len):
        room -= len(text)
        if room < 0:
            break
        kept.add(text)
    return frozenset(kept)


async def _read(stream: Stream) -> Identity:
    """The messages of one answer, up to the remote's half-close."""
    messages: list[bytearray] = []
    while len(messages) <= IDENTIFY_MAX_MESSAGES:
        message = await stream.read_message(IDENTIFY_MESSAGE_BYTES)
        if message is None:
            break
        messages.append(message)
    if not messages:
        raise ProtocolViolation("an identify answer without a message", peer=stream.peer_id)
    return decode(messages)
