"""decai_sim: a laboratory for decentralized AI.

Describe an experiment as a :class:`Scenario`, :func:`run` it, look at the :class:`Run`. Names are loaded when first used, so that
``import decai_sim`` costs next to nothing.

Example:
    >>> import decai_sim as ds
    >>> ds.Scenario(nodes=1000, attack=ds.attacks.SignFlip(scale=4)).nodes
    1000
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from decai_sim import attacks, defenses, executors, flower, learning, protocols, testing, viz, world
    from decai_sim.comparison import Comparison
    from decai_sim.component import Component, kinds
    from decai_sim.errors import DecaiError, RunStoppedError, ScenarioError, StalledError
    from decai_sim.robustness_table import Robustness, robustness
    from decai_sim.run_view import RunView
    from decai_sim.runs import Run, run
    from decai_sim.scenario import Scenario
    from decai_sim.seeding import Streams
    from decai_sim.sweeps import compare, sweep

    topologies = world.topologies
    network = churn = devices = faults = adversaries = dissemination = membership = world
    tasks = partitions = models = optimisers = learning

__all__ = [
    "Comparison",
    "Component",
    "DecaiError",
    "Robustness",
    "Run",
    "RunStoppedError",
    "RunView",
    "Scenario",
    "ScenarioError",
    "StalledError",
    "Streams",
    "adversaries",
    "attacks",
    "churn",
    "compare",
    "defenses",
    "devices",
    "dissemination",
    "executors",
    "faults",
    "flower",
    "kinds",
    "membership",
    "models",
    "network",
    "optimisers",
    "partitions",
    "protocols",
    "robustness",
    "run",
    "sweep",
    "tasks",
    "testing",
    "topologies",
    "viz",
]

_ATTRIBUTES = {
    "Comparison": "comparison",
    "Component": "component",
    "DecaiError": "errors",
    "Robustness": "robustness_table",
    "Run": "runs",
    "RunStoppedError": "errors",
    "RunView": "run_view",
    "Scenario": "scenario",
    "ScenarioError": "errors",
    "StalledError": "errors",
    "Streams": "seeding",
    "compare": "sweeps",
    "kinds": "component",
    "robustness": "robustness_table",
    "run": "runs",
    "sweep": "sweeps",
}
_MODULES = {
    "adversaries": "world.adversaries",
    "attacks": "attacks",
    "churn": "world.churn",
    "defenses": "defenses",
    "devices": "world.devices",
    "dissemination": "world.dissemination",
    "executors": "executors",
    "faults": "world.faults",
    "flower": "flower",
    "membership": "world.membership",
    "models": "learning.models",
    "network": "world.network",
    "optimisers": "learning.optimisers",
    "partitions": "learning.partitions",
    "protocols": "protocols",
    "tasks": "learning.tasks",
    "testing": "testing",
    "topologies": "world.topologies",
    "viz": "viz",
}


def __getattr__(name: str) -> Any:
    if name == "kinds":
        import_module("decai_sim.scenario")  # knows, and so registers, all families
    if name in _ATTRIBUTES:
        value = getattr(import_module(f"decai_sim.{_ATTRIBUTES[name]}"), name)
    elif name in _MODULES:
        value = import_module(f"decai_sim.{_MODULES[name]}")
    else:
        raise AttributeError(f"module 'decai_sim' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
