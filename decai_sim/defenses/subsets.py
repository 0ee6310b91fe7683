"""All subsets of ``n - f`` rows, for the rules that try each of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

MOST_SUBSETS = 200_000
"""``C(20, 10)`` is 184,756; beyond, one round takes minutes."""


def check_subsets(kind: str, n: int, f: int) -> None:
    """Refuse more subsets than can be tried.

    Raises:
        ValueError: there are more than :data:`MOST_SUBSETS`.
    """
    subsets = math.comb(n, f)
    if subsets > MOST_SUBSETS:
        raise ValueError(
            f"{kind}.f: {f} is not allowed with {n} rows: it would try {subsets:,} subsets, at most {MOST_SUBSETS:,} are "
            "allowed (20 rows whatever f is); krum, nnm >> mean and dnc have no such limit"
        )


def subsets(n: int, f: int, at_once: int, device: torch.device) -> Iterator[torch.Tensor]:
    """All subsets of ``n - f`` of ``n`` rows in lexicographic order, ``(at most at_once, n - f)`` at a time."""
    import torch

    every = itertools.combinations(range(n), n - f)
    while chunk := list(itertools.islice(every, at_once)):
        yield torch.tensor(chunk, device=device)
