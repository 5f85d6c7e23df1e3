"""The progress bar, loaded on a terminal only."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn


class Bar:
    """Bytes done, of ``total`` where it is known, on standard error; gone when it is stopped."""

    def __init__(self, what: str, total: int | None) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._progress = Progress(
            *columns,
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            redirect_stdout=sys.stdout.isatty(),  # else the answer, which a pipe waits for, would go to the terminal
        )
        self._task = self._progress.add_task(what, total=total)
        self._progress.start()

    def advance(self, size: int) -> None:
        """So many bytes more are done."""
        self._progress.advance(self._task, size)

    def stop(self) -> None:
        """Remove the bar."""
        self._progress.stop()
