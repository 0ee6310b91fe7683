"""digits-pytorch: A Flower / PyTorch app."""

from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    """A small network for 8 x 8 images."""

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(64, 32)
        self.fc2 = nn.Linear(32, 10)

    def forward(self, x):
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


@cache
def load_all():
    """All images and labels, in an order of our own; the last 360 are for testing."""
    digits = load_digits()
    order = np.random.default_rng(42).permutation(len(digits.target))
    images = torch.tensor(digits.images[order] / 16, dtype=torch.float32)
    return images, torch.tensor(digits.target[order])


def load_data(partition_id: int, num_partitions: int, batch_size: int):
    """Load a client's training data."""
    images, labels = load_all()
    own = slice(partition_id, len(labels) - 360, num_partitions)
    return DataLoader(TensorDataset(images[own], labels[own]), batch_size=batch_size, shuffle=True)


def load_centralized_dataset():
    """Load the test data that the server has."""
    images, labels = load_all()
    return DataLoader(TensorDataset(images[-360:], labels[-360:]), batch_size=128)


def train(net, trainloader, epochs, lr, device):
    """Train the model on the training set."""
    net.to(device)
    criterion = torch.nn.CrossEntropyLoss().to(device)
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9)
    net.train()
    running_loss = 0.0
    for _ in range(epochs):
        for images, labels in trainloader:
            optimizer.zero_grad()
            loss = criterion(net(images.to(device)), labels.to(device))
            loss.backward()
            optimizer.step()
            running_loss += loss.item()
    return running_loss / (epochs * len(trainloader))


def test(net, testloader, device):
    """Evaluate the model on a test set."""
    net.to(device)
    net.eval()
    correct, loss = 0, 0.0
    with torch.no_grad():
        for images, labels in testloader:
            outputs = net(images.to(device))
            loss += F.cross_entropy(outputs, labels.to(device), reduction="sum").item()
            correct += (outputs.argmax(1) == labels.to(device)).sum().item()
    return loss / len(testloader.dataset), correct / len(testloader.dataset)
