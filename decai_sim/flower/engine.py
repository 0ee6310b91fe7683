"""Flower's own simulation engine, timed in a process of its own: what ours is held against.

``python -m decai_sim.flower.engine WORK NODES ASKED`` prints the seconds of one round; ``WORK`` is ``mlp`` or ``noop``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from decai_sim.errors import DecaiError
from decai_sim.flower import apps

WORK = ("mlp", "noop")
_MARK = "seconds of a round: "


def unmodified_fedavg(nodes: int, asked: int | None = None) -> FedAvg:
    """Flower's own ``FedAvg``, with so many of the nodes in each round; None: everybody.

    It takes its fraction of those that are there before it waits for the others, so that their number is said too.
    """
    asked = nodes if asked is None else asked
    return FedAvg(fraction_train=asked / nodes, fraction_evaluate=0.0, min_available_nodes=nodes, min_train_nodes=asked)


def noop() -> ClientApp:
    """Somebody's ``ClientApp`` that replies with what it got."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        content = RecordDict({"arrays": message.content["arrays"], "metrics": MetricRecord({"num-examples": 1})})
        return Message(content, reply_to=message)

    return app


def some_model(parameters: int = 62_000) -> ArrayRecord:
    """A model of so many parameters, in four arrays."""
    return ArrayRecord({f"layer{i}": Array(np.zeros(parameters // 4, np.float32)) for i in range(4)})


def round_s(work: str, nodes: int, asked: int) -> float:
    """Seconds of wall time that Flower's engine takes for one round, after another has warmed it up.

    Args:
        work: ``mlp``: each node trains an MLP 784-64-10 on its share of Fashion-MNIST for an epoch; ``noop``: nothing at all.
        nodes: how many there are.
        asked: how many of them take part in the round.

    Raises:
        DecaiError: the engine failed.
    """
    environment = os.environ | {
        "FLWR_TELEMETRY_ENABLED": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }
    command = [sys.executable, "-m", "decai_sim.flower.engine", work, str(nodes), str(asked)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        if line.startswith(_MARK):
            return float(json.loads(line.removeprefix(_MARK)))
    raise DecaiError(f"Flower's engine failed with exit code {done.returncode}: {done.stderr.strip()[-300:]}")


def _main(work: str, nodes: int, asked: int) -> None:
    from flwr.simulation import run_simulation

    from decai_sim.learning import IID, MLP, FashionMNIST

    task = FashionMNIST(partition=IID(), model=MLP(hidden=(64,)))
    client_app: ClientApp = apps.TaskClientApp(task, 1) if work == "mlp" else noop()
    server_app = ServerApp()
    took: list[float] = []

    @server_app.main()
    def main(grid: Grid, context: Context) -> None:
        initial = apps.initial_model(task, 1, nodes) if work == "mlp" else some_model()
        for n_train in (min(20, asked), asked):
            began = time.perf_counter()
            options: dict[str, Any] = {"num_rounds": 1, "train_config": ConfigRecord({"batch-size": 10})}
            unmodified_fedavg(nodes, n_train).start(grid, initial, **options)
            took.append(time.perf_counter() - began)

    backend: Any = {
        "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        "init_args": {"include_dashboard": False, "log_to_driver": False},
    }
    run_simulation(server_app, client_app, nodes, backend_config=backend)
    print(f"{_MARK}{took[-1]}", flush=True)


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
