"""Processes that are measured: each says JSON, one object a line, and is ended however the measurement ends."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import psutil

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Path(__file__).resolve().parent
LIMIT_SECONDS = 600.0  # for one line: twenty times what the slowest measurement takes
STOP_SECONDS = 10.0


class ChildFailed(Exception):
    """A process ended, or said nothing in time; its own error stands above."""


class Child:
    """One process in a group of its own, so that Ctrl-C reaches it through ``close`` alone. It may end by itself, or
    when its standard input does."""

    def __init__(self, argv: Sequence[str | Path]) -> None:
        self.started = time.perf_counter()
        self._argv = [str(part) for part in argv]
        self._buffer = bytearray()
        self._process = subprocess.Popen(
            self._argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )

    def row(self, timeout: float = LIMIT_SECONDS) -> dict[str, Any]:
        """The next object that it says. ``ChildFailed`` where there is none."""
        assert self._process.stdout is not None
        end = time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not selector.select(max(0.0, end - time.monotonic())):
                    raise ChildFailed(f"{' '.join(self._argv)}: nothing within {timeout:g} s")
                data = os.read(self._process.stdout.fileno(), 1 << 20)
                if not data:
                    raise ChildFailed(f"{' '.join(self._argv)}: ended, with {self._process.wait(STOP_SECONDS)}")
                self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return dict(json.loads(line))

    def cpu(self) -> float:
        """Seconds of CPU that it has used."""
        times = psutil.Process(self._process.pid).cpu_times()
        return float(times.user + times.system)

    def tell(self) -> None:
        """Send an empty line: go on."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()

    def close(self, wait: float = STOP_SECONDS) -> None:
        """End it, and with it what it started."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(wait)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_exc: object) -> None:
        self.close(STOP_SECONDS if kind is None else 0.5)


def python(script: str, *arguments: str | Path) -> Child:
    """One of the scripts beside this file, in this Python."""
    return Child([sys.executable, HERE / script, *arguments])


def once(script: str, *arguments: str | Path) -> dict[str, Any]:
    """Run a script; the one object that it says."""
    with python(script, *arguments) as child:
        return child.row()


def wall(argv: Sequence[str | Path], env: dict[str, str]) -> float:
    """Seconds from the start of a command to its end. ``ChildFailed`` where it fails."""
    started = time.perf_counter()
    done = subprocess.run(argv, env={**os.environ, **env}, capture_output=True, timeout=60, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise ChildFailed(f"{' '.join(map(str, argv))}: {done.stderr.decode(errors='replace')}")
    return seconds
