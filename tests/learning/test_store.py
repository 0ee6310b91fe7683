"""Models as rows of one matrix."""

from __future__ import annotations

import gc
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from decai_sim.errors import MemoryLimitError
from decai_sim.learning import CNN, MLP, Softmax
from decai_sim.learning import store as store_module
from decai_sim.learning.store import Layout, Row, Store


def rows(k: int, d: int = 3, first: float = 0.0) -> torch.Tensor:
    return torch.arange(k * d, dtype=torch.float32).reshape(k, d) + first


def test_what_is_put_comes_back() -> None:
    store = Store(3)
    handles = store.put(rows(5))
    assert torch.equal(store.gather(handles), rows(5))
    assert torch.equal(store.gather([handles[4], handles[0], handles[4]]), rows(5)[[4, 0, 4]])
    assert torch.equal(handles[2].tensor(), rows(5)[2])


def test_nobody_outside_can_write_into_it() -> None:
    store, given = Store(3), rows(2)
    a, b = store.put(given)
    given.zero_()
    a.tensor().zero_()
    store.gather([a, b]).zero_()
    store.gather([a]).zero_()
    assert torch.equal(store.gather([a, b]), rows(2))


def test_a_slot_is_used_again_when_nobody_holds_its_handle() -> None:
    store = Store(3)
    kept, dropped = store.put(rows(2))
    slot = dropped.slot
    also = dropped
    del dropped
    gc.collect()
    assert slot not in [row.slot for row in store.put(rows(1, first=100))]  # somebody still holds it
    del also
    gc.collect()
    (new,) = store.put(rows(1, first=50))
    assert new.slot == slot
    assert torch.equal(new.tensor(), rows(1, first=50)[0])
    assert torch.equal(kept.tensor(), rows(2)[0])


def test_growing_keeps_everything() -> None:
    store = Store(3)
    handles: list[Row] = []
    for k in (1, 0, 16, 40, 3, 200):
        handles += store.put(rows(k, first=1000.0 * len(handles)))
    assert len({row.slot for row in handles}) == len(handles) == 260
    at = 0
    for k in (1, 0, 16, 40, 3, 200):
        assert torch.equal(store.gather(handles[at : at + k]), rows(k, first=1000.0 * at))
        at += k


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20)), max_size=40))
def test_any_history_of_keeping_and_dropping_mixes_nothing_up(history: list[tuple[bool, int]]) -> None:
    store, held, stamp = Store(2), {}, 0.0
    for drop, k in history:
        if drop:
            for row in list(held)[:k]:
                del held[row]
            row = None
        else:
            values = torch.full((k, 2), stamp) + torch.arange(k)[:, None]
            held |= {row: values[i] for i, row in enumerate(store.put(values))}
            stamp += 100.0
    assert len({row.slot for row in held}) == len(held)
    assert all(torch.equal(row.tensor(), value) for row, value in held.items())


def test_a_store_does_not_grow_when_handles_come_and_go() -> None:
    store = Store(2)
    for _ in range(100):
        store.put(torch.zeros(10, 2))
    assert store.nbytes <= 32 * 2 * 4


def test_nothing_can_be_gathered() -> None:
    assert Store(3).gather([]).shape == (0, 3)


@pytest.mark.parametrize("model", [Softmax(), MLP(hidden=(5, 4)), CNN(channels=(2, 3), hidden=4)])
def test_a_layout_takes_parameters_apart_and_together_again(model: MLP | CNN) -> None:
    module = model.module((8, 8), 10, torch.Generator().manual_seed(0))
    layout = Layout.of(module)
    params = {name: p.detach() for name, p in module.named_parameters()}
    row = layout.flat(params)
    assert row.shape == (layout.d,) == (sum(p.numel() for p in module.parameters()),)
    views = layout.views(row)
    assert list(views) == list(params)
    assert all(torch.equal(views[name], params[name]) for name in params)
    assert torch.equal(row, nn.utils.parameters_to_vector(module.parameters()).detach())
    stacked = layout.views(torch.stack([row, 2 * row, 3 * row]))
    assert all(torch.equal(stacked[name][2], 3 * params[name]) for name in params)
    views[layout.names[0]].zero_()
    assert not row[: layout.offsets[1]].any()  # views, not copies


def test_a_layout_keeps_parameters_without_dimensions() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(2.0))
            self.weight = nn.Parameter(torch.ones(2, 3))

    layout = Layout.of(Scaled())
    views = layout.views(torch.arange(14.0).reshape(2, 7))
    assert views["scale"].tolist() == [0.0, 7.0]
    assert views["weight"].shape == (2, 2, 3)


def test_models_with_other_state_are_refused() -> None:
    with pytest.raises(TypeError, match="Sequential has buffers; use a model whose state is its parameters"):
        Layout.of(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))


def test_what_the_device_has_no_room_for_is_kept_by_the_host() -> None:
    store = Store(3, device_bytes=20 * 12)
    handles = [row for at in range(0, 100, 10) for row in store.put(rows(10, first=30.0 * at / 10))]
    assert 0 < store.spilled_bytes < store.nbytes
    assert store.nbytes - store.spilled_bytes <= 20 * 12
    order = [99, 0, 45, 7, 45]
    assert torch.equal(store.gather([handles[i] for i in order]), rows(100)[order])
    assert torch.equal(handles[77].tensor(), rows(100)[77])


@given(st.lists(st.integers(0, 99), max_size=30), st.integers(0, 2**32))
def test_a_weighted_sum_is_the_product(which: list[int], seed: int) -> None:
    store, given = Store(4, device_bytes=16 * 30), rows(100, d=4)
    handles = [row for at in range(0, 100, 20) for row in store.put(given[at : at + 20])]
    weights = torch.randn(len(which), generator=torch.Generator().manual_seed(seed))
    total = store.weighted_sum([handles[i] for i in which], weights)
    torch.testing.assert_close(total, weights @ given[which], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("device_bytes", [None, 0, 16 * 4 * 20_000, 10**9])
@pytest.mark.parametrize("blocks", [1, 5])
def test_weighted_sums_are_a_product_wherever_rows_lie(device_bytes: int | None, blocks: int) -> None:
    d, generator = 20_000, torch.Generator().manual_seed(blocks)  # columns are taken a few at a time
    store, given = Store(d, device_bytes=device_bytes), torch.randn(60, d, generator=generator)
    if blocks == 1:
        store.reserve(100)
    handles = [row for at in range(0, 60, 12) for row in store.put(given[at : at + 12])]
    which = torch.randperm(60, generator=generator)[:40].tolist()
    weights = torch.zeros(30, 40)
    of, begins, factors = [], [], []
    for sum_ in range(30):
        begins.append(len(of))
        for place in torch.randperm(40, generator=generator)[: sum_ % 7 + 1].tolist():
            of.append(place)
            factors.append(float(torch.randn((), generator=generator)))
            weights[sum_, place] = factors[-1]
    del handles[::7]  # slots that are free lie between those that are not
    kept = [store.put(given[i : i + 1])[0] for i in which]
    found = store.combined(kept, of, begins, factors)
    torch.testing.assert_close(store.gather(found), weights @ given[which], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(store.gather(kept), given[which], rtol=0, atol=0)
    assert len({row.slot for row in [*handles, *kept, *found]}) == len(handles) + len(kept) + len(found)


def test_more_models_than_there_is_memory_for_are_refused_before_they_are_laid(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(1000)
    store.put(rows(10, d=1000))
    monkeypatch.setattr("decai_sim.learning.store._free_bytes", lambda device: 1_000_000)
    with pytest.raises(MemoryLimitError, match=r"^store: 1006 models of 1000 parameters need 0\.0 GB, and only 0\.0 GB are free"):
        store.put(rows(1006, d=1000))
    assert store.in_use == 0
    store.put(rows(10, d=1000))


def test_growing_copies_nothing() -> None:
    store = Store(1000)
    held = store.put(rows(16, d=1000))
    where = store._blocks[0].data_ptr()
    held += store.put(rows(500, d=1000))
    assert store._blocks[0].data_ptr() == where
    assert store.nbytes < 2.1 * 516 * 4000


@pytest.mark.parametrize(
    ("folder", "files", "free"),
    [
        ("", {"memory.max": "1000", "memory.current": "700", "memory.stat": "anon 600\ninactive_file 50"}, 350),
        ("", {"memory.max": "max", "memory.current": "700", "memory.stat": "inactive_file 50"}, math.inf),
        (
            "memory",
            {"memory.limit_in_bytes": "900", "memory.usage_in_bytes": "950", "memory.stat": "total_inactive_file 10"},
            0,
        ),
        ("", {}, math.inf),
    ],
)
def test_the_limit_of_a_container_counts(
    folder: str, files: dict[str, str], free: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / folder).mkdir(exist_ok=True)
    for name, text in files.items():
        (tmp_path / folder / name).write_text(text)
    assert store_module._free_in_group_bytes(tmp_path) == free
    monkeypatch.setattr(store_module, "_GROUP", tmp_path)
    found = store_module._free_bytes(torch.device("cpu"))
    assert found == free if free < math.inf else found > 1e6
    if free == 350:
        with pytest.raises(MemoryLimitError, match="store: 100 models of 3 parameters"):
            Store(3).reserve(100)
