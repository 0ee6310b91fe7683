"""Flower arrays that stay in the store: a model's parameters as views of its row, serialised only when somebody asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from decai_sim.flower import compat
from decai_sim.world.sizes import ENVELOPE_BYTES

if TYPE_CHECKING:
    from decai_sim.learning.store import Layout, Row, Store

_FEW = 16
"""Models that are copied together at a time."""
NPY_HEADER_BYTES = 128
"""What NumPy's file format puts before the values of a small array, as Flower serialises it."""


class StoreArray(Array):
    """One parameter of a stored model. Immutable; behaves as Flower's ``Array`` when serialised, copied or logged."""

    __qualname__ = "Array"  # Flower writes this name on the wire

    row: Row
    layout: Layout
    index: int

    def __init__(self, row: Row, like: Mapping[str, Any]) -> None:
        self.__dict__.update(like, row=row)

    def numpy(self) -> Any:
        """A fresh copy of the values."""
        start, stop = self.layout.offsets[self.index], self.layout.offsets[self.index + 1]
        return self.row.part(start, stop).reshape(self.shape).cpu().numpy()

    @property
    def data(self) -> bytes:  # type: ignore[override]
        """The values as Flower serialises them."""
        if "_bytes" not in self.__dict__:
            self.__dict__["_bytes"] = Array(np.ascontiguousarray(self.numpy())).data
        data: bytes = self.__dict__["_bytes"]
        return data

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Array):
            return NotImplemented
        mine, its = ((a.dtype, tuple(a.shape), a.stype, a.data) for a in (self, other))
        return mine == its

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def inflate(cls, object_content: bytes, children: dict[str, Any] | None = None) -> Array:
        """What comes off the wire is nobody's row."""
        return Array.inflate(object_content, children)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in {"dtype", "shape", "stype", "data"}:
            raise AttributeError(f"{name}: an array of the model store cannot be changed; make a new Array of its numpy()")
        super().__setattr__(name, value)

    def __reduce__(self) -> Any:
        return Array, (self.dtype, self.shape, self.stype, self.data)

    def __deepcopy__(self, memo: Any) -> Array:
        return Array(self.dtype, self.shape, self.stype, self.data)


def to_record(row: Row, layout: Layout) -> ArrayRecord:
    """A stored model as Flower passes models around."""
    return compat.filled(ArrayRecord(), {name: StoreArray(row, like) for name, like in _parameters(layout)})


@lru_cache(maxsize=8)
def _parameters(layout: Layout) -> list[tuple[str, dict[str, Any]]]:
    """Each parameter's name, and what its arrays have in common."""
    same = {"layout": layout, "dtype": "float32", "stype": "numpy.ndarray"}
    return [(name, {**same, "index": i, "shape": layout.shapes[i]}) for i, name in enumerate(layout.names)]


def stored_row(record: ArrayRecord) -> Row | None:
    """The row a record stands for, if it is a whole stored model."""
    values = list(record.values())
    first = values[0] if values else None
    if not isinstance(first, StoreArray) or len(values) != len(first.layout.names):
        return None
    if all(isinstance(v, StoreArray) and v.row is first.row and v.index == i for i, v in enumerate(values)):
        return first.row
    return None


def to_vector(record: ArrayRecord) -> torch.Tensor:
    """All values of a record in one vector ``(d,)``, float32, in the record's order."""
    row = stored_row(record)
    if row is not None:
        return row.tensor()
    values = [np.ravel(_values(array)) for array in record.values()]
    return torch.as_tensor(np.concatenate(values, dtype=np.float32, casting="unsafe"))


def _values(array: Array) -> np.ndarray:
    return array.numpy() if isinstance(array, StoreArray) else compat.values_of(array)


def to_matrix(records: Sequence[ArrayRecord]) -> torch.Tensor:
    """``(n, d)``: one record a row."""
    rows = [stored_row(record) for record in records]
    known = [row for row in rows if row is not None]
    if len(known) == len(rows) and len({id(row.store) for row in known}) == 1:
        return known[0].store.gather(known)
    return torch.stack([to_vector(record) for record in records])


def all_stored(records: Sequence[ArrayRecord]) -> bool:
    """Whether all of them are whole models of one store."""
    rows = [stored_row(record) for record in records]
    return len({None if row is None else id(row.store) for row in rows} - {None}) == 1 and None not in rows


def all_alike(records: Sequence[ArrayRecord]) -> bool:
    """Whether all of them are float32, in the same shapes under the same names."""
    kinds = {tuple((name, array.dtype, tuple(array.shape)) for name, array in record.items()) for record in records}
    (kind,) = kinds if len(kinds) == 1 else [()]
    return bool(kind) and all(dtype == "float32" for _, dtype, _ in kind)


def weighted_sum(records: Sequence[ArrayRecord], weights: torch.Tensor) -> torch.Tensor:
    """``(d,)`` the sum of models, with ``weights (k,)``; stored ones are not copied together for it."""
    rows = [row for row in map(stored_row, records) if row is not None]
    if all_stored(records):
        return rows[0].store.weighted_sum(rows, weights)
    total = torch.zeros_like(to_vector(records[0]))
    for at in range(0, len(records), _FEW):  # so that no more than a few are copied at a time
        matrix = to_matrix(records[at : at + _FEW])
        total += weights[at : at + _FEW].to(matrix) @ matrix
    return total


def from_vector(vector: torch.Tensor, like: ArrayRecord) -> ArrayRecord:
    """A record with the names and shapes of ``like`` and the values of ``vector (d,)``: stored if ``like`` is."""
    row = stored_row(like)
    if row is not None:
        first = next(iter(like.values()))
        return to_record(row.store.put(vector[None])[0], first.layout)  # type: ignore[attr-defined]
    record, at = ArrayRecord(), 0
    for name, array in like.items():
        size = int(np.prod(array.shape, dtype=np.int64))
        values = vector[at : at + size].reshape(array.shape).cpu().numpy().astype(array.dtype)
        record[name] = Array(np.ascontiguousarray(values))
        at += size
    return record


def to_row(record: ArrayRecord, store: Store, layout: Layout) -> Row:
    """The stored model that a record holds; taken into the store if it is not there yet.

    Raises:
        ValueError: names or shapes are not the model's.
    """
    row = stored_row(record)
    if row is not None and row.store is store:
        return row
    shapes = {name: tuple(array.shape) for name, array in record.items()}
    wanted = dict(zip(layout.names, layout.shapes, strict=True))
    if shapes != wanted:
        raise ValueError(f"arrays: {shapes} is not allowed: the task's model has {wanted}")
    params = {name: torch.as_tensor(np.array(array.numpy()), dtype=torch.float32) for name, array in record.items()}
    return store.put(layout.flat(params)[None])[0]


def snapshot(content: RecordDict) -> RecordDict:
    """A copy that later changes to the original's containers do not reach; the values themselves are immutable."""
    return compat.filled(RecordDict(), {key: _copied(record) for key, record in content.items()})


def _copied(record: Any) -> Any:
    if isinstance(record, ArrayRecord):
        arrays = {name: v if isinstance(v, StoreArray) else compat.shared(v) for name, v in record.items()}
        return compat.filled(ArrayRecord(), arrays)
    values = {name: list(value) if isinstance(value, list) else value for name, value in record.items()}
    return compat.filled(ConfigRecord(), values) if isinstance(record, ConfigRecord) else compat.filled(MetricRecord(), values)


def wire_bytes(content: RecordDict | None) -> int:
    """Size of a message with this content on the wire, bytes, without serialising anything that is stored."""
    total = ENVELOPE_BYTES
    for record in content.values() if content is not None else ():
        if isinstance(record, ArrayRecord):
            for name, array in record.items():
                total += len(name)
                if isinstance(array, StoreArray):
                    total += 4 * int(np.prod(array.shape, dtype=np.int64)) + NPY_HEADER_BYTES
                else:
                    total += len(array.data)
        else:
            total += record.count_bytes()
    return total
