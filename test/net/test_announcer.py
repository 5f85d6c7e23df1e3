"""Content is told of at once, or waits where it is kept."""

from __future__ import annotations

import pytest
import trio

from ipfs_kit_py.core.errors import PeerUnreachable, QuotaExceeded
from ipfs_kit_py.core.interfaces import Provider
from ipfs_kit_py.routing.announcer import Announcer, ToldDht
from test.net.routers import KEY, OFFLINE, Says, found, peer, provider, routed
from test.net.swarms import play


class Tells:
    """Keeps what it cannot tell, as the reprovider does."""

    def __init__(self, seconds: float = 0.0, then: Exception | None = None, room: int = 10) -> None:
        self.seconds, self.then, self.room = seconds, then, room
        self.told, self.waits = list[bytes](), list[bytes]()

    async def provide(self, multihashes):
        await trio.sleep(self.seconds)
        if self.then is not None:
            self.add_once(multihashes)
            raise self.then
        self.told += multihashes

    def add_once(self, multihashes):
        if len(self.waits) >= self.room:
            raise QuotaExceeded("too many wait")
        self.waits += multihashes


def test_what_peers_are_told_at_once():
    async def scenario():
        tells = Tells(seconds=2)
        async with routed(ToldDht(Says("dht"), tells)) as router:
            announcer = Announcer(router, tells)
            assert await announcer.announce([KEY]) is True
            assert tells.told == [KEY]
            assert not tells.waits
            found = announcer.statistics()
            assert (found.told, found.queued) == (1, 0)
            assert found.seconds.p50 == pytest.approx(2, rel=0.1)

    play(scenario)


@pytest.mark.parametrize("tells", [Tells(then=OFFLINE), Tells(seconds=100)])
def test_what_cannot_be_told_now_waits_once(tells):
    async def scenario():
        async with routed(ToldDht(Says("dht"), tells)) as router:
            announcer = Announcer(router, tells, seconds=20)
            assert await announcer.announce([KEY]) is False
            assert tells.waits == [KEY]
            assert trio.current_time() <= 20
            assert announcer.statistics().queued == 1

    play(scenario)


def test_too_many_that_wait_are_refused():
    async def scenario():
        tells = Tells(seconds=100, room=0)
        async with routed(ToldDht(Says("dht"), tells)) as router:
            with pytest.raises(QuotaExceeded):
                await Announcer(router, tells).announce([KEY])

    play(scenario)


def test_another_router_that_can_tell_is_enough():
    async def scenario():
        tells, http = Tells(then=OFFLINE), Says("http")
        async with routed(ToldDht(Says("dht"), tells), http) as router:
            assert await Announcer(router, tells).announce([KEY]) is True
            assert http.told == tells.waits == [KEY]

    play(scenario)


def test_where_nothing_keeps_it_the_caller_hears_of_it():
    async def scenario():
        for dht in (Says("dht", then=OFFLINE), Says("dht", stays=100)):
            async with routed(dht) as router:
                with pytest.raises(PeerUnreachable):
                    await Announcer(router, None, seconds=5).announce([KEY])

    play(scenario)


def test_the_dht_that_is_told_finds_as_the_dht():
    async def scenario():
        async with routed(ToldDht(Says("dht", (1, provider(1))), Tells())) as router:
            assert await found(router) == [(1, Provider(peer(1), provider(1).addresses, "dht"))]

    play(scenario)
