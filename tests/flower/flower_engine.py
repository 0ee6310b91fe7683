"""Runs an app under Flower's own simulation engine, in a process of its own: ``python flower_engine.py APP OUT.npz NODES``.

``APP`` is the folder of a Flower app that saves its model where ``save-as`` says, or ``ours`` for our ``TaskClientApp``.
"""

from __future__ import annotations

import sys
import time
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
_PATIENCE_S = 120.0


def await_nodes(grid: Grid, n: int) -> None:
    """Wait until the engine has registered all nodes.

    FedAvg takes its fraction of the nodes that are there when it asks first, and only then waits for as many as have to be: where
    the server begins before the nodes are registered, its first round is with ``min_train_nodes`` of them, chosen by chance.
    """
    ends = time.monotonic() + _PATIENCE_S
    while len(list(grid.get_node_ids())) < n:
        if time.monotonic() > ends:
            raise RuntimeError(f"{LOST}: not all of {n} nodes were registered after {_PATIENCE_S:.0f} s")
        time.sleep(0.1)


def complete(server_app: ServerApp, n: int, config: dict[str, object] | None = None) -> ServerApp:
    """The same app, which begins when all ``n`` nodes are there, and fails when one is not asked or a reply is missing.

    A run configuration is handed on, which ``run_simulation`` cannot do. Who replied is written to standard error.
    """
    wrapped = ServerApp()

    @wrapped.main()
    def main(grid: Grid, context: Context) -> None:
        send = grid.send_and_receive
        await_nodes(grid, n)

        def counted(messages: Iterable[Message], **options: Any) -> Iterable[Message]:
            asked = list(messages)
            replies = list(send(asked, **options))
            failed = [str(reply.error) for reply in replies if reply.has_error()]
            came = sorted(
                (reply.metadata.src_node_id, next(iter(reply.content.metric_records.values()))["num-examples"])
                for reply in replies
                if reply.has_content()
            )
            print(f"asked {len(asked)}; node and num-examples of replies: {came}", file=sys.stderr, flush=True)
            if failed or len({node for node, _ in came}) != n or len(replies) != n:
                raise RuntimeError(f"{LOST}: of {n} nodes {len(asked)} were asked, {len(came)} replied; errors: {failed}")
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
            complete(our_server(found, int(nodes)), int(nodes)),
            ds.flower.TaskClientApp(ds.Scenario(task=TASK).task, SEED),
        )
    else:
        server_app, client_app, config = compat.load_folder(app)
        server_app = complete(server_app, int(nodes), config | {"save-as": out})
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
