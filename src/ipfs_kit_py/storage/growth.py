"""Keeping the file of an environment from growing while a reader stalls.

LMDB can use a freed page again once no reader holds a snapshot that has it. A reader that stalls, in this process or
another, makes every write take new pages at the end of the file, which never shrinks. So before a write that would make
the file larger than ``STORE_GROWTH`` times the live bytes (or, where small blocks take more of it than their bytes,
``STORE_GROWTH_PAGES`` times the pages in use), the writer waits until the readers that lag have ended,
and refuses where they do not. Short views cost it nothing but their rest: readers that begin meanwhile do not lag.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from ipfs_kit_py.core.config import KIB, STORE_GROWTH, STORE_GROWTH_FLOOR, STORE_GROWTH_PAGES
from ipfs_kit_py.core.errors import QuotaExceeded

if TYPE_CHECKING:
    from ipfs_kit_py.storage.environment import Environment, Reader

_POLL_SECONDS = 0.002  # other processes cannot tell us when their readers end
_SAMPLES = 4096  # commits that are remembered: seconds of churn
_OVERHEAD = 1.06  # bytes of pages that a byte of large blocks takes
_COMMIT_BYTES = 128 * KIB  # of pages with keys and of free pages, that every commit writes anew


class Sample(NamedTuple):
    """What was at a commit: its number, the bytes ever freed, the bytes of the file."""

    txn: int
    freed: int
    size: int


class GrowthGuard:
    """Watches one environment."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._samples: deque[Sample] = deque(maxlen=_SAMPLES)
        self._stalled: set[Reader] = set()

    def committed(self, txn: int, freed: int) -> None:
        """A commit of this process: its number, and the bytes that were ever freed in the environment."""
        self._samples.append(Sample(txn, freed, self._environment.file_bytes))

    def admit(self, need: int, live: int, freed: int, seconds: float) -> None:
        """Return once ``need`` bytes of blocks can be written so that the file stays small; ``live`` bytes of blocks
        are there afterwards, ``freed`` were ever freed. ``QuotaExceeded`` where a reader lags for ``seconds``."""
        size = self._environment.file_bytes
        pages = int(need * _OVERHEAD) + _COMMIT_BYTES
        if size + pages <= max(STORE_GROWTH * live, STORE_GROWTH_FLOOR):
            return
        used = self._environment.used_bytes()
        if size + pages <= STORE_GROWTH_PAGES * used:
            return
        newest = self._environment.last_txn
        lagging = self._environment.lagging(newest)
        if not lagging or self._reusable(size, used, lagging, freed) >= 2 * pages:
            return
        self._wait(newest, lagging, need, seconds)

    def _reusable(self, size: int, used: int, lagging: list[Reader], freed: int) -> int:
        """Bytes of free pages that none of these readers has in its snapshot: none if the file grew since then, as
        it does only when they are used up."""
        oldest = min(txn for _pid, txn in lagging)
        before = next((sample for sample in reversed(self._samples.copy()) if sample.txn <= oldest), None)
        if before is None or before.size < size:
            return 0
        return size - used - int((freed - before.freed) * _OVERHEAD)

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
