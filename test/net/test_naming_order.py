"""No name goes back: not over restarts, other machines, evictions or slow publications."""

from __future__ import annotations

import pytest
import trio

from ipfs_kit_py.core.config import (
    IPNS_LIFETIME_SECONDS,
    IPNS_MARKS,
    IPNS_PARALLEL,
    IPNS_REPUBLISH_MIN_SECONDS,
    IPNS_REPUBLISH_SECONDS,
    IPNS_RETRY_SECONDS,
)
from ipfs_kit_py.core.errors import InvalidRecord, PeerUnreachable
from ipfs_kit_py.crypto import ipns
from ipfs_kit_py.crypto.keys import PrivateKey
from ipfs_kit_py.routing.kept_names import Kept, Mark
from ipfs_kit_py.routing.names import Names, interval
from ipfs_kit_py.routing.naming import Naming
from test.net.names import KEY, NAME, OTHER, START, TEXT, Folder, Memory, Shelf, clock, kept_by, naming


def test_another_machines_record_is_renewed_and_never_gone_back_behind() -> None:
    async def play(names: Naming, shelf: Shelf, folder: Folder) -> None:
        await names.publish(KEY, "/ipfs/here", ttl=60)
        shelf.values[ipns.record_key(NAME)] = ipns.create(KEY, "/ipfs/there", 7, clock(), ttl=30)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(names.run)
            await trio.sleep(IPNS_REPUBLISH_SECONDS + 1)
            nursery.cancel_scope.cancel()
        sent = ipns.verify(shelf.values[ipns.record_key(NAME)], NAME, clock())
        assert (sent.value, sent.sequence, sent.ttl) == ("/ipfs/there", 7, 30)
        assert sent.expires == START + IPNS_REPUBLISH_SECONDS + IPNS_LIFETIME_SECONDS
        assert kept_by(folder).raw == sent.raw
        assert (await names.publish(KEY, "/ipfs/here")).sequence == 8

    naming(play)


def test_one_that_ends_later_than_ours_would_is_sent_as_it_is() -> None:
    async def play(names: Naming, shelf: Shelf, _folder: Folder) -> None:
        await names.publish(KEY, "/ipfs/one", lifetime=3600)
        longer = ipns.create(KEY, "/ipfs/one", 0, clock(), lifetime=10 * IPNS_LIFETIME_SECONDS)
        shelf.values[ipns.record_key(NAME)] = longer
        async with trio.open_nursery() as nursery:
            nursery.start_soon(names.run)
            await trio.sleep(1801)
            nursery.cancel_scope.cancel()
        assert (len(shelf.puts), shelf.values[ipns.record_key(NAME)]) == (2, longer)

    naming(play)


def test_a_newer_record_that_was_seen_and_is_not_found_now_is_not_gone_back_behind() -> None:
    async def play(names: Naming, shelf: Shelf, folder: Folder) -> None:
        await names.publish(KEY, "/ipfs/here")
        ours = shelf.values[ipns.record_key(NAME)]
        memory = Memory()
        memory.marks[NAME] = Mark(9, int(START + IPNS_LIFETIME_SECONDS) * 10**9)
        again = Naming(shelf, folder, clock, marks=memory)
        await again.keep(KEY)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(again.run)
            await trio.sleep(IPNS_REPUBLISH_SECONDS + 1)
            assert (len(shelf.puts), shelf.values[ipns.record_key(NAME)]) == (1, ours)
            nursery.cancel_scope.cancel()
        assert (await again.publish(KEY, "/ipfs/here")).sequence == 10

    naming(play)


def test_two_processes_that_publish_one_name_at_once_use_two_sequences() -> None:
    async def play(names: Naming, shelf: Shelf, folder: Folder) -> None:
        other = Naming(shelf, folder, clock)
        found = []

        async def publish(by: Naming, path: str) -> None:
            found.append((await by.publish(KEY, path)).sequence)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(publish, names, "/ipfs/one")
            nursery.start_soon(publish, other, "/ipfs/two")
        assert sorted(found) == [0, 1]
        assert Kept.decode(folder.records[NAME]).raw == shelf.values[ipns.record_key(NAME)]

    naming(play)


def test_a_short_lifetime_is_renewed_before_it_ends_and_stays_short() -> None:
    assert interval(IPNS_LIFETIME_SECONDS) == IPNS_REPUBLISH_SECONDS
    assert interval(1) == IPNS_REPUBLISH_MIN_SECONDS

    async def play(names: Naming, shelf: Shelf, folder: Folder) -> None:
        await names.publish(KEY, "/ipfs/one", lifetime=600)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(names.run)
            for _ in range(20):
                await trio.sleep(299)
                found = ipns.verify(shelf.values[ipns.record_key(NAME)], NAME, clock())
                assert found.expires <= clock() + 600
            nursery.cancel_scope.cancel()
        assert len(shelf.puts) == 1 + 20 * 299 // 300
        renewed = len(shelf.puts)
        restarted = Naming(shelf, folder, clock)
        await restarted.keep(KEY)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(restarted.run)
            await trio.sleep(19)
            assert len(shelf.puts) == renewed
            await trio.sleep(2)
            assert len(shelf.puts) == renewed + 1
            nursery.cancel_scope.cancel()

    naming(play)


def test_the_same_path_for_a_shorter_time_is_a_new_sequence() -> None:
    async def play(names: Naming, _shelf: Shelf, _folder: Folder) -> None:
        await names.publish(KEY, "/ipfs/one")
        assert (await names.publish(KEY, "/ipfs/one", lifetime=60)).sequence == 1  # nobody takes what ends earlier
        with pytest.raises(InvalidRecord, match="longer than the lifetime"):
            await names.publish(KEY, "/ipfs/one", lifetime=60, ttl=61)
        assert (await names.publish(KEY, "/ipfs/two", lifetime=60)).ttl == 60

    naming(play)


def test_no_name_goes_back_after_it_left_the_cache_nor_after_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ipfs_kit_py.routing.names.IPNS_CACHE_NAMES", 1)

    async def play(_names: Naming, shelf: Shelf, folder: Folder) -> None:
        memory = Memory()
        names = Naming(shelf, folder, clock, marks=memory)
        key = ipns.record_key(NAME)
        old, new = (ipns.create(KEY, f"/ipfs/{n}", n, clock()) for n in (1, 2))
        shelf.values[key] = new
        shelf.values[ipns.record_key(OTHER.peer_id())] = ipns.create(OTHER, "/ipfs/other", 0, clock())
        assert await names.resolve(TEXT) == "/ipfs/2"
        assert await names.resolve(str(OTHER.peer_id())) == "/ipfs/other"
        shelf.values[key] = old
        with pytest.raises(InvalidRecord, match="older than one seen before"):
            await names.resolve(TEXT)
        restarted = Naming(shelf, folder, clock, marks=memory)
        with pytest.raises(InvalidRecord, match="older than one seen before"):
            await restarted.resolve(TEXT)
        shelf.values[key] = new
        assert await restarted.resolve(TEXT) == "/ipfs/2"
        await trio.sleep(IPNS_LIFETIME_SECONDS + 1)
        shelf.values[key] = ipns.create(KEY, "/ipfs/anew", 0, clock())
        assert await restarted.resolve(TEXT) == "/ipfs/anew"  # the newer one has ended: its owner may begin again
        last = Naming(shelf, folder, clock, marks=memory)
        assert await last.resolve(TEXT) == "/ipfs/anew"
        assert set(memory.marks) == {NAME}  # what has ended is not remembered

    naming(play)


def test_our_own_name_is_answered_with_our_record_where_the_network_has_none_or_an_older_one() -> None:
    async def play(names: Naming, shelf: Shelf, folder: Folder) -> None:
        await names.publish(KEY, "/ipfs/old")
        key, memory = ipns.record_key(NAME), Memory()
        old = shelf.values[key]
        await Naming(shelf, folder, clock, marks=memory).publish(KEY, "/ipfs/new")
        for value in (old, None):
            shelf.values.pop(key) if value is None else shelf.values.__setitem__(key, value)
            restarted = Naming(shelf, folder, clock, marks=memory)
            assert await restarted.resolve(TEXT) == "/ipfs/new"

    naming(play)


def test_a_disk_that_fails_stops_nobody_from_following() -> None:
    async def play(_names: Naming, shelf: Shelf, folder: Folder) -> None:
        memory = Memory()
        memory.broken = True
        names = Naming(shelf, folder, clock, marks=memory)
        shelf.values[ipns.record_key(NAME)] = ipns.create(KEY, "/ipfs/x", 0, clock())
        assert await names.resolve(TEXT) == "/ipfs/x"

    naming(play)


def test_a_slow_publication_holds_up_its_own_name_alone() -> None:
    async def play(names: Naming, shelf: Shelf, _folder: Folder) -> None:
        shelf.slow[ipns.record_key(NAME)] = 100
        done: list[str] = []

        async def publish(key: PrivateKey, value: str) -> None:
            record = await names.publish(key, value)
            done.append(f"{value} {record.sequence} {trio.current_time():g}")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(publish, KEY, "/ipfs/slow")
            await trio.sleep(1)
            nursery.start_soon(publish, KEY, "/ipfs/later")
            nursery.start_soon(publish, OTHER, "/ipfs/quick")
        assert done == ["/ipfs/quick 0 1", "/ipfs/slow 0 100", "/ipfs/later 1 200"]

    naming(play)


def test_names_are_renewed_a_few_at_once() -> None:
    async def play(names: Naming, shelf: Shelf, _folder: Folder) -> None:
        keys = [PrivateKey.generate() for _ in range(2 * IPNS_PARALLEL)]
        for key in keys:
            await names.publish(key, "/ipfs/x")
        shelf.puts.clear()
        shelf.slow = {ipns.record_key(key.peer_id()): 100.0 for key in keys[:-1]}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(names.run)
            await trio.sleep(IPNS_REPUBLISH_SECONDS + 250)
            nursery.cancel_scope.cancel()
        due = START + IPNS_REPUBLISH_SECONDS
        waves = [100.0] * (IPNS_PARALLEL + 1) + [200.0] * (IPNS_PARALLEL - 1)
        assert sorted(when - due for when in shelf.puts) == waves

    naming(play)


def test_a_name_forgotten_while_it_is_published_is_not_kept_alive() -> None:
    async def play(names: Naming, shelf: Shelf, _folder: Folder) -> None:
        shelf.slow[ipns.record_key(NAME)] = 10
        async with trio.open_nursery() as nursery:
            nursery.start_soon(names.publish, KEY, "/ipfs/x")
            await trio.sleep(1)
            names.forget(NAME)
        assert names.statistics().ours == 0

    naming(play)


def test_kept_here_and_published_later_where_nobody_can_be_told_now() -> None:
    async def play(names: Naming, shelf: Shelf, _folder: Folder) -> None:
        shelf.down = True
        with pytest.raises(PeerUnreachable):
            await names.publish(KEY, "/ipfs/x")
        await names.publish(OTHER, "/ipfs/y", offline=True)
        assert await names.resolve(str(OTHER.peer_id())) == "/ipfs/y"
        shelf.down = False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(names.run)
            await trio.sleep(IPNS_RETRY_SECONDS + 1)
            nursery.cancel_scope.cancel()
        assert len(shelf.values) == 2

    naming(play)


def test_marks_are_bounded_and_ours_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    assert IPNS_MARKS > 3
    monkeypatch.setattr("ipfs_kit_py.routing.names.IPNS_MARKS", 3)
    names = Names()
    names.on_ours(NAME, START, 3600)
    names.on_record(NAME, ipns.create(KEY, "/ipfs/x", 0, START), START)
    others = [PrivateKey.generate() for _ in range(6)]
    for key in others:
        names.on_record(key.peer_id(), ipns.create(key, "/ipfs/x", 0, START), START)
    assert names.statistics().marks == 3
    assert names.mark(NAME, START) is not None
    changes = names.take_marks()
    assert [key.peer_id() for key in others if changes[key.peer_id()] is not None] == [
        key.peer_id() for key in others[-2:]
    ]
    assert names.take_marks() == {}


@pytest.mark.parametrize("data", [b"", b"\x02" + bytes(16), b"\x01" + bytes(16), b"\x01" + b"\x7f\xf0" + bytes(14)])
def test_what_was_kept_and_is_damaged_counts_for_nothing(data: bytes) -> None:
    with pytest.raises(InvalidRecord):
        Kept.decode(data)
    with pytest.raises(InvalidRecord):
        Mark.decode(data[:15])

    async def play(names: Naming, shelf: Shelf, folder: Folder) -> None:
        folder.records[NAME] = data
        await names.keep(KEY)
        assert names.statistics().ours == 0
        shelf.values[ipns.record_key(NAME)] = ipns.create(KEY, "/ipfs/far", 41, clock())
        assert (await names.publish(KEY, "/ipfs/new")).sequence == 42
        assert Kept.decode(kept_by(folder).encode()) == kept_by(folder)

    naming(play)
