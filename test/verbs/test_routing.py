"""The routing verbs over the table of verbs: Kubo's rows, and words where there is nobody to ask."""

from __future__ import annotations

import base64
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
import trio

from ipfs_kit_py.core.cid import CID
from ipfs_kit_py.core.config import KAD_RECORD_BYTES, NodeConfig
from ipfs_kit_py.core.errors import InvalidAddress, InvalidCID, InvalidRecord, NotFound, NotRunning
from ipfs_kit_py.core.interfaces import Provider
from ipfs_kit_py.crypto import ipns
from ipfs_kit_py.crypto.keys import PrivateKey
from ipfs_kit_py.node import Node, open_node
from ipfs_kit_py.routing.kad_wire import PeerInfo
from ipfs_kit_py.verbs.call import Call, UsageError
from ipfs_kit_py.verbs.table import VERBS
from test.verbs.test_names import Rows, sent

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from ipfs_kit_py.core.cid import PeerID

FIRST, SECOND = PrivateKey.generate(), PrivateKey.generate()
ADDRESS = "/ip4/127.0.0.1/tcp/4001"


class Directory:
    """A network of two that knows everything at once."""

    def __init__(self) -> None:
        self.told: list[bytes] = []
        self.values: dict[bytes, bytes] = {}
        self.searches = 0

    async def find_providers(self, multihash: bytes, *, count: int = 20) -> AsyncGenerator[Provider, None]:
        self.searches += 1
        try:
            for key in (FIRST, SECOND)[:count]:
                await trio.lowlevel.checkpoint()
                yield Provider(key.peer_id(), (ADDRESS,), "here")
        finally:
            self.searches -= 1

    async def provide(self, multihashes: Sequence[bytes]) -> None:
        self.told += multihashes

    async def find_peer(self, peer: PeerID) -> PeerInfo:
        if peer != FIRST.peer_id():
            raise NotFound(f"nobody knows {peer}")
        return PeerInfo(peer, (ADDRESS,))

    async def get_value(self, key: bytes) -> bytes:
        if key not in self.values:
            raise NotFound("no value")
        return self.values[key]

    async def put_value(self, key: bytes, value: bytes) -> None:
        self.values[key] = value


def played(play: Callable[[Node, Directory], Awaitable[None]]) -> None:
    async def main() -> None:
        async with open_node(NodeConfig(offline=True)) as node:
            directory = Directory()
            node.set_routing(directory)
            await play(node, directory)

    trio.run(main)


async def rows(node: Node, verb: str, *arguments: str, upload: bytes | None = None, **options: str) -> list[Any]:
    out = Rows()
    given = {name.replace("_", "-"): value for name, value in options.items()}
    async with aclosing(sent(upload)) as entries:
        await VERBS[f"routing/{verb}"].run(Call(node, out, arguments, given, None if upload is None else entries))
    return out.rows


def event(kind: int, key: PrivateKey) -> dict[str, Any]:
    return {"Extra": "", "ID": "", "Responses": [{"ID": str(key.peer_id()), "Addrs": [ADDRESS]}], "Type": kind}


def test_providers_and_peers_are_found() -> None:
    async def play(node: Node, directory: Directory) -> None:
        cid = str(CID.of(b"x"))
        assert await rows(node, "findprovs", cid) == [event(4, FIRST), event(4, SECOND)]
        assert await rows(node, "findprovs", f"/ipfs/{cid}", num_providers="1") == [event(4, FIRST)]
        with pytest.raises(UsageError, match="1 or more"):
            await rows(node, "findprovs", cid, num_providers="0")
        with pytest.raises(InvalidCID):
            await rows(node, "findprovs", cid, "no")
        assert await rows(node, "findpeer", str(FIRST.peer_id())) == [event(2, FIRST)]
        with pytest.raises(NotFound, match="nobody knows"):
            await rows(node, "findpeer", str(SECOND.peer_id()))
        with pytest.raises(InvalidAddress, match="itself"):
            await rows(node, "findpeer", str(node.peer_id))
        async with aclosing(node.find_providers(CID.of(b"x"))) as found:
            await anext(found)
            assert directory.searches == 1
        assert directory.searches == 0  # who leaves ends the search

    played(play)


def test_what_is_here_is_provided_alone_or_whole() -> None:
    async def play(node: Node, directory: Directory) -> None:
        leaf = await node.block_put(b"leaf")
        root = await node.dag_put({"leaf": leaf})
        assert await rows(node, "provide", str(root), str(root)) == []
        assert directory.told == [root.multihash]
        directory.told.clear()
        await rows(node, "provide", str(root), recursive="true")
        assert set(directory.told) == {root.multihash, leaf.multihash}
        with pytest.raises(NotFound, match="cannot be provided"):
            await rows(node, "provide", str(root), str(CID.of(b"elsewhere")))

    played(play)


def test_values_are_put_where_they_are_good_and_got_back() -> None:
    async def play(node: Node, directory: Directory) -> None:
        key = f"/ipns/{ipns.name_text(FIRST.peer_id())}"
        raw = ipns.create(FIRST, "/ipfs/bafkqaaa", 3, time.time())
        assert await rows(node, "put", key, upload=raw) == [{"Extra": "", "ID": "", "Responses": None, "Type": 5}]
        [got] = await rows(node, "get", key)
        assert (base64.b64decode(got["Extra"]), got["Type"]) == (raw, 5)
        assert directory.values == {ipns.record_key(FIRST.peer_id()): raw}
        public = FIRST.public_key.encode()
        await rows(node, "put", f"/pk/{FIRST.peer_id()}", upload=public)
        assert await node.get_value(b"/pk/" + FIRST.peer_id().raw) == public
        for bad in ("foo", "/foo/x", "/ipns/", "/pk", "ipns/x"):
            with pytest.raises(InvalidRecord, match="values are kept under"):
                await rows(node, "get", bad)
        with pytest.raises(InvalidRecord, match="signature"):
            await rows(node, "put", f"/ipns/{SECOND.peer_id()}", upload=raw)
        with pytest.raises(UsageError, match="larger"):
            await rows(node, "put", key, upload=bytes(KAD_RECORD_BYTES + 1))

    played(play)


def test_a_node_with_nobody_to_ask_says_so() -> None:
    async def play(node: Node, _directory: Directory) -> None:
        node.set_routing(None)
        peer = str(FIRST.peer_id())
        block = str(await node.block_put(b"x"))
        for verb, argument in (("findprovs", block), ("provide", block), ("findpeer", peer), ("get", f"/ipns/{peer}")):
            with pytest.raises(NotRunning, match="no network"):
                await rows(node, verb, argument)

    played(play)
