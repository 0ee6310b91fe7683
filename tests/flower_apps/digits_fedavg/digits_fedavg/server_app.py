"""The server's side."""

from __future__ import annotations

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from digits_fedavg.task import new_model

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    config = context.run_config
    strategy = FedAvg(fraction_train=1.0, fraction_evaluate=0.0, min_available_nodes=int(config.get("min-nodes", 4)))
    result = strategy.start(
        grid,
        initial_arrays=ArrayRecord(new_model().state_dict()),
        num_rounds=int(config.get("num-rounds", 3)),
        timeout=float(config.get("timeout", 3600.0)),
        train_config=ConfigRecord({"lr": float(config.get("train.lr", 0.1))}),
    )
    if "save-as" in config:
        np.savez(str(config["save-as"]), **{name: array.numpy() for name, array in result.arrays.items()})
