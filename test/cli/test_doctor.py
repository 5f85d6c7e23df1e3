"""The doctor: what it finds on real repos, ports, peers, daemons and tiers, and that it changes nothing."""

import json
import os
import socket
import time

import pytest

from ipfs_kit_py.libp2p_peer import IPFSLibp2pPeer
from ipfs_kit_py.repo import Repo
from test.cli.test_cli import Daemon, Shell


@pytest.fixture
def shell(tmp_path):
    return Shell(tmp_path)


def look(shell, *options, code=0):
    """What it found, by name."""
    rows = [json.loads(line) for line in shell.run("--json", *options, "doctor", code=code).splitlines()]
    return {row["name"]: row for row in rows}


def made(shell, **settings):
    repo = Repo(shell.repo)
    repo.ensure()
    repo.set("api", "127.0.0.1:0")
    for name, value in settings.items():
        repo.set(name, value)
    return repo


def test_a_machine_without_a_repo_is_well(shell):
    found = look(shell)
    assert found["repo"]["state"] == "ok"
    assert "made on first use" in found["repo"]["text"]
    assert not shell.repo.exists()
    assert found["peers"]["state"] == "warning"
    assert "--peer" in found["peers"]["advice"]
    assert {"program", "repo", "identity", "clock", "disk", "open files", "daemon", "reach", "peers"} <= set(found)


def test_every_finding_that_is_not_ok_says_what_to_do(shell):
    made(
        shell,
        listen=["/ip4/192.0.2.1/tcp/4001", "/ip4/0.0.0.0/udp/1/quic-v1"],
        peers=["/ip4/127.0.0.1/tcp/9/p2p/" + PEER],
    )
    found = look(shell, code=1)
    assert len([row for row in found.values() if row["state"] == "problem"]) == 2
    assert all(row["advice"] for row in found.values() if row["state"] != "ok")


PEER = "12D3KooWGrzdS3893W4YS1ZLzzfqcs2zV49E49sN4CoQ8krtkFRt"


def test_people_get_lines_and_a_sum(shell):
    lines = shell.line("doctor").splitlines()
    assert lines[0].startswith("ok      program: ipfs-kit ")
    assert lines[-1].endswith(" warnings")
    assert any(line.startswith("        -> ") for line in lines)


def test_it_changes_nothing(shell):
    shell.run("init")
    before = {path: path.stat().st_mtime_ns for path in shell.repo.rglob("*")}
    look(shell)
    assert {path: path.stat().st_mtime_ns for path in shell.repo.rglob("*")} == before


def test_a_broken_configuration_is_named(shell):
    made(shell).config_path.write_text("role = [")
    assert "cannot be read" in look(shell, code=1)["configuration"]["text"]


def test_an_identity_that_cannot_be_read_or_is_for_all_to_read(shell):
    shell.run("init")
    repo = Repo(shell.repo)
    repo.identity_path.chmod(0o644)
    assert "chmod 600" in look(shell, code=1)["identity"]["text"]
    repo.identity_path.write_bytes(b"no key")
    assert look(shell, code=1)["identity"]["state"] == "problem"


def test_a_clock_that_is_behind(shell):
    repo = made(shell)
    later = time.time() + 7200
    os.utime(repo.config_path, (later, later))
    clock = look(shell, code=1)["clock"]
    assert clock["text"].startswith("2.0 h behind")
    assert "NTP" in clock["advice"]


def test_more_than_the_disk_has(shell):
    made(shell, storage_max=10**18)
    assert "storage_max" in look(shell)["disk"]["advice"]


def test_a_port_that_is_taken(shell):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        made(shell, listen=[f"/ip4/127.0.0.1/tcp/{port}"], api=f"127.0.0.1:{port}")
        found = look(shell, code=1)
    assert found[f"port /ip4/127.0.0.1/tcp/{port}"]["state"] == "problem"
    assert found["API port"]["state"] == "warning"


def test_how_far_it_can_be_reached_from(shell):
    assert "this machine alone" in look(shell)["reach"]["text"]
    made(shell, listen=["/ip4/0.0.0.0/tcp/0"])
    assert look(shell)["reach"]["state"] in ("ok", "warning")
    made(shell, announce=["/ip4/203.0.113.5/tcp/4001"])
    assert look(shell)["reach"]["state"] == "ok"


def test_peers_are_dialled(shell):
    with IPFSLibp2pPeer() as there, IPFSLibp2pPeer() as gone:
        address, silent = there.get_multiaddrs()[0], gone.get_multiaddrs()[0]
        gone.close()
        made(shell, peers=[address], bootstrap=[silent])
        found = look(shell, code=1)
    assert found[f"peer {address}"]["text"].startswith("connected within")
    assert found[f"peer {silent}"]["state"] == "problem"


def test_remote_tiers_are_asked(shell):
    made(
        shell,
        tiers=[{"type": "gateway", "urls": ["http://127.0.0.1:9"]}, {"type": "kubo", "endpoint": "http://127.0.0.1:9"}],
    )
    found = look(shell, code=1)
    assert found["tier kubo"]["state"] == found["tier gateway"]["state"] == "problem"
    made(shell, tiers=[{"type": "no such"}])
    assert "no such" in look(shell, code=1)["tiers"]["text"]


def test_a_daemon_is_asked_for_its_peers(shell):
    daemon = Daemon(shell)
    found = look(shell)
    assert "one runs on this repo" in found["daemon"]["text"]
    assert found["daemon's peers"]["state"] == "warning"
    with IPFSLibp2pPeer() as other:
        shell.run("swarm", "connect", other.get_multiaddrs()[0])
        assert look(shell)["daemon's peers"]["text"] == "1 connected"
    daemon.stop()
