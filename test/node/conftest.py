"""Child processes for the tests of nodes."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]


class Child:
    """A process of ``children`` and the facts that it tells."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the child ended with {self.process.wait()}"
        return dict(json.loads(line))

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"on\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        """End it as the kernel does that runs out of memory: SIGKILL."""
        self.process.kill()
        self.process.wait()


@pytest.fixture
def spawn() -> Iterator[Callable[..., Child]]:
    """``spawn(verb, *arguments)`` starts a child; all are ended with the test."""
    with ExitStack() as stack:

        def start(verb: str, *arguments: object) -> Child:
            command = [sys.executable, "-m", "test.node.children", verb, *map(str, arguments)]
            process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
            stack.enter_context(process)
            stack.callback(process.kill)
            return Child(process)

        yield start
