"""MNIST."""

from __future__ import annotations

from decai_sim.component import field_of
from decai_sim.learning.models import CNN, Model
from decai_sim.learning.tasks.hub import Hub


class MNIST(Hub, kind="mnist"):
    """Recognise handwritten digits on 28 x 28 grey images: 60,000 to train on, 10,000 to test; from the Hugging Face hub.

    Source: LeCun, Bottou, Bengio & Haffner, "Gradient-based learning applied to document recognition" (1998).
    Assumes: the hub can be reached, or has been, or ``path`` is a folder with the data set.
    Deviations: those of ``hub``.

    Example:
        >>> MNIST().dataset
        'ylecun/mnist'
    """

    dataset: str = "ylecun/mnist"
    model: field_of(Model) = CNN()  # type: ignore[valid-type]
