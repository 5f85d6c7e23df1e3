"""Places that the most important of those that wait get first."""

from __future__ import annotations

import random

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from ipfs_kit_py.bitswap.places import Places
from test.net.swarms import play


def test_who_matters_most_goes_next() -> None:
    async def scenario() -> None:
        places, order = Places(1), list[str]()

        async def use(name: str, weight: float) -> None:
            async with places.take(weight):
                order.append(name)
                await trio.sleep(1.0)

        async with trio.open_nursery() as nursery:
            for name, weight in (("first", 0.0), ("a", 1.0), ("b", 3.0), ("c", 1.0), ("d", 2.0)):
                nursery.start_soon(use, name, weight)
                await trio.sleep(0.01)
        assert order == ["first", "b", "d", "a", "c"]

    play(scenario)


@given(st.integers(0, 10**6), st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_whoever_gives_up_no_place_is_lost_and_never_too_many_are_taken(seed: int, most: int) -> None:
    async def scenario() -> None:
        rng, places, now, highest, served = random.Random(seed), Places(most), 0, 0, 0

        async def use(weight: float, patience: float, seconds: float) -> None:
            nonlocal now, highest, served
            with trio.move_on_after(patience):
                async with places.take(weight):
                    now += 1
                    highest = max(highest, now)
                    try:
                        await trio.sleep(seconds)
                        served += 1
                    finally:
                        now -= 1

        async with trio.open_nursery() as nursery:
            for _ in range(40):
                nursery.start_soon(use, rng.random(), rng.choice((0.5, 3.0, 1000.0)), rng.choice((0.0, 0.5, 2.0)))
                await trio.sleep(rng.choice((0.0, 0.1)))
        assert highest <= most
        assert now == 0
        assert served >= 10
        assert repr(places) == f"<Places: {most} free, 0 waiting>"

    play(scenario)
