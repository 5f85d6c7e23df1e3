"""Local trees that are added: what is no file, directory or link is refused, and nothing is waited for."""

import os
import socket

import pytest

from ipfs_kit_py.content.files import tree
from ipfs_kit_py.core.config import MAX_DAG_DEPTH
from ipfs_kit_py.core.errors import LocalError


def rows(path, **options):
    return [(entry.kind, entry.path, entry.target) for entry in tree(path, recursive=True, **options)]


@pytest.mark.parametrize("kind", ["fifo", "socket", "device"])
def test_what_is_no_file_is_refused_by_name(tmp_path, kind, request):
    path = tmp_path / "tree" / "sub" / "odd"
    path.parent.mkdir(parents=True)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        server = socket.socket(socket.AF_UNIX)
        request.addfinalizer(server.close)
        server.bind(os.path.relpath(path))  # the address itself must be short
    else:
        path = "/dev/null"
    for start in [path] if kind == "device" else [path, tmp_path / "tree"]:
        with pytest.raises(LocalError, match="neither a file"):
            rows(type(tmp_path)(start))


def test_links_are_added_as_they_are_and_loops_never_followed(tmp_path):
    root = tmp_path / "tree"
    root.mkdir()
    (root / "self").symlink_to("self")
    (root / "up").symlink_to("..")
    (root / "one").symlink_to("two")
    (root / "two").symlink_to("one")
    (root / "gone").symlink_to("/nowhere/at/all")
    assert rows(root) == [
        ("directory", "tree", ""),
        ("symlink", "tree/gone", "/nowhere/at/all"),
        ("symlink", "tree/one", "two"),
        ("symlink", "tree/self", "self"),
        ("symlink", "tree/two", "one"),
        ("symlink", "tree/up", ".."),
    ]


@pytest.mark.parametrize("depth", [MAX_DAG_DEPTH + 1, 200])
def test_a_tree_too_deep_to_be_read_again_is_refused(tmp_path, depth):
    here = os.open(tmp_path, os.O_RDONLY)
    for _level in range(depth):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    with pytest.raises(LocalError, match="deeper than"):
        rows(tmp_path / "d")


def test_a_folder_that_vanishes_or_is_closed_to_us_is_a_clear_error(tmp_path):
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    entries = tree(tmp_path / "tree", recursive=True)
    assert next(entries).path == "tree"
    (tmp_path / "tree" / "sub").rmdir()
    with pytest.raises(LocalError, match="sub"):
        next(entries)
    with pytest.raises(LocalError, match="nothing here"):
        rows(tmp_path / "nothing here")
