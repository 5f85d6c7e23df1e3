"""The router over several: first come, first heard; what fails or hangs stops nothing."""

from __future__ import annotations

import gc
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from ipfs_kit_py.core.config import ROUTER_PEER_SECONDS, ROUTER_SECONDS
from ipfs_kit_py.core.errors import NotRunning, PeerUnreachable
from ipfs_kit_py.core.interfaces import Provider
from ipfs_kit_py.routing.router import Router
from test.net.routers import KEY, OFFLINE, Book, Net, Remembers, Says, at, found, numbers, peer, provider, routed
from test.net.swarms import play, settle

if TYPE_CHECKING:
    from ipfs_kit_py.routing.router_search import LegStatistics


def of(router: Router, name: str) -> LegStatistics:
    return next(item for item in router.statistics() if item.name == name)


def test_all_start_at_once_and_the_first_to_find_is_heard_first():
    async def scenario():
        slow = Says("slow", (5, provider(1)), (0, provider(2)))
        fast = Says("fast", (1, provider(3)), (1, provider(4)))
        async with routed(slow, fast) as router:
            items = await found(router)
        assert [(when, number) for (when, _), number in zip(items, numbers(items), strict=True)] == [
            (1, 3),
            (2, 4),
            (5, 1),
            (5, 2),
        ]
        assert {item.source for _, item in items} == {"slow", "fast"}

    play(scenario)


def test_enough_ends_the_others():
    async def scenario():
        endless = Says("endless", *((1, provider(number)) for number in range(10, 60)))
        fast = Says("fast", (0, provider(1)), (0, provider(2)))
        async with routed(endless, fast) as router:
            items = await found(router, count=3)
            assert [when for when, _ in items] == [0, 0, 1]
            await settle(lambda: endless.closed == endless.asked == 1)
            assert of(router, "endless").late == 0

    play(scenario)


def test_who_hangs_is_cut_off_by_the_budget_and_others_are_heard():
    async def scenario():
        hangs = Says("hangs", stays=float("inf"))
        async with routed(hangs, Says("dht", (3, provider(1))), seconds=30) as router:
            begun = trio.current_time()
            assert numbers(await found(router)) == [1]
            assert trio.current_time() - begun == 30
            assert numbers(await found(router, seconds=4)) == [1]
            assert trio.current_time() - begun == 34
            assert hangs.closed == hangs.asked == 2
            counts = of(router, "hangs")
            assert (counts.lookups, counts.late, counts.answered, counts.failed) == (2, 2, 0, 0)
            assert of(router, "dht").late == 0
            assert router.metrics.counts().lookups.succeeded == 2

    play(scenario)


@pytest.mark.parametrize("error", [PeerUnreachable("offline"), ValueError("a fault"), ExceptionGroup("", [OSError()])])
def test_who_fails_stops_nothing(error, caplog):
    async def scenario():
        broken = Says("broken", (0, provider(1)), then=error)
        async with routed(broken, Says("dht", (3, provider(2)))) as router:
            assert numbers(await found(router)) == [1, 2]
            assert of(router, "broken").failed == 1
            assert of(router, "broken").answered == 1

    play(scenario)


def test_nobody_can_be_asked():
    async def scenario():
        async with routed(Says("dht", then=OFFLINE), near=[Says("connected", then=OFFLINE)]) as router:
            with pytest.raises(PeerUnreachable, match=r"connected: .*; dht: "):
                await found(router)
            assert router.metrics.counts().lookups.failed == 1
        async with routed(Says("dht", then=OFFLINE), near=[Says("connected")]) as router:
            assert await found(router) == []  # one was asked, and said that it knows nobody

    play(scenario)


def test_it_has_to_run():
    async def scenario():
        router = Router(Net(), [])
        with pytest.raises(NotRunning):
            await found(router)

    play(scenario)


def test_a_search_under_way_when_the_node_ends_says_so():
    async def scenario():
        router = Router(Net(), [Says("hangs", stays=float("inf"))])
        outcome: list[BaseException] = []

        async def search() -> None:
            try:
                await found(router)
            except NotRunning as error:
                outcome.append(error)

        async with trio.open_nursery() as callers, trio.open_nursery() as services:
            await services.start(router.run)
            callers.start_soon(search)
            await trio.sleep(1)
            services.cancel_scope.cancel()
        assert len(outcome) == 1

    play(scenario)


def test_cancelling_the_search_closes_every_router():
    async def scenario():
        routers = [Says("a", (0, provider(1)), stays=99), Says("b", stays=99)]
        async with routed(*routers) as router:
            with trio.move_on_after(2):
                await found(router)
            await settle(lambda: [item.closed for item in routers] == [1, 1])
            assert [item.late for item in router.statistics()] == [0, 0]

    play(scenario)


def test_a_search_that_is_dropped_ends_with_its_reader():
    async def scenario():
        one = Says("a", (0, provider(1)), stays=99)
        async with routed(one) as router:
            async with aclosing(router.find_providers(KEY)) as providers:
                assert (await anext(providers)).peer == peer(1)
            await settle(lambda: one.closed == 1)

    play(scenario)
    gc.collect()


def test_the_same_peer_of_two_routers_comes_once_with_the_addresses_of_both():
    async def scenario():
        first = Says("dht", (0, provider(2)), (1, provider(1, at(1))))
        second = Says("http", (2, provider(1, at(1, 4002))))
        async with routed(first, second) as router, aclosing(router.find_providers(KEY)) as providers:
            assert (await anext(providers)).peer == peer(2)
            await trio.sleep(5)
            assert [item async for item in providers] == [Provider(peer(1), (at(1), at(1, 4002)), "dht")]

    play(scenario)


def test_a_provider_without_an_address_is_looked_for():
    async def scenario():
        book = Book()
        book.where[peer(1)] = (at(1),)
        named = Says("dht", (0, Provider(peer(1))), (0, Provider(peer(2))), (0, Provider(peer(3))))
        async with routed(named, values=book, net=Net(connected=[3])) as router:
            items = await found(router)
        assert items[0] == (0, Provider(peer(3), (), "dht"))
        assert (1, Provider(peer(1), (at(1),), "dht")) in items
        assert (1, Provider(peer(2), (), "dht")) in items
        assert sorted(book.sought) == sorted([peer(1), peer(2)])

    play(scenario)


def test_a_look_for_a_peer_that_never_ends_is_cut_off():
    class Hangs(Book):
        async def find_peer(self, peer):
            await trio.sleep_forever()

    async def scenario():
        async with routed(Says("dht", (0, Provider(peer(1)))), values=Hangs()) as router:
            assert await found(router) == [(ROUTER_PEER_SECONDS, Provider(peer(1), (), "dht"))]

    play(scenario)


said = st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0, 3.0]), st.integers(0, 9)), max_size=8)


@settings(max_examples=60)
@given(st.lists(st.tuples(said, st.booleans()), min_size=1, max_size=4), st.integers(1, 12))
def test_whatever_routers_say_when_each_peer_comes_once_and_as_soon_as_it_can(all_said, count):
    async def scenario():
        routers = []
        for number, (items, fails) in enumerate(all_said):
            named = [(seconds, provider(one)) for seconds, one in items]
            routers.append(Says(str(number), *named, then=OFFLINE if fails else None))
        soonest: dict[int, float] = {}
        for items, _ in all_said:
            at_ = 0.0
            for seconds, one in items:
                at_ += seconds
                soonest[one] = min(at_, soonest.get(one, at_))
        soonest.pop(0, None)  # ourselves
        async with routed(*routers) as router:
            try:
                items = await found(router, count=count)
            except PeerUnreachable:
                assert not soonest
                assert all(fails for _, fails in all_said)
                return
            await settle(lambda: all(item.closed == item.asked for item in routers))
        names = numbers(items)
        assert len(set(names)) == len(names) == min(count, len(soonest))
        assert [when for when, _ in items] == [soonest[name] for name in names]
        assert sorted(soonest.values())[: len(names)] == [when for when, _ in items]

    play(scenario)


# --- the cache --------------------------------------------------------------------------------------------------------


def test_enough_in_the_cache_asks_nobody():
    async def scenario():
        dht, cache = Says("dht", (1, provider(9))), Remembers((KEY, [provider(1), provider(2)]))
        async with routed(dht, cache=cache) as router:
            assert numbers(await found(router, count=2)) == [1, 2]
            assert dht.asked == 0
            assert cache.remembered == []
            counts = router.metrics.counts().lookups
            assert (counts.cache_hits, counts.succeeded, counts.count) == (1, 1, 1)
            assert numbers(await found(router, count=3)) == [1, 2, 9]
            assert peer(9) in [item.peer for item in cache.remembered[0][1]]

    play(scenario)


def test_a_whole_search_renews_the_cache_and_one_that_was_cut_adds_to_it():
    async def scenario():
        known = [provider(1, at(1, 4002)), provider(2)]
        said = (0, provider(1)), (0, provider(3))
        for stays, remembered in ((0, [1, 3]), (99, [1, 3, 2])):
            cache = Remembers((KEY, known))
            async with routed(Says("dht", *said, stays=stays), cache=cache) as router:
                assert sorted(numbers(await found(router, seconds=5))) == [1, 2, 3]
            [(_, kept)] = cache.remembered
            assert [item.peer for item in kept] == [peer(number) for number in remembered]
            assert kept[0].addresses == (at(1), at(1, 4002))

    play(scenario)


def test_the_best_of_those_that_are_ready_comes_next_and_who_is_never_chosen_is_left_out():
    async def scenario():
        def best(ready, last):
            choice = max(ready, key=lambda item: item.addresses)
            return choice if choice.addresses > (at(2),) or (last and choice.peer == peer(2)) else None

        items = [(0, provider(number)) for number in (1, 2, 5, 3)]
        async with routed(Says("dht", *items, (1, provider(4)))) as router:
            async with aclosing(router.find_providers(KEY, best=best)) as providers:
                await anext(providers)
                await trio.sleep(5)
                rest = [item.peer async for item in providers]
            assert rest[-1] == peer(2)
            assert peer(1) not in rest
            assert rest[:-1] in ([peer(5), peer(4), peer(3)], [peer(5), peer(4)], [peer(4), peer(3)])

    play(scenario)


def test_what_was_found_is_remembered_and_that_nobody_provides():
    async def scenario():
        cache = Remembers()
        async with routed(Says("dht", (1, provider(1))), cache=cache) as router:
            await found(router)
        async with routed(Says("dht"), cache=cache) as router:
            await found(router)
            assert router.metrics.counts().lookups.absent == 1
        assert cache.remembered == [(KEY, [Provider(peer(1), (at(1),), "cache")]), (KEY, [])]

    play(scenario)


@pytest.mark.parametrize("dht", [Says("dht", then=OFFLINE), Says("dht", stays=ROUTER_SECONDS + 1)])
def test_a_search_that_was_not_whole_tells_nothing_of_absence(dht):
    async def scenario():
        cache = Remembers()
        async with routed(dht, near=[Says("connected")], cache=cache) as router:
            assert await found(router) == []
            assert router.metrics.counts().lookups.failed == 1
        assert cache.remembered == []

    play(scenario)


def test_who_is_near_is_asked_though_nobody_is_known_to_provide():
    async def scenario():
        dht, near = Says("dht", (0, provider(1))), Says("connected", (0, provider(2)))
        async with routed(dht, near=[near], cache=Remembers((KEY, []))) as router:
            assert numbers(await found(router, believe_absent=True)) == [2]
            assert dht.asked == 0
            assert await found(router, skip=["connected"], believe_absent=True) == []
            assert sorted(numbers(await found(router))) == [1, 2]  # whoever asks by hand wants to know it now
            assert router.metrics.counts().lookups.known_absent == 1

    play(scenario)


# --- telling, peers, values -------------------------------------------------------------------------------------------


def test_all_are_told_and_one_is_enough():
    async def scenario():
        dht, http = Says("dht", then=OFFLINE), Says("http", stays=1)
        async with routed(dht, http) as router:
            await router.provide([KEY])
            assert http.told == [KEY]
        async with routed(dht, Says("hangs", stays=float("inf"))) as router:
            with pytest.raises(PeerUnreachable, match=r"dht: .*hangs: not within"):
                await router.provide([KEY])

    play(scenario)


def test_peers_and_values_are_the_dhts():
    async def scenario():
        book = Book()
        book.where[peer(1)] = (at(1),)
        async with routed(values=book) as router:
            assert (await router.find_peer(peer(1))).addresses == (at(1),)
            await router.put_value(b"/ipns/x", b"y")
            assert await router.get_value(b"/ipns/x") == b"y"
        async with routed() as router:
            with pytest.raises(NotRunning, match="DHT"):
                await router.get_value(b"/ipns/x")

    play(scenario)
