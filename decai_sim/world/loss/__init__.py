"""Loss models: which messages never arrive."""

from decai_sim.world.loss.base import Loss
from decai_sim.world.loss.bernoulli import Bernoulli
from decai_sim.world.loss.gilbert_elliott import GilbertElliott

__all__ = ["Bernoulli", "GilbertElliott", "Loss"]
