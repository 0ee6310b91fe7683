"""From simulation to reality: what the simulator predicts of Flower's own engine on this machine, and what it does."""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from decai_sim.papers.claims import Profile, claim
from decai_sim.papers.rows import Row

if TYPE_CHECKING:
    from decai_sim.deployment import Deployed
    from decai_sim.flower.deploy import Site
    from decai_sim.runs import Run
    from decai_sim.scenario import Scenario

_TIMES = "the engine's own times, measured on this machine; within 10 % is ours"
_EQUAL = "the same apps, seeds and batches; sums differ in their last bits"
_UP_BPS, _DOWN_BPS = 2e6, 4e6
_COMPUTE_S = 64.0
"""How long nodes are to compute in a round: at least a minute."""
_NODES = 2


@claim(
    "sim-to-real",
    paper="Beutel et al., 'Flower: a friendly federated learning framework' (arXiv:2007.14390)",
    where="its deployment: SuperLink and SuperNodes of flwr 1.41, on this machine",
    statement="The simulator tells how long rounds take on Flower's own engine, and the models that come out are the same.",
)
def sim_to_real(profile: Profile) -> Iterator[Row]:
    """A scenario simulated and deployed. ``smoke`` judges models alone; ``paper`` the seconds a round, too.

    In ``paper`` the machine is measured first: how fast a client's process computes, how long it takes to start, on an app that
    does nothing, and what links carry. They are shaped in network namespaces where that is allowed. The app that is predicted is
    another, that computes for a minute a round: nothing that is measured of its rounds goes into the prediction. There are two
    nodes with a thread each; on a machine of one processor the calibration has them compete as the deployment does. It takes a
    quarter of an hour, on a machine that nobody else should use meanwhile: the last row says what became of its speed.
    """
    if profile == "smoke":
        with tempfile.TemporaryDirectory() as logs:
            yield from _compared(_scenario(rounds=2, task="digits"), None, None, Path(logs), "loopback")
        return
    with tempfile.TemporaryDirectory() as logs, _place() as (place, site):
        yield from _measured_and_predicted(Path(logs), place, site)


def _scenario(**changes: Any) -> Scenario:
    from decai_sim.scenario import Scenario

    protocol = {
        "kind": "federated",
        "fraction": 1,
        "batch_size": 32,
        "lr": 0.05,
        "deadline_s": 1800,
        "rounds": changes.pop("rounds"),
    }
    return Scenario.model_validate({"nodes": _NODES, "seed": 7, "protocol": protocol, **changes})


@contextlib.contextmanager
def _place() -> Iterator[tuple[str, Site]]:
    """Where the deployment runs, in words, and for it."""
    from decai_sim.flower import namespaces
    from decai_sim.flower.deploy import LOOPBACK

    if not namespaces.possible():
        yield "loopback", LOOPBACK
        return
    with namespaces.shaped(_NODES, _UP_BPS, _DOWN_BPS) as site:
        yield f"links of {_UP_BPS / 1e6:g} and {_DOWN_BPS / 1e6:g} Mbit/s", site


def _measured_and_predicted(logs: Path, place: str, site: Site) -> Iterator[Row]:
    from decai_sim.flower import calibration
    from decai_sim.flower.engine_model import EngineModel
    from decai_sim.learning.problem import Problem
    from decai_sim.seeding import Streams

    task = {"kind": "fashion_mnist", "partition": "iid", "model": {"kind": "mlp", "hidden": [256]}}
    scenario = _scenario(rounds=5, task=task)
    idle = calibration.idle(_NODES, 5, logs=logs / "noop", site=site)
    wires = calibration.wires(_NODES, site)
    speed = calibration.speed(scenario.task, _NODES, scenario.protocol.batch_size, least_s=15)
    yield Row("start of a client's process", idle.start_s, "s")
    yield Row("loading of its data", speed.load_s, "s")
    yield Row("training in a client's process", speed.flops_per_s / 1e9, "GFLOP/s")
    yield Row(f"upload of a node, {place}", wires.up_bps / 1e6, "Mbit/s")
    yield Row(f"download of a node, {place}", wires.down_bps / 1e6, "Mbit/s")

    # Rates of more than a billion bits per second are the memory's, and change nothing here.
    network = {
        "kind": "internet",
        "upload_bps": min(wires.up_bps, 1e9),
        "download_bps": min(wires.down_bps, 1e9),
        "latency": {"kind": "constant", "delay_s": wires.delay_s},
        "jitter": 1e-6,
    }
    engine = EngineModel(start_s=idle.start_s, flops_per_s=speed.flops_per_s)
    noop = _noop(scenario.but(network=network), engine)
    yield Row("seconds a round of an app that does nothing, measured", median(idle.round_s), "s")
    yield Row("seconds a round of an app that does nothing, predicted", noop, "s")

    flops_a_step = 3 * Problem(scenario.task, _NODES, Streams(0)).forward_flops * scenario.protocol.batch_size
    steps = math.ceil(_COMPUTE_S * speed.flops_per_s / flops_a_step)
    scenario = scenario.but(network=network, protocol__local_steps=steps)
    engine = EngineModel(start_s=idle.start_s + speed.load_s, flops_per_s=speed.flops_per_s)
    yield Row("computing a round, as planned", steps * flops_a_step / speed.flops_per_s, "s")
    yield from _compared(scenario, engine, site, logs / "run", place)
    after = calibration.speed(scenario.task, _NODES, scenario.protocol.batch_size, least_s=15)
    yield Row("training in a client's process, after over before", after.flops_per_s / speed.flops_per_s)


def _noop(scenario: Scenario, engine: Any) -> float:
    """Median seconds a round of work that takes no time, of many rounds, on the model of the engine."""
    from decai_sim.runs import run

    idle = scenario.but(task="digits", protocol__rounds=40, protocol__local_steps=1)
    rounds = run(idle, progress=False, engine=engine.model_copy(update={"flops_per_s": 1e15})).rounds
    return float(rounds["t_s"].diff().iloc[1:].median())


def _compared(scenario: Scenario, engine: Any, site: Site | None, logs: Path, place: str) -> Iterator[Row]:
    """Deploy and simulate.

    Times are predicted if the engine is known; processes and connections are new in the first round, which is left out of them.
    """
    import numpy as np

    from decai_sim.deployment import deploy
    from decai_sim.runs import run

    real = deploy(scenario, logs=logs, site=site)
    simulated = run(scenario, progress=False, engine=engine, device="cpu")
    predicted = float(simulated.rounds["t_s"].diff().iloc[1:].median())
    measured = float(np.median(real.round_s()[1:]))
    name = f"seconds a round, {place}, median"
    yield Row(f"{name}, measured", measured, "s")
    if engine is not None:
        yield Row.within(f"{name}, predicted", predicted, "s", measured, 0.1, _TIMES)
        yield Row(f"{name}, predicted over measured", predicted / measured)
        yield Row(f"seconds a round, {place}, shortest, measured", float(real.round_s()[1:].min()), "s")
        yield Row(f"seconds a round, {place}, longest, measured", float(real.round_s()[1:].max()), "s")
    yield from models_rows(real, simulated)


def models_rows(real: Deployed, simulated: Run) -> Iterator[Row]:
    """How far apart the models of a deployment and of a simulation are."""
    import numpy as np

    assert real.model is not None
    assert simulated.model is not None
    apart = float(np.abs(real.model - simulated.model).max() / np.abs(simulated.model).max())
    yield Row.at_most("largest difference of the final models, share of the largest parameter", apart, 1e-4, _EQUAL)
    last = float(real.rounds["accuracy"].iloc[-1])
    yield Row.near("final accuracy, deployed", last, "", simulated.accuracy, 0.002, _EQUAL)
    same = real.rounds[["n_selected", "n_replied"]].equals(simulated.rounds[["n_selected", "n_replied"]])
    yield Row.at_least("rounds with the same numbers of instructions and replies, 1: all", float(same), 1.0, _EQUAL)
