"""The dialler over a network in memory, under a clock that jumps. An "upgrade" here takes 0.1 s and asks no questions,
except of addresses that are said to be another peer's."""

from __future__ import annotations

import ipaddress
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from ipfs_kit_py.core.config import (
    DIAL_MAX_CONCURRENT,
    DIAL_MAX_CONCURRENT_PER_PEER,
    DIAL_STAGGER_LOCAL_SECONDS,
    DIAL_STAGGER_SECONDS,
    DIAL_TIMEOUT_SECONDS,
)
from ipfs_kit_py.core.errors import PeerUnreachable, ProtocolViolation
from ipfs_kit_py.net.addresses import Address, parse
from ipfs_kit_py.net.dial_plan import Candidate, Provenance, Surroundings
from ipfs_kit_py.net.dialer import Attempts, Dialer, Race
from ipfs_kit_py.net.gate import Gate
from ipfs_kit_py.net.memory import Link, MemoryNetwork
from test.engine.test_address_book import peer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from ipfs_kit_py.core.cid import PeerID
    from ipfs_kit_py.net.transports import RawStream

HERE = "10.0.0.1"
THEM = peer(1)
SHAKE = 0.1


class World:
    """A network, a dialler in it, and what became of its dials."""

    def __init__(self, gate: Gate | None = None, names: dict[str, list[str]] | None = None) -> None:
        self.network = MemoryNetwork()
        self.impostors: set[str] = set()
        self.outcomes: list[tuple[str, bool]] = []
        self.discarded: list[str] = []
        self.opened: list[RawStream] = []
        self._names = names or {}
        here = Surroundings((ipaddress.ip_interface("10.0.0.1/24"),), frozenset({f"/ip4/{HERE}/tcp/1"}))
        self.dialer: Dialer[str] = Dialer(
            transports=[self.network.transport(HERE)],
            upgrade=self,
            gate=gate or Gate(),
            notes=self,
            resolver=self,
            surroundings=lambda: here,
        )

    async def upgrade(self, raw: RawStream, who: PeerID) -> str:
        self.opened.append(raw)
        await trio.sleep(SHAKE)
        if raw.remote_address in self.impostors:
            raise ProtocolViolation(f"{raw.remote_address} is somebody else", peer=who)
        return raw.remote_address

    async def discard(self, late: str) -> None:
        self.discarded.append(late)

    async def resolve(self, address: Address, who: PeerID) -> list[str]:
        await trio.sleep(0.5)
        if address.text not in self._names:
            raise PeerUnreachable(f"{address.text}: no such name")
        return self._names[address.text]

    def on_success(self, who: PeerID, address: str) -> None:
        self.outcomes.append((address, True))

    def on_failure(self, who: PeerID, address: str) -> None:
        self.outcomes.append((address, False))

    async def listen(self, host: str, port: int = 1) -> str:
        listener = await self.network.transport(host).listen(f"/ip4/{host}/tcp/{port}")
        return str(listener.addresses[0])

    async def dial(self, texts: Collection[str], provenance: Provenance = Provenance.SIGNED) -> str:
        race: Race[str] = Race(THEM)
        return await self.run(texts, provenance, race)

    async def run(self, texts: Collection[str], provenance: Provenance, race: Race[str]) -> str:
        names = self.dialer.offer(race, [Candidate(parse(text), provenance) for text in texts])
        return await self.dialer.dial(race, names)


def play(scenario: Callable[..., Awaitable[object]], *args: object) -> None:
    trio.run(scenario, *args, clock=MockClock(autojump_threshold=0))


def test_a_good_address_works_at_once_after_bad_ones() -> None:
    async def scenario() -> None:
        world = World()
        good = await world.listen("10.0.0.99")
        refusing = [f"/ip4/10.0.0.{n}/tcp/9" for n in range(2, 20)]
        assert await world.dial([*refusing, good]) == good
        assert trio.current_time() == pytest.approx(SHAKE)

    play(scenario)


def test_addresses_that_never_answer_hold_a_good_one_up_for_their_stagger_only() -> None:
    async def scenario() -> None:
        world = World()
        good = await world.listen("8.8.8.8")
        silent = [f"/ip4/8.8.4.{n}/tcp/9" for n in range(1, 5)]
        for number in range(1, 5):
            world.network.link(HERE, f"8.8.4.{number}").cut = True
        assert await world.dial([*silent, good]) == good
        assert trio.current_time() == pytest.approx(4 * DIAL_STAGGER_SECONDS + SHAKE)
        assert world.dialer.running == 0

    play(scenario)


def test_near_addresses_follow_each_other_more_quickly() -> None:
    async def scenario() -> None:
        world = World()
        good = await world.listen("10.0.0.9")
        world.network.link(HERE, "10.0.0.8").cut = True
        assert await world.dial(["/ip4/10.0.0.8/tcp/1", good]) == good
        assert trio.current_time() == pytest.approx(DIAL_STAGGER_LOCAL_SECONDS + SHAKE)

    play(scenario)


def test_the_first_that_is_through_wins_and_the_others_pipes_are_closed() -> None:
    async def scenario() -> None:
        world = World()
        slow, fast = await world.listen("10.0.0.8"), await world.listen("10.0.0.9")
        world.network.link(HERE, "10.0.0.8", Link(latency=0.04))
        assert await world.dial([slow, fast]) == fast
        loser = next(raw for raw in world.opened if raw.remote_address == slow)
        assert loser.is_closed  # type: ignore[attr-defined]

    play(scenario)


def test_nobody_answering_is_an_error_that_says_what_was_tried() -> None:
    async def scenario() -> None:
        world = World()
        world.network.link(HERE, "8.8.8.8").cut = True
        with pytest.raises(PeerUnreachable, match=r"refused.*no answer within") as caught:
            await world.dial(["/ip4/10.0.0.5/tcp/1", "/ip4/8.8.8.8/tcp/1"])
        assert caught.value.peer == str(THEM)
        assert trio.current_time() == pytest.approx(DIAL_TIMEOUT_SECONDS)
        assert world.outcomes == [("/ip4/10.0.0.5/tcp/1", False), ("/ip4/8.8.8.8/tcp/1", False)]
        with pytest.raises(PeerUnreachable, match="no address of it is known"):
            await world.dial([])

    play(scenario)


def test_an_impostor_does_not_stop_the_others_and_alone_is_named() -> None:
    async def scenario() -> None:
        world = World()
        bad, good = await world.listen("10.0.0.8"), await world.listen("10.0.0.9")
        world.impostors = {bad}
        assert await world.dial([bad, good]) == good
        with pytest.raises(ProtocolViolation, match="somebody else"):
            await world.dial([bad])

    play(scenario)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"/ip4/{HERE}/tcp/1", "own address"),
        ("/ip4/10.0.7.7/tcp/1", "refused by the configuration"),
        ("/ip4/8.8.8.8/udp/1/quic-v1", "no transport"),
        ("/ip4/0.0.0.0/tcp/1", "no address of one machine"),
    ],
)
def test_some_addresses_are_not_dialled_at_all(text: str, why: str) -> None:
    async def scenario() -> None:
        world = World(Gate(deny=["10.0.7.0/24"]))
        with pytest.raises(PeerUnreachable, match=why):
            await world.dial([text], Provenance.GIVEN)
        assert world.network.dials == []

    play(scenario)


def test_names_are_resolved_beside_the_race_and_gated_after() -> None:
    async def scenario() -> None:
        names = {
            "/dns4/good.example/tcp/1": ["/ip4/10.0.0.9/tcp/1"],
            "/dns4/evil.example/tcp/1": ["/ip4/10.0.7.7/tcp/1"],
        }
        world = World(Gate(deny=["10.0.7.0/24"]), names)
        good, direct = await world.listen("10.0.0.9"), await world.listen("10.0.0.5")
        assert await world.dial(["/dns4/good.example/tcp/1"]) == good
        assert trio.current_time() == pytest.approx(0.5 + SHAKE)
        assert await world.dial(["/dns4/good.example/tcp/1", direct]) == direct
        assert trio.current_time() == pytest.approx(0.5 + 2 * SHAKE)
        with pytest.raises(PeerUnreachable, match="refused by the configuration"):
            await world.dial(["/dns4/evil.example/tcp/1"])
        with pytest.raises(PeerUnreachable, match="no such name"):
            await world.dial(["/dns4/none.example/tcp/1"])

    play(scenario)


def test_attempts_are_bounded_for_a_peer_and_for_the_node() -> None:
    async def scenario() -> None:
        world = World()
        most = 0
        for number in range(30):
            for host in range(8):
                world.network.link(HERE, f"10.1.{number}.{host}").cut = True

        async def one(number: int) -> None:
            with pytest.raises(PeerUnreachable):
                await world.dial([f"/ip4/10.1.{number}.{host}/tcp/1" for host in range(8)])

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, world.dialer.running)
                await trio.sleep(0.05)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            async with trio.open_nursery() as dials:
                for number in range(30):
                    dials.start_soon(one, number)
            nursery.cancel_scope.cancel()
        assert most == DIAL_MAX_CONCURRENT
        assert world.dialer.running == 0

    play(scenario)


def test_at_most_eight_addresses_of_one_peer_are_in_the_race_at_once() -> None:
    async def scenario() -> None:
        world = World()
        for host in range(20):
            world.network.link(HERE, f"10.0.0.{host + 2}").cut = True
        race: Race[str] = Race(THEM)
        with trio.move_on_after(DIAL_TIMEOUT_SECONDS - 1):
            await world.run([f"/ip4/10.0.0.{host + 2}/tcp/1" for host in range(20)], Provenance.SIGNED, race)
        assert len(world.network.dials) == DIAL_MAX_CONCURRENT_PER_PEER

    play(scenario)


def test_a_connection_that_is_through_when_its_caller_gives_up_is_closed() -> None:
    async def scenario() -> None:
        world = World()
        good = await world.listen("10.0.0.9")
        with trio.CancelScope() as limit:
            world.on_success = lambda who, address: limit.cancel()  # type: ignore[method-assign]
            await world.dial([good])
        assert limit.cancelled_caught
        assert world.discarded == [good]

    play(scenario)


# --- sharing ----------------------------------------------------------------------------------------------------------
class Shared:
    """``Attempts`` over a world, counting races."""

    def __init__(self, world: World, nursery: trio.Nursery) -> None:
        self.world = world
        self.races = 0
        self.attempts: Attempts[str, str] = Attempts(nursery)

    async def connect(self, texts: Collection[str]) -> str:
        return await self.attempts.share(THEM, partial(self._run, texts), partial(self._join, texts))

    async def _run(self, texts: Collection[str], race: Race[str]) -> str:
        self.races += 1
        return await self.world.run(texts, Provenance.GIVEN, race)

    def _join(self, texts: Collection[str], race: Race[str]) -> None:
        self.world.dialer.offer(race, [Candidate(parse(text), Provenance.GIVEN) for text in texts], first=True)


def test_those_who_want_the_same_peer_share_one_race_and_may_add_to_it() -> None:
    async def scenario() -> None:
        world, found = World(), []
        good = await world.listen("10.0.0.9")
        world.network.link(HERE, "10.0.0.8").cut = True
        async with trio.open_nursery() as nursery:
            shared = Shared(world, nursery)

            async def want(texts: list[str]) -> None:
                found.append(await shared.connect(texts))

            async with trio.open_nursery() as callers:
                callers.start_soon(want, ["/ip4/10.0.0.8/tcp/1"])
                for _caller in range(5):
                    await trio.sleep(1)
                    callers.start_soon(want, [])
                await trio.sleep(1)
                callers.start_soon(want, [good])
        assert found == [good] * 7
        assert shared.races == 1
        assert len(shared.attempts) == 0
        assert trio.current_time() == pytest.approx(6 + SHAKE)

    play(scenario)


def test_a_waiter_that_is_cancelled_leaves_the_others_theirs_and_the_last_one_ends_the_race() -> None:
    async def scenario() -> None:
        world = World()
        good = await world.listen("10.0.0.9")
        world.network.link(HERE, "10.0.0.9", Link(latency=5.0))
        async with trio.open_nursery() as nursery:
            shared = Shared(world, nursery)

            async def impatient() -> None:
                with trio.move_on_after(1):
                    await shared.connect([good])

            async with trio.open_nursery() as callers:
                callers.start_soon(impatient)
                await trio.sleep(0.5)
                assert await shared.connect([good]) == good
            assert shared.races == 1
            await impatient()
            assert len(shared.attempts) == 0
            await trio.testing.wait_all_tasks_blocked()
            assert world.dialer.running == 0
            assert await shared.connect([good]) == good
            assert shared.races == 3

    play(scenario)


def test_all_who_wait_get_the_error_each_one_of_its_own() -> None:
    async def scenario() -> None:
        world, errors = World(), []
        async with trio.open_nursery() as nursery:
            shared = Shared(world, nursery)

            async def want() -> None:
                with pytest.raises(PeerUnreachable, match="refused") as caught:
                    await shared.connect(["/ip4/10.0.0.8/tcp/1"])
                errors.append(caught.value)

            async with trio.open_nursery() as callers:
                for _caller in range(3):
                    callers.start_soon(want)
        assert len({id(error) for error in errors}) == 3
        assert {error.peer for error in errors} == {str(THEM)}

    play(scenario)
