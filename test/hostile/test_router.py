"""What a bad router does to the others: nothing."""

from __future__ import annotations

from contextlib import aclosing

import trio

from ipfs_kit_py.core.config import (
    ROUTER_ADDRESSES,
    ROUTER_ANSWERS,
    ROUTER_COUNT,
    ROUTER_LOOKUPS,
    ROUTER_WAITING,
)
from ipfs_kit_py.core.interfaces import Provider
from test.net.routers import KEY, Book, Says, at, found, numbers, peer, provider, routed
from test.net.swarms import play


class Floods:
    """Names providers without end, and without ever waiting."""

    name = "flood"

    def __init__(self, number=lambda count: count + 1000, *texts):
        self.number, self.texts, self.count = number, texts, 0

    async def find_providers(self, multihash, *, count=20):
        while True:
            yield Provider(peer(self.number(self.count)), self.texts or (at(self.count % 60_000),))
            self.count += 1

    async def provide(self, multihashes):
        await trio.sleep(0)


def test_a_flood_is_not_read_further_than_its_share():
    async def scenario():
        flood, dht = Floods(), Says("dht", (2, provider(1)), (1, provider(2)))
        async with routed(flood, dht) as router:
            seen = []
            async with aclosing(router.find_providers(KEY, count=1000, seconds=20)) as providers:
                for _ in range(5):
                    seen.append((await anext(providers)).peer)
                await trio.sleep(10)
                assert flood.count <= 2 * ROUTER_WAITING
                for _ in range(5):
                    seen.append((await anext(providers)).peer)
            assert peer(1) in seen  # it waited for its turn, not for the end of the flood
            assert peer(2) in seen

    play(scenario)


def test_one_peer_without_end_is_left_and_the_loop_goes_on():
    async def scenario():
        flood = Floods(lambda count: 7)
        async with routed(flood, Says("dht", (2, provider(1)))) as router:
            assert numbers(await found(router, seconds=20)) == [7, 1]
            assert flood.count <= ROUTER_ANSWERS

    play(scenario)


def test_peers_that_are_nowhere_start_a_few_searches_and_no_more():
    async def scenario():
        book = Book()
        async with routed(Floods(lambda count: count + 1, "nonsense"), values=book) as router:
            await found(router, seconds=3, count=1000)
            assert len(book.sought) <= 4 * 3

    play(scenario)


def test_our_own_name_is_not_given_to_us():
    async def scenario():
        async with routed(Says("dht", (0, provider(0)), (0, provider(1)))) as router:
            assert numbers(await found(router)) == [1]

    play(scenario)


def test_ten_thousand_addresses():
    async def scenario():
        many = provider(1, *(at(number) for number in range(10_000)))
        async with routed(Says("dht", (0, many))) as router:
            [(_, item)] = await found(router)
            assert len(item.addresses) == ROUTER_ADDRESSES

    play(scenario)


def test_many_that_search_at_once_take_turns():
    async def scenario():
        hangs = Says("hangs", stays=float("inf"))
        async with routed(hangs, seconds=10) as router, trio.open_nursery() as nursery:
            for _ in range(ROUTER_LOOKUPS + 10):
                nursery.start_soon(found, router)
            await trio.sleep(5)
            assert hangs.asked == ROUTER_LOOKUPS
            await trio.sleep(10)
            assert hangs.asked == ROUTER_LOOKUPS + 10

    play(scenario)


def test_nobody_can_ask_for_more_than_there_may_be():
    async def scenario():
        many = Says("dht", *((0, provider(number)) for number in range(1, ROUTER_COUNT + 50)))
        async with routed(many) as router:
            assert len(await found(router, count=10**9)) == ROUTER_COUNT

    play(scenario)
