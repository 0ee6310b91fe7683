"""What a node has begun and not finished when it goes leaves nothing behind at the node."""

from __future__ import annotations

from typing import Any

import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

import decai_sim as ds
from decai_sim.learning.jobs import Job
from decai_sim.learning.optimisers import Adam
from decai_sim.learning.problem import Problem
from decai_sim.learning.store import Store
from decai_sim.learning.trainer import Trainer
from decai_sim.learning.training import Plan
from decai_sim.world.devices import PROFILES


def test_who_leaves_goes_on_from_what_it_had_finished() -> None:
    problem = Problem(ds.tasks.Digits(model="softmax"), 4, ds.Streams(1))
    trainer, plan = Trainer(problem, Store(problem.layout.d)), Plan(keep=True, optimiser=Adam())
    (start,) = trainer.store.put(problem.initial()[None])
    first = trainer.begin(0, 1, start, plan)
    queued = trainer.begin(0, 2, start, plan)
    assert queued.before is first
    trainer.left(0)
    assert trainer.latest(0) is None
    second = trainer.begin(0, 3, start, plan)
    assert second.before is None
    trainer.finished(second)
    lost = trainer.begin(0, 4, start, plan)
    trainer.left(0)
    assert trainer.begin(0, 5, start, plan).before is second
    assert lost.before is second


def test_in_a_run_nobody_goes_on_from_training_that_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    finished: list[Job] = []
    before: list[Job] = []
    begin, end = Trainer.begin, Trainer.finished

    def begins(self: Trainer, *args: Any, **options: Any) -> Job:
        job = begin(self, *args, **options)
        before.extend([] if job.before is None else [job.before])
        return job

    def ends(self: Trainer, job: Job) -> None:
        finished.append(job)
        end(self, job)

    monkeypatch.setattr(Trainer, "begin", begins)
    monkeypatch.setattr(Trainer, "finished", ends)
    scenario = ds.Scenario(
        nodes=12,
        seed=3,
        network="internet",
        task={"kind": "digits", "model": {"kind": "mlp", "hidden": [256]}},
        churn={"kind": "exponential", "mean_online_s": 0.6, "mean_offline_s": 0.3},
        devices={"kind": "mix", "raspberry_pi": 1},
        protocol={"kind": "fedbuff", "rounds": 10, "buffer": 3, "fraction": 0.8, "local_epochs": 40, "keep_state": True},
    ).but(protocol__optimiser={"kind": "sgd", "momentum": 0.9})
    run = ds.run(scenario, progress=False)
    assert "job_lost" in set(run.events["kind"])
    assert before, "nodes go on from what they kept"
    ended = {id(job) for job in finished}
    assert all(id(job) in ended for job in before)


def test_an_apps_context_is_as_it_was_before_work_that_was_lost() -> None:
    app = ClientApp()
    seen: list[tuple[int, int]] = []

    @app.train()
    def train(message: Message, context: Context) -> Message:
        config: Any = context.state.get("kept") or ConfigRecord({"calls": 0})
        calls = int(config["calls"]) + 1
        context.state["kept"] = ConfigRecord({"calls": calls})
        seen.append((int(context.node_config["partition-id"]), calls))
        return Message(RecordDict({"arrays": message.content["arrays"]}), reply_to=message)

    ring = ds.Scenario(
        nodes=6,
        task="digits",
        topology="ring",
        devices={"kind": "mix", "raspberry_pi": 1},
        faults=[{"kind": "crash", "nodes": [1], "at_s": 25.0, "for_s": 30}],
        protocol={"kind": "dpsgd", "rounds": 6, "node_tests": 0},
    )
    flops = 10 * PROFILES["raspberry_pi"].flops_per_s  # ten virtual seconds
    run = ds.flower.run_peers(app, ring, work_flops=flops)
    lost = run.events[run.events["kind"] == "job_lost"]
    assert lost["node"].tolist() == [1]
    calls = [count for node, count in seen if node == 1]
    assert len(calls) - len(set(calls)) == 1, "the lost one is counted once more"
    assert max(calls) == len(set(calls))
