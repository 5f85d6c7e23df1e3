"""A gate that many may be inside of, until one needs the place for itself or it closes for good."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ipfs_kit_py.core.errors import BackendError, NotRunning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Gate:
    """Counts who is inside. Memory maps must not move or go while anybody is: what was read from them is in use.

    Entering and leaving may happen on different threads.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition(threading.Lock())
        self._inside = 0
        self._shut = False
        self._last: Callable[[], None] | None = None

    @property
    def inside(self) -> int:
        """How many are inside."""
        return self._inside

    def enter(self, *, again: bool = False) -> None:
        """Go in; waits while another wants the place for itself, unless the caller is inside already (``again``).
        ``NotRunning`` when the gate has closed."""
        with self._condition:
            while self._shut and not again:
                self._condition.wait()
            if self._last is not None and not again:
                raise NotRunning("the store is closed")
            self._inside += 1

    def leave(self) -> None:
        """Go out; the last one out of a closed gate runs what closing left to do."""
        with self._condition:
            self._inside -= 1
            if self._inside:
                return
            self._condition.notify_all()
            last = self._last
        if last is not None:
            last()

    @contextmanager
    def alone(self, seconds: float, what: str) -> Iterator[None]:
        """Have the place for oneself; ``BackendError`` where others stay inside for ``seconds``."""
        deadline = time.monotonic() + seconds
        with self._condition:
            while self._shut:
                self._condition.wait()
            self._shut = True
            if not self._condition.wait_for(lambda: not self._inside, deadline - time.monotonic()):
                self._open_again()
                raise BackendError(f"{what}: {self._inside} views or transactions did not end in {seconds:g} s")
        try:
            yield
        finally:
            with self._condition:
                self._open_again()

    def _open_again(self) -> None:
        self._shut = False
        self._condition.notify_all()

    def close(self, last: Callable[[], None]) -> None:
        """Let nobody in any more, and run ``last`` once nobody is inside: now, or when the last one leaves."""
        with self._condition:
            self._last = last
            now = not self._inside
        if now:
            last()
