"""Distances and products between rows, exact enough to choose by, and computed once in an aggregation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from decai_sim.defenses.base import Context

_KEY = "geometry"


@dataclass(frozen=True)
class Geometry:
    """Where rows lie to one another.

    Attributes:
        gram: ``(n, n)`` float64, products ``(x_i - c)·(x_j - c)`` about a point ``c`` near the bulk of the rows.
        centre: ``(d,)`` that point.
    """

    gram: torch.Tensor
    centre: torch.Tensor

    @cached_property
    def squared(self) -> torch.Tensor:
        """``(n, n)`` squared distances: symmetric, zero on the diagonal, never negative."""
        norms = self.gram.diagonal()
        return (norms[:, None] + norms[None, :] - 2 * self.gram).clamp_(min=0).fill_diagonal_(0)

    def mixed(self, matrix: torch.Tensor) -> Geometry:
        """Where ``matrix @ rows`` lie, ``(m, n)`` and rows summing to 1, without a look at the rows themselves.

        An average of rows less ``c`` is the average of the rows less ``c``. So the Gram matrix is ``W G Wᵀ``, and the squared
        distances are ``-½(w_i - w_j)ᵀ D (w_i - w_j)``. Through ``G`` instead of ``D``, as rows far away then spoil less.
        """
        weights = matrix.double()
        gram = weights @ self.gram @ weights.T
        return Geometry((gram + gram.T) / 2, self.centre)


class _Later:
    """A geometry, made when first asked for; afterwards nothing holds what it was made of."""

    def __init__(self, make: Callable[[], Geometry]) -> None:
        self._make: Callable[[], Geometry] | None = make
        self._made: Geometry | None = None

    def __call__(self) -> Geometry:
        if self._made is None:
            assert self._make is not None
            self._made, self._make = self._make(), None
        return self._made


class _Known:
    """The geometry of certain rows."""

    def __init__(self, rows: torch.Tensor, make: Callable[[], Geometry]) -> None:
        self.rows, self.version, self.geometry = rows, rows._version, _Later(make)

    def of(self, rows: torch.Tensor) -> bool:
        """Whether these are the rows, and nobody has written to them since."""
        mine = self.rows
        same = mine.data_ptr() == rows.data_ptr() and mine.shape == rows.shape and mine.stride() == rows.stride()
        return same and mine.dtype == rows.dtype and rows._version == self.version


def _known(shared: dict[str, Any], rows: torch.Tensor) -> _Known | None:
    # Tensors made in inference mode do not count writes: nobody could tell whether they are still the same.
    found: _Known | None = None if rows.is_inference() else shared.get(_KEY)
    return found if found is not None and found.of(rows) else None


def geometry(rows: torch.Tensor, context: Context | None = None) -> Geometry:
    """The products and distances between rows; of the same rows in the same ``context`` once only."""
    if context is None:
        return _geometry(rows)
    known = _known(context.shared, rows)
    if known is None:
        if rows.is_inference():
            return _geometry(rows)
        known = context.shared[_KEY] = _Known(rows, lambda: _geometry(rows))
    return known.geometry()


def pass_on(shared: dict[str, Any], rows: torch.Tensor, matrix: torch.Tensor, mixed: torch.Tensor) -> dict[str, Any]:
    """What to share about the ``mixed`` rows, averages ``matrix @ rows``: their distances, if those of ``rows`` are known."""
    known = _known(shared, rows)
    if known is None or mixed.is_inference():
        return {}
    before = known.geometry  # and not the rows, which may be let go meanwhile
    return {_KEY: _Known(mixed, lambda: before().mixed(matrix))}


def gram_flops(n: int, d: int) -> float:
    """Multiplications and additions that a Gram matrix of ``n`` rows takes, ``2n²d``."""
    return 2.0 * n * n * d


def squared_distances(rows: torch.Tensor, context: Context | None = None) -> torch.Tensor:
    """All pairwise squared distances, by one centred Gram matrix in float64.

    ``|x - y|² = |x|² + |y|² - 2 x·y`` cancels badly when rows lie close together and far from the origin, so the rows are
    first moved near the origin (:func:`_centre`) and the products are summed in float64. Whatever a minority of rows holds, the
    error between two others stays below about ``1e-15·R²``, ``R`` the largest norm among the majority.

    Args:
        rows: ``(n, d)``, finite.
        context: where to look for them, and to leave them for whoever asks next.

    Returns:
        ``(n, n)`` float64, symmetric, zero on the diagonal, never negative; not to be written to.

    Example:
        >>> import torch
        >>> squared_distances(torch.tensor([[0.0, 0.0], [3.0, 4.0]])).tolist()
        [[0.0, 25.0], [25.0, 0.0]]
    """
    return geometry(rows, context).squared


def products(rows: torch.Tensor, context: Context | None = None) -> torch.Tensor:
    """All products ``x_i·x_j (n, n)`` in float64, from the same Gram matrix as the distances.

    Example:
        >>> import torch
        >>> products(torch.tensor([[0.0, 1.0], [3.0, 4.0]])).tolist()
        [[1.0, 4.0], [4.0, 25.0]]
    """
    found = geometry(rows, context)
    centre = found.centre
    along = products_with(rows, centre) - centre @ centre
    return found.gram + along[:, None] + along[None, :] + centre @ centre


def cosines(rows: torch.Tensor, context: Context | None = None) -> torch.Tensor:
    """All cosines ``(n, n)`` of the angles between rows in float64; 0 to a row of zeros.

    Example:
        >>> import torch
        >>> cosines(torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])).tolist()
        [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 1.0]]
    """
    found = products(rows, context)
    norms = found.diagonal().clamp(min=0).sqrt()
    inverse = norms.reciprocal().where(norms > 0, 0.0)
    return (found * inverse[:, None] * inverse[None, :]).clamp_(-1, 1)


def _geometry(rows: torch.Tensor) -> Geometry:
    n, d = rows.shape
    centre = _centre(rows).double()

    def block(start: int, stop: int) -> torch.Tensor:
        import torch

        return rows[:, start:stop].to(torch.float64, copy=True).sub_(centre[start:stop])

    return Geometry(gram(block, n, d), centre)


def gram(block: Callable[[int, int], torch.Tensor], n: int, d: int) -> torch.Tensor:
    """The Gram matrix ``(n, n)`` of rows of which ``block(start, stop)`` gives columns in float64."""
    import torch

    made: torch.Tensor | None = None
    # Half of the products would do, as the matrix is symmetric: strips of rows, each with those up to itself.
    strip = max(128, -(-n // 8))
    # In chunks whose float64 copy stays in the cache: 32 ms against 80 in one piece at n=100, d=50890 on one core. NumPy's
    # A @ A.T (BLAS syrk) halves the products, but its thread pool and torch's then wait for each other on busy cores: 1.6 s
    # against 0.1 to 0.3 s.
    width = max(1, 2**19 // n)
    for start in range(0, d, width):
        columns = block(start, min(d, start + width))
        if made is None:
            made = columns.new_zeros(n, n)
        for first in range(0, n, strip):
            last = min(n, first + strip)
            made[first:last, :last].addmm_(columns[first:last], columns[:last].T)
    if made is None:
        made = torch.zeros(n, n, dtype=torch.float64)
    return made.tril() + made.tril(-1).T


def _chunks(rows: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor]]:
    """The columns of ``rows`` in float64, chunk by chunk, so that no copy of all of them is made."""
    n, d = rows.shape
    width = max(1, 2**19 // max(1, n))
    for start in range(0, d, width):
        chunk = slice(start, start + width)
        yield chunk, rows[:, chunk].double()


def products_with(rows: torch.Tensor, point: torch.Tensor) -> torch.Tensor:
    """``x_i·y`` of every row with one point ``(d,)``, ``(n,)`` float64."""
    import torch

    total = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    other = point.double()
    for chunk, block in _chunks(rows):
        total += block @ other[chunk]
    return total


def distances_to(rows: torch.Tensor, point: torch.Tensor | None = None) -> torch.Tensor:
    """How far every row is from one point ``(d,)``, or from the origin: ``(n,)`` float64.

    Example:
        >>> import torch
        >>> distances_to(torch.tensor([[3.0, 4.0], [0.0, 0.0]])).tolist()
        [5.0, 0.0]
    """
    import torch

    total = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    other = None if point is None else point.double()
    for chunk, block in _chunks(rows):
        away = block if other is None else block - other[chunk]
        total += torch.linalg.vecdot(away, away)
    return total.sqrt()


def _centre(rows: torch.Tensor) -> torch.Tensor:
    """A point near the bulk of the rows that a minority cannot carry away.

    The mean of all rows would follow one row of norm 1e8 and spoil the distances between the others. The half of smallest norm
    holds no row longer than the longest honest one, as more than half are honest; one concentration step (as in Rousseeuw and
    van Driessen's FAST-MCD, 1999) then usually leaves the bulk alone. Float32 is enough: the centre need only be near.
    """
    near = rows.float() if rows.element_size() < 4 else rows
    half = (len(rows) + 1) // 2

    def mean_of_half(lengths: torch.Tensor) -> torch.Tensor:
        shares = near.new_zeros(len(near))
        shares[lengths.argsort(stable=True)[:half]] = 1 / half
        return shares @ near

    return mean_of_half(distances_to(near, mean_of_half(distances_to(near))))
