"""Child processes for the tests of the stores."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]


class Child:
    """A process of ``children`` and the lines that it tells."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def read(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the child ended with {self.process.wait()}"
        return line.decode().strip()

    def go_on(self, line: str = "") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def spawn() -> Iterator[Callable[..., Child]]:
    """``spawn(verb, *arguments, prefix=(...))`` starts a child; all are ended with the test."""
    with ExitStack() as stack:

        def start(verb: str, *arguments: object, prefix: tuple[str, ...] = ()) -> Child:
            command = [*prefix, sys.executable, "-m", "test.storage.children", verb, *map(str, arguments)]
            process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
            stack.enter_context(process)
            stack.callback(process.kill)
            return Child(process)

        yield start
