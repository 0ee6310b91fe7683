"""Flower on the simulated internet: the only package that imports flwr."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    from flwr.clientapp import ClientApp
    from flwr.serverapp import ServerApp

    from decai_sim.flower.apps import TaskClientApp, initial_model
    from decai_sim.flower.engine_model import EngineModel
    from decai_sim.flower.grid import SimGrid
    from decai_sim.flower.strategies import CappedFedAvg, FedAsync, FedBuff, RuleStrategy, Scaffold
    from decai_sim.runs import Run
    from decai_sim.scenario import Scenario

__all__ = [
    "CappedFedAvg",
    "EngineModel",
    "FedAsync",
    "FedBuff",
    "RuleStrategy",
    "Scaffold",
    "SimGrid",
    "TaskClientApp",
    "initial_model",
    "run",
    "run_peers",
]

_HOME = {
    "CappedFedAvg": "strategies",
    "EngineModel": "engine_model",
    "FedAsync": "strategies",
    "FedBuff": "strategies",
    "RuleStrategy": "strategies",
    "Scaffold": "strategies",
    "SimGrid": "grid",
    "TaskClientApp": "apps",
    "initial_model": "apps",
}


@overload
def run(
    server_app: ServerApp,
    client_app: ClientApp,
    scenario: Scenario | None = None,
    *,
    run_config: Mapping[str, Any] | None = None,
    work_flops: float | None = None,
) -> Run: ...


@overload
def run(
    server_app: str | os.PathLike[str],
    scenario: Scenario | None = None,
    /,
    *,
    run_config: Mapping[str, Any] | None = None,
    work_flops: float | None = None,
) -> Run: ...


def run(
    server_app: Any,
    client_app: Any = None,
    scenario: Scenario | None = None,
    *,
    run_config: Mapping[str, Any] | None = None,
    work_flops: float | None = None,
) -> Run:
    """Run somebody's Flower apps, unmodified, on a scenario's simulated internet.

    Args:
        server_app: a message-API ``ServerApp``, or the folder of a Flower app.
        client_app: its ``ClientApp``; left out with a folder: ``run("app_dir", scenario)``.
        scenario: the world and the attack; its ``protocol`` and ``defense`` are ignored, and so is its ``task`` unless the
            ``ClientApp`` is a :class:`TaskClientApp`.
        run_config: what the apps' contexts carry; overrides the folder's own.
        work_flops: FLOPs of every instruction; None: counted with ``torch.utils.flop_counter``.

    Returns:
        A :class:`~decai_sim.Run`; ``rounds.accuracy`` is not a number, since nobody says how to measure it.

    Raises:
        ScenarioError: the apps or the attack cannot be run this way.
        StalledError: the ``ServerApp`` waits for what cannot come; ``error.run`` is what there is of the run.

    Example:
        >>> import decai_sim as ds
        >>> from flwr.app import ConfigRecord
        >>> from flwr.serverapp import ServerApp
        >>> scenario = ds.Scenario(nodes=4, task="digits", network="internet")
        >>> server = ServerApp()
        >>> @server.main()
        ... def main(grid, context):
        ...     strategy = ds.flower.CappedFedAvg(n_train=4)
        ...     _ = strategy.start(grid, ds.flower.initial_model(scenario.task, scenario.seed, 4), num_rounds=2)
        >>> client = ds.flower.TaskClientApp(scenario.task, scenario.seed)
        >>> ds.flower.run(server, client, scenario).rounds.n_replied.tolist()
        [4, 4]
    """
    # The front door lies in this package for its users; the work is done further up, where Run is known.
    from decai_sim.runs import run_apps

    if isinstance(server_app, str | os.PathLike) and scenario is None:
        client_app, scenario = None, client_app
    return run_apps(server_app, client_app, scenario, run_config=run_config, work_flops=work_flops)


def run_peers(
    client_app: ClientApp, scenario: Scenario, *, run_config: Mapping[str, Any] | None = None, work_flops: float | None = None
) -> Run:
    """Run somebody's ``ClientApp``, unmodified, at nodes that learn from each other without a server.

    Args:
        client_app: a message-API ``ClientApp``, as it would be used in a federation: it gets a model under ``arrays`` and how to
            train under ``config``, and replies with a model of the same shapes.
        scenario: its ``protocol`` is one without a server; ``task`` says what models look like, and how they are measured.
        run_config: what the app's context carries.
        work_flops: FLOPs of every training; None: counted with ``torch.utils.flop_counter``.

    Returns:
        A :class:`~decai_sim.Run`.

    Raises:
        ScenarioError: the app cannot be run this way, fails, or replies with another model.

    Example:
        >>> import decai_sim as ds
        >>> scenario = ds.Scenario(nodes=4, task="digits", topology="ring", protocol={"kind": "dpsgd", "rounds": 2})
        >>> ds.flower.run_peers(ds.flower.TaskClientApp(scenario.task, scenario.seed), scenario).rounds.n_replied.tolist()
        [4, 4]
    """
    from decai_sim import runs

    return runs.run_peers(client_app, scenario, run_config=run_config, work_flops=work_flops)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        from importlib import import_module

        return getattr(import_module(f"decai_sim.flower.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
