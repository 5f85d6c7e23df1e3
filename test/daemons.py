"""Daemons of this package, as processes of their own, for tests of those who use one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ipfs_kit_py.repo import Repo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMAND = [sys.executable, "-m", "ipfs_kit_py.cli"]


@contextmanager
def daemon(repo: Path) -> Iterator[dict[str, Any]]:
    """A daemon on ``repo``, which is made; what it says of itself: ``ID``, ``Addresses``, ``API``."""
    made = Repo(repo)
    made.ensure()
    made.set("api", "127.0.0.1:0")
    process = subprocess.Popen(
        [*COMMAND, "--json", "daemon"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "IPFS_KIT_PATH": str(repo)},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, b"")
