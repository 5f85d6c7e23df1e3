"""The ``files`` verbs do what Kubo's do: the same calls on both lead to the same root."""

import random

import pytest

from ipfs_kit_py._backend import sent_bytes
from ipfs_kit_py.ipfs_kit import ipfs_kit
from test.peers import locate
from test.peers.kubo import Kubo

DATA = random.Random(5).randbytes(3_000_000)


@pytest.fixture(scope="module")
def kubo(tmp_path_factory):
    try:
        binary = locate.kubo()
    except locate.PeerMissing as error:
        pytest.skip(str(error))
    with Kubo(binary, tmp_path_factory.mktemp("kubo")) as found:
        yield found


@pytest.fixture
def both(kubo):
    kubo.rpc("files/rm", "/test", force=True)
    kubo.rpc("files/mkdir", "/test", cid_version=1)
    with ipfs_kit({"repo": None, "libp2p": True}) as kit:
        backend = kit._backend
        backend.rows("files/mkdir", "/test")

        def ours(verb, *arguments, **options):
            return backend.rows(verb, *arguments, **options)

        yield kit, ours


def same(kubo, ours, path="/test"):
    [mine], theirs = ours("files/stat", path), kubo.lines("files/stat", path)[0]
    assert (mine["Hash"], mine["Type"], mine["Size"]) == (theirs["Hash"], theirs["Type"], theirs["Size"])
    assert mine["CumulativeSize"] == theirs["CumulativeSize"]
    return mine["Hash"]


def test_the_same_calls_lead_to_the_same_root(kubo, both):
    kit, ours = both
    for verb, arguments, options in (
        ("files/mkdir", ("/test/a/b",), {"parents": True}),
        ("files/cp", (f"/ipfs/{kubo.add_bytes(b'hello')}", "/test/a/hello"), {}),
        ("files/cp", ("/test/a", "/test/copy"), {}),
        ("files/mv", ("/test/copy/hello", "/test/a/b"), {}),
        ("files/rm", ("/test/copy",), {"recursive": True}),
        ("files/mv", ("/test/a/b/hello", "/test/a/hello"), {}),
    ):
        if verb == "files/cp" and arguments[0].startswith("/ipfs/"):
            kit.ipfs_add_bytes(b"hello")
        kubo.rpc(verb, *arguments, **options)
        ours(verb, *arguments, **options)
        same(kubo, ours)


def test_what_is_written_is_what_kubo_writes(kubo, both):
    """A file of one chunk has one CID; larger ones are cut by the profile of ``add`` here, by 256 KiB there."""
    _kit, ours = both
    for data in (b"short", b"", DATA[:200_000]):
        ours("files/write", "/test/f", uploads=[sent_bytes(data)], create=True, truncate=True)
        cid = kubo.add_bytes(data)
        kubo.rpc("files/rm", "/test/f", force=True)
        kubo.rpc("files/cp", f"/ipfs/{cid}", "/test/f")
        same(kubo, ours, "/test/f")
        same(kubo, ours)


def test_a_directory_that_is_sharded_has_one_root(kubo, both):
    kit, ours = both
    names = [f"an entry with a rather long name, number {number:05}" for number in range(2800)]
    ours("files/batch", uploads=[sent_bytes(b"x", f"/test/many/{name}") for name in names])
    root = ours("files/flush", "/test/many")[0]["Cid"]
    kubo.connect(kit.ipfs_id()["Addresses"][0])
    assert len(kubo.ls(root)) == 2800
    ours("files/rm", *(f"/test/many/{name}" for name in names[10:]))  # below the threshold: one block again
    kubo.rpc("files/mkdir", "/test/many")
    for name in names[:10]:
        kubo.rpc("files/cp", f"/ipfs/{kubo.add_bytes(b'x')}", f"/test/many/{name}")
    same(kubo, ours, "/test/many")


def test_listings_have_kubos_shape(kubo, both):
    kit, ours = both
    kit.ipfs_add_bytes(b"hello")
    cid = kubo.add_bytes(b"hello")
    for call in (ours, kubo.rpc):
        call("files/mkdir", "/test/d")
        call("files/cp", f"/ipfs/{cid}", "/test/f")
    for options in ({"long": True}, {}):
        mine, theirs = ours("files/ls", "/test", **options), kubo.lines("files/ls", "/test", **options)
        assert mine == theirs
    assert ours("files/ls", "/test/f", long=True) == kubo.lines("files/ls", "/test/f", long=True)


def test_permissions_and_time_are_told_as_kubo_tells_them(kubo, both, tmp_path):
    kit, ours = both
    file = tmp_path / "file"
    file.write_bytes(b"x" * 100)
    told = {"mode": "0640", "mtime": 1_700_000_000, "mtime_nsecs": 123_456_789}
    cid = kubo.add(file, raw_leaves=False, **told)
    kubo.connect(kit.ipfs_id()["Addresses"][0])
    [mine] = ours("files/stat", f"/ipfs/{cid}", timeout=30)
    [theirs] = kubo.lines("files/stat", f"/ipfs/{cid}")
    names = ("Hash", "Type", "Size", "CumulativeSize", "Mode", "Mtime", "MtimeNsecs")
    assert {name: mine[name] for name in names} == {name: theirs[name] for name in names}
    assert kit.get_filesystem().modified(cid).timestamp() == pytest.approx(1_700_000_000.123456)
