"""Data, model and local training; no draw comes from a global generator, so every engine computes the same."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F


@cache
def _digits() -> Any:
    return load_digits()


def load_partition(partition_id: int, num_partitions: int) -> tuple[torch.Tensor, torch.Tensor]:
    bunch = _digits()
    order = torch.randperm(len(bunch.target), generator=torch.Generator().manual_seed(7))
    own = order[partition_id::num_partitions]
    return torch.tensor(bunch.data[own] / 16, dtype=torch.float32), torch.tensor(bunch.target[own])


def new_model() -> nn.Module:
    model = nn.Sequential(nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


def train(model: nn.Module, x: torch.Tensor, y: torch.Tensor, lr: float, seed: int) -> float:
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    loss = torch.zeros(())
    for batch in torch.randperm(len(y), generator=torch.Generator().manual_seed(seed)).split(32):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x[batch]), y[batch])
        loss.backward()
        optimizer.step()
    return float(loss.detach())
