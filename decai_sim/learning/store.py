"""Models as rows of one matrix."""

from __future__ import annotations

import hashlib
import itertools
import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path as File
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from decai_sim.errors import MemoryLimitError, ScenarioError

if TYPE_CHECKING:
    from torch import nn


Columns = list[torch.Tensor]
"""Models ``(k, d)`` as a tensor ``(k, width)`` a parameter: side by side they compute fastest where each lies by itself."""


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

    def columns(self, rows: torch.Tensor) -> Columns:
        """``rows (k, d)`` parameter by parameter, views of it."""
        return [rows[:, start:end] for start, end in itertools.pairwise(self.offsets)]

    def params(self, columns: Columns) -> dict[str, torch.Tensor]:
        """Columns that lie as they should, as parameters ``(k, *shape)``; views of them."""
        shaped = zip(self.names, self.shapes, columns, strict=True)
        return {name: part.view(len(part), *shape) for name, shape, part in shaped}

    def named(self, beginnings: Sequence[str]) -> torch.Tensor:
        """``(d,)`` bool: what belongs to parameters whose names begin with one of ``beginnings``.

        Raises:
            ScenarioError: no parameter's name begins with one of them.
        """
        which = torch.zeros(self.d, dtype=torch.bool)
        for beginning in beginnings:
            found = [i for i, name in enumerate(self.names) if name.startswith(beginning)]
            if not found:
                raise ScenarioError(f"personal: {beginning!r} is not allowed: the model's parameters are {', '.join(self.names)}")
            for i in found:
                which[self.offsets[i] : self.offsets[i + 1]] = True
        return which

    def flat(self, params: dict[str, torch.Tensor]) -> torch.Tensor:
        """The row ``(d,)`` of named parameters."""
        return torch.cat([params[name].reshape(-1) for name in self.names])


_BLOCK_BYTES = 64 << 20
_CACHED_BYTES = 1 << 20
"""What is read twice without going to the memory twice."""
_SHARE = 0.8
"""How much of the memory that is free models may fill."""
_HOST = torch.device("cpu")


class Row:
    """A handle on one model in a :class:`Store`; its slot is free again when nobody holds the handle."""

    __slots__ = ("_digest", "slot", "store")

    def __init__(self, store: Store, slot: int) -> None:
        self.store, self.slot = store, slot
        self._digest: str | None = None

    def __del__(self) -> None:
        self.store._free.append(self.slot)

    def tensor(self) -> torch.Tensor:
        """``(d,)`` on the store's device, a copy: nobody outside can write into the store."""
        return self.store.gather([self])[0]

    def part(self, start: int, stop: int) -> torch.Tensor:
        """``(stop - start,)`` of the model's numbers, as :meth:`tensor`; the others are not read."""
        return self.store.part(self, start, stop)

    def digest(self) -> str:
        """SHA-256 of the model's numbers."""
        if self._digest is None:
            self._digest = hashlib.sha256(self.tensor().cpu().numpy().tobytes()).hexdigest()
        return self._digest


class Store:
    """Models as rows of a matrix that grows, block after block, as needed. Rows are written once.

    Blocks are laid on the device until ``device_bytes`` are full, then in the host's memory, pinned where the device is a GPU;
    rows kept there travel when they are looked at.

    Args:
        d: parameters a model has.
        device: where the matrix lives.
        device_bytes: how much of the device's memory it may take; None: 80 % of what is free when a block is laid.

    Raises:
        MemoryLimitError: from :meth:`put`, when neither device nor host has room for the rows.

    Example:
        >>> store = Store(3)
        >>> row, = store.put(torch.ones(1, 3))
        >>> copy = row.tensor(); copy.zero_().sum().item(), row.tensor().sum().item()
        (0.0, 3.0)
    """

    def __init__(self, d: int, device: str = "cpu", device_bytes: int | None = None) -> None:
        self.d, self.device, self._device_bytes = d, torch.device(device), device_bytes
        self._blocks: list[torch.Tensor] = []
        self._begins: list[int] = []  # their first slots
        self._spilled: list[bool] = []
        self._slots = 0
        self._free: list[int] = []

    @property
    def nbytes(self) -> int:
        """Bytes of all blocks."""
        return self._slots * self._row_bytes

    @property
    def spilled_bytes(self) -> int:
        """Those of them that the device had no room for."""
        return sum(block.nbytes for block, spilled in zip(self._blocks, self._spilled, strict=True) if spilled)

    @property
    def in_use(self) -> int:
        """How many rows somebody holds."""
        return self._slots - len(self._free)

    def reserve(self, rows: int) -> None:
        """Make room for ``rows`` more side by side: what lies in one block is read and written together.

        Raises:
            MemoryLimitError: there is no such room.
        """
        if len(self._free) < rows:
            self._grow(rows)

    def put(self, rows: torch.Tensor | Columns) -> list[Row]:
        """Keep copies of ``rows (k, d)``, or of models in columns; returns their handles."""
        columns = [rows] if isinstance(rows, torch.Tensor) else rows
        k = len(columns[0])
        slots = self._slots_for(k)
        for block, places, within in self._parts(slots):
            at = 0
            for part in columns:
                theirs = part if len(places) == k else part[places.to(part.device)]
                block[:, at : at + part.shape[1]].index_copy_(0, within, theirs.to(block))
                at += part.shape[1]
        return [Row(self, slot) for slot in slots]

    def gather(self, rows: Sequence[Row]) -> torch.Tensor:
        """``(k, d)`` on the device, a copy of the models of ``rows``."""
        return self._gathered(self._parts([row.slot for row in rows]), len(rows), slice(0, self.d))

    def part(self, row: Row, start: int, stop: int) -> torch.Tensor:
        """``(stop - start,)`` on the device, a copy of a part of the model of ``row``."""
        block = bisect_right(self._begins, row.slot) - 1
        theirs = self._blocks[block][row.slot - self._begins[block], start:stop]
        return theirs.to(self.device, copy=True)

    def columns(self, rows: Sequence[Row], layout: Layout) -> Columns:
        """As :meth:`gather`, parameter by parameter."""
        parts, ends = self._parts([row.slot for row in rows]), itertools.pairwise(layout.offsets)
        return [self._gathered(parts, len(rows), slice(start, end)) for start, end in ends]

    def weighted_sum(self, rows: Sequence[Row], weights: torch.Tensor) -> torch.Tensor:
        """``weights (k,) @ rows``, ``(d,)``; only a few rows are copied at a time."""
        total = torch.zeros(self.d, device=self.device)
        few = max(1, _CACHED_BYTES // self._row_bytes)
        for at in range(0, len(rows), few):  # in their order, not the blocks': the last bits depend on it
            theirs = self.gather(rows[at : at + few])
            total += weights[at : at + few].to(theirs) @ theirs
        return total

    def combined(self, rows: Sequence[Row], of: Sequence[int], begins: Sequence[int], weights: Sequence[float]) -> list[Row]:
        """Keep weighted sums of models; returns their handles.

        Columns are taken a few at a time, so that what is read several times is read from the cache.

        Args:
            rows: the models.
            of: which of them each term is of, sum after sum.
            begins: where each sum's terms begin.
            weights: the terms' weights.
        """
        new = self._slots_for(len(begins))
        sources, targets = self._parts([row.slot for row in rows]), self._parts(new)
        # Rows are read block after block, so that each number is copied once: of which row a term is follows their new places.
        place = torch.empty(len(rows), dtype=torch.long, device=self.device)
        place[torch.cat([places for _, places, _ in sources])] = torch.arange(len(rows), device=self.device)
        which, starts = place[torch.tensor(of, device=self.device)], torch.tensor(begins, device=self.device)
        factors = torch.tensor(weights, dtype=torch.float32, device=self.device)
        sizes = [len(within) for _, _, within in sources]
        width = self.d if self.device != _HOST else max(16, 2 * _CACHED_BYTES // (4 * len(rows)))
        for at in range(0, self.d, width):
            columns = slice(at, min(at + width, self.d))
            some = torch.empty((len(rows), columns.stop - columns.start), device=self.device)
            for (block, _, within), theirs in zip(sources, torch.split(some, sizes), strict=True):
                if block.device == some.device:
                    torch.index_select(block[:, columns], 0, within, out=theirs)
                else:
                    theirs.copy_(block[:, columns].index_select(0, within))
            sums = F.embedding_bag(which, some, starts, mode="sum", per_sample_weights=factors)
            for block, places, within in targets:
                theirs = sums if len(targets) == 1 else sums.index_select(0, places)
                block[:, columns].index_copy_(0, within, theirs.to(block))
        return [Row(self, slot) for slot in new]

    def _slots_for(self, k: int) -> list[int]:
        """Slots of ``k`` new rows."""
        while len(self._free) < k:
            self._grow(k - len(self._free))
        return [self._free.pop() for _ in range(k)]

    def _parts(self, slots: Sequence[int]) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """As :meth:`_by_block`: places as a tensor on the device, and those in the block as one where the block is."""
        return [
            (block, torch.as_tensor(places, device=self.device), torch.as_tensor(within, device=block.device))
            for block, places, within in self._by_block(slots)
        ]

    def _gathered(self, parts: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]], k: int, columns: slice) -> torch.Tensor:
        """``(k, columns)`` on the device: some columns of rows, by the blocks that hold them."""
        if len(parts) == 1:
            block, _, within = parts[0]
            return block[:, columns].index_select(0, within).to(self.device)
        gathered = torch.empty((k, columns.stop - columns.start), device=self.device)
        for block, places, within in parts:
            gathered.index_copy_(0, places, block[:, columns].index_select(0, within).to(self.device))
        return gathered

    @property
    def _row_bytes(self) -> int:
        return 4 * self.d

    def _grow(self, wanted: int) -> None:
        """Lay one more block: as large as all there is, but of at most ``_BLOCK_BYTES`` unless more is wanted."""
        more = max(wanted, 16, min(self._slots, _BLOCK_BYTES // max(1, self._row_bytes)))
        nbytes, on_device = more * self._row_bytes, self.nbytes - self.spilled_bytes
        limit = on_device + int(_SHARE * _free_bytes(self.device)) if self._device_bytes is None else self._device_bytes
        spilled = on_device + nbytes > limit
        nowhere_else = self._device_bytes is None and self.device == _HOST
        if spilled and (nowhere_else or nbytes > _SHARE * _free_bytes(_HOST)):
            raise MemoryLimitError(
                f"store: {self._slots + more} models of {self.d} parameters need {(self.nbytes + nbytes) / 1e9:.1f} GB, and only "
                f"{_free_bytes(_HOST) / 1e9:.1f} GB are free; fewer nodes, a smaller model or more memory are needed"
            )
        block = torch.empty((more, self.d), device=_HOST if spilled else self.device)
        self._blocks.append(block.pin_memory() if spilled and self.device.type == "cuda" else block)
        self._spilled.append(spilled)
        self._begins.append(self._slots)
        self._free += range(self._slots + more - 1, self._slots - 1, -1)
        self._slots += more

    def _by_block(self, slots: Sequence[int]) -> Iterator[tuple[torch.Tensor, list[int], list[int]]]:
        """Each block that holds some of ``slots``: their places among ``slots``, and in the block."""
        of_block: dict[int, tuple[list[int], list[int]]] = {}
        for place, slot in enumerate(slots):
            block = bisect_right(self._begins, slot) - 1
            places, within = of_block.setdefault(block, ([], []))
            places.append(place)
            within.append(slot - self._begins[block])
        for block, (places, within) in of_block.items():
            yield self._blocks[block], places, within


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    available = int(psutil.virtual_memory().available)  # type: ignore[no-untyped-call]
    return int(min(available, _free_in_group_bytes(_GROUP)))


_GROUP = File("/sys/fs/cgroup")
"""Where Linux says how much memory a container may use, of which the machine's own figures say nothing."""


def _free_in_group_bytes(group: File) -> float:
    """What a control group leaves, bytes; infinite where it sets no limit. Cached files that can be read again count as free."""
    for folder, most, now, again in (
        (group, "memory.max", "memory.current", "inactive_file"),
        (group / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            limit, used = ((folder / name).read_text(encoding="ascii").strip() for name in (most, now))
            kept = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines())
        except OSError:
            continue
        if limit.isdecimal():
            return max(0, int(limit) - int(used) + int(kept.get(again, 0)))
    return math.inf
