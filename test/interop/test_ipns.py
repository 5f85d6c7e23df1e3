"""Kubo's records of names are read here, and ours there."""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING

import pytest

from ipfs_kit_py.core.errors import InvalidRecord
from ipfs_kit_py.crypto import ipns
from ipfs_kit_py.crypto.keys import PrivateKey
from ipfs_kit_py.crypto.keystore import Keystore
from test.peers.kubo import _form, _Part
from test.peers.process import PeerFailed
from test.vectors import VECTORS, needs_vectors

if TYPE_CHECKING:
    from pathlib import Path

    from test.peers.kubo import Kubo

pytestmark = pytest.mark.interop


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
