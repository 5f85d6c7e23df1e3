"""Nothing kept is acknowledged before the disk has it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from ipfs_kit_py.core.errors import BackendError
from ipfs_kit_py.storage.disk import DiskStore
from test.storage.blocks import block
from test.storage.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Sync:
    """Stands between the store and the disk: records, can be stopped and made to fail."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()
        self.open.set()
        self.failure: Exception | None = None

    def __call__(self, flush: Callable[[], None]) -> None:
        self.events.append("sync begins")
        self.entered.release()
        assert self.open.wait(30)
        if self.failure is not None:
            raise self.failure
        flush()
        self.events.append("sync ends")


def actions(store: DiskStore) -> dict[str, Callable[[], object]]:
    store.put_many([block(2, 1000)])
    return {
        "put": lambda: store.put_many([block(1, 1000)], kept=True),
        "put again": lambda: store.put_many([block(1, 1000)], kept=True),
        "promote": lambda: store.promote([block(2, 1000).cid]),
        "promote again": lambda: store.promote([block(2, 1000).cid]),
        "pin": lambda: store.pins.add(block(2, 1000).cid),
        "unpin": lambda: store.pins.rm(block(2, 1000).cid),
    }


def test_every_acknowledgement_follows_a_sync(tmp_path: Path) -> None:
    sync = Sync()
    with DiskStore(tmp_path, sync=sync) as store:
        for action in actions(store).values():
            sync.events.clear()
            action()
            assert sync.events[-2:] == ["sync begins", "sync ends"]


def test_nothing_is_acknowledged_while_the_sync_lasts(tmp_path: Path) -> None:
    sync = Sync()
    with DiskStore(tmp_path, sync=sync) as store:
        sync.open.clear()
        writer = threading.Thread(
            target=lambda: (store.put_many([block(1, 1000)], kept=True), sync.events.append("acknowledged"))
        )
        writer.start()
        assert sync.entered.acquire(timeout=30)
        assert store.get_many([block(1, 1000).cid]) == [block(1, 1000).data], "readers need not wait for the disk"
        assert sync.events == ["sync begins"]
        sync.open.set()
        writer.join()
    assert sync.events == ["sync begins", "sync ends", "acknowledged"]


def test_a_sync_that_fails_acknowledges_nothing(tmp_path: Path) -> None:
    sync = Sync()
    with DiskStore(tmp_path, sync=sync) as store:
        sync.failure = BackendError("the disk is gone")
        for name, action in actions(store).items():
            with pytest.raises(BackendError, match="the disk is gone"):
                action()
            assert sync.events[-1] == "sync begins", name
        sync.failure = None
        store.put_many([block(1, 1000)], kept=True)
        assert sync.events[-1] == "sync ends"


def test_writers_that_come_during_a_sync_share_the_next(tmp_path: Path) -> None:
    """The running sync began before their commits and may not cover them; one after it covers them all."""
    sync = Sync()
    with DiskStore(tmp_path, sync=sync) as store:
        sync.open.clear()
        first = threading.Thread(target=lambda: store.put_many([block(0, 1000)], kept=True))
        first.start()
        assert sync.entered.acquire(timeout=30)
        others = [
            threading.Thread(target=lambda number=number: store.put_many([block(number, 1000)], kept=True))
            for number in range(1, 6)
        ]
        for thread in others:
            thread.start()
        databases = store._use()
        while databases.sync._tickets < 6:  # all have committed and wait
            threading.Event().wait(0.001)
        sync.open.set()
        for thread in (first, *others):
            thread.join()
    assert sync.events == ["sync begins", "sync ends"] * 2


ROOT_PAGES = 2 * 4096  # where LMDB has its two roots
STRACE = shutil.which("strace")
CALL = re.compile(r"(?:\[pid +\d+\] |\d+ +)?(\w+)\((\d+)<([^>]*)>(.*)= (-?\d+)")


@pytest.mark.skipif(STRACE is None, reason="strace is not installed")
def test_the_kernel_saw_the_sync_before_each_acknowledgement(tmp_path: Path) -> None:
    """By its system calls: all pages and the root were synced after they were written, and before the pipe was."""
    log = tmp_path / "log"
    calls = "trace=fdatasync,fsync,msync,sync_file_range,pwrite64,pwritev,pwritev2,write,writev"
    command = [str(STRACE), "-f", "-y", "-s", "16", "-e", calls, "-o", str(log)]
    command += [sys.executable, "-m", "test.storage.children", "acknowledge", str(tmp_path / "store")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if b"ptrace" in done.stderr:
        pytest.skip("this machine does not allow tracing")
    assert done.returncode == 0, done.stderr
    unsynced = acknowledged = written = 0
    pages_synced = True
    for line in log.read_text().splitlines():
        found = CALL.match(line)
        if found is None:
            continue
        name, _fd, path, arguments, result = found.groups()
        if path.endswith("kept/data.mdb"):
            assert int(result) >= 0
            if name == "fdatasync":
                unsynced = 0
                pages_synced = True
            else:
                is_root = name == "pwrite64" and int(arguments.rsplit(",", 1)[1].strip(" )")) < ROOT_PAGES
                if is_root:
                    assert pages_synced, "a root was written before its pages were on the disk"
                pages_synced = is_root
                unsynced += 1
                written += 1
        elif '"ACK' in arguments:
            assert unsynced == 0, "acknowledged before the disk had it"
            acknowledged += 1
    assert acknowledged == 9
    assert written >= 18
