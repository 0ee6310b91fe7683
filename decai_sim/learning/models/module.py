"""Modules that somebody brings along."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from types import CodeType
from typing import TYPE_CHECKING, Any

from pydantic import PrivateAttr

from decai_sim.errors import ScenarioError
from decai_sim.learning.kept import Digest, Kept, digest_of, held, keep
from decai_sim.learning.models.base import Model

if TYPE_CHECKING:
    from torch import nn

_PLAIN = (bool, int, float, str, bytes, type(None))


class Module(Model):
    """Anybody's ``nn.Module`` that gives logits, ``Module(net)``; in Python only.

    ``net`` is an instance, from whose parameters all training starts, or a class or function without arguments that makes one; it
    is called for every run, with the run's own random draws.

    Source: the user.
    Assumes: outputs are ``(batch, classes)``; the state is the parameters alone (no batch statistics), and the forward pass draws
        nothing and decides nothing by the values it sees, so that many models can be run at once.
    Deviations: none. A file keeps only a digest: of the module's layers, their settings and parameters, and of the code of its
        forward pass. Reading the file back needs the same module alive in the same Python.

    Attributes:
        digest: of the module or of what makes one.

    Raises:
        ScenarioError: it is no module, or has active dropout.
        pydantic.ValidationError: nobody here holds the module that a file means.
        TypeError: the module has buffers.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = Module(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))
        >>> model.module((8, 8), 10, torch.Generator())(torch.zeros(2, 8, 8)).shape
        torch.Size([2, 10])
    """

    examples = ()
    tokens = None

    digest: Digest("a PyTorch module", "ds.models.Module(net)")  # type: ignore[valid-type]
    _kept: Kept = PrivateAttr()

    def __init__(self, net: nn.Module | Callable[[], nn.Module] | None = None, **fields: Any) -> None:
        if net is not None:
            example = _made(net)
            _check(example)
            kept = keep(digest_of([b"instance" if net is example else b"factory", *_content(example)]), net)
            fields["digest"] = kept.digest
        super().__init__(**fields)

    def model_post_init(self, context: Any) -> None:
        """Hold what the digest stands for."""
        self._kept = held(self.digest)

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """A copy of the instance, or one newly made."""
        import torch

        net = self._kept.value
        made: nn.Module = copy.deepcopy(net) if isinstance(net, torch.nn.Module) else net()
        return made


def _made(net: Any) -> nn.Module:
    """The module itself, or one that is made the same way every time."""
    import torch

    from decai_sim.learning.draws import DrawnFrom

    if isinstance(net, torch.nn.Module):
        return net
    made = None
    if callable(net):
        with DrawnFrom(torch.Generator().manual_seed(0)):
            try:
                made = net()
            except TypeError as error:
                raise ScenarioError(f"task.model: {net!r} is not allowed: called without arguments it fails: {error}") from None
    if not isinstance(made, torch.nn.Module):
        raise ScenarioError(f"task.model: {net!r} is not allowed: give an nn.Module, or what makes one without arguments")
    return made


def _check(net: nn.Module) -> None:
    from torch.nn.modules.dropout import _DropoutNd

    from decai_sim.learning.store import Layout

    Layout.of(net)
    for name, layer in net.named_modules():
        if isinstance(layer, _DropoutNd) and layer.p > 0 and layer.training:
            raise ScenarioError(
                f"task.model: {type(net).__name__} is not allowed: its layer {name!r} drops out at random, which many models at "
                "once cannot; set p=0 or call eval()"
            )


def _content(net: nn.Module) -> Iterator[bytes]:
    """What makes a module what it is: layers, plain settings, code of the forward pass, parameters."""
    import torch

    yield repr(net).encode()
    for name, layer in net.named_modules():
        settings = {key: value for key, value in sorted(vars(layer).items()) if isinstance(value, _PLAIN)}
        yield repr((name, type(layer).__qualname__, settings)).encode()
        if not type(layer).__module__.startswith("torch."):
            yield from _code(getattr(type(layer).forward, "__code__", None))
    for name, p in net.named_parameters():
        plain = p.detach().cpu().contiguous()
        yield repr((name, str(plain.dtype), tuple(plain.shape))).encode()
        yield plain.view(-1).view(torch.uint8).numpy().tobytes()


def _code(code: CodeType | None) -> Iterator[bytes]:
    """The instructions of a function, and of those defined in it."""
    if code is None:
        return
    yield code.co_code
    yield repr((code.co_names, [const for const in code.co_consts if isinstance(const, _PLAIN)])).encode()
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _code(const)
