"""The filesystem as a program uses it: what one node has is read by another over libp2p, on a node and on a daemon."""

import errno
import inspect
import io
import os
import pickle
import random
import subprocess
import sys
import threading
from pathlib import PurePosixPath

import fsspec
import pytest

from ipfs_kit_py._backend import open_backend, sent_bytes
from ipfs_kit_py.content.files import Entry
from ipfs_kit_py.core.cid import CID
from ipfs_kit_py.core.config import NodeConfig
from ipfs_kit_py.core.errors import ConfigError, NotFound, NotRunning, TimedOut
from ipfs_kit_py.dag import dag_pb, unixfs
from ipfs_kit_py.ipfs_fsspec import IPFSFileSystem, MFSFileSystem
from test.daemon import Daemon

MIB = 1 << 20
LARGE = random.Random(8).randbytes(9 * MIB + 12345)
ODD = ["#", "?", "%20", "a b", "ü", "[1]", "a::b", "c&d=e+f", "\udcff\udc80", "..."]
FILES = {"a.txt": b"hello world\n", "large": LARGE, "below/deep/b.txt": b"b", "empty": b""} | {
    f"odd/{name}": name.encode("utf-8", "surrogateescape") for name in ODD
}
NOBODY_HAS = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"


def entries(files):
    """A tree to add, in the order of a walk."""
    found = {f"tree/{name}": sent_bytes(data, f"tree/{name}") for name, data in files.items()}
    found["tree/link"] = Entry("tree/link", "symlink", target="a.txt")
    for name in [*found]:
        for parent in map(str, PurePosixPath(name).parents):
            found.setdefault(parent, Entry(parent, "directory"))
    del found["."]
    return [found[name] for name in sorted(found, key=lambda name: name.split("/"))]


@pytest.fixture(scope="module")
def author():
    """The node that has it all."""
    found = open_backend(NodeConfig())
    yield found
    found.close()


@pytest.fixture(scope="module")
def addresses(author):
    return author.row("id")["Addresses"]


@pytest.fixture(scope="module")
def root(author):
    return author.row("add", uploads=entries(FILES))["Hash"]


@pytest.fixture(autouse=True)
def _nothing_left():
    """No node outlives its test by an instance that fsspec remembers."""
    yield
    for kind in (IPFSFileSystem, MFSFileSystem):
        for found in kind._cache.values():
            found.close()
        kind.clear_instance_cache()


@pytest.fixture(params=["node", "daemon"])
def fs(request, addresses, tmp_path):
    """A filesystem whose node has nothing of its own."""
    if request.param == "node":
        found = IPFSFileSystem(repo=None, peers=addresses, skip_instance_cache=True)
    else:
        with_daemon = request.getfixturevalue("daemon")
        found = IPFSFileSystem(repo=with_daemon.repo, peers=addresses, skip_instance_cache=True)
        assert "OnDaemon" in repr(found.opened.backend)
    yield found
    found.close()


@pytest.fixture
def daemon(tmp_path):
    with Daemon(tmp_path / "repo") as found:
        yield found


@pytest.fixture
def own(root, addresses):
    """The same on a node of this process."""
    found = IPFSFileSystem(repo=None, peers=addresses, skip_instance_cache=True)
    yield found
    found.close()


def received(filesystem):
    """Blocks that a filesystem's node has fetched from peers."""
    return filesystem.opened.backend.row("stats")["exchange"]["blocks_received"]


# --- names and signatures ---------------------------------------------------------------------------------------------


def test_the_names_stand():
    for name in ("ls", "info", "cat", "cat_file", "cat_ranges", "open", "get", "put", "find", "walk", "glob", "ukey"):
        assert callable(getattr(IPFSFileSystem, name))
    assert list(inspect.signature(IPFSFileSystem.cat_file).parameters)[1:4] == ["path", "start", "end"]
    assert fsspec.get_filesystem_class("ipfs") is IPFSFileSystem
    assert fsspec.get_filesystem_class("ipns") is IPFSFileSystem
    assert fsspec.get_filesystem_class("mfs") is MFSFileSystem
    assert type(IPFSFileSystem(repo=None, writable=True)) is MFSFileSystem


@pytest.mark.parametrize(
    ("given", "content", "own"),
    [
        ("ipfs://CID/a/b", "CID/a/b", "/ipfs/CID/a/b"),
        ("ipfs://CID", "CID", "/ipfs/CID"),
        ("ipfs://CID//a/", "CID/a", "/ipfs/CID/a"),
        ("ipfs:///ipfs/CID/a", "CID/a", "/ipfs/CID/a"),
        ("/ipfs/CID/a", "CID/a", "/ipfs/CID/a"),
        ("CID/a", "CID/a", "/CID/a"),
        ("ipns://name/a", "/ipns/name/a", "/ipns/name/a"),
        ("/ipns/name", "/ipns/name", "/ipns/name"),
        ("/a/b/", "a/b", "/a/b"),
        ("ipfs://CID/a%20b?c#d", "CID/a%20b?c#d", "/ipfs/CID/a%20b?c#d"),
        ("", "", "/"),
        ("/", "", "/"),
    ],
)
def test_paths_are_stripped_and_told_apart(given, content, own):
    assert IPFSFileSystem._strip_protocol(given) == content
    assert MFSFileSystem._strip_protocol(given) == own
    for strip in (IPFSFileSystem._strip_protocol, MFSFileSystem._strip_protocol):
        assert strip(strip(given)) == strip(given)
    assert MFSFileSystem._strip_protocol([given, "ipfs://X"]) == [own, "/ipfs/X"]


def test_paths_get_their_protocol_back():
    content, own = IPFSFileSystem(repo=None), MFSFileSystem(repo=None)
    for path in ("ipfs://CID/a b", "ipns://name/a"):
        for view in (content, own):
            assert view.unstrip_protocol(view._strip_protocol(path)) == path
    assert own.unstrip_protocol("/a/b") == "mfs:///a/b"
    assert own._strip_protocol("mfs:///a/b") == "/a/b"
    assert IPFSFileSystem._get_kwargs_from_urls("ipfs://CID/a?b=c") == {}
    assert content._parent("CID/a") == "CID"
    assert own._parent("/a") == "/"


def test_options_that_cannot_be_are_named():
    with pytest.raises(ConfigError, match="no option 'peer'"):
        IPFSFileSystem(peer="x")
    with pytest.raises(ConfigError, match="peers is a list"):
        IPFSFileSystem(peers="/ip4/127.0.0.1/tcp/4001")
    with pytest.raises(ConfigError, match="read_ahead"):
        IPFSFileSystem(read_ahead=0)
    with pytest.raises(ConfigError, match="writable view"):
        MFSFileSystem(writable=False)
    with pytest.raises(ConfigError, match="plain values"):
        IPFSFileSystem(tiers=[{"type": object()}])


# --- reading ----------------------------------------------------------------------------------------------------------


def test_directories_are_listed_from_peers(fs, root):
    listed = fs.ls(f"ipfs://{root}")
    assert {item["name"]: (item["type"], item["size"], item["islink"]) for item in listed} == {
        f"{root}/a.txt": ("file", 12, False),
        f"{root}/below": ("directory", 0, False),
        f"{root}/empty": ("file", 0, False),
        f"{root}/large": ("file", len(LARGE), False),
        f"{root}/link": ("link", 5, True),
        f"{root}/odd": ("directory", 0, False),
    }
    assert fs.ls(root, detail=False) == sorted(item["name"] for item in listed)
    for item in listed:
        assert fs.info(item["name"]) == item
    assert fs.ls(f"{root}/a.txt") == [fs.info(f"{root}/a.txt")]
    assert fs.ls(f"{root}/a.txt", detail=False) == [f"{root}/a.txt"]
    assert fs.ukey(f"{root}/below") == fs.info(f"{root}/below")["CID"]
    assert fs.checksum(f"{root}/a.txt") == fs.checksum(f"{fs.ukey(f'{root}/a.txt')}") != fs.checksum(f"{root}/large")


def test_trees_are_walked(fs, root):
    names = [f"{root}/{name}" for name in FILES] + [f"{root}/link"]
    assert fs.find(root) == sorted(names)
    assert fs.find(root, maxdepth=1) == sorted(f"{root}/{name}" for name in ("a.txt", "large", "empty", "link"))
    assert fs.glob(f"ipfs://{root}/**/*.txt") == sorted(name for name in names if name.endswith(".txt"))
    assert [(place, set(dirs), set(files)) for place, dirs, files in fs.walk(f"{root}/below")] == [
        (f"{root}/below", {"deep"}, set()),
        (f"{root}/below/deep", set(), {"b.txt"}),
    ]
    assert fs.du(f"{root}/below") == 1
    assert fs.du(root) == sum(map(len, FILES.values())) + 5
    assert fs.du(f"{root}/a.txt", total=False) == {f"{root}/a.txt": 12}
    assert fs.find(f"{root}/nothing") == []
    assert fs.isdir(root)
    assert fs.isfile(f"{root}/empty")
    assert not fs.isfile(root)
    assert not fs.exists(f"{root}/nothing")
    assert not fs.exists(f"{root}/a.txt/below a file")
    assert not fs.exists("no CID/a")


@pytest.mark.parametrize(
    ("start", "end"),
    [(None, None), (0, 10), (5, None), (-7, None), (-7, -2), (None, -5), (10, 5), (3 * MIB - 1, 3 * MIB + 1),
     (-(10**9), 3), (10**9, None), (0, 10**9), (0, 0)],
)  # fmt: skip
def test_ranges_are_those_of_python(fs, root, start, end):
    assert fs.cat_file(f"{root}/large", start, end) == LARGE[start:end]
    assert fs.cat_ranges([f"{root}/large"], [start], [end]) == [LARGE[start:end]]


def test_many_ranges_and_files_at_once(fs, root):
    large, rng = f"ipfs://{root}/large", random.Random(1)
    starts = [rng.randrange(len(LARGE)) for _ in range(300)]
    ends = [start + rng.randrange(1000) for start in starts]
    expected = [LARGE[start:end] for start, end in zip(starts, ends, strict=True)]
    for gap in (None, 0, 1000, 10**9):
        assert fs.cat_ranges([large] * 300, starts, ends, max_gap=gap) == expected
    found = fs.cat_ranges([large, f"{root}/nothing", root, f"{root}/a.txt"], 0, 5)
    assert found[0] == LARGE[:5]
    assert isinstance(found[1], FileNotFoundError)
    assert isinstance(found[2], IsADirectoryError)
    assert found[3] == b"hello"
    with pytest.raises(FileNotFoundError):
        fs.cat_ranges([large, f"{root}/nothing"], 0, 5, on_error="raise")
    assert fs.cat(f"{root}/a.txt") == b"hello world\n"
    assert fs.cat([f"{root}/a.txt", f"{root}/empty"]) == {f"{root}/a.txt": b"hello world\n", f"{root}/empty": b""}
    assert fs.cat(f"{root}/below", recursive=True) == {f"{root}/below/deep/b.txt": b"b"}
    with pytest.raises(FileNotFoundError):
        fs.cat([f"{root}/a.txt", f"{root}/nothing"])
    assert fs.cat([f"{root}/a.txt", f"{root}/nothing"], on_error="omit") == {f"{root}/a.txt": b"hello world\n"}
    assert isinstance(fs.cat([f"{root}/nothing"], on_error="return")[f"{root}/nothing"], FileNotFoundError)


def test_names_are_literal(fs, root):
    for name in ODD:
        path = f"ipfs://{root}/odd/{name}"
        assert fs.cat_file(path) == name.encode("utf-8", "surrogateescape")
        assert fs.info(path)["name"] == f"{root}/odd/{name}"
        with fs.open(path) as file:
            assert file.read() == name.encode("utf-8", "surrogateescape")
    assert fs.find(f"{root}/odd") == sorted(f"{root}/odd/{name}" for name in ODD)


def test_open_files(fs, root):
    with fs.open(f"ipfs://{root}/large") as file:
        assert file.size == len(LARGE)
        assert file.read(10) == LARGE[:10]
        assert file.seek(-5, 2) == len(LARGE) - 5
        assert file.read() == LARGE[-5:]
        assert file.read(1) == b""
        file.seek(4 * MIB)
        buffer = bytearray(100)
        assert file.readinto(buffer) == 100
        assert buffer == LARGE[4 * MIB : 4 * MIB + 100]
        file.seek(0)
        assert b"".join(iter(lambda: file.read(100_000), b"")) == LARGE
        again = pickle.loads(pickle.dumps(fs.open(f"{root}/a.txt")))
        assert again.read() == b"hello world\n"
    for kind in ("none", "readahead", "bytes", "blockcache", "all", "first"):
        with fs.open(f"{root}/large", cache_type=kind, block_size=MIB) as file:
            file.seek(MIB + 5)
            assert file.read(MIB) == LARGE[MIB + 5 : 2 * MIB + 5]
    with fs.open(f"{root}/a.txt", "r") as file:
        assert list(file) == ["hello world\n"]
    assert fs.head(f"{root}/large", 10) == LARGE[:10]
    assert fs.tail(f"{root}/large", 10) == LARGE[-10:]
    assert fs.read_block(f"{root}/large", 5, 20) == LARGE[5:25]
    assert fs.read_text(f"{root}/a.txt") == "hello world\n"
    assert fs.size(f"{root}/large") == len(LARGE)
    with fsspec.open(f"ipfs://{root}/a.txt", "rt", repo=None, peers=fs.storage_options["peers"]) as file:
        assert file.read() == "hello world\n"


def test_only_the_blocks_of_a_range_are_fetched(own, root):
    large = f"{root}/large"
    own.info(large)
    before = received(own)
    own.cat_file(large, 3 * MIB + 5, 3 * MIB + 10)  # chunks of 1 MiB: one of ten
    assert received(own) == before + 1
    own.cat_file(large, 3 * MIB + 100, 3 * MIB + 200)
    assert received(own) == before + 1
    with own.open(large) as file:
        file.seek(6 * MIB)
        file.read(10)
        assert received(own) == before + 2
        file.seek(-10, 2)
        file.read(10)
        assert received(own) == before + 3
    own.cat_ranges([large] * 3, [MIB, MIB + 10, 7 * MIB], [MIB + 1, MIB + 11, 7 * MIB + 1])
    assert received(own) == before + 5


def test_a_file_that_is_read_in_order_is_read_ahead(own, root):
    calls = []
    with own.open(f"{root}/large", block_size=MIB) as file:
        fetch = file.cache.fetcher
        file.cache.fetcher = lambda start, end: calls.append((start, end)) or fetch(start, end)
        assert b"".join(iter(lambda: file.read(10_000), b"")) == LARGE
    assert len(calls) < 20
    assert max(end - start for start, end in calls) <= MIB
    assert calls[0] == (0, 10_000)


def test_copies_to_this_machine(fs, root, tmp_path):
    seen = []

    class Callback(fsspec.Callback):
        def relative_update(self, inc=1):
            seen.append(inc)

    fs.get_file(f"ipfs://{root}/large", tmp_path / "new" / "large", callback=Callback())
    assert (tmp_path / "new" / "large").read_bytes() == LARGE
    assert sum(seen) == len(LARGE)
    fs.get(f"ipfs://{root}/below", str(tmp_path / "tree"), recursive=True)
    assert (tmp_path / "tree/deep/b.txt").read_bytes() == b"b"
    fs.get_file(f"{root}/link", tmp_path / "link")
    assert os.readlink(tmp_path / "link") == "a.txt"
    into = io.BytesIO()
    fs.get_file(f"{root}/a.txt", into)
    assert into.getvalue() == b"hello world\n"
    with pytest.raises(FileNotFoundError):
        fs.get_file(f"{root}/nothing", tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_names_that_change_lead_to_what_they_point_to_now(author, root, tmp_path):
    fs = IPFSFileSystem.on_backend(author)
    name = author.row("name/publish", f"/ipfs/{root}", allow_offline=True)["Name"]
    assert fs.cat_file(f"ipns://{name}/a.txt") == b"hello world\n"
    assert fs.info(f"ipns://{name}/a.txt")["name"] == f"/ipns/{name}/a.txt"
    assert fs.ls(f"ipns://{name}/below", detail=False) == [f"/ipns/{name}/below/deep"]
    with fs.open(f"ipns://{name}/a.txt") as file:
        below = fs.ukey(f"{root}/below/deep")
        author.row("name/publish", f"/ipfs/{below}", allow_offline=True)
        assert file.read() == b"hello world\n"  # as it was when it was opened
    assert fs.ls(f"ipns://{name}", detail=False) == [f"/ipns/{name}/b.txt"]
    assert not fs.exists(f"ipns://{name}/a.txt")


def test_errors_are_pythons(fs, root):
    with pytest.raises(FileNotFoundError) as caught:
        fs.cat_file(f"{root}/nothing")
    assert caught.value.errno == errno.ENOENT
    assert caught.value.filename == f"{root}/nothing"
    assert "nothing" in str(caught.value.__cause__)
    with pytest.raises(FileNotFoundError):
        fs.info("no CID")
    for call in (fs.open, fs.cat_file):
        with pytest.raises(IsADirectoryError):
            call(root)
    with pytest.raises(NotADirectoryError):
        next(fs.ls_pages(f"{root}/a.txt"))
    with pytest.raises(NotImplementedError, match="no time"):
        fs.modified(f"{root}/a.txt")
    with pytest.raises(NotImplementedError, match="creation"):
        fs.created(f"{root}/a.txt")


def test_the_cause_of_an_error_is_the_kits_own(own, root):
    with pytest.raises(FileNotFoundError) as caught:
        own.info(f"{root}/nothing")
    assert isinstance(caught.value.__cause__, NotFound)


def test_what_nobody_has_is_not_waited_for_for_ever(own, addresses):
    hasty = IPFSFileSystem(repo=None, peers=addresses, timeout=0.2)
    for call in (hasty.cat_file, hasty.info, hasty.ls, hasty.exists, hasty.isdir, hasty.find, hasty.open):
        with pytest.raises(TimeoutError) as caught:
            call(f"ipfs://{NOBODY_HAS}")
        assert isinstance(caught.value.__cause__, TimedOut)
    [answer] = hasty.cat_ranges([NOBODY_HAS], 0, 5)
    assert isinstance(answer, TimeoutError)
    offline = IPFSFileSystem(repo=None, offline=True)
    with pytest.raises(FileNotFoundError, match="offline"):
        offline.cat_file(NOBODY_HAS)
    hasty.close()
    offline.close()


def test_content_is_not_written_to(own, root, tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    new = f"{root}/new"
    for change in (
        lambda: own.open(new, "wb"),
        lambda: own.open(f"{root}/a.txt", "ab"),
        lambda: own.pipe(new, b""),
        lambda: own.pipe_file(new, b""),
        lambda: own.put(str(tmp_path / "file"), new),
        lambda: own.put_file(str(tmp_path / "file"), new),
        lambda: own.mkdir(new),
        lambda: own.makedirs(new, exist_ok=True),
        lambda: own.rm(f"{root}/a.txt"),
        lambda: own.rm_file(f"{root}/a.txt"),
        lambda: own.rmdir(f"{root}/below"),
        lambda: own.cp_file(f"{root}/a.txt", new),
        lambda: own.copy(f"{root}/a.txt", new),
        lambda: own.mv(f"{root}/a.txt", new),
        lambda: own.touch(new),
    ):
        with pytest.raises(PermissionError, match="writable=True"):
            change()


@pytest.mark.parametrize("name", ["..", ".", "", "/abs", "../evil", "a/b", "a\0b"])
def test_no_name_leaves_its_directory(author, tmp_path, name):
    evil = author.row("block/put", uploads=[sent_bytes(b"evil")])["Key"]
    node = dag_pb.PBNode([dag_pb.PBLink(CID.parse(evil), name, 4)], unixfs.encode(unixfs.FSNode(unixfs.DIRECTORY)))
    folder = author.row("block/put", uploads=[sent_bytes(dag_pb.encode(node))], cid_codec="dag-pb")["Key"]
    fs = IPFSFileSystem.on_backend(author)
    for call in (fs.ls, fs.find, lambda path: list(fs.ls_pages(path))):
        with pytest.raises(OSError, match="no file may have"):
            call(folder)
    with pytest.raises(OSError, match="no file may have"):
        fs.get(folder, str(tmp_path / "out"), recursive=True)
    assert [item for item in tmp_path.rglob("*") if not item.is_dir()] == []


def test_a_link_is_replaced_not_written_through(own, root, tmp_path):
    (tmp_path / "outside").write_bytes(b"as it was")
    (tmp_path / "a.txt").symlink_to(tmp_path / "outside")
    own.get_file(f"{root}/a.txt", tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_bytes() == b"hello world\n"
    assert (tmp_path / "outside").read_bytes() == b"as it was"


# --- large directories, and what is remembered ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sharded(author):
    """A directory of 20,000 files in shards."""
    names = [f"tree/{number:05}" for number in range(20_000)]
    rows = author.rows("add", uploads=[Entry("tree", "directory"), *(sent_bytes(b"same", name) for name in names)])
    return rows[-1]["Hash"]


def test_large_directories_come_in_pages(own, sharded):
    pages = own.ls_pages(sharded, 1000)
    first = next(pages)
    assert len(first) == 1000
    pages.close()  # and no more
    sizes = [len(page) for page in own.ls_pages(sharded, 1500)]
    assert sum(sizes) == 20_000
    assert max(sizes) == 1500
    assert len(own.ls(sharded)) == 20_000
    assert own.info(f"{sharded}/00042")["size"] == 4


def test_what_does_not_change_is_remembered_in_bounds(own, root, addresses):
    own.ls(root)
    own.ls(f"{root}/below")
    rows = own.opened.backend.thread
    assert own.exists(f"{root}/a.txt")
    own.close()  # no node is needed for what is known
    assert own.ls(root)
    assert own.info(f"{root}/large")["size"] == len(LARGE)
    assert not own.exists(f"{root}/nothing")
    assert rows.closed
    own.invalidate_cache()
    assert own.ls(root)  # from a node that was opened again
    few = IPFSFileSystem(repo=None, peers=addresses, max_paths=2)
    for path in (root, f"{root}/below", f"{root}/below/deep", f"{root}/odd"):
        few.ls(path)
    assert len(few._listings) == 2
    none = IPFSFileSystem(repo=None, peers=addresses, use_listings_cache=False)
    none.ls(root)
    assert len(none._listings) == 0
    few.close()
    none.close()


# --- life -------------------------------------------------------------------------------------------------------------


def test_equal_options_share_a_node_that_ends_with_the_last(addresses, root):
    one = IPFSFileSystem(repo=None, peers=addresses)
    assert IPFSFileSystem(repo=None, peers=addresses) is one
    assert fsspec.filesystem("ipfs", repo=None, peers=addresses) is one
    two = IPFSFileSystem(repo=None, peers=addresses, timeout=5)
    assert two is not one
    assert one.opened.backend is two.opened.backend
    shared = one.opened.backend
    one.close()
    assert not shared.thread.closed
    two.close()
    assert shared.thread.closed
    assert one.cat_file(f"{root}/a.txt") == b"hello world\n"
    one.close()
    one.close()


def test_a_filesystem_on_anothers_node(author, root, addresses):
    fs = IPFSFileSystem.on_backend(author, repo=None, peers=addresses)
    assert fs is not IPFSFileSystem.on_backend(author, repo=None, peers=addresses)
    assert fs.cat_file(f"{root}/a.txt") == b"hello world\n"
    fs.close()
    assert author.row("id")["Addresses"] == addresses
    short = open_backend(NodeConfig(offline=True))
    beside = IPFSFileSystem.on_backend(short)
    short.close()
    with pytest.raises(NotRunning):
        beside.info(root)


def test_text_forms(addresses, root):
    for fs in (IPFSFileSystem(repo=None, peers=addresses), MFSFileSystem(repo=None, peers=addresses)):
        again = fsspec.AbstractFileSystem.from_json(fs.to_json())
        assert type(again) is type(fs)
        assert again.opened.options == fs.opened.options
        assert type(pickle.loads(pickle.dumps(fs))) is type(fs)
    writable = IPFSFileSystem(repo=None, peers=addresses, writable=True)
    assert type(pickle.loads(pickle.dumps(writable))) is MFSFileSystem


READER = """
import pickle, sys
fs, path = pickle.load(sys.stdin.buffer)
sys.stdout.buffer.write(fs.cat_file(path))
"""


@pytest.mark.parametrize("owned", [True, False])
def test_a_pickle_reads_in_another_process(author, addresses, root, owned):
    options = {"repo": None, "peers": addresses}
    fs = IPFSFileSystem(**options) if owned else IPFSFileSystem.on_backend(author, **options)
    assert fs.exists(root)
    done = subprocess.run(
        [sys.executable, "-c", READER], input=pickle.dumps((fs, f"{root}/large")), capture_output=True, check=True
    )
    assert done.stdout == LARGE
    fs.close()


@pytest.mark.parametrize("owned", [True, False])
def test_a_process_that_was_forked_opens_its_own(author, addresses, root, owned):
    options = {"repo": None, "peers": addresses}
    fs = IPFSFileSystem(**options) if owned else IPFSFileSystem.on_backend(author, **options)
    assert fs.cat_file(f"{root}/a.txt") == b"hello world\n"
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            told = fs.cat_file(f"{root}/below/deep/b.txt")
            fs.close()
            os.write(writing, told)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == b"b"
    os.waitpid(child, 0)
    assert fs.cat_file(f"{root}/a.txt") == b"hello world\n"
    fs.close()


def test_a_forked_process_says_that_it_cannot_use_the_same_repo(tmp_path, addresses, root):
    fs = IPFSFileSystem(repo=tmp_path / "repo", peers=addresses)
    fs.cat_file(f"{root}/a.txt")
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            fs.cat_file(f"{root}/a.txt")
        except Exception as error:  # noqa: BLE001 - told to the parent
            os.write(writing, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        assert "fork" in pipe.read()
    os.waitpid(child, 0)
    fs.close()


def test_threads_use_one_filesystem_at_once(own, root):
    found = []

    def read(at):
        found.append(own.cat_file(f"{root}/large", at * MIB, at * MIB + 100) == LARGE[at * MIB : at * MIB + 100])

    threads = [threading.Thread(target=read, args=(at,)) for at in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 9
