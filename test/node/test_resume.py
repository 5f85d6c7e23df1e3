"""A fetch that was killed goes on where it was: by another process, from the blocks that are in the repo."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from test.node.children import MIB, STEP, content

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from test.node.conftest import Child

SIZE = 96 * MIB
INNER = 1 * MIB  # nodes of the tree above the leaves, and then some
UNDER_WAY = 48 * MIB  # sent to the victim and not in its store: a window of the client, the kernel's buffers


@pytest.mark.parametrize("kills", [1, 3])
def test_only_what_is_missing_is_transferred(tmp_path: Path, spawn: Callable[..., Child], kills: int) -> None:
    server = spawn("serve", SIZE, 1)
    facts = server.hear()
    (cid,) = facts["cids"]
    in_store = 0
    for _time in range(kills):
        victim = spawn("fetch", tmp_path, facts["address"], cid, "paced")
        assert victim.hear()["peer"]
        victim.go_on()
        reports = in_store // STEP + 4
        for _report in range(reports):
            in_store = max(in_store, victim.hear()["read"])
            victim.go_on()
        victim.kill()
    assert in_store >= 16 * MIB
    last = spawn("fetch", tmp_path, facts["address"], cid, "")
    last.hear()
    found = last.hear()
    assert found["sha256"] == hashlib.sha256(content(SIZE, 1)).hexdigest()
    assert found["received"] <= SIZE - in_store + INNER
    server.go_on()
    assert server.hear()["sent"] <= SIZE + INNER + kills * UNDER_WAY
