"""How fast thousands of nodes train."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path as File
from typing import TYPE_CHECKING, Any

from decai_sim.benches.bench import Bench, alternating, middle_ratio
from decai_sim.garbage import its_own
from decai_sim.papers.rows import Row

if TYPE_CHECKING:
    from decai_sim.learning.models import Model
    from decai_sim.learning.paths import Path
    from decai_sim.learning.problem import Problem
    from decai_sim.learning.store import Store

_SAME = "same machine, same process, in turn"
_ENGINE = "Flower's engine on Ray, same machine, one round after a warm-up"


def measure(
    nodes: int = 1_000,
    cnn_nodes: int = 256,
    many: int = 5_000,
    asked: int = 500,
    repeats: int = 5,
    engine: bool = True,
) -> Iterator[Row]:
    """The figures of ``decai-sim bench training``.

    Args:
        nodes: how many train an MLP 784-64-10 on an equal share each of at most 60 samples of Fashion-MNIST.
        cnn_nodes: how many train a CNN on 40.
        many: how many models are held at once when memory is measured.
        asked: how many of ``nodes`` take part where nothing is trained.
        repeats: how many times each pair is measured.
        engine: whether Flower's own engine is measured too, which takes minutes.
    """
    yield from mlp(nodes, repeats, engine)
    yield from cnn(cnn_nodes, repeats)
    yield from pfl(nodes, repeats)
    yield from unmodified(nodes, asked, repeats, engine)
    yield memory(many)


@dataclass
class Work:
    """``n`` nodes with ``samples`` samples each, an epoch in batches of ten."""

    problem: Problem
    store: Store | None = None

    @cached_property
    def path(self) -> Path:
        """The fastest way to train, as measured now."""
        from decai_sim.learning import paths
        from decai_sim.learning.training import Plan

        return paths.chosen(self.problem, Plan(), 1e13, anew=True)

    @classmethod
    def of(cls, model: Model, n: int, samples: int) -> Work:
        """Fashion-MNIST, shared out by chance."""
        import numpy as np

        from decai_sim.learning import IID, FashionMNIST
        from decai_sim.learning.problem import Problem
        from decai_sim.seeding import Streams

        problem = Problem(FashionMNIST(partition=IID(), model=model), n, Streams(1), _device())
        problem.samples = [own[:samples] for own in problem.samples]
        problem.n_samples = np.array([len(own) for own in problem.samples])
        return cls(problem)

    def cohort(self) -> float:
        """Nodes per second, trained in cohorts."""
        from decai_sim.learning.jobs import Job, train
        from decai_sim.learning.store import Store
        from decai_sim.learning.training import Plan

        problem, plan = self.problem, Plan()
        path = self.path
        self.store = store = self.store or Store(problem.layout.d, problem.device)  # as in a run, whose rounds share one
        (start,) = store.put(problem.initial()[None])
        jobs = [Job(node, 1, start, plan) for node in range(problem.n)]
        return _rate(len(jobs), lambda: train(problem, store, jobs, path=path))

    def bound(self) -> float:
        """Nodes per second, if all samples were one model's, in batches of 512."""
        import torch
        from torch.nn import functional as F

        problem = self.problem
        index = torch.cat([torch.as_tensor(own) for own in problem.samples]).to(problem.device)
        params = {name: p.clone().requires_grad_() for name, p in problem.layout.views(problem.initial()).items()}

        def epoch() -> None:
            for part in torch.split(index, 512):
                logits = torch.func.functional_call(problem.module, params, (problem.inputs(part),))
                slopes = torch.autograd.grad(F.cross_entropy(logits, problem.labels(part)), list(params.values()))
                with torch.no_grad():
                    for p, slope in zip(params.values(), slopes, strict=True):
                        p.sub_(slope, alpha=0.1)

        return _rate(problem.n, epoch)

    def loop(self, few: int = 100) -> float:
        """Nodes per second of a plain PyTorch loop, with one model that is loaded anew for each of a few nodes."""
        import copy

        import torch
        from torch.nn import functional as F

        problem = self.problem
        module = copy.deepcopy(problem.module)
        begin = copy.deepcopy(module.state_dict())
        nodes = range(min(few, problem.n))

        def train() -> None:
            for node in nodes:
                module.load_state_dict(begin)
                optimiser = torch.optim.SGD(module.parameters(), lr=0.1)
                for part in torch.split(torch.as_tensor(problem.samples[node]).to(problem.device), 10):
                    optimiser.zero_grad()
                    loss = F.cross_entropy(module(problem.inputs(part)), problem.labels(part))
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimiser.step()

        return _rate(len(nodes), train)

    def through_flower(self, strategy: Callable[[int], Any], asked: int | None = None) -> float:
        """Nodes per second through a Flower strategy on ``SimGrid``, evaluation off, in the second of two rounds.

        Args:
            strategy: is called with how many nodes take part.
            asked: how many those are; None: all.
        """
        from decai_sim.flower import apps
        from decai_sim.flower.hosting import Host
        from decai_sim.learning.execution import Execution
        from decai_sim.learning.training import Plan
        from decai_sim.seeding import Streams
        from decai_sim.world import Internet, Mix, World

        problem, streams = self.problem, Streams(1)
        world = World(problem.n, Internet(), None, Mix(laptop=1.0), streams)
        rates: list[float] = []
        asked = problem.n if asked is None else asked

        def serve(grid: Any) -> None:
            initial = apps.initial_record(problem)
            options = {"num_rounds": 1, "train_config": apps.plan_record(Plan())}
            for _ in range(2):
                rates.append(_rate(asked, lambda: strategy(asked).start(grid, initial, **options)))

        host = Host(world, streams, lambda: problem, foreign=False, execution=Execution(self.path))
        with _quiet(), its_own():  # as in any run
            host.run(apps.server_app(serve), apps.TaskClientApp(problem.task, 1))
        return rates[-1]


def mlp(nodes: int, repeats: int, engine: bool) -> Iterator[Row]:
    """An MLP 784-64-10, 60 samples a node, batches of 10, one epoch."""
    from decai_sim.flower.engine import round_s, unmodified_fedavg
    from decai_sim.flower.strategies import CappedFedAvg
    from decai_sim.learning import MLP

    work = Work.of(MLP(hidden=(64,)), nodes, 60)
    ours, theirs = partial(work.through_flower, CappedFedAvg), partial(work.through_flower, unmodified_fedavg)
    work.cohort()  # what is loaded and made once
    turns = alternating(repeats, ours, theirs, work.cohort, work.loop, work.bound)
    best = [max(figures) for figures in zip(*turns, strict=True)]
    what = f"MLP, {nodes:,} nodes"
    names = "our strategy on SimGrid", "Flower's FedAvg on SimGrid", "cohorts alone", "plain loop", "bound"
    for name, figure in zip(names, best, strict=True):
        yield Row(f"{what}, {name}, best", figure, "nodes per second")
    if engine:
        rate = nodes / round_s("mlp", nodes, nodes)
        yield Row(f"{what}, Flower's engine on Ray", rate, "nodes per second")
        yield Row.at_least(f"{what}, ours / Flower's engine", sorted(turn[0] for turn in turns)[repeats // 2] / rate, 80, _ENGINE)
    yield Row.at_least(f"{what}, ours / plain loop", middle_ratio(turns, 0, 3), 8, _SAME)
    yield Row.at_least(f"{what}, ours / bound", middle_ratio(turns, 0, 4), 0.4, _SAME)
    yield Row.at_least(f"{what}, cohorts alone / bound", middle_ratio(turns, 2, 4), 0.6, _SAME)
    yield Row(f"{what}, Flower's FedAvg / bound", middle_ratio(turns, 1, 4), source=_SAME)


def cnn(nodes: int, repeats: int) -> Iterator[Row]:
    """Two convolutions, 40 samples a node."""
    from decai_sim.learning import CNN

    work = Work.of(CNN(), nodes, 40)
    work.cohort()
    turns = alternating(repeats, work.cohort, work.bound)
    what = f"CNN, {nodes:,} nodes"
    yield Row(f"{what}, cohorts, best", max(turn[0] for turn in turns), "nodes per second")
    yield Row(f"{what}, bound, best", max(turn[1] for turn in turns), "nodes per second")
    yield Row.at_least(f"{what}, cohorts / bound", middle_ratio(turns, 0, 1), 0.8, _SAME)


def unmodified(nodes: int, asked: int, repeats: int, engine: bool) -> Iterator[Row]:
    """Somebody's unmodified ``ClientApp`` that does nothing, with a model of 62,000 parameters."""
    from decai_sim.flower import apps
    from decai_sim.flower.engine import noop, round_s, some_model, unmodified_fedavg
    from decai_sim.flower.hosting import Host
    from decai_sim.seeding import Streams
    from decai_sim.world import Internet, Mix, World

    def seconds() -> float:
        streams, took = Streams(1), []
        world = World(nodes, Internet(), None, Mix(laptop=1.0), streams)

        def serve(grid: Any) -> None:
            for _ in range(2):
                began = time.perf_counter()
                unmodified_fedavg(nodes, asked).start(grid, some_model(), num_rounds=1)
                took.append(time.perf_counter() - began)

        with _quiet(), its_own():
            Host(world, streams, _nobody, work_flops=1e6).run(apps.server_app(serve), noop())
        return took[-1]

    what = f"no-op app, {nodes:,} nodes, {asked:,} asked"
    ours = sorted(seconds() for _ in range(repeats))[repeats // 2]
    yield Row(f"{what}, SimGrid", ours, "s a round")
    if engine:
        theirs = round_s("noop", nodes, asked)
        yield Row(f"{what}, Flower's engine on Ray", theirs, "s a round")
        yield Row.at_least(f"{what}, Flower's engine / ours", theirs / ours, 20, _ENGINE)


def pfl(nodes: int, repeats: int) -> Iterator[Row]:
    """Whole rounds of the same MLP work with 50 nodes each, against PyPI ``pfl``, where that is installed."""
    from decai_sim.benches.pfl_peer import installed, nodes_per_s
    from decai_sim.flower.strategies import CappedFedAvg
    from decai_sim.learning import MLP

    what = f"MLP, rounds of 50 of {nodes:,} nodes"
    if not installed():
        yield Row(f"{what}, ours / pfl", math.nan, target="≥ 3", source="pfl is not installed: pip install pfl")
        return
    work = Work.of(MLP(hidden=(64,)), nodes, 60)
    few = min(50, nodes)
    turns = alternating(repeats, partial(work.through_flower, CappedFedAvg, few), lambda: nodes_per_s(work.problem, few))
    yield Row(f"{what}, ours, best", max(turn[0] for turn in turns), "nodes per second")
    yield Row(f"{what}, pfl, best", max(turn[1] for turn in turns), "nodes per second")
    yield Row.at_least(f"{what}, ours / pfl", middle_ratio(turns, 0, 1), 3, f"PyPI pfl, {_SAME}")


def memory(many: int) -> Row:
    """Peak memory of a round of very many nodes above what there was before it, over the raw bytes of their models."""
    code = f"from decai_sim.benches.training import peak_ratio; print(peak_ratio({many}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ratio = float(json.loads(done.stdout.splitlines()[-1]))
    return Row.at_most(
        f"peak memory of {many:,} models of 50,890 parameters / their raw bytes", ratio, 2.5, "a process of its own"
    )


def peak_ratio(many: int) -> float:
    """See :func:`memory`; for a process in which nothing else has been done."""
    from decai_sim.flower.strategies import CappedFedAvg
    from decai_sim.learning import MLP

    work = Work.of(MLP(hidden=(64,)), many, 60)
    Work.of(MLP(hidden=(64,)), 64, 60).through_flower(CappedFedAvg)
    before = _memory_bytes("VmRSS")
    with contextlib.suppress(OSError):
        File("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    work.through_flower(CappedFedAvg)
    return (_memory_bytes("VmHWM") - before) / (many * work.problem.layout.d * 4)


def _memory_bytes(name: str) -> int:
    """What Linux says of this process's memory: held now (``VmRSS``), or at most so far (``VmHWM``)."""
    lines = File("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))


def _rate(nodes: int, work: Callable[[], object]) -> float:
    import torch

    began = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return nodes / (time.perf_counter() - began)


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _nobody() -> Problem:
    raise RuntimeError("a foreign app has no problem of ours")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the lines that Flower logs for every round."""
    logger = logging.getLogger("flwr")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


TRAINING = Bench(
    "training", "How fast thousands of nodes train, against Flower's engine, a plain loop and one large model.", measure
)
