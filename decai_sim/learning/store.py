"""Models as rows of one matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Layout:
    """Where each parameter lies in a row.

    Attributes:
        names: parameter names, in the module's order.
        shapes: their shapes.
        offsets: where each begins; one more, the row's length, at the end.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    offsets: tuple[int, ...]

    @classmethod
    def of(cls, module: nn.Module) -> Layout:
        """The layout of a module's parameters.

        Raises:
            TypeError: the module keeps state beside its parameters (batch statistics, for one), which rows do not carry.
        """
        if any(True for _ in module.buffers()):
            raise TypeError(f"{type(module).__name__} has buffers; use a model whose state is its parameters (GroupNorm, say)")
        names, shapes, offsets = [], [], [0]
        for name, parameter in module.named_parameters():
            names.append(name)
            shapes.append(tuple(parameter.shape))
            offsets.append(offsets[-1] + parameter.numel())
        return cls(tuple(names), tuple(shapes), tuple(offsets))

    @property
    def d(self) -> int:
        """Length of a row."""
        return self.offsets[-1]

    def views(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        """Parameters as views of ``rows (..., d)``, each ``(..., *shape)``."""
        lead = rows.shape[:-1]
        return {
            name: rows[..., start : start + math.prod(shape)].view(*lead, *shape)
            for name, shape, start in zip(self.names, self.shapes, self.offsets[:-1], strict=True)
        }

    def flat(self, params: dict[str, torch.Tensor]) -> torch.Tensor:
        """The row ``(d,)`` of named parameters."""
        return torch.cat([params[name].reshape(-1) for name in self.names])


class Row:
    """A handle on one model in a :class:`Store`; its slot is free again when nobody holds the handle."""

    __slots__ = ("slot", "store")

    def __init__(self, store: Store, slot: int) -> None:
        self.store, self.slot = store, slot

    def __del__(self) -> None:
        self.store._free.append(self.slot)

    def tensor(self) -> torch.Tensor:
        """``(d,)``, a copy: nobody outside can write into the store."""
        return self.store._matrix[self.slot].clone()


class Store:
    """A ``(slots, d)`` matrix of models that grows as needed. Rows are written once.

    Args:
        d: parameters a model has.
        device: where the matrix lives.

    Example:
        >>> store = Store(3)
        >>> row, = store.put(torch.ones(1, 3))
        >>> copy = row.tensor(); copy.zero_().sum().item(), row.tensor().sum().item()
        (0.0, 3.0)
    """

    def __init__(self, d: int, device: str = "cpu") -> None:
        self.d = d
        self._matrix = torch.empty((0, d), device=device)
        self._free: list[int] = []

    def put(self, rows: torch.Tensor) -> list[Row]:
        """Keep copies of ``rows (k, d)``; returns their handles."""
        k = rows.shape[0]
        if len(self._free) < k:
            have = self._matrix.shape[0]
            more = max(k - len(self._free), have, 16)
            self._matrix = torch.cat([self._matrix, self._matrix.new_empty((more, self.d))])
            self._free += range(have + more - 1, have - 1, -1)
        slots = [self._free.pop() for _ in range(k)]
        self._matrix.index_copy_(0, self._index(slots), rows.to(self._matrix))
        return [Row(self, slot) for slot in slots]

    def gather(self, rows: Sequence[Row]) -> torch.Tensor:
        """``(k, d)``, a copy of the models of ``rows``."""
        return self._matrix.index_select(0, self._index([row.slot for row in rows]))

    def _index(self, slots: list[int]) -> torch.Tensor:
        return torch.tensor(slots, dtype=torch.long, device=self._matrix.device)
