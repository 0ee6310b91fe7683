"""Tasks: what is learned, how it is split, with which model."""

from decai_sim.learning.tasks.adult import Adult
from decai_sim.learning.tasks.base import Task
from decai_sim.learning.tasks.cifar10 import CIFAR10
from decai_sim.learning.tasks.custom import Custom
from decai_sim.learning.tasks.digits import Digits
from decai_sim.learning.tasks.fashion_mnist import FashionMNIST
from decai_sim.learning.tasks.femnist import FEMNIST
from decai_sim.learning.tasks.hub import Hub
from decai_sim.learning.tasks.mnist import MNIST
from decai_sim.learning.tasks.shakespeare import Shakespeare

__all__ = ["CIFAR10", "FEMNIST", "MNIST", "Adult", "Custom", "Digits", "FashionMNIST", "Hub", "Shakespeare", "Task"]
