"""The address book: where peers were, who said so, and until when to believe it. Sans-I/O.

A peer's addresses are one packed ``bytes`` object, in memory as on disk: 100,000 peers of Python objects would weigh
several times as much. The node's own key is not in here, so no eviction can lose it.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from ipfs_kit_py.core.cid import PeerID
from ipfs_kit_py.core.config import (
    ADDRESS_TTL_CONNECTED,
    ADDRESS_TTL_HEARSAY,
    ADDRESS_TTL_SIGNED,
    BOOK_MAX_ADDRESSES,
    BOOK_MAX_BYTES,
    BOOK_MAX_ENTRY_BYTES,
    BOOK_MAX_PEERS,
    IDENTIFY_MAX_ADDRESSES,
)
from ipfs_kit_py.core.errors import InvalidAddress, InvalidCID
from ipfs_kit_py.net import addresses
from ipfs_kit_py.net.dial_plan import Candidate, Provenance

if TYPE_CHECKING:
    from collections.abc import Iterable

_ROW = struct.Struct("<BBIIH")  # provenance, failures, expires, worked (seconds since 1970), bytes of the text
_MAX_FAILURES = 255
_HEARSAY_FAILURES = 3  # hearsay that failed so often is dropped: nobody vouched for it
_MAX_SECONDS = 2**32 - 1
TTL = {
    Provenance.HEARSAY: ADDRESS_TTL_HEARSAY,
    Provenance.SIGNED: ADDRESS_TTL_SIGNED,
    Provenance.CONNECTED: ADDRESS_TTL_CONNECTED,
}


class Known(NamedTuple):
    """One address of a peer. Times in seconds since 1970; ``failures`` since it last worked."""

    text: str
    provenance: Provenance
    expires: int
    worked: int
    failures: int


@dataclass(frozen=True)
class BookStatistics:
    """``bytes`` are those of the packed addresses; ``evicted`` and ``rejected`` count since the start."""

    peers: int
    bytes: int
    evicted: int
    rejected: int


class AddressBook:
    """Addresses by peer, bounded in peers and bytes. ``now`` is wall-clock time, since the book outlives the process.

    When it is full the peer that was heard of longest ago goes: first those known by hearsay alone, then those that
    told us themselves, last those that we have been connected to.
    """

    def __init__(self, own: PeerID, *, max_peers: int = BOOK_MAX_PEERS, max_bytes: int = BOOK_MAX_BYTES) -> None:
        self._own = own.raw
        self._max_peers = max_peers
        self._max_bytes = max_bytes
        # by the best provenance of a peer's addresses, each oldest first
        self._shelves: dict[Provenance, OrderedDict[bytes, bytes]] = {kind: OrderedDict() for kind in TTL}
        self._bytes = 0
        self._evicted = 0
        self._rejected = 0
        self._changed: set[bytes] = set()

    def add(
        self,
        peer: PeerID,
        texts: Iterable[str],
        provenance: Provenance,
        now: float,
        *,
        replace: bool = False,
    ) -> int:
        """Take down addresses of a peer, ``IDENTIFY_MAX_ADDRESSES`` at most; how many were accepted.

        Refused: what is no multiaddr, has no use (unspecified, multicast) or names another peer; our own. ``replace``
        drops what was known with the same provenance or less and never worked: the list is the peer's whole one.
        """
        if peer.raw == self._own:
            return 0
        rows = {row.text: row for row in self._rows(peer.raw, now)}
        if replace:
            rows = {text: row for text, row in rows.items() if row.provenance > provenance or row.worked}
        accepted = 0
        for text in islice(texts, IDENTIFY_MAX_ADDRESSES):
            plain = self._checked(peer, text)
            if plain is None:
                self._rejected += 1
                continue
            accepted += 1
            expires, old = int(now + TTL[provenance]), rows.get(plain)
            if old is None:
                rows[plain] = Known(plain, provenance, expires, 0, 0)
            else:
                rows[plain] = _renewed(old, provenance, expires)
        if accepted or replace:
            self._put(peer.raw, list(rows.values()))
        return accepted

    def on_success(self, peer: PeerID, text: str, now: float) -> None:
        """A connection over this address was authenticated as the peer's."""
        rows = [row for row in self._rows(peer.raw, now) if row.text != text]
        plain = self._checked(peer, text)
        if plain is not None and peer.raw != self._own:
            expires = int(now + ADDRESS_TTL_CONNECTED)
            self._put(peer.raw, [Known(plain, Provenance.CONNECTED, expires, int(now), 0), *rows])

    def on_failure(self, peer: PeerID, text: str, now: float) -> None:
        """A dial of this address failed."""
        rows, kept = self._rows(peer.raw, now), []
        for row in rows:
            if row.text != text:
                kept.append(row)
            elif row.provenance is not Provenance.HEARSAY or row.failures + 1 < _HEARSAY_FAILURES:
                kept.append(row._replace(failures=min(_MAX_FAILURES, row.failures + 1)))
        if kept != rows:
            self._put(peer.raw, kept)

    def get(self, peer: PeerID, now: float) -> list[Known]:
        """What is known of a peer and has not expired, the most trusted first."""
        return sorted(self._rows(peer.raw, now), key=_worth, reverse=True)

    def candidates(self, peer: PeerID, now: float) -> list[Candidate]:
        """The same as the dialler takes it."""
        found = []
        for row in self.get(peer, now):
            try:
                address = addresses.parse(row.text)
            except InvalidAddress:  # somebody else wrote the file
                continue
            found.append(Candidate(address, row.provenance, row.worked, row.failures))
        return found

    def forget(self, peer: PeerID) -> None:
        """Drop a peer."""
        if self._take(peer.raw) is not None:
            self._changed.add(peer.raw)

    def __contains__(self, peer: PeerID) -> bool:
        return any(peer.raw in shelf for shelf in self._shelves.values())

    def __len__(self) -> int:
        return sum(map(len, self._shelves.values()))

    def take_changes(self, limit: int) -> list[tuple[bytes, bytes | None]]:
        """Up to ``limit`` raw peer ids whose record changed since it was last taken; ``None`` where it is gone."""
        taken = [self._changed.pop() for _ in range(min(limit, len(self._changed)))]
        return [(raw, self._find(raw)) for raw in taken]

    @property
    def changes(self) -> int:
        """How many peers ``take_changes`` would have."""
        return len(self._changed)

    def load(self, rows: Iterable[tuple[bytes, bytes]], now: float) -> None:
        """Take records as they were stored; what is damaged or expired is left out, what is here already stays."""
        for raw, record in rows:
            try:
                PeerID(bytes(raw))
                if len(record) > BOOK_MAX_ENTRY_BYTES:
                    raise InvalidAddress("a record that is too long")
                found = _current(_unpack(record), now)
            except (InvalidAddress, InvalidCID, ValueError, struct.error):
                self._rejected += 1
                self._changed.add(bytes(raw))
                continue
            if raw == self._own or not found or self._find(raw) is not None:
                continue
            self._put(raw, found)
            self._changed.discard(raw)

    def statistics(self) -> BookStatistics:
        return BookStatistics(len(self), self._bytes, self._evicted, self._rejected)

    def __repr__(self) -> str:
        return f"<AddressBook of {len(self)} peers, {self._bytes} bytes>"

    def _checked(self, peer: PeerID, text: str) -> str | None:
        try:
            found = addresses.parse(text)
        except InvalidAddress:
            return None
        if found.scope is addresses.Scope.UNUSABLE or found.peer not in (None, peer):
            return None
        return found.text or None

    def _find(self, raw: bytes) -> bytes | None:
        for shelf in self._shelves.values():
            record = shelf.get(raw)
            if record is not None:
                return record
        return None

    def _rows(self, raw: bytes, now: float) -> list[Known]:
        record = self._find(raw)
        return [] if record is None else _current(_unpack(record), now)

    def _take(self, raw: bytes) -> bytes | None:
        for shelf in self._shelves.values():
            record = shelf.pop(raw, None)
            if record is not None:
                self._bytes -= len(record)
                return record
        return None

    def _put(self, raw: bytes, rows: list[Known]) -> None:
        self._take(raw)
        self._changed.add(raw)
        record, best = _pack(sorted(rows, key=_worth, reverse=True)[:BOOK_MAX_ADDRESSES])
        if best is None:
            return
        self._shelves[best][raw] = record
        self._bytes += len(record)
        while len(self) > self._max_peers or self._bytes > self._max_bytes:
            self._evict()

    def _evict(self) -> None:
        shelf = next(self._shelves[kind] for kind in sorted(TTL) if self._shelves[kind])
        raw, record = shelf.popitem(last=False)
        self._bytes -= len(record)
        self._evicted += 1
        self._changed.add(raw)


def _worth(row: Known) -> tuple[int, bool, int, int]:
    # provenance before all else: no amount of hearsay pushes out what worked or was signed
    return row.provenance, row.failures == 0, row.worked, row.expires


def _renewed(row: Known, provenance: Provenance, expires: int) -> Known:
    """An address that was told of once more: hearsay does not prolong what the peer itself said."""
    if provenance < row.provenance:
        return row
    return row._replace(provenance=provenance, expires=max(row.expires, expires))


def _current(rows: list[Known], now: float) -> list[Known]:
    """The rows that have not expired. A clock that was set back must not make an address live for ever."""
    return [row for row in rows if now < row.expires <= now + ADDRESS_TTL_CONNECTED + 1]


def _pack(rows: list[Known]) -> tuple[bytes, Provenance | None]:
    out, best = bytearray(), None
    for row in rows:
        text = row.text.encode()
        if len(out) + _ROW.size + len(text) > BOOK_MAX_ENTRY_BYTES:
            break
        seconds = (min(max(0, row.expires), _MAX_SECONDS), min(max(0, row.worked), _MAX_SECONDS))
        out += _ROW.pack(row.provenance, row.failures, *seconds, len(text))
        out += text
        best = row.provenance if best is None else max(best, row.provenance)
    return bytes(out), best


def _unpack(record: bytes) -> list[Known]:
    rows, at = [], 0
    while at < len(record):
        kind, failures, expires, worked, size = _ROW.unpack_from(record, at)
        at += _ROW.size
        if at + size > len(record):
            raise ValueError("a record that is cut short")
        text = record[at : at + size].decode()
        at += size
        rows.append(Known(text, Provenance(kind), expires, worked, failures))
    return rows
