"""Models: their initial parameters, and many of them run at once."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from decai_sim.component import kinds
from decai_sim.errors import ScenarioError
from decai_sim.learning import CNN, MLP, Digits, FashionMNIST, Model, ResNet, Softmax, Transformer
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


# -- images and sequences ----------------------------------------------------------------------------------------------------


def count(model: Model, shape: tuple[int, ...], classes: int = 10) -> int:
    return sum(p.numel() for p in model.module(shape, classes, generator()).parameters())


def test_a_cnn_takes_grey_and_coloured_images() -> None:
    model = CNN(channels=(3, 4), hidden=6)
    grey, colour = (model.module(shape, 10, generator()) for shape in ((8, 8), (8, 8, 1)))
    x = torch.randn(5, 8, 8, generator=generator(1))
    torch.testing.assert_close(grey(x), colour(x.unsqueeze(-1)))
    assert count(model, (8, 8, 3)) - count(model, (8, 8)) == 2 * 25 * 3
    check_stacked(model, (8, 12, 3), 10)
    rgb = model.module((8, 12, 3), 10, generator())
    x = torch.randn(2, 8, 12, 3, generator=generator(1))
    first = next(layer for layer in rgb.modules() if isinstance(layer, nn.Conv2d))
    torch.testing.assert_close(first(x.permute(0, 3, 1, 2)), rgb[:2](x))  # type: ignore[operator, index]


@pytest.mark.parametrize("shape", [(9, 7), (6, 5, 3)])
def test_cnns_side_by_side_are_one_convolution_with_the_slopes_that_vmap_gives(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, k, batch = CNN(channels=(3, 4), hidden=6), 3, 5
    check_stacked(model, shape, 4)
    modules = [model.module(shape, 4, generator(i)) for i in range(k)]
    params = {name: torch.stack([dict(m.named_parameters())[name].detach() for m in modules]) for name in modules[0].state_dict()}
    x, mask = torch.randn(k, batch, *shape, generator=generator(9)), torch.ones(k, batch)
    y = torch.randint(4, (k, batch), generator=generator(8))
    with monkeypatch.context() as patch:
        patch.setattr(CNN, "stacked", Model.stacked)
        expected = model.gradients(modules[0], params, x, y, mask)
    monkeypatch.setattr(torch.func, "vmap", None)
    losses, slopes = model.gradients(modules[0], params, x, y, mask)
    torch.testing.assert_close(losses, expected[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(slopes, expected[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_what_kernels_see_times_weights_is_a_convolution_in_groups(channels: int) -> None:
    from decai_sim.learning.models.cnn import _few_channels, _groups

    k, batch = 3, 4
    weight, bias = torch.randn(k, 5, channels, 5, 5, generator=generator(1)), torch.randn(k, 5, generator=generator(2))
    x = torch.randn(k, batch, channels, 6, 9, generator=generator(3))
    groups = _groups(weight, bias, x.transpose(0, 1).reshape(batch, -1, 6, 9))
    torch.testing.assert_close(_few_channels(weight, bias, x), groups, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("depth", "millions"), [(8, 0.075), (14, 0.17), (20, 0.27)])
def test_residual_networks_are_as_large_as_in_their_source(depth: Any, millions: float) -> None:
    # He et al. 2016, table 6: ResNet-20 has 0.27 M parameters. Layers: 6n + 2, of which all but the last are 3 x 3 convolutions.
    n = (depth - 2) // 6
    conv = 9 * (3 * 16 + 2 * n * 16 * 16 + (16 * 32 + (2 * n - 1) * 32 * 32) + (32 * 64 + (2 * n - 1) * 64 * 64))
    norm = 2 * (16 + 2 * n * (16 + 32 + 64))
    assert count(ResNet(depth=depth), (32, 32, 3)) == conv + norm + 64 * 10 + 10
    assert count(ResNet(depth=depth), (32, 32, 3)) / 1e6 == pytest.approx(millions, abs=0.006)
    module = ResNet(depth=depth).module((32, 32, 3), 10, generator())
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert len(layers) == depth
    assert not list(module.buffers())


def test_residual_networks_halve_the_image_twice() -> None:
    module = ResNet(depth=8, width=4).module((12, 12), 10, generator())
    seen = []
    for layer in module:  # type: ignore[union-attr]
        layer.register_forward_hook(lambda _, __, out: seen.append(tuple(out.shape[1:])))
    module(torch.zeros(1, 12, 12))
    assert [shape for shape in dict.fromkeys(seen) if len(shape) == 3] == [
        *((1, 12, 12), (4, 12, 12), (8, 6, 6), (16, 3, 3), (16, 1, 1)),
    ]


def test_a_block_whose_convolutions_are_zero_passes_its_input_on() -> None:
    from decai_sim.learning.layers import ResidualBlock

    block = ResidualBlock(4, 8, groups=2, stride=2)
    for p in block.parameters():
        nn.init.zeros_(p)
    x = torch.randn(3, 4, 6, 6, generator=generator())
    assert torch.equal(block(x)[:, :4], x[:, :, ::2, ::2].relu())
    assert not block(x)[:, 4:].any()


def test_a_samples_output_depends_on_no_other_sample() -> None:
    # What batch normalisation would break.
    module = ResNet(width=4).module((8, 8), 10, generator())
    x = torch.randn(6, 8, 8, generator=generator(1))
    torch.testing.assert_close(module(x)[2:3], module(x[2:3]), rtol=1e-4, atol=1e-5)


def test_a_transformer_has_the_parameters_of_its_parts() -> None:
    width, length, tokens, layers = 32, 80, 72, 2
    # A block: four matrices of attention, two of the dense layer four times as wide, their biases, two normalisations.
    block = 4 * (width**2 + width) + (4 * width**2 + 4 * width) + (4 * width**2 + width) + 2 * 2 * width
    expected = tokens * width + length * width + layers * block + 2 * width + tokens * width + tokens
    assert count(Transformer(width=width), (length,), tokens) == expected


def test_a_transformer_computes_what_pytorchs_own_does() -> None:
    width, heads, length = 12, 3, 7
    module = Transformer(n_layers=3, width=width, heads=heads).module((length,), 20, generator(4))
    embed, *blocks, norm, head = module  # type: ignore[misc]
    layer = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0, activation="gelu", batch_first=True, norm_first=True)
    x = torch.randint(20, (5, length), generator=generator(1))
    h = embed(x)
    later = torch.ones(length, length).triu(1).bool()
    for block in blocks:
        attention = block.query, block.key, block.value
        with torch.no_grad():
            layer.self_attn.in_proj_weight.copy_(torch.cat([part.weight for part in attention]))
            layer.self_attn.in_proj_bias.copy_(torch.cat([part.bias for part in attention]))
        layer.self_attn.out_proj.load_state_dict(block.out.state_dict())
        for theirs, ours in (("linear1", "up"), ("linear2", "down"), ("norm1", "norm1"), ("norm2", "norm2")):
            getattr(layer, theirs).load_state_dict(getattr(block, ours).state_dict())
        h = layer(h, src_mask=later)
    torch.testing.assert_close(module(x), head(norm(h[:, -1])), rtol=1e-4, atol=1e-5)


def test_no_position_of_a_transformer_sees_a_later_one() -> None:
    from decai_sim.learning.layers import AttentionBlock

    block = AttentionBlock(8, 2, last=False)
    x = torch.randn(2, 6, 8, generator=generator())
    changed = x.clone()
    changed[:, 4:] += 1
    torch.testing.assert_close(block(x)[:, :4], block(changed)[:, :4])
    assert not torch.allclose(block(x)[:, 4:], block(changed)[:, 4:])


@pytest.mark.parametrize(
    ("model", "shape", "tokens"),
    [
        (ResNet(width=4, groups=2), (8, 8, 3), 0),
        (ResNet(depth=14, width=2, groups=1), (9, 7), 0),
        (Transformer(n_layers=2, width=8, heads=2), (11,), 10),
    ],
    ids=repr,
)
def test_large_models_side_by_side_learn_as_each_alone(model: Model, shape: tuple[int, ...], tokens: int) -> None:
    k, batch = 3, 5
    modules = [model.module(shape, 10, generator(i)) for i in range(k)]
    layout = Layout.of(modules[0])
    params = layout.views(torch.stack([layout.flat({n: p.detach() for n, p in m.named_parameters()}) for m in modules]))
    x = torch.randn(k, batch, *shape, generator=generator(9))
    if tokens:
        x = torch.randint(tokens, x.shape, generator=generator(9))
    y = torch.randint(10, (k, batch), generator=generator(8))
    mask = torch.ones(k, batch)
    mask[1, 3:] = 0
    losses, slopes = model.gradients(modules[0], params, x, y, mask)
    for i, module in enumerate(modules):
        n = int(mask[i].sum())
        loss = nn.functional.cross_entropy(module(x[i, :n]), y[i, :n])
        alone = torch.autograd.grad(loss, list(module.parameters()))
        assert float(losses[i]) == pytest.approx(n * float(loss.detach()), rel=1e-4)
        for (name, _), theirs in zip(module.named_parameters(), alone, strict=True):
            torch.testing.assert_close(slopes[name][i], theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "shape"),
    [(CNN(), (64,)), (CNN(), (3, 8)), (ResNet(), (8,)), (ResNet(), (2, 2, 3)), (Transformer(), (8, 8)), (CNN(), (4, 4, 4, 4))],
    ids=repr,
)
def test_inputs_of_another_kind_are_refused_in_one_line(model: Model, shape: tuple[int, ...]) -> None:
    with pytest.raises(ScenarioError, match=f"task.model: {model.kind!r} is not allowed: it takes") as caught:
        model.module(shape, 10, generator())
    assert str(shape) in str(caught.value)


@pytest.mark.parametrize(
    ("model", "fields", "message"),
    [
        (ResNet, {"depth": 18}, "8, 14 or 20"),
        (ResNet, {"width": 6}, r"groups \(4\) must divide width \(6\)"),
        (Transformer, {"width": 30}, r"heads \(4\) must divide width \(30\)"),
    ],
)
def test_models_that_cannot_be_are_refused(model: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model(**fields)
