"""What the nodes learn: data sets, partitions, models, tasks, and vectorised local training."""

from decai_sim.learning.models import CNN, MLP, Model, Module, ResNet, Softmax, Transformer
from decai_sim.learning.optimisers import SGD, Adam, Optimiser
from decai_sim.learning.partitions import IID, Dirichlet, Natural, Partition, Pathological, Quantity, Shards
from decai_sim.learning.tasks import CIFAR10, FEMNIST, MNIST, Adult, Custom, Digits, FashionMNIST, Hub, Shakespeare, Task

__all__ = [
    "CIFAR10",
    "CNN",
    "FEMNIST",
    "IID",
    "MLP",
    "MNIST",
    "SGD",
    "Adam",
    "Adult",
    "Custom",
    "Digits",
    "Dirichlet",
    "FashionMNIST",
    "Hub",
    "Model",
    "Module",
    "Natural",
    "Optimiser",
    "Partition",
    "Pathological",
    "Quantity",
    "ResNet",
    "Shakespeare",
    "Shards",
    "Softmax",
    "Task",
    "Transformer",
]
