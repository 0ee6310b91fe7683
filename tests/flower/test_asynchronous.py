"""Asynchronous strategies and over-selection, in virtual time."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

import decai_sim as ds
from decai_sim.flower import apps, arrays
from decai_sim.flower.strategies.asynchronous import Asynchronous, Version, constant, hinge, polynomial
from decai_sim.learning import jobs
from decai_sim.runs import Run

N, SEED = 30, 2
SCENARIO = ds.Scenario(
    nodes=N,
    seed=SEED,
    task={"kind": "digits", "partition": {"kind": "iid"}, "model": {"kind": "mlp", "hidden": [16]}},
    network="internet",
    devices={"kind": "mix", "phone": 0.5, "gpu": 0.5},
)


def serve(strategy: Asynchronous, versions: int, scenario: ds.Scenario = SCENARIO) -> tuple[Run, list[Version], list[float]]:
    server_app, seen, times = ServerApp(), [], []

    @server_app.main()
    def main(grid: Any, context: Context) -> None:
        def on_version(version: Version) -> None:
            seen.append(version)
            times.append(grid._world.clock.now)

        initial = ds.flower.initial_model(scenario.task, SEED, scenario.nodes)
        strategy.start(grid, initial, num_versions=versions, on_version=on_version)

    run = ds.flower.run(server_app, ds.flower.TaskClientApp(scenario.task, SEED), scenario)
    return run, seen, times


@pytest.mark.parametrize(
    ("staleness", "tau", "weight"),
    [
        (constant(), 7, 1.0),
        (polynomial(0.5), 3, 0.5),
        (polynomial(1.0), 1, 0.5),
        (hinge(10, 4), 4, 1.0),
        (hinge(10, 4), 5, 1 / 11),
    ],
)
def test_weights_of_stale_replies(staleness: Any, tau: int, weight: float) -> None:
    assert staleness(tau) == pytest.approx(weight)


def test_fedbuff_takes_the_papers_step() -> None:
    steps: list[Any] = []

    class Watched(ds.flower.FedBuff):
        def take_in(self, model: Any, reply: Any) -> Any:
            taken = super().take_in(model, reply)
            steps.append((arrays.to_vector(model), reply, taken))
            return taken

    _, seen, _ = serve(Watched(12, buffer=4, server_lr=0.5), 6)
    assert [version.number for version in seen] == [1, 2, 3, 4, 5, 6]
    assert len(steps) == 24
    assert max(max(version.staleness) for version in seen) > 0
    for at in range(0, 24, 4):
        assert [step[2] is None for step in steps[at : at + 4]] == [True, True, True, False]
        x, (after, used) = steps[at + 3][0], steps[at + 3][2]
        total = sum((1 + one.staleness) ** -0.5 * (arrays.to_vector(one.model) - arrays.to_vector(one.start)) for one in used)
        torch.testing.assert_close(arrays.to_vector(after), x + 0.5 * total / 4, rtol=1e-4, atol=1e-6)


def test_fedasync_mixes_every_reply() -> None:
    steps: list[Any] = []

    class Watched(ds.flower.FedAsync):
        def take_in(self, model: Any, reply: Any) -> Any:
            taken = super().take_in(model, reply)
            assert taken is not None
            steps.append((arrays.to_vector(model), reply, arrays.to_vector(taken[0])))
            return taken

    _, seen, _ = serve(Watched(10, mixing=0.5, staleness=polynomial(1.0)), 25)
    assert len(steps) == len(seen) == 25
    for x, reply, after in steps:
        alpha = 0.5 / (1 + reply.staleness)
        torch.testing.assert_close(after, (1 - alpha) * x + alpha * arrays.to_vector(reply.model), rtol=1e-4, atol=1e-6)


def test_as_many_nodes_are_at_work_as_are_wanted_and_none_twice() -> None:
    run, seen, _ = serve(ds.flower.FedBuff(8, buffer=2), 20)
    asked = run.messages[run.messages.kind == "train"]
    replied = run.messages[(run.messages.kind == "train_reply") & (run.messages.outcome == "delivered")]
    changes = [(t, -1, node) for t, node in zip(replied.t_delivered_s, replied.src, strict=True)]
    changes += [(t, 1, node) for t, node in zip(asked.t_sent_s, asked.dst, strict=True)]
    busy: list[int] = []
    most = 0
    for _, change, node in sorted(changes):
        if change > 0:
            assert node not in busy
            busy.append(node)
        else:
            busy.remove(node)
        most = max(most, len(busy))
    assert most == 8
    assert len(seen[0].asked) == 8 + 1  # the first to reply was replaced before the second did
    assert sum(len(version.replied) for version in seen) == 40


def test_fast_nodes_are_not_held_up_by_slow_ones() -> None:
    _, _, asynchronous = serve(ds.flower.FedBuff(10, buffer=10), 8)
    server_app = ServerApp()

    @server_app.main()
    def main(grid: Grid, context: Context) -> None:
        ds.flower.CappedFedAvg(10).start(grid, ds.flower.initial_model(SCENARIO.task, SEED, N), num_rounds=8)

    run = ds.flower.run(server_app, ds.flower.TaskClientApp(SCENARIO.task, SEED), SCENARIO)
    assert asynchronous[-1] < 0.7 * run.rounds.t_s.iloc[-1]


def test_replies_read_one_by_one_are_trained_in_cohorts(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, train_together = [], jobs.train_together

    def watched(problem: Any, rows: Any, who: Any, *rest: Any) -> Any:
        sizes.append(len(who))
        return train_together(problem, rows, who, *rest)

    monkeypatch.setattr(jobs, "train_together", watched)
    serve(ds.flower.FedBuff(20, buffer=5), 10)
    assert sum(sizes) >= 50
    assert sum(sizes) / len(sizes) > 4


def test_nodes_that_vanish_are_replaced() -> None:
    scenario = SCENARIO.but(churn={"kind": "exponential", "mean_online_s": 60, "mean_offline_s": 60})
    run, seen, _ = serve(ds.flower.FedBuff(10, buffer=5, deadline_s=30.0), 20, scenario)
    assert len(seen) == 20
    assert (run.messages.outcome == "offline").any()


def test_the_outcome_is_the_same_every_time() -> None:
    runs = [serve(ds.flower.FedAsync(6, draw=random.Random(1)), 12) for _ in range(2)]
    assert runs[0][0].trace_digest == runs[1][0].trace_digest
    assert [v.replied for v in runs[0][1]] == [v.replied for v in runs[1][1]]


def test_of_more_nodes_than_are_wanted_the_first_count() -> None:
    ends = {}
    for over in (1.0, 1.5):
        server_app = ServerApp()

        @server_app.main()
        def main(grid: Grid, context: Context, over: float = over) -> None:
            strategy = ds.flower.CappedFedAvg(10, over_select=over)
            strategy.start(grid, ds.flower.initial_model(SCENARIO.task, SEED, N), num_rounds=4)

        run = ds.flower.run(server_app, ds.flower.TaskClientApp(SCENARIO.task, SEED), SCENARIO)
        assert run.rounds.n_selected.tolist() == [10 * over] * 4
        assert run.rounds.n_replied.tolist() == [10] * 4
        ends[over] = run.rounds.t_s.iloc[-1]
    assert ends[1.5] < ends[1.0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ds.flower.CappedFedAvg(5, over_select=0.9), "over_select: 0.9 is not allowed: at least 1"),
        (lambda: ds.flower.FedBuff(0), "concurrency: 0 is not allowed"),
        (lambda: ds.flower.FedBuff(5, buffer=0), "buffer: 0 is not allowed"),
        (lambda: ds.flower.FedAsync(5, mixing=1.5), "mixing: 1.5 is not allowed"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(("kind", "options"), [("fedasync", {}), ("fedbuff", {"buffer": 3})])
def test_a_server_that_takes_nothing_in_gives_up(kind: str, options: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    from decai_sim.flower.strategies import asynchronous

    monkeypatch.setattr(asynchronous, "_IN_VAIN", 3)
    strategy = asynchronous.FedAsync if kind == "fedasync" else asynchronous.FedBuff
    takes, versions = strategy.take_in, iter((True, True, False))

    def take_in(self: Any, model: Any, reply: Any) -> Any:
        made = takes(self, model, reply)
        return made if made is not None and next(versions, False) else None

    monkeypatch.setattr(strategy, "take_in", take_in)
    scenario = ds.Scenario.model_validate({"nodes": 10, "protocol": {"kind": kind, "rounds": 5, "fraction": 0.2, **options}})
    with pytest.warns(RuntimeWarning, match="after 2 rounds: none of the last 1. replies has made a new model: they are refused"):
        run = ds.run(scenario, progress=False)
    assert not run.complete
    assert list(run.rounds["round"]) == [1, 2]


def test_refused_replies_end_nothing_while_others_are_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    from decai_sim.flower.strategies import asynchronous

    monkeypatch.setattr(asynchronous, "_IN_VAIN", 1)
    takes, seen = asynchronous.FedAsync.take_in, []

    def take_in(self: Any, model: Any, reply: Any) -> Any:
        seen.append(reply.node)
        return takes(self, model, reply) if reply.node == slow else None

    monkeypatch.setattr(asynchronous.FedAsync, "take_in", take_in)
    options = {"kind": "fedasync", "rounds": 2, "fraction": 1.0}
    slowly = [{"kind": "slow_devices", "nodes": [3], "factor": 50}]
    scenario = ds.Scenario.model_validate({"nodes": 4, "topology": "complete", "protocol": options, "faults": slowly})
    slow = apps.node_id(3)
    run = ds.run(scenario, progress=False)
    assert run.complete
    assert seen.count(slow) == 2
    assert len(seen) > 20


@pytest.mark.filterwarnings("ignore:round .* is passed over")
def test_rounds_passed_over_count_even_if_none_comes_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    from decai_sim.defenses.base import TooFewRowsError
    from decai_sim.flower.strategies import asynchronous

    def too_few(*of: Any) -> Any:
        raise TooFewRowsError("median: too few")

    monkeypatch.setattr(asynchronous, "_IN_VAIN", 1)
    monkeypatch.setattr(ds.defenses.Median, "aggregate", too_few)
    protocol = {"kind": "fedbuff", "rounds": 3, "buffer": 3, "fraction": 0.5}
    scenario = ds.Scenario.model_validate({"nodes": 10, "defense": "median", "protocol": protocol})
    with pytest.warns(RuntimeWarning, match="are refused"):
        run = ds.run(scenario, progress=False)
    assert not run.complete
    assert len(run.rounds) == 0
    assert run.passed_over == 1
