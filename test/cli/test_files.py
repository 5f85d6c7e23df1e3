"""The group ``files``, on a node for the command's length and on a daemon."""

import json

import pytest

from test.cli.test_cli import HELLO, Daemon, Shell


@pytest.fixture(params=["embedded", "daemon"])
def shell(request, tmp_path):
    found = Shell(tmp_path)
    if request.param == "embedded":
        yield found
        return
    daemon = Daemon(found)
    yield found
    assert daemon.stop() == (0, "")


def test_a_tree_is_written_moved_and_removed(shell, tmp_path):
    local = tmp_path / "local"
    local.write_bytes(b"from a file")
    assert shell.line("files", "ls") == ""
    shell.run("files", "write", "--create", "--parents", "/docs/hello", data=b"hello world")
    shell.run("files", "write", "-e", "/docs/local", local)
    assert shell.run("files", "write", "/docs/local", "--offset", "5", data=b"THE ") == b""
    assert shell.run("files", "read", "/docs/local") == b"from THE le"
    assert shell.run("files", "read", "/docs/local", "-o", "5", "-n", "3") == b"THE"
    assert shell.line("files", "ls", "/docs").splitlines() == ["hello", "local"]
    assert shell.line("files", "ls", "-l", "/docs").splitlines()[0] == f"hello\t{HELLO}\t11"
    assert shell.line("files", "flush", "/docs/hello") == HELLO
    assert shell.line("files", "stat", "/docs/hello").splitlines()[0] == HELLO
    shell.run("files", "mkdir", "/other")
    shell.run("files", "cp", f"/ipfs/{HELLO}", "/other/copy")
    shell.run("files", "mv", "/docs", "/other")
    assert shell.line("files", "ls", "-l").splitlines() == [f"other/\t{shell.line('files', 'flush', '/other')}\t0"]
    root = json.loads(shell.line("--json", "files", "rm", "-r", "/other/docs"))["Root"]
    assert shell.line("files", "flush") == root
    assert shell.run("cat", f"{root}/other/copy") == b"hello world"


def test_what_cannot_be_done_is_told_in_one_line(shell):
    for arguments, message in (
        (("ls", "/no"), "no 'no' in"),
        (("mkdir", "/a/b"), "ask for parents"),
        (("mkdir", "relative"), "begins with /"),
        (("rm", "/no"), "/no is not there"),
        (("rm", "/"), "the root cannot be removed"),
        (("cp", "/no", "/yes"), "no 'no' in"),
        (("mkdir", f"/ipfs/{HELLO}/a"), "cannot change"),
    ):
        errors = shell.fail("files", *arguments)
        assert message in errors
        assert errors.count("\n") == 1
