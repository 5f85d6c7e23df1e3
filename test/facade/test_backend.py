"""Verbs for synchronous callers, on a node of this process and on a daemon alike; and processes that were forked."""

import os
import random

import pytest

from ipfs_kit_py._backend import open_backend, sent_bytes
from ipfs_kit_py._portal import LoopThread
from ipfs_kit_py.core.config import NodeConfig
from ipfs_kit_py.core.errors import IPFSKitError, NotRunning, TimedOut
from ipfs_kit_py.repo import Repo
from test.daemon import Daemon

DATA = random.Random(4).randbytes(6_000_000)
NOBODY_HAS = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"


@pytest.fixture(params=["node", "daemon"])
def backend(request, tmp_path):
    if request.param == "node":
        found = open_backend(NodeConfig())
    else:
        daemon = request.getfixturevalue("daemon")
        found = open_backend(Repo(daemon.repo).config())
        assert "OnDaemon" in repr(found)
    yield found
    found.close()


@pytest.fixture
def daemon(tmp_path):
    with Daemon(tmp_path / "repo") as found:
        yield found


def test_answers_come_whole_or_as_they_are_made(backend):
    row = backend.row("add", uploads=[sent_bytes(DATA, "name")], pin=True)
    cid = row["Hash"]
    assert row["Name"] == "name"
    assert backend.data("cat", cid) == DATA
    assert backend.data("cat", cid, offset=10, length=5) == DATA[10:15]
    with backend.stream("cat", cid) as pieces:
        assert b"".join(pieces) == DATA
    with backend.stream("cat", cid) as pieces:
        next(pieces)  # and no more
    with backend.stream_rows("pin/ls") as rows:
        [row] = rows
    assert row["Keys"][cid] == {"Type": "recursive", "Name": "name"}


def test_many_at_once(backend):
    cid = backend.row("add", uploads=[sent_bytes(DATA)])["Hash"]
    calls = [("cat", [cid], {"offset": at * 1000, "length": 10}) for at in range(200)]
    calls.insert(7, ("cat", ["no CID"], {}))
    answers = backend.data_many(calls)
    assert isinstance(answers.pop(7), IPFSKitError)
    assert answers == [DATA[at * 1000 : at * 1000 + 10] for at in range(200)]


def test_failures_come_through(backend):
    with pytest.raises(IPFSKitError, match="not a CID"):
        backend.data("cat", "no CID")
    with pytest.raises(TimedOut):
        backend.data("cat", NOBODY_HAS, timeout=0.2)
    with pytest.raises(IPFSKitError, match="no verb"):
        backend.row("nothing")
    with backend.stream("cat", "no CID") as pieces, pytest.raises(IPFSKitError, match="not a CID"):
        next(pieces)
    backend.close()
    with pytest.raises(NotRunning):
        backend.row("id")
    backend.close()


def test_a_daemon_is_used_unless_told_otherwise(daemon):
    config = Repo(daemon.repo).config()
    for options, expected in (({}, "OnDaemon"), ({"daemon": False}, "OnNode")):
        found = open_backend(config, **options)
        assert expected in repr(found)
        found.close()


def test_a_process_that_was_forked_opens_its_own():
    parent = open_backend(NodeConfig())
    cid = parent.row("add", uploads=[sent_bytes(b"of the parent")])["Hash"]
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            own = open_backend(NodeConfig())
            told = [own.row("add", uploads=[sent_bytes(b"of the parent")])["Hash"]]
            own.close()
            try:
                parent.data("cat", cid)
            except NotRunning as error:
                told.append(str(error))
            parent.close()
            os.write(writing, "|".join(told).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        same, refused = pipe.read().split("|")
    os.waitpid(child, 0)
    assert same == cid
    assert "forked" in refused
    assert parent.data("cat", cid) == b"of the parent"
    parent.close()


def test_a_loop_that_is_closed_ends_what_waits():
    thread = LoopThread()

    async def forever():
        import trio

        await trio.sleep_forever()

    waiting = thread.submit(forever)
    thread.close()
    with pytest.raises(NotRunning, match="closed during the call"):
        waiting.result(timeout=10)
