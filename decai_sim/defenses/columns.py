"""What rules do coordinate by coordinate: each column sorted, a chunk of columns at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def by_columns(rows: torch.Tensor, reduce: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """``reduce`` of every column of ``rows (n, d)``, sorted.

    Args:
        rows: finite.
        reduce: from ``(width, n)`` values, ascending along each row, to ``(width,)``; in at least float32.

    Returns:
        ``(d,)`` in the dtype of ``rows``.

    Example:
        >>> import torch
        >>> by_columns(torch.tensor([[3.0, 1.0], [2.0, 5.0]]), lambda ordered: ordered[:, 0]).tolist()
        [2.0, 1.0]
    """
    import torch

    n, d = rows.shape
    out = torch.empty(d, dtype=torch.promote_types(rows.dtype, torch.float32), device=rows.device)
    # In chunks, so that the copy stays small.
    width = max(1, 2**18 // n)
    for start in range(0, d, width):
        columns = rows[:, start : start + width].T.to(out.dtype, copy=True, memory_format=torch.contiguous_format)
        if columns.device.type == "cpu":
            # NumPy's vectorised sort of contiguous columns takes 34 ms at n=100, d=50890 on two cores; torch.topk 92,
            # np.partition 121 to 135, torch.sort 158 (transposed) to 172.
            columns.numpy().sort(axis=1)
        else:
            columns = columns.sort(dim=1).values
        out[start : start + width] = reduce(columns)
    return out.to(rows.dtype)


def trimmed(ordered: torch.Tensor, f: int) -> torch.Tensor:
    """The mean of each row of ``ordered (width, n)``, ascending, without its ``f`` first and ``f`` last, ``2f < n``."""
    middle = ordered[:, f : ordered.shape[1] - f]
    # Rounding, or overflow of the sum, could carry the mean outside the values it is the mean of.
    return middle.mean(dim=1).clamp(middle[:, 0], middle[:, -1])


def near_median(ordered: torch.Tensor, count: int) -> torch.Tensor:
    """The mean of the ``count`` values nearest to the median of each row of ``ordered (width, n)``, ascending.

    Of two equally near, the lower.
    """
    import torch

    n = ordered.shape[1]
    middle = trimmed(ordered, (n - 1) // 2)
    spare = n - count
    # The nearest lie side by side. The window of them begins after as many low values as are further away than what comes in
    # at the other end when they are left out.
    below, above = middle[:, None] - ordered[:, :spare], ordered[:, count:] - middle[:, None]
    first = (below > above).sum(dim=1, keepdim=True)
    places = torch.arange(n, device=ordered.device)
    window = (places >= first) & (places < first + count)
    mean = ordered.where(window, 0).sum(dim=1) / count
    ends = ordered.gather(1, first), ordered.gather(1, first + count - 1)
    return mean.clamp(ends[0][:, 0], ends[1][:, 0])


def sorting_work(n: int, d: int) -> float:
    """Comparisons and additions of sorting and averaging ``d`` columns of ``n``."""
    return n * d * (math.log2(n + 1) + 1)
