"""Random worlds: whatever is lost, repeated, reordered, and whoever comes and goes, the right blocks arrive."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ipfs_kit_py.bitswap.ledger import Answer, Ledger
from ipfs_kit_py.bitswap.session import Wants
from ipfs_kit_py.bitswap.wants import Send
from ipfs_kit_py.bitswap.wire import V100, V110, V120, Entry
from ipfs_kit_py.core.config import MAX_OUTSTANDING_PER_PEER, MAX_WANTLIST_ENTRIES

from .bitswap_world import Link, Node, World, check, check_empty, cid_of, peer_of

if TYPE_CHECKING:
    from ipfs_kit_py.core.cid import PeerID

BLOCKS = 40
_links = st.builds(
    Link,
    latency=st.sampled_from([0.0005, 0.01, 0.2]),
    bandwidth=st.sampled_from([2e5, 1e7]),
    loss=st.sampled_from([0.0, 0.0, 0.1, 0.4]),
    repeat=st.sampled_from([0.0, 0.2]),
    jitter=st.sampled_from([0.0, 0.05, 1.0]),
)


@st.composite
def _worlds(draw: Any) -> dict[str, Any]:
    return {
        "seed": draw(st.integers(0, 1 << 16)),
        "links": draw(st.lists(_links, min_size=1, max_size=6)),
        "sizes": draw(st.sampled_from([100, 2000, 200_000])),
        "protocols": draw(st.lists(st.sampled_from([V120, V120, V120, V110, V100]), min_size=6, max_size=6)),
        "copies": draw(st.integers(1, 3)),
        "chosen": draw(st.booleans()),
        "churn": draw(st.booleans()),
        "sessions": draw(st.integers(1, 3)),
    }


def _churn(world: World, client: Node, servers: list[Node], links: list[Link], until: float) -> None:
    """Peers leave and come back, fall silent for a while, and lose streams, until a time from which all is well."""

    def trouble() -> None:
        at = world.rng.randrange(len(servers))
        server = servers[at]
        if world.now > until:
            for other, link in zip(servers, links, strict=True):
                other.deaf = other.stalled = False
                world.act(other)
                if not world.connected(client, other):
                    world.connect(client, other, link)
            return
        match world.rng.randrange(4):
            case 0 if world.connected(client, server):
                world.disconnect(client, server)
            case 1 if not world.connected(client, server):
                world.connect(client, server, links[at])
            case 2:
                server.deaf = world.rng.random() < 0.3
                server.stalled = world.rng.random() < 0.3
                world.act(server)
            case 3:
                client.wants.on_stream_lost(server.id)
                world.act(client)
            case _:
                pass
        world.at(world.now + world.rng.random(), trouble)

    world.at(0.1, trouble)


@given(_worlds())
@settings(max_examples=60)
def test_the_right_blocks_arrive(case: dict[str, Any]) -> None:
    """No want is stuck, none is fulfilled by another's block, and nothing is left of it."""
    world = World(case["seed"], check=True)
    client = world.node()
    links: list[Link] = case["links"]
    servers = [world.node(protocol=protocol) for protocol in case["protocols"][: len(links)]]
    for number in range(BLOCKS):
        for server in world.rng.sample(servers, min(case["copies"], len(servers))):
            server.have([number], case["sizes"])
    for server, link in zip(servers, links, strict=True):
        if case["chosen"]:
            client.wants.always_ask(server.id, 0.0)
        world.connect(client, server, link)
    if case["churn"]:
        _churn(world, client, servers, links, 10.0)
    sessions = []
    for number in range(case["sessions"]):  # they overlap
        numbers = range(number * BLOCKS // 4, BLOCKS)
        world.at(number * 0.3, lambda numbers=numbers: sessions.append(world.fetch(client, numbers)))  # type: ignore[misc]
    finished = world.run(
        until=lambda: len(sessions) == case["sessions"] and not client.wants._wants, seconds=3600.0, steps=300_000
    )
    assert finished, client.wants
    assert {key for _, _, key, _ in client.got} == {cid_of(number).multihash for number in range(BLOCKS)}
    worst = max((item.amount for item in client.penalties), default=0.0)
    assert worst < 1.0  # nobody lied
    world.run(seconds=60)
    for session in sessions:
        client.wants.close_session(session, world.now)
    world.act(client)
    check_empty(client.wants)


@given(st.integers(0, 1 << 16), st.integers(2, 5))
@settings(max_examples=15)
def test_everybody_fetches_from_everybody(seed: int, count: int) -> None:
    """Each begins with a part of the blocks; in the end all have all, though links lose and peers leave."""
    world = World(seed, check=True)
    nodes = [world.node() for _ in range(count)]
    for number in range(BLOCKS):
        world.rng.choice(nodes).have([number], 5000)
    link = Link(latency=0.01, bandwidth=1e7, loss=0.05, repeat=0.1, jitter=0.1)
    for at, node in enumerate(nodes):
        for other in nodes[:at]:
            world.connect(node, other, link)
    sessions = {}
    for node in nodes:
        missing = [number for number in range(BLOCKS) if cid_of(number).multihash not in node.store]
        sessions[node.id] = world.fetch(node, missing)
    leaver = world.rng.choice(nodes)
    for other in nodes:
        if other is not leaver:
            world.at(0.2, lambda other=other: world.disconnect(leaver, other))  # type: ignore[misc]
            world.at(0.9, lambda other=other: world.connect(leaver, other, link))  # type: ignore[misc]
    world.at(1.0, lambda: None)
    assert world.run(until=lambda: world.now >= 1 and all(not node.wants._wants for node in nodes), seconds=900.0)
    assert all(len(node.store) == BLOCKS for node in nodes)
    world.run(seconds=30.0)
    for node in nodes:
        node.wants.close_session(sessions[node.id], world.now)
        world.act(node)
        check_empty(node.wants)


class ClientMachine(RuleBasedStateMachine):
    """The client's engine alone, told anything in any order: what a peer may say, true or not."""

    numbers = st.lists(st.integers(0, 9), max_size=4)
    peers = st.integers(0, 4).map(peer_of)

    def __init__(self) -> None:
        super().__init__()
        self.wants = Wants(random.Random(1))
        self.now = 0.0
        self.sessions: list[int] = []

    @rule()
    def open(self) -> None:
        if len(self.sessions) < 3:
            self.sessions.append(self.wants.open_session())

    @precondition(lambda self: self.sessions)
    @rule(
        numbers=numbers, which=st.integers(0, 2), priority=st.integers(0, 3), size=st.sampled_from([None, 10, 1 << 21])
    )
    def want(self, numbers: list[int], which: int, priority: int, size: int | None) -> None:
        session = self.sessions[which % len(self.sessions)]
        self.wants.want(session, [cid_of(number) for number in numbers], self.now, size=size, priority=priority)

    @precondition(lambda self: self.sessions)
    @rule(numbers=numbers, which=st.integers(0, 2))
    def cancel(self, numbers: list[int], which: int) -> None:
        self.wants.cancel(self.sessions[which % len(self.sessions)], [cid_of(number) for number in numbers], self.now)

    @precondition(lambda self: self.sessions)
    @rule(which=st.integers(0, 2))
    def close(self, which: int) -> None:
        self.wants.close_session(self.sessions.pop(which % len(self.sessions)), self.now)

    @rule(peer=peers, presences=st.booleans(), chosen=st.booleans())
    def connect(self, peer: PeerID, presences: bool, chosen: bool) -> None:
        if chosen:
            self.wants.always_ask(peer, self.now)
        self.wants.on_peer_connected(peer, self.now, has_presences=presences)

    @rule(peer=peers)
    def disconnect(self, peer: PeerID) -> None:
        self.wants.on_peer_disconnected(peer, self.now)

    @rule(peer=peers, presences=st.booleans())
    def learn(self, peer: PeerID, presences: bool) -> None:
        self.wants.on_protocol(peer, self.now, has_presences=presences)

    @rule(peer=peers)
    def lose(self, peer: PeerID) -> None:
        self.wants.on_stream_lost(peer)

    @rule(peer=peers, haves=numbers, dont_haves=numbers)
    def presences(self, peer: PeerID, haves: list[int], dont_haves: list[int]) -> None:
        self.wants.on_presences(peer, map(cid_of, haves), map(cid_of, dont_haves), self.now)

    @rule(peer=st.one_of(st.none(), peers), numbers=numbers, size=st.sampled_from([0, 100, 1 << 21]))
    def blocks(self, peer: PeerID | None, numbers: list[int], size: int) -> None:
        self.wants.on_blocks(peer, [(cid_of(number).multihash, size, self.now) for number in numbers], self.now)

    @rule(peer=peers, number=st.integers(0, 12))
    def unwanted(self, peer: PeerID, number: int) -> None:
        self.wants.on_unwanted(peer, cid_of(number).multihash, self.now)

    @rule(peer=peers, number=st.integers(0, 9))
    def provider(self, peer: PeerID, number: int) -> None:
        self.wants.on_provider(cid_of(number), peer, self.now)
        self.wants.on_search_done(cid_of(number))

    @rule(seconds=st.sampled_from([0.001, 0.1, 1.0, 12.0, 70.0]))
    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        for _ in range(2000):
            self.drain()
            deadline = self.wants.deadline()
            if deadline is None or deadline > end:
                break
            self.now = max(self.now, deadline)
            self.wants.on_timeout(self.now)
        else:
            raise AssertionError("it is busy without end")
        self.now = end

    @rule()
    def drain(self) -> None:
        while (action := self.wants.next_action(self.now)) is not None:
            if isinstance(action, Send):
                while self.wants.take(action.peer) is not None:
                    pass

    @invariant()
    def consistent(self) -> None:
        check(self.wants)

    def teardown(self) -> None:
        for session in self.sessions:
            self.wants.close_session(session, self.now)
        self.drain()
        check_empty(self.wants)


ClientMachine.TestCase.settings = settings(max_examples=120, stateful_step_count=40)
test_client_machine = ClientMachine.TestCase


class LedgerMachine(RuleBasedStateMachine):
    """The server's engine, with a model of what each peer is owed."""

    peers = st.integers(0, 3).map(peer_of)
    sizes = st.sampled_from([0, 500, 5000, 1 << 20])

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.store: dict[bytes, int] = {}
        self.flight: list[Answer] = []
        self.lookups: list[tuple[PeerID, dict[bytes, int | None]]] = []
        self.wanted: dict[PeerID, set[int]] = {}  # what stands of each connected peer

    @rule(peer=peers)
    def connect(self, peer: PeerID) -> None:
        self.ledger.on_peer_connected(peer)
        self.wanted.setdefault(peer, set())

    @rule(peer=peers)
    def disconnect(self, peer: PeerID) -> None:
        self.ledger.on_peer_disconnected(peer)
        self.wanted.pop(peer, None)

    @rule(
        peer=peers,
        entries=st.lists(
            st.tuples(st.integers(0, 9), st.booleans(), st.booleans(), st.integers(0, 2), st.booleans()), max_size=6
        ),
        full=st.booleans(),
        slow=st.booleans(),
    )
    def message(self, peer: PeerID, entries: list[tuple[int, bool, bool, int, bool]], full: bool, slow: bool) -> None:
        made = [Entry(cid_of(n), p, cancel=c, want_have=h, send_dont_have=d) for n, c, h, p, d in entries]
        found = self.ledger.on_message(peer, made, full=full)
        mine = self.wanted.setdefault(peer, set())
        if full:
            mine.clear()
        for number, cancel, _, _, _ in entries:
            if cancel:
                mine.discard(number)
            else:
                mine.add(number)
        sizes = {cid.multihash: self.store.get(cid.multihash) for cid in found}
        if slow:
            self.lookups.append((peer, sizes))
        else:
            self.ledger.on_lookup(peer, sizes)

    @rule()
    def look_up(self) -> None:
        if self.lookups:
            peer, sizes = self.lookups.pop(0)
            self.ledger.on_lookup(peer, {key: self.store.get(key) for key in sizes})

    @rule(number=st.integers(0, 9), size=sizes)
    def stored(self, number: int, size: int) -> None:
        key = cid_of(number).multihash
        if key not in self.store:
            self.store[key] = size
            self.ledger.on_blocks_stored([(key, size)])

    @rule()
    def answer(self) -> None:
        answer = self.ledger.next_action()
        if answer is None:
            return
        self.flight.append(answer)
        mine = self.wanted[answer.peer]
        for cid, size in answer.blocks:
            number = int.from_bytes(cid.multihash[2:], "big")
            assert self.store[cid.multihash] == size
            assert number in mine, "a block that is not wanted, or for the second time"
            mine.remove(number)
        for cid in answer.haves:
            assert self.store[cid.multihash] > 1024
            mine.discard(int.from_bytes(cid.multihash[2:], "big"))
        for cid in answer.dont_haves:
            assert int.from_bytes(cid.multihash[2:], "big") in mine

    @rule(done=st.booleans(), which=st.integers(0, 9))
    def sent(self, done: bool, which: int) -> None:
        if self.flight:
            self.ledger.on_sent(self.flight.pop(which % len(self.flight)), done=done)

    @invariant()
    def consistent(self) -> None:
        ledger = self.ledger
        assert set(ledger._peers) == set(self.wanted)
        for peer, found in ledger._peers.items():
            assert found.outstanding == sum(answer.size for answer in found.flight) >= 0
            assert found.outstanding <= MAX_OUTSTANDING_PER_PEER + (2 << 20)
            assert found.queued_bytes == sum(want.size for want in found.wants.values() if want.queued)
            live = sum((want := found.wants.get(key)) is not None and want.number == n for _, n, key in found.queue)
            assert live == sum(want.queued for want in found.wants.values())
            assert found.stale == len(found.queue) - live
            assert len(found.wants) <= MAX_WANTLIST_ENTRIES
            assert set(found.absent) <= set(found.wants)
            assert (peer in ledger._open) >= found.open
            for key, want in found.wants.items():
                assert (peer in ledger._waiting.get(key, ())) == (not want.queued)
        assert all(peers for peers in ledger._waiting.values())

    def teardown(self) -> None:
        """When all is looked up and sent, nobody waits for what is there; when all have gone, nothing is left."""
        while self.lookups:
            self.look_up()
        for answer in self.flight:
            self.ledger.on_sent(answer, done=True)
        while (answer := self.ledger.next_action()) is not None:
            self.ledger.on_sent(answer, done=True)
        for peer in list(self.wanted):
            assert not [cid for cid in self.ledger.wantlist(peer) if cid.multihash in self.store]
            self.ledger.on_peer_disconnected(peer)
        assert not self.ledger._waiting
        assert not self.ledger._open


LedgerMachine.TestCase.settings = settings(max_examples=120, stateful_step_count=40)
test_ledger_machine = LedgerMachine.TestCase
