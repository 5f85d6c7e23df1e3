"""A peer in a child process that takes one JSON request a line and answers each with one line."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

START_SECONDS = 60.0
CALL_SECONDS = 120.0
STOP_SECONDS = 10.0
LOG_TAIL = 3000  # characters of the peer's own log shown with a failure


class PeerFailed(Exception):
    """A peer answered with an error, went away, or did not answer in time."""


class JsonPeer:
    """The parent's side. The child says ``{"ready": true, "peer_id", "addresses"}``, then answers each request
    ``{"op", "args"}`` with ``{"value"}`` or ``{"error"}``; it leaves when its standard input ends."""

    def __init__(self, argv: Sequence[str | Path], folder: Path, env: Mapping[str, str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._log = folder / "peer.log"
        self._lock = threading.Lock()
        self._buffer = bytearray()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(part) for part in argv],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=folder,
                env={**os.environ, **(env or {})},
            )
        try:
            hello = self._receive(START_SECONDS)
        except BaseException:
            self.close()
            raise
        self.peer_id: str = hello["peer_id"]
        self.addresses: list[str] = hello["addresses"]
        self.hello: dict[str, Any] = hello

    @property
    def address(self) -> str:
        """A TCP address on loopback with the peer id."""
        return next(text for text in self.addresses if "/tcp/" in text and "/ws" not in text)

    def call(self, op: str, *args: Any, timeout: float = CALL_SECONDS) -> Any:
        """Ask for one operation and wait for its value; ``PeerFailed`` otherwise."""
        with self._lock:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps({"op": op, "args": args}).encode() + b"\n")
            self._process.stdin.flush()
            answer = self._receive(timeout)
        if "error" in answer:
            raise PeerFailed(f"{type(self).__name__}.{op}: {answer['error']}")
        return answer.get("value")

    def _receive(self, timeout: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        end = time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                left = end - time.monotonic()
                if left <= 0 or not selector.select(left):
                    raise PeerFailed(f"{type(self).__name__} did not answer within {timeout} s; {self.log_tail()}")
                data = os.read(descriptor, 1 << 20)
                if not data:
                    raise PeerFailed(f"{type(self).__name__} went away; {self.log_tail()}")
                self._buffer += data
        line, _, rest = self._buffer.partition(b"\n")
        self._buffer = rest
        return dict(json.loads(line))

    def log_tail(self) -> str:
        """The end of what the child wrote to standard error."""
        return f"its log ends with:\n{self._log.read_text(errors='replace')[-LOG_TAIL:]}"

    def close(self) -> None:
        """End the child."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it went away with a request unread
            self._process.stdin.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()
