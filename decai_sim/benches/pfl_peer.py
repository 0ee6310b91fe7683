"""PyPI ``pfl``, the fastest simulator published (Granqvist et al., arXiv:2404.06430), at the same work."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from decai_sim.learning.problem import Problem


def installed() -> bool:
    """Whether there is a ``pfl`` to measure."""
    return importlib.util.find_spec("pfl") is not None


def nodes_per_s(problem: Problem, cohort: int) -> float:
    """Nodes trained per second of wall time, in rounds of federated averaging with ``cohort`` nodes each, after a first one.

    The same model, samples, batches of ten and one epoch; data lie in memory as standardised tensors.
    """
    import torch
    from pfl.aggregate.simulate import SimulatedBackend
    from pfl.algorithm.base import NNAlgorithmParams
    from pfl.algorithm.federated_averaging import FederatedAveraging
    from pfl.data.federated_dataset import FederatedDataset
    from pfl.data.pytorch import PyTorchTensorDataset
    from pfl.data.sampling import get_user_sampler
    from pfl.hyperparam.base import NNEvalHyperParams, NNTrainHyperParams
    from pfl.model.pytorch import PyTorchModel

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = copy.deepcopy(problem.module)

        def loss(self, x: Any, y: Any, eval: bool = False) -> Any:
            self.eval() if eval else self.train()
            return torch.nn.functional.cross_entropy(self.net(x), y)

        def metrics(self, x: Any, y: Any, eval: bool = True) -> dict[str, Any]:
            return {}

    def dataset(node: int) -> Any:
        index = torch.as_tensor(problem.samples[node])
        return PyTorchTensorDataset([problem.inputs(index), problem.labels(index)])

    net = Net()
    options = {"local_optimizer_create": torch.optim.SGD, "central_optimizer": torch.optim.SGD(net.parameters(), 1.0)}
    model = PyTorchModel(model=net, **options)
    data = FederatedDataset(dataset, get_user_sampler("random", list(range(problem.n))))
    backend = SimulatedBackend(training_data=data, val_data=data)
    train = NNTrainHyperParams(local_num_epochs=1, local_learning_rate=0.1, local_batch_size=10)

    def rounds(count: int) -> float:
        params = NNAlgorithmParams(
            central_num_iterations=count, evaluation_frequency=10**9, train_cohort_size=cohort, val_cohort_size=0
        )
        began = time.perf_counter()
        FederatedAveraging().run(
            algorithm_params=params,
            backend=backend,
            model=model,
            model_train_params=train,
            model_eval_params=NNEvalHyperParams(local_batch_size=None),
            callbacks=[],
        )
        return time.perf_counter() - began

    with contextlib.redirect_stdout(io.StringIO()):  # where it prints its metrics
        rounds(1)
        return 4 * cohort / rounds(4)
