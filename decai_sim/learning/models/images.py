"""What models of images share: inputs are ``(height, width)`` or ``(height, width, colours)``, layers want colours first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decai_sim.errors import ScenarioError

if TYPE_CHECKING:
    from torch import nn

    from decai_sim.learning.models.base import Model


def image_shape(model: Model, shape: tuple[int, ...], least: int) -> tuple[int, int, int]:
    """Colours, height and width of an image.

    Args:
        model: who asks.
        shape: of one input.
        least: the fewest pixels of a side that the model can do with.

    Raises:
        ScenarioError: it is no image, or too small.
    """
    if len(shape) not in (2, 3) or min(shape[:2]) < least:
        raise ScenarioError(
            f"task.model: {model.kind!r} is not allowed: it takes images of at least {least} x {least} pixels, "
            f"and the task's inputs have the shape {tuple(shape)}"
        )
    return (shape[2] if len(shape) == 3 else 1), shape[0], shape[1]


def channels_first(shape: tuple[int, ...]) -> nn.Module:
    """The layer that turns ``(batch, *shape)`` into ``(batch, colours, height, width)``."""
    from torch import nn

    from decai_sim.learning.layers import ChannelsFirst

    return nn.Unflatten(1, (1, shape[0])) if len(shape) == 2 else ChannelsFirst()
