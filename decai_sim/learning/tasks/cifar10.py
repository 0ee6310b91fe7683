"""CIFAR-10."""

from __future__ import annotations

from decai_sim.component import field_of
from decai_sim.learning.models import CNN, Model
from decai_sim.learning.tasks.hub import Hub


class CIFAR10(Hub, kind="cifar10"):
    """Recognise ten kinds of animals and vehicles on 32 x 32 coloured images: 50,000 to train on, 10,000 to test; from the hub.

    Source: Krizhevsky, "Learning multiple layers of features from tiny images" (2009).
    Assumes: the hub can be reached, or has been, or ``path`` is a folder with the data set.
    Deviations: those of ``hub``; no augmentation.

    Example:
        >>> CIFAR10().x, CIFAR10().y
        ('img', 'label')
    """

    dataset: str = "uoft-cs/cifar10"
    x: str | tuple[str, ...] = "img"
    model: field_of(Model) = CNN(channels=(16, 32))  # type: ignore[valid-type]
