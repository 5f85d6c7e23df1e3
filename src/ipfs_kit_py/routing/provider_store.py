"""Who provides what, as others have told this node: records that end by themselves, bounded fairly. Sans-I/O.

Where there are too many, those go first whose provider has the most here: a flood pushes out itself.
Source: libp2p/specs kad-dht/README.md (content provider advertisement), validity 48 h.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any

from ipfs_kit_py.core.cid import PeerID
from ipfs_kit_py.core.config import (
    KAD_ANSWER_PROVIDERS,
    KAD_PROVIDE_SECONDS,
    KAD_PROVIDER_RECORDS,
    KAD_PROVIDERS_PER_KEY,
)
from ipfs_kit_py.core.errors import InvalidAddress, InvalidCID
from ipfs_kit_py.routing.kad_wire import PeerInfo
from ipfs_kit_py.routing.kbuckets_groups import first_addresses

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from random import Random

_ROW = 200  # records of one row: it is encoded in one go
_EVICT_SHARE = 0.01  # of all records that go at once when there are too many: finding whose costs a pass over all peers


@dataclass(frozen=True)
class ProviderStoreStatistics:
    """What is kept, and how many records went before their time."""

    records: int
    keys: int
    peers: int
    evicted: int


class ProviderStore:
    """Records by multihash and provider. A provider's addresses are kept once, as it told them last."""

    def __init__(
        self, *, records: int = KAD_PROVIDER_RECORDS, per_key: int = KAD_PROVIDERS_PER_KEY,
        validity: float = KAD_PROVIDE_SECONDS,
    ) -> None:  # fmt: skip
        self._most, self._per_key, self._validity = records, per_key, validity
        self._keys: dict[bytes, dict[bytes, float]] = {}  # multihash -> provider -> when it ends; the oldest first
        self._peers: dict[bytes, dict[bytes, None]] = {}  # provider -> its multihashes, the oldest first
        self._addresses: dict[bytes, tuple[str, ...]] = {}
        self._count = self._evicted = 0
        self.changes = 0  # since the start: what is kept of this elsewhere is old when it has grown

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"<ProviderStore {self._count} records of {len(self._keys)} keys by {len(self._peers)} peers>"

    def add(self, multihash: bytes, peer: PeerID, addresses: Iterable[str], now: float) -> None:
        """A peer provides; said again it counts from now."""
        raw = peer.raw
        told = first_addresses(addresses)
        self._drop(multihash, raw)
        if self._count >= self._most:
            self._evict()
        providers = self._keys.setdefault(multihash, {})
        if len(providers) >= self._per_key:
            self._evicted += 1
            self._drop(multihash, next(iter(providers)))
            providers = self._keys.setdefault(multihash, {})
        self.changes += 1
        providers[raw] = now + self._validity
        self._peers.setdefault(raw, {})[multihash] = None
        self._count += 1
        if told or raw not in self._addresses:
            self._addresses[raw] = told

    def remove(self, multihash: bytes, peer: PeerID) -> bool:
        """A peer provides no more; whether it did."""
        return self._drop(multihash, peer.raw)

    def get(self, multihash: bytes, now: float, rng: Random, count: int = KAD_ANSWER_PROVIDERS) -> list[PeerInfo]:
        """The providers; ``count`` of them by chance where there are more."""
        providers = self._keys.get(multihash)
        if providers is None:
            return []
        for raw in [raw for raw, ends in providers.items() if ends <= now]:
            self._drop(multihash, raw)
        chosen = list(providers) if len(providers) <= count else rng.sample(list(providers), count)
        return [PeerInfo(PeerID(raw), self._addresses.get(raw, ())) for raw in chosen]

    def expire(self, now: float) -> int:
        """Drop what has ended; how many records. Call it now and then: else they go when somebody asks for them."""
        gone = [(key, raw) for key, rows in self._keys.items() for raw, ends in rows.items() if ends <= now]
        for key, raw in gone:
            self._drop(key, raw)
        return len(gone)

    def statistics(self) -> ProviderStoreStatistics:
        """The counts of this moment."""
        return ProviderStoreStatistics(self._count, len(self._keys), len(self._peers), self._evicted)

    def _drop(self, multihash: bytes, raw: bytes) -> bool:
        providers = self._keys.get(multihash)
        if providers is None or providers.pop(raw, None) is None:
            return False
        if not providers:
            del self._keys[multihash]
        mine = self._peers[raw]
        del mine[multihash]
        if not mine:
            del self._peers[raw], self._addresses[raw]
        self._count -= 1
        self.changes += 1
        return True

    def _evict(self) -> None:
        """Drop a share of all records: the oldest of whoever has the most, one after another."""
        most = [(-len(mine), raw) for raw, mine in self._peers.items()]
        heapify(most)
        for _ in range(max(1, int(self._most * _EVICT_SHARE))):
            held, raw = heappop(most)
            self._drop(next(iter(self._peers[raw])), raw)
            self._evicted += 1
            if held < -1:
                heappush(most, (held + 1, raw))
            if not most:
                return

    # --- across runs --------------------------------------------------------------------------------------------------

    def dump(self, now: float) -> Iterator[dict[str, Any]]:
        """Rows of one provider's records, ``_ROW`` at most, as plain values for JSON; times are seconds left, since
        clocks differ. Records may come and go meanwhile."""
        for raw in list(self._peers):
            keys = list(self._peers.get(raw, ()))
            for at in range(0, len(keys), _ROW):
                left = {key: self._keys.get(key, {}).get(raw, now) - now for key in keys[at : at + _ROW]}
                yield {
                    "peer": str(PeerID(raw)),
                    "addresses": list(self._addresses.get(raw, ())),
                    "records": [
                        [base64.b64encode(key).decode(), round(rest)] for key, rest in left.items() if rest > 0
                    ],
                }

    def load(self, rows: Iterable[Any], now: float) -> int:
        """Take up what ``dump`` gave; how many records. What cannot be read is skipped."""
        before = self._count
        for row in rows:
            try:
                peer, told = PeerID.parse(row["peer"]), [str(text) for text in row["addresses"]]
                for text, seconds in row["records"]:
                    left = min(float(seconds), self._validity)
                    if left > 0:
                        self.add(base64.b64decode(text, validate=True), peer, told, now + left - self._validity)
            except (InvalidAddress, InvalidCID, KeyError, TypeError, ValueError, AttributeError):
                continue
        return self._count - before


def _text(key: bytes) -> str:
    return base64.b64encode(key).decode()
