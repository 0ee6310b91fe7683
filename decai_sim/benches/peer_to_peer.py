"""How fast nodes learn without a server."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from decai_sim.benches.bench import Bench, alternating, middle_ratio
from decai_sim.papers.rows import Row

if TYPE_CHECKING:
    from decai_sim.scenario import Scenario

_SAME = "same machine, same process, in turn"
_DEGREE = 8


def measure(nodes: int = 1_000, rounds: int = 20, many: int = 10_000, few: int = 200, repeats: int = 3) -> Iterator[Row]:
    """The figures of ``decai-sim bench peer-to-peer``.

    Args:
        nodes: how many train an MLP 784-64-10 on at most 60 samples each of Fashion-MNIST, and exchange it with 8 neighbours.
        rounds: of D-PSGD.
        many: how many train softmax regression, five rounds, where memory is measured.
        few: how many the other simulator is given.
        repeats: how many times each is measured.
    """
    from decai_sim.benches.gossipy_peer import installed, updates_per_s
    from decai_sim.benches.training import Work
    from decai_sim.learning import MLP

    work = Work.of(MLP(hidden=(64,)), nodes, 60)
    ours, alone = partial(updates, nodes, rounds), work.cohort
    peer = (lambda: updates_per_s(work.problem, few, _DEGREE)) if installed() else lambda: math.nan
    ours()  # what is read and compiled the first time
    turns = alternating(repeats, ours, alone, peer)
    what = f"D-PSGD, {nodes:,} nodes, {_DEGREE} neighbours, {rounds} rounds"
    yield Row(what, max(turn[0] for turn in turns), "updates per second")
    yield Row("the same trainings in cohorts, nothing exchanged", max(turn[1] for turn in turns), "updates per second")
    if installed():
        yield Row(f"gossipy, {few} nodes, one message a node and round", max(turn[2] for turn in turns), "updates per second")
        yield Row.at_least("D-PSGD, ours / gossipy", middle_ratio(turns, 0, 2), 10, f"PyPI gossipy-dfl, {_SAME}")
    else:
        source = "gossipy is not installed: pip install gossipy-dfl"
        yield Row("D-PSGD, ours / gossipy", math.nan, target="≥ 10", source=source)
    share = 1 - middle_ratio(turns, 0, 1)
    yield Row.at_most("share of the run in which nobody trains: mixing, messages and all else", share, 0.45, _SAME)
    yield memory(many)


def updates(nodes: int, rounds: int) -> float:
    """Trainings per second of wall time, of a whole run of D-PSGD: its world is made, and its last models are looked at."""
    from decai_sim.runs import run

    scenario = _scenario(nodes, rounds, {"kind": "mlp", "hidden": [64]})
    began = time.perf_counter()
    run(scenario, progress=False)
    return nodes * rounds / (time.perf_counter() - began)


def memory(many: int) -> Row:
    """Peak memory of a whole process in which very many nodes train softmax regression and exchange it."""
    code = f"from decai_sim.benches.peer_to_peer import peak_gb; print(peak_gb({many}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    name = f"peak memory of {many:,} nodes with softmax regression, 5 rounds"
    return Row.at_most(name, float(done.stdout.splitlines()[-1]), 8, "a process of its own", "GB")


def peak_gb(many: int) -> float:
    """See :func:`memory`."""
    from decai_sim.benches.flood import peak_memory_bytes
    from decai_sim.runs import run

    run(_scenario(many, 5, {"kind": "softmax"}), progress=False)
    return peak_memory_bytes() / 1e9


def _scenario(nodes: int, rounds: int, model: dict[str, object]) -> Scenario:
    from decai_sim.scenario import Scenario

    return Scenario.model_validate(
        {
            "nodes": nodes,
            "seed": 3,
            "topology": {"kind": "random_regular", "degree": _DEGREE},
            "network": "internet",
            "task": {"kind": "fashion_mnist", "partition": "iid", "model": model},
            "protocol": {"kind": "dpsgd", "rounds": rounds, "evaluate_every": rounds, "node_tests": 0},
        }
    )


PEER_TO_PEER = Bench("peer-to-peer", "How fast nodes learn without a server, against another simulator.", measure)
