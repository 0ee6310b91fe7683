"""Models: real ``nn.Module``s, with a stacked forward pass that runs many of them at once."""

from decai_sim.learning.models.base import Model
from decai_sim.learning.models.cnn import CNN
from decai_sim.learning.models.mlp import MLP
from decai_sim.learning.models.module import Module
from decai_sim.learning.models.resnet import ResNet
from decai_sim.learning.models.softmax import Softmax
from decai_sim.learning.models.transformer import Transformer

__all__ = ["CNN", "MLP", "Model", "Module", "ResNet", "Softmax", "Transformer"]
