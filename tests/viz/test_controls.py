"""Controls say what the schema says, and change nothing but what is chosen."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args

import ipywidgets
import networkx as nx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

import decai_sim as ds
from decai_sim.component import _FAMILIES, Component, families, kinds
from decai_sim.defenses import NNM, Chain, Krum, Rule, Step, TrimmedMean
from decai_sim.viz.controls import Controls

ds.Scenario()  # registers all families

PLACES = {
    "access_rates": "network.upload_bps",
    "adversaries": "adversaries",
    "attacks": "attack",
    "churn": "churn",
    "defenses": "defense",
    "devices": "devices",
    "dissemination": "protocol.dissemination",
    "faults": "faults",
    "latency": "network.latency",
    "link_rates": "network.link_bps",
    "loss": "network.loss",
    "membership": "membership",
    "models": "task.model",
    "network": "network",
    "optimisers": "protocol.optimiser",
    "partitions": "task.partition",
    "protocols": "protocol",
    "tasks": "task",
    "topologies": "topology",
}
LISTS = {"adversaries", "faults"}
WRITTEN = {*LISTS, "access_rates", "link_rates", "loss"}  # have no menu: several of them, or a number instead
COMPONENTS = [  # ours, and not what tests before this one have defined
    pytest.param(cls, fields, id=f"{family}-{cls.kind}-{i}")
    for family in sorted(PLACES)
    for cls in kinds(family).values()
    if cls.__module__.startswith("decai_sim.") and (family != "defenses" or issubclass(cls, Rule))
    for i, fields in enumerate(cls.examples)
]
ATTACKED = ds.Scenario(attack={"kind": "sign_flip", "fraction": 0.4, "scale": 4})


@pytest.fixture
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    for family, members in list(_FAMILIES.items()):
        monkeypatch.setitem(_FAMILIES, family, dict(members))


def home_of(path: str) -> ds.Scenario:
    return ds.Scenario(network="internet", protocol="broadcast" if path == PLACES["dissemination"] else "federated")


def scenario_with(path: str, *components: Component) -> ds.Scenario:
    configs = [component.to_config() for component in components]
    return home_of(path).but(**{path.replace(".", "__"): configs if path in LISTS else configs[0]})


def families_in(annotations: Iterable[Any], found: set[str]) -> set[str]:
    """The families of all components that fields may hold, and of what those may hold in turn, added to ``found``."""
    for annotation in annotations:
        families_in(get_args(annotation), found)
        if isinstance(annotation, type) and issubclass(annotation, Component) and annotation.family not in found:
            found.add(annotation.family)
            for cls in kinds(annotation.family).values():
                families_in([field.annotation for field in cls.model_fields.values()], found)
    return found


def choose(controls: Controls, path: str, label: str) -> None:
    menu = controls.widget(path)
    menu.value = dict(menu.options)[label]


def labels(controls: Controls, path: str) -> list[str]:
    return [label for label, _ in controls.widget(path).options]


# -- the schema decides the widget --------------------------------------------------------------------------------------------


def test_every_family_has_its_place_in_this_test() -> None:
    assert families_in([field.annotation for field in ds.Scenario.model_fields.values()], set()) == set(PLACES)
    assert {parameters.values[0].family for parameters in COMPONENTS} == set(PLACES) <= set(families())


def can_be_made(cls: type[Component]) -> bool:
    try:
        cls()
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("path", [place for family, place in PLACES.items() if family not in WRITTEN])
def test_a_component_gets_a_menu_of_its_family(path: str) -> None:
    controls = Controls(home_of(path), [path])
    assert isinstance(controls.widget(path), ipywidgets.Dropdown)
    chosen = set()
    for _, value in controls.widget(path).options:
        controls.widget(path).value = value
        at: Any = controls.scenario()
        for name in path.split("."):
            at = getattr(at, name)
        chosen.add("nothing" if at is None else at.kind)
    family = next(family for family, place in PLACES.items() if place == path)
    ours = [cls for cls in kinds(family).values() if cls.__module__.startswith("decai_sim.") and not issubclass(cls, Step)]
    assert chosen >= {cls.kind for cls in ours if can_be_made(cls)}
    assert ("nothing" in chosen) == (path in ("attack", "churn", "defense", "network.latency"))


def test_what_may_be_absent_is_offered_so_first() -> None:
    controls = Controls(ATTACKED, ["attack", "defense", "churn", "network"])
    assert [labels(controls, path)[0] for path in ("attack", "defense", "churn")] == ["no attack", "no defense", "no churn"]
    assert labels(controls, "network") == ["ideal", "internet"]
    choose(controls, "attack", "no attack")
    assert controls.scenario() == ATTACKED.but(attack=None)


def test_rules_are_offered_alone_and_after_mixing() -> None:
    controls = Controls(ds.Scenario(), ["defense"])
    assert {"krum", "median", "trimmed mean", "NNM + krum", "NNM + trimmed mean"} <= set(labels(controls, "defense"))
    assert "NNM" not in labels(controls, "defense")
    choose(controls, "defense", "NNM + trimmed mean")
    assert controls.scenario().defense == NNM() >> TrimmedMean()


def test_a_share_is_a_slider_in_percent_below_one() -> None:
    controls = Controls(ATTACKED, ["attack.fraction"])
    slider = controls.widget("attack.fraction")
    assert isinstance(slider, ipywidgets.FloatSlider)
    assert (slider.value, slider.min, slider.readout_format) == (0.4, 0, ".0%")
    assert 0.9 < slider.max < 1
    assert controls.described() == {"attack.fraction": "attackers' share 40%"}
    for end in (slider.min, slider.max):
        slider.value = end
        assert controls.scenario().attack.fraction == end


@pytest.mark.parametrize(
    ("path", "kind", "value"),
    [
        ("nodes", ipywidgets.BoundedIntText, 17),
        ("protocol.rounds", ipywidgets.BoundedIntText, 3),
        ("protocol.lr", ipywidgets.FloatText, 0.25),
        ("attack.omniscient", ipywidgets.Checkbox, True),
        ("network.regions", ipywidgets.Dropdown, "bitcoin-2015"),
        ("network.jitter", ipywidgets.FloatSlider, 0.3),
        ("network.loss", ipywidgets.FloatSlider, 0.3),
    ],
)
def test_numbers_truths_and_names_get_widgets_of_their_own(path: str, kind: type, value: Any) -> None:
    scenario = ATTACKED.but(network="internet")
    controls = Controls(scenario, [path])
    assert isinstance(controls.widget(path), kind)
    controls.widget(path).value = value
    assert controls.scenario() == scenario.but(**{path.replace(".", "__"): value})


def test_whole_numbers_keep_their_bounds() -> None:
    controls = Controls(ds.Scenario(task={"kind": "digits", "model": "cnn"}), ["nodes", "task.model.hidden"])
    for path in ("nodes", "task.model.hidden"):  # at least 1, and above 0
        controls.widget(path).value = -5
        assert controls.widget(path).value == 1


@pytest.mark.parametrize(
    ("text", "hidden"), [("[32, 16]", (32, 16)), ("- 8\n- 4", (8, 4)), ("[]", ()), ("[64]  # as in the paper", (64,))]
)
def test_text_is_read_as_in_a_scenario_file(text: str, hidden: tuple[int, ...]) -> None:
    controls = Controls(ds.Scenario(task={"kind": "digits", "model": "mlp"}), ["task.model.hidden"])
    assert isinstance(controls.widget("task.model.hidden"), ipywidgets.Text)
    assert controls.widget("task.model.hidden").value == "[64]"
    controls.widget("task.model.hidden").value = text
    assert controls.scenario().task.model.hidden == hidden


def test_a_number_that_may_be_absent_is_text() -> None:
    controls = Controls(ds.Scenario(network="internet"), ["network.upload_bps"])
    assert controls.widget("network.upload_bps").value == "null"
    controls.widget("network.upload_bps").value = "1e6"
    assert controls.scenario().network.upload_bps == 1e6


def test_labels_are_what_a_person_reads() -> None:
    paths = ["attack", "attack.fraction", "defense", "protocol.fraction", "protocol.batch_size"]
    controls = Controls(ATTACKED, paths)
    shown = [controls.widget(path).description for path in paths]
    assert shown == ["attack", "attackers' share", "rule", "share of nodes asked", "batch size"]
    assert controls.described()["attack"] == "sign flip"


def test_what_is_chosen_is_explained() -> None:
    controls = Controls(ATTACKED, ["attack", "topology"])
    about = controls.children[-1]
    assert "<b>attack: sign flip</b>. Attackers send the opposite of what they learned" in about.value
    assert "Drawn on the map only" in about.value
    choose(controls, "attack", "ALIE")
    assert "sign flip" not in about.value
    assert "Drawn on the map" not in Controls(ds.Scenario(protocol="dpsgd"), ["topology"]).children[-1].value


# -- what is not chosen stays -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cls", "fields"), COMPONENTS)
def test_showing_a_component_and_all_its_fields_changes_nothing(cls: type[Component], fields: dict[str, Any]) -> None:
    path = PLACES[cls.family]
    scenario = scenario_with(path, cls(**fields))
    below = [] if path in LISTS else [f"{path}.{name}" for name in cls.model_fields]
    for paths in ([path], below, [path, *below], [*below, path]):
        assert Controls(scenario, paths).scenario() == scenario


CRASH, CUT = ds.faults.Crash(share=0.2, at_s=3), ds.faults.Partition(for_s=60)


def test_a_list_of_components_is_written_and_said_in_words() -> None:
    scenario = scenario_with("faults", CRASH, CUT)
    controls = Controls(scenario, ["faults", "nodes"])
    assert isinstance(controls.widget("faults"), ipywidgets.Text)
    assert controls.scenario() == scenario
    assert controls.described()["faults"] == "crash + partition"
    controls.widget("nodes").value = 7
    assert controls.scenario() == scenario.but(nodes=7)
    controls.widget("faults").value = "[{kind: crash, share: 0.5}]"
    assert controls.scenario().faults == (ds.faults.Crash(share=0.5),)
    assert "<b>faults: crash</b>. " in controls.children[-1].value
    controls.widget("faults").value = "[]"
    assert controls.scenario().faults == ()
    assert controls.described()["faults"] == "no faults"
    assert "A list of crash, " in controls.children[-1].value


@pytest.mark.parametrize("text", ["[cra", "[crush]", "[{share: 0.5}]", "5", "[5]", "[[]]", "{}", "[{kind: []}]"])
def test_a_list_that_cannot_be_read_is_shown_as_it_is_written(text: str) -> None:
    controls = Controls(ds.Scenario(), ["faults"])
    controls.widget("faults").value = text
    assert controls.described()["faults"] == f"faults {text}"
    assert refused(controls).startswith("faults")


def test_lists_without_a_control_stay() -> None:
    scenario = scenario_with("faults", CRASH, CUT)
    controls = Controls(scenario, ["churn", "network.loss"])
    choose(controls, "churn", "weibull")
    controls.widget("network.loss").value = 0.25
    assert controls.scenario() == scenario.but(churn="weibull", network__loss=0.25)


def test_a_component_where_a_number_may_be_is_said_in_words() -> None:
    scenario = ds.Scenario(network={"kind": "internet", "loss": {"kind": "gilbert_elliott"}})
    controls = Controls(scenario, ["network.loss"])
    assert controls.described() == {"network.loss": "gilbert elliott"}
    controls.widget("network.loss").value = "0.25"
    assert controls.described() == {"network.loss": "loss 0.25"}
    assert controls.scenario() == scenario.but(network__loss=0.25)


def test_an_edge_list_changes_nothing_either(tmp_path: Path) -> None:
    scenario = ds.Scenario(topology={"kind": "edge_list", "path": str(tmp_path / "1e3")})
    assert Controls(scenario, ["topology", "topology.path"]).scenario() == scenario


shares = st.floats(0, 1, exclude_max=True)
scenarios = st.builds(
    ds.Scenario,
    nodes=st.integers(1, 10**7),
    seed=st.integers(0, 2**64),
    attack=st.none() | st.builds(ds.attacks.SignFlip, fraction=shares, scale=st.floats(1e-9, 1e9)),
    network=st.just("ideal") | st.builds(ds.network.Internet, jitter=st.floats(1e-9, 10), loss=shares),
    protocol=st.builds(ds.protocols.Federated, fraction=st.floats(1e-9, 1), rounds=st.integers(1, 10**12)),
    defense=st.sampled_from([None, Krum(f=2), NNM(f=1) >> Krum(), Chain(steps=(NNM(), Krum()), f=3)]),
    topology=st.sampled_from([ds.topologies.Ring(), ds.topologies.Given(edges=((0, 1), (1, 2)))]),
)
PATHS = ["nodes", "seed", "attack", "attack.fraction", "attack.scale", "network", "network.jitter", "network.loss", "defense"]
PATHS += ["defense.f", "defense.steps", "protocol", "protocol.fraction", "protocol.rounds", "topology", "task.model.hidden"]


@given(scenarios, st.lists(st.sampled_from(PATHS), unique=True))
def test_controls_untouched_give_the_scenario_they_were_made_of(scenario: ds.Scenario, paths: list[str]) -> None:
    assert Controls(scenario, paths).scenario() == scenario


def test_the_scenarios_own_component_keeps_its_values() -> None:
    controls = Controls(ATTACKED.but(defense=NNM(f=1) >> Krum(f=2)), ["attack", "defense"])
    choose(controls, "attack", "ALIE")
    choose(controls, "attack", "sign flip")
    choose(controls, "defense", "median")
    choose(controls, "defense", "NNM + krum")
    assert controls.scenario() == ATTACKED.but(defense=NNM(f=1) >> Krum(f=2))


@pytest.mark.parametrize("order", [["attack", "attack.fraction"], ["attack.fraction", "attack"]])
def test_another_attack_keeps_the_share_chosen(order: list[str]) -> None:
    controls = Controls(ATTACKED, order)
    controls.widget("attack.fraction").value = 0.3
    for label in ("ALIE", "label flip"):
        choose(controls, "attack", label)
        assert controls.scenario().attack.fraction == 0.3
    assert controls.scenario().attack.kind == "label_flip"


def test_another_component_keeps_what_its_family_shares_even_without_a_control_for_it() -> None:
    scenario = ATTACKED.but(task={"kind": "digits", "partition": "iid", "model": "mlp"})
    controls = Controls(scenario, ["attack", "task"])
    choose(controls, "attack", "ALIE")
    choose(controls, "task", "fashion mnist")
    chosen = controls.scenario()
    assert (chosen.attack.kind, chosen.attack.fraction) == ("alie", 0.4)
    assert (chosen.task.kind, chosen.task.partition.kind, chosen.task.model) == ("fashion_mnist", "iid", scenario.task.model)


def test_a_field_follows_whether_its_component_is_chosen() -> None:
    controls = Controls(ds.Scenario(), ["attack", "attack.fraction", "attack.scale"])
    share, scale = controls.widget("attack.fraction"), controls.widget("attack.scale")
    assert (share.disabled, scale.disabled) == (True, True)
    assert controls.described() == {"attack": "no attack"}
    choose(controls, "attack", "ALIE")
    assert (share.disabled, scale.disabled) == (False, True)
    choose(controls, "attack", "sign flip")
    assert (share.disabled, scale.disabled) == (False, False)
    assert list(controls.described()) == ["attack", "attack.fraction", "attack.scale"]
    choose(controls, "attack", "no attack")
    share.value = 0.5
    assert (share.disabled, controls.scenario()) == (True, ds.Scenario())


@pytest.mark.parametrize("attack", [None, "label_flip"])
def test_a_field_of_what_the_scenario_does_not_have_and_cannot_choose_stays_out(attack: str | None) -> None:
    scenario = ds.Scenario(attack=attack)
    controls = Controls(scenario, ["attack.scale"])
    assert controls.widget("attack.scale").disabled
    assert controls.described() == {}
    assert controls.scenario() == scenario


def test_locking_keeps_all_from_being_changed_and_unlocking_only_frees_what_applies() -> None:
    controls = Controls(ds.Scenario(), ["nodes", "attack", "attack.fraction"])
    controls.lock(True)
    assert all(controls.widget(path).disabled for path in ("nodes", "attack", "attack.fraction"))
    controls.lock(False)
    assert [controls.widget(path).disabled for path in ("nodes", "attack", "attack.fraction")] == [False, False, True]


# -- what is offered ----------------------------------------------------------------------------------------------------------


def test_what_must_be_told_something_first_is_offered_only_if_the_scenario_has_it(tmp_path: Path) -> None:
    usual = set(labels(Controls(ds.Scenario(), ["topology"]), "topology"))
    assert not usual & {"edge list", "given"}
    given = ds.Scenario(nodes=3, topology=nx.path_graph(3))
    assert set(labels(Controls(given, ["topology"]), "topology")) == usual | {"given"}
    listed = ds.Scenario(topology={"kind": "edge_list", "path": str(tmp_path)})
    controls = Controls(listed, ["topology"])
    assert set(labels(controls, "topology")) == usual | {"edge list"}
    choose(controls, "topology", "ring")
    choose(controls, "topology", "edge list")
    assert controls.scenario() == listed


@pytest.mark.usefixtures("_registry")
def test_an_attack_of_ones_own_is_offered_with_its_fields() -> None:
    class Whisper(ds.attacks.UpdateAttack):
        """Sends next to nothing, if that < something & <b>bold</b>."""

        volume: float = Field(default=0.5, ge=0, le=2, title="how loud")
        tone: Literal["low", "high"] = "low"

        def __call__(self, honest: torch.Tensor, n_byzantine: int, generator: torch.Generator, view: Any = None) -> torch.Tensor:
            return honest.new_zeros(n_byzantine, honest.shape[1])

    controls = Controls(ATTACKED, ["attack", "attack.volume", "attack.tone"])
    choose(controls, "attack", "whisper")
    assert controls.widget("attack.volume").description == "how loud"
    controls.widget("attack.volume").value = 2
    controls.widget("attack.tone").value = "high"
    assert controls.scenario().attack == Whisper(fraction=0.4, volume=2, tone="high")
    assert "that &lt; something &amp; &lt;b&gt;bold" in controls.children[-1].value


@pytest.mark.usefixtures("_registry")
def test_a_component_that_allows_less_than_its_family_is_offered_with_its_own_default() -> None:
    class Few(ds.attacks.SignFlip):
        """Few attackers only."""

        fraction: float = Field(default=0.05, ge=0, le=0.1)

    controls = Controls(ATTACKED, ["attack"])
    choose(controls, "attack", "few")
    assert controls.scenario().attack == Few()


# -- what is refused ----------------------------------------------------------------------------------------------------------


def refused(controls: Controls) -> str:
    with pytest.raises(ds.ScenarioError) as caught:
        controls.scenario()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("path", ["nope", "attack.nope", "attack.fraction.x", "faults.0", "task.model.hidden.0", "attack.", ""])
def test_an_unknown_path_is_named_in_one_line(path: str) -> None:
    with pytest.raises(ds.ScenarioError) as caught:
        Controls(ds.Scenario(), ["attack", path])
    assert str(caught.value).startswith(f"controls: {path!r} is not allowed")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[1, 2", "five", "", "7", "[0]", "[1.5]", "a: b: c", "!!python/object:os.system x"])
def test_wrong_text_is_refused_with_its_field_in_one_line(text: str) -> None:
    controls = Controls(ds.Scenario(task={"kind": "digits", "model": "mlp"}), ["task.model.hidden"])
    controls.widget("task.model.hidden").value = text
    assert refused(controls).startswith("task.model.hidden")


def test_values_that_do_not_go_together_are_refused_in_one_line() -> None:
    controls = Controls(ds.Scenario(), ["devices.laptop", "protocol.lr"])
    controls.widget("devices.laptop").value = 0.5
    assert "must sum to 1, not 0.5" in refused(controls)
    controls.widget("devices.laptop").value = 1
    controls.widget("protocol.lr").value = 0
    assert refused(controls) == "protocol.lr: 0.0 is not allowed: input should be greater than 0"
