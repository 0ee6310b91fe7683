"""Runs an app under Flower's own simulation engine, in a process of its own: ``python flower_engine.py APP OUT.npz NODES``.

``APP`` is the folder of a Flower app that saves its model where ``save-as`` says, or ``ours`` for our ``TaskClientApp``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import numpy as np
from flwr.app import Array, ConfigRecord, Context, Message
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

import decai_sim as ds
from decai_sim.flower import compat

TASK = {"kind": "digits", "partition": {"kind": "dirichlet", "alpha": 0.5}}
SEED = 3


def our_server(found: dict[str, np.ndarray], n: int) -> ServerApp:
    """FedAvg over our task; puts the final model into ``found``."""
    server_app = ServerApp()

    @server_app.main()
    def main(grid: Grid, context: Context) -> None:
        result = FedAvg(fraction_train=1.0, fraction_evaluate=0.0, min_available_nodes=n).start(
            grid,
            initial_arrays=ds.flower.initial_model(ds.Scenario(task=TASK).task, SEED, n),
            num_rounds=2,
            train_config=ConfigRecord({"lr": 0.1, "batch-size": 10, "local-epochs": 2}),
        )
        found.update({name: _values(array) for name, array in result.arrays.items()})

    return server_app


def _values(array: Array) -> np.ndarray:
    return array.numpy()


LOST = "the engine lost a reply"
"""On a busy machine a client of Flower's engine may fail; FedAvg then quietly averages the others, which is no reference."""


def complete(server_app: ServerApp, config: dict[str, object] | None = None) -> ServerApp:
    """The same app, which fails when a reply is missing; with a run configuration, which ``run_simulation`` cannot give it."""
    wrapped = ServerApp()

    @wrapped.main()
    def main(grid: Grid, context: Context) -> None:
        send = grid.send_and_receive

        def counted(messages: Iterable[Message], **options: Any) -> Iterable[Message]:
            asked = list(messages)
            replies = list(send(asked, **options))
            failed = [str(reply.error) for reply in replies if reply.has_error()]
            if failed or len(replies) < len(asked):
                raise RuntimeError(f"{LOST}: {len(replies)} of {len(asked)} came, errors: {failed}")
            return replies

        grid.send_and_receive = counted  # type: ignore[method-assign]
        if config is not None:
            context.run_config = config
        server_app(grid, context)

    return wrapped


def main(app: str, out: str, nodes: str) -> None:
    found: dict[str, np.ndarray] = {}
    if app == "ours":
        server_app, client_app = (
            complete(our_server(found, int(nodes))),
            ds.flower.TaskClientApp(ds.Scenario(task=TASK).task, SEED),
        )
    else:
        server_app, client_app, config = compat.load_folder(app)
        server_app = complete(server_app, config | {"save-as": out})
    run_simulation(
        server_app,
        client_app,
        int(nodes),
        backend_config={
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
            "init_args": {"num_cpus": 1, "include_dashboard": False, "log_to_driver": False},
        },
    )
    if found:
        np.savez(out, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
