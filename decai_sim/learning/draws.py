"""Random draws of code that knows no generator but PyTorch's global one."""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_T = torch.Tensor
_DRAWS = {
    *(torch.rand, torch.randn, torch.randint, torch.randperm, torch.normal, torch.bernoulli, torch.multinomial),
    *(_T.uniform_, _T.normal_, _T.bernoulli_, _T.random_, _T.exponential_, _T.log_normal_, _T.cauchy_, _T.geometric_),
}


class DrawnFrom(TorchFunctionMode):
    """Inside, what would come from the global generator comes from ``generator``; of this thread alone, the global one untouched.

    Setting the global generator's state for a while instead would let runs that go on side by side draw each other's numbers.

    Args:
        generator: of the device that the draws are for.

    Example:
        >>> before, layers = torch.get_rng_state(), []
        >>> for _ in range(2):
        ...     with DrawnFrom(torch.Generator().manual_seed(1)):
        ...         layers.append(torch.nn.Linear(2, 3))
        >>> torch.equal(layers[0].weight, layers[1].weight), torch.equal(before, torch.get_rng_state())
        (True, True)
    """

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self._generator = generator

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call ``func``, with the generator where it takes one and got none."""
        kwargs = dict(kwargs or {})
        # The functions of torch.nn.init name their generator and pass it on to what they call.
        if (func in _DRAWS or "generator" in kwargs) and kwargs.get("generator") is None:
            kwargs["generator"] = self._generator
        return func(*args, **kwargs)
