"""How well models without a server do: the mean of all, each, and how far they are apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from decai_sim.learning import evaluation

if TYPE_CHECKING:
    from decai_sim.learning.trainer import Trainer
    from decai_sim.learning.values import Value
    from decai_sim.protocols.base import Lab
    from decai_sim.protocols.peers import Peers

_ROWS = 64


class Measures:
    """Looks at the models of all nodes.

    Args:
        lab: where results are left.
        trainer: knows the models.
        tests: on how many samples of the central test set each node's model is tried.
    """

    def __init__(self, lab: Lab, trainer: Trainer, tests: int) -> None:
        self._lab, self._trainer = lab, trainer
        of_all = lab.problem.n_tests
        drawn = lab.streams.of("node_tests").permutation(of_all)[: min(tests, of_all)]
        self._tests = np.sort(drawn)

    def take(self, number: int, t_s: float, models: Sequence[Value], peers: Peers) -> tuple[float, float]:
        """Note how each node's model does after a round; returns accuracy and loss of the mean of all models."""
        lab, store = self._lab, self._trainer.store
        import torch

        self._trainer.complete(list({id(model): model for model in models}.values()))
        rows = [model.result for model in models if model.result is not None]
        assert len(rows) == len(models)
        lab.model = store.weighted_sum(rows, torch.full((len(rows),), 1 / len(rows)))
        frame: dict[str, Any] = {
            "round": number,
            "t_s": t_s,
            "node": np.arange(len(rows)),
            "accuracy": np.nan,
            "distance": np.empty(len(rows)),
            "updates": np.array(peers.updates),
            "waited_s": peers.waited_s.copy(),
        }
        accuracy = np.full(len(rows), np.nan)
        for at in range(0, len(rows), _ROWS):
            some = store.gather(rows[at : at + _ROWS])
            frame["distance"][at : at + _ROWS] = torch.linalg.vector_norm(some - lab.model, dim=1).cpu().numpy()
            if len(self._tests):
                accuracy[at : at + _ROWS] = evaluation.on_tests(lab.problem, some, self._tests)
        frame["accuracy"] = accuracy
        lab.models.append(frame)
        return lab.problem.evaluate(lab.model)
