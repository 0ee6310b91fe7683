"""Protocols with a server: what their fields do, synchronous and not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import decai_sim as ds
from decai_sim.errors import ScenarioError

BASE = ds.Scenario(
    nodes=20,
    seed=4,
    task={"kind": "digits", "partition": {"kind": "dirichlet", "alpha": 0.5}, "model": {"kind": "mlp", "hidden": [16]}},
    network="internet",
    devices={"kind": "mix", "phone": 0.5, "gpu": 0.5},
    protocol={"kind": "federated", "rounds": 4, "fraction": 0.5},
)


def run(**changes: Any) -> ds.Run:
    return ds.run(BASE.but(**changes), progress=False)


@pytest.mark.parametrize("kind", ["fedbuff", "fedasync"])
def test_asynchronous_federations_learn(kind: str) -> None:
    rounds = {"fedbuff": 20, "fedasync": 60}[kind]
    protocol = {"kind": kind, "rounds": rounds, "fraction": 0.5, "evaluate_every": 10}
    if kind == "fedbuff":
        protocol["buffer"] = 4
    result = run(protocol=protocol)
    assert len(result.rounds) == rounds
    tested = result.rounds.accuracy.dropna()
    assert [int(i) + 1 for i in tested.index] == list(range(10, rounds + 1, 10))
    assert tested.iloc[-1] > 0.6
    assert (result.rounds.n_replied == {"fedbuff": 4, "fedasync": 1}[kind]).all()
    assert result.rounds.t_s.is_monotonic_increasing
    assert result.rounds.n_selected.sum() >= result.rounds.n_replied.sum()
    again = run(protocol=protocol)
    assert again.trace_digest == result.trace_digest
    assert np.array_equal(again.model, result.model)


def test_nobody_waits_for_phones() -> None:
    synchronous = run(protocol__local_epochs=20)
    protocol = {"kind": "fedbuff", "rounds": 4, "fraction": 0.5, "buffer": 10, "local_epochs": 20}
    asynchronous = run(protocol=protocol)
    assert synchronous.rounds.n_replied.sum() == asynchronous.rounds.n_replied.sum() == 40
    assert asynchronous.rounds.t_s.iloc[-1] < synchronous.rounds.t_s.iloc[-1]


def test_an_asynchronous_server_gives_up_those_who_vanish() -> None:
    churn = {"kind": "exponential", "mean_online_s": 40, "mean_offline_s": 40}
    result = run(protocol={"kind": "fedbuff", "rounds": 15, "fraction": 0.5, "buffer": 4, "deadline_s": 20}, churn=churn)
    assert len(result.rounds) == 15
    assert not math.isnan(result.accuracy)


def test_over_selection_ends_rounds_early() -> None:
    all_of_them, first = run(), run(protocol__over_select=1.5)
    assert first.rounds.n_selected.tolist() == [15] * 4
    assert first.rounds.n_replied.tolist() == [10] * 4
    assert first.rounds.t_s.iloc[-1] < all_of_them.rounds.t_s.iloc[-1]


def test_control_variates_cost_twice_the_bytes_and_counter_drift() -> None:
    drifting = {"task__partition": {"kind": "dirichlet", "alpha": 0.05, "min_samples": 0}, "protocol__local_epochs": 10}
    plain = run(**drifting, protocol__fraction=1.0, protocol__rounds=8)
    corrected = run(**drifting, protocol__fraction=1.0, protocol__rounds=8, protocol__scaffold=True)
    assert corrected.rounds.bytes_up.iloc[-1] == pytest.approx(2 * plain.rounds.bytes_up.iloc[-1], rel=0.1)
    assert corrected.rounds.loss.iloc[-1] < plain.rounds.loss.iloc[-1]


@pytest.mark.parametrize(
    "fields",
    [
        {"optimiser": {"kind": "sgd", "momentum": 0.9}, "lr": 0.02, "keep_state": True},
        {"optimiser": "adam", "lr": 0.01},
        {"prox_mu": 0.1, "clip_norm": 1.0},
        {"local_steps": 5},
        {"personal": ["3."]},
    ],
)
@pytest.mark.parametrize("kind", ["federated", "fedbuff", "dpsgd"])
def test_nodes_train_as_they_are_told(kind: str, fields: dict[str, Any]) -> None:
    everybody = {} if kind == "dpsgd" else {"fraction": 1.0}
    plain, told = (run(protocol={"kind": kind, "rounds": 2, **everybody, **more}) for more in ({}, fields))
    assert not np.allclose(plain.model, told.model)
    assert told.accuracy > 0.15


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"protocol": {"kind": "fedasync"}, "defense": "median"},
            "defense: .* is not allowed: protocol 'fedasync' takes in one reply",
        ),
        ({"protocol__scaffold": True, "defense": "median"}, "protocol.scaffold: true is not allowed with a defense"),
        (
            {"protocol__scaffold": True, "protocol__optimiser": "adam"},
            "protocol.scaffold: true is not allowed with this optimiser",
        ),
        (
            {
                "defense": ["nnm", "bulyan"],
                "attack": {"kind": "sign_flip", "nodes": [1, 2, 3, 4, 5, 6]},
                "protocol__fraction": 1.0,
            },
            r"attack.nodes: \[1, 2, 3, 4, 5, 6\] is not allowed with defense nnm >> bulyan: of 20 updates a round 6 would be "
            "assumed Byzantine, bulyan needs 27 rows then and gets 20; it bears at most 4",
        ),
        (
            {"defense": {"kind": "multi_krum", "m": 11}},
            "defense: multi_krum is not allowed: at most 10 updates a round, multi_krum needs 11 rows then and gets 10",
        ),
        (
            {"protocol": {"kind": "fedbuff", "buffer": 5}, "defense": "krum", "attack": {"kind": "sign_flip", "fraction": 0.6}},
            "attack.fraction: 0.6 is not allowed with defense krum: of 5 updates a round 3 would be assumed Byzantine",
        ),
        ({"protocol__personal": ["9."]}, "personal: '9.' is not allowed: the model's parameters are 1.weight"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        run(**changes)
