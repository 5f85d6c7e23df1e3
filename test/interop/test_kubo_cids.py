"""The CIDs and sizes of files and directories are those of ``ipfs add`` of Kubo 0.43.1, whatever is added.

Kubo runs without a daemon and only hashes. One start of it costs a third of a second, so many trees go into one call;
a difference is reported by its path, and the deepest one is the cause.
"""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ipfs_kit_py.core import multihash
from ipfs_kit_py.core.errors import InvalidName
from ipfs_kit_py.dag.builder import build_file
from ipfs_kit_py.dag.directory import check_name
from ipfs_kit_py.dag.importer import Entry, TreeBuilder
from ipfs_kit_py.dag.profiles import V0_2015, V1_2025, Built, Profile, Stat
from test.peers import locate

pytestmark = pytest.mark.interop
KIB, MIB = 1 << 10, 1 << 20


class Adder(NamedTuple):
    """Kubo without a daemon: the binary, and a folder with a repository per profile."""

    binary: Path
    home: Path

    def run(self, profile: str, *words: str) -> bytes:
        repo = self.home / profile
        env = {**os.environ, "IPFS_PATH": str(repo), "IPFS_TELEMETRY": "off", "HOME": str(self.home)}
        done = subprocess.run([self.binary, "--offline", *words], env=env, capture_output=True, timeout=120)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stdout

    def add(self, folder: Path, profile: str, *flags: str) -> dict[str, str]:
        """CIDs by path, the root's path empty. Kubo escapes what a terminal could not show: those paths are no paths
        here. (A CID of a directory covers the names and the sizes that its links carry.)"""
        lines = self.run(profile, "add", "-r", "-H", "--progress=false", "--pin=false", *flags, "--", str(folder))
        rows = [line.split(" ", 2) for line in os.fsdecode(lines).split("\n") if line.startswith("added ")]
        return {path[len(folder.name) + 1 :]: cid for _, cid, path in rows}


@pytest.fixture(scope="module")
def adder(tmp_path_factory: pytest.TempPathFactory) -> Adder:
    try:
        binary = locate.kubo()
    except locate.PeerMissing as error:
        pytest.skip(str(error))
    peer = Adder(binary, tmp_path_factory.mktemp("kubo"))
    for profile in ("unixfs-v1-2025", "unixfs-v0-2015"):
        peer.run(profile, "init", "--profile", f"test,{profile}")
    peer.run("plain", "init", "--profile", "test")
    return peer


def ours(folder: Path, profile: Profile, *, keep_stat: bool = False) -> dict[str, str]:
    """What Kubo should say, from this package."""

    def stat_of(path: str | Path) -> Stat:
        if not keep_stat:
            return Stat()
        found = os.lstat(path)
        return Stat(found.st_mode & 0o7777, divmod(found.st_mtime_ns, 10**9))

    tree = TreeBuilder(profile, stat_of(folder))
    rows: dict[str, str] = {}

    def note(left: list[tuple[Entry, Built]]) -> None:
        rows.update({entry.path: str(entry.cid) for entry, _ in left})

    def walk(inside: str) -> None:
        with os.scandir(folder / inside) as found:
            entries = list(found)
        random.Random(len(entries)).shuffle(entries)
        for entry in entries:
            path = f"{inside}/{entry.name}" if inside else entry.name
            if entry.is_symlink():
                note(tree.add_symlink(path, os.readlink(entry.path), Stat(mtime=stat_of(entry.path).mtime)))
            elif entry.is_dir():
                note(tree.enter(path, stat_of(entry.path)))
                walk(path)
            else:
                built = build_file(Path(entry.path).read_bytes(), profile, stat_of(entry.path))
                note(tree.add(path, built))
                rows[path] = str(built.cid)

    walk("")
    root, left = tree.finish()
    note(left)
    rows[""] = str(root.cid)
    return rows


def check(adder: Adder, folder: Path, profile: Profile, repo: str, *flags: str, keep_stat: bool = False) -> None:
    theirs = adder.add(folder, repo, *flags)
    got = ours(folder, profile, keep_stat=keep_stat)
    if got[""] != theirs[""]:
        wrong = [path for path, cid in got.items() if cid != theirs.get(path, cid)]
        deepest = max(wrong, key=lambda path: (path.count("/"), len(path)))
        raise AssertionError(f"{deepest!r} is {got[deepest]} here and {theirs[deepest]} in Kubo")


# --- random trees -----------------------------------------------------------------------------------------------------


class File(NamedTuple):
    size: int
    seed: int


class Link(NamedTuple):
    target: str


def allowed(name: str) -> bool:
    try:
        return len(os.fsencode(check_name(name))) <= 120
    except InvalidName:
        return False


NAMES = st.one_of(
    st.text(min_size=1, max_size=20),
    st.text("aA0 .-_%\\\"'\n\t\x7fé日本😀\u0301ß", min_size=1, max_size=30),
    st.binary(min_size=1, max_size=12).map(os.fsdecode),
    st.sampled_from(["-", "--help", ".hidden", "...", "con", "~", "*", "a" * 120]),
).filter(allowed)
# In units of a chunk, off by some bytes: around one chunk, around a node's width, and two levels deep.
SIZES = st.one_of(
    st.integers(0, 300),
    st.builds(lambda chunks, off: max(0, chunks * KIB + off), st.sampled_from([1, 2, 3, 4, 5, 15, 16, 17, 64, 65]),
              st.sampled_from([-1, 0, 1])),
)  # fmt: skip
FILES = st.builds(File, SIZES, st.integers(0, 9))
LEAVES = st.one_of(FILES, FILES, st.builds(Link, NAMES))
TREES = st.recursive(
    st.dictionaries(NAMES, LEAVES, max_size=6),
    lambda inner: st.dictionaries(NAMES, st.one_of(LEAVES, inner), max_size=5),
    max_leaves=12,
)


def write_tree(folder: Path, tree: dict[str, object]) -> None:
    folder.mkdir()
    for name, what in tree.items():
        path = folder / name
        if isinstance(what, File):
            path.write_bytes(random.Random(what.seed).randbytes(what.size))
        elif isinstance(what, Link):
            path.symlink_to(what.target)
        else:
            assert isinstance(what, dict)
            write_tree(path, what)


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of random trees, made by hypothesis."""
    folder = tmp_path_factory.mktemp("trees")
    made: list[dict[str, object]] = []

    @settings(max_examples=150, phases=[Phase.generate], database=None, deadline=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(TREES)
    def gather(tree: dict[str, object]) -> None:
        made.append(tree)

    gather()
    for number, tree in enumerate(made):
        write_tree(folder / str(number), tree)
    return folder


@pytest.mark.parametrize("profile", [V1_2025, V0_2015], ids=lambda profile: profile.name)
def test_random_trees(adder: Adder, trees: Path, profile: Profile) -> None:
    check(adder, trees, profile, profile.name, "--only-hash")


@pytest.mark.parametrize("profile", [V1_2025, V0_2015], ids=lambda profile: profile.name)
@pytest.mark.parametrize("width", [2, 4, 16])
def test_random_trees_with_small_chunks_are_deep(adder: Adder, trees: Path, profile: Profile, width: int) -> None:
    small = profile.replace(chunk_size=KIB, max_links=width)
    check(adder, trees, small, profile.name, "--only-hash", "--chunker=size-1024", f"--max-file-links={width}")


@pytest.mark.parametrize(
    ("profile", "repo", "flags"),
    [
        (V1_2025.replace(inline_limit=32), V1_2025.name, ["--inline"]),
        (V0_2015.replace(inline_limit=128), V0_2015.name, ["--inline", "--inline-limit=128"]),
        (V1_2025.replace(hash_code=multihash.CODES["blake3"]), V1_2025.name, ["--hash=blake3"]),
        (V1_2025.replace(hash_code=multihash.CODES["blake2b-256"]), V1_2025.name, ["--hash=blake2b-256"]),
        (V0_2015.replace(raw_leaves=True), V0_2015.name, ["--raw-leaves"]),
        (V0_2015.replace(cid_version=1), V0_2015.name, ["--cid-version=1"]),
    ],
    ids=["inline-v1", "inline-v0", "blake3", "blake2b", "raw-leaves-v0", "dag-pb-leaves-v1"],
)
def test_random_trees_with_options(adder: Adder, trees: Path, profile: Profile, repo: str, flags: list[str]) -> None:
    check(adder, trees, profile, repo, "--only-hash", *flags)


def test_mode_and_time_are_kept_when_asked(adder: Adder, trees: Path) -> None:
    chance = random.Random(7)
    for place, folders, files in os.walk(trees, topdown=False):
        for name in folders + files:
            path = os.path.join(place, name)
            if not os.path.islink(path):
                os.chmod(path, chance.choice([0o700, 0o755, 0o4755, 0o1777] if name in folders else [0o600, 0o644]))
            when = chance.choice([0, 1, -5 * 10**9, 1_700_000_000 * 10**9, 1_700_000_000 * 10**9 + 123_456_789])
            os.utime(path, ns=(when, when), follow_symlinks=False)
    profile = V0_2015.replace(chunk_size=KIB)
    flags = ("--chunker=size-1024", "--preserve-mode", "--preserve-mtime")
    # Not with --only-hash: Kubo then looks for its root's node in a store that keeps nothing.
    check(adder, trees, profile, V0_2015.name, *flags, keep_stat=True)


# --- sizes at the profiles' own borders -------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", [V1_2025, V0_2015], ids=lambda profile: profile.name)
def test_files_at_the_borders_of_chunk_and_width(adder: Adder, tmp_path: Path, profile: Profile) -> None:
    chunk = profile.chunk_size
    data = random.Random(1).randbytes(chunk * 2 + 1)
    for size in (0, 1, chunk - 1, chunk, chunk + 1, chunk * 2, chunk * 2 + 1):
        (tmp_path / str(size)).write_bytes(data[:size])
    if profile is V0_2015:  # a node of the newer profile is full at 1 GiB
        for size in (chunk * profile.max_links, chunk * profile.max_links + 1):
            (tmp_path / str(size)).write_bytes((data * (size // len(data) + 1))[:size])
    check(adder, tmp_path, profile, profile.name, "--only-hash")


# --- directories ------------------------------------------------------------------------------------------------------


def fill(folder: Path, lengths: list[int], content: bytes = b"x") -> None:
    """Files of one content, with names of these lengths in bytes."""
    folder.mkdir()
    for number, length in enumerate(lengths):
        (folder / f"{number:0{length}d}").write_bytes(content)


def test_directories_at_the_threshold_in_block_bytes(adder: Adder, tmp_path: Path) -> None:
    # A name of 200 bytes makes an entry of 246, one of 105 an entry of 150; the directory has 4 bytes of its own.
    for last in (104, 105, 106):
        fill(tmp_path / f"last-{last}", [*[200] * 1065, last])
    check(adder, tmp_path, V1_2025, V1_2025.name, "--only-hash")
    kinds = [type_of(folder, V1_2025) for folder in sorted(tmp_path.iterdir())]
    assert kinds == ["plain", "plain", "sharded"]


def test_directories_at_the_threshold_in_links_bytes(adder: Adder, tmp_path: Path) -> None:
    for last in (29, 30, 31):  # each entry counts its name and 34 bytes of CID: 1120 * 234 + 64 is the threshold
        fill(tmp_path / f"last-{last}", [*[200] * 1120, last])
    check(adder, tmp_path, V0_2015, V0_2015.name, "--only-hash")
    kinds = [type_of(folder, V0_2015) for folder in sorted(tmp_path.iterdir())]
    assert kinds == ["plain", "plain", "sharded"]


def type_of(folder: Path, profile: Profile) -> str:
    """Which of the two Kubo's CID is: that of the directory built with the HAMT switched off, or not."""
    return "plain" if ours(folder, profile)[""] == ours(folder, profile.replace(hamt_threshold=0))[""] else "sharded"


@pytest.mark.parametrize("profile", [V1_2025, V0_2015], ids=lambda profile: profile.name)
def test_large_directories_of_many_kinds(adder: Adder, tmp_path: Path, profile: Profile) -> None:
    chance = random.Random(3)
    for number in range(6000):
        (tmp_path / f"{chance.choice('äb日')}{number}{'n' * chance.randrange(80)}").write_bytes(b"%d" % number)
    for number in range(300):
        (tmp_path / f"d{number}").mkdir()
        (tmp_path / f"d{number}" / "f").write_bytes(b"x" * number)
        (tmp_path / f"l{number}").symlink_to(f"d{number}/f")
    check(adder, tmp_path, profile, profile.name, "--only-hash")


@pytest.mark.parametrize("fanout", [8, 16, 128, 512, 1024])
def test_every_fanout(adder: Adder, tmp_path: Path, fanout: int) -> None:
    fill(tmp_path / "d", [200] * 1200, b"")
    check(
        adder, tmp_path, V1_2025.replace(hamt_fanout=fanout), V1_2025.name, "--only-hash", f"--max-hamt-fanout={fanout}"
    )
