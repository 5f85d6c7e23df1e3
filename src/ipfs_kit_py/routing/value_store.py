"""Signed records that others have put here: the best of each key, only what its validator lets pass. Sans-I/O.

Source: libp2p/specs kad-dht/README.md (value storage and retrieval, entry validation and correction).
"""

from __future__ import annotations

import base64
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ipfs_kit_py.core.config import KAD_VALUE_SECONDS, KAD_VALUES, KAD_VALUES_PER_PEER
from ipfs_kit_py.core.errors import InvalidRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.routing.validators import Validators


@dataclass(frozen=True)
class ValueStoreStatistics:
    """What is kept, what was refused (forged, expired, older than what is here), and what went before its time."""

    values: int
    refused: int
    evicted: int


class _Held(NamedTuple):
    value: bytes
    received: float
    by: bytes


class ValueStore:
    """``now`` is in seconds since 1970, since records say by the calendar until when they are good."""

    def __init__(
        self, validators: Validators, *, most: int = KAD_VALUES, per_peer: int = KAD_VALUES_PER_PEER,
        seconds: float = KAD_VALUE_SECONDS,
    ) -> None:  # fmt: skip
        self._validators = validators
        self._most, self._per_peer, self._seconds = most, per_peer, seconds
        self._held: OrderedDict[bytes, _Held] = OrderedDict()  # the one that was put longest ago first
        self._by: dict[bytes, OrderedDict[bytes, None]] = {}
        self._refused = self._evicted = 0
        self.changes = 0  # since the start: what is kept of this elsewhere is old when it has grown

    def __len__(self) -> int:
        return len(self._held)

    def __repr__(self) -> str:
        return f"<ValueStore {len(self._held)} values of {len(self._by)} peers>"

    def put(self, key: bytes, value: bytes, by: PeerID, now: float) -> None:
        """Keep a value. ``InvalidRecord`` for one that is not good, or not as good as the one that is here."""
        try:
            self._validators.validate(key, value, now)
            old = self.get(key, now)
            if old is not None and old != value and self._validators.select(key, [value, old]) != 0:
                raise InvalidRecord("a newer record is known here")
        except InvalidRecord:
            self._refused += 1
            raise
        self._drop(key)
        mine = self._by.setdefault(by.raw, OrderedDict())
        if len(mine) >= self._per_peer:
            self._evict(next(iter(mine)))
        elif len(self._held) >= self._most:
            self._evict(next(iter(self._held)))
        self._by.setdefault(by.raw, OrderedDict())[key] = None
        self.changes += 1
        self._held[key] = _Held(value, now, by.raw)

    def get(self, key: bytes, now: float) -> bytes | None:
        """The best value that is still good."""
        held = self._held.get(key)
        if held is None:
            return None
        if now >= held.received + self._seconds:
            self._drop(key)
            return None
        try:
            self._validators.validate(key, held.value, now)
        except InvalidRecord:  # it has ended
            self._drop(key)
            return None
        return held.value

    def received(self, key: bytes) -> float | None:
        """When the value came, in seconds since 1970."""
        held = self._held.get(key)
        return None if held is None else held.received

    def statistics(self) -> ValueStoreStatistics:
        """The counts of this moment."""
        return ValueStoreStatistics(len(self._held), self._refused, self._evicted)

    def _evict(self, key: bytes) -> None:
        self._evicted += 1
        self._drop(key)

    def _drop(self, key: bytes) -> None:
        held = self._held.pop(key, None)
        if held is None:
            return
        self.changes += 1
        mine = self._by[held.by]
        del mine[key]
        if not mine:
            del self._by[held.by]

    # --- across runs --------------------------------------------------------------------------------------------------

    def dump(self) -> Iterator[list[Any]]:
        """Rows of plain values for JSON. Values may come and go meanwhile."""
        for key, held in list(self._held.items()):
            yield [base64.b64encode(key).decode(), base64.b64encode(held.value).decode(), held.received]

    def load(self, rows: Iterable[Any], by: PeerID, now: float) -> int:
        """Take up what ``dump`` gave, each checked again; how many. What is not good any more is skipped."""
        count = 0
        for row in rows:
            try:
                key, value = (base64.b64decode(text, validate=True) for text in row[:2])
                received = min(float(row[2]), now)
                if received + self._seconds > now:
                    self.put(key, value, by, received)
                    count += 1
            except (InvalidRecord, TypeError, ValueError, LookupError):
                continue
        return count
