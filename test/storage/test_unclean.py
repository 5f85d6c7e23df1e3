"""After a stop of the machine the cache is dropped unless all of it was on the disk; kept blocks stay."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ipfs_kit_py.core.errors import BackendError
from ipfs_kit_py.storage.disk import DiskStore
from ipfs_kit_py.storage.unclean import boot_id
from test.storage.blocks import block

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from test.storage.conftest import Child

KEPT, FETCHED = block(1, 5000), block(2, 5000)

pytestmark = pytest.mark.skipif(boot_id() is None, reason="this system does not name its boots")


def here(path: Path) -> tuple[bool, bool]:
    with DiskStore(path) as store:
        kept, fetched = store.has_many([KEPT.cid, FETCHED.cid])
        assert not [checked for checked in store.verify() if checked.problem]
        return kept, fetched


@pytest.fixture
def used(tmp_path: Path) -> Path:
    with DiskStore(tmp_path) as store:
        assert (tmp_path / "fetched.state").read_text().strip() == boot_id()
        store.put_many([KEPT], kept=True)
        store.put_many([FETCHED])
        assert (tmp_path / "fetched.state").read_text().strip() == boot_id()
    return tmp_path


def test_left_clean(used: Path) -> None:
    assert (used / "fetched.state").read_text().strip() == "clean"
    assert here(used) == (True, True)
    assert (used / "fetched.state").read_text().strip() == "clean", "reading does not make it dirty"


def test_only_the_process_died(used: Path) -> None:
    (used / "fetched.state").write_text(f"{boot_id()}\n")
    assert here(used) == (True, True)


@pytest.mark.parametrize("state", ["5f0e0c0e-0000-0000-0000-000000000000\n", "unknown\n", "", None])
def test_the_machine_stopped(used: Path, state: str | None, caplog: pytest.LogCaptureFixture) -> None:
    if state is None:
        (used / "fetched.state").unlink()
    else:
        (used / "fetched.state").write_text(state)
    assert here(used) == (True, False)
    assert "dropped" in caplog.text
    with DiskStore(used) as store:
        store.put_many([FETCHED])
    assert here(used) == (True, True)


def test_not_dropped_while_another_process_uses_it(used: Path, spawn: Callable[..., Child]) -> None:
    child = spawn("fill", used, 0, 8, 1 << 30)
    assert child.read() == "ready"
    (used / "fetched.state").write_text("another boot\n")
    assert here(used) == (True, True)
    child.go_on()


def test_a_damaged_cache_is_dropped(used: Path, caplog: pytest.LogCaptureFixture) -> None:
    (used / "fetched" / "data.mdb").write_bytes(b"torn" * 10_000)
    assert here(used) == (True, False)
    assert "damaged" in caplog.text


def test_damaged_kept_blocks_are_an_error_that_names_them(used: Path) -> None:
    (used / "kept" / "data.mdb").write_bytes(b"torn" * 10_000)
    with pytest.raises(BackendError, match=str(used / "kept")):
        DiskStore(used)


def test_a_creation_that_was_interrupted(tmp_path: Path) -> None:
    (tmp_path / "kept.new").mkdir()
    (tmp_path / "kept.new" / "data.mdb").write_bytes(bytes(100))
    with DiskStore(tmp_path) as store:
        store.put_many([KEPT], kept=True)
    assert here(tmp_path)[0]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BackendError, match="file"):
        DiskStore(tmp_path / "file" / "store")
