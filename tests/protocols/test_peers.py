"""Protocols without a server: what each does that the others do not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

import decai_sim as ds
from decai_sim.learning.training import train_alone
from decai_sim.protocols import (
    ADPSGD,
    DPSGD,
    SGP,
    EpidemicLearning,
    GossipLearning,
    HierarchicalFederation,
    MoshpitSGD,
    PeerToPeer,
    ad_psgd,
    gossip_learning,
    hierarchical,
    in_rounds,
)
from decai_sim.protocols.peers import Peers
from tests.protocols.test_dpsgd import after, lab_on

ALL = [
    DPSGD(rounds=4),
    SGP(rounds=4),
    SGP(rounds=4, running_sums=True),
    EpidemicLearning(rounds=4, fanout=2),
    GossipLearning(rounds=4, period_s=1),
    GossipLearning(rounds=4, period_s=1, exchange="push_pull"),
    ADPSGD(rounds=4),
    MoshpitSGD(rounds=4, group_size=3),
    HierarchicalFederation(rounds=4),
]
NAMES = [f"{one.kind}-{i}" for i, one in enumerate(ALL)]


def scenario(protocol: object, **changes: object) -> ds.Scenario:
    topology = getattr(protocol, "example_topology", "ring")
    return ds.Scenario(nodes=9, seed=2, task="digits", topology=topology, network="internet", protocol=protocol).but(**changes)


def random_models(n: int, d: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


# -- all of them ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ALL, ids=NAMES)
def test_under_churn_and_loss_all_go_on_to_their_end(protocol: ds.protocols.Protocol, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("decai_sim.protocols.peers.LEAST_WORK_S", 0.1)  # so that who waits for nobody sends, and leaves, too
    hard = scenario(
        protocol,
        network={"kind": "internet", "loss": 0.05, "retransmit": 1},
        churn={"kind": "exponential", "mean_online_s": 1.0, "mean_offline_s": 0.5},
        protocol__rounds=30,
        protocol__evaluate_every=10,
    )
    first, again = (ds.run(hard, progress=False) for _ in range(2))
    assert first.complete
    assert len(first.rounds) == 30
    assert first.trace_digest == again.trace_digest
    assert (first.messages["outcome"] == "delivered").sum() >= 20
    assert set(first.messages["outcome"]) & {"offline", "lost", "expired"}
    assert (first.events["kind"] == "offline").sum() >= 4


@pytest.mark.parametrize("protocol", ALL, ids=NAMES)
def test_what_is_computed_does_not_depend_on_when_or_how(protocol: ds.protocols.Protocol) -> None:
    a = ds.run(scenario(protocol), progress=False, path="stacked:4")
    b = ds.run(scenario(protocol, protocol__evaluate_every=4), progress=False, path="alone:1")
    assert a.trace_digest == b.trace_digest
    assert a.model is not None
    assert b.model is not None
    np.testing.assert_allclose(a.model, b.model, rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize(
    "protocol",
    [
        DPSGD(rounds=3),
        SGP(rounds=3),
        SGP(rounds=3, running_sums=True),
        EpidemicLearning(rounds=3, fanout=4),
        MoshpitSGD(rounds=3, group_size=None),
    ],
    ids=lambda one: one.kind,
)
def test_where_all_hear_all_it_is_centralised_averaging(protocol: ds.protocols.Protocol) -> None:
    n = 5
    run = ds.run(scenario(protocol, nodes=n, topology="complete", seed=5), progress=False)
    problem = lab_on(ds.topologies.Complete(), n).problem
    model = problem.initial()
    for number in (1, 2, 3):
        model = torch.stack([train_alone(problem, model, node, number, protocol.plan()).row for node in range(n)]).mean(0)
    assert run.model is not None
    np.testing.assert_allclose(run.model, model.numpy(), rtol=1e-4, atol=1e-5)
    assert run.models["distance"].max() < 1e-4


def test_anybodys_client_app_trains_without_a_server_as_ours_does_in_cohorts() -> None:
    told: list[float] = []
    one = scenario(DPSGD(rounds=2, lr=0.05))
    ours = ds.flower.TaskClientApp(one.task, one.seed)
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        told.append(float(message.content["config"]["lr"]))  # type: ignore[arg-type, index]
        return ours(message, context)

    theirs, cohorts = ds.flower.run_peers(app, one), ds.run(one, progress=False)
    assert told == [0.05] * 18
    assert theirs.model is not None
    assert cohorts.model is not None
    np.testing.assert_allclose(theirs.model, cohorts.model, rtol=1e-4, atol=1e-6)
    assert theirs.rounds["accuracy"].tolist() == pytest.approx(cohorts.rounds["accuracy"].tolist(), abs=0.01)
    direct = ds.flower.run_peers(ours, one)
    assert direct.trace_digest == cohorts.trace_digest


def test_a_client_app_that_fails_is_named() -> None:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        raise RuntimeError("no data here")

    with pytest.raises(ds.ScenarioError, match=r"client_app: node \d failed: .*no data here"):
        ds.flower.run_peers(app, scenario(DPSGD(rounds=1)))
    with pytest.raises(ds.ScenarioError, match=r"protocol\.kind: 'federated' is not allowed"):
        ds.flower.run_peers(app, scenario(ds.protocols.Federated()))


# -- push-sum ------------------------------------------------------------------------------------------------------------------


class Lopsided(ds.topologies.Topology, kind="lopsided_for_a_test"):
    """Links that lead one way, more of them to node 0 than from it."""

    def csr(self, n: int, seed: int) -> object:
        from decai_sim.world.topologies import wiring

        return wiring.from_links(n, *self._ends(n))

    def at(self, n: int, seed: int, server_round: int) -> object:
        from decai_sim.world.topologies import wiring

        return wiring.from_arrows(n, *self._ends(n))

    @staticmethod
    def _ends(n: int) -> tuple[np.ndarray, np.ndarray]:
        ring = np.arange(n)
        return np.concatenate([ring, ring[2:]]), np.concatenate([(ring + 1) % n, np.zeros(n - 2, np.int64)])


@pytest.fixture
def lopsided() -> object:
    from decai_sim.component import _FAMILIES

    yield Lopsided()
    _FAMILIES["topologies"].pop("lopsided_for_a_test", None)


def test_push_sum_finds_the_mean_where_averaging_finds_another(lopsided: object) -> None:
    n = 6
    off = {}
    for protocol in (SGP(rounds=60), DPSGD(rounds=60, weights="uniform")):
        lab = lab_on(lopsided, n)
        before = random_models(n, lab.problem.layout.d)
        found = after(protocol, lab, before)
        assert np.abs(found - found.mean(0)).max() < 1e-3  # they agree
        off[protocol.kind] = np.abs(found.mean(0) - before.mean(0).numpy()).max()
    assert off["sgp"] < 1e-3
    assert off["dpsgd"] > 0.1


@pytest.mark.parametrize("topology", [ds.topologies.Ring(), ds.topologies.RandomEachRound(degree=3)], ids=lambda one: one.kind)
def test_running_sums_are_shares_where_nothing_is_lost(topology: ds.topologies.Topology) -> None:
    found = []
    for protocol in (SGP(rounds=9), SGP(rounds=9, running_sums=True)):
        lab = lab_on(topology, 6)
        found.append(after(protocol, lab, random_models(6, lab.problem.layout.d)))
    np.testing.assert_allclose(*found, atol=1e-5)


def test_running_sums_go_on_while_nodes_come_and_go() -> None:
    away = [{"kind": "crash", "nodes": [3, 4], "at_s": 0.2, "for_s": 0.3}, {"kind": "crash", "nodes": [5], "at_s": 0.3}]
    one = scenario(SGP(rounds=30, running_sums=True), faults=away, network={"kind": "internet", "loss": 0.1})
    run = ds.run(one, progress=False)
    assert run.complete
    assert run.rounds["loss"].iloc[-1] < 2
    assert np.isfinite(run.models["distance"]).all()


def test_what_comes_late_is_added_all_the_same() -> None:
    at, first = begun(SGP())
    at.protocol.late(at, 0, 1, in_rounds.Sent(1, at.models[1], 0.5))  # type: ignore[attr-defined]
    sums = at.state.more
    at.trainer.complete([sums.x[0]])
    assert sums.w[0] == 1.5
    np.testing.assert_allclose(sums.x[0].result.tensor(), first[0] + first[1], atol=1e-6)


def test_static_directed_links_lead_one_way() -> None:
    run = ds.run(scenario(SGP(rounds=1), topology={"kind": "exponential", "directed": True}, nodes=16), progress=False)
    sent = run.messages[run.messages["src"] == 0]
    assert sorted(sent["dst"]) == [1, 2, 4, 8]


@pytest.mark.parametrize("topology", ["one_peer_exponential", {"kind": "exponential", "directed": True}])
def test_push_sum_goes_on_when_those_it_hears_from_have_gone(topology: object) -> None:
    gone = [{"kind": "crash", "nodes": list(range(8, 16)), "at_s": 0.2}]
    run = ds.run(scenario(SGP(rounds=60, evaluate_every=20), topology=topology, nodes=16, faults=gone), progress=False)
    assert run.complete
    assert run.rounds["loss"].iloc[-1] < 2
    assert np.isfinite(run.models["distance"]).all()


@pytest.mark.parametrize("protocol", [one for one in ALL if isinstance(one, ds.protocols.InRounds)], ids=lambda one: one.kind)
def test_nobody_waits_in_vain_for_who_has_come_back(protocol: ds.protocols.Protocol) -> None:
    away = [{"kind": "crash", "nodes": [4], "at_s": 0.25, "for_s": 0.3}]
    run = ds.run(scenario(protocol, faults=away, protocol__rounds=20), progress=False)
    assert run.complete
    assert run.rounds["t_s"].iloc[-1] < 60
    assert run.models["waited_s"].max() < 60


# -- groups --------------------------------------------------------------------------------------------------------------------


def test_on_a_full_grid_all_are_equal_after_as_many_rounds_as_dimensions() -> None:
    lab = lab_on(ds.topologies.Ring(), 8)
    before = random_models(8, lab.problem.layout.d)
    two = after(MoshpitSGD(rounds=2, group_size=2), lab, before)
    assert np.abs(two - two.mean(0)).max() > 0.1
    three = after(MoshpitSGD(rounds=3, group_size=2), lab_on(ds.topologies.Ring(), 8), before)
    np.testing.assert_allclose(three, np.tile(before.mean(0).numpy(), (8, 1)), atol=1e-5)


@pytest.mark.parametrize(("n", "size"), [(27, 3), (10, 4), (7, 7), (30, 8)])
def test_groups_are_lines_of_a_grid(n: int, size: int) -> None:
    protocol = MoshpitSGD(group_size=size)
    for along in range(protocol.dimensions(n)):
        lines: dict[int, list[int]] = {}
        for node in range(n):
            lines.setdefault(protocol._line(node, along, n), []).append(node)
        assert sorted(node for line in lines.values() for node in line) == list(range(n))
        assert all(1 <= len(line) <= size for line in lines.values())
        step = size**along
        assert all((b - a) % step == 0 and (b - a) // step < size for line in lines.values() for a in line for b in line if b > a)


def test_each_byte_of_a_model_crosses_a_members_link_twice() -> None:
    run = ds.run(scenario(MoshpitSGD(rounds=1, group_size=None), network="ideal"), progress=False)
    d = 650
    parts = run.messages[run.messages["kind"] == "part"]
    assert len(parts) == 2 * 9 * 8
    assert parts["bytes"].unique().tolist() == [256 + -(-4 * d // 9)]


def test_who_leaves_on_the_way_fails_its_own_group_alone() -> None:
    calm = scenario(MoshpitSGD(rounds=3, group_size=3))
    whole = ds.run(calm, progress=False)
    sent = whole.messages[(whole.messages["kind"] == "part") & (whole.messages["src"] == 4)]
    run = ds.run(
        calm.but(faults=[{"kind": "crash", "nodes": [4], "at_s": float(sent["t_sent_s"].iloc[0]) + 1e-3}]), progress=False
    )
    failed = run.events[run.events["kind"] == "averaging_failed"]
    assert len(failed)
    assert set(failed["node"]) <= {3, 5}
    assert run.complete


# -- clients, edge servers and a cloud ------------------------------------------------------------------------------------------


def test_a_cloud_that_always_averages_is_federated_averaging_by_samples() -> None:
    one = scenario(HierarchicalFederation(rounds=1, edge_rounds=1), network="ideal", nodes=7)
    from decai_sim.learning.problem import Problem
    from decai_sim.seeding import Streams

    problem = Problem(one.task, 7, Streams(one.seed))
    rows = torch.stack([train_alone(problem, problem.initial(), node, 1, one.protocol.plan()).row for node in range(7)])
    weights = torch.as_tensor(problem.n_samples / problem.n_samples.sum(), dtype=torch.float32)
    twice = ds.run(one.but(protocol__rounds=2), progress=False)
    second = (weights[:, None] * rows).sum(0)
    again = torch.stack([train_alone(problem, second, node, 2, one.protocol.plan()).row for node in range(7)])
    assert twice.model is not None
    # The record is made when all have trained twice, before the second average is handed down.
    np.testing.assert_allclose(twice.model, again.mean(0).numpy(), rtol=1e-3, atol=1e-4)


TWO = {"kind": "hierarchical", "edge_servers": 2}  # 0 is the cloud, 3, 4 and 5 are 1's clients, 6, 7 and 8 those of 2


def servers_go(*gone: int, for_s: float | None = None) -> ds.Run:
    """Some leave at 0.5 s."""
    fault = {"kind": "crash", "nodes": gone, "at_s": 0.5, "for_s": for_s}
    protocol = HierarchicalFederation(rounds=40, evaluate_every=40, deadline_s=60)
    return ds.run(scenario(protocol, topology=TWO, faults=[fault]), progress=False)


def sent_to(run: ds.Run, since_s: float, until_s: float = np.inf) -> dict[int, set[int]]:
    """Whom each client sends to."""
    found = run.messages[run.messages["t_sent_s"].between(since_s, until_s) & (run.messages["src"] > 2)]
    return {int(src): {*map(int, its["dst"])} for src, its in found.groupby("src")}


HOME = {3: {1}, 4: {1}, 5: {1}, 6: {2}, 7: {2}, 8: {2}}


@pytest.mark.parametrize(
    ("gone", "above"), [((0,), HOME), ((1,), {node: {2} for node in HOME}), ((1, 2), {node: {0} for node in HOME})]
)
def test_clients_turn_to_another_edge_server_and_then_to_the_cloud(gone: tuple[int, ...], above: dict[int, set[int]]) -> None:
    run = servers_go(*gone)
    assert run.complete
    assert sent_to(run, 0.0, 0.4999) == HOME
    assert sent_to(run, 0.6) == above
    assert run.rounds["t_s"].iloc[-1] < 20, "nobody waits for a deadline: what was trained goes to the new one at once"


def test_clients_without_any_server_train_alone_and_return_to_their_own() -> None:
    alone = servers_go(0, 1, 2)
    assert alone.complete
    assert sent_to(alone, 0.501) == {}
    last = alone.models.set_index("node")
    assert last["updates"][3:].min() > 1.2 * last["updates"][:3].max()
    assert last["waited_s"].max() < 1, "nobody waits for who has gone"
    back = servers_go(0, 1, 2, for_s=0.01)
    assert back.complete
    assert sent_to(back, 0.501, 0.509) == {}
    assert sent_to(back, 0.511) == HOME


def test_edge_servers_turn_to_the_cloud_every_so_many_rounds() -> None:
    many = HierarchicalFederation(rounds=24, edge_rounds=3, evaluate_every=24)
    sent = ds.run(scenario(many, topology=TWO), progress=False).messages.groupby(["src", "dst"]).size()
    for server, client in ((1, 3), (2, 6)):
        assert 0 <= sent[client, server] - 3 * sent[server, 0] <= 3
        assert sent[server, 0] >= 6


def test_edge_servers_wait_for_clients_and_the_cloud_for_them_no_longer_than_their_deadline() -> None:
    for slow, longest in ((3, 1.0), (2, 2.0)):
        late = [{"kind": "slow_links", "nodes": [slow], "factor": 1e6}]
        protocol = HierarchicalFederation(rounds=6, edge_rounds=1, evaluate_every=6, deadline_s=1)
        run = ds.run(scenario(protocol, topology=TWO, faults=late), progress=False)
        assert run.complete
        last = run.models.set_index("node")
        assert 1 <= last["waited_s"][1] / (last["updates"][1] - 1) < longest + 1.0, "a deadline a round"
        assert last["updates"][[0, 1]].min() >= 3


def test_what_was_trained_of_a_model_that_has_been_replaced_is_not_used() -> None:
    at, first = begun(HierarchicalFederation(), ds.topologies.Hierarchical(edge_servers=1), 4)
    at.protocol.received(at, 2, 1, hierarchical._Sent(at.models[3], 2, up=False))
    np.testing.assert_allclose(now_at(at, 2), first[3])
    job, at.busy[2] = at.busy[2], None
    at.protocol.trained(at, 2, job)  # type: ignore[arg-type]
    np.testing.assert_allclose(now_at(at, 2), first[3], err_msg="what it was handed")
    assert not at._out, "it tells nobody"
    job, at.busy[2] = at.busy[2], None
    at.protocol.trained(at, 2, job)  # type: ignore[arg-type]
    assert at._out["model"].to == [1]


@pytest.mark.parametrize("edge_rounds", [1, 2, 3])
def test_all_come_to_hold_the_mean_by_samples(edge_rounds: int) -> None:
    lab = lab_on(ds.topologies.Hierarchical(edge_servers=2), 9)
    before = random_models(9, lab.problem.layout.d)
    shares = torch.as_tensor(lab.problem.n_samples / lab.problem.n_samples.sum(), dtype=torch.float32)
    assert shares.std() > 0.02, "not the plain mean"
    # One round more than two of the cloud's: a record is made when all have trained, before averages are handed down.
    found = after(HierarchicalFederation(rounds=2 * edge_rounds + 1, edge_rounds=edge_rounds), lab, before)
    np.testing.assert_allclose(found, np.tile(shares @ before, (9, 1)), atol=1e-5)


def test_nodes_far_from_the_cloud_are_refused() -> None:
    with pytest.raises(ds.ScenarioError, match=r"topology\.kind: 'ring' is not allowed: .* more than two links from node 0"):
        ds.run(scenario(HierarchicalFederation(rounds=1), topology="ring"), progress=False)


# -- nobody waits --------------------------------------------------------------------------------------------------------------


def test_who_averages_asynchronously_keeps_its_pace_beside_stragglers() -> None:
    slow = [{"kind": "slow_links", "nodes": [0], "factor": 50}]
    seconds = {}
    for protocol in (ADPSGD(rounds=8), DPSGD(rounds=8)):
        task = {"kind": "digits", "model": {"kind": "mlp", "hidden": [64]}}
        runs = [ds.run(scenario(protocol, task=task, faults=faults), progress=False) for faults in ([], slow)]
        seconds[protocol.kind] = runs[1].rounds["t_s"].iloc[-1] / runs[0].rounds["t_s"].iloc[-1]
        waited = runs[1].models["waited_s"].max()
        assert (waited == 0) == (protocol.kind == "ad_psgd")
    assert seconds["ad_psgd"] < 1.2
    assert seconds["dpsgd"] > 2


def begun(protocol: PeerToPeer, topology: object = None, n: int = 3) -> tuple[Peers, torch.Tensor]:
    """Nodes with different models that have begun to train, which changes nothing."""
    lab = lab_on(topology or ds.topologies.Complete(), n)
    first = random_models(n, lab.problem.layout.d)
    still = protocol.model_copy(update={"lr": 1e-30, "node_tests": 0})
    with lab.execution.trainer(lab.problem, lambda: None) as trainer:
        at = Peers(lab, still, trainer, first)
        still.begin(at)
    return at, first


def half_way() -> tuple[ADPSGD, Peers, torch.Tensor, Callable[[int, int], None]]:
    """Three nodes that have each turned to somebody; what answers them is node 2's model."""
    at, first = begun(ADPSGD(rounds=5, patience_s=10))
    protocol = at.protocol
    assert isinstance(protocol, ADPSGD)

    def answer(node: int, number: int) -> None:
        protocol.received(at, node, 2, ad_psgd._Sent(at.models[2], number, answers=True))

    return protocol, at, first, answer


def now_at(at: Peers, node: int) -> np.ndarray:
    at.trainer.complete([at.models[node]])
    return at.models[node].result.tensor().numpy()  # type: ignore[union-attr]


def test_an_answer_counts_once_and_half() -> None:
    _, at, first, answer = half_way()
    answer(0, 1)
    np.testing.assert_allclose(now_at(at, 0), (first[0] + first[2]) / 2, atol=1e-6)
    answer(0, 1)
    np.testing.assert_allclose(now_at(at, 0), (first[0] + first[2]) / 2, atol=1e-6)


def test_an_answer_that_comes_after_patience_does_not_count() -> None:
    protocol, at, first, answer = half_way()
    protocol.woke(at, 0, 1)
    answer(0, 1)
    np.testing.assert_allclose(now_at(at, 0), first[0])
    at.busy[0] = None
    protocol._go_on(at, 0)  # it turns to somebody again
    answer(0, 1)
    np.testing.assert_allclose(now_at(at, 0), first[0])
    protocol.woke(at, 0, 1)  # of the exchange before: this one goes on
    answer(0, 2)
    np.testing.assert_allclose(now_at(at, 0), (first[0] + first[2]) / 2, atol=1e-6)


def test_who_leaves_in_the_middle_of_an_exchange_begins_another() -> None:
    protocol, at, first, answer = half_way()
    at.busy[0] = None
    protocol.left(at, 0)
    answer(0, 1)
    np.testing.assert_allclose(now_at(at, 0), first[0])
    protocol.came(at, 0)
    assert at.state.number[0] == 2, "it does not wait for what cannot come"
    answer(0, 2)
    np.testing.assert_allclose(now_at(at, 0), (first[0] + first[2]) / 2, atol=1e-6)


def test_who_gets_no_answer_turns_to_somebody_else_after_its_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("decai_sim.protocols.peers.LEAST_WORK_S", 0.1)
    sent = {}
    for patience_s in (0.5, 100.0):
        silent = scenario(ADPSGD(rounds=30, patience_s=patience_s), network={"kind": "internet", "loss": 0.999, "retransmit": 0})
        sent[patience_s] = ds.run(silent, progress=False).messages.groupby("src").size()
    assert sent[100.0].tolist() == [1] * 9
    assert sent[0.5].between(4, 6).all(), "about 3 s of trainings of 0.1 s each"


def test_gossip_merges_by_age() -> None:
    at, first = begun(GossipLearning())
    protocol = at.protocol
    at.state.age[:] = [2, 6, 3]
    at.busy[0] = None
    protocol.received(at, 0, 1, gossip_learning._Sent(at.models[1], 6))
    np.testing.assert_allclose(now_at(at, 0), first[0] / 4 + 3 * first[1] / 4, atol=1e-6)
    assert at.state.age[0] == 6, "that of the elder"
    assert at.busy[0] is not None
    protocol.received(at, 0, 2, gossip_learning._Sent(at.models[2], 3))
    np.testing.assert_allclose(now_at(at, 0), first[0] / 4 + 3 * first[1] / 4, atol=1e-6, err_msg="not while it trains")


def test_gossip_takes_as_long_as_its_periods() -> None:
    run = ds.run(scenario(GossipLearning(rounds=3, period_s=1)), progress=False)
    sent = run.messages[run.messages["kind"] == "model"]
    assert sent.groupby("src").size().max() <= np.ceil(run.rounds["t_s"].iloc[-1]) + 1
    both = ds.run(scenario(GossipLearning(rounds=3, period_s=1, exchange="push_pull")), progress=False)
    assert both.rounds["t_s"].iloc[-1] < run.rounds["t_s"].iloc[-1]  # each exchange makes two nodes train


def test_who_hears_all_others_holds_the_mean_after_a_round() -> None:
    lab = lab_on(ds.topologies.Ring(), 7)
    before = random_models(7, lab.problem.layout.d)
    np.testing.assert_allclose(
        after(EpidemicLearning(rounds=1, fanout=6), lab, before), np.tile(before.mean(0), (7, 1)), atol=1e-5
    )


def test_others_are_drawn_anew_each_round() -> None:
    run = ds.run(scenario(EpidemicLearning(rounds=3, fanout=2)), progress=False)
    sent = run.messages[run.messages["kind"] == "model"].copy()
    sent["round"] = sent.groupby("src").cumcount() // 2
    pairs = [set(zip(one["src"], one["dst"], strict=True)) for _, one in sent.groupby("round")]
    assert [len(one) for one in pairs] == [18, 18, 18]
    assert pairs[0] != pairs[1] != pairs[2] != pairs[0]
    with pytest.raises(ds.ScenarioError, match=r"protocol\.fanout: 9 is not allowed: must be below nodes = 9"):
        ds.run(scenario(EpidemicLearning(fanout=9)), progress=False)


@pytest.mark.parametrize(
    ("protocol", "waited"),
    [
        *((one, 3) for one in (DPSGD(), SGP(), EpidemicLearning(fanout=1), MoshpitSGD(group_size=None))),
        (HierarchicalFederation(edge_rounds=1), 2),  # the last record is made before the last averages are handed down
        *((one, 0) for one in (ADPSGD(), GossipLearning(period_s=1))),
    ],
    ids=lambda one: getattr(one, "kind", None),
)
def test_who_is_quicker_waits_as_long_as_the_other_takes(protocol: PeerToPeer, waited: int) -> None:
    topology = ds.topologies.Hierarchical(edge_servers=1) if protocol.kind == "hierarchical" else ds.topologies.Complete()
    lab = lab_on(topology, 2)
    with lab.execution.trainer(lab.problem, lambda: None) as trainer:
        at = Peers(lab, protocol.model_copy(update={"rounds": 3}), trainer)
        at._flops, at.world.flops_per_s = [0.1, 0.3], [1.0, 1.0]
        at.run()
    np.testing.assert_allclose(at.waited_s, [0.2 * waited, 0], atol=1e-9)


# -- who is left, and for how long ---------------------------------------------------------------------------------------------


def test_the_clouds_deadline_is_that_of_its_round_alone() -> None:
    quick = scenario(HierarchicalFederation(rounds=40, edge_rounds=1, evaluate_every=40, deadline_s=1.0), nodes=13)
    run = ds.run(quick, progress=False)
    assert run.rounds["t_s"].iloc[-1] > 5, "several deadlines long"
    whole = ds.run(quick.but(protocol__deadline_s=1e6), progress=False)
    assert run.trace_digest == whole.trace_digest, "nothing is late, so that no deadline changes anything"


def test_who_has_nobody_to_gossip_with_learns_alone() -> None:
    every_other = [{"kind": "crash", "nodes": [1, 3, 5, 7], "at_s": 0.5}]
    run = ds.run(scenario(GossipLearning(rounds=4, period_s=1), nodes=8, faults=every_other), progress=False)
    assert run.complete
    assert run.rounds["t_s"].iloc[-1] < 60
    last = run.models[run.models["round"] == 4]["updates"].to_numpy()
    assert last[::2].min() > last[1::2].max()


def test_rounds_are_recorded_when_all_were_away_and_some_are_back() -> None:
    away = [{"kind": "crash", "nodes": [node], "at_s": 0.05 + 0.01 * node, "for_s": 5} for node in range(2)]
    run = ds.run(scenario(DPSGD(rounds=2), nodes=2, topology="complete", faults=away), progress=False)
    assert run.complete
    assert len(run.rounds) == 2


def test_who_gives_nothing_away_says_so() -> None:
    gone = [{"kind": "crash", "nodes": list(range(8, 16)), "at_s": 0.2}]
    directed = {"kind": "exponential", "directed": True}
    run = ds.run(scenario(SGP(rounds=12), nodes=16, topology=directed, faults=gone), progress=False)
    assert run.complete
    assert run.rounds["t_s"].iloc[-1] < 60, "nobody waits for the deadline of 600 s"
    assert run.rounds["accuracy"].iloc[-1] > 0.5


def test_weights_are_never_below_0_and_1_together(monkeypatch: pytest.MonkeyPatch) -> None:
    from decai_sim.protocols import dpsgd

    made: list[list[float]] = []
    mix = dpsgd.Mix
    monkeypatch.setattr(dpsgd, "Mix", lambda models, weights: made.append(list(weights)) or mix(models, weights))
    churn = {"kind": "exponential", "mean_online_s": 1.0, "mean_offline_s": 0.3}
    ds.run(scenario(DPSGD(rounds=20), nodes=12, topology="complete", churn=churn), progress=False)
    assert len(made) > 50
    assert min(min(weights) for weights in made) >= 0
    assert all(sum(weights) == pytest.approx(1) for weights in made)
