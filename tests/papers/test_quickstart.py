"""The quickstart experiment: what is written down, and what it claims, on a smaller federation."""

from __future__ import annotations

from pathlib import Path

import pytest

import decai_sim as ds
from decai_sim.papers import quickstart

YAML = Path(__file__).parents[2] / "notebooks" / "scenarios" / "quickstart.yaml"


def test_yaml_and_python_are_the_same_scenario() -> None:
    assert ds.Scenario.load(YAML) == quickstart.scenario()


def test_the_price_is_counted_per_seed() -> None:
    final = {
        quickstart.CALM: [0.8, 0.7, 0.9],
        quickstart.ATTACKED: [0.1, 0.65, 0.5],
        quickstart.DEFENDED: [0.45, 0.65, 0.9],
    }
    price = quickstart.price(final)
    assert price.points_lost == pytest.approx(40)
    assert price.share_regained == pytest.approx(0.5)
    assert price.meets
    assert not quickstart.price({**final, quickstart.DEFENDED: final[quickstart.ATTACKED]}).meets


def test_the_loud_attack_costs_and_the_defense_buys_back_at_a_tenth_of_the_size() -> None:
    base = quickstart.scenario().but(nodes=100, protocol__fraction=0.5, protocol__rounds=8)
    price = quickstart.price(ds.compare(quickstart.headline(base), seeds=[7], progress=False).final)
    assert price.meets, price


def test_every_attack_meets_every_rule() -> None:
    pairs = quickstart.pairings()
    assert len(pairs) == 15
    assert len({scenario.id for scenario in pairs.values()}) == 15
