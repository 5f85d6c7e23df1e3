"""Between two processes over loopback: verified and stored by the one that fetches."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from bench import peers
from bench.children import Child, once, python
from bench.goals import Measured
from bench.stage import make_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.stage import Served, Stage

FETCHERS = 4
GIB = 1 << 30
LINE_BLOCK = 262_144  # bytes, of the line's blocks

Found = dict[str, Measured]


def fetch(stage: Stage, served: Served, *, warm: bool = True) -> dict[str, Any]:
    """One of our nodes fetches the file into a fresh repository on disk."""
    with stage.fresh() as folder:
        if warm:
            stage.warm()
        row = once("own.py", "fetch", folder / "repo", served.address, served.cid)
    assert row["bytes"] >= stage.size
    return row


def own(stage: Stage) -> Found:
    """The line and our own fetch in turns."""
    server = stage.server
    gib = stage.size / GIB
    found: dict[str, list[float]] = {}
    for _ in range(stage.repeat):
        line = once("line.py", str(stage.size // LINE_BLOCK))
        before = server.child.cpu()
        row = fetch(stage, server)
        served = server.child.cpu() - before
        figures = {
            "line": line["line_mb_s"],
            "line_unhashed": line["unhashed_mb_s"],
            "own_from_own": row["mb_s"],
            "fetch_rss": row["rss_above_idle_kib"] / 1024,
            "line_cpu": line["line_cpu_s"] / gib,
            "fetch_cpu": row["cpu_s"] / gib,
            "fetch_loop_cpu": row["loop_cpu_s"] / gib,
            "serve_cpu": served / gib,
            "own_from_own_fresh": fetch(stage, server, warm=False)["mb_s"],
            "fresh_memory": stage.warm(),
        }
        for name, value in figures.items():
            found.setdefault(name, []).append(value)
    measured = {name: Measured(values) for name, values in found.items()}
    fresh = _against(found["own_from_own_fresh"], found["fresh_memory"])
    return measured | {"own_from_own": _against(found["own_from_own"], found["line"]), "own_from_own_fresh": fresh}


def kubo(stage: Stage) -> Found:
    """Kubo from Kubo, our own from Kubo, Kubo from our own, in turns."""
    server = stage.server
    both, theirs, ours = [], [], []
    with stage.fresh("kubo") as home, peers.kubo(home) as source:
        cid = source.add(stage.file)
        if cid != server.cid:
            raise RuntimeError(f"Kubo's CID of the file is {cid}, ours is {server.cid}")
        for _ in range(stage.repeat):
            both.append(_by_kubo(stage, source.address, cid))
            ours.append(fetch(stage, server._replace(address=source.address))["mb_s"])
            theirs.append(_by_kubo(stage, server.address, cid))
    return {
        "kubo_from_kubo": Measured(both),
        "own_from_kubo": _against(ours, both),
        "kubo_from_own": _against(theirs, both),
    }


def _by_kubo(stage: Stage, address: str, cid: str) -> float:
    with stage.fresh() as folder:
        stage.warm()
        return stage.size / 1e6 / peers.fetch_by_kubo(folder, address, cid, stage.digest)


def helia(stage: Stage) -> Found:
    """Helia from Helia and our own from our own, in turns."""
    theirs, ours = [], []
    with stage.fresh("helia") as home, peers.helia(home) as source:
        cid = source.add(stage.file)
        for _ in range(stage.repeat):
            with stage.fresh() as folder:
                theirs.append(stage.size / 1e6 / peers.fetch_by_helia(folder, source.address, cid, stage.digest))
            ours.append(fetch(stage, stage.server)["mb_s"])
    return {"helia_from_helia": Measured(theirs), "own_beside_helia": _against(ours, theirs)}


def share(stage: Stage) -> Found:
    """Four nodes fetch a file of a quarter of the size from one server: what each has when the first is done."""
    path = stage.folder / "quarter"
    size = stage.size // FETCHERS
    make_file(path, size)
    served = stage.serve("shared", path)
    least, total = [], []
    for _ in range(stage.repeat):
        with stage.fresh() as folder:
            have, seconds = _shared(folder, served)
        least.append(min(have) / max(have))
        total.append(sum(have) / 1e6 / seconds)
    return {"share_least": Measured(least), "share_total": Measured(total)}


def _shared(folder: Path, served: Served) -> tuple[list[float], float]:
    """Bytes that each has at the moment when the first is done, and the seconds to it."""
    with ExitStack() as stack:
        fetchers: list[Child] = [
            stack.enter_context(python("own.py", "share", folder / str(number), served.address, served.cid))
            for number in range(FETCHERS)
        ]
        for fetcher in fetchers:
            fetcher.row()  # connected
        start = time.perf_counter()
        for fetcher in fetchers:
            fetcher.tell()
        courses = [fetcher.row()["course"] for fetcher in fetchers]
    first = min(course[-1][0] for course in courses)
    return [_at(course, first) for course in courses], first - start


def _at(course: list[tuple[float, float]], moment: float) -> float:
    """Bytes at a moment, on a straight line between the two samples around it."""
    before = after = course[0]
    for after in course:
        if after[0] >= moment:
            break
        before = after
    span = after[0] - before[0]
    return after[1] if span <= 0 else before[1] + (after[1] - before[1]) * min(1.0, (moment - before[0]) / span)


def _against(values: list[float], yardstick: list[float]) -> Measured:
    return Measured(values, [value / other for value, other in zip(values, yardstick, strict=True)])


GROUPS: dict[str, Callable[[Stage], Found]] = {"own": own, "kubo": kubo, "helia": helia, "share": share}
