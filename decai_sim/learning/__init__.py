"""What the nodes learn: data sets, partitions, models, tasks, and vectorised local training."""

from decai_sim.learning.models import CNN, MLP, Model, Softmax
from decai_sim.learning.partitions import IID, Dirichlet, Partition
from decai_sim.learning.tasks import Digits, FashionMNIST, Task

__all__ = ["CNN", "IID", "MLP", "Digits", "Dirichlet", "FashionMNIST", "Model", "Partition", "Softmax", "Task"]
