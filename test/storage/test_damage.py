"""Flipped bits in the file of a store: found when the block is read, never served, replaced when it comes again."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from ipfs_kit_py.storage.base import Problem, TierState
from ipfs_kit_py.storage.disk import DiskStore
from ipfs_kit_py.storage.memory import MemoryStore
from ipfs_kit_py.storage.tiers import TieredStore
from ipfs_kit_py.storage.verified import Verified
from test.storage.blocks import block

if TYPE_CHECKING:
    from pathlib import Path

    from ipfs_kit_py.core.cid import Block

BLOCKS = [block(number, 300) for number in range(5)] + [block(number, 50_000) for number in range(5, 10)]


def flip(path: Path, victim: Block) -> None:
    """One bit of the block, wherever it lies in the file, also in old pages."""
    data = bytes(victim.data)
    at = file_at = -1
    content = bytearray((path / "data.mdb").read_bytes())
    while (at := content.find(data[:200], at + 1)) >= 0:
        file_at = at + random.Random(1).randrange(200)
        content[file_at] ^= 4
        with (path / "data.mdb").open("r+b") as file:
            file.seek(file_at)
            file.write(bytes((content[file_at],)))
    assert file_at >= 0


def wrong(store: DiskStore) -> dict[bytes, Problem]:
    return {checked.multihash: checked.problem for checked in store.verify() if checked.problem is not None}


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("which", [2, 7], ids=["small", "large"])
@pytest.mark.parametrize("again_kept", [True, False])
def test_a_flipped_bit(tmp_path: Path, kept: bool, which: int, again_kept: bool) -> None:
    victim, others = BLOCKS[which], [one for at, one in enumerate(BLOCKS) if at != which]
    with DiskStore(tmp_path) as store:
        store.put_many(BLOCKS, kept=kept)
    flip(tmp_path / ("kept" if kept else "fetched"), victim)
    with DiskStore(tmp_path) as store:
        assert store.get_many([victim.cid]) == [None]
        assert store.has_many([victim.cid]) == [False]
        with store.view([victim.cid, others[0].cid]) as views:
            assert views[0] is None
            assert views[1] == others[0].data
        assert store.get_many([cid for cid, _data in others]) == [data for _cid, data in others]
        assert store.statistics().corrupt == 1
        assert store.tiers()[0].state is TierState.DAMAGED
        assert wrong(store) == {victim.cid.multihash: Problem.CORRUPT}
        store.put_many([victim], kept=again_kept)
        assert store.get_many([victim.cid]) == [victim.data]
        assert store.tiers()[0].state is TierState.OPEN
        assert wrong(store) == {}
    with DiskStore(tmp_path) as store:
        assert store.get_many([cid for cid, _data in BLOCKS]) == [data for _cid, data in BLOCKS]
        found = store.statistics()
        assert (found.blocks, found.bytes) == (10, 5 * 300 + 5 * 50_000)
        assert found.kept_blocks == (10 if kept else int(again_kept))


def test_verifying_finds_it_before_it_is_read(tmp_path: Path) -> None:
    with DiskStore(tmp_path) as store:
        store.put_many(BLOCKS, kept=True)
    flip(tmp_path / "kept", BLOCKS[8])
    with DiskStore(tmp_path) as store:
        assert store.has_many([BLOCKS[8].cid]) == [True]
        assert wrong(store) == {BLOCKS[8].cid.multihash: Problem.CORRUPT}
        assert store.has_many([BLOCKS[8].cid]) == [False]
        assert store.delete_many([BLOCKS[8].cid]) == 1
        assert wrong(store) == {}


def test_a_whole_copy_is_served_beside_a_false_one(tmp_path: Path) -> None:
    """Where another process fetched it before this one read it: kept and false here, fetched and whole there."""
    with DiskStore(tmp_path) as store:
        store.put_many([BLOCKS[7]], kept=True)
    flip(tmp_path / "kept", BLOCKS[7])
    with DiskStore(tmp_path) as store:
        fetched = store._use().fetched
        fetched.write(lambda txn: fetched.put(txn, [(BLOCKS[7].cid.multihash, BLOCKS[7].data, 50_000)]))
        assert store.get_many([BLOCKS[7].cid]) == [BLOCKS[7].data]
        assert store.statistics().corrupt == 1


def test_memory_does_not_take_a_false_block_from_the_disk(tmp_path: Path) -> None:
    with DiskStore(tmp_path) as store:
        store.put_many(BLOCKS)
    flip(tmp_path / "fetched", BLOCKS[1])
    tiers = TieredStore(MemoryStore(100_000), DiskStore(tmp_path))
    assert tiers.get_many([BLOCKS[1].cid, BLOCKS[2].cid]) == [None, BLOCKS[2].data]
    assert tiers.memory.has_many([BLOCKS[1].cid, BLOCKS[2].cid]) == [False, True]
    tiers.put_many([BLOCKS[1]])
    assert tiers.get_many([BLOCKS[1].cid]) == [BLOCKS[1].data]
    tiers.close()


def test_each_block_is_hashed_once() -> None:
    verified = Verified(slots=16)
    assert verified.check(BLOCKS[0].cid.multihash, BLOCKS[0].data)
    assert verified.check(BLOCKS[0].cid.multihash, b"not looked at any more")
    verified.forget([BLOCKS[0].cid.multihash])
    assert not verified.check(BLOCKS[0].cid.multihash, b"looked at again")
    assert repr(verified) == "<Verified 1 blocks are false>"
    verified.put([BLOCKS[0].cid.multihash])
    assert not verified.bad


def test_what_is_remembered_as_whole_is_bounded() -> None:
    """More blocks than places: some are hashed again, none is ever taken for another."""
    verified = Verified(slots=16)
    for one in BLOCKS * 3:
        assert verified.check(one.cid.multihash, one.data)
    for number in range(1000, 1100):
        assert not verified.check(block(number, 100).cid.multihash, b"false")
    assert verified.found_bad == len(verified.bad) == 100
