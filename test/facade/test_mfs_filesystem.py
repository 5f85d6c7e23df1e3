"""The writable view beyond what fsspec's own suite asks: versions, many at once, streams, transactions, refusals."""

from __future__ import annotations

import errno
import random
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import fsspec
import pytest

from ipfs_kit_py._backend import open_backend, sent_bytes
from ipfs_kit_py.core.config import NodeConfig
from ipfs_kit_py.ipfs_fsspec import IPFSFileSystem, MFSFileSystem
from test.daemon import Daemon

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 1 << 20
LARGE = random.Random(9).randbytes(9 * MIB + 999)


@pytest.fixture(params=["node", "daemon"])
def fs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MFSFileSystem]:
    if request.param == "node":
        found = MFSFileSystem(repo=tmp_path / "repo", offline=True)
        yield found
        found.close()
        return
    with Daemon(tmp_path / "repo") as daemon:
        found = MFSFileSystem(repo=daemon.repo)
        assert "OnDaemon" in repr(found.opened.backend)
        yield found
        found.close()


def test_every_change_is_a_version_that_stays_readable(fs: MFSFileSystem) -> None:
    empty = fs.root_cid
    fs.pipe("/a/b", b"first")
    first = fs.root_cid
    fs.pipe("/a/b", b"second")
    assert len({empty, first, fs.root_cid}) == 3
    assert fs.cat(f"ipfs://{first}/a/b") == b"first"
    assert fs.cat(f"/ipfs/{first}/a/b") == b"first"
    assert fs.cat("/a/b") == b"second"
    assert fs.cid("/a") == fs.info(f"/ipfs/{fs.root_cid}/a")["CID"] == fs.ukey("/a")
    with fs.open("/a/b") as file:
        fs.pipe("/a/b", b"third!")
        assert file.read() == b"second"  # as it was when it was opened
    fs.pipe("/a/b", b"first")
    assert fs.root_cid == first


def test_what_is_written_stays_with_the_repo(tmp_path: Path) -> None:
    options = {"repo": tmp_path / "repo", "offline": True}
    fs = MFSFileSystem(**options)
    fs.pipe({"/a": b"1", "/b/c": b"2"})
    root = fs.root_cid
    fs.close()
    again = fsspec.filesystem("mfs", **options)
    assert again.root_cid == root
    assert again.find("/") == ["/a", "/b/c"]
    again.close()


def test_streams(fs: MFSFileSystem) -> None:
    with fs.open("/deep/large", "wb", block_size=MIB) as file:
        for at in range(0, len(LARGE), 700_000):
            assert file.tell() == at
            file.write(LARGE[at : at + 700_000])
            assert not fs.exists("/deep/large")  # it appears when it is closed
    assert fs.cat("/deep/large") == LARGE
    with fs.open("/deep/large", "ab") as file:
        assert file.tell() == len(LARGE)
        file.write(b"end")
    assert fs.cat_file("/deep/large", -10) == (LARGE + b"end")[-10:]
    with fs.open("/new", "ab") as file:
        file.write(b"made")
    with fs.open("/new", "w") as file:
        file.write("text")
    with fs.open("/exclusive", "xb") as file:
        file.write(b"1")
    assert fs.cat(["/new", "/exclusive"]) == {"/new": b"text", "/exclusive": b"1"}


@pytest.mark.parametrize("size", [10, 3 * MIB])
def test_a_failed_write_leaves_what_was_there(fs: MFSFileSystem, size: int) -> None:
    fs.pipe("/file", b"old")
    before = fs.root_cid
    with suppress(ZeroDivisionError), fs.open("/file", "wb", block_size=MIB) as file:
        file.write(LARGE[:size])
        raise ZeroDivisionError
    assert fs.root_cid == before
    file = fs.open("/file", "wb", block_size=MIB)
    file.write(LARGE[:size])
    with pytest.warns(ResourceWarning, match="never closed"):
        file.__del__()
    assert fs.root_cid == before


def test_many_at_once_are_one_change(fs: MFSFileSystem, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "empty").mkdir(parents=True)
    for number in range(50):
        (tree / f"{number}.txt").write_bytes(b"%d" % number)
    fs.put(str(tree), "/put", recursive=True)
    assert len(fs.find("/put")) == 50
    assert fs.isdir("/put/empty")
    assert fs.cat("/put/42.txt") == b"42"
    fs.pipe({f"/pipe/{number}": b"%d" % number for number in range(50)})
    assert fs.cat("/pipe/42") == b"42"
    fs.put_file(str(tree / "7.txt"), "/seven")
    assert fs.cat("/seven") == b"7"
    with pytest.raises(FileExistsError):
        fs.pipe({"/new": b"", "/pipe/1": b""}, mode="create")
    assert not fs.exists("/new")


def test_transactions(fs: MFSFileSystem) -> None:
    before = fs.root_cid
    with fs.transaction:
        fs.pipe("/a/1", b"one")
        with fs.open("/a/2", "wb") as file:
            file.write(b"two")
        assert fs.root_cid == before
    assert fs.cat(["/a/1", "/a/2"]) == {"/a/1": b"one", "/a/2": b"two"}
    with fs.transaction, fs.open("/a/1", "ab") as file:
        file.write(b" and more")
    assert fs.cat("/a/1") == b"one and more"
    after = fs.root_cid
    with suppress(ZeroDivisionError), fs.transaction:
        fs.pipe("/a/3", b"three")
        raise ZeroDivisionError
    assert fs.root_cid == after
    fs.pipe("/a/4", b"four")
    assert fs.exists("/a/4")


def test_copies_and_moves(fs: MFSFileSystem) -> None:
    fs.pipe({"/a/x": b"x", "/a/deep/y": LARGE, "/file": b"f"})
    content = fs.cid("/a")
    fs.cp_file("/a/x", "/copies/x")
    fs.cp_file(f"ipfs://{content}/deep/y", "/copies/y")
    fs.cp_file("/file", "/copies/x")  # over what was there
    assert fs.cat("/copies/x") == b"f"
    assert fs.cid("/copies/y") == fs.cid("/a/deep/y")
    fs.copy(f"/ipfs/{content}", "/whole", recursive=True)
    assert fs.cid("/whole") == content
    fs.mv("/whole", "/moved/here")
    assert not fs.exists("/whole")
    assert fs.cid("/moved/here") == content
    fs.mv("/file", "/moved/")
    assert fs.cat("/moved/file") == b"f"
    with pytest.raises(FileNotFoundError):
        fs.mv("/nothing", "/anything")
    with pytest.raises(FileNotFoundError):
        fs.cp_file("/nothing", "/anything")


def test_directories_and_removal(fs: MFSFileSystem) -> None:
    fs.mkdir("/a/b")
    fs.makedirs("/a/b", exist_ok=True)
    with pytest.raises(FileExistsError):
        fs.mkdir("/a/b")
    with pytest.raises(FileExistsError):
        fs.makedirs("/a/b")
    with pytest.raises(FileNotFoundError):
        fs.mkdir("/no/parent", create_parents=False)
    fs.touch("/a/b/c")
    with pytest.raises(OSError, match="not empty") as caught:
        fs.rmdir("/a/b")
    assert caught.value.errno == errno.ENOTEMPTY
    with pytest.raises(IsADirectoryError):
        fs.rm("/a")
    with pytest.raises(IsADirectoryError):
        fs.pipe("/a/b", b"")
    with pytest.raises(NotADirectoryError):
        fs.pipe("/a/b/c/d", b"")
    with pytest.raises(FileNotFoundError):
        fs.rm("/nothing")
    with pytest.raises(NotADirectoryError):
        fs.rmdir("/a/b/c")
    fs.rm("/a/b/c")
    fs.rmdir("/a/b")
    assert fs.ls("/a") == []
    fs.touch("/a/file")
    fs.rm("/a", recursive=True)
    assert fs.ls("/") == []
    fs.pipe({"/1": b"", "/2/3": b"", "/2/4/5": b""})
    fs.rm("/2", recursive=True, maxdepth=1)
    assert fs.find("/") == ["/1", "/2/4/5"]
    fs.rm(["/1", "/2"], recursive=True)
    assert fs.find("/") == []
    fs.touch("/a")
    with pytest.raises(NotImplementedError):
        fs.touch("/a", truncate=False)


def test_content_is_refused_to_be_changed(fs: MFSFileSystem) -> None:
    fs.pipe("/a", b"a")
    content = f"/ipfs/{fs.root_cid}"
    changes: list[Any] = [
        lambda: fs.pipe(f"{content}/b", b""),
        lambda: fs.rm(f"{content}/a"),
        lambda: fs.mkdir(f"{content}/b"),
        lambda: fs.mv(f"{content}/a", "/b"),
        lambda: fs.open(f"{content}/a", "wb"),
        lambda: fs.cp_file("/a", "ipns://name/a"),
    ]
    for change in changes:
        with pytest.raises(PermissionError):
            change()


def test_content_of_peers_is_copied_without_being_fetched() -> None:
    author = open_backend(NodeConfig())
    cid = author.row("add", uploads=[sent_bytes(LARGE)])["Hash"]
    fs = IPFSFileSystem(repo=None, peers=author.row("id")["Addresses"], writable=True)
    fs.cp_file(f"ipfs://{cid}", "/copy")
    assert fs.opened.backend.row("stats")["exchange"]["blocks_received"] <= 2
    assert fs.cat("/copy") == LARGE
    fs.close()
    author.close()


def test_what_cannot_be_written_is_refused_while_it_is_sent(fs: MFSFileSystem) -> None:
    fs.pipe({"/file": b"f", "/folder/x": b"x"})
    before = fs.root_cid
    file = fs.open("/file/below", "wb", block_size=MIB)
    with pytest.raises(NotADirectoryError):  # noqa: PT012 - at a write or at the end, whatever comes first
        file.write(LARGE)
        file.close()
    file.discard()
    with pytest.raises(IsADirectoryError):
        fs.open("/folder", "wb")
    with pytest.raises((IsADirectoryError, NotADirectoryError)):
        fs.pipe({"/new": b"n", "/file/below": b"b"})
    assert fs.root_cid == before
