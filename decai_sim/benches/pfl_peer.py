"""PyPI ``pfl``, the fastest simulator published (Granqvist et al., arXiv:2404.06430), at the same work."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decai_sim.learning.problem import Problem


def installed() -> bool:
    """Whether there is a ``pfl`` to measure."""
    return importlib.util.find_spec("pfl") is not None


def round_s(problem: Problem, cohort: int) -> float:
    """Seconds of one round of federated averaging with ``cohort`` nodes, after another that warms it up."""
    raise NotImplementedError
