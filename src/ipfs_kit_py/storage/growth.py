"""Keeping the file of an environment from growing while a reader stalls.

LMDB can use a freed page again once no reader holds a snapshot that has it. A reader that stalls, in this process or
another, makes every write take new pages at the end of the file, which never shrinks. So before a write that would make
the file larger than ``STORE_GROWTH`` times the live bytes, the writer waits until the readers that lag have ended,
and refuses where they do not. Short views cost it nothing but their rest: readers that begin meanwhile do not lag.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import deque
from typing import TYPE_CHECKING

from ipfs_kit_py.core.config import STORE_GROWTH, STORE_GROWTH_FLOOR
from ipfs_kit_py.core.errors import QuotaExceeded

if TYPE_CHECKING:
    from ipfs_kit_py.storage.environment import Environment, Reader

_POLL_SECONDS = 0.002  # other processes cannot tell us when their readers end
_SAMPLES = 4096  # commits whose count of freed bytes is remembered: seconds of churn
_OVERHEAD = 1.06  # bytes of pages that a byte of large blocks takes, with its keys


class GrowthGuard:
    """Watches one environment."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._freed: deque[tuple[int, int]] = deque(maxlen=_SAMPLES)  # commit, bytes ever freed until it
        self._stalled: set[Reader] = set()

    def committed(self, txn: int, freed: int) -> None:
        """A commit of this process: its number, and the bytes that were ever freed in the environment."""
        self._freed.append((txn, freed))

    def admit(self, need: int, live: int, freed: int, seconds: float) -> None:
        """Return once ``need`` bytes of blocks can be written so that the file stays small; ``live`` bytes of blocks
        are there afterwards, ``freed`` were ever freed. ``QuotaExceeded`` where a reader lags for ``seconds``."""
        size = self._environment.file_bytes
        after = size + need * _OVERHEAD
        if after <= max(STORE_GROWTH * live, STORE_GROWTH_FLOOR):
            return
        used = self._environment.used_bytes()  # small blocks take more than their bytes
        if after <= STORE_GROWTH * used:
            return
        newest = self._environment.last_txn
        lagging = self._environment.lagging(newest)
        if not lagging or self._reusable(size - used, lagging, freed) >= need * _OVERHEAD:
            return
        self._wait(newest, lagging, need, seconds)

    def _reusable(self, free: int, lagging: list[Reader], freed: int) -> int:
        """Bytes of free pages that none of these readers has in its snapshot."""
        oldest = min(txn for _pid, txn in lagging)
        samples = list(self._freed)
        at = bisect_right(samples, (oldest, 1 << 64))
        return free - int((freed - samples[at - 1][1]) * _OVERHEAD) if at else 0

    def _wait(self, newest: int, lagging: list[Reader], need: int, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while lagging:
            self._stalled.intersection_update(lagging)
            if self._stalled or time.monotonic() >= deadline:
                self._stalled.update(lagging)
                raise QuotaExceeded(
                    f"{need} bytes are not stored in {self._environment.path}: process {lagging[0][0]} has held a view "
                    f"of it for over {seconds:g} s, so that freed space cannot be used; end that process or its view"
                )
            time.sleep(_POLL_SECONDS)
            lagging = self._environment.lagging(newest)

    def __repr__(self) -> str:
        return f"<GrowthGuard {self._environment.path.name} stalled={sorted(self._stalled)}>"
