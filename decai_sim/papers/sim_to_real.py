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
    from decai_sim.flower.calibration import Speed
    from decai_sim.flower.deploy import Site
    from decai_sim.runs import Run
    from decai_sim.scenario import Scenario

_TIMES = "the engine's own times, measured on this machine; within 10 % is ours"
_EQUAL = "the same apps, seeds, batches and arithmetic; replies may be added in another order"
_UP_BPS, _DOWN_BPS = 2e6, 4e6
_COMPUTE_S = 64.0
"""How long nodes are to compute in a round: at least a minute."""
_NODES = 2
_THREADS = 1


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
    another, that computes for a minute a round: nothing that is measured of its rounds goes into the prediction. How fast clients
    compute is measured before it and once more after it, as it does not stay the same; the prediction takes the mean. There
    are two nodes with a thread each, and want two processors to themselves. Machines have other things to do: for how long
    clients' processes wait while others have the processors is left out of what is measured, where the system tells. It takes
    half an hour.
    """
    if profile == "smoke":
        from decai_sim.deployment import deploy

        scenario = _scenario(rounds=2, task="digits")
        real = deploy(scenario, threads=_THREADS)
        yield Row("seconds a round, loopback, measured", float(real.round_s()[-1]), "s")
        yield from models_rows(real, _simulated(scenario))
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
    from decai_sim.deployment import deploy
    from decai_sim.flower import calibration
    from decai_sim.learning.problem import Problem
    from decai_sim.seeding import Streams

    task = {"kind": "fashion_mnist", "partition": "iid", "model": {"kind": "mlp", "hidden": [256]}}
    scenario = _scenario(rounds=5, task=task)
    batch_size = scenario.protocol.batch_size

    def speed() -> Speed:
        return calibration.speed(scenario.task, _NODES, batch_size, least_s=_COMPUTE_S, threads=_THREADS)

    idle = calibration.idle(_NODES, 5, logs=logs / "noop", site=site, threads=_THREADS)
    wires, before = calibration.wires(_NODES, site), speed()
    # Rates of more than a billion bits per second are the memory's, and change nothing here.
    network = {
        "kind": "internet",
        "upload_bps": min(wires.up_bps, 1e9),
        "download_bps": min(wires.down_bps, 1e9),
        "latency": {"kind": "constant", "delay_s": wires.delay_s},
        "jitter": 1e-6,
    }
    step_flops = 3 * Problem(scenario.task, _NODES, Streams(0)).forward_flops * batch_size
    steps = math.ceil(_COMPUTE_S * before.flops_per_s / step_flops)
    scenario = scenario.but(network=network, protocol__local_steps=steps)
    real = deploy(scenario, logs=logs / "run", site=site, threads=_THREADS)
    after = speed()
    # How fast a machine is drifts by a sixth within ten minutes: it is taken to have been halfway between before and after.
    step_s = step_flops * (1 / before.flops_per_s + 1 / after.flops_per_s) / 2
    predicted_s = _round_s(scenario, idle.start_s + (before.load_s + after.load_s) / 2, steps * step_s)

    yield Row("start of a client's process", idle.start_s, "s")
    for when, one in (("before", before), ("after", after)):
        yield Row(f"loading of its data, {when}", one.load_s, "s")
        yield Row(f"training in a client's process, {when}", one.flops_per_s / 1e9, "GFLOP/s")
    yield Row(f"upload of a node, {place}", wires.up_bps / 1e6, "Mbit/s")
    yield Row(f"download of a node, {place}", wires.down_bps / 1e6, "Mbit/s")
    yield Row("seconds a round of an app that does nothing, measured", median(idle.round_s), "s")
    yield Row(
        "seconds a round of an app that does nothing, predicted", _round_s(scenario.but(task="digits"), idle.start_s, 0), "s"
    )

    name = f"seconds a round, {place}"
    lengths_s, waited_s = real.round_s()[1:], real.waited_s()[1:]  # processes and connections are new in the first
    undisturbed_s = float(median(lengths_s - waited_s))
    yield Row("computing a round, as planned", steps * step_flops / before.flops_per_s, "s")
    for what, value in (("median", median(lengths_s)), ("shortest", min(lengths_s)), ("longest", max(lengths_s))):
        yield Row(f"{name}, {what}, measured", value, "s")
    yield Row(f"{name}, of which others had the processors, median", float(median(waited_s)), "s")
    yield Row(f"{name}, median without that, measured", undisturbed_s, "s")
    yield Row.within(f"{name}, predicted", predicted_s, "s", float(median(lengths_s)), 0.1, _TIMES)
    yield Row(f"{name}, predicted over measured", predicted_s / float(median(lengths_s)))
    yield Row(f"{name}, predicted over measured without that", predicted_s / undisturbed_s)
    yield from models_rows(real, _simulated(scenario))


def _round_s(scenario: Scenario, start_s: float, compute_s: float) -> float:
    """Median seconds a round, of many, on the model of the engine; one step is made to take as long as all."""
    from decai_sim.flower.engine_model import EngineModel
    from decai_sim.learning.problem import Problem
    from decai_sim.learning.training import work_flops
    from decai_sim.runs import run
    from decai_sim.seeding import Streams

    short = scenario.but(protocol__rounds=40, protocol__local_steps=1)
    flops = work_flops(Problem(short.task, short.nodes, Streams(short.seed)), 0, short.protocol.plan())
    engine = EngineModel(start_s=start_s, flops_per_s=flops / max(compute_s, 1e-6))
    rounds = run(short, progress=False, engine=engine, device="cpu").rounds
    return float(rounds["t_s"].diff().iloc[1:].median())


def _simulated(scenario: Scenario) -> Run:
    """As a client's process does it, step for step: after thousands of steps the last bits would have grown."""
    import torch

    from decai_sim.runs import run

    before = torch.get_num_threads()
    torch.set_num_threads(_THREADS)
    try:
        return run(scenario, progress=False, device="cpu", path="alone:1")
    finally:
        torch.set_num_threads(before)


def models_rows(real: Deployed, simulated: Run) -> Iterator[Row]:
    """How far apart the models of a deployment and of a simulation are."""
    import numpy as np

    assert real.model is not None
    assert simulated.model is not None
    apart = float(np.abs(real.model - simulated.model).max() / np.abs(simulated.model).max())
    yield Row.at_most("largest difference of the final models, share of the largest parameter", apart, 1e-5, _EQUAL)
    last = float(real.rounds["accuracy"].iloc[-1])
    yield Row.near("final accuracy, deployed", last, "", simulated.accuracy, 0.002, _EQUAL)
    same = real.rounds[["n_selected", "n_replied"]].equals(simulated.rounds[["n_selected", "n_replied"]])
    yield Row.at_least("rounds with the same numbers of instructions and replies, 1: all", float(same), 1.0, _EQUAL)
