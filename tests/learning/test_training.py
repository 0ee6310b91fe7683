"""Training together equals training alone, whoever is in the cohort."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decai_sim.attacks import DBA, BadNets, DataAttack, LabelFlip
from decai_sim.errors import ScenarioError
from decai_sim.learning import CNN, MLP, Digits, Dirichlet, ResNet, Shakespeare, Softmax, Transformer, paths
from decai_sim.learning.cohort import train_together
from decai_sim.learning.jobs import Job, train
from decai_sim.learning.optimisers import SGD, Adam, Optimiser
from decai_sim.learning.paths import Path
from decai_sim.learning.problem import Problem
from decai_sim.learning.store import Store
from decai_sim.learning.training import Memory, Plan, Trained, batches, train_alone, work_flops
from decai_sim.seeding import Streams

MODELS = {"softmax": Softmax(), "mlp": MLP(hidden=(7, 5)), "cnn": CNN(channels=(2, 3), hidden=5)}
NODES = 40
COHORT = 32


def pair(done: Trained) -> tuple[torch.Tensor, float]:
    return done.row, done.loss


@cache
def base(model: str) -> Problem:
    task = Digits(model=MODELS[model], partition=Dirichlet(alpha=0.2, min_samples=0))
    return Problem(task, NODES, Streams(1))


def ragged(model: str, sizes: Sequence[int], seed: int = 0) -> Problem:
    """The problem with the given numbers of samples on its first nodes."""
    problem = copy.copy(base(model))
    rng = np.random.default_rng(seed)
    problem.samples = [rng.choice(1437, size, replace=False) for size in sizes]
    problem.n_samples = np.array(sizes)
    return problem


def starts(problem: Problem, k: int, seed: int = 0) -> torch.Tensor:
    """``k`` different models near the initial one."""
    noise = torch.randn(k, problem.layout.d, generator=torch.Generator().manual_seed(seed))
    return problem.initial() + 0.01 * noise


optimisers: list[Optimiser] = [
    *(SGD(), SGD(momentum=0.9), SGD(momentum=0.5, nesterov=True, weight_decay=0.1), SGD(weight_decay=0.2)),
    *(Adam(), Adam(beta1=0.5, weight_decay=0.1), Adam(weight_decay=0.5, decoupled=True)),
]
simple = st.builds(Plan, epochs=st.integers(1, 3), batch_size=st.integers(1, 12), lr=st.sampled_from([0.01, 0.1]))
plans = simple | st.builds(
    Plan,
    epochs=st.integers(1, 2),
    batch_size=st.integers(3, 12),
    lr=st.sampled_from([0.01, 0.05]),
    steps=st.none() | st.integers(1, 7),
    optimiser=st.sampled_from(optimisers),
    prox_mu=st.sampled_from([0.0, 0.5]),
    clip_norm=st.none() | st.sampled_from([0.1, 1.0]),
    scaffold=st.booleans(),
    keep=st.booleans(),
    personal=st.sampled_from([(), ("1.",)]),
)
models = st.sampled_from(sorted(MODELS))
sizes = st.lists(st.integers(0, 30), min_size=1, max_size=8)


@settings(max_examples=30)
@given(model=models, sizes=sizes, plan=plans, server_round=st.integers(1, 99))
def test_together_equals_alone(model: str, sizes: list[int], plan: Plan, server_round: int) -> None:
    sizes = sorted(sizes, reverse=True)
    problem, rows = ragged(model, sizes), starts(base(model), len(sizes))
    before = rows.clone()
    done = train_together(problem, rows, [(node, server_round) for node in range(len(sizes))], plan)
    trained, losses = done.rows, done.losses.tolist()
    assert torch.equal(rows, before)
    for node, size in enumerate(sizes):
        alone, loss = pair(train_alone(problem, rows[node], node, server_round, plan))
        torch.testing.assert_close(trained[node], alone, rtol=1e-4, atol=1e-5)
        assert losses[node] == pytest.approx(loss, rel=1e-4, abs=1e-5)
        assert torch.equal(alone, rows[node]) == (size == 0)
    assert torch.equal(rows, before)


@pytest.mark.parametrize("columns", [False, True], ids=["rows", "columns"])
@pytest.mark.parametrize("model", sorted(MODELS))
@pytest.mark.parametrize("plan", [Plan(epochs=2), Plan(optimiser=Adam(), prox_mu=0.5), Plan(scaffold=True)], ids=str)
def test_models_in_columns_are_trained_in_place_as_rows_are(model: str, plan: Plan, columns: bool) -> None:
    problem, rows = ragged(model, [9, 4, 0]), starts(base(model), 3)
    who = [(node, 1) for node in range(3)]
    expected = [train_alone(problem, rows[node], node, 1, plan).row for node in range(3)]
    given = [part.clone(memory_format=torch.contiguous_format) for part in problem.layout.columns(rows)]
    done = train_together(problem, given if columns else rows, who, plan)
    torch.testing.assert_close(done.rows, torch.stack(expected), rtol=1e-4, atol=1e-5)
    assert all(a is b for a, b in zip(done.columns, given, strict=True)) == columns


@pytest.mark.parametrize("plan", [Plan(epochs=2), Plan(optimiser=Adam(), clip_norm=0.1, prox_mu=0.5)], ids=["sgd", "adam"])
def test_the_compiled_path_equals_training_alone(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    # Traced and differentiated as for the compiler, which itself need not be there.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    paths._compiled.cache_clear()
    problem, rows = ragged("mlp", [9, 4, 0]), starts(base("mlp"), 3)
    done = train_together(problem, rows, [(node, 1) for node in range(3)], plan, path=Path("compiled", 3))
    for node in range(3):
        alone = train_alone(problem, rows[node], node, 1, plan)
        torch.testing.assert_close(done.rows[node], alone.row, rtol=1e-4, atol=1e-5)
        assert done.losses[node].item() == pytest.approx(alone.loss, rel=1e-4, abs=1e-5)
    paths._compiled.cache_clear()


@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler here")
def test_compiled_training_equals_training_alone() -> None:
    problem, rows, plan = ragged("mlp", [9, 4]), starts(base("mlp"), 2), Plan(epochs=2)
    done = train_together(problem, rows, [(node, 1) for node in range(2)], plan, path=Path("compiled", 2))
    for node in range(2):
        torch.testing.assert_close(done.rows[node], train_alone(problem, rows[node], node, 1, plan).row, rtol=1e-4, atol=1e-5)


@contextmanager
def on_threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@cache
def large(model: str) -> Problem:
    if model == "resnet":
        return Problem(Digits(model=ResNet(width=4, groups=2)), 20, Streams(1))
    return Problem(Shakespeare(model=Transformer(n_layers=1, width=8, heads=2)), 20, Streams(1))


@settings(max_examples=12)
@given(
    model=st.sampled_from(["resnet", "transformer"]),
    sizes=st.lists(st.integers(0, 12), min_size=1, max_size=4),
    plan=st.builds(
        Plan,
        batch_size=st.integers(3, 12),
        lr=st.just(0.05),
        steps=st.integers(1, 3),
        optimiser=st.sampled_from([SGD(), SGD(momentum=0.9), Adam(eps=0.1)]),  # which does not make much of the last bits
        prox_mu=st.sampled_from([0.0, 0.5]),
        clip_norm=st.none() | st.just(0.5),
        scaffold=st.booleans(),
    ),
    cohort=st.integers(1, 4),
    threads=st.integers(1, 2),
)
def test_large_models_together_equal_alone_whatever_the_threads(
    model: str, sizes: list[int], plan: Plan, cohort: int, threads: int
) -> None:
    problem = copy.copy(large(model))
    rng = np.random.default_rng(len(sizes))
    problem.samples = [rng.choice(1000, size, replace=False) for size in sizes]
    problem.n_samples = np.array(sizes)
    store = Store(problem.layout.d)
    (initial,) = store.put(problem.initial()[None])
    jobs = [Job(node, 1, initial, plan) for node in range(len(sizes))]
    with on_threads(threads):
        train(problem, store, jobs, path=Path("stacked", cohort))
    for job in jobs:
        alone, loss = pair(train_alone(problem, problem.initial(), job.node, 1, plan))
        assert job.result is not None
        torch.testing.assert_close(job.result.tensor(), alone, rtol=2e-3, atol=2e-5)
        assert job.loss == pytest.approx(loss, rel=1e-3, abs=1e-4)


@settings(max_examples=20)
@given(
    model=models,
    order=st.permutations(range(NODES)),
    k=st.integers(1, NODES),
    plan=plans.filter(lambda p: p.epochs == 1),
)
def test_any_cohort_in_any_order_gives_every_node_its_own_result(model: str, order: list[int], k: int, plan: Plan) -> None:
    problem = base(model)
    store = Store(problem.layout.d)
    (initial,) = store.put(problem.initial()[None])
    jobs = [Job(node, 3, initial, plan) for node in order[:k]]
    train(problem, store, jobs)
    for job in jobs[:5]:
        assert job.result is not None
        alone, loss = pair(train_alone(problem, problem.initial(), job.node, 3, plan))
        torch.testing.assert_close(job.result.tensor(), alone, rtol=1e-4, atol=1e-5)
        assert job.loss == pytest.approx(loss, rel=1e-4, abs=1e-5)
    assert torch.equal(initial.tensor(), problem.initial())


@settings(max_examples=25)
@given(
    model=models,
    plan=plans,
    kind=st.sampled_from(["stacked", "vmap", "alone"]),
    cohort=st.integers(1, 5),
    threads=st.integers(1, 2),
)
def test_nodes_go_on_from_what_they_kept(model: str, plan: Plan, kind: Any, cohort: int, threads: int) -> None:
    sizes = [17, 0, 5, 30]
    problem = ragged(model, sizes)
    store, states = Store(problem.layout.d), dict[int, Store]()
    first, second, control = store.put(starts(problem, 3))
    jobs = [Job(node, 1, first, plan) for node in range(4)]
    again = [Job(node, 2, second, plan, before=jobs[node], control=control) for node in (2, 0, 1)]
    with on_threads(threads):
        train(problem, store, again, path=Path(kind, cohort), states=states)
    assert [job.result is None for job in jobs] == [False, False, False, True]  # what they come after was computed too
    for job in again:
        before = train_alone(problem, first.tensor(), job.node, 1, plan)
        after = train_alone(problem, second.tensor(), job.node, 2, plan, before.memory, control.tensor())
        assert job.result is not None
        torch.testing.assert_close(job.result.tensor(), after.row, rtol=1e-3, atol=2e-5)
        assert job.loss == pytest.approx(after.loss, rel=1e-3, abs=1e-4)
        for name in ("optimiser", "control", "personal"):
            kept = getattr(after.memory, name)
            assert (name in job.memory) == (kept is not None)
            if kept is not None:
                torch.testing.assert_close(job.memory[name].tensor(), kept, rtol=1e-3, atol=1e-3)


def test_control_variates_of_option_two() -> None:
    problem, plan = ragged("softmax", [12]), Plan(batch_size=4, lr=0.05, scaffold=True)
    start = starts(problem, 1)[0]
    mine, theirs = 0.1 * starts(problem, 2, seed=1)
    done = train_alone(problem, start, 0, 1, plan, Memory(control=mine), theirs)
    # Karimireddy et al. (2020), eq. 4, option II: c_i+ = c_i - c + (x - y_i) / (K lr), here with K = 3 steps.
    assert done.memory.control is not None
    torch.testing.assert_close(done.memory.control, mine - theirs + (start - done.row) / (3 * 0.05))
    plain = train_alone(problem, start, 0, 1, Plan(batch_size=4, lr=0.05))
    same = train_alone(problem, start, 0, 1, plan, Memory(control=theirs), theirs)
    torch.testing.assert_close(same.row, plain.row)
    one = train_alone(problem, start, 0, 1, Plan(batch_size=12, lr=0.05, scaffold=True), Memory(control=mine), theirs)
    unmoved = train_alone(problem, start, 0, 1, Plan(batch_size=12, lr=0.05))
    torch.testing.assert_close(one.row, unmoved.row - 0.05 * (theirs - mine))  # y_i - lr (g - c_i + c)


def test_personal_parameters_must_be_there() -> None:
    problem = ragged("mlp", [5])
    plan = Plan(personal=("9.",))
    memory = Memory(personal=problem.initial())
    with pytest.raises(ScenarioError, match=r"personal: '9\.' is not allowed: the model's parameters are 1\.weight, 1\.bias"):
        train_alone(problem, problem.initial(), 0, 1, plan, memory)


@pytest.mark.parametrize("kind", ["stacked", "vmap", "alone"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_lower_precision_is_near(precision: Any, kind: Any) -> None:
    problem = ragged("mlp", [30])
    exact = train_alone(problem, problem.initial(), 0, 1, Plan(epochs=2))
    rows = problem.initial()[None]
    done = train_together(problem, rows, [(0, 1)], Plan(epochs=2, precision=precision), path=Path(kind, 1))
    off = float((done.rows[0] - exact.row).norm() / (exact.row - rows[0]).norm())
    assert off < (1e-5 if precision == "float32" else 0.05)
    assert (off > 1e-4) == (precision == "bfloat16")
    alone = train_alone(problem, rows[0], 0, 1, Plan(epochs=2, precision=precision))
    assert float((done.rows[0] - alone.row).norm() / (exact.row - rows[0]).norm()) < 0.05


def test_different_programs_can_be_waiting_at_once() -> None:
    problem = base("mlp")
    store = Store(problem.layout.d)
    first, second = store.put(starts(problem, 2))
    plans = [Plan(epochs=1, batch_size=5, lr=0.1), Plan(epochs=2, batch_size=5, lr=0.1), Plan(epochs=1, batch_size=8, lr=0.01)]
    jobs = [Job(node, node % 3, (first, second)[node % 2], plans[node % 3]) for node in range(12)]
    done_before = Job(3, 1, first, plans[0], loss=7.0)
    done_before.result = second
    train(problem, store, [*jobs, done_before])
    assert (done_before.result, done_before.loss) == (second, 7.0)  # not computed again
    for job in jobs:
        assert job.result is not None
        alone, _ = pair(train_alone(problem, job.start.tensor(), job.node, job.server_round, job.plan))
        torch.testing.assert_close(job.result.tensor(), alone, rtol=1e-4, atol=1e-5)


def test_a_stop_between_cohorts_leaves_finished_results() -> None:
    problem = base("softmax")
    store = Store(problem.layout.d)
    (initial,) = store.put(problem.initial()[None])
    jobs = [Job(node % NODES, 1, initial, Plan()) for node in range(COHORT + 5)]

    def checkpoint() -> None:
        if any(job.result is not None for job in jobs):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(problem, store, jobs, checkpoint)
    assert sum(job.result is not None for job in jobs) == COHORT
    train(problem, store, jobs)
    assert all(job.result is not None for job in jobs)


def test_a_stop_within_a_cohort_is_heeded_at_the_next_step() -> None:
    problem = base("softmax")
    store = Store(problem.layout.d)
    (initial,) = store.put(problem.initial()[None])
    jobs = [Job(node, 1, initial, Plan(epochs=5, batch_size=2)) for node in range(COHORT)]
    steps = 0

    def checkpoint() -> None:
        nonlocal steps
        steps += 1
        if steps == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(problem, store, jobs, checkpoint)
    assert steps == 3
    assert not any(job.result is not None for job in jobs)
    assert torch.equal(initial.tensor(), problem.initial())


def test_wrongly_ordered_cohorts_are_refused() -> None:
    problem = ragged("softmax", [3, 20])
    with pytest.raises(ValueError, match="most steps first"):
        train_together(problem, starts(problem, 2), [(0, 1), (1, 1)], Plan())


def test_nobody_at_all_is_legal() -> None:
    problem = base("softmax")
    train(problem, Store(problem.layout.d), [])
    done = train_together(problem, starts(problem, 0), [], Plan())
    assert done.rows.shape == (0, problem.layout.d)
    assert done.losses.shape == (0,)


def test_alone_is_what_pytorch_itself_does() -> None:
    problem, plan = base("mlp"), Plan(epochs=2, batch_size=4, lr=0.05)
    node = int(problem.n_samples.argmax())
    module = copy.deepcopy(problem.module)
    optimiser = torch.optim.SGD(module.parameters(), lr=plan.lr)
    losses = []
    for step in batches(problem, node, 1, plan):
        index = torch.as_tensor(step)
        optimiser.zero_grad()
        loss = torch.nn.CrossEntropyLoss()(module(problem.inputs(index)), problem.labels(index))
        loss.backward()
        optimiser.step()
        losses += [float(loss.detach())] * len(step)
    expected = torch.nn.utils.parameters_to_vector(module.parameters()).detach()
    alone, loss_alone = pair(train_alone(problem, problem.initial(), node, 1, plan))
    torch.testing.assert_close(alone, expected, rtol=1e-5, atol=1e-6)
    assert loss_alone == pytest.approx(np.mean(losses), rel=1e-5)


def test_every_epoch_passes_over_every_sample_once_in_an_order_of_its_own() -> None:
    problem = ragged("softmax", [23])
    plan = Plan(epochs=3, batch_size=10)
    steps = batches(problem, 0, 1, plan)
    assert [len(step) for step in steps] == [10, 10, 3] * 3
    epochs = [np.concatenate(steps[i : i + 3]).tolist() for i in (0, 3, 6)]
    assert all(sorted(epoch) == sorted(problem.samples[0].tolist()) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    again = batches(problem, 0, 1, plan)
    assert all(np.array_equal(a, b) for a, b in zip(steps, again, strict=True))
    assert not np.array_equal(np.concatenate(steps), np.concatenate(batches(problem, 0, 2, plan)))


def test_training_neither_reads_nor_writes_the_global_generator() -> None:
    problem = base("cnn")
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        results.append(train_together(problem, starts(problem, 1), [(0, 1)], Plan()).rows)
        assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(results[0], results[1])


def test_training_learns() -> None:
    problem = base("mlp")
    node = int(problem.n_samples.argmax())
    _, first = pair(train_alone(problem, problem.initial(), node, 1, Plan()))
    trained, _ = pair(train_alone(problem, problem.initial(), node, 1, Plan(epochs=20)))
    _, later = pair(train_alone(problem, trained, node, 2, Plan()))
    assert later < 0.3 * first


def test_work_is_three_forward_passes_a_sample_and_epoch() -> None:
    problem = ragged("softmax", [10, 0])
    assert problem.forward_flops == 2 * 64 * 10
    assert work_flops(problem, 0, Plan(epochs=4)) == 3 * 1280 * 10 * 4
    assert work_flops(problem, 1, Plan()) == 0


def test_poison_changes_what_the_given_nodes_train_on_and_nothing_else() -> None:
    problem = base("softmax")
    labels, x = problem._y.clone(), problem._x.clone()
    bad = [3, 8]
    poisoned = problem.poisoned(LabelFlip(), bad, Streams(1))
    assert torch.equal(problem._y, labels)
    assert torch.equal(problem._x, x)
    assert sum(len(problem.samples[node]) for node in bad) > 0
    for node in range(NODES):
        own, trained_on = (torch.as_tensor(p.samples_of(node, 1)) for p in (problem, poisoned))
        assert torch.equal(own, torch.as_tensor(problem.samples[node]))
        flipped = 9 - problem.labels(own) if node in bad else problem.labels(own)
        assert torch.equal(poisoned.labels(trained_on), flipped)
        assert torch.equal(poisoned.inputs(trained_on), problem.inputs(own))
    # What is its own, what it tests on, and what it holds stay as they were; the test set is nobody's.
    for before, after in zip(problem.samples, poisoned.samples, strict=True):
        assert np.array_equal(before, after)
    assert poisoned.own_tests is problem.own_tests
    assert np.array_equal(poisoned.class_counts(), problem.class_counts())
    assert np.array_equal(poisoned.n_samples, problem.n_samples)
    assert poisoned.evaluate(problem.initial()) == problem.evaluate(problem.initial())
    for node in (3, 0):
        a, b = (train_alone(p, problem.initial(), node, 1, Plan()).row for p in (problem, poisoned))
        assert torch.equal(a, b) == (node not in bad or len(problem.samples[node]) == 0)


def test_poison_of_samples_reaches_training() -> None:
    class Blank(DataAttack, abstract=True):
        """White pages."""

        def poison(self, x: Any, y: Any, generator: Any) -> Any:
            return torch.zeros_like(x), y

    problem = base("softmax")
    poisoned = problem.poisoned(Blank(), [2], Streams(1))
    index = torch.as_tensor(poisoned.samples_of(2, 1))
    torch.testing.assert_close(poisoned.inputs(index), torch.full((len(index), 8, 8), (0 - 0.305) / 0.376))
    assert not torch.equal(problem.inputs(torch.as_tensor(problem.samples[2])), poisoned.inputs(index))


def test_sleepers_train_on_what_they_had_until_they_wake() -> None:
    problem, bad = base("mlp"), [1, 4]
    attack = LabelFlip(from_round=3, until_round=6, every=2)
    poisoned = problem.poisoned(attack, bad, Streams(1))
    always = problem.poisoned(LabelFlip(), bad, Streams(1))
    row, plan = problem.initial(), Plan(epochs=2)
    for server_round in range(1, 9):
        for node in (*bad, 0):
            trained = train_alone(poisoned, row, node, server_round, plan).row
            like = always if server_round in (3, 5) else problem
            assert torch.equal(trained, train_alone(like, row, node, server_round, plan).row)
            if len(problem.samples[node]):
                same = torch.equal(trained, train_alone(problem, row, node, server_round, plan).row)
                assert same == (node not in bad or server_round not in (3, 5))


@pytest.mark.parametrize("model", sorted(MODELS))
def test_sleepers_in_a_cohort_train_as_each_alone(model: str) -> None:
    problem = base(model)
    poisoned = problem.poisoned(LabelFlip(from_round=2), range(0, NODES, 2), Streams(1))
    # Some awake and some asleep, side by side.
    who = sorted(((node, 1 + node % 3) for node in range(NODES)), key=lambda one: -int(problem.n_samples[one[0]]))
    rows, plan = starts(problem, NODES), Plan(epochs=2, batch_size=7)
    done = train_together(poisoned, rows, who, plan)
    woken = 0
    for number, (node, server_round) in enumerate(who):
        alone = train_alone(poisoned, rows[number], node, server_round, plan)
        torch.testing.assert_close(done.rows[number], alone.row, rtol=1e-4, atol=1e-5)
        woken += not torch.equal(alone.row, train_alone(problem, rows[number], node, server_round, plan).row)
    awake = [node for node, server_round in who if node % 2 == 0 and server_round >= 2 and problem.n_samples[node]]
    assert 0 < woken <= len(awake)


def test_digests_tell_who_trains_on_what_and_when() -> None:
    problem = base("softmax")
    attacks = [LabelFlip(), LabelFlip(from_round=2), LabelFlip(every=2), LabelFlip(mode="targeted")]
    found = {problem.digest()} | {problem.poisoned(attack, [1, 2], Streams(1)).digest() for attack in attacks}
    found.add(problem.poisoned(LabelFlip(), [1, 3], Streams(1)).digest())
    assert len(found) == 6
    again = problem.poisoned(LabelFlip(fraction=0.5), [1, 2], Streams(1)).digest()
    assert again == problem.poisoned(LabelFlip(), [1, 2], Streams(1)).digest()


def test_attackers_who_share_the_work_are_numbered_in_their_order() -> None:
    problem = Problem(Digits(), 10, Streams(1))
    attack, bad = DBA(share=1, corner="bottom_left"), [2, 5, 7]
    poisoned = problem.poisoned(attack, bad, Streams(1))
    for number, node in enumerate(bad):
        x = poisoned._x[torch.as_tensor(poisoned.samples_of(node, 1))]
        before = problem._x[torch.as_tensor(problem.samples[node])]
        assert torch.equal((x != before).any(0) | attack.bar(number, 8, 8), attack.bar(number, 8, 8))
        assert (x[:, attack.bar(number, 8, 8)] == before.max()).all()


def test_the_goal_of_a_backdoor_is_measured_on_the_test_set() -> None:
    problem = Problem(Digits(model=MLP(hidden=(32,)), partition="iid"), 4, Streams(1))
    assert problem.goal(LabelFlip()) is None
    attack = BadNets(target=3)
    goal = problem.goal(attack)
    assert goal is not None
    labels = torch.as_tensor(problem.task.load().y_test)
    x, wanted = goal
    assert len(x) == int((labels != 3).sum())
    assert (wanted == 3).all()
    torch.testing.assert_close(x[:, -3:, -3:], torch.full((len(x), 3, 3), (1 - 0.305) / 0.376))
    torch.testing.assert_close(x[:, :5], problem._x_test[labels != 3][:, :5])
    row, poisoned = problem.initial(), problem.poisoned(attack, [0], Streams(1))
    taught, clean = (train_alone(p, row, 0, 1, Plan(epochs=40)).row for p in (poisoned, problem))
    assert poisoned.success(taught, goal) > 0.9
    assert problem.success(clean, goal) < 0.3
    assert problem.evaluate(taught)[0] > 0.8
    assert problem.success(taught, goal) == pytest.approx(
        float((torch.func.functional_call(problem.module, problem.layout.views(taught), (x,)).argmax(1) == 3).float().mean())
    )
