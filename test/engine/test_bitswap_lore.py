"""What the exchange makes of what is known of peers, and what it tells of them: by batches, not by blocks."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from ipfs_kit_py.bitswap.neighbours import Neighbours
from ipfs_kit_py.bitswap.session import Wants
from ipfs_kit_py.bitswap.wants import Send
from ipfs_kit_py.core.config import KIB, LORE_SECONDS, SESSION_RANDOM_PEERS
from ipfs_kit_py.routing.providers import Providers

from .bitswap_world import Link, Node, World, cid_of, peer_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipfs_kit_py.core.cid import PeerID

A, B = peer_of(0), peer_of(1)
BLOCK = 256 * KIB
NOW = 1.8e9


class Nobody:
    """A network without connections."""

    def connected(self) -> tuple[PeerID, ...]:
        return ()

    def rtt(self, _peer: PeerID) -> float | None:
        return None

    def is_local(self, _peer: PeerID) -> bool:
        return False


class Counting(Providers):
    """How often it is told and asked."""

    def __init__(self) -> None:
        super().__init__(Nobody(), random.Random(1), lambda: NOW)
        self.calls: list[tuple[str, PeerID, int]] = []
        self.topics: list[bytes] = []

    def on_delivered(self, peer: PeerID, multihash: bytes, size: int) -> None:
        self.calls.append(("delivered", peer, size))
        self.topics.append(multihash)
        super().on_delivered(peer, multihash, size)

    def prefer(self, peers: Sequence[PeerID], multihash: bytes, count: int) -> list[PeerID]:
        self.topics.append(multihash)
        return super().prefer(peers, multihash, count)


def engine(lore: Providers, *peers: PeerID, rtt: float | None = None) -> Wants:
    wants = Wants(random.Random(1), lore)
    for peer in peers:
        wants.on_peer_connected(peer, 0.0, has_presences=True, rtt=rtt)
    return wants


def test_a_batch_is_told_once_with_what_its_session_began_with() -> None:
    lore = Counting()
    wants = engine(lore, A)
    session = wants.open_session()
    wants.want(session, [cid_of(7)], 0.0)
    wants.on_blocks(A, [(cid_of(7).multihash, BLOCK, 0.1)], 0.1)
    wants.want(session, [cid_of(number) for number in range(100)], 0.1)
    assert lore.calls == [("delivered", A, BLOCK)]
    for number in range(50):
        wants.on_blocks(A, [(cid_of(number).multihash, BLOCK, 0.2)], 0.2)
    assert len(lore.calls) == 1
    wants.on_blocks(A, [(cid_of(50).multihash, BLOCK, 1.1)], 0.1 + LORE_SECONDS)
    assert lore.calls[1:] == [("delivered", A, 51 * BLOCK)]
    assert set(lore.topics) == {cid_of(7).multihash}
    wants.on_blocks(None, [(cid_of(60).multihash, BLOCK, 3.0)], 3.0)
    wants.on_blocks(A, [(cid_of(60).multihash, BLOCK, 3.0)], 3.0)  # a duplicate is no merit
    assert len(lore.calls) == 2
    wants.on_blocks(A, [(cid_of(61).multihash, BLOCK, 1.2)], 1.2)
    wants.on_peer_disconnected(A, 1.3)
    assert lore.calls[2:] == [("delivered", A, BLOCK)]


def test_a_peer_begins_as_it_was_known_and_leaves_as_it_was_measured() -> None:
    lore = Counting()
    lore.on_measured(A, 0.2, 3e6)
    lore.on_lie(B)
    wants = engine(lore, A, B)
    first, second = (wants._neighbours.get(peer) for peer in (A, B))
    assert first is not None
    assert second is not None
    assert (first.latency, first.throughput, first.doubt) == (0.2, 3e6, 1.0)
    assert (second.latency, second.throughput) == (None, None)
    assert second.doubt == lore.doubt(B) > 2.0
    first.throughput = 7e6
    wants.on_peer_disconnected(A, 1.0)
    assert 3e6 < (lore.measured(A)[1] or 0.0) < 7e6


def test_silence_and_false_blocks_are_told() -> None:
    lore = Counting()
    wants = engine(lore, A, rtt=0.01)
    wants.want(wants.open_session(), [cid_of(1)], 0.0)
    at: float | None = 0.0
    for _ in range(100):
        while (action := wants.next_action(at or 0.0)) is not None:
            if isinstance(action, Send):
                wants.take(action.peer)
        at = wants.deadline()
        if at is None or at > 20.0:
            break
        wants.on_timeout(at)
    assert lore.reputation.get(A).failures > 0
    wants.on_unwanted(A, cid_of(99).multihash, 30.0)
    assert lore.reputation.get(A).false_blocks == 1
    found = wants._neighbours.get(A)
    assert found is not None
    assert found.doubt == lore.doubt(A) > 1.0


def test_doubt_ends_with_deliveries_and_gives_no_grace_to_who_is_late() -> None:
    lore = Counting()
    lore.reputation.on_refused(A, NOW)
    lore.reputation.on_failed(A, NOW)
    wants = engine(lore, A, rtt=0.01)
    found = wants._neighbours.get(A)
    assert found is not None
    before = found.doubt
    assert before > 1.0
    trusted = engine(Counting(), A, rtt=0.01)._neighbours.get(A)
    assert trusted is not None
    for one in (found, trusted):
        one.ask(cid_of(500), BLOCK, 1, 0.0)
    assert found.asked[cid_of(500)].late_at == trusted.asked[cid_of(500)].late_at
    found.release(cid_of(500))
    session = wants.open_session()
    for number in range(60):
        wants.want(session, [cid_of(number)], 1.0)
        wants.on_blocks(A, [(cid_of(number).multihash, 4 * BLOCK, 1.0 + number)], 1.0 + number)
    assert found.doubt == 1.0


def test_half_of_the_peers_that_a_session_tries_speak_for_themselves() -> None:
    lore = Counting()
    everybody = [peer_of(number) for number in range(200)]
    holders = everybody[100 : 100 + SESSION_RANDOM_PEERS // 2]
    for peer in holders:
        lore.on_delivered(peer, b"topic", BLOCK)
    neighbours = Neighbours(random.Random(1), lore)
    for peer in everybody:
        neighbours.connect(peer, has_presences=True, local=False)
    others: list[PeerID] = []
    asked = neighbours.candidates((), others, b"topic")
    assert others[: len(holders)] == holders
    assert len(asked) == len(others) == SESSION_RANDOM_PEERS
    lore.on_lie(holders[0])
    others = []
    neighbours.candidates((), others, b"topic")
    assert holders[0] not in others


def _fetch(lore: Providers | None, blocks: int) -> tuple[World, Node, list[Node]]:
    world = World(seed=3)
    client = Node(peer_of(1000), Wants(random.Random(1), lore))
    world.nodes[client.id] = client
    servers = [world.node() for _ in range(4)]
    for server in servers:
        server.have(range(blocks), BLOCK)
        world.connect(client, server, Link(latency=0.02, bandwidth=2e7))
    world.fetch(client, range(blocks))
    assert world.run(until=lambda: not client.wants._wants, seconds=60)
    return world, client, servers


def test_with_lore_a_fetch_from_strangers_takes_no_longer() -> None:
    without, _client, _servers = _fetch(None, 200)
    lore = Counting()
    known, client, servers = _fetch(lore, 200)
    assert known.now <= 1.1 * without.now
    for server in servers:
        known.disconnect(client, server)
    assert sum(size for _kind, _peer, size in lore.calls) == sum(size for *_, size in client.got) == 200 * BLOCK
    assert {peer for _kind, peer, _size in lore.calls} <= {server.id for server in servers}
