"""Who had related content: peers that had one part of a DAG are likely to have the others. Sans-I/O."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING

from ipfs_kit_py.core.config import AFFINITY_CONTENTS, AFFINITY_LINKS, AFFINITY_PEERS, AFFINITY_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ipfs_kit_py.core.cid import PeerID

_FULL = 3.0  # times that a peer had related content, until it counts as sure to have more


class Affinity:
    """Peers by content. What belongs together is told by ``relate``: blocks to the root that they were read under."""

    def __init__(
        self, *, contents: int = AFFINITY_CONTENTS, peers: int = AFFINITY_PEERS, links: int = AFFINITY_LINKS
    ) -> None:
        self._contents, self._most_peers, self._most_links = contents, peers, links
        self._holders: OrderedDict[bytes, OrderedDict[PeerID, tuple[float, float]]] = OrderedDict()
        self._roots: OrderedDict[bytes, bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._holders)

    def relate(self, blocks: Iterable[bytes], root: bytes) -> None:
        """These multihashes are of the DAG below ``root``."""
        for block in blocks:
            if block != root:
                self._roots[block] = root
                self._roots.move_to_end(block)
        while len(self._roots) > self._most_links:
            self._roots.popitem(last=False)

    def record(self, peer: PeerID, multihash: bytes, now: float) -> None:
        """A peer had a content."""
        key = self._roots.get(multihash, multihash)
        holders = self._holders.setdefault(key, OrderedDict())
        self._holders.move_to_end(key)
        holders[peer] = (1.0 + _left(holders.get(peer), now), now)
        holders.move_to_end(peer)
        if len(holders) > self._most_peers:
            holders.popitem(last=False)
        if len(self._holders) > self._contents:
            self._holders.popitem(last=False)

    def of(self, peer: PeerID, multihash: bytes, now: float) -> float:
        """From 0, never heard of with this or what belongs to it, to 1."""
        holders = self._holders.get(self._roots.get(multihash, multihash))
        return 0.0 if holders is None else min(1.0, _left(holders.get(peer), now) / _FULL)

    def holders(self, multihash: bytes, now: float) -> list[PeerID]:
        """Who had it or what belongs to it, the most first."""
        found = self._holders.get(self._roots.get(multihash, multihash))
        return [] if found is None else sorted(found, key=lambda peer: -_left(found[peer], now))

    def forget(self, peer: PeerID, multihash: bytes) -> None:
        """It has it no more."""
        key = self._roots.get(multihash, multihash)
        holders = self._holders.get(key)
        if holders is not None and holders.pop(peer, None) is not None and not holders:
            del self._holders[key]

    def __repr__(self) -> str:
        return f"<Affinity to {len(self._holders)} contents, {len(self._roots)} blocks>"


def _left(row: tuple[float, float] | None, now: float) -> float:
    return 0.0 if row is None else row[0] * math.exp2(-max(0.0, now - row[1]) / AFFINITY_SECONDS)
