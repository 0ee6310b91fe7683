"""Models: their initial parameters, and many of them run at once."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from decai_sim.component import kinds
from decai_sim.learning import CNN, MLP, Digits, FashionMNIST, Model, Softmax
from decai_sim.learning.problem import Problem
from decai_sim.learning.store import Layout
from decai_sim.seeding import Streams

MODELS = [Softmax(), MLP(hidden=(7,)), MLP(hidden=(9, 6, 5)), CNN(channels=(3, 4), hidden=6)]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_initial_parameters_are_pytorchs_own(model: Model) -> None:
    ours = model.module((8, 8), 10, generator(5))
    state = torch.get_rng_state()
    try:
        torch.manual_seed(5)
        theirs = model.build((8, 8), 10)
    finally:
        torch.set_rng_state(state)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)


def test_initial_parameters_fill_the_bounds_that_pytorch_documents() -> None:
    module = CNN(channels=(8, 16), hidden=64).module((28, 28), 10, generator())
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    assert len(layers) == 4
    for layer in layers:
        bound = 1 / math.sqrt(layer.weight[0].numel())  # U(-1/sqrt(fan_in), 1/sqrt(fan_in)), nn.Linear and nn.Conv2d
        for values in (layer.weight.detach(), layer.bias.detach()):
            assert values.abs().max() <= bound
        assert layer.weight.detach().abs().max() > 0.9 * bound
        deviation = float(layer.weight.detach().std())
        assert deviation == pytest.approx(bound / math.sqrt(3), rel=0.15)


@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_initial_parameters_come_from_the_generator_alone(model: Model) -> None:
    draws = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        state = torch.get_rng_state()
        own = generator(3)
        modules = [model.module((8, 8), 10, own) for _ in range(2)]
        draws.append([torch.cat([p.detach().flatten() for p in module.parameters()]) for module in modules])
        assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(draws[0][0], draws[1][0])
    assert torch.equal(draws[0][1], draws[1][1])
    assert not torch.equal(draws[0][0], draws[0][1])  # the generator has moved on


def test_a_model_of_ones_own_may_have_any_layers() -> None:
    class Normed(Model, abstract=True):
        def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
            return nn.Sequential(nn.Flatten(), nn.LayerNorm(math.prod(shape)), nn.Linear(math.prod(shape), classes))

    module = Normed().module((4, 4), 3, generator())
    assert torch.equal(module[1].weight, torch.ones(16))  # type: ignore[index]
    check_stacked(Normed(), (4, 4), 3)


def check_stacked(model: Model, shape: tuple[int, ...], classes: int) -> None:
    k, batch = 4, 6
    modules = [model.module(shape, classes, generator(i)) for i in range(k)]
    layout = Layout.of(modules[0])
    params: dict[str, Any] = layout.views(
        torch.stack([layout.flat({n: p.detach() for n, p in m.named_parameters()}) for m in modules])
    )
    x = torch.randn(k, batch, *shape, generator=generator(9))
    logits = model.stacked(modules[0], params, x)
    assert logits.shape == (k, batch, classes)
    torch.testing.assert_close(logits, Model.stacked(model, modules[0], params, x), rtol=1e-4, atol=1e-5)
    for i, module in enumerate(modules):
        torch.testing.assert_close(logits[i], module(x[i]).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_stacked_equals_vmap_equals_each_alone(model: Model) -> None:
    check_stacked(model, (8, 8), 10)


def test_forward_flops_are_counted() -> None:
    task = FashionMNIST(model=MLP(hidden=(64,)))
    assert Problem(task, 10, Streams(0)).forward_flops == 2 * (784 * 64 + 64 * 10) == 101_632
    # 5 x 5 convolutions on 8 x 8 and 4 x 4 pixels, 2 FLOPs a multiply-add
    conv = 2 * (64 * 25 * 1 * 2 + 16 * 25 * 2 * 3)
    dense = 2 * (3 * 2 * 2 * 5 + 5 * 10)
    assert Problem(Digits(model=CNN(channels=(2, 3), hidden=5)), 10, Streams(0)).forward_flops == conv + dense


def test_a_softmax_regression_has_no_hidden_layer() -> None:
    assert Softmax().hidden == ()
    with pytest.raises(ValueError, match="at most 0 items"):
        Softmax(hidden=(3,))
    assert set(kinds("models")) >= {"softmax", "mlp", "cnn"}


def test_the_same_seed_starts_from_the_same_model() -> None:
    a, b, c = (Problem(Digits(), 5, Streams(seed)).initial() for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
