"""The DHT with js-libp2p's kad-dht and Kubo 0.22, and fetches of what it leads to, both ways: no peer is connected to
whom it is to find."""

from __future__ import annotations

import hashlib
import random
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from ipfs_kit_py import NodeConfig, open_node
from ipfs_kit_py.core.cid import CID, PeerID
from ipfs_kit_py.crypto import ipns
from ipfs_kit_py.crypto.keys import PrivateKey
from test.interop.suite import SECONDS, in_thread
from test.interop.test_dht import DHT, Member, members
from test.net.swarms import settle
from test.peers.kubo import Kubo

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from ipfs_kit_py import Node
    from test.peers.helia import Helia
    from test.peers.kubo022 import Kubo022

pytestmark = pytest.mark.interop


@pytest.fixture
def kubo_dht(kubo_path: Path, tmp_path: Path) -> Iterator[Kubo]:
    with Kubo(kubo_path, tmp_path / "kubo", settings=DHT) as peer:
        yield peer


@asynccontextmanager
async def between(peer: Helia | Kubo022) -> AsyncIterator[tuple[Member, Member]]:
    """Two of ours: the peer and the second are connected to the first, and not to each other."""
    with trio.fail_after(SECONDS):
        async with members(2) as (middle, far):
            await in_thread(peer.connect, middle.address)
            await settle(lambda: PeerID.parse(peer.peer_id) in middle.dht.sides[1].table)
            await far.join(middle.address)
            yield middle, far


# --- js-libp2p --------------------------------------------------------------------------------------------------------


def test_js_and_we_find_each_others_providers(helia_dht: Helia) -> None:
    async def scenario() -> None:
        async with between(helia_dht) as (_middle, far):
            theirs, ours = CID.of(b"only there"), CID.of(b"only here")
            await in_thread(helia_dht.provide, str(theirs))
            [found] = await far.providers(theirs)
            assert str(found.peer) == helia_dht.peer_id
            assert helia_dht.address.startswith(found.addresses[0])
            await far.dht.provide([ours.multihash])
            told = await in_thread(helia_dht.find_providers, str(ours))
            assert list(told) == [str(far.peer_id)]
            assert any(text.startswith(far.swarm.addresses()[0]) for text in told[str(far.peer_id)])

    trio.run(scenario)


def test_js_and_we_find_each_other(helia_dht: Helia) -> None:
    async def scenario() -> None:
        async with between(helia_dht) as (_middle, far):
            found = await far.dht.find_peer(PeerID.parse(helia_dht.peer_id))
            assert any(helia_dht.address.startswith(text) for text in found.addresses)
            while not (told := await in_thread(helia_dht.find_peer, str(far.peer_id))):
                await trio.sleep(0.05)  # it is connected to us by our search, and has not heard yet where we are
            assert any(text.startswith(far.swarm.addresses()[0]) for text in told)

    trio.run(scenario)


def test_names_go_to_js_and_come_from_it(helia_dht: Helia) -> None:
    async def scenario() -> None:
        async with between(helia_dht) as (_middle, far):
            key, value = PrivateKey.generate(), f"/ipfs/{CID.of(b'ours')}"
            await far.dht.put_value(ipns.record_key(key.peer_id()), ipns.create(key, value, 1, time.time()))
            assert await in_thread(helia_dht.resolve, str(key.peer_id())) == value
            value = f"/ipfs/{CID.of(b'theirs')}"
            name = PeerID.parse(await in_thread(helia_dht.publish, value))
            record = await far.dht.get_value(ipns.record_key(name))
            assert ipns.verify(record, name, time.time()).value == value

    trio.run(scenario)


# --- Kubo 0.22 --------------------------------------------------------------------------------------------------------


def test_kubo_of_2023_and_we_find_each_other(kubo022_dht: Kubo022) -> None:
    async def scenario() -> None:
        async with between(kubo022_dht) as (middle, far):
            found = await far.dht.find_peer(PeerID.parse(kubo022_dht.peer_id))
            assert any(kubo022_dht.address.startswith(text) for text in found.addresses)
            told = await in_thread(kubo022_dht.find_peer, str(far.peer_id))
            assert any(text.startswith(far.swarm.addresses()[0]) for text in told)
            assert middle.dht.sides[1].server.statistics().answered["FIND_NODE"]

    trio.run(scenario)


# --- all --------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def nodes_between(peer: Helia | Kubo022 | Kubo) -> AsyncIterator[tuple[Node, Node]]:
    """As ``between``, whole nodes."""
    config = NodeConfig(provide="none", mdns=False)
    with trio.fail_after(SECONDS):
        async with open_node(config) as middle, open_node(config) as far:
            await in_thread(peer.connect, middle.addresses()[0])
            await settle(lambda: PeerID.parse(peer.peer_id) in middle._dht.sides[1].table)
            await far.connect(middle.addresses()[0])
            await settle(lambda: middle.peer_id in far._dht.sides[1].table)
            yield middle, far


async def announced_is_fetched(peer: Helia | Kubo022 | Kubo, scratch: Path) -> None:
    """What ours alone has, the peer finds and fetches."""
    data = random.Random(3).randbytes(600_000)
    async with nodes_between(peer) as (_middle, far):
        cid = await far.add_bytes(data)
        assert await far.announce_content(cid) is True
        await far.disconnect(PeerID.parse(peer.peer_id))
        if isinstance(peer, Kubo):
            assert (await in_thread(peer.fetch, f"/ipfs/{cid}")).sha256 == hashlib.sha256(data).hexdigest()
        else:
            await in_thread(peer.get, str(cid), scratch)
            assert scratch.read_bytes() == data


async def told_is_fetched(peer: Helia | Kubo, cid: str, data: bytes) -> None:
    """What the peer alone has, ours finds and fetches."""
    async with nodes_between(peer) as (_middle, far):
        if isinstance(peer, Kubo):
            await in_thread(lambda: peer.lines("routing/provide", cid))
        else:
            await in_thread(peer.provide, cid)
        assert await far.retrieve_content(CID.parse(cid), timeout=60.0) == data


def test_kubo_fetches_what_it_finds_here_alone(kubo_dht: Kubo, tmp_path: Path) -> None:
    trio.run(announced_is_fetched, kubo_dht, tmp_path / "got")


def test_kubo_of_2023_fetches_what_it_finds_here_alone(kubo022_dht: Kubo022, tmp_path: Path) -> None:
    trio.run(announced_is_fetched, kubo022_dht, tmp_path / "got")


def test_js_fetches_what_it_finds_here_alone(helia_dht: Helia, tmp_path: Path) -> None:
    trio.run(announced_is_fetched, helia_dht, tmp_path / "got")


def test_we_fetch_what_we_find_at_kubo_alone(kubo_dht: Kubo) -> None:
    data = random.Random(4).randbytes(600_000)
    trio.run(told_is_fetched, kubo_dht, kubo_dht.add_bytes(data), data)


def test_we_fetch_what_we_find_at_js_alone(helia_dht: Helia, tmp_path: Path) -> None:
    data = random.Random(4).randbytes(600_000)
    (tmp_path / "file").write_bytes(data)
    trio.run(told_is_fetched, helia_dht, helia_dht.add(tmp_path / "file"), data)


def test_we_fetch_what_we_find_at_kubo_of_2023_alone(kubo022_dht: Kubo022, tmp_path: Path) -> None:
    data = random.Random(4).randbytes(600_000)
    (tmp_path / "file").write_bytes(data)

    async def scenario() -> None:
        async with nodes_between(kubo022_dht) as (middle, far):
            cid = await in_thread(kubo022_dht.add, tmp_path / "file")  # it tells by itself of what is added
            records = middle._dht._providers[middle._dht.sides[1].side]
            await settle(lambda: len(records) > 0, 60.0)
            assert await far.retrieve_content(CID.parse(cid), timeout=60.0) == data

    trio.run(scenario)
