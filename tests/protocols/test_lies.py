"""Attacks and rules where there is no server."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import decai_sim as ds
from decai_sim.attacks import UpdateAttack, View
from decai_sim.component import _FAMILIES

BASE = ds.Scenario(
    nodes=12,
    seed=1,
    topology={"kind": "random_regular", "degree": 4},
    network="internet",
    task="digits",
    protocol={"kind": "dpsgd", "rounds": 4, "local_steps": 5},
)
SEEN: list[tuple[int, View]] = []


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_FAMILIES, "attacks", dict(_FAMILIES["attacks"]))
    SEEN.clear()


def run(**changes: Any) -> ds.Run:
    return ds.run(BASE.but(**changes), progress=False)


def test_an_honest_liar_changes_nothing() -> None:
    class Truthful(UpdateAttack):
        """Sends what it has."""

        def __call__(
            self, honest: torch.Tensor, n_byzantine: int, generator: torch.Generator, view: View | None = None
        ) -> torch.Tensor:
            assert view is not None
            assert view.own is not None
            SEEN.append((len(honest), view))
            return view.own.clone()

    calm, told = run(), run(attack={"kind": "truthful", "nodes": [3], "sees": "neighbourhood"})
    assert told.trace_digest == calm.trace_digest
    np.testing.assert_allclose(told.model, calm.model, atol=1e-6)
    assert {view.round for _, view in SEEN} == {1, 2, 3, 4}
    assert max(seen for seen, _ in SEEN) <= 4
    assert [view.past is None for _, view in SEEN] == [True, False, False, False]


@pytest.mark.parametrize("protocol", [{"kind": "dpsgd"}, {"kind": "epidemic", "fanout": 4}])
def test_loud_liars_ruin_averages_and_rules_withstand_them(protocol: dict[str, Any]) -> None:
    how = {"protocol": {**protocol, "rounds": 6, "local_steps": 5}}
    attack = {"kind": "gaussian", "std": 2.0, "fraction": 0.2}

    def honest(one: ds.Run) -> float:
        last = one.models[one.models["round"] == 6]
        return float(last[~last["node"].isin(one.nodes.loc[one.nodes["byzantine"], "node"])]["accuracy"].mean())

    lost = honest(run(**how, attack=attack))
    for defense in (
        "median",
        [{"kind": "nnm"}, {"kind": "trimmed_mean"}],
        {"kind": "bridge", "f": 1},
        "ubar",
        "local_reputation",
    ):
        assert honest(run(**how, attack=attack, defense=defense)) > lost + 0.1, defense


def test_dissensus_drives_neighbours_apart() -> None:
    calm, split = (run(attack=attack, protocol__rounds=8) for attack in (None, {"kind": "dissensus", "fraction": 0.25}))

    def apart(one: ds.Run) -> float:
        return float(one.models[one.models["round"] == 8]["distance"].mean())

    assert apart(split) > 1.2 * apart(calm)


def test_a_rule_is_judged_at_every_node_and_its_work_delays_the_next_round() -> None:
    calm, ruled = run(), run(defense="krum")
    seen = ruled.verdicts
    assert set(seen["observer"]) == set(range(12))
    assert (seen.groupby(["observer", "round"])["kept"].sum() == 1).all()
    assert (seen.groupby(["observer", "round"]).size() == 5).all()  # its own and four neighbours'
    assert ruled.rounds["t_s"].iloc[-1] > calm.rounds["t_s"].iloc[-1]
    assert ruled.rounds["t_s"].iloc[0] == pytest.approx(calm.rounds["t_s"].iloc[0])


def test_rules_remember_for_each_node_by_itself() -> None:
    one = run(defense="local_reputation", attack={"kind": "gaussian", "std": 3.0, "nodes": [5]}, protocol__rounds=6)
    about = one.verdicts[one.verdicts["node"] == 5].groupby("round")["kept"].mean()
    assert about.iloc[-1] < 0.5
    assert one.verdicts[one.verdicts["node"] != 5].groupby("round")["kept"].mean().iloc[-1] > 0.8


def test_a_lie_about_degrees_changes_weights_alone() -> None:
    hubs = {"topology": {"kind": "barabasi_albert", "m": 2}}
    calm, lied = run(**hubs), run(**hubs, attack={"kind": "lying_weights", "fraction": 0.2, "by": "degree"})
    assert lied.trace_digest == calm.trace_digest
    assert not np.allclose(lied.model, calm.model)  # type: ignore[arg-type]


@pytest.mark.parametrize("protocol", ["sgp", "gossip_learning", "ad_psgd", "moshpit"])
def test_protocols_that_know_no_lies_refuse_them(protocol: str) -> None:
    for change in ({"attack": "sign_flip"}, {"attack": "dissensus"}, {"defense": "median"}):
        with pytest.raises(ds.ScenarioError, match=protocol):
            run(protocol=protocol, **change)


def test_a_backdoor_spreads_from_hop_to_hop() -> None:
    path = {"kind": "given", "edges": [(node, node + 1) for node in range(11)]}
    one = run(
        topology=path,
        attack={"kind": "badnets", "nodes": [0], "share": 0.5},
        protocol={"kind": "dpsgd", "rounds": 12, "local_steps": 10},
    )
    spread = one.spread()
    last = spread[spread["round"] == 12].set_index("hop")
    assert last["nodes"].tolist() == [1] * 12
    assert last.loc[0, "attack_success"] > 0.8
    assert last.loc[0, "attack_success"] > last.loc[1:3, "attack_success"].mean() > last.loc[6:, "attack_success"].mean()
    first = spread[spread["attack_success"] > 0.4].groupby("hop")["round"].min()
    assert first.loc[0] <= first.get(1, 99) <= first.get(2, 99)
    assert run(attack="sign_flip").spread().empty
    assert run().spread().empty
