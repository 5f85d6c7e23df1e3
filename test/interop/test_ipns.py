"""Kubo's records of names are read here, and ours there."""

from __future__ import annotations

import base64
import os
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import trio

from ipfs_kit_py import NodeConfig, open_node
from ipfs_kit_py.core.cid import CID
from ipfs_kit_py.core.errors import InvalidRecord, IPFSKitError
from ipfs_kit_py.crypto import ipns
from ipfs_kit_py.crypto.keys import PrivateKey
from ipfs_kit_py.crypto.keystore import FORMS, Keystore
from test.peers.kubo import Kubo, _form, _Part
from test.peers.process import PeerFailed
from test.vectors import VECTORS, needs_vectors

if TYPE_CHECKING:
    from pathlib import Path

    from ipfs_kit_py.node import Node

pytestmark = pytest.mark.interop

DHT = {"Routing.Type": "dhtserver", "Routing.LoopbackAddressesOnLanDHT": True}


def inspect(kubo: Kubo, raw: bytes, name: str) -> dict[str, object]:
    body = _form([_Part("record", "application/octet-stream", [raw])])
    return kubo.lines("name/inspect", body=body, verify=name)[0]


def published(kubo: Kubo, name: str) -> bytes:
    """The record as Kubo keeps it."""
    return base64.b64decode(kubo.lines("routing/get", f"/ipns/{name}", offline=True)[0]["Extra"])


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_kubo_publishes_and_we_read(kubo: Kubo, kind: str) -> None:
    size = {"size": 2048} if kind == "rsa" else {}
    name = kubo.lines("key/gen", "site", type=kind, ipns_base="base36", **size)[0]["Id"]
    for data in (b"first", b"second"):
        value = "/ipfs/" + kubo.add_bytes(data)
        kubo.rpc("name/publish", value, key="site", offline=True, allow_offline=True, ttl="7m")
    record = ipns.verify(published(kubo, name), ipns.parse_name(name), time.time())
    assert (record.value, record.ttl) == (value, 420)
    assert record.sequence == 1


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
@pytest.mark.parametrize("v1", [True, False])
def test_we_make_and_kubo_verifies(kubo: Kubo, tmp_path: Path, kind: str, v1: bool) -> None:
    key = Keystore(tmp_path / "keystore", PrivateKey.generate()).generate("site", kind)
    name = ipns.name_text(key.peer_id())
    raw = ipns.create(key, "/ipfs/bafkqaaa", 5, time.time(), ttl=60, v1=v1)
    found = inspect(kubo, raw, name)
    assert found["Validation"]["Valid"] is True  # type: ignore[index]
    entry = found["Entry"]
    assert (entry["Value"], entry["Sequence"], entry["TTL"]) == ("/ipfs/bafkqaaa", 5, 60_000_000_000)  # type: ignore[index]


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
@pytest.mark.parametrize("form", FORMS)
def test_keys_go_out_and_in_both_ways(kubo: Kubo, kubo_path: Path, tmp_path: Path, kind: str, form: str) -> None:
    """``key export`` is no RPC there either: Kubo's own command reads the repo that the daemon has."""
    ours = Keystore(tmp_path / "keystore", PrivateKey.generate())
    made = ours.generate("site", kind)
    body = _form([_Part("file", "application/octet-stream", [ours.export("site", form)])])
    row = kubo.lines("key/import", "site", body=body, format=form, ipns_base="base36")[0]
    assert row == {"Name": "site", "Id": ipns.name_text(made.peer_id())}
    size = {"size": 2048} if kind == "rsa" else {}
    name = kubo.lines("key/gen", "theirs", type=kind, ipns_base="base36", **size)[0]["Id"]
    file = tmp_path / "out"
    environment = {**os.environ, "IPFS_PATH": str(kubo.repo), "IPFS_TELEMETRY": "off"}
    for key, secret in (("theirs", None), ("site", ours.export("site", form))):
        file.unlink(missing_ok=True)
        command = [str(kubo_path), "key", "export", "--format", form, "-o", str(file), key]
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=30)
        if secret is None:
            assert ipns.name_text(ours.add("theirs", file.read_bytes(), form).peer_id()) == name
        else:
            assert file.read_bytes() == secret  # to the byte what we write


def test_one_key_on_two_machines(kubo_path: Path, tmp_path: Path) -> None:
    """Kubo publishes with our key what is newer than ours: we follow it, renew it and go on from it."""

    async def scenario(kubo: Kubo) -> None:
        config = NodeConfig(repo=tmp_path / "repo", role="worker", provide="none")
        async with open_node(config) as node:
            await node.connect(kubo.address)
            made = await trio.to_thread.run_sync(node.keystore.generate, "site")
            name, key = ipns.name_text(made.peer_id()), ipns.record_key(made.peer_id())
            body = _form([_Part("file", "application/octet-stream", [made.encode()])])
            await trio.to_thread.run_sync(lambda: kubo.lines("key/import", "site", body=body))
            first, second = [f"/ipfs/{CID.of(data)}" for data in (b"one", b"two")]
            with trio.fail_after(60.0):
                while not await _told(node, first):
                    await trio.sleep(0.1)
            [row] = await trio.to_thread.run_sync(lambda: kubo.lines("name/resolve", name, nocache=True))
            assert row["Path"] == first
            [row] = await trio.to_thread.run_sync(lambda: kubo.lines("routing/get", f"/ipns/{name}"))
            assert ipns.verify(base64.b64decode(row["Extra"]), made.peer_id(), time.time()).sequence == 0
            publish = {"key": "site", "resolve": False}
            await trio.to_thread.run_sync(lambda: kubo.lines("name/publish", second, **publish))
            assert await node.naming.resolve(name, fresh=True) == second
            await node.naming._republish(made.peer_id())
            renewed = ipns.verify(await node.get_value(key), made.peer_id(), time.time())
            assert (renewed.value, renewed.sequence) == (second, 1)
            await node.name_publish(first, key="site", lifetime=3600.0)
            [row] = await trio.to_thread.run_sync(lambda: kubo.lines("routing/get", f"/ipns/{name}"))
            newest = ipns.verify(base64.b64decode(row["Extra"]), made.peer_id(), time.time())
            assert (newest.value, newest.sequence) == (first, 2)
            old = _form([_Part("file", "application/octet-stream", [renewed.raw])])
            with suppress(PeerFailed):  # what is older is refused, or passed over
                await trio.to_thread.run_sync(lambda: kubo.lines("routing/put", f"/ipns/{name}", body=old))
            assert await node.naming.resolve(name, fresh=True) == first

    with Kubo(kubo_path, tmp_path / "kubo", settings=DHT) as kubo:
        trio.run(scenario, kubo)


async def _told(node: Node, path: str) -> bool:
    """Publish, once the two know each other."""
    try:
        await node.name_publish(path, key="site", lifetime=3600.0)
    except IPFSKitError:
        return False
    return True


@needs_vectors
def test_kubo_and_we_think_the_same_of_every_vector(kubo: Kubo) -> None:
    valid = 0
    for path in sorted((VECTORS / "ipns").iterdir()):
        name = path.name.split("_")[0]
        try:
            theirs = bool(inspect(kubo, path.read_bytes(), name)["Validation"]["Valid"])  # type: ignore[index]
        except PeerFailed:  # it does not read V1 alone
            theirs = False
        try:
            ipns.verify(path.read_bytes(), ipns.parse_name(name), time.time())
            ours = True
        except InvalidRecord:
            ours = False
        assert ours == theirs, path.name
        valid += theirs
    assert valid == 3
