"""Keys, names and routing on the command line."""

import json
import stat
import subprocess
import time

import pytest

from ipfs_kit_py.crypto import ipns
from ipfs_kit_py.crypto.keys import PrivateKey
from test.cli.test_cli import COMMAND, Daemon, Shell

CID = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"


@pytest.fixture
def shell(tmp_path):
    return Shell(tmp_path)


def test_keys_are_made_listed_moved_out_and_in(shell):
    made = shell.line("key", "gen", "site")
    assert made.startswith("k51")
    assert shell.line("key", "list").splitlines() == ["self", "site"]
    assert f"{made} site" in shell.line("key", "list", "-l").splitlines()
    assert json.loads(shell.line("--json", "key", "list"))["Keys"][1] == {"Name": "site", "Id": made}
    assert shell.line("key", "export", "site") == "wrote the key site to site.key"
    shell.line("key", "export", "site", "-f", "pem-pkcs8-cleartext")
    for file in ("site.key", "site.pem"):
        assert stat.S_IMODE((shell.folder / file).stat().st_mode) == 0o600
    assert "File exists" in shell.fail("key", "export", "site")
    assert "not exported" in shell.fail("key", "export", "self")
    assert shell.line("key", "rename", "site", "blog") == f"Key {made} renamed to blog"
    assert shell.line("key", "rm", "blog") == "blog"
    assert shell.line("key", "import", "site", "site.key") == made
    assert "--format" in shell.fail("key", "import", "pem", "site.pem")
    pem = (shell.folder / "site.pem").read_bytes()
    assert shell.line("key", "import", "pem", "-f", "pem-pkcs8-cleartext", "-", data=pem) == made
    assert "always have 256 bits" in shell.fail("key", "gen", "big", "--size", "4096")
    assert "no key is called none" in shell.fail("key", "rm", "none")


def test_names_are_kept_where_there_is_no_network(shell):
    made = shell.line("key", "gen", "site")
    assert "--allow-offline" in shell.fail("--offline", "name", "publish", "--key", "site", CID)
    told = shell.line("--offline", "name", "publish", "--allow-offline", "--key", "site", CID)
    assert told == f"Published to {made}: /ipfs/{CID}"
    assert shell.line("--offline", "name", "publish", "--allow-offline", "-Q", f"/ipns/{made}/a").startswith("k51")
    assert shell.line("--offline", "name", "resolve") == f"/ipfs/{CID}/a"
    assert shell.line("--offline", "name", "resolve", "--no-recursive") == f"/ipns/{made}/a"
    assert json.loads(shell.line("--offline", "--json", "name", "resolve", made)) == {"Path": f"/ipfs/{CID}"}
    for arguments, why in (
        (("name", "publish", "nopath"), "not a CID"),
        (("name", "publish", "--ttl", "2h", "--lifetime", "1h", CID), "longer than the lifetime"),
        (("name", "resolve", "k51nonsense"), "k51nonsense"),
        (("routing", "findprovs", CID), "no network"),
        (("routing", "get", "nothing"), "under /ipns/NAME"),
    ):
        assert why in shell.fail("--offline", *arguments)
    shell.run("routing", "findprovs", "-n", "0", CID, code=2)


def test_routing_over_two_daemons(tmp_path):
    shells = [Shell(tmp_path / name) for name in ("one", "two")]
    daemons = []
    try:
        for shell in shells:
            shell.folder.mkdir()
            shell.line("config", "role", "worker")
            daemons.append(Daemon(shell))
        (one, two), address = shells, json.loads(shells[1].line("--json", "id"))["Addresses"][0]
        me = address.rpartition("/p2p/")[2]
        one.run("swarm", "connect", address)
        cid = two.line("add", "-Q", "-", data=b"provided")
        within(lambda: succeeds(two, "routing", "provide", "-r", cid))
        assert one.line("routing", "findprovs", "-n", "1", cid) == me
        assert "\t/ip4/127.0.0.1" in one.run("routing", "findprovs", "-v", cid).decode()
        [row] = map(json.loads, one.line("--json", "routing", "findprovs", cid).splitlines())
        assert (row["Type"], row["Responses"][0]["ID"]) == (4, me)
        assert "/ip4/127.0.0.1/" in one.line("routing", "findpeer", me)
        key = PrivateKey.generate()
        name = ipns.name_text(key.peer_id())
        raw = ipns.create(key, f"/ipfs/{cid}", 1, time.time())
        one.run("routing", "put", f"/ipns/{name}", "-", data=raw)
        assert two.run("routing", "get", f"/ipns/{name}") == raw
        assert two.run("cat", f"/ipns/{name}") == b"provided"
        mine = two.line("name", "publish", "-Q", cid)
        assert mine == two.line("key", "list", "-l").split()[0]
        assert one.line("name", "resolve", mine) == f"/ipfs/{cid}"
        assert one.run("cat", f"/ipns/{mine}") == b"provided"
        assert one.line("routing", "findprovs", CID) == ""
        three = Shell(tmp_path)  # a node for each command's length, which knows one peer
        named = three.line("--peer", address, "name", "publish", "-Q", cid)
        assert three.line("--peer", address, "name", "resolve") == f"/ipfs/{cid}"
        assert one.run("cat", f"/ipns/{named}") == b"provided"
        assert three.line("--peer", address, "routing", "findprovs", "-n", "1", cid) == me
        assert three.run("--peer", address, "cat", f"/ipns/{mine}") == b"provided"
    finally:
        ends = [daemon.stop() for daemon in daemons]
    assert ends == [(0, "")] * 2


def succeeds(shell, *arguments):
    """Whether a command ends well."""
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, env=shell.env, timeout=60, check=False)
    return done.returncode == 0


def within(check, seconds=30):
    """Try until the peers have met."""
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end
