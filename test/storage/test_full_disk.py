"""A full disk is a clear error; the store reads on, and writes again once there is space. The children assert it."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from test.storage.conftest import Child


def can_mount() -> bool:
    """Whether this user may mount a file system of its own, in a mount namespace."""
    if shutil.which("unshare") is None:
        return False
    trial = ["unshare", "-rm", "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", "/tmp"]
    return subprocess.run(trial, capture_output=True, check=False).returncode == 0


def test_a_disk_without_space(tmp_path: Path, spawn: Callable[..., Child]) -> None:
    if not can_mount():
        pytest.skip("no mount namespace may be made here; the limit of the file size is tested instead")
    mount = f'mount -t tmpfs -o size=32m tmpfs "{tmp_path}" && exec "$@"'
    child = spawn("full_tmpfs", tmp_path, prefix=("unshare", "-rm", "sh", "-c", mount, "sh"))
    assert child.read() == "passed"


def test_a_file_that_may_not_grow(tmp_path: Path, spawn: Callable[..., Child]) -> None:
    assert spawn("limited", tmp_path, 12 << 20).read() == "passed"
