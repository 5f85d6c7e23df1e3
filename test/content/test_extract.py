"""Fetched trees stay inside the folder that the user named."""

import os

import pytest

from ipfs_kit_py.content.extract import Extractor, check_name
from ipfs_kit_py.core.errors import InvalidName


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/", "a\0b", "../x"])
def test_a_name_that_would_leave_its_folder_is_refused(name):
    with pytest.raises(InvalidName):
        check_name(name)


@pytest.mark.parametrize("name", ["a", "...", "..a", "a b", "ünï", "-rf", "\x1b[31m", "a\\b"])
def test_odd_but_harmless_names_are_taken(name):
    assert check_name(name) == name


def test_files_directories_and_links_are_written(tmp_path):
    with Extractor(tmp_path / "out") as out:
        out.directory(("root", "empty"))
        file = out.file(("root", "sub", "file"))
        file.write([b"ab", memoryview(b"cd"), b""])
        file.finish()
        out.symlink(("root", "link"), "sub/file")
    assert (tmp_path / "out/root/sub/file").read_bytes() == b"abcd"
    assert (tmp_path / "out/root/empty").is_dir()
    assert os.readlink(tmp_path / "out/root/link") == "sub/file"


def test_many_parts_are_written_whole_and_in_order(tmp_path):
    parts = [bytes([i % 256]) * (i % 7) for i in range(3000)]
    with Extractor(tmp_path) as out:
        file = out.file(("file",))
        file.write(parts)
        file.finish()
    assert (tmp_path / "file").read_bytes() == b"".join(parts)


@pytest.mark.parametrize("path", [("..", "evil"), ("a", "..", "..", "evil"), ("a/../../evil",)])
def test_no_path_leaves_the_folder(tmp_path, path):
    with Extractor(tmp_path / "out") as out:
        for make in (out.directory, out.file, lambda p: out.symlink(p, "x")):
            with pytest.raises(InvalidName):
                make(path)
    assert not (tmp_path / "evil").exists()


def test_nothing_is_written_through_a_link_that_the_tree_made(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    with Extractor(tmp_path / "out") as out:
        out.symlink(("door",), str(outside))
        with pytest.raises(InvalidName):
            out.file(("door", "evil"))
        with pytest.raises(InvalidName):
            out.directory(("door", "evil"))
        file = out.file(("door",))  # a file of the link's name takes its place, not its target's
        file.write([b"x"])
        file.finish()
    assert not list(outside.iterdir())
    assert (tmp_path / "out/door").read_bytes() == b"x"
    assert not (tmp_path / "out/door").is_symlink()


def test_a_file_that_is_given_up_leaves_nothing(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    with Extractor(tmp_path) as out:
        file = out.file(("file",))
        file.write([b"half"])
        file.abandon()
    assert [item.name for item in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_no_descriptor_is_left_open(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    with Extractor(tmp_path) as out:
        for _ in range(20):
            file = out.file(("a", "b", "c"))
            file.finish()
            out.directory(("d", "e"))
            with pytest.raises(InvalidName):
                out.file(("a", "..", "c"))
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_fifo_or_link_in_the_way_is_replaced_and_never_opened(tmp_path):
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    folder = tmp_path / "out"
    folder.mkdir()
    os.mkfifo(folder / "file")  # to open it would wait for its reader
    (folder / "other").symlink_to(outside)
    os.mkfifo(folder / "link")
    with Extractor(folder) as out:
        for name in ("file", "other"):
            file = out.file((name,))
            file.write([b"new"])
            file.finish()
        out.symlink(("link",), "file")
    assert (folder / "file").read_bytes() == (folder / "other").read_bytes() == b"new"
    assert os.readlink(folder / "link") == "file"
    assert outside.read_bytes() == b"precious"


@pytest.mark.parametrize("kind", ["fifo", "link", "file"])
def test_what_is_no_directory_is_not_walked_through(tmp_path, kind):
    folder = tmp_path / "out"
    folder.mkdir()
    (tmp_path / "outside").mkdir()
    if kind == "fifo":
        os.mkfifo(folder / "door")
    elif kind == "link":
        (folder / "door").symlink_to(tmp_path / "outside")
    else:
        (folder / "door").write_bytes(b"")
    with Extractor(folder) as out:
        for make in (out.directory, out.file, lambda path: out.symlink(path, "x")):
            with pytest.raises(InvalidName, match="door"):
                make(("door", "deeper", "evil"))
    assert not list((tmp_path / "outside").iterdir())


@pytest.mark.parametrize("filled", [True, False])
def test_a_directory_gives_way_to_nothing_and_no_draft_is_left(tmp_path, filled):
    (tmp_path / "there").mkdir()
    if filled:
        (tmp_path / "there/file").write_bytes(b"x")
    with Extractor(tmp_path) as out:
        file = out.file(("there",))
        file.write([b"x"])
        with pytest.raises(OSError, match="there"):
            file.finish()
        with pytest.raises(OSError, match="there"):
            out.symlink(("there",), "x")
        with pytest.raises(OSError, match="there"):
            out.files([(("there",), b"x")])
    assert [item.name for item in tmp_path.iterdir()] == ["there"]
