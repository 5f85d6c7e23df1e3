"""Nodes that find each other's content and names through the DHT, on loopback."""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import trio

from ipfs_kit_py import NodeConfig, open_node
from ipfs_kit_py.core.errors import ConfigError, NotRunning
from ipfs_kit_py.repo import Repo
from ipfs_kit_py.routing.dnslink import DnsLink
from ipfs_kit_py.routing.kad_wire import Message, MessageType, PeerInfo
from test.net.swarms import settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from ipfs_kit_py.core.cid import CID, PeerID
    from ipfs_kit_py.node import Node


@asynccontextmanager
async def chain(count: int, **settings: Any) -> AsyncIterator[list[Node]]:
    """Nodes of which each is connected to the one before it alone."""
    async with trio.open_nursery() as nursery:
        nodes: list[Node] = []

        async def live(*, task_status: trio.TaskStatus[None]) -> None:
            async with open_node(NodeConfig(**{"role": "worker", "provide": "none"} | settings)) as node:
                nodes.append(node)
                task_status.started()
                await trio.sleep_forever()

        for _ in range(count):
            await nursery.start(live)
        for one, other in pairwise(nodes):
            await one.connect(other.addresses()[0])
            await settle(lambda one=one: one._dht is None or len(one._dht.sides[1].table) > 0)
        yield nodes
        nursery.cancel_scope.cancel()


async def providers(node: Node, cid: CID) -> list[PeerID]:
    async with aclosing(node.find_providers(cid)) as found:
        return [row.peer async for row in found]


@pytest.mark.parametrize(("provide", "blocks"), [("roots", False), ("all", True)])
def test_what_is_pinned_is_told_as_far_as_the_role_has_it(provide: str, blocks: bool) -> None:
    async def scenario() -> None:
        async with chain(4, provide=provide) as (first, *_others, last):
            root = await first.add_bytes(b"x" * 3_000_000)
            with trio.fail_after(30.0):
                while await providers(last, root) != [first.peer_id]:
                    await trio.sleep(0.1)
            leaf = next(key for key in list(first.store.keys()) if key != root.multihash)
            if blocks:
                with trio.fail_after(30.0):
                    while not [row async for row in last._dht.find_providers(leaf)]:  # type: ignore[union-attr]
                        await trio.sleep(0.1)
            else:
                assert [row async for row in last._dht.find_providers(leaf)] == []  # type: ignore[union-attr]

    trio.run(scenario)


def test_who_is_asked_for_what_it_provides_itself_names_itself() -> None:
    """Nobody but the two is there: what was told to others by the sweep would be with nobody."""

    async def scenario() -> None:
        async with chain(2, provide="roots") as (first, last):
            root = await first.add_bytes(b"x" * 3_000_000)
            leaf = next(key for key in list(first.store.keys()) if key != root.multihash)
            side = last._dht.sides[1]  # type: ignore[union-attr]
            there = PeerInfo(first.peer_id, tuple(address.rpartition("/p2p/")[0] for address in first.addresses()))
            for key, expected in ((root.multihash, [first.peer_id]), (leaf, [])):
                answer = await side.request(there, Message(MessageType.GET_PROVIDERS, key))
                assert [info.peer for info in answer.providers] == expected
            assert await providers(last, root) == [first.peer_id]

    trio.run(scenario)


@pytest.mark.parametrize("paths", [1, 3])
def test_who_tells_of_nothing_tells_when_asked_to(paths: int) -> None:
    async def scenario() -> None:
        async with chain(4, dht_paths=paths) as (first, *_others, last):
            root = await first.add_bytes(b"content")
            assert await providers(last, root) == []
            await first.provide([root])
            assert await providers(last, root) == [first.peer_id]

    trio.run(scenario)


def test_a_name_leads_to_content_through_the_dht(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with chain(4) as (first, *_others, last):
            root = await first.add_bytes(b"named")
            name = await first.name_publish(f"/ipfs/{root}", lifetime=3600.0, ttl=60.0)
            found = await last.resolve(f"/ipns/{name}")
            assert found.cid == root

    trio.run(scenario)


def test_a_node_without_a_dht_says_so() -> None:
    async def scenario() -> None:
        for config in (NodeConfig(dht_mode="off"), NodeConfig(offline=True), NodeConfig(libp2p=False)):
            async with open_node(config) as node:
                with pytest.raises(NotRunning, match=r"DHT|network"):
                    await node.find_peer(node.peer_id.__class__.parse("QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN"))
                assert (await node.statistics()).dht is None

    trio.run(scenario)


def test_settings_that_cannot_be_are_named() -> None:
    with pytest.raises(ConfigError, match="dht_mode is one of server, client, off, not 'on'"):
        NodeConfig(dht_mode="on")
    with pytest.raises(ConfigError, match="provide is one of all, roots, none, not 'some'"):
        NodeConfig(provide="some")
    with pytest.raises(ConfigError, match="dht_paths is 1 to 8, not 9"):
        NodeConfig(dht_paths=9)
    assert replace(NodeConfig(), dht_mode="server").role_policy.dht_mode == "server"


def test_what_the_dht_keeps_outlives_a_restart(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with open_node(NodeConfig(role="worker", provide="none")) as other:
            kept = NodeConfig(repo=tmp_path / "repo", role="worker", provide="none", listen=("/ip4/127.0.0.1/tcp/0",))
            async with open_node(kept) as node:
                await node.connect(other.addresses()[0])
                await settle(lambda: other.peer_id in node._dht.sides[1].table)  # type: ignore[union-attr]
                root = await other.add_bytes(b"kept")
                await other.provide([root])
                await settle(lambda: node._dht.statistics().providers[1].records == 1)  # type: ignore[union-attr]
            async with open_node(kept) as node:
                assert other.peer_id in node._dht.sides[1].table  # type: ignore[union-attr]
                assert await providers(node, root) == [other.peer_id]

    trio.run(scenario)


def test_settings_of_a_repo_have_the_types_of_their_fields(tmp_path: Path) -> None:
    repo = Repo(tmp_path)
    repo.ensure()
    for name, value in (("provide", "none"), ("dht_mode", "server"), ("mdns", False), ("bootstrap", ["well-known"])):
        repo.set(name, value)
        with pytest.raises(ConfigError, match=name):
            repo.set(name, 5)
    config = repo.config()
    assert (config.provide, config.dht_mode, config.mdns, config.bootstrap) == (
        "none",
        "server",
        False,
        ("well-known",),
    )
    for name in ("storage_max", "replication", "prefetch", "grace"):
        with pytest.raises(ConfigError, match=name):
            repo.set(name, "much")


def test_what_the_node_is_told_of_domain_names_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with open_node(NodeConfig(libp2p=False)) as node:
            cid = await node.add_bytes(b"under a domain")

            async def look_up(_self: DnsLink, name: str) -> str:
                assert name == "example.org"
                return f"/ipfs/{cid}"

            monkeypatch.setattr(DnsLink, "__call__", look_up)
            assert (await node.resolve("/ipns/example.org")).cid == cid

    trio.run(scenario)
