"""How many peers a DHT has, by how close the closest to a key are. Sans-I/O.

Keys of peers are spread evenly. So where the ``k`` closest to some key are within a share ``d`` of the key space there
are about ``k / d`` peers. The sum of all ``k`` over the sum of all ``d`` of many lookups is the best that can be said
(the number of points of a Poisson process over the volume they were counted in), and a key that was surrounded by
made-up peers can shift it by no more than its own share. go-libp2p-kad-dht fits a line through the average distances
instead (Trautwein, *A Peer-to-Peer Content Retrieval*, the optimistic provide).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ipfs_kit_py.core.config import KAD_GROUP_IN_LOOKUP, KAD_K, SIZE_LOOKUPS, SIZE_MAX_SECONDS, SIZE_MIN_LOOKUPS
from ipfs_kit_py.routing.keys import KEY_BITS

if TYPE_CHECKING:
    from collections.abc import Iterable

_FAR = 1 / 4  # of the key space: that all of five peers are nearer happens once in a thousand times
_SPACE = float(1 << KEY_BITS)


class NetworkSize:
    """The last ``SIZE_LOOKUPS`` lookups of the last ``SIZE_MAX_SECONDS``."""

    def __init__(self, *, k: int = KAD_K) -> None:
        self.k = k
        self._measured: deque[tuple[float, int, float]] = deque(maxlen=SIZE_LOOKUPS)  # when, peers, share of the space
        self._last: tuple[int, bool] | None = None

    def __repr__(self) -> str:
        return f"<NetworkSize {self.estimate()} of {len(self._measured)} lookups>"

    def on_closest(self, target: int, keys: Iterable[int], now: float) -> bool:
        """A lookup for ``target`` has ended with peers of these keys. Whether they are taken to be all that there are.
        A lookup that is told of twice in a row, by who did it and who wanted it, counts once."""
        if self._last is None or self._last[0] != target:
            self._last = target, self._count(target, keys, now)
        return self._last[1]

    def _count(self, target: int, keys: Iterable[int], now: float) -> bool:
        """Fewer than ``k`` are all where the farthest is from another part of the key space: else some were silent, or
        too many are of one network, and the lookup passed them over. So few that this cannot be are believed while
        nothing else is known."""
        distances = sorted(key ^ target for key in keys)[: self.k]
        if not distances:
            return False
        share = (distances[-1] + 1) / _SPACE
        count, wide = len(distances), any(share < 1.0 for _when, _count, share in self._measured)
        if count < self.k and (share > _FAR or (count < KAD_GROUP_IN_LOOKUP and not wide)):
            self._measured.clear()
            self._measured.append((now, count, 1.0))
            return True
        if count >= KAD_GROUP_IN_LOOKUP or count == self.k:
            if not wide:  # the network has grown, or was never so small
                self._measured.clear()
            self._measured.append((now, count, share))
        return False

    def estimate(self, now: float | None = None) -> float | None:
        """Peers of the network; ``None`` before ``SIZE_MIN_LOOKUPS`` have told of many or one of all of them."""
        while now is not None and self._measured and self._measured[0][0] < now - SIZE_MAX_SECONDS:
            self._measured.popleft()
        measured = self._measured
        if len(measured) == 1 and measured[0][2] >= 1.0:
            return float(measured[0][1])
        if len(measured) < SIZE_MIN_LOOKUPS:
            return None
        peers = sum(count for _when, count, _share in measured)
        return max(1.0, peers - 1) / sum(share for _when, _count, share in measured)
