"""The version of a store's layout."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ipfs_kit_py.core.errors import StorageError
from ipfs_kit_py.storage.disk import DiskStore
from ipfs_kit_py.storage.format import VERSION
from test.storage.blocks import block

if TYPE_CHECKING:
    from pathlib import Path


def test_a_new_store_says_its_version(tmp_path: Path) -> None:
    DiskStore(tmp_path).close()
    assert (tmp_path / "format").read_text() == f"{VERSION}\n"


def test_a_store_from_before_versions_opens(tmp_path: Path) -> None:
    with DiskStore(tmp_path) as store:
        store.put_many([block(1, 5000)], kept=True)
    (tmp_path / "format").unlink()
    with DiskStore(tmp_path) as store:
        assert store.has_many([block(1, 5000).cid]) == [True]
    assert (tmp_path / "format").read_text() == f"{VERSION}\n"


@pytest.mark.parametrize("text", [str(VERSION + 1), "99999999999999999999", "", "x", "-1", "0"])
def test_another_version_is_refused_and_left_alone(tmp_path: Path, text: str) -> None:
    (tmp_path / "format").write_text(text)
    with pytest.raises(StorageError, match="format"):
        DiskStore(tmp_path)
    assert {entry.name for entry in tmp_path.iterdir()} == {"format", "open.lock"}
    (tmp_path / "format").write_text(str(VERSION))
    DiskStore(tmp_path).close()
