"""Keys and names over the table of verbs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from ipfs_kit_py.core.config import NodeConfig
from ipfs_kit_py.core.errors import NotRunning
from ipfs_kit_py.gateway.call import Call, UsageError
from ipfs_kit_py.gateway.verbs import VERBS
from ipfs_kit_py.node import Node, open_node
from ipfs_kit_py.routing.naming import Naming
from test.net.test_naming import Folder, Shelf, clock

if TYPE_CHECKING:
    from pathlib import Path


class Rows:
    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    async def row(self, row: dict[str, Any]) -> None:
        self.rows.append(row)

    async def data(self, data: object) -> None:
        raise AssertionError(data)


async def ask(node: Node, verb: str, *arguments: str, **options: str) -> dict[str, Any]:
    out = Rows()
    await VERBS[verb].run(Call(node, out, arguments, options))
    [row] = out.rows
    return row


def test_keys_and_names(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_node(NodeConfig(repo=tmp_path / "repo", offline=True)) as node:
            made = await ask(node, "key/gen", "site")
            assert made["Id"].startswith("k51")
            assert [row["Name"] for row in (await ask(node, "key/list"))["Keys"]] == ["self", "site"]
            moved = await ask(node, "key/rename", "site", "blog")
            assert moved == {"Was": "site", "Now": "blog", "Id": made["Id"], "Overwrite": False}
            with pytest.raises(NotRunning, match="no router"):
                await ask(node, "name/publish", "/ipfs/x", key="blog")
            node.set_naming(Naming(Shelf(), Folder(), clock))
            row = await ask(node, "name/publish", "bafkqaaa", key="blog", lifetime="1h30m")
            assert row == {"Name": made["Id"], "Value": "/ipfs/bafkqaaa"}
            assert await ask(node, "name/resolve", made["Id"]) == {"Path": "/ipfs/bafkqaaa"}
            cid = await node.block_put(b"by name")
            await ask(node, "name/publish", str(cid))
            assert await node.read_bytes(f"/ipns/{node.peer_id}") == b"by name"
            with pytest.raises(UsageError, match="duration"):
                await ask(node, "name/publish", "bafkqaaa", ttl="soon")
            assert (await ask(node, "key/rm", "blog"))["Keys"] == [{"Name": "blog", "Id": made["Id"]}]

    trio.run(main)
