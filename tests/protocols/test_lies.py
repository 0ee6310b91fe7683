"""Attacks and rules where there is no server."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import decai_sim as ds
from decai_sim.attacks import PeerAttack, UpdateAttack, View
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


def looks_on(
    self: UpdateAttack, honest: torch.Tensor, n_byzantine: int, generator: torch.Generator, view: View | None = None
) -> torch.Tensor:
    """What attackers do that send what they have."""
    assert view is not None
    assert view.own is not None
    SEEN.append((len(honest), view))
    return view.own.clone()


def test_an_honest_liar_changes_nothing() -> None:
    class Truthful(UpdateAttack):
        """Sends what it has."""

        __call__ = looks_on

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


WEIGHTS: dict[str, Any] = {
    "metropolis": {"kind": "dpsgd"},
    "uniform": {"kind": "dpsgd", "weights": "uniform"},
    "of one's own": {"kind": "dpsgd", "edge_weights": [(0, 1, 0.5), (0, 2, 0.2), (0, 3, 0.1)]},
    "epidemic": {"kind": "epidemic", "fanout": 3},
}


@pytest.mark.parametrize("kind", WEIGHTS)
def test_attackers_reckon_with_the_weights_of_the_protocol(kind: str) -> None:
    told: list[tuple[list[float], float]] = []

    class Reckoning(PeerAttack):
        """Looks at the weights."""

        def to_neighbour(
            self, own: torch.Tensor, models: torch.Tensor, weights: torch.Tensor, attackers: float, generator: torch.Generator
        ) -> torch.Tensor | None:
            told.append((weights.tolist(), attackers))
            return None

    # Node 0 has four neighbours, the attacker 1 has two; the links between 2, 3, 4 and 5 make the degrees differ.
    edges = [(0, 1), (0, 2), (0, 3), (0, 4), (1, 5), (2, 3), (3, 4), (4, 5)]
    run(
        nodes=6,
        topology={"kind": "given", "edges": edges},
        protocol={**WEIGHTS[kind], "rounds": 1},
        attack={"kind": "reckoning", "nodes": [1]},
        network="ideal",
    )
    about = {tuple(round(weight, 6) for weight in weights): attackers for weights, attackers in told}
    if kind == "epidemic":  # who hears from h others counts each of them 1/(h + 1)
        assert len(told) == 3
        assert all(weights == pytest.approx([attackers] * len(weights)) for weights, attackers in told)
        assert all(attackers == pytest.approx(1 / (2 + len(weights))) for weights, attackers in told)
    elif kind == "metropolis":
        assert about == {(0.2, 0.2, 0.2): pytest.approx(1 / 5), (0.25,): pytest.approx(1 / 3)}
    elif kind == "uniform":
        assert about == {(0.2, 0.2, 0.2): pytest.approx(1 / 5), (round(1 / 3, 6),): pytest.approx(1 / 3)}
    else:  # node 5 counts nobody, so that nothing can be told it
        assert about == {(0.2, 0.1, 0.0): 0.5}


def test_liars_know_how_their_model_moved_and_try_the_rule() -> None:
    class Spy(UpdateAttack):
        """Sends what it has."""

        __call__ = looks_on

    run(attack={"kind": "spy", "nodes": [3]}, defense="median")
    moved = [view.previous for _, view in SEEN]
    assert moved[0] is None
    assert all(step is not None and float(step.norm()) > 0 for step in moved[1:])
    assert SEEN[0][1].rule is not None
    length = len(SEEN[0][1].own[0])  # type: ignore[index]
    rows = torch.tensor([[1.0], [2.0], [9.0]]).expand(3, length)
    torch.testing.assert_close(SEEN[0][1].rule(rows), rows[1], atol=1e-4, rtol=0)
    SEEN.clear()
    run(attack={"kind": "spy", "nodes": [3], "knows_rule": False}, defense="median", protocol__rounds=1)
    run(attack={"kind": "spy", "nodes": [3]}, defense="ubar", protocol__rounds=1)  # it needs samples that others do not have
    run(attack={"kind": "spy", "nodes": [3]}, protocol__rounds=1)
    assert [view.rule for _, view in SEEN] == [None, None, None]
    SEEN.clear()
    run(attack={"kind": "spy", "nodes": [3]}, defense={"kind": "self_centered_clipping", "tau": 1e9}, protocol__rounds=1)
    assert SEEN[0][1].rule is not None
    torch.testing.assert_close(SEEN[0][1].rule(rows), rows.mean(dim=0), atol=1e-4, rtol=0)
    SEEN.clear()
    # BALANCE takes the protocol's rounds; what is too far from the own model does not count.
    run(attack={"kind": "spy", "nodes": [3]}, defense={"kind": "balance", "gamma": 1e-6}, protocol__rounds=1)
    assert SEEN[0][1].rule is not None
    assert torch.isfinite(SEEN[0][1].rule(rows)).all()
    SEEN.clear()
    run(attack={"kind": "spy", "nodes": [3]}, defense={"kind": "trimmed_mean", "f": 1}, protocol__rounds=1)
    assert SEEN[0][1].rule is not None
    assert float(SEEN[0][1].rule(rows[:2]).norm()) == 0  # too few rows: the node stays as it is


def test_a_free_rider_among_peers_sends_how_its_model_moved() -> None:
    nothing, moved = (run(attack={"kind": "free_ride", "nodes": [3], "sends": sends}) for sends in ("nothing", "previous"))
    assert not np.allclose(nothing.model, moved.model)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"attack": {"kind": "ipm", "omniscient": True}}, r"attack.omniscient: true is not allowed: .*'dpsgd'.*; choose false"),
        ({"attack": "lie_count"}, r"attack.kind: 'lie_count' is not allowed: .*'dpsgd'.*; choose a protocol with a server"),
        ({"attack": "lying_weights", "protocol": "epidemic"}, r"attack.kind: 'lying_weights' is not allowed: .*'epidemic'"),
        ({"attack": "lying_weights", "protocol__weights": "uniform"}, r"attack.kind: 'lying_weights' is not allowed: .*'dpsgd'"),
        (
            {"attack": "dissensus", "protocol": "federated"},
            r"attack.kind: 'dissensus' is not allowed: .*'federated' has a server",
        ),
        ({"attack": "lying_weights", "protocol": "fedbuff"}, r"attack.kind: 'lying_weights' is not allowed: .*'fedbuff' has a"),
        ({"attack": "dissensus", "protocol": "fedasync"}, r"attack.kind: 'dissensus' is not allowed: .*'fedasync' has a server"),
    ],
)
def test_attacks_that_would_do_nothing_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ds.ScenarioError, match=said):
        BASE.but(**changes).check()


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
