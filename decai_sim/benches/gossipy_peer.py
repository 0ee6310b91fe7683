"""PyPI ``gossipy-dfl`` (M. Polato, 2022), a simulator of gossip learning, at the same work."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import random
import sys
import time
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from decai_sim.learning.problem import Problem


def installed() -> bool:
    """Whether there is a ``gossipy`` to measure."""
    return importlib.util.find_spec("gossipy") is not None


def updates_per_s(problem: Problem, nodes: int, degree: int, rounds: int = 3) -> float:
    """Trainings per second of wall time, of ``nodes`` nodes that send to one of ``degree`` neighbours a round, merge and train.

    The same model, samples, batches of ten and one epoch; nothing is evaluated.
    """
    import networkx as nx
    import numpy as np
    import torch

    with contextlib.redirect_stdout(io.StringIO()), _as_it_was():
        # It wants torchvision for data sets that are not used here; which one there is may not suit the torch there is.
        sys.modules.setdefault("torchvision", types.ModuleType("torchvision"))
        from gossipy.core import AntiEntropyProtocol, ConstantDelay, CreateModelMode, StaticP2PNetwork
        from gossipy.model import TorchModel
        from gossipy.model.handler import TorchModelHandler
        from gossipy.node import GossipNode
        from gossipy.simul import GossipSimulator

        logging.getLogger("rich").setLevel(logging.ERROR)

        class Net(TorchModel):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.model = torch.nn.Sequential(torch.nn.Flatten(), *problem.task.model.module((28, 28), 10, torch.Generator()))

            def init_weights(self) -> None:
                pass

            def forward(self, x: Any) -> Any:
                return self.model(x)

        handler = TorchModelHandler(
            net=Net(),
            optimizer=torch.optim.SGD,
            optimizer_params={"lr": 0.1},
            criterion=torch.nn.CrossEntropyLoss(),
            local_epochs=1,
            batch_size=10,
            create_model_mode=CreateModelMode.MERGE_UPDATE,
        )
        adjacency = nx.to_numpy_array(nx.random_regular_graph(degree, nodes, seed=1))
        network = StaticP2PNetwork(nodes, topology=adjacency)
        made = {}
        for node in range(nodes):
            index = torch.as_tensor(problem.samples[node])
            data = (problem.inputs(index), problem.labels(index)), None
            made[node] = GossipNode(idx=node, data=data, round_len=10, model_handler=handler.copy(), p2p_net=network)

        class Nothing:
            def has_test(self) -> bool:
                return False

        simulator = GossipSimulator(
            nodes=made, data_dispatcher=Nothing(), delta=10, protocol=AntiEntropyProtocol.PUSH, delay=ConstantDelay(1)
        )
        simulator.init_nodes()
        updates = [0]
        train = TorchModelHandler._update

        def counted(self: Any, data: Any) -> None:
            updates[0] += 1
            train(self, data)

        TorchModelHandler._update = counted
        try:
            np.random.seed(1)
            began = time.perf_counter()
            simulator.start(n_rounds=rounds)
            return updates[0] / (time.perf_counter() - began)
        finally:
            TorchModelHandler._update = train


@contextlib.contextmanager
def _as_it_was() -> Any:
    """It draws from the process's global generators: they are given back. A stand-in for torchvision is taken away again."""
    import numpy as np
    import torch

    vision = "torchvision" in sys.modules
    kept = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        if not vision:
            sys.modules.pop("torchvision", None)
        random.setstate(kept[0])
        np.random.set_state(kept[1])
        torch.set_rng_state(kept[2])
