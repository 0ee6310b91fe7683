"""Training in other processes, on other paths and from a journal comes to the same."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path as File
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import ray
import torch

import decai_sim as ds
from decai_sim.errors import MemoryLimitError, ScenarioError
from decai_sim.learning import MLP, Digits, paths
from decai_sim.learning.jobs import Job, here, train
from decai_sim.learning.journal import Journal
from decai_sim.learning.optimisers import SGD, Adam
from decai_sim.learning.paths import Path
from decai_sim.learning.problem import Problem
from decai_sim.learning.store import Store
from decai_sim.learning.trainer import Trainer
from decai_sim.learning.training import Plan
from decai_sim.learning.workers import RayWorkers
from decai_sim.seeding import Streams

N = 12
SCENARIO = ds.Scenario(
    nodes=N,
    seed=6,
    task={"kind": "digits", "model": {"kind": "mlp", "hidden": [8]}},
    network="internet",
    protocol={"kind": "federated", "rounds": 6, "fraction": 0.5},
)
STATEFUL = {"optimiser": {"kind": "sgd", "momentum": 0.5}, "keep_state": True, "personal": ["3."]}


def problem() -> Problem:
    return Problem(Digits(model=MLP(hidden=(8,))), N, Streams(1))


def jobs_of(problem: Problem, store: Store, plan: Plan) -> list[Job]:
    (start,) = store.put(problem.initial()[None])
    return [Job(node, 1, start, plan) for node in range(N)]


PLANS = {
    "momentum": Plan(optimiser=SGD(momentum=0.9), lr=0.02, keep=True),
    "adam": Plan(optimiser=Adam(), lr=0.01, keep=True, clip_norm=1.0),
    "scaffold": Plan(scaffold=True),
    "personal": Plan(personal=("3.",), prox_mu=0.1),
}


def test_two_workers_train_as_one_process_does() -> None:
    own, path = problem(), Path("stacked", 5)
    with RayWorkers(own, path, 2, lambda: None) as workers:
        for name, plan in PLANS.items():
            (here_rows, here_losses), (there_rows, there_losses) = (
                trained_twice(own, plan, path, compute) for compute in (here(own, path, lambda: None), workers)
            )
            torch.testing.assert_close(here_rows, there_rows, rtol=1e-4, atol=1e-6, msg=name)
            assert here_losses == pytest.approx(there_losses, rel=1e-4), name


@pytest.mark.parametrize(
    ("device", "has", "message"),
    [
        ("cpu", {"CPU": 1.0}, "workers: 2 is not allowed: at most 1, as many processors as Ray has"),
        ("cuda", {"CPU": 8.0, "GPU": 1.0}, "workers: 2 is not allowed: at most 1, as many GPUs as Ray has"),
        ("cuda", {"CPU": 8.0}, "workers: 2 is not allowed: at most 0, as many GPUs as Ray has"),
    ],
)
def test_more_workers_than_ray_has_room_for_are_refused(
    device: str, has: dict[str, float], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, ended = problem(), []
    own.device = device
    monkeypatch.setattr("decai_sim.learning.workers.start_ray", lambda workers: True)
    monkeypatch.setattr(ray, "cluster_resources", lambda: has)
    monkeypatch.setattr(ray, "shutdown", lambda: ended.append(1))
    monkeypatch.setattr(ray, "put", None)  # nothing is sent to a cluster that has no room
    with pytest.raises(ScenarioError, match=f"^{message}$"):
        RayWorkers(own, Path("stacked", 5), 2, lambda: None)
    assert ended == [1]


def test_the_end_of_a_worker_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def died(first: Any) -> Any:
        raise ray.exceptions.RayActorError(error_msg="The actor died unexpectedly.\n  a trace\n  of many lines")

    workers = RayWorkers.__new__(RayWorkers)
    workers._workers, workers._checkpoint = [SimpleNamespace(train=SimpleNamespace(remote=lambda one: one))], lambda: None
    monkeypatch.setattr(ray, "wait", lambda waiting, timeout: (waiting, []))
    monkeypatch.setattr(ray, "get", died)
    own = problem()
    store = Store(own.layout.d)
    with pytest.raises(ds.DecaiError, match=r"^workers: one of 1 processes of Ray has ended: The actor died unexpectedly\.$"):
        train(own, store, jobs_of(own, store, Plan()), compute=workers)


def trained_twice(problem: Problem, plan: Plan, path: Path, compute: Any) -> tuple[torch.Tensor, list[float]]:
    """Models and losses after a second training each, where most is kept elsewhere than on the device."""
    store, states = Store(problem.layout.d, device_bytes=8 * 4 * problem.layout.d), dict[int, Store]()
    first = jobs_of(problem, store, plan)
    second = [Job(job.node, 2, job.start, plan, before=job) for job in first]
    train(problem, store, second, path=path, compute=compute, states=states)
    assert store.spilled_bytes > 0
    return store.gather([job.result for job in second if job.result]), [job.loss for job in second]


def test_a_run_on_two_workers_is_the_same_run() -> None:
    alone, together = (ds.run(SCENARIO, progress=False, workers=workers) for workers in (0, 2))
    assert alone.trace_digest == together.trace_digest
    np.testing.assert_allclose(alone.model, together.model, rtol=1e-3, atol=1e-5)


def stopped_after(rounds: int, scenario: ds.Scenario, journal: File) -> ds.Run:
    stop = threading.Event()

    def on_round(row: dict[str, Any]) -> None:
        if row["round"] == rounds:
            stop.set()

    return ds.run(scenario, progress=False, journal=journal, stop=stop, on_round=on_round)


@pytest.mark.parametrize("protocol", [{}, STATEFUL, {"scaffold": True}])
def test_an_interrupted_run_goes_on_without_training_again(
    tmp_path: File, monkeypatch: pytest.MonkeyPatch, protocol: dict[str, Any]
) -> None:
    from decai_sim.learning import jobs

    scenario = SCENARIO.but(**{f"protocol__{name}": value for name, value in protocol.items()})
    trained: list[int] = []
    train_together = jobs.train_together

    def counted(problem: Any, rows: Any, who: Any, *rest: Any) -> Any:
        trained.append(len(who))
        return train_together(problem, rows, who, *rest)

    monkeypatch.setattr(jobs, "train_together", counted)
    whole = ds.run(scenario, progress=False)
    of_all, trained[:] = sum(trained), []
    part = stopped_after(3, scenario, tmp_path)
    assert not part.complete
    of_part, trained[:] = sum(trained), []
    again = ds.run(scenario, progress=False, journal=tmp_path)
    assert again.complete
    assert 0 < sum(trained) == of_all - of_part
    assert again.trace_digest == whole.trace_digest
    assert np.array_equal(again.model, whole.model)
    trained[:] = []
    third = ds.run(scenario, progress=False, journal=tmp_path)
    assert trained == []
    assert np.array_equal(third.model, whole.model)


def test_what_was_trained_otherwise_is_not_found(tmp_path: File) -> None:
    own, plan = problem(), Plan()
    for problem_id, other, found in (("a", plan, 0), ("a", plan, N), ("b", plan, 0), ("a", Plan(lr=0.2), 0)):
        store, journal = Store(own.layout.d), Journal(tmp_path, problem_id)
        train(own, store, jobs_of(own, store, other), journal=journal)
        assert journal.found == found


def test_other_data_and_other_paths_are_trained_anew(tmp_path: File) -> None:
    run = partial(ds.run, progress=False, journal=tmp_path)
    files = lambda: len(list(tmp_path.glob("*.safetensors")))  # noqa: E731
    run(SCENARIO, path="stacked:64")
    first = files()
    run(SCENARIO, path="stacked:64")
    assert files() == first
    run(SCENARIO, path="alone:1")
    assert files() > first, "another path is not the same to the last bit"
    own, same = problem(), problem()
    assert own.digest() == same.digest()
    same._y = (same._y + 1) % 10
    assert own.digest() != same.digest()
    moved = problem()
    moved.samples = [moved.samples[1], moved.samples[0], *moved.samples[2:]]
    assert own.digest() != moved.digest()


def test_half_a_file_is_never_there(tmp_path: File, monkeypatch: pytest.MonkeyPatch) -> None:
    import safetensors.torch

    def dies(columns: Any, path: str, metadata: Any) -> None:
        File(path).write_bytes(b"half")
        raise KeyboardInterrupt

    own = problem()
    store = Store(own.layout.d)
    monkeypatch.setattr(safetensors.torch, "save_file", dies)
    with pytest.raises(KeyboardInterrupt):
        train(own, store, jobs_of(own, store, Plan()), journal=Journal(tmp_path, "a"))
    assert list(tmp_path.iterdir()) == []
    assert Journal(tmp_path, "a").found == 0


@pytest.mark.parametrize("text", ["stacked", "fast:3", "vmap:0", "vmap:x"])
def test_a_path_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ScenarioError, match=f"path: '{text}' is not allowed: one of stacked, vmap, compiled, alone, a colon"):
        ds.run(SCENARIO, progress=False, path=text)


def test_the_fastest_path_is_measured_once_and_remembered(tmp_path: File, monkeypatch: pytest.MonkeyPatch) -> None:
    own, plan, calls = problem(), Plan(), []
    monkeypatch.delenv(paths.ENVIRONMENT, raising=False)
    monkeypatch.setattr(paths, "_cache_file", lambda: tmp_path / "deep" / "paths.json")

    def measured(problem: Any, plan: Any, candidates: Any) -> dict[Path, float]:
        calls.append(candidates)
        return {path: float(path.cohort) for path in candidates}

    monkeypatch.setattr(paths, "measured", measured)
    assert paths.chosen(own, plan, 1e6) == paths.usual("cpu")
    assert calls == []
    assert [paths.chosen(own, plan, 1e13) for _ in range(2)] == [Path("stacked", 128)] * 2
    assert len(calls) == 1
    assert paths.chosen(own, plan, 1e6) == Path("stacked", 128)
    monkeypatch.setattr(paths, "measured", lambda *at: {Path("stacked", 8): 2.0, Path("stacked", 64): 1.0})
    assert paths.chosen(own, plan, 1e13) == Path("stacked", 128)
    assert [paths.chosen(own, plan, 1e13, anew=anew) for anew in (True, False)] == [Path("stacked", 8)] * 2
    monkeypatch.setenv(paths.ENVIRONMENT, "vmap:7")
    assert paths.chosen(own, plan, 1e13) == Path("vmap", 7)


def test_measuring_trains_nobody_for_good() -> None:
    own, plan = problem(), Plan(scaffold=True)
    before = own.initial()
    rates = paths.measured(own, plan, [Path("stacked", 3), Path("vmap", 3), Path("alone", 1)])
    assert all(rate > 0 for rate in rates.values())
    assert torch.equal(own.initial(), before)


def too_small_for(models: int, compute: Any) -> Any:
    """A device that has room for so many models at once; counts what it trains."""

    def limited(cohorts: Any) -> Any:
        for cohort in cohorts:
            if len(cohort.who) > models:
                raise torch.OutOfMemoryError("CUDA out of memory")
            trained.append(len(cohort.who))
            yield from compute([cohort])

    trained: list[int] = []
    return limited, trained


def test_cohorts_that_do_not_fit_are_trained_by_halves() -> None:
    own, plan, path = problem(), Plan(optimiser=SGD(momentum=0.9), keep=True), Path("stacked", 8)
    compute = here(own, path, lambda: None)
    small, trained = too_small_for(3, compute)
    results = []
    for how in (compute, small):
        store = Store(own.layout.d)
        first = jobs_of(own, store, plan)
        second = [Job(job.node, 2, job.result or job, plan, before=job) for job in first]
        train(own, store, second, path=path, compute=how)
        results.append(store.gather([job.result for job in second if job.result]))
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-6)
    assert sum(trained) == 2 * N
    assert max(trained) <= 3


def test_a_model_that_does_not_fit_at_all_is_refused() -> None:
    own = problem()
    store = Store(own.layout.d)
    none, trained = too_small_for(0, here(own, Path("stacked", 8), lambda: None))
    with pytest.raises(MemoryLimitError, match="training: a model of 610 parameters and a batch of 10 samples do not fit"):
        train(own, store, jobs_of(own, store, Plan()), compute=none)
    assert trained == []


def test_paths_without_room_are_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    from decai_sim.learning import cohort

    train_together = cohort.train_together

    def limited(problem: Any, rows: Any, *rest: Any, **options: Any) -> Any:
        if len(rows) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return train_together(problem, rows, *rest, **options)

    monkeypatch.setattr(cohort, "train_together", limited)
    rates = paths.measured(problem(), Plan(), [Path("stacked", 4), Path("stacked", 5)])
    assert rates[Path("stacked", 4)] > 0 == rates[Path("stacked", 5)]


def test_a_compiler_that_fails_rates_nothing_and_what_rates_nothing_is_not_remembered(
    tmp_path: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(paths.ENVIRONMENT, raising=False)
    monkeypatch.setattr(paths, "_cache_file", lambda: tmp_path / "paths.json")
    own, plan = problem(), Plan()

    def no_compiler(module: Any) -> Any:
        raise RuntimeError("InvalidCxxCompiler: no C++ compiler found")

    monkeypatch.setattr(paths, "_compiled", no_compiler)
    rates = paths.measured(own, Plan(clip_norm=1.0), [Path("compiled", 4), Path("stacked", 4)])
    assert rates[Path("compiled", 4)] == 0
    assert rates[Path("stacked", 4)] > 0

    def full(*at: Any, **options: Any) -> Any:
        raise torch.OutOfMemoryError

    with monkeypatch.context() as patch:
        patch.setattr("decai_sim.learning.cohort.train_together", full)
        assert paths.chosen(own, plan, 1e13) == paths.usual("cpu")
    nobody = problem()
    nobody.n_samples = np.zeros(N, int)
    assert paths.chosen(nobody, plan, 1e13) == paths.usual("cpu")
    assert not (tmp_path / "paths.json").exists()


def test_a_gpu_is_tried_with_few_models_too() -> None:
    assert {path.cohort for path in paths.candidates("cuda", 1e13)} >= {1, 8, 32, 128, 512, 2048}


def test_trainings_are_done_unasked_when_too_many_wait() -> None:
    learned = problem()

    def chain(most: int) -> tuple[list[Job], Store]:
        store = Store(learned.layout.d)
        trainer = Trainer(learned, store)
        trainer.most_waiting = most
        (start,) = store.put(learned.initial()[None])
        jobs: list[Job] = []
        for number in range(6):
            jobs.append(trainer.begin(0, number + 1, jobs[-1] if jobs else start, Plan(steps=1)))
        return jobs, store

    patient, _ = chain(100)
    assert [job.result for job in patient] == [None] * 6
    pressed, store = chain(3)
    assert [job.result is not None for job in pressed] == [True] * 4 + [False] * 2
    trainer = Trainer(learned, store)
    trainer.complete(pressed)
    Trainer(learned, patient[0].start.store).complete(patient)  # type: ignore[union-attr]
    for one, other in zip(patient, pressed, strict=True):
        assert one.result is not None
        assert other.result is not None
        torch.testing.assert_close(one.result.tensor(), other.result.tensor())
