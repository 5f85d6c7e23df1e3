"""Where the bytes come from, in a simulated network: shares, duplicates, messages, full pipes, work per block."""

from __future__ import annotations

import random
import sys
from collections import Counter, deque
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from ipfs_kit_py.bitswap.session import Wants
from ipfs_kit_py.bitswap.wants import Send
from ipfs_kit_py.core.config import KIB, MIB

from .bitswap_world import Link, Node, World, check, check_empty, cid_of, peer_of

if TYPE_CHECKING:
    from ipfs_kit_py.bitswap.wire import Entry
    from ipfs_kit_py.core.cid import PeerID

BLOCK = 256 * KIB


def _done(client: Node) -> bool:
    return not client.wants._wants


def _swarm(links: list[Link], blocks: int, *, size: int = BLOCK, chosen: bool = True) -> tuple[World, Node, list[Node]]:
    """A client connected to servers that have all."""
    world = World(seed=3)
    client = world.node()
    servers = [world.node() for _ in links]
    for server, link in zip(servers, links, strict=True):
        server.have(range(blocks), size)
        if chosen:
            client.wants.always_ask(server.id, 0.0)
        world.connect(client, server, link)
    return world, client, servers


def _shares(client: Node, servers: list[Node]) -> list[float]:
    sums: Counter[PeerID] = Counter()
    for _, peer, _, size in client.got:
        sums[peer] += size
    return [sums[server.id] / max(sum(sums.values()), 1) for server in servers]


@pytest.mark.parametrize("size", [BLOCK, 4000], ids=["256 KiB", "4 KB"])
def test_few_duplicates_with_eight_providers(size: int) -> None:
    """Of everything, one of them slow and one that stalls in the middle: under 5 % of the bytes come twice, and the
    others do the work."""
    blocks = 1000 if size == BLOCK else 4000
    links = [Link(latency=0.01 * (1 + number % 3), bandwidth=2e7) for number in range(6)]
    links += [Link(latency=0.05, bandwidth=3e5), Link(latency=0.02, bandwidth=2e7)]
    world, client, servers = _swarm(links, blocks, size=size)

    def stall() -> None:
        servers[7].stalled = servers[7].deaf = True

    world.at(0.15, stall)
    world.at(4.0, lambda: setattr(servers[7], "stalled", False) or world.act(servers[7]))  # it says late what it owes
    world.fetch(client, range(blocks))
    assert world.run(until=lambda: _done(client), seconds=60)
    took = world.now
    world.run(seconds=20)
    assert client.surplus < 0.05 * blocks * size
    assert len(client.got) == blocks
    assert not client.penalties
    assert took < 1.5 * blocks * size / 1.2e8 + 3.5  # six good peers, and the end that waits for the bad ones
    shares = _shares(client, servers)
    assert min(shares[:6]) > (0.05 if size == BLOCK else 0.0)
    assert shares[6] < 0.03


def test_a_fast_peer_gets_most_of_the_bytes() -> None:
    """One ten times as fast as two others gives about ten times as much; nobody's share is nothing."""
    world, client, servers = _swarm([Link(bandwidth=1e7), Link(bandwidth=1e8), Link(bandwidth=1e7)], 1500)
    world.fetch(client, range(1500))
    assert world.run(until=lambda: _done(client), seconds=60)
    slow, fast, other = _shares(client, servers)
    assert fast > 0.7
    assert min(slow, other) > 0.02
    assert world.now < 1.3 * 1500 * BLOCK / 1.2e8 + 0.5


def test_a_near_peer_is_preferred_for_single_blocks() -> None:
    """Block after block, as a walk through a graph asks: the nearest of those that have it."""
    world, client, servers = _swarm([Link(latency=0.2), Link(latency=0.005), Link(latency=0.1)], 60)
    session = client.wants.open_session()
    for number in range(60):
        world.fetch(client, [number], session=session)
        assert world.run(until=lambda: _done(client))
    assert _shares(client, servers)[1] > 0.85


@pytest.mark.parametrize("latency", [0.05, 0.001])
def test_the_pipe_stays_full(latency: float) -> None:
    """100 MB/s over 100 ms there and back: the window follows, and little time is lost."""
    world, client, _ = _swarm([Link(latency=latency, bandwidth=1e8)], 3000)
    world.fetch(client, range(3000))
    assert world.run(until=lambda: _done(client), seconds=60)
    assert world.now < 1.12 * 3000 * BLOCK / 1e8 + 4 * latency


def test_small_blocks_fill_the_pipe() -> None:
    """As far as 1,024 wants at once can: that many every round trip."""
    world, client, _ = _swarm([Link(latency=0.01, bandwidth=1e8)], 20_000, size=1000)
    world.fetch(client, range(20_000))
    assert world.run(until=lambda: _done(client), seconds=60)
    assert world.now < 1.5 * 20_000 / 1024 * 0.02 + 0.2


def _messages_to_idle(*, chosen: bool) -> int:
    """Of a fetch with 500 peers connected, three of which have the content."""
    world = World(seed=5)
    client = world.node()
    idle = [world.node() for _ in range(497)]
    holders = [world.node() for _ in range(3)]
    for server in (*idle, *holders):
        if chosen:
            client.wants.always_ask(server.id, 0.0)
        world.connect(client, server)
    for holder in holders:
        holder.have(range(200), BLOCK)
    world.providers = {cid_of(number): [holder.id for holder in holders] for number in range(200)}
    world.fetch(client, range(200))
    assert world.run(until=lambda: _done(client), seconds=60)
    world.run(seconds=5)
    assert world.now < 10
    return sum(world.messages[client.id, node.id] for node in idle)


def test_idle_peers_hear_next_to_nothing() -> None:
    """At most 1/20 of the messages of asking all 500, as if the caller had chosen them."""
    assert _messages_to_idle(chosen=False) <= _messages_to_idle(chosen=True) / 20


def test_the_next_session_asks_those_that_delivered() -> None:
    """Others hear no more of it than a few, and no search is needed."""
    world = World(seed=6)
    client = world.node()
    idle = [world.node() for _ in range(100)]
    holder = world.node()
    for server in (*idle, holder):
        world.connect(client, server)
    holder.have(range(400), 1000)
    world.providers = {cid_of(number): [holder.id] for number in range(100)}
    world.fetch(client, range(100))
    assert world.run(until=lambda: _done(client), seconds=60)
    searches, before = len(client.searches), world.now
    world.fetch(client, range(100, 400))
    assert world.run(until=lambda: _done(client), seconds=60)
    assert len(client.searches) == searches
    assert world.now - before < 0.5


def test_wants_of_a_busy_peer_do_not_hold_up_others() -> None:
    """A slow peer alone has the first hundreds, a fast one alone the rest: the rest does not wait for the first."""
    world = World(seed=7)
    client, slow, fast = world.node(), world.node(), world.node()
    for server in (slow, fast):
        client.wants.always_ask(server.id, 0.0)
        world.connect(client, server, Link(bandwidth=2e6 if server is slow else 1e8))
    slow.have(range(200), BLOCK)
    fast.have(range(200, 1200), BLOCK)
    world.fetch(client, range(1200))
    rest = {cid_of(number).multihash for number in range(200, 1200)}
    assert world.run(until=lambda: rest <= set(client.store), seconds=120)
    assert world.now < 8.0
    assert world.run(until=lambda: _done(client), seconds=120)
    assert world.now < 1.3 * 200 * BLOCK / 2e6


def test_wants_that_nobody_has_do_not_hold_up_others() -> None:
    """A thousand absent blocks come first in the list; those that a peer has arrive meanwhile."""
    world, client, (server,) = _swarm([Link(bandwidth=1e8)], 0)
    world.connect(client, world.node())
    server.have(range(1000, 1500), BLOCK)
    world.fetch(client, range(1500))
    assert world.run(until=lambda: len(client.got) == 500, seconds=60)
    assert world.now < 4.0
    check(client.wants)


def test_scattered_content() -> None:
    """Each block at two of six peers: all come, without many questions."""
    world = World(seed=9, check=False)
    client = world.node()
    servers = [world.node() for _ in range(6)]
    for number in range(600):
        for server in world.rng.sample(servers, 2):
            server.have([number], BLOCK)
    for server in servers:
        client.wants.always_ask(server.id, 0.0)
        world.connect(client, server, Link(bandwidth=2e7))
    world.fetch(client, range(600))
    assert world.run(until=lambda: _done(client), seconds=60)
    assert world.now < 6.0
    assert client.surplus < 0.05 * 600 * BLOCK
    assert sum(len(entries) for entries in world.entries.values()) < 600 * 12


def test_four_clients_of_one_server_share_evenly() -> None:
    """Through one uplink, within 20 % whenever it is looked at."""
    world = World(seed=11)
    server = world.node()
    server.have(range(400), BLOCK)
    clients = [world.node() for _ in range(4)]
    for client in clients:
        world.connect(client, server, Link(bandwidth=5e7))
        world.fetch(client, range(400))
    while not all(_done(client) for client in clients):
        assert world.run(until=lambda: False, seconds=0.1) is False
        taken = [len(client.got) for client in clients]
        if min(taken) > 40 and max(taken) < 390:
            assert max(taken) <= 1.2 * min(taken)
        assert world.now < 30


def test_a_chain_of_relays() -> None:
    """What a node fetches it serves on, to wants that it could not answer before."""
    world = World(seed=12, check=True)
    nodes = [world.node() for _ in range(4)]
    nodes[0].have(range(40), BLOCK)
    for left, right in pairwise(nodes):
        world.connect(left, right)
    for node in nodes[1:]:
        world.fetch(node, range(40))
    assert world.run(until=lambda: all(_done(node) for node in nodes), seconds=60)
    assert world.now < 5


def _calls(blocks: int, peers: int, *, size: int = BLOCK) -> float:
    """Python calls inside the engine for each block of a fetch, answered four blocks at a time."""
    wants = Wants(random.Random(1))
    for number in range(peers):
        wants.always_ask(peer_of(number), 0.0)
        wants.on_peer_connected(peer_of(number), 0.0, rtt=0.01)
    session = wants.open_session()
    cids = [cid_of(number) for number in range(blocks)]
    told: dict[PeerID, deque[Entry]] = {peer_of(number): deque() for number in range(peers)}
    calls, now = 0, 0.0

    def count(_frame: Any, event: str, _arg: Any) -> None:
        nonlocal calls
        calls += event == "call"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        wants.want(session, cids, now)
        while wants._wants:
            while (action := wants.next_action(now)) is not None:
                assert isinstance(action, Send)
                while (message := wants.take(action.peer)) is not None:
                    told[action.peer].extend(message[0])
            wants.deadline()
            now += 0.001
            for peer, queue in told.items():
                entries = [queue.popleft() for _ in range(min(len(queue), 4))]
                probed = [entry.cid for entry in entries if entry.want_have]
                if probed:
                    wants.on_presences(peer, probed, [], now)
                asked = [entry for entry in entries if not entry.want_have and not entry.cancel]
                if asked:
                    wants.on_blocks(peer, [(entry.cid.multihash, size, now) for entry in asked], now)
    finally:
        sys.setprofile(before)
    check(wants)
    wants.close_session(session, now)
    check_empty(wants)
    return calls / blocks


@pytest.mark.parametrize("peers", [1, 8, 64])
def test_work_per_block_does_not_grow_with_the_number_of_wants(peers: int) -> None:
    """Ten times the wants in one session cost ten times the calls; 64 peers cost a few times what one does."""
    few, many = _calls(1000, peers), _calls(10_000, peers)
    assert many < 1.1 * few
    assert many < {1: 130, 8: 160, 64: 360}[peers]


def test_waiting_wants_cost_nothing() -> None:
    """While a peer's window is full of the first of 10,000, an event looks at a few of them, not at all."""
    wants = Wants(random.Random(1))
    wants.on_peer_connected(peer_of(1), 0.0, rtt=0.01)
    session = wants.open_session()
    wants.want(session, [cid_of(number) for number in range(10_000)], 0.0)
    wants.on_presences(peer_of(1), [cid_of(0)], [], 0.01)
    calls = 0

    def count(_frame: Any, event: str, _arg: Any) -> None:
        nonlocal calls
        calls += event == "call"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        for number in range(100):
            wants.on_presences(peer_of(1), [cid_of(1)], [], 0.02 + number * 1e-4)
            wants.on_timeout(0.02 + number * 1e-4)
    finally:
        sys.setprofile(before)
    assert calls < 100 * 200
    assert wants._neighbours.get(peer_of(1)).outstanding <= 32 * MIB  # type: ignore[union-attr]
