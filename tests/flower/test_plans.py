"""Whatever an instruction asks for, cohorts do what the app itself does message by message."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

import decai_sim as ds
from decai_sim.flower import apps, arrays
from decai_sim.learning.optimisers import SGD, Adam
from decai_sim.learning.training import Plan

N, SEED = 6, 3
SCENARIO = ds.Scenario(nodes=N, seed=SEED, task={"kind": "digits", "partition": {"kind": "dirichlet", "alpha": 0.5}})

PLANS = {
    "momentum that is kept": Plan(optimiser=SGD(momentum=0.9), lr=0.02, keep=True),
    "Adam that begins anew": Plan(optimiser=Adam(), lr=0.01, steps=3),
    "FedProx, clipped": Plan(prox_mu=0.3, clip_norm=0.5, epochs=2),
    "personal bias": Plan(personal=("1.bias",)),
    "control variates": Plan(scaffold=True),
}


def alone(app: ClientApp) -> ClientApp:
    """The same app, as one that the simulator knows nothing of."""
    other = ClientApp()

    @other.train()
    def train(message: Message, context: Context) -> Message:
        return app(message, context)

    @other.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        return app(message, context)

    return other


def run(client_app: ClientApp, plan: Plan) -> tuple[list[torch.Tensor], list[Any]]:
    server_app, models, metrics = ServerApp(), [], []

    @server_app.main()
    def main(grid: Grid, context: Context) -> None:
        strategy: Any = ds.flower.CappedFedAvg(N)
        if plan.scaffold:
            strategy = ds.flower.Scaffold(N, N)
        strategy.fraction_evaluate, strategy.min_evaluate_nodes = 1.0, N
        initial = ds.flower.initial_model(SCENARIO.task, SEED, N)

        def keep(server_round: int, model: ArrayRecord) -> None:
            models.append(arrays.to_vector(model))

        config = apps.plan_record(plan)
        result = strategy.start(
            grid, initial, num_rounds=3, train_config=config, evaluate_config=apps.plan_record(plan), evaluate_fn=keep
        )
        metrics.append((result.train_metrics_clientapp, result.evaluate_metrics_clientapp))

    ds.flower.run(server_app, client_app, SCENARIO)
    return models, metrics


@pytest.mark.parametrize("name", PLANS)
def test_cohorts_equal_the_app_itself(name: str) -> None:
    app = ds.flower.TaskClientApp(SCENARIO.task, SEED)
    ours, theirs = run(app, PLANS[name]), run(alone(app), PLANS[name])
    assert len(ours[0]) == 4
    for a, b in zip(ours[0], theirs[0], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)
    assert not torch.allclose(ours[0][-1], ours[0][1], atol=1e-3)
    for mine, its in zip(ours[1][0], theirs[1][0], strict=True):
        for server_round in (1, 2, 3):
            assert dict(mine[server_round]) == pytest.approx(dict(its[server_round]), rel=1e-3)


def test_what_is_asked_before_a_training_is_answered_as_of_before_it() -> None:
    app, plan, found = ds.flower.TaskClientApp(SCENARIO.task, SEED), PLANS["personal bias"], []
    for client_app in (app, alone(app)):
        server_app, losses = ServerApp(), dict[int, list[float]]()

        @server_app.main()
        def main(grid: Grid, context: Context, losses: dict[int, list[float]] = losses) -> None:
            record = RecordDict({"arrays": ds.flower.initial_model(SCENARIO.task, SEED, N), "config": apps.plan_record(plan)})
            nodes = list(grid.get_node_ids())
            list(grid.send_and_receive([Message(record, node, "train") for node in nodes]))
            asked = list(grid.push_messages([Message(record, node, "evaluate") for node in nodes]))
            asked += grid.push_messages([Message(record, node, "train") for node in nodes])
            replies: list[Message] = []
            while len(replies) < len(asked):
                come = {reply.metadata.reply_to_message_id for reply in replies}
                replies += grid.pull_messages([one for one in asked if one not in come])
            replies += grid.send_and_receive([Message(record, node, "evaluate") for node in nodes])
            for reply in replies:
                metrics = reply.content.metric_records["metrics"]
                if "accuracy" in metrics:
                    losses.setdefault(reply.metadata.src_node_id, []).append(float(metrics["loss"]))

        ds.flower.run(server_app, client_app, SCENARIO)
        found.append(losses)
    for node, (before, after) in found[0].items():
        assert [before, after] == pytest.approx(found[1][node], rel=1e-3)
        assert before != pytest.approx(after, rel=1e-3)


@pytest.mark.parametrize("plan", PLANS.values())
def test_an_instruction_says_all_of_a_plan(plan: Plan) -> None:
    content = ds.flower.initial_model(SCENARIO.task, SEED, N)
    record = RecordDict({"arrays": content, "config": apps.plan_record(plan)})
    assert apps.plan_of(record) == (plan, 0)
    assert apps.plan_of(RecordDict({"config": ConfigRecord()})) == (Plan(), 0)


def test_flowers_own_fedprox_holds_models_back() -> None:
    from flwr.serverapp import strategy

    ends = []
    for mu in (0.0, 20.0):
        server_app = ServerApp()

        @server_app.main()
        def main(grid: Grid, context: Context, mu: float = mu) -> None:
            initial = ds.flower.initial_model(SCENARIO.task, SEED, N)
            plan = strategy.FedProx(proximal_mu=mu, fraction_evaluate=0.0, min_available_nodes=N)
            config = ConfigRecord({"lr": 0.02, "local-epochs": 3})
            result = plan.start(grid, initial, num_rounds=1, train_config=config)
            ends.append(float((arrays.to_vector(result.arrays) - arrays.to_vector(initial)).norm()))

        ds.flower.run(server_app, ds.flower.TaskClientApp(SCENARIO.task, SEED), SCENARIO)
    assert ends[1] < 0.7 * ends[0]


def test_scaffold_moves_the_servers_control_variate_by_the_mean_change() -> None:
    plan = PLANS["control variates"]
    server_app, seen = ServerApp(), []

    class Watched(ds.flower.Scaffold):
        def aggregate_train(self, server_round: int, replies: Any) -> Any:
            replies = list(replies)
            before = self._control
            result = super().aggregate_train(server_round, replies)
            changes = [arrays.to_vector(reply.content["control"]) for reply in replies]
            models = [arrays.to_vector(reply.content["arrays"]) for reply in replies]
            assert self._model is not None
            assert result[0] is not None
            seen.append((before, self._control, changes, arrays.to_vector(self._model), models, arrays.to_vector(result[0])))
            return result

    @server_app.main()
    def main(grid: Grid, context: Context) -> None:
        Watched(N // 2, N, server_lr=0.5).start(
            grid, ds.flower.initial_model(SCENARIO.task, SEED, N), num_rounds=2, train_config=apps.plan_record(plan)
        )

    ds.flower.run(server_app, ds.flower.TaskClientApp(SCENARIO.task, SEED), SCENARIO)
    assert len(seen) == 2
    for before, after, changes, start, models, end in seen:
        assert len(changes) == N // 2
        torch.testing.assert_close(after, sum(changes) / N + (0 if before is None else before))
        torch.testing.assert_close(end, start + 0.5 * (sum(models) / len(models) - start), rtol=1e-4, atol=1e-6)
    assert np.linalg.norm(seen[0][1]) > 0
