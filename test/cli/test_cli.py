"""The command line as a user runs it: exit codes, what is printed, with a daemon and without."""

import json
import os
import pty
import random
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from ipfs_kit_py.libp2p_peer import IPFSLibp2pPeer

HELLO = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
COMMAND = [sys.executable, "-m", "ipfs_kit_py.cli"]


class Shell:
    """Runs commands on one repo."""

    def __init__(self, folder):
        self.folder = folder
        self.repo = folder / "repo"
        self.env = {**os.environ, "IPFS_KIT_PATH": str(self.repo), "COLUMNS": "100"}

    def run(self, *arguments, data=None, code=0):
        done = subprocess.run(
            [*COMMAND, *map(str, arguments)],
            input=data,
            capture_output=True,
            env=self.env,
            cwd=self.folder,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, (arguments, done.stdout[-500:], done.stderr[-2000:])
        return done.stdout

    def line(self, *arguments, data=None):
        return self.run(*arguments, data=data).decode().strip()

    def fail(self, *arguments, data=None, code=1):
        done = subprocess.run(
            [*COMMAND, *map(str, arguments)],
            input=data,
            capture_output=True,
            env=self.env,
            cwd=self.folder,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, (arguments, done.stdout[-500:], done.stderr[-2000:])
        return done.stderr.decode()


class Daemon:
    """A daemon on a shell's repo, ended with the test."""

    def __init__(self, shell):
        shell.run("config", "api", '"127.0.0.1:0"')
        self.process = subprocess.Popen(
            [*COMMAND, "--json", "daemon"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=shell.env, text=True
        )
        self.hello = json.loads(self.process.stdout.readline())

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors


@pytest.fixture
def shell(tmp_path):
    return Shell(tmp_path)


@pytest.fixture(params=["embedded", "daemon"])
def any_shell(request, tmp_path):
    """The same verbs on a node for the command's length, and on a daemon."""
    shell = Shell(tmp_path)
    if request.param == "embedded":
        yield shell
        return
    daemon = Daemon(shell)
    yield shell
    code, errors = daemon.stop()
    assert (code, errors) == (0, "")


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    (root / "sub").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "a.txt").write_bytes(b"hello world")
    (root / "sub/b.bin").write_bytes(random.Random(1).randbytes(3_000_000))
    (root / "link").symlink_to("a.txt")
    return root


def same_tree(one: Path, two: Path):
    names = sorted(str(item.relative_to(one)) for item in one.rglob("*"))
    assert names == sorted(str(item.relative_to(two)) for item in two.rglob("*"))
    for name in names:
        if (one / name).is_symlink():
            assert os.readlink(one / name) == os.readlink(two / name)
        elif (one / name).is_file():
            assert (one / name).read_bytes() == (two / name).read_bytes()


def test_trees_go_in_and_come_out(any_shell, tree):
    lines = any_shell.line("add", "-r", tree).splitlines()
    assert lines[0] == f"added {HELLO} tree/a.txt"
    root = any_shell.line("add", "-rQ", tree)
    assert lines[-1] == f"added {root} tree"
    listed = any_shell.line("ls", root).splitlines()
    assert f"{HELLO} 11 a.txt" in listed
    assert any(line.endswith(" - sub/") for line in listed)
    assert any_shell.run("cat", f"{root}/a.txt") == b"hello world"
    assert any_shell.run("cat", "--offset", "6", "--length", "3", f"/ipfs/{root}/a.txt") == b"wor"
    any_shell.run("get", root, "-o", "out")
    same_tree(tree, any_shell.folder / "out")
    any_shell.run("get", f"{root}/a.txt")
    assert (any_shell.folder / "a.txt").read_bytes() == b"hello world"
    (any_shell.folder / "folder").mkdir()
    any_shell.run("get", f"{root}/a.txt", "-o", "folder")
    assert (any_shell.folder / "folder/a.txt").read_bytes() == b"hello world"


def test_standard_input_and_import_options(any_shell):
    assert any_shell.line("add", "-Q", "-", data=b"hello world") == HELLO
    v0 = "Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD"
    assert any_shell.line("add", "-Q", "--profile", "unixfs-v0-2015", "-", data=b"hello world") == v0
    assert any_shell.line("add", "-Qn", "-", data=b"never stored") != any_shell.line("add", "-Q", "-", data=b"stored")
    wrapped = any_shell.line("add", "-Qw", "--stdin-name", "name", "-", data=b"hello world")
    assert any_shell.run("cat", f"{wrapped}/name") == b"hello world"


def test_blocks_values_archives_and_pins(any_shell, tree):
    block = any_shell.line("block", "put", "-", data=b"hello world")
    assert block == HELLO
    assert any_shell.run("block", "get", block) == b"hello world"
    assert any_shell.line("block", "stat", block) == f"Key: {block}\nSize: 11"
    root = any_shell.line("add", "-rQ", tree)
    value = any_shell.line("dag", "put", "-", data=json.dumps({"a": [1, {"/": root}]}).encode())
    assert json.loads(any_shell.run("dag", "get", value)) == {"a": [1, {"/": root}]}
    assert any_shell.line("dag", "get", f"{value}/a/0") == "1"
    assert f"{value} " in any_shell.line("dag", "stat", value)
    (any_shell.folder / "x.car").write_bytes(any_shell.run("dag", "export", value))
    assert f"pinned root {value}" in any_shell.line("dag", "import", "x.car")
    pins = any_shell.line("pin", "ls", "--type", "recursive")
    assert f"{root} recursive tree" in pins
    assert f"{value} recursive" in pins
    assert any_shell.line("pin", "rm", value) == f"unpinned {value}"
    assert "is pinned" in any_shell.fail("block", "rm", root)
    removed = any_shell.line("repo", "gc")
    assert removed.startswith("removed ")
    assert "all blocks validated" in any_shell.line("repo", "verify")
    assert json.loads(any_shell.run("--json", "repo", "stat"))["NumObjects"] > 3
    assert any_shell.line("pin", "add", root) == f"pinned {root}"


def test_failures_are_one_line_that_says_what_and_what_to_do(any_shell, tree):
    for arguments, words in [
        (("cat", "nonsense"), "not a CID"),
        (("pin", "rm", HELLO), "not pinned"),
        (("ls", HELLO + "/a"), "raw bytes"),
        (("add", tree), "recursive"),
        (("add", "missing-file"), "missing-file"),
        (("dag", "import", tree / "a.txt"), "CAR"),
        (("swarm", "connect", "/ip4/127.0.0.1/tcp/1"), "peer id"),
        (("add", "--profile", "x", tree / "a.txt"), "unixfs-v1-2025"),
    ]:
        if arguments[0] == "pin":
            any_shell.run("add", "--no-pin", tree / "a.txt")
        error = any_shell.fail(*arguments)
        assert error.startswith("Error: ")
        assert error.count("\n") == 1
        assert words in error, (arguments, error)


def test_names_from_strangers_are_escaped(any_shell):
    name = "evil\x1b[31m"
    folder = any_shell.folder / "d"
    folder.mkdir()
    (folder / name).write_bytes(b"x")
    root = any_shell.line("add", "-rQ", folder)
    listed = any_shell.run("ls", root)
    assert b"\x1b" not in listed
    assert rb"evil\x1b[31m" in listed


def test_wrong_usage_is_exit_code_2(shell):
    for arguments in (("bogus",), ("cat",), ("add", "--nope", "x"), ("--timeout", "soon", "id")):
        shell.run(*arguments, code=2)


def test_offline_and_timeouts(shell):
    assert "offline" in shell.fail("--offline", "cat", HELLO)
    assert "--timeout" in shell.fail("--timeout", "0.3", "cat", HELLO)


def test_init_config_and_version(shell):
    first = shell.line("init")
    assert str(shell.repo) in first
    for said in ("config.toml", "identity", "role: leecher", "ipfs-kit add FILE", "ipfs-kit doctor"):
        assert said in first
    assert "was there already" in shell.line("init")
    identity = json.loads(shell.run("id"))
    assert identity["ID"] in first
    shell.run("config", "role", "worker")
    assert json.loads(shell.run("config")) == {"role": "worker"}
    assert shell.line("config", "role") == '"worker"'
    assert "king" in shell.fail("config", "role", "king")
    assert "no setting" in shell.fail("config", "nope", "1")
    assert shell.line("config", "storage_max") == str(20 << 30)  # a worker's
    assert "storage_max is int" in shell.fail("config", "storage_max", "1.5")
    shell.run("config", "role", "--unset")
    assert json.loads(shell.run("config")) == {}
    assert shell.line("version").startswith("ipfs-kit ")
    (shell.repo / "config.toml").write_text("= broken")
    assert "config.toml" in shell.fail("id")


def test_counters_and_addresses(any_shell):
    any_shell.run("add", "-", data=b"counted")
    counters = json.loads(any_shell.run("stats"))
    assert counters["store"]["kept_blocks"] == 1
    assert counters["store"]["kept_bytes"] == len(b"counted")
    with IPFSLibp2pPeer() as peer:
        address = peer.get_multiaddrs()[0]
        found = any_shell.line("--peer", address, "swarm", "addrs")
        assert peer.get_peer_id() in found
        assert address.rpartition("/p2p/")[0] in found
        assert json.loads(any_shell.run("--peer", address, "stats"))["network"]["peers"] == 1


def test_tiers_are_shown_warmed_emptied_and_mended(any_shell, tree):
    root = any_shell.line("add", "-Q", "-r", tree)
    any_shell.run("cat", f"{root}/a.txt")
    table = any_shell.line("cache", "stat").splitlines()
    assert table[0].split()[:2] == ["tier", "state"]
    assert {"memory", "disk"} <= {row.split()[0] for row in table}
    assert "now in memory" in any_shell.line("cache", "promote", root)
    assert "now in disk" in any_shell.line("cache", "demote", root, "--to", "disk")
    assert float(any_shell.line("cache", "heat", root).split()[0]) > 0
    assert json.loads(any_shell.line("--json", "cache", "heat", root))["Cid"] == root
    assert any_shell.line("cache", "gc", "--all").startswith("evicted 0 blocks")
    assert "0 fetched again" in any_shell.line("cache", "verify")
    assert "no remote tier" in any_shell.fail("cache", "replicas", root)
    assert "no remote tier" in any_shell.fail("cache", "replicate", root)
    assert "is pinned" in any_shell.fail("cache", "demote", root)
    assert "memory or disk" in any_shell.fail("cache", "promote", root, "--to", "moon")


def on_a_terminal(shell, *arguments):
    """A command whose standard error is a terminal; what it showed there."""
    ours, theirs = pty.openpty()
    with subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=theirs, env=shell.env) as process:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # the terminal of a process that has ended
            while piece := os.read(ours, 65536):
                shown += piece
        assert process.stdout.read().startswith(b"added baf")
        assert process.wait(60) == 0
    os.close(ours)
    return shown.decode()


def test_progress_is_shown_on_a_terminal_alone(shell):
    file = shell.folder / "file"
    file.write_bytes(bytes(5_000_000))
    shown = on_a_terminal(shell, "add", str(file))
    assert "add" in shown
    assert "5.0/5.0 MB" in shown
    assert not shell.fail("add", str(file), code=0)


def test_content_comes_from_a_named_peer(any_shell):
    data = random.Random(2).randbytes(2_000_000)
    with IPFSLibp2pPeer() as peer:
        cid = peer.add_bytes(data)
        address = peer.get_multiaddrs()[0]
        assert any_shell.run("--peer", address, "--timeout", "30", "cat", cid) == data
    assert any_shell.run("cat", cid) == data  # from the store now


def test_a_daemon_serves_others_and_is_alone_on_its_repo(shell):
    daemon = Daemon(shell)
    try:
        cid = shell.line("add", "-Q", "-", data=b"from the daemon")
        assert "already runs" in shell.fail("daemon")
        assert json.loads(shell.run("id"))["Addresses"] == daemon.hello["Addresses"]
        with IPFSLibp2pPeer() as peer:
            peer.connect_peer(daemon.hello["Addresses"][0])
            assert peer.request_content(cid) == b"from the daemon"
            assert peer.get_peer_id() in shell.line("swarm", "peers")
            assert "disconnect" in shell.line("swarm", "disconnect", peer.get_peer_id())
    finally:
        assert daemon.stop() == (0, "")
    assert shell.run("cat", cid) == b"from the daemon"


def test_bench_prints_figures(shell):
    found = json.loads(shell.run("--json", "bench", "--size", "4"))
    assert found["bytes"] >= 4 << 20
    assert found["mb_s"] > 0


def test_hashing_alone_gives_the_cid_that_adding_would(tmp_path):
    shell = Shell(tmp_path)
    (tmp_path / "file").write_bytes(b"hello world")
    assert shell.line("add", "-n", "-Q", "file") == HELLO
    shell.line("config", "profile", "unixfs-v0-2015")
    for path in (["file"], ["--profile", "unixfs-v1-2025", "file"]):
        assert shell.line("add", "-n", "-Q", *path) == shell.line("add", "-Q", *path)
    assert shell.line("add", "-n", "-Q", "file").startswith("Qm")


def test_help_imports_no_network_and_hashing_no_node():
    for arguments, banned in (
        (["--help"], ("trio", "ipfs_kit_py.node", "ipfs_kit_py.net", "lmdb", "rich")),
        (["add", "--only-hash", __file__], ("ipfs_kit_py.node", "ipfs_kit_py.net", "lmdb", "hypercorn", "rich")),
    ):
        program = (
            "import sys; from ipfs_kit_py.cli.main import app\n"
            f"try: app({arguments!r})\nexcept SystemExit as end: assert not end.code, end.code\n"
            f"found = [m for m in sys.modules if m.startswith({banned!r})]\n"
            "assert not found, found"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr
