"""Choosing providers in simulated worlds, smaller than those of ``scripts/simulate_providers``."""

from __future__ import annotations

import pytest

from sim.choosing import RIVALS, WORLDS, Outcome, offers, run

FETCHES = 400


@pytest.fixture(scope="module", params=[world.name for world in WORLDS])
def results(request: pytest.FixtureRequest) -> dict[str, Outcome]:
    [world] = [world for world in WORLDS if world.name == request.param]
    return {"world": world} | {rival: run(world, rival, 7, fetches=FETCHES, warm=FETCHES) for rival in RIVALS}  # type: ignore[return-value, dict-item]


def test_the_own_choice_has_content_sooner(results: dict[str, Outcome]) -> None:
    own = results["own choice"].quantile(0.5)
    share = 1.0 if results["world"].fresh else 0.8  # type: ignore[attr-defined]
    assert own <= share * results["random"].quantile(0.5)
    assert own <= share * results["Kademlia order"].quantile(0.5)
    assert own <= results["reputation alone"].quantile(0.5)


def test_the_own_choice_wastes_less(results: dict[str, Outcome]) -> None:
    own = results["own choice"]
    for rival in ("random", "Kademlia order"):
        other = results[rival]
        assert own.wasted / own.useful <= other.wasted / other.useful


def test_all_rivals_meet_the_same_world() -> None:
    for world in WORLDS:
        one, two = offers(world, 3, 20), offers(world, 3, 20)
        assert [offer.key for offer in one] == [offer.key for offer in two]
        assert [[row[1:] for row in offer.rows] for offer in one] == [[row[1:] for row in offer.rows] for offer in two]
        assert all(len({row[0].peer for row in offer.rows}) == 12 for offer in one)
