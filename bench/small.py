"""What takes milliseconds or memory, adding a file, and the disk store alone."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench import store as stores
from bench.children import once, python, wall
from bench.goals import Measured
from bench.stage import MIB
from ipfs_kit_py.storage.disk import DiskStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.stage import Stage

DISK_BATCH = 16 * MIB

Found = dict[str, Measured]


def beside_disk(stage: Stage, work: Callable[[Path], float]) -> tuple[Measured, list[float]]:
    """A rate in turns with that of the raw disk, of which the better one of before and after counts."""
    rates: list[float] = []
    disk: list[float] = []

    def raw() -> None:
        with stage.fresh() as folder:
            disk.append(stores.raw(folder, stage.size, DISK_BATCH))

    raw()
    for _ in range(stage.repeat):
        with stage.fresh() as folder:
            rates.append(work(folder))
        raw()
    line = map(max, disk, disk[1:])
    return Measured(rates, [rate / most for rate, most in zip(rates, line, strict=True)]), disk


def add(stage: Stage) -> Found:
    """Adding the file, each time into a fresh repository."""
    file = stage.file
    measured, disk = beside_disk(stage, lambda folder: float(once("own.py", "add", folder / "repo", file)["mb_s"]))
    return {"raw_disk": Measured(disk), "add": measured}


def store(stage: Stage) -> Found:
    """The disk store alone, with blocks of 1 MiB."""
    found: dict[str, list[float]] = {name: [] for name in ("fetched", "get", "view")}
    keys = stores.cids(stage.size, MIB)

    def put_kept(folder: Path) -> float:
        with DiskStore(folder / "kept", quota=4 * stage.size) as kept:
            return stores.put(kept, keys, MIB, DISK_BATCH, kept=True)[0]

    kept, _disk = beside_disk(stage, put_kept)
    for _ in range(stage.repeat):
        with stage.fresh() as folder, DiskStore(folder / "fetched", quota=4 * stage.size) as fetched:
            rate, _grown = stores.put(fetched, keys, MIB, DISK_BATCH // 2, kept=False)
            found["fetched"].append(rate)
            found["get"].append(stores.read(fetched, keys, MIB, view=False))
            found["view"].append(stores.read(fetched, keys, MIB, view=True))
    return {
        "store_put_kept": kept,
        "store_put_fetched": Measured(found["fetched"]),
        "store_get": Measured(found["get"]),
        "store_view": Measured(found["view"]),
    }


def files(stage: Stage) -> Found:
    """The served file through the filesystem, in turns with a plain fetch of it; and a directory of many."""
    rates, shares = [], []
    for _ in range(stage.repeat):
        with stage.fresh() as folder:
            plain = once("own.py", "fetch", folder / "repo", stage.server.address, stage.server.cid)["mb_s"]
        with stage.fresh() as folder:
            rates.append(once("files.py", "read", folder / "repo", stage.server.address, stage.server.cid)["mb_s"])
        shares.append(rates[-1] / plain)
    rows = []
    for _ in range(stage.repeat):
        with stage.fresh() as folder:
            rows.append(once("files.py", "many", folder / "repo"))
    return {
        "files_read": Measured(rates, shares),
        "files_put": Measured([row["put_s"] for row in rows]),
        "files_list": Measured([row["list_s"] for row in rows]),
        "files_ranges": Measured([row["ranges_s"] for row in rows]),
    }


def cold(stage: Stage) -> Found:
    """A node that has just started connects and fetches one block."""
    rows = [once("own.py", "cold", stage.server.address, stage.server.block) for _ in range(stage.often)]
    return {
        "connect": Measured([row["connect_ms"] for row in rows]),
        "first_block": Measured([row["first_block_ms"] for row in rows]),
    }


def streams(stage: Stage) -> Found:
    """100 small streams one after another, each repetition in a process of its own."""
    rows = [once("own.py", "streams", stage.server.address) for _ in range(stage.often)]
    return {"stream": Measured([row["stream_ms"] for row in rows])}


def start(stage: Stage) -> Found:
    """From before the process is made until the node says that it is ready; and its memory half a second later."""
    ready, memory = [], []
    for _ in range(stage.often):
        with stage.fresh() as folder, python("own.py", "idle", folder / "repo") as child:
            child.row()
            ready.append(time.perf_counter() - child.started)
            memory.append(child.row()["rss_anon_kib"] / 1024)
    return {"ready": Measured(ready), "idle_rss": Measured(memory)}


def cli(stage: Stage) -> Found:
    """Commands that need no node, from their start to their end; the first run of each is not counted."""
    command = Path(sys.executable).with_name("ipfs-kit")
    with stage.fresh() as folder:
        small = folder / "small"
        small.write_bytes(b"hello\n" * 100)
        env = {"IPFS_KIT_PATH": str(folder / "repo")}
        verbs: dict[str, list[str | Path]] = {
            "help": [command, "--help"],
            "only_hash": [command, "add", "--only-hash", small],
        }
        return {name: Measured([wall(argv, env) for _ in range(stage.often + 1)][1:]) for name, argv in verbs.items()}


GROUPS: dict[str, Callable[[Stage], Found]] = {
    "add": add,
    "store": store,
    "files": files,
    "cold": cold,
    "streams": streams,
    "start": start,
    "cli": cli,
}
