"""A file far larger than the memory tier goes through a node whose own memory stays small, whole and in places."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from bench.large import MIB, Work, run

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 384 * MIB
MEMORY = 16 * MIB  # of the tier
ELSE = 48 * 1_000_000  # for all else, beyond what a node takes that does nothing: with 64 MiB and 35 MB it is 150 MB


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what memory a process takes")
@pytest.mark.parametrize("chunk", [64 << 10, 1 * MIB])  # leaves that go through the memory tier, and such that do not
def test_memory_does_not_grow_with_the_file(tmp_path: Path, chunk: int) -> None:
    work = Work(str(tmp_path), SIZE, chunk, MEMORY, 100)
    added = run("add", work)
    assert added.bytes == SIZE
    work = work._replace(root=added.said["note"])
    for step, moved in {"read": SIZE, "places": 100 * MIB, "view": SIZE}.items():
        found = run(step, work)
        assert found.bytes == moved
        assert found.anonymous < found.before + MEMORY + ELSE, step
