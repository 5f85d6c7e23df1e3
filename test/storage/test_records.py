"""Records beside the blocks: the same in memory and on the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ipfs_kit_py.core.config import MAX_RECORD_BYTES
from ipfs_kit_py.core.errors import LocalError
from ipfs_kit_py.storage.disk import DiskStore
from ipfs_kit_py.storage.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ipfs_kit_py.storage.base import LocalStore


@pytest.fixture(params=["memory", "disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LocalStore]:
    made: LocalStore = MemoryStore() if request.param == "memory" else DiskStore(tmp_path)
    yield made
    made.close()


def test_a_record_is_read_changed_and_deleted(store: LocalStore) -> None:
    assert store.records.get(b"a", b"key") is None
    store.records.put(b"a", b"key", b"one")
    store.records.put(b"a", b"key", b"two")
    assert store.records.get(b"a", b"key") == b"two"
    assert store.records.delete(b"a", b"key")
    assert not store.records.delete(b"a", b"key")
    assert store.records.get(b"a", b"key") is None


def test_spaces_do_not_mix_and_list_in_order(store: LocalStore) -> None:
    for space in (b"a", b"ab", b"b"):
        for number in range(700, 0, -1):
            if number % 100 == 0:
                store.records.put(space, b"%03d" % number, space)
    assert list(store.records.items(b"a")) == [(b"%d00" % number, b"a") for number in range(1, 8)]
    assert list(store.records.items(b"c")) == []


def test_what_does_not_fit_is_refused(store: LocalStore) -> None:
    with pytest.raises(LocalError, match="larger"):
        store.records.put(b"a", b"key", bytes(MAX_RECORD_BYTES + 1))
    with pytest.raises(LocalError, match="at most 500"):
        store.records.put(b"a", bytes(500), b"")


def test_records_are_there_after_the_store_was_closed(tmp_path: Path) -> None:
    with_record = DiskStore(tmp_path)
    with_record.records.put(b"a", b"key", b"value")
    with_record.close()
    again = DiskStore(tmp_path)
    assert again.records.get(b"a", b"key") == b"value"
    again.close()
