"""Draws of PyTorch's layers from a generator of one's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from decai_sim.learning.draws import DrawnFrom
from decai_sim.learning.models import CNN, MLP, Model


@pytest.mark.parametrize("model", [MLP(hidden=(16,)), CNN()], ids=["mlp", "cnn"])
def test_models_begin_as_pytorch_begins_them(model: Model) -> None:
    ours = model.module((28, 28), 10, torch.Generator().manual_seed(9))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(9)
        theirs = model.build((28, 28), 10)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_direct_draws_too_and_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    generator = torch.Generator().manual_seed(3)
    with DrawnFrom(generator):
        drawn = torch.rand(4), torch.randn(3), torch.randperm(5), nn.init.orthogonal_(torch.empty(3, 3))
    expected = torch.Generator().manual_seed(3)
    assert torch.equal(drawn[0], torch.rand(4, generator=expected))
    assert torch.equal(drawn[1], torch.randn(3, generator=expected))
    assert torch.equal(drawn[2], torch.randperm(5, generator=expected))
    assert not torch.equal(generator.get_state(), torch.Generator().manual_seed(3).get_state())
    assert torch.equal(before, torch.get_rng_state())
