"""The race of sources for missing blocks, under a moved clock."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from heapq import heappop, heappush

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipfs_kit_py.content.miss.breaker import Breaker, State
from ipfs_kit_py.content.miss.origin import Absent, Origin
from ipfs_kit_py.content.miss.race import Action, Ask, Check, Drop, GiveUp, Race
from ipfs_kit_py.core.cid import CID
from ipfs_kit_py.core.config import (
    ABSENT_SECONDS,
    BREAKER_BASE_SECONDS,
    BREAKER_FAILURES,
    BREAKER_LIE_SECONDS,
    BREAKER_MAX_SECONDS,
    MISS_LEAD_MIN,
    MISS_RECHECK_SECONDS,
)

CIDS = [CID.of(str(number).encode()) for number in range(64)]


def origin(name: str, seconds: float = 0.5, *, limit: float = 4, patient: bool = False) -> Origin:
    return Origin(name, random.Random(1), limit=limit, patient=patient, prior=seconds)


def actions(race: Race, now: float) -> list[Action]:
    found = []
    while (action := race.next_action(now)) is not None:
        found.append(action)
    return found


def test_the_source_from_which_a_block_is_expected_first_is_asked_first_and_alone() -> None:
    slow, fast = origin("slow", 2.0), origin("fast", 0.1)
    race = Race([slow, fast], Absent())
    race.on_want(CIDS[:3], 0.0)
    assert actions(race, 0.0) == [Ask(fast, tuple(CIDS[:3]))]
    assert race.deadline() == pytest.approx(fast.lead())


def test_the_next_source_starts_when_the_one_before_has_had_its_usual_time_and_the_loser_is_dropped() -> None:
    slow, fast = origin("slow", 2.0), origin("fast", 0.1)
    race = Race([slow, fast], Absent())
    race.on_want(CIDS[:1], 0.0)
    actions(race, 0.0)
    race.on_timeout(fast.lead() / 2)
    assert not actions(race, fast.lead() / 2)
    race.on_timeout(fast.lead())
    assert actions(race, fast.lead()) == [Ask(slow, (CIDS[0],))]
    race.on_block(CIDS[0], 1.0, slow, 10)
    assert actions(race, 1.0) == [Drop(fast, CIDS[0])]
    assert race.statistics().wanted == 0
    assert race.statistics().hedges == 1
    assert fast.statistics().lost == 1
    assert slow.statistics().bytes == 10


def test_a_source_that_was_fast_leads_for_less_and_one_that_lost_for_more() -> None:
    one = origin("one", 0.5)
    for _ in range(50):
        one.on_block(0.01, 1)
    assert one.lead() == pytest.approx(MISS_LEAD_MIN, abs=0.05)
    for _ in range(50):
        one.on_lost(1.0)
    assert one.expected() > 0.5


def test_a_no_lets_the_next_source_start_at_once_and_is_remembered_for_a_bounded_time() -> None:
    absent = Absent()
    one, two = origin("one", 0.1), origin("two", 1.0)
    race = Race([one, two], absent)
    race.on_want(CIDS[:1], 0.0)
    actions(race, 0.0)
    race.on_absent(one, CIDS[0], 0.01)
    assert actions(race, 0.01) == [Ask(two, (CIDS[0],))]
    race.on_absent(two, CIDS[0], 0.02)
    assert actions(race, 0.02) == [GiveUp(CIDS[0], {})]
    again = Race([one, two], absent)
    again.on_want(CIDS[:1], 1.0)
    assert actions(again, 1.0) == [GiveUp(CIDS[0], {})]
    later = Race([one, two], absent)
    later.on_want(CIDS[:1], 1.0 + ABSENT_SECONDS)
    assert isinstance(actions(later, 1.0 + ABSENT_SECONDS)[0], Ask)


def test_what_was_stored_at_a_source_is_no_longer_absent_there() -> None:
    absent, one = Absent(), origin("one")
    absent.add(one, CIDS[0].multihash, 0.0)
    absent.forget(one, CIDS[0].multihash)
    assert absent.until(one, CIDS[0].multihash, 1.0) is None


def test_what_is_absent_is_remembered_up_to_its_capacity() -> None:
    absent, one = Absent(8), origin("one")
    for cid in CIDS:
        absent.add(one, cid.multihash, 0.0)
    assert len(absent) == 8
    assert absent.until(one, CIDS[-1].multihash, 1.0) is not None
    assert absent.until(one, CIDS[0].multihash, 1.0) is None


def test_peers_without_hope_do_not_hold_up_a_tier_and_go_on_all_the_same() -> None:
    peers, tier = origin("peers", 0.1, patient=True), origin("tier", 0.5)
    race = Race([peers, tier], Absent())
    race.on_want(CIDS[:2], 0.0)
    assert actions(race, 0.0) == [Ask(peers, tuple(CIDS[:2]))]
    at = race.deadline()
    assert at is not None
    assert at < peers.lead()
    race.on_timeout(at)
    assert actions(race, at) == [Check(peers, tuple(CIDS[:2]))]
    race.on_unlikely(peers, CIDS[:1], at)
    assert actions(race, at) == [Ask(tier, (CIDS[0],))]
    race.on_absent(tier, CIDS[0], at + 0.1)
    assert not actions(race, at + 0.1)  # peers may come that have it: nobody gives up
    race.on_block(CIDS[0], 9.0, peers, 1)
    assert not race.is_wanted(CIDS[0])


def test_a_tier_that_comes_back_is_asked_for_what_only_peers_were_asked_for() -> None:
    peers, tier = origin("peers", 0.1, patient=True), origin("tier", 0.5)
    race = Race([peers, tier], Absent())
    tier.on_lie(0.0)
    race.on_want(CIDS[:1], 0.0)
    assert actions(race, 0.0) == [Ask(peers, (CIDS[0],))]
    now = 0.0
    while now < BREAKER_LIE_SECONDS:
        now = race.deadline() or now
        race.on_timeout(now)
        assert all(isinstance(action, Check) for action in actions(race, now))
    tier.breaker.on_health(now, ok=True)
    race.on_timeout(now + MISS_RECHECK_SECONDS)
    assert Ask(tier, (CIDS[0],)) in actions(race, now + MISS_RECHECK_SECONDS)


def test_blocks_wait_for_a_place_at_the_better_source_unless_another_is_expected_sooner() -> None:
    fast, slow = origin("fast", 0.1, limit=2), origin("slow", 0.35, limit=2)
    race = Race([fast, slow], Absent())
    race.on_want(CIDS[:16], 0.0)
    asked = {action.origin: action.cids for action in actions(race, 0.0) if isinstance(action, Ask)}
    assert len(asked[fast]) == 2
    assert 1 <= len(asked[slow]) <= 2
    assert race.statistics().waiting == 16 - len(asked[fast]) - len(asked[slow])
    fast.in_flight -= 1
    race.on_block(asked[fast][0], 0.1, fast, 1)
    race.on_place(0.1)
    assert any(isinstance(action, Ask) and action.origin is fast for action in actions(race, 0.1))


def test_giving_up_says_which_source_failed_and_which_is_left_alone() -> None:
    one, two = origin("one", 0.1), origin("two", 1.0)
    two.on_lie(0.0)
    race = Race([one, two], Absent())
    race.on_want(CIDS[:1], 0.0)
    actions(race, 0.0)
    race.on_failure(one, CIDS[0], "it hung up", 0.1)
    [end] = actions(race, 0.1)
    assert isinstance(end, GiveUp)
    assert end.failed["one"] == "it hung up"
    assert "left alone" in end.failed["two"]


def test_a_caller_that_leaves_drops_its_requests() -> None:
    one = origin("one", 0.1)
    race = Race([one], Absent())
    race.on_want(CIDS[:3], 0.0)
    actions(race, 0.0)
    race.cancel(0.1)
    assert actions(race, 0.1) == [Drop(one, cid) for cid in CIDS[:3]]
    assert race.deadline() is None


def test_a_breaker_opens_after_failures_in_a_row_doubles_its_pause_and_closes_after_one_success() -> None:
    breaker = Breaker(random.Random(1))
    for _ in range(BREAKER_FAILURES - 1):
        breaker.on_failure(0.0)
    breaker.on_success()
    for _ in range(BREAKER_FAILURES):
        assert breaker.allows(3)
        breaker.on_failure(0.0)
    assert breaker.state is State.OPEN
    assert not breaker.allows(0)
    pauses = []
    now = 0.0
    for _ in range(14):
        due = breaker.due()
        assert due is not None
        pauses.append(due - now)
        now = due
        breaker.on_health(now, ok=False)
    for number, pause in enumerate(pauses):
        whole = min(BREAKER_BASE_SECONDS * 2**number, BREAKER_MAX_SECONDS)
        assert 0.49 * whole <= pause <= 1.01 * whole
    due = breaker.due()
    assert due is not None
    breaker.on_health(due, ok=True)
    assert breaker.state is State.TRIAL
    assert breaker.allows(0)
    assert not breaker.allows(1)
    breaker.on_success()
    assert breaker.state is State.CLOSED


def test_a_source_that_asks_to_be_left_alone_is_for_as_long() -> None:
    breaker = Breaker(random.Random(1))
    for _ in range(BREAKER_FAILURES):
        breaker.on_failure(0.0, after=100.0)
    assert breaker.due() == 100.0


@dataclass
class World:
    """Sources that answer as they are told: for each block a block, a no or a failure, after some seconds."""

    origins: list[Origin]
    answers: dict[tuple[str, CID], tuple[str, float]]
    race: Race
    now: float = 0.0
    events: list[tuple[float, int, Origin, CID]] = field(default_factory=list)
    asked: list[tuple[str, CID]] = field(default_factory=list)
    got: list[CID] = field(default_factory=list)
    gave_up: list[CID] = field(default_factory=list)
    number: int = 0

    def act(self) -> None:
        for action in actions(self.race, self.now):
            match action:
                case Ask(origin, cids):
                    for cid in cids:
                        self.asked.append((origin.name, cid))
                        self.number += 1
                        kind, seconds = self.answers[origin.name, cid]
                        if not origin.patient or kind == "block":
                            heappush(self.events, (self.now + seconds, self.number, origin, cid))
                    assert origin.in_flight <= origin.limit
                case Check(origin, cids):
                    hopeless = [cid for cid in cids if self.answers[origin.name, cid][0] != "block"]
                    self.race.on_unlikely(origin, hopeless, self.now)
                case GiveUp(cid, _failed):
                    self.gave_up.append(cid)

    def answer(self, origin: Origin, cid: CID) -> None:
        kind = self.answers[origin.name, cid][0]
        if not origin.patient:
            origin.in_flight -= 1
        if kind == "block" and self.race.is_wanted(cid):
            self.got.append(cid)
            self.race.on_block(cid, self.now, origin, 1)
        elif kind == "absent":
            origin.on_absent()
            self.race.on_absent(origin, cid, self.now)
        elif kind == "failure":
            self.race.on_failure(origin, cid, "failed", self.now)
        self.race.on_place(self.now)

    def run(self, until: float) -> None:
        self.act()
        while self.now < until and self.race.statistics().wanted:
            due = self.race.deadline()
            if self.events and (due is None or self.events[0][0] <= due):
                self.now, _number, origin, cid = heappop(self.events)
                self.answer(origin, cid)
            elif due is not None:
                self.now = max(due, self.now)
                self.race.on_timeout(self.now)
            else:
                break
            self.act()


KINDS = st.sampled_from(["block", "absent", "failure"])


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 4), st.integers(1, 40), st.booleans())
def test_every_block_that_somebody_has_comes_once_and_nobody_waits_for_another(
    data: st.DataObject, tiers: int, blocks: int, with_peers: bool
) -> None:
    origins = [
        origin(f"t{n}", data.draw(st.floats(0.01, 3.0)), limit=data.draw(st.integers(1, 8))) for n in range(tiers)
    ]
    if with_peers:
        origins.insert(0, origin("peers", 0.1, patient=True))
    cids = CIDS[:blocks]
    rng = random.Random(data.draw(st.integers(0, 1 << 30)))
    kinds = data.draw(st.lists(KINDS, min_size=3, max_size=9))
    answers = {(each.name, cid): (rng.choice(kinds), rng.uniform(0.001, 4.0)) for each in origins for cid in cids}
    world = World(origins, answers, Race(origins, Absent()))
    world.race.on_want(cids, 0.0)
    world.run(120.0)
    having = [cid for cid in cids if any(answers[each.name, cid][0] == "block" for each in origins)]
    assert sorted(map(str, world.got)) == sorted(map(str, having))
    nobody = [cid for cid in cids if cid not in having]
    if with_peers:  # they may yet come
        assert not world.gave_up
        assert world.race.statistics().wanted == len(nobody)
    else:
        assert sorted(map(str, world.gave_up)) == sorted(map(str, nobody))
    answered = [key for key in world.asked if answers[key][0] != "failure"]
    assert len(answered) == len(set(answered))  # nobody who said something is asked again
