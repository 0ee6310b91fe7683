"""A ``ClientApp`` that brings models along instead of training any: what becomes of them is the protocol's doing alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from decai_sim.errors import ScenarioError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def given_models(rows: ArrayLike) -> ClientApp:
    """Make a ``ClientApp`` that replies to a node's first instruction with its row, and then with the model it gets.

    Args:
        rows: ``(n, d)``: the nodes' first models, parameters in their order, one after the other.

    Raises:
        ScenarioError: from the app, when models have another number of parameters.

    Example:
        >>> import decai_sim as ds
        >>> from decai_sim.flower.given_models import given_models
        >>> scenario = ds.Scenario(
        ...     nodes=3, topology="complete", task={"kind": "digits", "model": "softmax"}, protocol={"kind": "dpsgd", "rounds": 1}
        ... )
        >>> run = ds.flower.run_peers(given_models(np.diag([3.0, 6.0, 9.0]) @ np.ones((3, 650))), scenario, work_flops=1e6)
        >>> run.model[:2].tolist()
        [6.0, 6.0]
    """
    app, first = ClientApp(), np.asarray(rows, dtype=np.float32)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        model: Any = message.content["arrays"]
        config: Any = message.content["config"]
        if config["server-round"] == 1:
            shapes = {name: array.shape for name, array in model.items()}
            sizes = [math.prod(shape) for shape in shapes.values()]
            if sum(sizes) != first.shape[1]:
                raise ScenarioError(f"rows: {first.shape[1]} parameters are not allowed: the model has {sum(sizes)}")
            own = np.split(first[int(context.node_config["partition-id"])], np.cumsum(sizes)[:-1])
            parts = zip(shapes.items(), own, strict=True)
            model = ArrayRecord({name: Array(part.reshape(shape)) for (name, shape), part in parts})
        return Message(RecordDict({"arrays": model}), reply_to=message)

    return app
