"""What claims about agreement start from: models that have nothing in common, which training leaves as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from decai_sim.runs import Run
    from decai_sim.scenario import Scenario

PARAMETERS = 650
"""Of softmax regression on ``digits``: 64 × 10 weights and 10 biases."""


def first_models(n: int, seed: int = 0) -> np.ndarray:
    """``(n, 650)`` normal numbers: what nodes hold after their first training.

    Example:
        >>> first_models(3).shape
        (3, 650)
    """
    import numpy as np

    return np.random.default_rng(seed).standard_normal((n, PARAMETERS), dtype=np.float32)


def averaged(scenario: Scenario, seed: int = 0) -> Run:
    """Run a scenario without a server from :func:`first_models`: nothing is learned, models agree or do not.

    Args:
        scenario: softmax regression on ``digits``, without a server.
        seed: of the models.
    """
    from decai_sim import flower
    from decai_sim.flower.given_models import given_models

    return flower.run_peers(given_models(first_models(scenario.nodes, seed)), scenario, work_flops=1e6)


def apart(run: Run) -> np.ndarray:
    """Root of the sum of squares of distances from the mean of the models of all that are there, after each round.

    Where nobody leaves it is that of all; otherwise it is scaled to as many nodes, so that fewer do not count as nearer.
    """
    import numpy as np

    here = run.models[run.models["online"]]
    squares = here.assign(square=here["distance"] ** 2).groupby("round")["square"]
    left: np.ndarray = np.sqrt(squares.mean().to_numpy() * run.scenario.nodes)
    return left
