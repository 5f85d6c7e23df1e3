"""docs/store-format.md says what there is: the names, tables, records and limits of a store."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import lmdb
import pytest

from ipfs_kit_py.core.config import (
    LEASE_KEY_BYTES,
    LEASE_KEYS,
    LEASE_MAX_FILES,
    LEASE_MAX_SECONDS,
    LEASE_POLL_SECONDS,
    LEASE_SETTLE_SECONDS,
)
from ipfs_kit_py.storage import format as store_format
from ipfs_kit_py.storage import leases_layout as layout
from ipfs_kit_py.storage.disk import DiskStore
from ipfs_kit_py.storage.leases import Leases
from test.storage.blocks import block

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "store-format.md").read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store in which everything was used."""
    with DiskStore(tmp_path) as store, Leases(tmp_path) as leases, store.hold():
        store.put_many([block(1, 5000), block(2, 50)])
        store.put_many([block(3, 5000)], kept=True)
        store.pins.add(block(3, 5000).cid, name="größte")
        store.records.put(b"space", b"key", b"value")
        with leases.lease([block(1, 5000).cid]):
            pass
    return tmp_path


def rows(first: str) -> list[list[str]]:
    """The cells of the table that begins with a column."""
    table = re.search(rf"^\| {first} \|.*\n\|[-|]+\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    assert table is not None
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.group(1).splitlines()]


def test_the_names_in_the_folder(folder: Path) -> None:
    named = {name for row in rows("name") for name in re.findall(r"`([\w.]+)`", row[0])}
    assert named == {path.name for path in folder.iterdir()}


def test_the_tables(folder: Path) -> None:
    named = {
        (environment, table)
        for row in rows("environment")
        for environment in re.findall(r"`(\w+)`", row[0])
        for table in re.findall(r"`(\w+)`", row[1])
    }
    there = set()
    for environment in ("kept", "fetched"):
        with lmdb.open(str(folder / environment), readonly=True, max_dbs=16) as env, env.begin() as txn:
            names = [key.decode() for key, _value in txn.cursor()]
            there |= {(environment, name) for name in names}
            assert all(not any(txn_flags(env, name).values()) for name in names)
    assert named == there


def txn_flags(env: lmdb.Environment, name: str) -> dict[str, bool]:
    table = env.open_db(name.encode(), create=False)
    with env.begin() as txn:
        return {flag: value for flag, value in table.flags(txn).items() if flag != "create"}


def test_the_records(folder: Path) -> None:
    """Each row as the text has it."""
    one, three = block(1, 5000), block(3, 5000)
    with lmdb.open(str(folder / "kept"), readonly=True, max_dbs=16) as env, env.begin() as txn:

        def get(table: str, key: bytes) -> bytes:
            value = txn.get(key, db=env.open_db(table.encode(), txn=txn, create=False))
            assert value is not None
            return value

        assert get("blocks", three.cid.multihash) == three.data
        assert get("meta", three.cid.multihash)[8:] == b"\0\0\0\0" + (5000).to_bytes(4, "big")
        assert get("state", b"counts")[:16] == (1).to_bytes(8, "big") + (5000).to_bytes(8, "big")
        assert get("pins", three.cid.raw) == b"r" + "größte".encode()
        assert get("records", b"space\0key") == b"value"
    with lmdb.open(str(folder / "fetched"), readonly=True, max_dbs=16) as env, env.begin() as txn:
        order = env.open_db(b"order", txn=txn, create=False)
        meta = txn.get(one.cid.multihash, db=env.open_db(b"meta", txn=txn, create=False))
        assert meta is not None
        assert txn.get(meta[:12], db=order) == one.cid.multihash
        assert one.cid.multihash[:2] == b"\x12\x20"


def test_the_lease(folder: Path) -> None:
    places = [int(row[0].partition("–")[0]) for row in rows("bytes")]
    data = layout.pack(0x0102, 0x0304, [b"key"])
    assert layout.parse(data, 0x0102) == (0x0102, 0x0304, (b"key",))
    assert places == [0, 8, 16, 24]
    assert data[:8].decode() in rows("bytes")[0][1]
    ends = [*places[2:], 32, 34]
    found = [int.from_bytes(data[at:end], sys.byteorder) for at, end in zip([*places[1:], 32], ends, strict=True)]
    assert found == [0x0102, 0x0304, 1, 3]


def test_the_numbers() -> None:
    text = " ".join(TEXT.split())
    for words in (
        f"This is version {store_format.VERSION}.",
        f"up to {LEASE_KEYS} blocks for up to {LEASE_MAX_SECONDS:g} seconds",
        f"at most {LEASE_MAX_SECONDS:g} s later",
        f"at most {LEASE_KEY_BYTES})",
        f"over {LEASE_MAX_FILES} leases",
        f"after {LEASE_SETTLE_SECONDS * 1000:g} ms",
    ):
        assert words in text
    assert LEASE_POLL_SECONDS == 0.0005, "half a millisecond"


def test_the_example(folder: Path) -> None:
    found = re.search(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert found is not None
    code = found.group(1).replace('Path("~/.ipfs-kit/blocks").expanduser()', "folder")
    code = code.replace("bafk...", str(block(1, 5000).cid)).replace("...  #", "read.extend(map(bytes, views))  #")
    read: list[bytes] = []
    exec(code, {"folder": folder, "read": read})
    assert read == [block(1, 5000).data]
