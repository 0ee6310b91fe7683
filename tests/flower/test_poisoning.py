"""Attacks and rules in federations: who attacks, when, knowing what; what rules are given; what is noted of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from flwr.app import Array, ArrayRecord, MetricRecord
from torch import Tensor

import decai_sim as ds
from decai_sim.attacks import UpdateAttack, View
from decai_sim.component import _FAMILIES
from decai_sim.defenses import UBAR, Context, Filter, FLTrust, Kardam, Rule, Zeno, ZenoPlusPlus
from decai_sim.defenses.base import Aggregation
from decai_sim.flower import arrays
from decai_sim.flower.strategies.asynchronous import FedAsync, FedBuff, Reply
from decai_sim.flower.strategies.rule import Aggregator
from decai_sim.learning.problem import Problem
from decai_sim.learning.server_data import ServerData
from decai_sim.learning.training import Plan
from decai_sim.protocols.peers import Peers
from decai_sim.seeding import Streams

BASE = ds.Scenario(
    nodes=10,
    seed=2,
    task="digits",
    network="internet",
    topology="ring",
    devices={"kind": "mix", "phone": 0.5, "gpu": 0.5},
    protocol={"kind": "federated", "rounds": 3, "fraction": 1},
)
SEEN: list[dict[str, Any]] = []


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_FAMILIES, "attacks", dict(_FAMILIES["attacks"]))
    monkeypatch.setitem(_FAMILIES, "defenses", dict(_FAMILIES["defenses"]))
    SEEN.clear()


def spy() -> type[UpdateAttack]:
    class Spy(UpdateAttack):
        """Sends what it would have sent, and notes what it was shown."""

        def __call__(self, honest: Tensor, n_byzantine: int, generator: torch.Generator, view: View | None = None) -> Tensor:
            assert view is not None
            assert view.own is not None
            SEEN.append({"honest": len(honest), "b": n_byzantine, "view": view})
            return view.own.clone()

    return Spy


def run(**changes: Any) -> ds.Run:
    return ds.run(BASE.but(**changes), progress=False)


# -- who ----------------------------------------------------------------------------------------------------------------------


def attackers(**attack: Any) -> set[int]:
    one = run(attack={"kind": "sign_flip", **attack}, topology={"kind": "barabasi_albert", "m": 2}, protocol__rounds=1)
    return set(one.nodes.loc[one.nodes["byzantine"], "node"])


def test_attackers_are_placed() -> None:
    degree = dict(BASE.but(topology={"kind": "barabasi_albert", "m": 2}).graph().degree)
    hubs = attackers(fraction=0.2, by="degree")
    assert len(hubs) == 2
    assert min(degree[node] for node in hubs) >= max(degree[node] for node in set(range(10)) - hubs)
    assert attackers(nodes=[7, 3]) == {3, 7}
    there = run(protocol__rounds=1).nodes
    region = there["region"].value_counts().index[0]
    assert attackers(fraction=0.2, region=region) <= set(there.loc[there["region"] == region, "node"])
    with pytest.raises(ds.ScenarioError, match=r"attack\.region: .*no node is in that region"):
        attackers(region="XX")
    with pytest.raises(ds.ScenarioError, match=r"attack\.nodes: 10 is not allowed"):
        attackers(nodes=[10])


def test_a_rule_is_told_of_as_many_attackers_as_there_are() -> None:
    one = run(attack={"kind": "sign_flip", "nodes": [0, 1, 2]}, defense="multi_krum", protocol__rounds=1)
    assert one.verdicts["kept"].sum() == 7


# -- when ---------------------------------------------------------------------------------------------------------------------


def test_sleepers_are_honest_until_they_wake() -> None:
    spy()
    run(attack={"kind": "spy", "from_round": 2, "until_round": 2})
    assert {one["view"].round for one in SEEN} == {2}
    asleep = run(attack={"kind": "sign_flip", "scale": 50, "from_round": 99})
    calm = run()
    assert asleep.accuracy == calm.accuracy


def test_who_withholds_is_asked_and_does_not_reply() -> None:
    one = run(attack={"kind": "mistime", "timing": "withhold", "nodes": [4]}, protocol__deadline_s=60)
    assert one.rounds["n_selected"].tolist() == [10] * 3
    assert one.rounds["n_replied"].tolist() == [9] * 3
    assert 4 not in one.messages.query("kind == 'train_reply'")["src"].tolist()


def test_who_rushes_has_replied_before_it_could_have_trained() -> None:
    def took_s(one: ds.Run) -> float:
        mine = one.events[(one.events["node"] == 4) & one.events["kind"].isin(["job_start", "job_end"])]
        return float(mine["t_s"].iloc[1] - mine["t_s"].iloc[0])

    assert took_s(run(attack={"kind": "mistime", "timing": "rush", "nodes": [4]}, protocol__rounds=1)) == 0
    assert took_s(run(protocol__rounds=1)) > 0


def test_who_holds_back_has_seen_more() -> None:
    spy()
    ends = run(protocol__rounds=1, protocol__local_epochs=50).events.query("kind == 'job_end'")
    first, shown = int(ends["node"].iloc[0]), []
    for hold_s in (0.0, 500.0):
        SEEN.clear()
        how = {"timing": "hold", "hold_s": hold_s}
        one = run(attack={"kind": "spy", "nodes": [first], **how}, protocol__rounds=1, protocol__local_epochs=50)
        shown.append(SEEN[-1]["honest"])
        assert one.rounds["t_s"].iloc[-1] > hold_s
    assert shown == [0, 9]


# -- knowing what -------------------------------------------------------------------------------------------------------------


def test_attackers_see_what_they_may() -> None:
    spy()
    found = {}
    for sees in ("all", "neighbourhood", "itself"):
        SEEN.clear()
        run(attack={"kind": "spy", "nodes": [4], "sees": sees, "omniscient": True}, protocol__rounds=1)
        found[sees] = SEEN[-1]["honest"]
    assert found == {"all": 9, "neighbourhood": 2 * BASE.graph().degree[4] // 2, "itself": 0}


def test_attackers_that_do_not_collude_are_alone() -> None:
    spy()
    run(attack={"kind": "spy", "nodes": [1, 4, 7], "collude": False, "omniscient": True}, protocol__rounds=1)
    assert [one["b"] for one in SEEN] == [1, 1, 1]
    assert {one["view"].f for one in SEEN} == {1}
    SEEN.clear()
    run(attack={"kind": "spy", "nodes": [1, 4, 7], "omniscient": True}, protocol__rounds=1)
    assert SEEN[-1]["b"] == 3


def test_attackers_remember_the_step_before_and_their_first_update() -> None:
    spy()
    run(attack={"kind": "spy", "nodes": [4], "omniscient": True})
    views = [one["view"] for one in SEEN]
    assert views[0].previous is None
    assert views[0].past is None
    for view in views[1:]:
        assert torch.equal(view.past, views[0].own)
        # All replied: the model moved by the mean of ten updates, of which the attacker's is one.
        assert 0 < float(view.previous.norm()) < 10
    assert not torch.equal(views[1].previous, views[2].previous)


def test_who_knows_the_rule_can_try_it_out() -> None:
    spy()
    rows = torch.randn(10, 650, generator=torch.Generator().manual_seed(1))
    for knows, there in ((True, True), (False, False)):
        SEEN.clear()
        run(attack={"kind": "spy", "nodes": [4], "knows_rule": knows}, defense="median", protocol__rounds=1)
        rule = SEEN[-1]["view"].rule
        assert (rule is not None) == there
        if rule is not None:
            assert torch.equal(rule(rows), ds.defenses.Median()(rows))


def test_sample_counts_are_believed_only_by_rules_that_weigh_by_them() -> None:
    lie = {"kind": "lie_count", "nodes": [4], "factor": 1e6, "data": {"kind": "label_flip"}}
    fooled, firm = run(attack=lie), run(attack=lie, defense="mean")
    assert firm.accuracy > fooled.accuracy + 0.1


# -- what rules are given -----------------------------------------------------------------------------------------------------


def curious() -> type[Rule]:
    class Curious(Rule):
        """The mean; notes its context."""

        needs = frozenset({"server", "loss", "who", "memory"})

        def aggregate(self, rows: Tensor, context: Context | None) -> Aggregation:
            assert context is not None
            assert context.loss is not None
            losses = context.loss(torch.stack([torch.zeros_like(rows[0]), context.server]))  # type: ignore[list-item]
            SEEN.append({"context": context, "losses": losses, "seen before": dict(context.kept_by("curious"))})
            context.kept_by("curious")["rounds"] = context.round
            kept = torch.ones(len(rows), dtype=torch.bool)
            return Aggregation(rows.mean(dim=0), torch.full((len(rows),), 1 / len(rows)), kept)

    return Curious


def test_rules_get_who_sent_what_the_server_learns_and_a_memory() -> None:
    curious()
    run(defense="curious", protocol__server_samples=50)
    contexts = [one["context"] for one in SEEN]
    assert [context.round for context in contexts] == [1, 2, 3]
    assert [sorted(context.who.tolist()) for context in contexts] == [sorted(contexts[0].who.tolist())] * 3
    assert len(set(contexts[0].who.tolist())) == 10
    assert [one["seen before"] for one in SEEN] == [{}, {"rounds": 1}, {"rounds": 2}]
    for one in SEEN:
        assert one["losses"][1] < one["losses"][0]  # the server's own step makes its own loss smaller
    assert contexts[0].previous is None
    assert contexts[1].previous is not None


@pytest.mark.parametrize("defense", ["fltrust", "zeno"])
def test_a_server_with_clean_samples_withstands_a_majority(defense: str) -> None:
    attack = {"kind": "sign_flip", "scale": 4, "fraction": 0.6}
    assert (
        run(attack=attack, defense=defense, protocol__rounds=6).accuracy > run(attack=attack, protocol__rounds=6).accuracy + 0.2
    )


def test_rules_for_peers_are_refused_by_servers() -> None:
    for protocol in ("federated", "fedbuff"):
        with pytest.raises(ds.ScenarioError, match=r"defense\.kind: 'balance' is not allowed: .* has a server"):
            run(defense="balance", protocol=protocol)


# -- what is noted ------------------------------------------------------------------------------------------------------------


def test_verdicts_say_whom_a_rule_kept_and_how_it_told_them_apart() -> None:
    one = run(attack={"kind": "sign_flip", "scale": 5, "fraction": 0.3}, defense="multi_krum")
    seen = one.verdicts
    assert seen.groupby("round").size().tolist() == one.rounds["n_replied"].tolist()
    assert seen.loc[~seen["kept"], "byzantine"].all()
    assert (seen.groupby("round")["weight"].sum() - 1).abs().max() < 1e-6
    found = one.detection()
    assert found[["precision", "recall", "false_alarms", "auc", "time_to_detect_s", "found"]].tolist() == [1, 1, 0, 1, 0, 1]
    assert one.silenced == 0
    rejected = one.events[one.events["kind"] == "rejected"]
    assert sorted(rejected["node"]) == sorted(seen.loc[~seen["kept"], "node"])


def test_krum_silences_all_honest_nodes_but_few() -> None:
    one = run(defense="krum")
    assert one.silenced >= 8
    assert one.detection()["false_alarms"] == pytest.approx(0.9)
    assert np.isnan(run().silenced)


def test_a_backdoor_is_measured_each_round() -> None:
    calm = {"kind": "badnets", "fraction": 0}
    there, none = run(attack={"kind": "badnets", "fraction": 0.3}, protocol__rounds=8), run(attack=calm, protocol__rounds=8)
    assert there.rounds["attack_success"].between(0, 1).all()
    assert there.rounds["attack_success"].iloc[-1] > none.rounds["attack_success"].iloc[-1] + 0.3
    assert run(attack="label_flip", protocol__rounds=1).rounds["attack_success"].isna().all()


# -- asynchronous servers -----------------------------------------------------------------------------------------------------


def test_a_buffer_is_aggregated_by_any_rule_that_is_told_how_stale_its_rows_are() -> None:
    fast = {"kind": "fedbuff", "rounds": 12, "buffer": 6, "fraction": 0.9, "lr": 0.1}
    attack = {"kind": "sign_flip", "scale": 8, "fraction": 0.2}
    lost, saved = run(protocol=fast, attack=attack), run(protocol=fast, attack=attack, defense="median")
    assert saved.accuracy > lost.accuracy + 0.15
    assert saved.verdicts.groupby("round").size().tolist() == [6] * 12
    with pytest.raises(ds.ScenarioError, match=r"defense\.f: 3 of krum is not allowed: at most 6"):
        run(protocol=fast, defense={"kind": "krum", "f": 3})


@pytest.mark.parametrize(
    ("when", "attacking"),
    [
        ({"from_round": 3}, [False, False, True, True, True, True]),
        ({"until_round": 2}, [True, True, False, False, False, False]),
        ({"every": 2}, [True, False, True, False, True, False]),
    ],
    ids=["sleepers", "until", "now and then"],
)
def test_detection_is_of_attacks_not_of_nodes(when: dict[str, Any], attacking: list[bool], tmp_path: Path) -> None:
    attack = {"kind": "sign_flip", "scale": 8, "fraction": 0.2, **when}
    one = run(attack=attack, defense="krum", protocol__rounds=6)
    seen = one.verdicts
    rounds = seen["round"].map(dict(enumerate(attacking, start=1)))
    assert seen["attacks"].tolist() == (seen["byzantine"] & rounds).tolist()
    found = one.detection()
    assert (found["recall"], found["found"], found["time_to_detect_s"]) == (1, 1, 0)  # Krum falls for none of them
    assert found["auc"] == 1
    out = ~seen["kept"]
    assert found["precision"] == pytest.approx((seen["attacks"] & out).sum() / out.sum())
    assert found["false_alarms"] == pytest.approx(out[~seen["attacks"]].mean())
    one.verdicts = seen.drop(columns="attacks")  # as earlier versions saved them
    pd.testing.assert_frame_equal(ds.Run.load(one.save(tmp_path)).verdicts, seen)


def test_detection_takes_honest_updates_of_sleepers_for_honest() -> None:
    one = run(attack={"kind": "sign_flip", "scale": 8, "fraction": 0.2, "from_round": 99}, defense="krum")
    assert one.verdicts["byzantine"].any()
    assert not one.verdicts["attacks"].any()
    found = one.detection()
    assert found["precision"] == 0
    assert found[["recall", "auc", "time_to_detect_s", "found"]].isna().all()


def test_whoever_is_asked_before_sleepers_wake_is_honest_when_its_reply_comes() -> None:
    attack = {"kind": "sign_flip", "scale": 8, "fraction": 0.4, "from_round": 4}
    fast = {"kind": "fedbuff", "rounds": 8, "fraction": 0.9, "buffer": 3}
    one = run(protocol=fast, attack=attack, defense="median")
    seen = one.verdicts[one.verdicts["byzantine"]]
    assert not seen.loc[seen["round"] < 4, "attacks"].any()
    assert (~seen.loc[seen["round"] >= 4, "attacks"]).any()  # asked for an earlier model
    assert seen["attacks"].any()


def test_a_filter_takes_single_updates_or_not() -> None:
    single = {"kind": "fedasync", "rounds": 25, "fraction": 0.9, "evaluate_every": 25}
    attack = {"kind": "sign_flip", "scale": 8, "fraction": 0.2}
    lost, saved = run(protocol=single, attack=attack), run(protocol=single, attack=attack, defense="zeno_plus_plus")
    assert saved.accuracy > lost.accuracy + 0.2
    assert saved.detection()["recall"] > 0.9
    with pytest.raises(ds.ScenarioError, match="takes in one reply after the other"):
        run(protocol=single, defense="krum")


def test_kardam_refuses_what_attackers_send_one_after_the_other() -> None:
    single = {"kind": "fedasync", "rounds": 40, "fraction": 0.9, "evaluate_every": 40}
    attack = {"kind": "gaussian", "fraction": 0.2}
    lost, saved = run(protocol=single, attack=attack), run(protocol=single, attack=attack, defense="kardam")
    assert saved.accuracy > lost.accuracy + 0.15
    kept = saved.verdicts.groupby("byzantine")["kept"].mean()
    assert kept[True] < 0.15 < kept[False]
    assert saved.detection()["recall"] > 0.85
    # Two of the ten nodes are what it assumes in any case.
    said = run(protocol=single, attack=attack, defense={"kind": "kardam", "f": 2})
    assert said.verdicts["node"].tolist() == saved.verdicts["node"].tolist()
    for protocol in (single, "fedbuff", {"kind": "federated", "fraction": 1}):
        with pytest.raises(ds.ScenarioError, match=r"defense\.f: 4 of kardam is not allowed: of 10 nodes at most 3"):
            run(protocol=protocol, defense={"kind": "kardam", "f": 4})


def test_kardam_does_not_wait_for_ever_where_more_than_a_third_attack() -> None:
    single = {"kind": "fedasync", "rounds": 15, "fraction": 0.9, "evaluate_every": 15}
    assert len(run(protocol=single, attack={"kind": "gaussian", "fraction": 0.5}, defense="kardam").rounds) == 15


# -- what a server's own samples cost -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rule", "trainings", "losses"), [(FLTrust(), 1, 0), (ZenoPlusPlus(), 1, 0), (Zeno(f=1), 0, 6)])
def test_a_servers_work_on_its_own_samples_takes_time(rule: Rule, trainings: int, losses: int) -> None:
    problem = Problem(BASE.task, 10, Streams(2), "cpu")
    own, charged = ServerData(problem, 50, Plan(epochs=2)), list[float]()
    aggregator = Aggregator(rule, 0.2, own, on_aggregation=lambda number, who, result, flops, staleness: charged.append(flops))
    model = problem.initial()
    aggregator(torch.zeros(5, len(model)), list(range(5)), 1, model)
    on_own = 50 * problem.forward_flops * (3 * 2 * trainings + losses)
    assert on_own > 0
    assert charged == [pytest.approx(rule.flops(5, len(model), 1) + on_own)]


def test_a_nodes_losses_on_its_own_samples_take_time(monkeypatch: pytest.MonkeyPatch) -> None:
    owed: dict[int, float] = {}
    monkeypatch.setattr(Peers, "owes", lambda self, node, flops: owed.setdefault(node, flops))
    run(protocol={"kind": "dpsgd", "rounds": 1}, defense={"kind": "ubar", "f": 1})
    problem, rule = Problem(BASE.task, 10, Streams(2), "cpu"), UBAR(f=1)
    for node, flops in owed.items():
        on_own = 2 * problem.forward_flops * len(problem.samples[node])  # of a neighbour, the other being too far away; its own
        assert flops == pytest.approx(rule.flops(2, problem.layout.d) + on_own)


# -- what strategies tell filters ---------------------------------------------------------------------------------------------


class _Half(Filter, abstract=True):
    """Takes half of what is positive."""

    def weigh(self, update: Tensor, context: Context) -> float:
        SEEN.append({"moved": context.moved, "senders": (context.senders, context.senders_f)})
        return 0.5 if float(update.sum()) > 0 else 0.0


_Half.kind = "half"


class _Dampening(_Half, abstract=True):
    dampens = True


@pytest.mark.parametrize(("rule", "s"), [(_Half(), 0.5), (_Dampening(), 1.0)])
def test_filters_know_how_far_the_model_went_and_are_left_to_dampen(rule: Filter, s: float) -> None:
    def reply(value: float) -> Reply:
        return Reply(1, record(0.0), record(value), 3, MetricRecord({"num-examples": 1}))

    def record(*values: float) -> ArrayRecord:
        return ArrayRecord({"w": Array(np.array(values, dtype=np.float32))})

    one = FedAsync(1, mixing=0.5, aggregator=Aggregator(rule, 0.25, senders=10))
    taken = [one.take_in(record(0.0), reply(value)) for value in (4.0, -1.0, 8.0, 1.0)]
    assert taken[1] is None
    assert [float(arrays.to_vector(found[0])) for found in taken if found] == [s, 2 * s, s / 4]
    # What is refused moves nothing, and changes nothing of how far it has moved.
    assert [seen["moved"] for seen in SEEN] == [None, s, s, 2 * s]
    assert SEEN[0]["senders"] == (10, 2)
    SEEN.clear()
    many = FedBuff(1, buffer=2, server_lr=0.5, aggregator=Aggregator(rule, 0.25, senders=10))
    for value in (4.0, 8.0, 1.0, 1.0):
        found = many.take_in(record(0.0), reply(value))
    assert found is not None
    assert float(arrays.to_vector(found[0])) == 0.25 * s
    assert [seen["moved"] for seen in SEEN] == [None, None, 1.5 * s, 1.5 * s]


def test_kardam_refuses_the_next_wild_one_too() -> None:
    one, said = Aggregator(Kardam(f=2, alpha=0), 0.0, senders=7), dict[tuple[int, float], bool]()
    sent = [(name, value) for value in (1.0, 1.1) for name in range(7)]
    for name, value in [*sent, (5, 50.0), (3, 50.0)]:
        step = one(torch.tensor([[value]]), [name], 1, torch.zeros(1))
        assert step is not None
        one.stepped(0.1 * step)
        said[name, value] = bool(step.any())
    assert all(said[one] for one in sent)
    assert not said[5, 50.0]
    assert not said[3, 50.0]


def test_balance_under_a_protocol_takes_its_rounds() -> None:
    protocol = {"kind": "dpsgd", "rounds": 4}
    told, said, other = (
        run(protocol=protocol, defense={"kind": "balance", "gamma": 1.2, **more}) for more in ({}, {"rounds": 4}, {"rounds": 100})
    )
    assert torch.equal(torch.as_tensor(told.model), torch.as_tensor(said.model))
    assert not torch.equal(torch.as_tensor(told.model), torch.as_tensor(other.model))
