"""Claims about poisoning: the cheap ones as they are, the dear ones smaller, and that each figure can come out otherwise."""

from __future__ import annotations

import math
from types import ModuleType, SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from decai_sim.papers import (
    alie,
    bucketing,
    churn_and_poison,
    clipped_gossip,
    fltrust,
    ipm,
    min_max,
    mixing_on_digits,
    model_replacement,
    nnm,
    peer_rules,
    poisoning_under_churn,
    worker_momentum,
)
from decai_sim.papers.claims import claims
from decai_sim.papers.rows import Row
from decai_sim.papers.worker_momentum import Size, ahead, no_better, scenario

NAMES = (
    *("bucketing", "clipped-gossip", "nnm", "mixing-on-digits", "alie", "ipm", "min-max", "fltrust", "model-replacement"),
    *("balance", "ubar", "bridge", "poisoning-under-churn"),
)
OF_ENDS: dict[str, ModuleType] = {
    "bucketing": bucketing,
    "mixing-on-digits": mixing_on_digits,
    "alie": alie,
    "ipm": ipm,
    "min-max": min_max,
    "fltrust": fltrust,
    "nnm": nnm,
}
"""Claims whose figures are all accuracies at the ends of runs."""


def by_name(rows: Any) -> dict[str, Row]:
    found = list(rows)
    assert len({row.name for row in found}) == len(found)
    assert all(row.source and row.target for row in found if row.meets is not None)
    return {row.name: row for row in found}


def test_all_are_there() -> None:
    assert set(NAMES) <= set(claims())


@pytest.mark.parametrize("profile", ["smoke", "paper"])
@pytest.mark.parametrize("name", OF_ENDS)
def test_where_everything_is_the_same_nothing_is_ahead(name: str, profile: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def same(scenarios: Any) -> list[float]:
        made = list(scenarios)
        seen.extend(made)
        return [0.5] * len(made)

    monkeypatch.setattr(OF_ENDS[name], "ends", same)
    rows = by_name(claims()[name].check(profile))
    judged = [row for row in rows.values() if row.meets is not None]
    assert judged
    assert {row.value for row in judged} == {0.0}
    assert all(row.meets == (row.target.startswith(("<", "> -"))) for row in judged)
    assert len({one.seed for one in seen}) == (5 if profile == "paper" else 3 if name == "alie" else 1)
    for one in seen:
        one.check()
    intervals = [row for row in rows if "interval of the median" in row]
    assert bool(intervals) == (profile == "paper")


def test_margins_are_strict() -> None:
    assert ahead("x", [0.6, 0.7, 0.9], [0.5, 0.5, 0.5], 0.1, "s").meets is True
    assert ahead("x", [0.5, 0.5], [0.5, 0.5], 0.0, "s").meets is False
    assert ahead("x", [0.5], [math.nan], 0.0, "s").meets is False
    assert no_better("x", [0.5], [0.5], 0.1, "s").meets is True
    assert no_better("x", [0.7], [0.5], 0.1, "s").meets is False


def test_the_setting_is_that_of_the_papers() -> None:
    one = scenario(3, {"kind": "mimic"}, ["nnm", "krum"], worker_momentum.SORTED, Size(nodes=9, attackers=2, momentum=0.5))
    assert one.attack is not None
    assert one.attack.nodes == (7, 8)
    assert one.protocol.local_steps == 1
    assert one.protocol.keep_state
    assert one.protocol.optimiser.momentum == 0.5
    assert scenario(3).attack is None


def test_the_chain_is_that_of_figure_3() -> None:
    rows = by_name(clipped_gossip.chain_rows())
    judged = [row for row in rows.values() if row.meets is not None]
    assert len(judged) == 6
    assert all(row.meets for row in judged)
    # What nobody claims: the weak attack is nothing to plain gossip, and clipping by what a node can know diverges.
    assert rows["chain, weak attack, narrow link: error of plain gossip"].value < 0.01
    assert rows["chain, weak attack, narrow link: error of clipping, not told who is honest"].value > 1e4


def test_a_chain_of_other_weights_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clipped_gossip, "NARROW", 0.1)
    rows = by_name(clipped_gossip.chain_rows())
    assert rows["chain, weak attack, narrow link: error of clipping"].meets is False
    assert rows["chain, strong attack, narrow link: error of clipping"].meets is False


def test_halves_of_the_dumbbell_share_no_digit() -> None:
    import numpy as np

    from decai_sim import Streams

    one = clipped_gossip.dumbbell(1, size=clipped_gossip.Size(clique=3, rounds=1))
    data = one.task.load()
    parts = one.task.partition.shares(data, 6, Streams(1))
    assert [sorted(np.unique(data.y_train[part] // 5).tolist()) for part in parts] == [[0]] * 3 + [[1]] * 3
    assert all(len(np.unique(data.y_train[part])) == 5 for part in parts)


def test_medians_do_not_cross_the_bridge() -> None:
    rows = by_name(clipped_gossip.dumbbell_rows(clipped_gossip.Size(clique=4, rounds=80)))
    assert rows["dumbbell, models of one half: gossip ahead of median by"].meets


def test_robust_rules_fail_on_sorted_labels_and_not_on_even_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    size = Size(nodes=24, attackers=0, rounds=40, lr=0.1)
    name = "nobody attacks: mean ahead of Krum by"
    uneven = by_name(bucketing.calm_rows(size, {"Krum": "krum"}))[name].value
    monkeypatch.setattr(bucketing, "SORTED", "iid")
    even = by_name(bucketing.calm_rows(size, {"Krum": "krum"}))[name].value
    assert uneven > 0.2
    assert even < uneven / 2  # so few steps of one node's small batches leave Krum behind on even data, too


def test_mixing_helps_krum_against_mimicry() -> None:
    attack, rules = mixing_on_digits.CELLS["mimicry"]
    rows = by_name(mixing_on_digits.mixing_rows(Size(rounds=40, lr=0.1), {"mimicry": (attack, rules)}))
    assert rows["mimicry, Krum: NNM ahead of plain by"].meets


def test_what_is_no_little_lie_does_no_more_harm() -> None:
    size = Size(nodes=15, attackers=3, rounds=30, lr=0.1)
    rows = by_name(alie.alie_rows(size, {"trimmed mean": "trimmed_mean"}, small=alie.LOUD))
    assert rows["data alike, trimmed mean: more lost to ALIE than to sign flips"].value == 0
    assert rows["labels sorted, trimmed mean: lost to ALIE"].meets
    none = by_name(alie.alie_rows(size, {"trimmed mean": "trimmed_mean"}, small={"kind": "alie", "z": 0.0}))
    assert none["labels sorted, trimmed mean: lost to ALIE"].meets is False


def test_krum_takes_a_small_step_back_and_not_a_large_one() -> None:
    size = Size(nodes=15, attackers=3, rounds=40, lr=0.1)
    name = "a small ε: mean ahead of Krum by"
    small, large = (by_name(ipm.ipm_rows(size, hidden))[name].value for hidden in (ipm.HIDDEN, {"kind": "ipm", "epsilon": 4}))
    assert small > large


def test_what_does_more_harm_is_seen() -> None:
    size = Size(nodes=15, attackers=3, rounds=30, lr=0.1)
    loud, quiet = {"kind": "sign_flip", "scale": 10}, {"kind": "sign_flip", "scale": 0.01}
    name = "mean: more lost to Min-Max than to ALIE"
    for alie_, min_max_, wanted in ((loud, quiet, False), (quiet, loud, True)):
        rows = by_name(min_max.min_max_rows(size, {"mean": "mean"}, {"ALIE": alie_, "Min-Max": min_max_}))
        assert rows[name].meets is wanted
        assert abs(rows[name].value) > 0.3


def test_clean_samples_are_enough_against_a_majority() -> None:
    rows = by_name(fltrust.fltrust_rows(Size(nodes=10, attackers=6, rounds=20, lr=0.1)))
    assert rows["60 % attack: FLTrust ahead of mean by"].meets
    assert rows["60 % attack: FLTrust ahead of median by"].meets


def test_one_loud_update_implants_a_backdoor_and_a_quiet_one_does_not() -> None:
    size = model_replacement.Size(at=8, more=1)
    loud, quiet = (by_name(model_replacement.replacement_rows(size, norm)) for norm in (None, 1e-3))
    assert loud["mean: success right after"].meets
    assert loud["norm clipping: success right after"].meets
    assert quiet["mean: success right after"].meets is False


@pytest.mark.parametrize(("called", "rule"), [("UBAR", "ubar"), ("BRIDGE-T", {"kind": "bridge", "f": 2})])
def test_rules_among_peers_withstand_noise(called: str, rule: Any) -> None:
    size = peer_rules.Size(nodes=10, degree=6, rounds=8)
    noise = {"noise": peer_rules.ATTACKS["noise"], "a whisper": {"kind": "gaussian", "std": 1e-6}}
    rows = by_name(peer_rules.peer_rows(called, rule, size, "a source", noise))
    assert rows[f"noise: {called} ahead of plain averages by"].meets
    assert rows[f"a whisper: {called} ahead of plain averages by"].meets is False


def test_a_number_of_attackers_is_worth_more_than_a_share_when_honest_nodes_are_gone() -> None:
    size = poisoning_under_churn.Size(rounds=12)
    loud = {"sign flip": poisoning_under_churn.ATTACKS["sign flip"]}
    rows = by_name(poisoning_under_churn.offline_rows(size, loud, {"trimmed mean": "trimmed_mean"}))
    assert rows["sign flip, trimmed mean, a third offline: number ahead of share by"].value > 0
    assert rows["sign flip, trimmed mean, half offline: lost, as every later round is passed over"].meets


def test_how_old_what_krum_chooses_is_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    size = poisoning_under_churn.Size(rounds=12)
    rows = by_name(poisoning_under_churn.far_rows(size))
    assert [row.meets for row in rows.values() if row.meets is not None] == [True, True]
    monkeypatch.setattr(churn_and_poison, "ages", lambda run: pd.Series({"seen": 2.0, "kept": 2.0}))
    monkeypatch.setattr(poisoning_under_churn, "ages", lambda run: (2.0, 2.0))
    size = poisoning_under_churn.Size(rounds=2)
    loud = {"sign flip": poisoning_under_churn.ATTACKS["sign flip"]}
    same = [*poisoning_under_churn.far_rows(size), *poisoning_under_churn.late_rows(size, loud)]
    assert [row.meets for row in by_name(same).values() if row.meets is not None] == [False] * 6


@pytest.mark.parametrize("size", [peer_rules.SMOKE, peer_rules.PAPER])
def test_a_node_among_all_attackers_has_neighbours_enough(size: peer_rules.Size) -> None:
    assert size.degree >= 2 * size.attackers + 1
    attack = peer_rules.scenario(1, peer_rules.ATTACKS["noise"], None, size).attack
    assert attack is not None
    assert attack.nodes is not None
    assert len(attack.nodes) == size.attackers


def test_ages_by_hand() -> None:
    # Node 0 is asked at 0 and at 1, when there was a model; node 1 at 0 alone, and answers only for the third model.
    run: Any = SimpleNamespace(
        rounds=pd.DataFrame({"t_s": [1.0, 2.0, 3.0]}),
        messages=pd.DataFrame(
            {"kind": ["train", "train", "train", "train_reply"], "dst": [0, 1, 0, -1], "t_sent_s": [0, 0, 1, 1]}
        ),
        verdicts=pd.DataFrame({"round": [1, 2, 3], "node": [0, 0, 1], "kept": [True, False, True]}),
    )
    assert poisoning_under_churn.ages(run) == pytest.approx((2 / 3, 1.0))


def test_ages_in_a_run_are_those_of_updates_that_nobody_waited_for() -> None:
    import decai_sim as ds

    size = poisoning_under_churn.Size(rounds=6)
    run = ds.run(poisoning_under_churn.late(1, None, 0.5, size), progress=False)
    every, chosen = poisoning_under_churn.ages(run)
    assert 0 < every < 8
    assert chosen >= 0
