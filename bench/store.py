"""How fast the disk store is: `python -m bench.store [--mib 1024] [--folder DIR] [--json FILE]`.

Kept blocks are measured beside what the same disk takes raw, written and synced by the batch: disks of virtual
machines vary from minute to minute, so only the share of that line compares.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ipfs_kit_py.core.cid import CID, RAW, Block
from ipfs_kit_py.storage.disk import DiskStore

if TYPE_CHECKING:
    from collections.abc import Callable

KIB, MIB = 1 << 10, 1 << 20
READ_BATCH = 16  # blocks of one get_many or view, as a server reads them

Figures = dict[str, float]


def cids(total: int, size: int) -> list[CID]:
    """Keys without hashing: the store does not hash either."""
    digests = (hashlib.sha256(number.to_bytes(8, "big")).digest() for number in range(total // size))
    return [CID(1, RAW, b"\x12\x20" + digest) for digest in digests]


def rate(total: int, work: Callable[[], None]) -> float:
    """MB/s."""
    start = time.perf_counter()
    work()
    return total / (time.perf_counter() - start) / 1e6


def anonymous() -> float:
    """RssAnon in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def raw(folder: Path, total: int, batch: int) -> float:
    data = os.urandom(batch)

    def work() -> None:
        with (folder / "raw").open("wb", buffering=0) as file:
            for _ in range(total // batch):
                file.write(data)
                os.fdatasync(file.fileno())

    found = rate(total, work)
    (folder / "raw").unlink()
    return found


def put(store: DiskStore, keys: list[CID], size: int, batch: int, *, kept: bool) -> tuple[float, float]:
    """MB/s, and by how many MiB RssAnon grew at the most."""
    data = [memoryview(os.urandom(size)) for _ in range(batch // size)]
    before, most = anonymous(), 0.0

    def work() -> None:
        nonlocal most
        for start in range(0, len(keys), len(data)):
            blocks = [Block(cid, part) for cid, part in zip(keys[start : start + len(data)], data, strict=False)]
            store.put_many(blocks, kept=kept)
            most = max(most, anonymous() - before)

    return rate(len(keys) * size, work), most


def read(store: DiskStore, keys: list[CID], size: int, *, view: bool) -> float:
    def work() -> None:
        for start in range(0, len(keys), READ_BATCH):
            some = keys[start : start + READ_BATCH]
            if view:
                with store.view(some) as views:
                    assert views[-1] is not None
            else:
                assert store.get_many(some)[-1] is not None

    return rate(len(keys) * size, work)


def measure(folder: Path, total: int) -> Figures:
    figures: Figures = {}
    for batch in (8, 16, 32):
        figures[f"raw disk, synced every {batch} MiB"] = raw(folder, total, batch * MIB)
        keys = cids(total, MIB)
        with DiskStore(folder / "store", quota=4 * total) as store:
            figures[f"kept 1 MiB blocks by {batch} MiB"], grown = put(store, keys, MIB, batch * MIB, kept=True)
            figures[f"RssAnon of that, MiB ({batch})"] = grown
        shutil.rmtree(folder / "store")
    for size in (256 * KIB, MIB):
        keys, name = cids(total, size), f"{size // KIB} KiB blocks"
        with DiskStore(folder / "store", quota=4 * total) as store:
            figures[f"fetched {name} by 8 MiB"], grown = put(store, keys, size, 8 * MIB, kept=False)
            figures[f"RssAnon of that, MiB ({size // KIB} KiB)"] = grown
            figures[f"get_many {name}, cached"] = read(store, keys, size, view=False)
            figures[f"view {name}, cached"] = read(store, keys, size, view=True)
        shutil.rmtree(folder / "store")
    with DiskStore(folder / "store", quota=total // 4) as store:
        keys = cids(2 * total, 256 * KIB)
        figures["fetched 256 KiB blocks, evicting"], _grown = put(store, keys, 256 * KIB, 8 * MIB, kept=False)
        found = store.statistics()
        figures["file to live bytes after it"] = found.file_bytes / found.bytes
    shutil.rmtree(folder / "store")
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=1024, help="bytes of each measurement, in MiB")
    parser.add_argument("--folder", type=Path, help="on the disk to be measured (default: a temporary one)")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        figures = measure(Path(folder), options.mib * MIB)
    for name, value in figures.items():
        plain = name.startswith(("RssAnon", "file to"))
        print(f"{name:40} {value:10.2f}" if plain else f"{name:40} {value:10.0f} MB/s")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
