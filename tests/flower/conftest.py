"""What the tests of the Flower layer share."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

import decai_sim as ds


@pytest.fixture
def digits_app() -> Path:
    """The folder of a Flower app that knows nothing of us."""
    return Path(__file__).parents[1] / "flower_apps" / "digits_fedavg"


@pytest.fixture
def serve() -> Callable[..., Any]:
    """Runs a function of the grid as a ``ServerApp``; returns the run and what the function returned."""

    def run(work: Callable[[Grid], Any], client_app: ClientApp, scenario: ds.Scenario, **options: Any) -> Any:
        server_app, returned = ServerApp(), []

        @server_app.main()
        def main(grid: Grid, context: Context) -> None:
            returned.append(work(grid))

        result = ds.flower.run(server_app, client_app, scenario, **options)
        return result, returned[0] if returned else None

    return run


@pytest.fixture
def adder() -> ClientApp:
    """Replies with the model plus its partition number plus one; does no torch operations, so its work must be stated."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        step = float(context.node_config["partition-id"]) + 1
        model = {name: array.numpy() + np.float32(step) for name, array in message.content["arrays"].items()}
        arrays = ArrayRecord({name: _array(value) for name, value in model.items()})
        return Message(RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": 1})}), reply_to=message)

    return app


def _array(values: np.ndarray) -> Any:
    from flwr.app import Array

    return Array(values)


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """No test leaves a thread of an app behind, nor a trace in the global generators."""
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name == "ServerApp"] == []
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    assert after == before
