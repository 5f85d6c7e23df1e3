"""Choosing providers in simulated worlds, smaller than those of ``scripts/simulate_providers``."""

from __future__ import annotations

import pytest

from sim.choosing import RIVALS, WORLDS, Outcome, World, offers, run

FETCHES = 400
SEED = 7


@pytest.fixture(scope="module", params=WORLDS, ids=[world.name for world in WORLDS])
def world(request: pytest.FixtureRequest) -> World:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def results(world: World) -> dict[str, Outcome]:
    offered = offers(world, SEED, 2 * FETCHES)
    return {rival: run(offered, rival, SEED, warm=FETCHES) for rival in RIVALS}


def test_the_own_choice_has_content_sooner(world: World, results: dict[str, Outcome]) -> None:
    own = results["own choice"].quantile(0.5)
    share = 1.15 if world.fresh else 0.8  # where next to nothing is to be known it is chance
    assert own <= share * results["random"].quantile(0.5)
    assert own <= share * results["Kademlia order"].quantile(0.5)
    assert own <= max(share, 1.0) * results["reputation alone"].quantile(0.5)


def test_the_own_choice_wastes_less(world: World, results: dict[str, Outcome]) -> None:
    share = 1.5 if world.fresh else 0.5  # where nothing is to be known it is chance
    for rival in ("random", "Kademlia order"):
        assert waste(results["own choice"]) <= share * waste(results[rival])


def test_all_rivals_count_the_same_fetches(results: dict[str, Outcome]) -> None:
    assert len({len(one.seconds) for one in results.values()}) == 1
    assert len(results["random"].seconds) > FETCHES // 2


def test_a_world_is_its_seeds(world: World) -> None:
    one, two, other = (offers(world, seed, 20) for seed in (3, 3, 4))
    assert one == two != other
    assert all(len({row[0].peer for row in offer.rows}) == 12 for offer in one)


def waste(one: Outcome) -> float:
    return one.wasted / one.useful
