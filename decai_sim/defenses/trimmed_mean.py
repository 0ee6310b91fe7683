"""The coordinate-wise trimmed mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from decai_sim.defenses.base import Aggregation, Context, Rule

if TYPE_CHECKING:
    import torch


class TrimmedMean(Rule):
    """In each coordinate of the updates, the mean without the ``f`` lowest and the ``f`` highest values.

    Source: Yin et al., ICML 2018, Definition 2 (coordinate-wise trimmed mean).
    Assumes: at most ``f`` Byzantine rows, ``2f < n``; honest values of a coordinate are alike (i.i.d. data).
    Deviations: trims by count ``f`` rather than by a share ``β``, as byzfl and Allouah et al. (AISTATS 2023) do.

    Example:
        >>> import torch
        >>> TrimmedMean(f=1)(torch.tensor([[1.0, 2, 3], [-1, 4, -1], [2, 2, 3], [3, 1, 3]])).tolist()
        [1.5, 2.0, 3.0]
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({"f": 1}, {"f": 0}, {})

    def aggregate(self, rows: torch.Tensor, context: Context | None) -> Aggregation:
        import torch

        f = self.minority_f(len(rows), context)
        kept = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
        return Aggregation(trimmed_columns(rows, f), None, kept)


def trimmed_columns(rows: torch.Tensor, f: int) -> torch.Tensor:
    """The mean ``(d,)`` of each column of ``rows (n, d)`` without its ``f`` lowest and ``f`` highest values, ``2f < n``."""
    import numpy as np
    import torch

    n, d = rows.shape
    exact = rows.float() if rows.element_size() < 4 else rows
    if rows.device.type != "cpu":
        middle = exact.sort(dim=0).values[f : n - f]
        return middle.mean(dim=0).clamp(middle[0], middle[-1]).to(rows.dtype)
    # NumPy's vectorised sort of contiguous columns takes 34 ms at n=100, d=50890 on two cores; torch.topk 92, np.partition 121 to
    # 135, torch.sort 158 (transposed) to 172. In chunks, so that the copy stays small.
    array = exact.numpy()
    out = np.empty(d, array.dtype)
    width = max(1, 2**18 // n)
    for start in range(0, d, width):
        columns = np.ascontiguousarray(array[:, start : start + width].T)
        columns.sort(axis=1)
        middle_ = columns[:, f : n - f]
        with np.errstate(over="ignore"):
            mean = middle_.mean(axis=1)
        # Rounding, or overflow of the sum, could carry the mean outside the values it is the mean of.
        out[start : start + width] = mean.clip(middle_[:, 0], middle_[:, -1])
    return torch.from_numpy(out).to(rows.dtype)
