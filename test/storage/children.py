"""What the child processes of these tests do: ``python -m test.storage.children VERB PATH ...``.

They tell of themselves on standard output, a line at a time, and wait for a line on standard input where they say so.
"""

from __future__ import annotations

import hashlib
import os
import random
import resource
import sys
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from ipfs_kit_py.core.errors import LeaseLost, NotRunning, QuotaExceeded
from ipfs_kit_py.storage.disk import DiskStore
from ipfs_kit_py.storage.leases import Leases
from ipfs_kit_py.storage.memory import MemoryStore
from ipfs_kit_py.storage.shm import SharedMemoryStore
from ipfs_kit_py.storage.tiers import TieredStore
from test.storage.blocks import block, false_block

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1 << 20
WRITERS_QUOTA = 1024 * MIB  # more than ten lives of a writer fill on the fastest disk


def tell(text: str) -> None:
    os.write(1, text.encode() + b"\n")


def wait() -> str:
    return sys.stdin.readline().strip()


def lives(path: str, life: Callable[[str, int], None]) -> None:
    """For each line, a seed, fork off a writer; tell its process id, and when it has ended."""
    while seed := wait():
        child = os.fork()
        if child == 0:
            try:
                life(path, int(seed))
            except BaseException:  # noqa: BLE001 - a child that was forked off must not go on as its parent
                traceback.print_exc()
            finally:
                os._exit(1)
        tell(f"pid {child}")
        os.waitpid(child, 0)
        tell("ended")


def nursery(path: str) -> None:
    """``lives`` of ``write_for_ever``."""
    lives(path, write_for_ever)


def write_for_ever(path: str, seed: int) -> None:
    """A write load until killed: kept, fetched, promoted and deleted blocks, and pins. Tells what was acknowledged."""
    rng = random.Random(seed)
    store = DiskStore(Path(path), quota=WRITERS_QUOTA)
    number = seed * 1_000_000
    while True:
        count, size = rng.randint(1, 8), rng.choice((100, 3000, 20_000, 70_000))
        blocks = [block(at, size) for at in range(number, number + count)]
        cids = [cid for cid, _data in blocks]
        kind = rng.random()
        if kind < 0.5:
            store.put_many(blocks, kept=True)
            tell(f"kept {number} {count} {size}")
        elif kind < 0.7:
            store.put_many(blocks)
            store.promote(cids)
            tell(f"kept {number} {count} {size}")
        elif kind < 0.8:
            store.put_many(blocks[:1], kept=True)
            store.pins.add(cids[0], name=str(number))
            tell(f"pin {number} 1 {size}")
        else:
            store.put_many(blocks)
            store.delete_many(cids[: count // 2])
        number += count


def churn_nursery(path: str) -> None:
    """``lives`` of ``churn``."""
    lives(path, churn)


CHURN_QUOTA = 4 * MIB


def churn(path: str, seed: int) -> None:
    """Until killed, in a cache that is always full: puts that evict, promotions to the disk's kept blocks and to
    memory, trimming with the storing of heat, and collections of garbage. Tells what was acknowledged, and what a
    collection leaves."""
    rng = random.Random(seed)
    store = TieredStore(MemoryStore(256 << 10), DiskStore(Path(path), quota=CHURN_QUOTA))
    number, kept = seed * 1_000_000, list[tuple[int, int]]()
    while True:
        size = rng.choice((200, 3000, 100_000))
        blocks = [block(at, size) for at in range(number, number + 12)]
        cids = [cid for cid, _data in blocks]
        store.put_many(blocks)
        store.get_many(cids[:6])
        if size < 10_000 and rng.random() < 0.4:
            store.put_many(blocks[:2], kept=True)
            store.promote(cids[1:3])
            kept += [(at, size) for at in range(number, number + 3)]
            tell(f"kept {number} 3 {size}")
        if rng.random() < 0.2:
            store.trim()
        if rng.random() < 0.04:
            kept = kept[-6:]
            tell(f"collecting {len(kept)}")
            for _gone in store.sweep({block(*one).cid.multihash for one in kept}, store.mark()):
                pass
        number += 12


def crowd(path: str, seed: str, threads: str) -> None:
    """So many threads at once on one store: what they read is true, what they keep is there, and never are there more
    bytes than the quota and a batch."""
    store = TieredStore(MemoryStore(128 << 10), DiskStore(Path(path), quota=CHURN_QUOTA))
    tell("ready")
    wait()
    failures: list[BaseException] = []
    most = [0] * int(threads)

    def work(at: int) -> None:
        rng = random.Random(f"{seed} {at}")
        base = (int(seed) * 100 + at) * 1000
        try:
            for turn in range(12):
                shared = [block(rng.randrange(200), 2000) for _ in range(4)]
                own = block(base + turn, 1500)
                store.put_many(shared)
                store.put_many([own], kept=True)
                wanted = [*shared, own]
                for one, data in zip(wanted, store.get_many([one.cid for one in wanted]), strict=True):
                    assert data is None or data == one.data, "something false was served"
                assert store.get_many([own.cid]) == [own.data], "something acknowledged is lost"
                with store.view([one.cid for one in shared]) as views:
                    assert all(view is None or view == one.data for one, view in zip(shared, views, strict=True))
                if turn % 4 == 3:
                    store.trim()
                    store.delete_many([own.cid])
                most[at] = max(most[at], store.statistics().bytes)
        except BaseException as error:  # noqa: BLE001 - told below
            failures.append(error)

    workers = [threading.Thread(target=work, args=(at,)) for at in range(int(threads))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    tell(repr(failures[0]) if failures else f"most {max(most)}")
    store.close()


def acknowledge(path: str) -> None:
    """Kept blocks, a promotion and a pin, each told of when it is acknowledged."""
    store = DiskStore(Path(path))
    for number in range(6):
        store.put_many([block(number, 300_000)], kept=True)
        tell("ACK")
    store.put_many([block(10, 50_000)])
    store.promote([block(10, 50_000).cid])
    tell("ACK")
    store.pins.add(block(10, 50_000).cid)
    tell("ACK")
    store.pins.rm(block(10, 50_000).cid)
    tell("ACK")
    store.close()


def fill(path: str, start: str, count: str, quota: str) -> None:
    """Put blocks of 64 KiB, every fourth a kept one, in batches of eight; tell the most that was ever stored."""
    store = DiskStore(Path(path), quota=int(quota))
    tell("ready")
    wait()
    most = refused = 0
    data = bytes(65_536)
    for number in range(int(start), int(start) + int(count), 8):
        blocks = [false_block(at, data) for at in range(number, number + 8)]
        try:
            store.put_many(blocks, kept=number % 32 == 0)
        except QuotaExceeded:
            refused += 1
        most = max(most, store.statistics().bytes)
    tell(f"{most} {refused}")
    store.close()


def hold_view(path: str, number: str) -> None:
    """Open a view of a block and keep it until told to go on."""
    store = DiskStore(Path(path))
    with store.view([false_block(int(number), b"").cid]) as views:
        tell("ready")
        wait()
        assert views[0] is not None
        tell(str(views[0].nbytes))


def lease(path: str, size: str, *numbers: str) -> None:
    """Lease blocks; each time when told to, tell the hash of what lies in their places, then whether they are lost."""
    lease = Leases(Path(path)).lease([block(int(number), int(size)).cid for number in numbers])
    views = lease.__enter__()
    tell("ready")
    while True:
        wait()
        tell(hashlib.sha256(b"".join(view for view in views if view is not None)).hexdigest())
        try:
            lease.check()
        except LeaseLost as error:
            tell(str(error))
        else:
            tell("held")


def read_leased(path: str, seed: str, rounds: str, span: str, size: str) -> None:
    """Hash blocks in place under leases; tell how many were right, false, and not known for a lost lease."""
    rng = random.Random(int(seed))
    cids = [block(number, int(size)).cid for number in range(int(span))]
    right = false = lost = 0
    tell("ready")
    wait()
    with Leases(Path(path)) as leases:
        for _ in range(int(rounds)):
            wanted = rng.sample(cids, 8)
            found = []
            try:
                with leases.lease(wanted) as views:
                    for cid, view in zip(wanted, views, strict=True):
                        if view is not None:
                            found.append(hashlib.sha256(view).digest() == cid.multihash[2:])
            except LeaseLost:
                lost += len(found)
            else:
                right += sum(found)
                false += found.count(False)
    tell(f"{right} {false} {lost}")


def shared_memory(parent: str) -> None:
    """Open a store in shared memory, tell where it is, and keep it until told to go on."""
    with SharedMemoryStore(MIB, parent=Path(parent)) as store:
        store.put_many([block(1, 5000)])
        tell(str(store.path))
        wait()
    tell("closed")


def warm(path: str) -> None:
    """Read a block five times, store its heat, and wait to be killed."""
    store = DiskStore(Path(path))
    store.put_many([block(1, 1000)], kept=True)
    for _ in range(5):
        store.get_many([block(1, 1000).cid])
    store.trim()
    tell("stored")
    wait()


def hold_garbage(path: str) -> None:
    """Enter a hold and keep it until killed."""
    store = DiskStore(Path(path))
    with store.hold():
        store.put_many([block(1, 1000)], kept=True)
        tell("ready")
        wait()


def limited(path: str, limit: str) -> None:
    """``full_disk`` where no file may grow beyond ``limit`` bytes."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), hard))
    full_disk(path, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard)))


def full_tmpfs(path: str) -> None:
    """``full_disk`` on a disk that has another file, which is removed."""
    ballast = Path(path) / "ballast"
    ballast.write_bytes(bytes(8 * MIB))
    full_disk(path + "/store", ballast.unlink)


def full_disk(path: str, free: object) -> None:
    """Write until the disk is full, read, free space, write again; what must hold is asserted here."""
    store = DiskStore(Path(path), quota=1 << 30)
    for kept in (True, False):
        stored = 0
        message = ""
        while not message:
            batch = [block(number, 200_000) for number in range(stored, stored + 4)]
            if not kept:
                batch = [block(-number, 200_000) for number in range(stored + 1, stored + 5)]
            try:
                store.put_many(batch, kept=kept)
                stored += 4
            except QuotaExceeded as error:
                message = str(error)
        assert path in message, message
        store.trim()  # it can neither evict nor store heat now, and that is no error
        assert not any(store.has_many([cid for cid, _data in batch])), "part of a refused batch was stored"
        if kept:
            assert stored, "nothing fits this disk"
            here = [block(number, 200_000) for number in range(stored)]
            assert store.get_many([cid for cid, _data in here]) == [data for _cid, data in here]
    assert callable(free)
    free()
    store.put_many([block(10_000, 200_000)], kept=True)
    store.close()
    store = DiskStore(Path(path), quota=1 << 30)
    assert all(store.has_many([cid for cid, _data in here] + [block(10_000, 200_000).cid]))
    assert not any(checked.problem for checked in store.verify())
    tell("passed")


def fork(path: str) -> None:
    """Use a store in a child that was forked off after it was opened."""
    store = DiskStore(Path(path))
    child = os.fork()
    if child == 0:
        try:
            store.has_many([block(1, 1000).cid])
        except NotRunning:
            tell("refused")
        os._exit(0)
    os.waitpid(child, 0)
    store.put_many([block(1, 1000)], kept=True)
    tell("parent goes on")


def little_address_space(path: str) -> None:
    """Open, write and reopen where a process may map 2 GiB."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, hard))
    for _ in range(2):
        with DiskStore(Path(path)) as store:
            store.put_many([block(number, MIB) for number in range(8)], kept=True)
            assert all(store.has_many([block(number, MIB).cid for number in range(8)]))
    tell("passed")


def small_map(path: str) -> None:
    """A store with a map of 64 MiB grows beyond it."""
    store = DiskStore(Path(path), map_bytes=64 * MIB)
    tell("ready")
    wait()
    for number in range(100):
        store.put_many([false_block(number, bytes(MIB))], kept=number % 2 == 0)
    tell("grown")
    wait()


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
