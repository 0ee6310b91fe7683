"""The open registry of components."""

from __future__ import annotations

import json
import math
import types
from typing import Any

import pytest
from pydantic import Field, ValidationError

from decai_sim.attacks import SignFlip
from decai_sim.attacks.base import Attack, UpdateAttack
from decai_sim.component import _FAMILIES, Component, families, kinds, parse
from decai_sim.errors import ScenarioError, explain
from decai_sim.learning import MLP
from decai_sim.scenario import Scenario


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    for family, members in list(_FAMILIES.items()):
        monkeypatch.setitem(_FAMILIES, family, dict(members))


def cell(source: str, module: str = "__main__") -> dict[str, Any]:
    """Run ``source`` as a notebook cell does: its classes belong to ``module``."""
    names: dict[str, Any] = {"__name__": module, "Attack": Attack, "UpdateAttack": UpdateAttack, "SignFlip": SignFlip}
    exec(source, names)
    return names


def refused(**fields: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        Scenario(**fields)
    return explain(caught.value)


def test_a_class_of_ones_own_is_as_good_as_ours() -> None:
    class QuietFlip(UpdateAttack):
        volume: float = Field(default=0.5, gt=0)

        def __call__(self, honest: Any, n_byzantine: int, generator: Any, view: Any = None) -> Any:
            return -self.volume * honest.mean(0).expand(n_byzantine, -1)

    assert kinds("attacks")["quiet_flip"] is QuietFlip
    parsed = parse("attacks", {"kind": "quiet_flip", "volume": 2})
    assert parsed == QuietFlip(volume=2)
    scenario = Scenario(attack={"kind": "quiet_flip", "volume": 2})
    assert scenario.attack == parsed
    assert Scenario.model_validate(scenario.to_config()) == scenario
    assert "attack.volume: -1" in refused(attack={"kind": "quiet_flip", "volume": -1})


def test_kind_is_the_snake_case_name_unless_given() -> None:
    names = cell(
        "class HTTPFlood(UpdateAttack): pass\nclass ABC2Def(UpdateAttack): pass\nclass Other(UpdateAttack, kind='mine'): pass"
    )
    assert [names[n].kind for n in ("HTTPFlood", "ABC2Def", "Other")] == ["http_flood", "abc2_def", "mine"]


def test_an_abstract_class_is_not_listed_but_its_children_are() -> None:
    cell("class Middle(UpdateAttack, abstract=True): pass\nclass Leaf(Middle): pass")
    assert "leaf" in kinds("attacks")
    assert not {"middle", "update_attack", "attack"} & set(kinds("attacks"))


def test_running_a_cell_again_replaces_its_class() -> None:
    source = "class Again(UpdateAttack):\n    x: int = 1"
    first, second = cell(source)["Again"], cell(source.replace("1", "2"))["Again"]
    assert first is not second
    assert kinds("attacks")["again"] is second
    assert parse("attacks", "again").x == 2


def test_a_kind_taken_by_another_module_is_refused_by_name() -> None:
    with pytest.raises(
        TypeError, match=r"attacks: kind 'sign_flip' of __main__\.SignFlip is already taken by decai_sim\.attacks"
    ):
        cell("class SignFlip(UpdateAttack): pass")
    assert kinds("attacks")["sign_flip"] is SignFlip


def test_a_child_of_a_component_registers_under_its_own_kind() -> None:
    cell("class LoudFlip(SignFlip): pass")
    assert kinds("attacks")["loud_flip"].kind == "loud_flip"
    assert SignFlip.kind == "sign_flip"


def test_parse_takes_every_form_and_passes_the_rest_through() -> None:
    attack = SignFlip(scale=3)
    assert parse("attacks", attack) is attack
    assert parse("attacks", None) is None
    assert parse("attacks", {"kind": "sign_flip", "scale": 3}) == attack
    assert parse("attacks", types.MappingProxyType({"kind": "sign_flip", "scale": 3})) == attack
    assert parse("attacks", "sign_flip") == SignFlip()


def test_parse_leaves_its_argument_alone() -> None:
    config = {"kind": "sign_flip", "scale": 3}
    parse("attacks", config)
    assert config == {"kind": "sign_flip", "scale": 3}


def test_an_unknown_kind_names_the_known_ones_and_the_nearest() -> None:
    message = refused(attack={"kind": "sing_flip"})
    assert message.startswith(f"attack.kind: 'sing_flip' is not allowed: choose one of {', '.join(kinds('attacks'))}")
    assert message.endswith("(did you mean 'sign_flip'?)")
    assert "did you mean" not in refused(attack="zzz")


@pytest.mark.parametrize("value", [{}, {"fraction": 0.1}, {"kind": None}, {"kind": 3}, {"kind": ["sign_flip"]}])
def test_a_component_needs_a_kind(value: Any) -> None:
    assert refused(attack=value).startswith("attack.kind: ")


@pytest.mark.parametrize("value", [5, True, ["sign_flip"], Scenario().protocol])
def test_what_is_no_component_is_refused(value: Any) -> None:
    assert refused(attack=value).startswith("attack: ")


def test_a_component_of_another_family_is_refused() -> None:
    assert "attack.kind: 'krum'" in refused(attack="krum")


def test_components_are_frozen_keyword_only_and_closed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        SignFlip().scale = 2.0  # type: ignore[misc]
    with pytest.raises(TypeError):
        SignFlip(2.0)  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match="extra"):
        SignFlip(scales=2.0)  # type: ignore[call-arg]


@pytest.mark.parametrize("value", ["4", True, None, math.nan, math.inf, -math.inf, b"4", [4]])
def test_only_finite_numbers_are_numbers(value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        SignFlip(scale=value)
    assert explain(caught.value).startswith("scale: ")


@pytest.mark.parametrize("hidden", [["64"], [True], [64, "8"], "64", [math.nan], [6.5]])
def test_only_numbers_are_numbers_inside_lists_too(hidden: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        MLP(hidden=hidden)
    assert explain(caught.value).startswith("hidden")


def test_numbers_need_not_be_of_the_exact_type() -> None:
    import numpy as np

    assert SignFlip(scale=np.float64(4)) == SignFlip(scale=4)
    assert MLP(hidden=[np.int64(64), 32.0]).hidden == (64, 32)  # type: ignore[arg-type]


def test_families_and_kinds_are_sorted() -> None:
    assert families() == sorted(families())
    assert {
        "attacks",
        "churn",
        "defenses",
        "devices",
        "models",
        "network",
        "partitions",
        "protocols",
        "tasks",
        "topologies",
    } <= set(families())
    assert list(kinds("defenses")) == sorted(kinds("defenses"))
    with pytest.raises(ScenarioError, match=r"family: 'attak' is not allowed: choose from access_rates, adversaries, attacks, "):
        kinds("attak")


def test_what_kinds_returns_is_a_copy() -> None:
    kinds("attacks").clear()
    assert kinds("attacks")


def test_a_family_of_ones_own() -> None:
    class Weather(Component, family="test_weather"):
        pass

    class Rain(Weather):
        mm: float = 1.0

    try:
        assert parse("test_weather", {"kind": "rain", "mm": 3}) == Rain(mm=3)
    finally:
        del _FAMILIES["test_weather"]


def test_config_begins_with_kind_and_is_plain_json() -> None:
    config = SignFlip(scale=4).to_config()
    assert next(iter(config)) == "kind"
    assert json.loads(json.dumps(config, allow_nan=False)) == config


def test_long_values_are_cut_short_in_errors() -> None:
    message = refused(attack="x" * 1000)
    assert message.split("choose")[0].count("x") < 100
    assert len(message) < 1000
    assert "\n" not in message
