"""The server's ledger: whose turn it is, what is answered, and what one peer can make it hold."""

from __future__ import annotations

import tracemalloc

import pytest

from ipfs_kit_py.bitswap import ledger as module
from ipfs_kit_py.bitswap.ledger import MAX_ANSWERS, MAX_PRESENCES, STALE_ANSWERS, Account, Answer, Ledger
from ipfs_kit_py.bitswap.wire import V120, Entry, Message, decode, encode
from ipfs_kit_py.core import multihash
from ipfs_kit_py.core.cid import CID, DAG_PB, PeerID
from ipfs_kit_py.core.config import (
    HAVE_REPLACE_BYTES,
    KIB,
    MAX_BLOCK_BYTES,
    MAX_ENTRIES_PER_MESSAGE,
    MAX_LEDGERS,
    MAX_MESSAGE_BYTES,
    MAX_OUTSTANDING_PER_PEER,
    MAX_WANTLIST_ENTRIES,
    MIB,
    TARGET_MESSAGE_BYTES,
)

from .bitswap_world import cid_of, peer_of

A, B, C, D = (peer_of(number) for number in range(4))
BLOCK = 256 * KIB


def _want(number: int, *, priority: int = 1, have: bool = False, dont: bool = True) -> Entry:
    return Entry(cid_of(number), priority, want_have=have, send_dont_have=dont)


def _ask(ledger: Ledger, peer: PeerID, entries: list[Entry], size: int | None = BLOCK, *, full: bool = False) -> None:
    """A message comes, and its look-ups find blocks of one size, or none."""
    found = ledger.on_message(peer, entries, full=full)
    ledger.on_lookup(peer, {cid.multihash: size for cid in found})


def _drain(ledger: Ledger, count: int = 1 << 30) -> list[Answer]:
    """Answers, each sent before the next one is taken."""
    answers: list[Answer] = []
    while len(answers) < count and (answer := ledger.next_action()) is not None:
        answers.append(answer)
        ledger.on_sent(answer, done=True)
    return answers


def _blocks(answers: list[Answer]) -> list[CID]:
    return [cid for answer in answers for cid, _ in answer.blocks]


# --- turns ------------------------------------------------------------------------------------------------------------


def test_equal_fetchers_are_never_far_apart() -> None:
    """Four that want the same amount, in blocks of different sizes, come along together."""
    ledger = Ledger()
    peers = {A: 256 * KIB, B: 64 * KIB, C: 1 * MIB, D: 100_000}
    for peer, size in peers.items():
        _ask(ledger, peer, [_want(number) for number in range(64 * MIB // size)], size)
    while answer := ledger.next_action():
        ledger.on_sent(answer, done=True)
        sent = [ledger.account(peer).sent for peer in peers]
        if all(ledger.wantlist(peer) for peer in peers):
            assert max(sent) - min(sent) <= 2 * TARGET_MESSAGE_BYTES
            if min(sent) > 10 * MIB:
                assert max(sent) <= 1.2 * min(sent)
    assert min(sent) > 60 * MIB


def test_a_late_comer_shares_from_now_on() -> None:
    """A newcomer neither waits for what others had before nor is given the time that it was away."""
    ledger = Ledger()
    _ask(ledger, A, [_want(number) for number in range(1000)])
    _drain(ledger, 100)
    before = ledger.account(A).sent
    _ask(ledger, B, [_want(number) for number in range(1000)])
    _drain(ledger, 40)
    gained = ledger.account(A).sent - before
    assert 0.8 <= gained / ledger.account(B).sent <= 1.25


def test_a_peer_that_gave_more_is_paced_faster() -> None:
    """Up to twice the share for one that has sent us what it takes."""
    ledger = Ledger()
    ledger.on_received(A, 1)
    ledger.on_peer_connected(A)
    ledger.on_received(A, 1 << 30)
    for peer in (A, B):
        _ask(ledger, peer, [_want(number) for number in range(1000)])
    _drain(ledger, 60)
    assert 1.8 <= ledger.account(A).sent / ledger.account(B).sent <= 2.2
    assert ledger.account(A).received == (1 << 30) + 1
    assert ledger.account(A).debt_ratio < 1 < ledger.account(B).debt_ratio


def test_a_slow_reader_does_not_save_up_time() -> None:
    """When it reads again it is ahead by no more than what may be on its way to it."""
    ledger = Ledger()
    for peer in (A, B):
        _ask(ledger, peer, [_want(number) for number in range(1000)])
    held: list[Answer] = []
    for _ in range(150):  # A's answers are never sent
        answer = ledger.next_action()
        assert answer is not None
        if answer.peer == A:
            held.append(answer)
        else:
            ledger.on_sent(answer, done=True)
    assert sum(answer.size for answer in held) == MAX_OUTSTANDING_PER_PEER
    for answer in held:
        ledger.on_sent(answer, done=True)
    start = ledger.account(A).sent, ledger.account(B).sent
    _drain(ledger, 40)
    gained_a, gained_b = ledger.account(A).sent - start[0], ledger.account(B).sent - start[1]
    assert gained_b >= gained_a - MAX_OUTSTANDING_PER_PEER - 2 * TARGET_MESSAGE_BYTES


@pytest.mark.parametrize("size", [BLOCK, None, 2000], ids=["blocks", "absent", "haves"])
def test_a_flood_of_wants_does_not_starve_another(size: int | None) -> None:
    """Whatever a flooding peer asks for, a modest one that comes later is served at once."""
    ledger = Ledger()
    _ask(ledger, B, [_want(number) for number in range(500)])
    _drain(ledger)  # time has passed
    for start in range(0, 20_000, 1000):
        _ask(ledger, A, [_want(start + number, have=size == 2000) for number in range(1000)], size)
    _ask(ledger, B, [_want(0)])
    answers: list[Answer] = []
    for _ in range(30):  # until it has had the mebibyte that the other one had last
        _ask(ledger, A, [_want(30_000 + len(answers) * 1000 + number, have=True) for number in range(1000)], size)
        answers += _drain(ledger, 1)
    assert cid_of(0) in _blocks([answer for answer in answers if answer.peer == B])


def test_one_that_does_not_read_is_answered_no_more() -> None:
    """Neither many small answers nor few large ones may be on their way to it without end."""
    for size in (BLOCK, 100, None):
        ledger = Ledger()
        taken: list[Answer] = []
        for number in range(100):
            _ask(ledger, A, [_want(number * 10 + k) for k in range(10)], size)
            if answer := ledger.next_action():
                taken.append(answer)
        assert len(taken) <= MAX_ANSWERS
        ledger.on_sent(taken[0], done=True)
        assert ledger.next_action() is not None


def test_priority_then_age_within_a_peer() -> None:
    """Higher priorities go first, equal ones in the order of asking."""
    ledger = Ledger()
    _ask(ledger, A, [_want(1), _want(2, priority=5), _want(3), _want(4, priority=9), _want(5, priority=5)], 2 * MIB)
    assert _blocks(_drain(ledger)) == [cid_of(number) for number in (4, 2, 5, 1, 3)]


# --- answers ----------------------------------------------------------------------------------------------------------


def test_have_is_replaced_by_a_small_block() -> None:
    """Up to 1,024 bytes the block itself is the answer, above it HAVE, and each is said once."""
    for size, block in ((HAVE_REPLACE_BYTES, True), (HAVE_REPLACE_BYTES + 1, False)):
        ledger = Ledger()
        _ask(ledger, A, [_want(1, have=True)], size)
        (answer,) = _drain(ledger)
        assert bool(answer.blocks) == block
        assert answer.haves == (() if block else (cid_of(1),))
        assert not ledger.wantlist(A)


def test_dont_have_only_where_it_is_asked_for() -> None:
    """And the want is kept: the block is sent when it comes."""
    ledger = Ledger()
    _ask(ledger, A, [_want(1), _want(2, dont=False), _want(3, have=True)], None)
    (answer,) = _drain(ledger)
    assert answer.dont_haves == (cid_of(1), cid_of(3))
    assert not answer.blocks
    ledger.on_blocks_stored([(cid_of(number).multihash, 5000) for number in (1, 2, 3, 4)])
    (answer,) = _drain(ledger)
    assert sorted(_blocks([answer])) == sorted([cid_of(1), cid_of(2)])
    assert answer.haves == (cid_of(3),)
    assert not ledger.wantlist(A)
    ledger.on_blocks_stored([(cid_of(1).multihash, 5000)])
    assert ledger.next_action() is None


def test_a_block_that_comes_before_dont_have_is_said_replaces_it() -> None:
    """Nobody hears DONT_HAVE and gets the block in one message."""
    ledger = Ledger()
    _ask(ledger, A, [_want(1), _want(2, have=True)], None)
    ledger.on_blocks_stored([(cid_of(1).multihash, 5000), (cid_of(2).multihash, 5000)])
    (answer,) = _drain(ledger)
    assert (_blocks([answer]), answer.haves, answer.dont_haves) == ([cid_of(1)], (cid_of(2),), ())


def test_an_oversized_block_is_not_there() -> None:
    """What no peer would take is not sent."""
    ledger = Ledger()
    _ask(ledger, A, [_want(1)], MAX_BLOCK_BYTES + 1)
    assert _drain(ledger)[0].dont_haves == (cid_of(1),)
    _ask(ledger, A, [_want(2)], MAX_BLOCK_BYTES)
    assert _blocks(_drain(ledger)) == [cid_of(2)]


def test_identity_blocks_are_not_served() -> None:
    """Their bytes are in the CID."""
    ledger = Ledger()
    inline = CID.of(b"hello", hash_code=multihash.IDENTITY)
    assert ledger.on_message(A, [Entry(inline, send_dont_have=True)], full=False) == []
    assert _drain(ledger)[0].dont_haves == (inline,)


def test_answers_are_of_about_a_mebibyte() -> None:
    """Large blocks go alone; small ones together, with what is left to come beside them."""
    ledger = Ledger()
    _ask(ledger, A, [_want(number) for number in range(3)], 2 * MIB)
    answers = _drain(ledger)
    assert [len(answer.blocks) for answer in answers] == [1, 1, 1]
    assert [answer.pending_bytes for answer in answers] == [4 * MIB, 2 * MIB, 0]
    _ask(ledger, A, [_want(number) for number in range(1000)], 4000)
    answers = _drain(ledger)
    assert len(_blocks(answers)) == 1000
    assert all(answer.size <= TARGET_MESSAGE_BYTES for answer in answers)


def test_the_largest_answer_is_a_legal_message() -> None:
    """All that may wait for a peer, with the longest CIDs, fits the message and its receiver's limits."""
    ledger = Ledger()
    for number in range(MAX_PRESENCES + 100):
        long = CID(1, 0x55, multihash.wrap(0x1E, number.to_bytes(126, "big")))
        _ask(ledger, A, [Entry(long, want_have=True)], 5000)
    _ask(ledger, A, [_want(1)], MAX_BLOCK_BYTES)
    answer = ledger.next_action()
    assert answer is not None
    blocks = [(cid.prefix, bytes(size)) for cid, size in answer.blocks]
    data = b"".join(encode(Message(blocks=blocks, haves=list(answer.haves)), V120))
    assert len(data) < MAX_MESSAGE_BYTES
    assert len(decode(data).haves) == MAX_PRESENCES


# --- what a peer says -------------------------------------------------------------------------------------------------


def test_cancel_in_every_state() -> None:
    """Before the look-up, after it, while queued, and HAVE not yet said: nothing is answered."""
    ledger = Ledger()
    ledger.on_message(A, [_want(1)], full=False)
    ledger.on_message(A, [Entry(cid_of(1), cancel=True)], full=False)
    ledger.on_lookup(A, {cid_of(1).multihash: BLOCK})
    assert ledger.next_action() is None
    for size, have in ((BLOCK, False), (BLOCK, True), (None, False)):
        _ask(ledger, A, [_want(2, have=have)], size)
        _ask(ledger, A, [Entry(cid_of(2), cancel=True)])
        assert ledger.next_action() is None
        assert not ledger.wantlist(A)
    ledger.on_blocks_stored([(cid_of(number).multihash, BLOCK) for number in (1, 2)])
    assert ledger.next_action() is None


def test_a_cancelled_want_that_is_asked_for_again_is_answered_once() -> None:
    """What is left of the first time in the queue counts for nothing."""
    ledger = Ledger()
    for _ in range(5):
        _ask(ledger, A, [_want(1)])
        _ask(ledger, A, [Entry(cid_of(1), cancel=True)])
    _ask(ledger, A, [_want(1)])
    (answer,) = _drain(ledger)
    assert _blocks([answer]) == [cid_of(1)]
    assert answer.pending_bytes == 0


def test_the_same_want_again_is_one_block() -> None:
    """A want that is told twice, or in a full list after it, keeps its place."""
    ledger = Ledger()
    _ask(ledger, A, [_want(number) for number in range(20)])
    _ask(ledger, A, [_want(3), _want(3)])
    _ask(ledger, A, [_want(number) for number in reversed(range(20))], full=True)
    assert _blocks(_drain(ledger)) == [cid_of(number) for number in range(20)]


def test_a_full_list_replaces() -> None:
    """What it does not name is over."""
    ledger = Ledger()
    _ask(ledger, A, [_want(1), _want(2)])
    _ask(ledger, A, [_want(3), _want(4)], None)
    _ask(ledger, A, [_want(2), _want(4)], full=True)
    assert sorted(ledger.wantlist(A)) == sorted([cid_of(2), cid_of(4)])
    assert sorted(_blocks(_drain(ledger))) == sorted([cid_of(2), cid_of(4)])
    _ask(ledger, A, [_want(5)], None)
    _ask(ledger, A, [], full=True)
    assert not ledger.wantlist(A)


def test_a_want_is_raised_and_never_lowered() -> None:
    """want-have becomes want-block; the other way round only by a full list."""
    ledger = Ledger()
    _ask(ledger, A, [_want(1, have=True)], None)
    _ask(ledger, A, [_want(1)], None)
    _ask(ledger, A, [_want(1, have=True)], None)
    ledger.on_blocks_stored([(cid_of(1).multihash, BLOCK)])
    assert _blocks(_drain(ledger)) == [cid_of(1)]
    _ask(ledger, A, [_want(2)], None)
    _ask(ledger, A, [_want(2, have=True)], None, full=True)
    ledger.on_blocks_stored([(cid_of(2).multihash, BLOCK)])
    assert _drain(ledger)[-1].haves == (cid_of(2),)


def test_answers_to_one_that_left() -> None:
    """A look-up, a sent answer and a received block that come too late leave nothing behind but its account."""
    ledger = Ledger()
    _ask(ledger, A, [_want(1)])
    answer = ledger.next_action()
    assert answer is not None
    found = ledger.on_message(A, [_want(2)], full=False)
    ledger.on_peer_disconnected(A)
    ledger.on_lookup(A, {cid.multihash: BLOCK for cid in found})
    ledger.on_sent(answer, done=True)
    ledger.on_received(A, 77)
    assert ledger.statistics().peers == 0
    assert ledger.account(A) == Account(BLOCK, 77)
    ledger.on_peer_connected(A)
    assert ledger.account(A) == Account(BLOCK, 77)


def test_an_answer_of_an_earlier_connection_does_not_widen_the_next() -> None:
    """What is on its way is counted for each connection apart."""
    ledger = Ledger()
    old: list[Answer] = []
    for _ in range(4):
        _ask(ledger, A, [_want(number) for number in range(100)], 2 * MIB)
        while answer := ledger.next_action():
            old.append(answer)
        ledger.on_peer_disconnected(A)
    for answer in old:
        ledger.on_sent(answer, done=False)
    _ask(ledger, A, [_want(number) for number in range(100)], 2 * MIB)
    sent = 0
    first = ledger.next_action()
    assert first is not None
    for answer in old:
        ledger.on_sent(answer, done=True)
    while answer := ledger.next_action():
        sent += answer.size
    assert first.size + sent == MAX_OUTSTANDING_PER_PEER
    assert ledger.account(A).sent == sum(answer.size for answer in old)


def test_an_answer_that_failed_is_not_on_the_account() -> None:
    """And makes room for others."""
    ledger = Ledger()
    _ask(ledger, A, [_want(number) for number in range(100)])
    for _ in range(20):
        answer = ledger.next_action()
        assert answer is not None
        ledger.on_sent(answer, done=False)
    assert ledger.account(A).sent == 0
    assert ledger.statistics().bytes_sent == 0


# --- bounds -----------------------------------------------------------------------------------------------------------


def test_overflow_drops_the_oldest_that_cannot_be_satisfied() -> None:
    """1,024 that we have not got never keep out one that we have (the stall of the Go implementation's issue 527)."""
    ledger = Ledger()
    _ask(ledger, A, [_want(number) for number in range(MAX_WANTLIST_ENTRIES)], None)
    _ask(ledger, A, [_want(5000)])
    assert _blocks(_drain(ledger)) == [cid_of(5000)]
    assert cid_of(0) not in ledger.wantlist(A)
    assert cid_of(1) in ledger.wantlist(A)
    assert ledger.statistics().evicted == 1
    served = 0
    for number in range(10_000, 13_000):  # and so on
        _ask(ledger, A, [_want(number)], None if number % 2 else BLOCK)
        assert len(ledger.wantlist(A)) <= MAX_WANTLIST_ENTRIES
        if number % 100 == 99:
            served += len(_blocks(_drain(ledger)))
    assert served == 1500


def test_a_dont_have_survives_the_eviction_of_its_want() -> None:
    """Each of too many wants is answered, so that none is waited for."""
    ledger = Ledger()
    for start in range(0, 3000, 500):
        _ask(ledger, A, [_want(start + number) for number in range(500)], None)
    said = {cid for answer in _drain(ledger) for cid in answer.dont_haves}
    assert said == {cid_of(number) for number in range(3000)}


def test_wants_that_we_have_are_not_pushed_out() -> None:
    """Of 3,000 blocks in one message 1,024 are served; the others are refused in words, not in silence."""
    ledger = Ledger()
    _ask(ledger, A, [_want(number) for number in range(3000)], 1000)
    answers = _drain(ledger)
    assert _blocks(answers) == [cid_of(number) for number in range(MAX_WANTLIST_ENTRIES)]
    refused = {cid for answer in answers for cid in answer.dont_haves}
    assert refused == {cid_of(number) for number in range(MAX_WANTLIST_ENTRIES, 3000)}
    _ask(ledger, A, [_want(2999)], 1000)
    assert _blocks(_drain(ledger)) == [cid_of(2999)]


def test_accounts_outlive_connections_and_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of peers that left longest ago are forgotten; peers without a balance take no place."""
    assert MAX_LEDGERS >= 1000
    monkeypatch.setattr(module, "MAX_LEDGERS", 10)
    ledger = Ledger()
    for number in range(30):
        ledger.on_peer_connected(peer_of(number))
        ledger.on_received(peer_of(number), number)
        ledger.on_peer_disconnected(peer_of(number))
        ledger.on_peer_connected(peer_of(1000))
        ledger.on_peer_disconnected(peer_of(1000))
    assert ledger.account(peer_of(29)).received == 29
    assert ledger.account(peer_of(20)).received == 20
    assert ledger.account(peer_of(19)).received == 0


def test_wants_and_cancels_without_reading_take_no_memory() -> None:
    """The queue keeps few of the cancelled, and presences are capped."""
    ledger = Ledger()
    for number in range(5000):
        _ask(ledger, A, [_want(number % 10)])
        _ask(ledger, A, [Entry(cid_of(number % 10), cancel=True)])
    found = ledger._peers[A]
    assert len(found.queue) <= 2 * STALE_ANSWERS + 2
    for number in range(3 * MAX_PRESENCES):
        other = CID(1, DAG_PB + number, cid_of(1).multihash)
        _ask(ledger, A, [Entry(other, want_have=True)])
        inline = CID.of(number.to_bytes(4, "big"), hash_code=multihash.IDENTITY)
        _ask(ledger, A, [Entry(inline, send_dont_have=True)])
    assert len(found.haves) + len(found.dont_haves) <= MAX_PRESENCES


def test_a_hostile_peer_costs_a_bounded_amount() -> None:
    """100,000 ever new wants, answered and not, leave little memory, and nothing when it goes."""
    assert len({cid_of(number) for number in range(100_000)}) == 100_000  # those are the test's own
    ledger = Ledger()
    ledger.on_peer_connected(A)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for start in range(0, 100_000, 10_000):
            _ask(ledger, A, [_want(start + number, have=number % 2 == 0) for number in range(10_000)], None)
            _ask(ledger, A, [_want(start + number, have=True) for number in range(1000)], 2000)
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert held < 4 * MIB
    ledger.on_peer_disconnected(A)
    assert not ledger._peers
    assert not ledger._waiting
    assert not ledger._open
    assert not ledger._past


class _CountingDict(dict):  # type: ignore[type-arg]
    """Counts how many keys are walked over."""

    walked = 0

    def __iter__(self):  # type: ignore[no-untyped-def]
        for key in super().__iter__():
            type(self).walked += 1
            yield key


def test_no_message_is_dearer_than_its_length() -> None:
    """Cancels and overflow walk over no list of wants: 1,024 of either are not a million steps."""
    ledger = Ledger()
    ledger.on_peer_connected(A)
    found = ledger._peers[A]
    found.wants = _CountingDict()
    _ask(ledger, A, [_want(number) for number in range(MAX_WANTLIST_ENTRIES)])
    _ask(ledger, A, [_want(number) for number in range(MAX_ENTRIES_PER_MESSAGE)], None)
    assert _CountingDict.walked <= MAX_WANTLIST_ENTRIES
    steps = 0

    class _CountingList(list):  # type: ignore[type-arg]
        def __iter__(self):  # type: ignore[no-untyped-def]
            nonlocal steps
            for item in super().__iter__():
                steps += 1
                yield item

    for number in range(MAX_WANTLIST_ENTRIES):
        if not isinstance(found.queue, _CountingList):
            found.queue = _CountingList(found.queue)
        _ask(ledger, A, [Entry(cid_of(number), cancel=True)])
    assert steps <= 4 * MAX_WANTLIST_ENTRIES
    assert ledger.next_action() is None or not ledger.wantlist(A)


def test_what_it_says_of_itself() -> None:
    """Counters and text."""
    ledger = Ledger()
    _ask(ledger, A, [_want(1), _want(2)])
    _ask(ledger, B, [_want(3)], None)
    stats = ledger.statistics()
    assert (stats.peers, stats.wants) == (2, 3)
    assert repr(ledger) == "<Ledger 2 peers, 2 answers queued>"
    _drain(ledger)
    assert ledger.statistics().blocks_sent == 2
    assert ledger.statistics().bytes_sent == 2 * BLOCK
