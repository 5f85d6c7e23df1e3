"""Keys and names over the table of verbs."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
import trio

from ipfs_kit_py.content.files import Entry
from ipfs_kit_py.core.cid import CID
from ipfs_kit_py.core.config import KEY_FILE_BYTES, NodeConfig
from ipfs_kit_py.core.errors import ConfigError, InvalidCID, InvalidRecord, LocalError, NotFound, NotRunning
from ipfs_kit_py.crypto import ipns
from ipfs_kit_py.crypto.keys import PrivateKey
from ipfs_kit_py.node import Node, open_node
from ipfs_kit_py.node.naming import build_naming
from ipfs_kit_py.routing.naming import Naming
from ipfs_kit_py.storage import threads
from ipfs_kit_py.storage.threads import Pool
from ipfs_kit_py.verbs.call import Call, UsageError
from ipfs_kit_py.verbs.table import VERBS
from test.net.names import Folder, Shelf, clock

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from pathlib import Path


TWO, THREE = str(CID.of(b"two")), str(CID.of(b"three"))


class Rows:
    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    async def row(self, row: dict[str, Any]) -> None:
        self.rows.append(row)

    async def data(self, data: object) -> None:
        raise AssertionError(data)


async def ask(node: Node, verb: str, *arguments: str, upload: bytes | None = None, **options: str) -> dict[str, Any]:
    out = Rows()
    given = {name.replace("_", "-"): value for name, value in options.items()}
    async with aclosing(sent(upload)) as entries:
        await VERBS[verb].run(Call(node, out, arguments, given, None if upload is None else entries))
    [row] = out.rows
    return row


async def sent(data: bytes | None) -> AsyncGenerator[Entry, None]:
    async def chunks() -> AsyncGenerator[bytes, None]:
        yield data or b""

    yield Entry("key", "file", chunks=chunks)


def test_keys_and_names(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_node(NodeConfig(repo=tmp_path / "repo", offline=True)) as node:
            made = await ask(node, "key/gen", "site")
            assert made["Id"].startswith("k51")
            assert [row["Name"] for row in (await ask(node, "key/list"))["Keys"]] == ["self", "site"]
            moved = await ask(node, "key/rename", "site", "blog")
            assert moved == {"Was": "site", "Now": "blog", "Id": made["Id"], "Overwrite": False}
            with pytest.raises(NotRunning, match=r"no (router|network)"):
                await ask(node, "name/publish", "/ipfs/bafkqaaa", key="blog")
            node.set_naming(Naming(Shelf(), Folder(), clock))
            row = await ask(node, "name/publish", "bafkqaaa", key="blog", lifetime="1h30m")
            assert row == {"Name": made["Id"], "Value": "/ipfs/bafkqaaa"}
            assert await ask(node, "name/resolve", made["Id"]) == {"Path": "/ipfs/bafkqaaa"}
            cid = await node.block_put(b"by name")
            await ask(node, "name/publish", str(cid))
            assert await node.read_bytes(f"/ipns/{node.peer_id}") == b"by name"
            for nothing in ("nopath", "/ipfs/nopath"):
                with pytest.raises(InvalidCID):
                    await ask(node, "name/publish", nothing)
            with pytest.raises(UsageError, match="points to"):
                await ask(node, "name/publish", "/etc/passwd")
            with pytest.raises(UsageError, match="duration"):
                await ask(node, "name/publish", "bafkqaaa", ttl="soon")
            assert (await ask(node, "key/rm", "blog"))["Keys"] == [{"Name": "blog", "Id": made["Id"]}]

    trio.run(main)


def test_sizes_of_keys_are_those_of_their_type(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_node(NodeConfig(repo=tmp_path / "repo", offline=True)) as node:
            with pytest.raises(LocalError, match="always have 256 bits, not 4096"):
                await ask(node, "key/gen", "one", size="4096")
            await ask(node, "key/gen", "one", size="256")
            with pytest.raises(LocalError, match="2048, 3072 or 4096"):
                await ask(node, "key/gen", "two", type="rsa", size="1024")

    trio.run(main)


def test_a_removed_or_replaced_key_is_published_no_more(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_node(NodeConfig(repo=tmp_path / "repo", offline=True)) as node:
            shelf = Shelf()
            naming = await build_naming(shelf, node.store, node.keystore, clock)
            node.set_naming(naming)
            for name in ("one", "two", "three"):
                await ask(node, "key/gen", name)
                await ask(node, "name/publish", "bafkqaaa", key=name)
            twin = await threads.run(Pool.WORK, node.keystore.export, "three")
            await ask(node, "key/import", "twin", upload=twin)
            assert naming.statistics().ours == 3
            await ask(node, "key/rename", "one", "two", force="true")
            assert naming.statistics().ours == 2
            await ask(node, "key/rm", "two")
            await ask(node, "key/rm", "three")
            assert naming.statistics().ours == 1  # the twin is the same key
            await ask(node, "key/rm", "twin")
            assert naming.statistics().ours == 0

    trio.run(main)


def test_names_go_on_after_a_restart_and_a_bad_key_file_stops_nobody(tmp_path: Path) -> None:
    async def start(shelf: Shelf | None, play: Callable[[Node, Naming], Awaitable[None]]) -> None:
        async with open_node(NodeConfig(repo=tmp_path / "repo", offline=True)) as node:
            naming = await build_naming(shelf, node.store, node.keystore, clock)
            node.set_naming(naming)
            await play(node, naming)

    async def main() -> None:
        shelf, far = Shelf(), PrivateKey.generate()
        name = ipns.name_text(far.peer_id())
        old, new = (ipns.create(far, f"/ipfs/{n}", n, clock()) for n in (1, 2))
        shelf.values[ipns.record_key(far.peer_id())] = new

        async def first(node: Node, naming: Naming) -> None:
            await ask(node, "key/gen", "bad")
            await ask(node, "key/gen", "site")
            await ask(node, "name/publish", "bafkqaaa", key="site")
            await ask(node, "name/publish", TWO)
            assert await naming.resolve(name) == "/ipfs/2"

        async def second(node: Node, naming: Naming) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(naming.run)
                with trio.fail_after(30.0):
                    while naming.statistics().ours < 2:
                        await trio.sleep(0.01)
                nursery.cancel_scope.cancel()
            assert len(shelf.puts) == 2  # not due yet
            with pytest.raises(InvalidRecord, match="older"):
                await ask(node, "name/resolve", name)
            await ask(node, "name/publish", THREE, key="site")
            key = await threads.run(Pool.WORK, node.keystore.load, "site")
            raw = shelf.values[ipns.record_key(key.peer_id())]
            assert ipns.verify(raw, key.peer_id(), clock()).sequence == 1

        async def offline(node: Node, _naming: Naming) -> None:
            assert await ask(node, "name/resolve") == {"Path": f"/ipfs/{TWO}"}
            with pytest.raises(NotRunning, match="allow-offline"):
                await ask(node, "name/publish", "bafkqaaa")
            await ask(node, "name/publish", "bafkqaaa", allow_offline="true")
            assert await ask(node, "name/resolve") == {"Path": "/ipfs/bafkqaaa"}
            with pytest.raises(NotFound, match="no network"):
                await ask(node, "name/resolve", name)

        await start(shelf, first)
        (tmp_path / "repo/keystore/key_mjqwi").chmod(0o644)
        shelf.values[ipns.record_key(far.peer_id())] = old
        shelf.values = {ipns.record_key(far.peer_id()): old}  # the network has forgotten ours
        await start(shelf, second)
        await start(None, offline)

    trio.run(main)


def test_keys_come_in_by_either_format(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_node(NodeConfig(repo=tmp_path / "repo", offline=True)) as node:
            key = PrivateKey.generate()
            row = {"Name": "one", "Id": ipns.name_text(key.peer_id())}
            assert await ask(node, "key/import", "one", upload=key.encode()) == row
            with pytest.raises(ConfigError, match="--format=pem"):
                await ask(node, "key/import", "two", upload=key.encode_pem())
            await ask(node, "key/import", "two", upload=key.encode_pem(), format="pem-pkcs8-cleartext")
            with pytest.raises(UsageError, match="larger"):
                await ask(node, "key/import", "big", upload=bytes(KEY_FILE_BYTES + 1))
            with pytest.raises(UsageError, match="a file in the body"):
                await ask(node, "key/import", "none")
            assert "key/export" not in VERBS  # secrets leave by no verb

    trio.run(main)
