"""The client's engine, one rule at a time: who is asked, when another is, what is told to whom, what is punished."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from ipfs_kit_py.bitswap.neighbours import Neighbours
from ipfs_kit_py.bitswap.peers import MAX_PROBES, Peer
from ipfs_kit_py.bitswap.placing import HEAD_START_MAX, OFFERED_WANTS
from ipfs_kit_py.bitswap.session import FALSE_BLOCK, LONELY_SEARCH_SECONDS, REPEATED_BLOCK, Wants
from ipfs_kit_py.bitswap.wants import FindProviders, LateAnswers, Penalise, Send, Session
from ipfs_kit_py.bitswap.wire import V100, V110
from ipfs_kit_py.core.cid import CID, DAG_PB, PeerID
from ipfs_kit_py.core.config import (
    COLD_PROBES,
    KIB,
    MAX_CHOSEN_PEERS,
    MAX_PROVEN_PEERS,
    MAX_SESSION_PEERS,
    MAX_WANTLIST_ENTRIES,
    PROVIDER_SEARCH_SECONDS,
    REBROADCAST_SECONDS,
    RETRY_SECONDS,
    SESSION_PROVEN_PEERS,
    SESSION_RANDOM_PEERS,
)
from ipfs_kit_py.core.errors import NotRunning

from .bitswap_world import Link, World, check, check_empty, cid_of, peer_of

if TYPE_CHECKING:
    from collections.abc import Iterable

A, B, C, D = (peer_of(number) for number in range(4))
BLOCK = 256 * KIB


class Client:
    """The engine with its clock: what it says is gathered, nothing is answered but by the test."""

    def __init__(self, *peers: PeerID, rtt: float | None = 0.01) -> None:
        self.wants = Wants(random.Random(1))
        self.now = 0.0
        self.searched: list[tuple[float, CID]] = []
        self.penalties: list[Penalise] = []
        self.messages = 0
        self.rtt = rtt
        for peer in peers:
            self.connect(peer)

    def connect(self, peer: PeerID, *, chosen: bool = False, presences: bool = True, local: bool = False) -> None:
        if chosen:
            self.wants.always_ask(peer, self.now)
        self.wants.on_peer_connected(peer, self.now, has_presences=presences, local=local, rtt=self.rtt)

    def open(self, numbers: Iterable[int], **options: int) -> int:
        session = self.wants.open_session()
        self.wants.want(session, [cid_of(number) for number in numbers], self.now, **options)
        return session

    def said(self) -> dict[PeerID, list[tuple[str, int]]]:
        """What each peer is told now."""
        check(self.wants)
        told: dict[PeerID, list[tuple[str, int]]] = {}
        while (action := self.wants.next_action(self.now)) is not None:
            match action:
                case FindProviders(cid):
                    self.searched.append((self.now, cid))
                case Penalise():
                    self.penalties.append(action)
                case Send(peer):
                    while (message := self.wants.take(peer)) is not None:
                        self.messages += 1
                        told.setdefault(peer, []).extend(
                            (
                                "cancel" if entry.cancel else "have" if entry.want_have else "block",
                                int.from_bytes(entry.cid.multihash[2:], "big"),
                            )
                            for entry in message[0]
                        )
        return told

    def pass_time(self, seconds: float) -> dict[PeerID, list[tuple[str, int]]]:
        """Let time pass, as the driver does: deadline by deadline."""
        end, told = self.now + seconds, self.said()
        for _ in range(10_000):
            deadline = self.wants.deadline()
            if deadline is None or deadline > end:
                break
            self.now = max(self.now, deadline)
            self.wants.on_timeout(self.now)
            for peer, items in self.said().items():
                told.setdefault(peer, []).extend(items)
        else:
            pytest.fail("it is busy without end")
        self.now = end
        return told

    def have(self, peer: PeerID, *numbers: int) -> None:
        self.wants.on_presences(peer, [cid_of(number) for number in numbers], [], self.now)

    def lack(self, peer: PeerID, *numbers: int) -> None:
        self.wants.on_presences(peer, [], [cid_of(number) for number in numbers], self.now)

    def block(self, peer: PeerID | None, *numbers: int, size: int = BLOCK) -> None:
        self.wants.on_blocks(peer, [(cid_of(number).multihash, size, self.now) for number in numbers], self.now)

    def surplus(self, peer: PeerID, number: int) -> None:
        self.wants.on_unwanted(peer, cid_of(number).multihash, self.now)


# --- the first want ---------------------------------------------------------------------------------------------------


def test_one_peer_is_asked_for_the_block_at_once() -> None:
    """One round trip, with no want-have before it."""
    client = Client(A)
    client.open([1])
    assert client.said() == {A: [("block", 1)]}


@pytest.mark.parametrize("why", ["chosen", "local", "proven"])
def test_a_likely_peer_is_asked_for_the_block_and_others_whether(why: str) -> None:
    """Of several candidates the one that the caller chose, is near, or delivered before."""
    client = Client(B, C)
    client.connect(A, chosen=why == "chosen", local=why == "local")
    if why == "proven":
        client.open([9])
        client.said()
        client.block(A, 9)
        client.said()
    client.open([1])
    told = client.said()
    assert told == {A: [("block", 1)], B: [("have", 1)], C: [("have", 1)]}


def test_first_block_in_one_round_trip() -> None:
    """Measured in the simulated network."""
    world = World()
    client, server = world.node(), world.node()
    server.have([1], 1000)
    world.connect(client, server, Link(latency=0.1, bandwidth=1e9))
    world.fetch(client, [1])
    assert world.run(until=lambda: bool(client.got))
    assert world.now < 0.21


def test_probe_then_split_over_those_that_have_it() -> None:
    """Among strangers want-have comes first, then each block is asked of one of those that said HAVE."""
    client = Client(A, B, C)
    client.open(range(12))
    told = client.said()
    assert set(told) == {A, B, C}
    assert all(kind == "have" for items in told.values() for kind, _ in items)
    client.now = 0.01
    client.have(A, *range(12))
    client.have(B, *range(12))
    client.lack(C, *range(12))
    told = client.said()
    asked = [number for items in told.values() for kind, number in items if kind == "block"]
    assert sorted(asked) == list(range(12))
    client.block(A, *[number for kind, number in told[A] if kind == "block"])
    assert B in told or client.said().get(B)


def test_a_session_goes_where_its_blocks_were() -> None:
    """Once a peer has had one, others of the session are asked of it unseen, and the idle ones hear no more."""
    client = Client(A, B, C)
    session = client.open([1])
    client.said()
    client.now = 0.01
    client.have(A, 1)
    client.lack(B, 1)
    client.lack(C, 1)
    client.said()
    client.block(A, 1)
    client.said()
    client.wants.want(session, [cid_of(number) for number in range(10, 20)], client.now)
    assert client.said() == {A: [("block", number) for number in range(10, 20)]}


# --- who is asked instead ---------------------------------------------------------------------------------------------


def test_dont_have_moves_on_at_once() -> None:
    """To one that has it, or may have, without a timeout."""
    client = Client(A, B)
    session = client.open([1])
    client.said()
    client.have(A, 1)
    client.have(B, 1)
    (first,) = client.said()
    client.lack(first, 1)
    other = B if first == A else A
    assert client.said() == {other: [("block", 1)]}
    client.wants.want(session, [cid_of(2)], client.now)
    (peer,) = client.said()
    client.lack(peer, 2)
    other = B if peer == A else A
    assert ("block", 2) in client.said()[other]


def test_silence_counts_as_dont_have_by_the_peers_own_measure() -> None:
    """Soon where the peer is near and was quick, later where it is far."""
    waits = {}
    for rtt in (0.01, 1.0):
        client = Client(rtt=rtt)
        client.connect(A, chosen=True)
        client.connect(B)
        client.open([1])
        client.said()
        client.have(B, 1)
        asked = client.now
        while not client.pass_time(0.05).get(B):
            assert client.now < 60
        waits[rtt] = client.now - asked
    assert 0.4 < waits[0.01] < 0.7
    assert 3.0 < waits[1.0] < 5.0


def test_a_silent_peers_late_block_is_taken() -> None:
    """It frees its peer, the other one hears a cancel, and its own answer then is not punished."""
    client = Client(A)
    client.connect(B)
    client.open([1])
    client.said()
    client.have(A, 1)
    client.said()
    client.have(B, 1)
    assert ("block", 1) in client.pass_time(0.7)[B]
    client.block(A, 1)
    assert client.said() == {B: [("cancel", 1)]}
    client.surplus(B, 1)
    client.said()
    assert not client.penalties
    assert client.wants.statistics().timeouts == 1


def test_all_candidates_silent() -> None:
    """Others hear of it within seconds, not a minute, and all are asked again."""
    client = Client(*[peer_of(number) for number in range(10)])
    client.open([1])
    first = set(client.said())
    assert len(first) == SESSION_RANDOM_PEERS
    later = client.pass_time(RETRY_SECONDS + 1)
    assert set(later) - first
    assert len(client.searched) == 2
    ever = first | set(later) | set(client.pass_time(3 * REBROADCAST_SECONDS))
    assert ever > first


def test_a_peer_that_comes_is_asked_what_is_waited_for() -> None:
    """Even where a session's random ones are all chosen already; it hears of some, and of all once it has one."""
    client = Client(*[peer_of(number) for number in range(1, 8)])
    client.open(range(8))
    for peer in client.said():
        client.lack(peer, *range(8))
    client.said()
    client.now = 1.0
    newcomer = peer_of(99)
    client.connect(newcomer)
    assert client.said() == {newcomer: [("have", number) for number in range(8)]}
    client.have(newcomer, 3)
    told = client.said()[newcomer]
    assert sorted(told) == [("block", number) for number in range(8)]


def test_a_newcomer_hears_of_few() -> None:
    """However many are waited for."""
    client = Client()
    client.open(range(500))
    client.pass_time(3)
    client.connect(A)
    assert len(client.said()[A]) <= OFFERED_WANTS


@pytest.mark.parametrize("protocol", [V100, V110])
def test_old_versions_are_asked_for_blocks(protocol: str) -> None:
    """They cannot say what they have, so that they are asked for it, two at a time."""
    world = World(check=True)
    client = world.node()
    servers = [world.node(protocol=protocol) for _ in range(3)]
    for server in servers:
        world.connect(client, server)
    servers[-1].have(range(50), BLOCK)
    world.fetch(client, range(50))
    assert world.run(until=lambda: not client.wants._wants, seconds=60)
    assert world.now < 20
    assert all(not entry.want_have for told in world.entries.values() for _, entry in told)


def test_the_version_is_learnt_late() -> None:
    """What was meant as a question is asked for as a block once the stream speaks an old version."""
    client = Client(A, B)
    client.open([1])
    told = client.said()
    assert told[A] == [("have", 1)]
    client.wants.on_protocol(A, client.now, has_presences=False)
    assert client.said()[A] == [("block", 1)]
    client.wants.on_protocol(A, client.now, has_presences=False)
    assert client.said() == {}


# --- searching providers ----------------------------------------------------------------------------------------------


def test_providers_are_searched_when_nobody_says_have() -> None:
    """After a tenth of a second at the most."""
    for rtt in (0.001, 0.5, None):
        client = Client(A, B, rtt=rtt)
        client.open([1])
        client.said()
        assert not client.searched
        client.pass_time(1.0)
        ((when, cid),) = client.searched
        assert cid == cid_of(1)
        assert when <= HEAD_START_MAX == 0.1


def test_providers_are_not_searched_when_somebody_says_have() -> None:
    """A search costs dozens of messages."""
    client = Client(A, B)
    client.open(range(10))
    client.said()
    client.have(A, *range(10))
    client.pass_time(1.0)
    assert not client.searched


def test_providers_are_searched_at_once_when_nobody_is_left() -> None:
    """No peers at all, or all have said that they have it not."""
    client = Client()
    client.open([1])
    client.said()
    assert client.searched == [(0.0, cid_of(1))]
    client = Client(A, B)
    client.open([1])
    client.said()
    client.lack(A, 1)
    client.said()
    assert not client.searched
    client.now = 0.003
    client.lack(B, 1)
    client.said()
    assert client.searched == [(0.003, cid_of(1))]


def test_a_provider_is_asked_for_the_block() -> None:
    """At once, and the search is not repeated for others of the session that it has."""
    client = Client()
    session = client.open([1, 2])
    client.said()
    client.connect(A)
    client.said()
    client.wants.on_provider(cid_of(1), A, client.now)
    client.wants.on_search_done(cid_of(1))
    client.said()
    client.block(A, 1, 2)
    client.wants.want(session, [cid_of(3)], client.now)
    client.pass_time(0.4)
    assert client.wants._wants[cid_of(3)].sources == {A}
    assert len(client.searched) == 1


def test_searches_are_spaced() -> None:
    """One session searches once in ten seconds while others may still answer, once a second where nobody may."""
    client = Client()
    client.open(range(10))
    client.pass_time(4.5)
    assert [round(when / LONELY_SEARCH_SECONDS) for when, _ in client.searched] == [0, 1, 2, 3, 4]
    assert len({cid for _, cid in client.searched}) == 5
    client = Client(A, B)
    client.open(range(10))
    client.pass_time(9.0)
    assert len(client.searched) == 1
    client.pass_time(PROVIDER_SEARCH_SECONDS)
    assert len(client.searched) <= 3


def test_nobody_has() -> None:
    """Only when all have said so and no search is under way."""
    client = Client(A)
    client.open([1])
    client.said()
    assert not client.wants.nobody_has(cid_of(1))
    client.lack(A, 1)
    assert not client.wants.nobody_has(cid_of(1))
    client.said()
    assert not client.wants.nobody_has(cid_of(1))
    client.wants.on_search_done(cid_of(1))
    assert client.wants.nobody_has(cid_of(1))
    client.block(A, 1)
    assert not client.wants.nobody_has(cid_of(1))


# --- connections ------------------------------------------------------------------------------------------------------


def test_wants_outlive_a_disconnect() -> None:
    """And are told anew to the same peer when it is back."""
    client = Client(A)
    client.open(range(5))
    assert len(client.said()[A]) == 5
    client.wants.on_peer_disconnected(A, client.now)
    client.pass_time(1)
    assert client.wants.statistics().wants == 5
    client.connect(A)
    told = client.said()[A]
    assert {number for _, number in told} == set(range(5))
    client.have(A, *range(5))
    client.said()
    client.block(A, *range(5))
    assert client.wants.statistics().wants == 0


def test_a_member_that_comes_back_is_asked_for_blocks() -> None:
    """It is remembered that it had some."""
    client = Client(A, B)
    client.open(range(40))
    client.said()
    client.have(A, *range(16))
    client.said()
    client.block(A, 0)
    client.said()
    client.wants.on_peer_disconnected(A, client.now)
    client.said()
    client.connect(A)
    told = client.said()[A]
    assert sum(kind == "block" for kind, _ in told) >= 16


def test_failover_in_the_middle_of_a_file() -> None:
    """The source leaves, or falls silent, and another goes on where it was."""
    for silent in (False, True):
        world = World(check=True)
        client, first, second = world.node(), world.node(), world.node()
        first.have(range(100), BLOCK)
        second.have(range(100), BLOCK)
        client.wants.always_ask(first.id, 0.0)
        world.connect(client, first, Link(bandwidth=2e7))
        world.connect(client, second, Link(latency=0.05, bandwidth=1e7))
        world.fetch(client, range(100))
        assert world.run(until=lambda client=client: len(client.got) >= 30)
        broke = world.now
        if silent:
            first.stalled = first.deaf = True
        else:
            world.disconnect(client, first)
        assert world.run(until=lambda client=client: not client.wants._wants, seconds=30)
        assert world.now - broke < 26.3e6 / 1e7 + 2.5


def test_a_lost_stream_is_told_everything_again() -> None:
    """As a full list."""
    client = Client(A)
    client.open(range(3))
    client.said()
    client.wants.on_stream_lost(A)
    assert client.wants.next_action(0.0) == Send(A)
    message = client.wants.take(A)
    assert message is not None
    assert message[1]
    assert len(message[0]) == 3


# --- sessions ---------------------------------------------------------------------------------------------------------


def test_higher_priorities_first_then_older() -> None:
    """When there is room for few, those of higher priority are asked for first."""
    client = Client(A)
    session = client.open(range(100))
    client.said()
    client.have(A, 0)
    client.said()
    client.wants.want(session, [cid_of(500)], client.now, priority=5)
    asked = list(client.wants._neighbours.get(A).asked)  # type: ignore[union-attr]
    order: list[int] = []
    while not order or 99 not in order:
        done = asked.pop(0)
        client.block(A, int.from_bytes(done.multihash[2:], "big"))
        new = [number for kind, number in client.said().get(A, []) if kind == "block"]
        order += new
        asked += [cid_of(number) for number in new]
    assert order[0] == 500
    assert order[1:] == sorted(order[1:])


def test_two_sessions_share_a_want() -> None:
    """It is asked for once, fulfils both, and is cancelled only when neither wants it."""
    client = Client(A)
    one = client.open([1, 2])
    two = client.open([2, 3])
    told = client.said()[A]
    assert sorted(number for _, number in told) == [1, 2, 3]
    client.wants.close_session(one, client.now)
    assert client.said() == {A: [("cancel", 1)]}
    client.block(A, 2)
    assert client.said() == {}
    client.wants.close_session(two, client.now)
    assert client.said() == {A: [("cancel", 3)]}
    check_empty(client.wants)


def test_a_shared_want_goes_on_where_its_first_session_closes() -> None:
    """In every state: waiting for room, for a probe's turn, for an answer, for a retry."""
    for peers in ((), (A,), (A, B)):
        client = Client(*peers)
        one = client.open(range(100))
        two = client.open(range(50, 150))
        client.said()
        client.wants.close_session(one, client.now)
        client.said()
        client.wants.cancel(two, [cid_of(149)], client.now)
        client.said()
        assert client.wants.statistics().wants == 99
        newcomer = peer_of(77)
        client.connect(newcomer)
        for _ in range(300):
            asked = client.wants._neighbours.get(newcomer).wantlist.cids()  # type: ignore[union-attr]
            client.block(newcomer, *[int.from_bytes(cid.multihash[2:], "big") for cid in asked])
            client.pass_time(0.2)
        assert client.wants.statistics().wants == 0
        client.wants.close_session(two, client.now)
        client.said()
        check_empty(client.wants)


def test_sessions_take_turns() -> None:
    """One that wants much does not keep out one that wants little."""
    client = Client(A)
    client.open(range(1000))
    client.open([2000])
    client.said()
    client.have(A, 0, 2000)
    client.said()
    done: set[int] = set()
    for turn in range(40):
        asked = client.wants._neighbours.get(A).asked  # type: ignore[union-attr]
        if cid_of(2000) in asked:
            break
        number = int.from_bytes(next(iter(asked)).multihash[2:], "big")
        done.add(number)
        client.now += 0.01
        client.block(A, number)
        client.said()
        assert turn < 39


def test_a_closed_session_takes_no_wants() -> None:
    """It is the caller's mistake, by name; closing twice is none."""
    client = Client()
    session = client.open([1])
    client.wants.close_session(session, 0.0)
    client.wants.close_session(session, 0.0)
    with pytest.raises(NotRunning):
        client.wants.want(session, [cid_of(2)], 0.0)
    client.wants.cancel(session, [cid_of(1)], 0.0)


def test_blocks_from_elsewhere_and_other_cids_of_one_multihash() -> None:
    """One block fulfils every CID of its multihash, whoever it comes from; those that were told hear cancels."""
    client = Client(A)
    session = client.wants.open_session()
    both = [cid_of(1), CID(1, DAG_PB, cid_of(1).multihash)]
    client.wants.want(session, both, 0.0)
    client.said()
    assert client.wants.cids_of(cid_of(1).multihash) == tuple(both)
    client.block(None, 1)
    assert not client.wants.is_wanted(cid_of(1).multihash)
    assert client.said()[A] == [("cancel", 1), ("cancel", 1)]
    assert client.wants.statistics().blocks == 0
    client.wants.want(session, both, 0.0)
    client.said()
    client.block(A, 1)
    assert client.said() == {}
    check(client.wants)


# --- blame ------------------------------------------------------------------------------------------------------------


def test_what_is_punished() -> None:
    """A block that was never asked for, fully; one sent again and again, a little; a late one not."""
    client = Client(A, B)
    session = client.open([1])
    client.said()
    client.have(A, 1)
    client.have(B, 1)
    client.said()
    client.block(A, 1)
    client.surplus(B, 1)  # it was asked whether it has it
    client.said()
    assert not client.penalties
    client.surplus(B, 1)
    client.said()
    assert [(item.peer, item.amount) for item in client.penalties] == [(B, REPEATED_BLOCK)]
    client.surplus(B, 999)
    client.wants.on_unwanted(B, b"", client.now)
    client.said()
    assert [item.amount for item in client.penalties[1:]] == [FALSE_BLOCK, FALSE_BLOCK]
    client.wants.want(session, [cid_of(5)], client.now)
    client.said()
    client.wants.cancel(session, [cid_of(5)], client.now)
    client.surplus(A, 5)
    client.surplus(peer_of(50), 77)  # it has gone
    client.said()
    assert len(client.penalties) == 3


def test_a_block_that_could_not_be_kept_is_nobodys_fault() -> None:
    """The want still stands, and its peer sent it as asked."""
    client = Client(A)
    client.open([1])
    client.said()
    client.surplus(A, 1)
    client.said()
    assert not client.penalties


def test_late_answers_are_bounded() -> None:
    """Those of wants that ended longest ago are forgotten."""
    late = LateAnswers(10)
    for number in range(30):
        late.expect(cid_of(number).multihash, {A, B})
    assert len(late) == 10
    assert not late.forgive(cid_of(19).multihash, A)
    assert late.forgive(cid_of(20).multihash, A)
    assert not late.forgive(cid_of(20).multihash, A)
    late.expect(cid_of(20).multihash, {A})
    assert late.forgive(cid_of(20).multihash, A)
    assert late.forgive(cid_of(20).multihash, B)


def test_what_was_not_asked_is_not_believed() -> None:
    """Presences of strangers change nothing, and of blocks that nobody wants neither."""
    client = Client(A, B)
    client.open([1])
    client.said()
    client.have(peer_of(50), 1, 2)
    client.have(A, 2)
    client.lack(B, 2)
    assert client.said() == {}
    assert not client.wants._wants[cid_of(1)].have


# --- bounds -----------------------------------------------------------------------------------------------------------


def test_cold_wants_are_probed_a_few_at_a_time() -> None:
    """Until somebody has one of them: 10,000 wants are no flood."""
    for chosen in (False, True):
        client = Client()
        for number in range(8):
            client.connect(peer_of(number), chosen=chosen)
        client.open(range(10_000))
        told = client.said()
        assert max(len(items) for items in told.values()) <= COLD_PROBES
        client.pass_time(0.01)
        client.have(peer_of(0), 0)
        client.block(peer_of(0), *[number for kind, number in told.get(peer_of(0), []) if kind == "block"])
        assert set(client.said()) >= {peer_of(0)}


def test_a_silent_member_does_not_open_the_flood() -> None:
    """When the only peer of a session falls silent, the others are probed a few at a time as well."""
    client = Client(A, B, C)
    client.open(range(5000))
    client.said()
    client.have(A, *range(16))
    client.said()
    before = {B: 0, C: 0}
    for peer, items in client.pass_time(0.7).items():
        if peer in before:
            before[peer] += len(items)
    assert max(before.values()) <= 12 * COLD_PROBES


def test_a_full_list_keeps_nothing_from_being_asked() -> None:
    """1,024 is the most that a peer holds. Those that it lacks make room; those that it said HAVE to are upgraded in
    place, whatever their number."""
    client = Client(A, B)
    for number in range(100):  # many sessions, each probing its few
        client.open(range(16 * number, 16 * number + 16))
    told = client.said()
    assert len(told[A]) == MAX_PROBES
    client.have(A, *[number for _, number in told[A]])
    blocks = [number for kind, number in client.said()[A] if kind == "block"]
    assert blocks
    done = 0
    while blocks:
        client.block(A, *blocks, size=1000)
        done += len(blocks)
        blocks = [number for kind, number in client.pass_time(2.0).get(A, []) if kind == "block"]
    assert done == 1600


def test_what_a_peer_lacks_makes_room() -> None:
    """A peer that lacks the first thousands has the last one."""
    world = World(check=False)
    client, holder, other = world.node(), world.node(), world.node()
    holder.have([2999], 1000)
    other.have(range(0), 1000)
    world.connect(client, holder)
    world.connect(client, other)
    world.fetch(client, range(3000))
    assert world.run(until=lambda: bool(client.got), seconds=60)
    check(client.wants)
    lists = [peer.wantlist for peer in client.wants._neighbours]
    assert max(map(len, lists)) <= MAX_WANTLIST_ENTRIES


def test_heaps_forget_what_is_over() -> None:
    """Wanting and cancelling for ever takes no memory, whatever the wants wait for."""
    client = Client()
    session = client.wants.open_session()
    for peers in ((), (A, B), (C,)):
        for peer in peers:
            client.connect(peer)
        for number in range(3000):
            client.wants.want(session, [cid_of(number), cid_of(number + 1)], client.now)
            client.wants.cancel(session, [cid_of(number)], client.now)
        placing = client.wants._placing
        held = client.wants._sessions[session]
        assert len(held.idle) + len(held.cold) + len(placing._retries) < 500
        assert len(held.probing) + len(held.seeking) < 50
        client.wants.cancel(session, [cid_of(number) for number in range(3001)], client.now)
        client.said()
    client.wants.close_session(session, client.now)
    client.said()
    check_empty(client.wants)


def test_a_want_that_stands_for_days_forgets_who_left() -> None:
    """Peers come and go; only those here are remembered as told."""
    client = Client()
    client.open([1])
    for number in range(400):
        client.connect(peer_of(number))
        client.pass_time(20)
        client.wants.on_peer_disconnected(peer_of(number), client.now)
    want = client.wants._wants[cid_of(1)]
    assert len(want.told) + len(want.have) + len(want.lacking) < 20


def test_session_members_are_bounded() -> None:
    """One that is away, or mostly lacks blocks, makes room; otherwise a newcomer waits."""
    session = Session(1)
    here = {peer_of(number) for number in range(200)}
    for number in range(MAX_SESSION_PEERS):
        assert session.join(peer_of(number), here) is not None
    assert session.join(peer_of(100), here) is None
    assert session.join(peer_of(5), here) is session.peers[peer_of(5)]
    assert session.join(peer_of(100), here - {peer_of(7)}) is not None
    assert peer_of(7) not in session.peers
    session.peers[peer_of(9)].misses = 5
    assert session.join(peer_of(101), here) is not None
    assert peer_of(9) not in session.peers
    assert len(session.peers) == MAX_SESSION_PEERS


def test_candidates_are_few() -> None:
    """Chosen and local ones, some that delivered lately, and a few at random; memories of them are capped."""
    rng = random.Random(1)
    neighbours = Neighbours(rng)
    for number in range(500):
        neighbours.connect(peer_of(number), has_presences=True, local=number == 3)
    neighbours.choose(peer_of(5))
    neighbours.choose(peer_of(999))  # is not here
    for number in range(100, 150):
        found = neighbours.get(peer_of(number))
        assert found is not None
        neighbours.prove(found)
    others: list[PeerID] = []
    peers = {peer.id for peer in neighbours.candidates([peer_of(77)], others)}
    assert {peer_of(5), peer_of(3), peer_of(77), peer_of(149)} < peers
    assert len(peers) == 3 + SESSION_PROVEN_PEERS + SESSION_RANDOM_PEERS
    assert peers == {peer.id for peer in neighbours.candidates([peer_of(77)], others)}  # the same ones
    for number in range(1000, 1000 + 2 * MAX_CHOSEN_PEERS):
        neighbours.choose(peer_of(number))
    assert len(neighbours._chosen) == MAX_CHOSEN_PEERS
    assert peer_of(5) in neighbours._chosen  # those connected stay
    for number in range(5000, 5000 + MAX_PROVEN_PEERS + 10):
        peer = neighbours.connect(peer_of(number), has_presences=True, local=False)
        assert peer is not None
        neighbours.prove(peer)
    assert len(neighbours._proven) == MAX_PROVEN_PEERS


def test_measurements_outlive_a_connection() -> None:
    """A peer that delivered is known when it comes back."""
    client = Client(A)
    client.open([1])
    client.said()
    client.now = 0.2
    client.block(A, 1)
    client.wants.on_peer_disconnected(A, 1.0)
    client.rtt = None
    client.connect(A)
    found = client.wants._neighbours.get(A)
    assert found is not None
    assert found.latency == pytest.approx(0.0575)
    assert found.throughput == pytest.approx(BLOCK / 0.2)


def test_latency_is_measured_by_the_answer_to_what_was_asked() -> None:
    """Not by one that was never given, nor by a HAVE of something else long after."""
    client = Client(A, B, rtt=None)
    session = client.open([1])
    client.said()
    client.now = 0.05
    client.block(A, 1, size=500)  # in place of HAVE
    found = client.wants._neighbours.get(A)
    assert found is not None
    assert found.latency == pytest.approx(0.05)
    client.now = 100.0
    client.wants.want(session, [cid_of(2)], client.now)
    client.said()
    client.now = 100.02
    client.lack(A, 2)
    assert found.latency < 0.06


def test_expected_seconds() -> None:
    """By the members' measured latency and throughput."""
    client = Client(A)
    session = client.open(range(3))
    assert client.wants.expected_seconds(session, 1000) == 0.0
    client.said()
    client.now = 0.1
    client.block(A, 0)
    assert 0.5 < client.wants.expected_seconds(session, 10 * BLOCK) < 3.0
    assert client.wants.expected_seconds(99, 1) == 0.0


def test_what_it_says_of_itself() -> None:
    """Counters and text."""
    client = Client(A)
    client.open([1, 2])
    client.said()
    stats = client.wants.statistics()
    assert (stats.wants, stats.peers, stats.sessions, stats.broadcasts) == (2, 1, 1, 2)
    assert repr(client.wants) == "<Wants 2 open, 2 asked of 1 peers, 0 idle>"
    assert "asked 2" in repr(client.wants._neighbours.get(A))


def test_a_slow_first_window_is_not_given_up_while_it_comes() -> None:
    """One message of it is waited for at a time, but its last block as long as the whole may take."""
    peer = Peer(A)
    for number in range(16):
        peer.ask(cid_of(number), BLOCK, 1, 0.0)
    for second in range(1, 20):
        peer.heard(float(second))
        assert not [cid for cid in peer.take_overdue(second + 0.5) if cid in map(cid_of, range(12, 16))]
    assert peer.take_overdue(23.5)
    assert not peer.asked
    assert peer.outstanding == 0


def test_after_a_miss_the_other_members_are_asked_too() -> None:
    """The block is asked of the next best, and the rest are asked whether they have it."""
    client = Client(A, B, C)
    session = client.open([1])
    client.said()
    for peer in (A, B, C):
        client.have(peer, 1)
    client.said()
    client.block(A, 1)
    client.said()
    client.wants.want(session, [cid_of(2)], client.now)
    (first,) = client.said()
    client.lack(first, 2)
    told = client.said()
    assert sorted(items[0][0] for items in told.values()) == ["block", "have"]
    assert first not in told


def test_who_is_left_alone_is_searched_for_first() -> None:
    """A want that nobody can answer goes before one that others may."""
    client = Client(A, B)
    client.open([1, 2])
    client.said()
    for peer in (A, B):
        client.lack(peer, 2)
    client.said()
    assert client.searched == [(0.0, cid_of(2))]


def test_the_queue_behind_a_busy_peer_forgets_what_is_over() -> None:
    """Wants that come and go while nothing has room leave nothing behind."""
    client = Client(A)
    session = client.open(range(100))
    client.said()
    client.have(A, *range(16))
    client.said()
    for number in range(1000, 4000):
        client.wants.want(session, [cid_of(number)], client.now)
        client.wants.cancel(session, [cid_of(number)], client.now)
    assert len(client.wants._sessions[session].idle) < 500


def test_late_blocks_are_asked_twice_within_a_budget() -> None:
    """Of 3 % of the bytes received, and only where there is nothing else to ask for."""
    client = Client(A, B)
    session = client.open(range(200))
    client.said()
    client.have(A, *range(16))
    client.have(B, *range(16))
    client.said()
    neighbours = client.wants._neighbours
    while len(client.wants._wants) > 16:
        client.now += 0.01
        for peer in (A, B):
            found = neighbours.get(peer)
            assert found is not None
            number = int.from_bytes(next(iter(found.asked)).multihash[2:], "big")
            client.block(peer, number)
            client.said()
    assert client.wants.statistics().hedged == 0
    for want in client.wants._wants.values():
        client.wants._placing.hedge(want, 100.0, client.now)
    hedged = client.wants.statistics().hedged
    assert 1 <= hedged <= 0.03 * 200
    client.wants.close_session(session, client.now)
    client.said()
    check_empty(client.wants)
