from __future__ import annotations

import multiprocessing
import sqlite3
from typing import TYPE_CHECKING

import pytest
import trio

from ipfs_kit_py.core.config import BOOK_FLUSH_BATCH, BOOK_FLUSH_SECONDS
from ipfs_kit_py.core.errors import BackendError
from ipfs_kit_py.net.book_store import BookStore
from ipfs_kit_py.net.bookkeeper import BookKeeper
from ipfs_kit_py.net.dial_plan import Provenance
from test.engine.test_address_book import ADDRESS, NOW, OWN, peer

if TYPE_CHECKING:
    from multiprocessing.queues import Queue
    from multiprocessing.synchronize import Barrier
    from pathlib import Path


def rows(path: Path) -> dict[bytes, bytes]:
    with sqlite3.connect(path) as db:
        found = dict(db.execute("SELECT peer, record FROM peers").fetchall())
    db.close()
    return found


def test_batches_are_written_replaced_and_removed(tmp_path: Path) -> None:
    store = BookStore(tmp_path / "peers.sqlite")
    store.open()
    store.write([(b"a", b"1"), (b"b", b"2")])
    store.write([(b"a", b"3"), (b"b", None), (b"c", None)])
    assert store.load() == [(b"a", b"3")]
    store.close()
    store.close()
    with pytest.raises(BackendError, match="not open"):
        store.load()


def test_a_file_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"peers\.sqlite cannot be opened"):
        BookStore(tmp_path / "nowhere" / "peers.sqlite").open()


def visit(folder: Path, barrier: Barrier, failures: Queue[str]) -> None:
    """One of several processes that open each file at the same moment, when it is not there yet."""
    for number in range(50):
        barrier.wait(60)
        store = BookStore(folder / f"{number}.sqlite")
        try:
            store.open()
            store.write([(b"peer", b"record")])
        except BackendError as error:
            failures.put(str(error))
        store.close()
    failures.put("")


def test_several_processes_may_open_and_close_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, failures = context.Barrier(4), context.Queue()
    children = [context.Process(target=visit, args=(tmp_path, barrier, failures)) for _ in range(4)]
    for child in children:
        child.start()
    found = []
    while found.count("") < 4:
        found.append(failures.get(timeout=60))
    for child in children:
        child.join()
    assert found == [""] * 4


def test_many_changes_are_written_at_once_and_few_after_a_while(tmp_path: Path) -> None:
    path = tmp_path / "peers.sqlite"

    async def scenario() -> None:
        keeper = BookKeeper(OWN, path, lambda: NOW)
        await keeper.open()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keeper.run)
            for number in range(BOOK_FLUSH_BATCH):
                keeper.add(peer(number), [ADDRESS], Provenance.SIGNED)
            with trio.fail_after(BOOK_FLUSH_SECONDS / 2):
                while len(rows(path)) < BOOK_FLUSH_BATCH:
                    await trio.sleep(0.05)
            keeper.add(peer(-1), [ADDRESS], Provenance.SIGNED)
            nursery.cancel_scope.cancel()
        assert len(rows(path)) == BOOK_FLUSH_BATCH
        await keeper.close()
        assert len(rows(path)) == BOOK_FLUSH_BATCH + 1

    trio.run(scenario)


def test_a_disk_that_takes_no_more_costs_the_changes_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "peers.sqlite"

    async def scenario() -> None:
        keeper = BookKeeper(OWN, path, lambda: NOW)
        await keeper.open()
        with sqlite3.connect(path) as db:
            db.execute("CREATE TRIGGER full BEFORE INSERT ON peers BEGIN SELECT RAISE(FAIL, 'disk is full'); END")
        db.close()
        keeper.add(peer(1), [ADDRESS], Provenance.SIGNED)
        await keeper.close()
        assert [row.text for row in keeper.get(peer(1))] == [ADDRESS]

    trio.run(scenario)
    assert "disk is full" in caplog.text
