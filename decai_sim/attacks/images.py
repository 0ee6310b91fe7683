"""What attacks on images share: where height and width are, and how bright a pixel can be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decai_sim.errors import ScenarioError

if TYPE_CHECKING:
    import torch

    from decai_sim.learning.data import Dataset

_COLOURS = 4
"""At most so many colours; more are a side of the image."""


def colours_last(shape: tuple[int, ...]) -> bool:
    """Whether an image of this shape has its colours last; ``(3, 32, 32)`` has them first, ``(32, 32)`` has none.

    Example:
        >>> colours_last((32, 32, 3)), colours_last((3, 32, 32)), colours_last((8, 8))
        (True, False, False)
    """
    return len(shape) == 3 and (shape[2] <= _COLOURS or shape[0] > _COLOURS)


def sides(shape: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of an image of this shape.

    Example:
        >>> sides((28, 20)), sides((28, 20, 3)), sides((3, 28, 20))
        ((28, 20), (28, 20), (28, 20))
    """
    height, width = shape[:2] if colours_last(shape) else shape[-2:]
    return height, width


def pixels(x: torch.Tensor) -> torch.Tensor:
    """A view of images ``x (n, ...)`` whose last two dimensions are height and width."""
    return x.movedim(-1, 1) if colours_last(tuple(x.shape[1:])) else x


def brightest(x: torch.Tensor) -> float:
    """255 for ``uint8`` pixels, else the largest number in ``x``."""
    import torch

    if x.dtype == torch.uint8:
        return 255.0
    return float(x.max()) if x.numel() else 0.0


def like(values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """``values`` in the type of ``x``: where this is a whole number, rounded to the nearest that it has."""
    import torch

    if x.is_floating_point():
        return values.to(x)
    limits = torch.iinfo(x.dtype)
    return values.round().clamp(limits.min, limits.max).to(x)


def check_fits(dataset: Dataset, height: int, width: int, fields: str) -> None:
    """Refuse a trigger of ``height`` x ``width`` pixels on smaller images.

    Raises:
        ScenarioError: it does not fit.
    """
    has = sides(tuple(dataset.shape))
    if height > has[0] or width > has[1]:
        raise ScenarioError(
            f"attack.{fields}: a trigger of {height} x {width} pixels is not allowed: "
            f"images of {dataset.name} have {has[0]} x {has[1]}"
        )
