"""Steps before rules, by hand; what of the rows' weights, names and distances comes through them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from decai_sim.defenses import (
    ARC,
    NNM,
    Bucketing,
    Buffers,
    Chain,
    Clipping,
    Context,
    DnC,
    GeometricMedian,
    Krum,
    Mean,
    Median,
    Mixing,
    MixingChain,
    Momentum,
    MultiKrum,
    Rule,
    Step,
    Stepped,
    TrimmedMean,
    distances,
    parse_defense,
)
from decai_sim.defenses.distances import cosines, geometry, products, squared_distances
from decai_sim.testing import check_defense
from tests.defenses.test_defenses import brute, close, ids, normal


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ---- by hand


@pytest.mark.parametrize(("n", "s", "sizes"), [(6, 2, [2, 2, 2]), (7, 3, [3, 3, 1]), (3, 1, [1, 1, 1]), (2, 5, [2])])
def test_buckets(n: int, s: int, sizes: list[int]) -> None:
    x = normal(n)
    done = Bucketing(s=s).step(x, Context(generator=draws()))
    assert done.matrix is not None
    assert [int((row > 0).sum()) for row in done.matrix] == sizes
    assert (done.matrix > 0).sum(dim=0).tolist() == [1] * n
    assert close(done.rows, done.matrix @ x)
    assert Bucketing(s=s).rows_left(n) == len(sizes)


def test_buckets_are_drawn_from_the_context() -> None:
    x = normal(10)
    once, again, other = (Bucketing()(x, Context(generator=draws(seed))) for seed in (1, 1, 2))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)


def test_after_buckets_f_is_held_against_fewer_rows() -> None:
    with pytest.raises(ValueError, match=r"trimmed_mean\.f: 3 is not allowed with 5 rows: choose at most 2"):
        (Bucketing(s=2) >> TrimmedMean(f=3))(normal(10))


def test_clipping_by_hand() -> None:
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0], [0.3, 0.4]])
    done = Clipping(tau=1).step(x, None)
    assert close(done.rows, [[0.6, 0.8], [0, 0], [0.3, 0.4]])
    assert done.matrix is not None
    assert close(done.matrix.diagonal(), [0.2, 1, 1])


@pytest.mark.parametrize(("n", "f", "clipped"), [(10, 2, 3), (10, 0, 0), (3, 1, 1), (5, 4, 1), (4, 2, 2)])
def test_arc_clips_as_many_as_it_says(n: int, f: int, clipped: int) -> None:
    x = torch.arange(1.0, n + 1)[:, None]
    kept = [float(i) for i in range(1, n - clipped + 1)]
    assert ARC(f=f)(x).flatten().tolist() == [*kept, *[kept[-1]] * clipped]


def test_momentum_is_kept_by_name() -> None:
    memory: dict[str, Any] = {}
    step, seen = Momentum(beta=0.8), dict[int, torch.Tensor]()
    for number in range(20):
        some = torch.randperm(8, generator=draws(number))[: 8 if number % 3 else 1 + number % 7]
        x = normal(len(some), 4, number)
        made = step(x, Context(who=some, memory=memory))
        for name, row, out in zip(some.tolist(), x, made, strict=True):
            seen[name] = row if name not in seen else 0.8 * seen[name] + 0.2 * row
            assert close(out, seen[name], 1e-5)


def test_momentum_of_a_row_that_is_not_finite_stays() -> None:
    memory: dict[str, Any] = {}
    about = Context(who=torch.arange(2), memory=memory)
    Momentum()(torch.tensor([[1.0], [1.0]]), about)
    Momentum()(torch.tensor([[float("nan")], [2.0]]), about)
    assert close(Momentum()(torch.tensor([[1.0], [1.0]]), about), [[1.0], [1.09]])


def test_momentum_of_a_sender_that_is_there_twice() -> None:
    memory: dict[str, Any] = {}
    rows, who = torch.tensor([[1.0], [10.0], [3.0], [-2.0], [5.0]]), torch.tensor([7, 2, 7, 3, 7])
    step = Momentum(beta=0.5)
    # 7: 1, then (1 + 3)/2, then (2 + 5)/2.
    assert close(step(rows, Context(who=who, memory=memory)), [[1.0], [10.0], [2.0], [-2.0], [3.5]])
    again = step(torch.tensor([[20.0], [0.0], [3.5], [4.5]]), Context(who=torch.tensor([2, 3, 7, 7]), memory=memory))
    assert close(again, [[15.0], [-1.0], [3.5], [4.0]])


def test_what_momentum_returns_is_not_its_memory() -> None:
    about = Context(who=torch.arange(3), memory={})
    first = Momentum()(normal(3), about)
    copy = first.clone()
    Momentum()(normal(3, seed=1), about)
    assert torch.equal(first, copy)


def test_buffers_by_hand() -> None:
    x = torch.tensor([[1.0], [2.0], [3.0], [10.0]])
    assert Buffers(buffers=3)(x, Context(who=torch.tensor([3, 1, 6, 4]))).tolist() == [[2.0], [6.0]]


# ---- chains of them


def test_weights_and_kept_come_back_through_averages_and_clipping() -> None:
    x = normal(9)
    x[7:] = 1e6
    found = (Clipping(tau=1) >> NNM(f=2) >> MultiKrum(f=2)).explain(x)
    assert found.weights is not None
    assert close(found.weights @ x, found.value, 1e-4)
    buckets = (Bucketing(s=2) >> Krum(f=1)).explain(x, Context(generator=draws()))
    assert int(buckets.kept.sum()) == 2
    assert buckets.weights is not None
    assert buckets.weights[buckets.kept].tolist() == [0.5, 0.5]
    assert buckets.scores is None


def test_after_a_step_that_is_not_linear_there_are_no_weights() -> None:
    x = normal(7)
    x[5:] = 1e6
    chain = Momentum() >> NNM(f=2) >> MultiKrum(f=2)
    found = chain.explain(x, Context(who=torch.arange(7), memory={}))
    assert found.weights is None
    assert found.kept.tolist() == [True] * 5 + [False] * 2
    assert found.scores is not None


def test_a_chain_is_what_its_steps_are() -> None:
    chain = Momentum() >> Bucketing() >> Krum()
    assert isinstance(chain, Chain)
    assert (chain.needs, chain.symmetric) == (frozenset({"who", "memory"}), False)
    steps = Clipping(tau=1) >> NNM(f=1)
    assert isinstance(steps, MixingChain)
    assert (steps.averages, (NNM(f=1) >> Bucketing()).averages) == (False, True)
    assert steps.rows_left(5) == 5
    with pytest.raises(ValueError, match=r"context\.memory: None is not allowed with momentum: give a dictionary"):
        chain(normal(7), Context(f=1, who=torch.arange(7)))


@pytest.mark.parametrize(
    "chain",
    [
        Momentum() >> NNM(f=1) >> Krum(f=1),
        Bucketing() >> TrimmedMean(f=1),
        Clipping(tau=1.0) >> NNM(f=1) >> GeometricMedian(),
        Buffers(buffers=4) >> Median(),
        ARC(f=1) >> Bucketing(),
        Momentum() >> Clipping(tau=1.0),
        Clipping(tau=1.0) >> NNM(f=1),
    ],
    ids=ids,
)
def test_conformance_of_chains(chain: Rule | Step) -> None:
    check_defense(chain)


def test_chains_of_plain_data() -> None:
    read = parse_defense([{"kind": "momentum", "beta": 0.5}, {"kind": "bucketing"}, "krum"])
    assert read == Momentum(beta=0.5) >> Bucketing() >> Krum()
    with pytest.raises(ValueError, match="momentum only mixes; end the chain with a rule"):
        parse_defense("momentum")


def test_a_step_of_ones_own() -> None:
    class Halve(Step, abstract=True):
        def step(self, rows: torch.Tensor, context: Context | None) -> Stepped:
            return Stepped(rows / 2, None)

    Halve.kind = "halve"
    x = normal(5)
    assert torch.equal((Halve() >> Mean())(x), x.div(2).mean(dim=0))


# ---- whom a row stands for


class Turned(Mixing, abstract=True):
    """The rows in another order: each goes one place down."""

    def mixing(self, updates: torch.Tensor, context: Context | None = None) -> torch.Tensor:
        return torch.eye(len(updates)).roll(1, dims=0)


Turned.kind = "turned"


@pytest.mark.parametrize(
    "step",
    [Turned(), Bucketing(s=1), Buffers(buffers=100), Bucketing(s=1) >> NNM(f=0), Momentum(), NNM(f=1), Clipping(tau=100)],
    ids=ids,
)
def test_scores_and_names_stay_with_their_rows_in_whatever_order_they_come_out(step: Step) -> None:
    x = normal(7)
    x[2] = 50.0
    who = torch.tensor([9, 4, 8, 1, 7, 3, 2])
    found = (step >> MultiKrum(f=1)).explain(x, Context(who=who, memory={}, generator=draws()))
    assert found.scores is not None
    if step != Bucketing(s=1) >> NNM(f=0):  # which makes all rows the same
        assert int(found.scores.argmax()) == 2


@pytest.mark.parametrize("step", [Turned(), Bucketing(s=1), Buffers(buffers=100)], ids=ids)
def test_what_is_remembered_of_senders_is_theirs(step: Step) -> None:
    x, who, memory = normal(7), torch.tensor([9, 4, 8, 1, 7, 3, 2]), dict[str, Any]()
    (step >> Momentum() >> Mean())(x, Context(who=who, memory=memory, generator=draws()))
    places = memory["momentum"]["places"]
    for name, row in zip(who.tolist(), x, strict=True):
        assert torch.equal(memory["momentum"]["rows"][places[name]], row)


def test_rows_that_are_no_ones_have_no_names() -> None:
    class Neighbours(Mixing, abstract=True):
        def mixing(self, updates: torch.Tensor, context: Context | None = None) -> torch.Tensor:
            eye = torch.eye(len(updates))
            return (eye.roll(1, dims=0) + eye.roll(2, dims=0)) / 2

    Neighbours.kind = "neighbours"
    x = normal(7)
    assert Neighbours().step(x, None).stands_for() is None
    assert (Neighbours() >> Krum(f=1)).explain(x).scores is None
    with pytest.raises(ValueError, match=r"context\.who: None is not allowed with momentum"):
        (Neighbours() >> Momentum() >> Mean())(x, Context(who=torch.arange(7), memory={}))


# ---- distances, once


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    made: list[int] = []
    real = distances._geometry

    def count(rows: torch.Tensor) -> Any:
        made.append(len(rows))
        return real(rows)

    monkeypatch.setattr(distances, "_geometry", count)
    return made


def test_one_gram_matrix_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    made = counted(monkeypatch)
    x = normal(12)
    (NNM(f=2) >> NNM(f=2) >> Krum(f=2))(x)
    assert made == [12]
    about = Context()
    for rule in (Krum(f=2), MultiKrum(f=2), GeometricMedian(), NNM(f=2)):
        rule(x, about)
    assert made == [12, 12]
    (NNM(f=2) >> Bucketing() >> Krum(f=1))(x)
    assert made == [12, 12, 12]


def test_dnc_of_all_coordinates_uses_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    made = counted(monkeypatch)
    x = normal(12)
    chain = NNM(f=2) >> DnC(f=2, iterations=3)
    value = chain(x)
    assert made == [12]
    assert torch.allclose(value, DnC(f=2, iterations=3)(NNM(f=2)(x)), atol=1e-6)
    assert chain.flops(12, 9000) < (NNM(f=2) >> DnC(f=2, coordinates=8999)).flops(12, 9000)
    assert DnC(f=2, iterations=2, coordinates=8).flops(12, 9000) < DnC(f=2).flops(12, 9000)


def test_what_clipping_changes_is_measured_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    made = counted(monkeypatch)
    x = normal(12)
    (NNM(f=2) >> Clipping(tau=1) >> Krum(f=2))(x)
    assert made == [12, 12]


def test_rows_written_to_or_others_are_measured_anew() -> None:
    about = Context()
    x = normal(9)
    before = squared_distances(x, about)
    assert squared_distances(x, about) is before
    assert torch.allclose(squared_distances(x[:5], about), brute(x[:5]))
    x[0] += 1
    assert torch.allclose(squared_distances(x, about), brute(x))
    assert torch.allclose(squared_distances(x.clone() * 2, about), brute(2 * x))


def test_inference_mode() -> None:
    with torch.inference_mode():
        x = normal(9)
        about = Context()
        (NNM(f=2) >> Krum(f=2))(x, about)
        squared_distances(x, about)
        x += 1
        x[0] = 0
        assert torch.allclose(squared_distances(x, about), brute(x))


@pytest.mark.parametrize("far", [0.0, 1e8, 1e30])
@pytest.mark.parametrize("step", [NNM(f=3), Bucketing(), NNM(f=3) >> NNM(f=3)], ids=ids)
def test_distances_between_averages_are_those_of_the_averages(step: Step, far: float) -> None:
    x = 11 + 0.01 * normal(15, 40, dtype=torch.float64)
    if far:
        x[:3] = far
    done = step.step(x, Context(generator=draws()))
    assert done.matrix is not None
    exact = brute(done.matrix @ x)
    mixed = geometry(x).mixed(done.matrix).squared
    scale = float(brute(x[3:]).max())
    # Averages with a far row in them may be near one another too, but then nobody knows how near.
    clean = (done.matrix[:, :3] == 0).all(dim=1) if far else torch.ones(len(exact), dtype=torch.bool)
    assert torch.allclose(mixed[clean][:, clean], exact[clean][:, clean], rtol=1e-6, atol=1e-9 * scale)


@pytest.mark.parametrize("n", [1, 2, 3, 130, 300])
def test_products_and_cosines(n: int) -> None:
    x = 3 + normal(n, 900, dtype=torch.float64)
    assert torch.allclose(products(x), x @ x.T)
    assert torch.allclose(cosines(x), torch.nn.functional.cosine_similarity(x[:, None, :], x[None, :, :], dim=2))
    assert torch.allclose(squared_distances(x), brute(x))


# ---- what it costs


def test_flops_count_distances_once() -> None:
    n, d = 100, 10_000
    once = Krum(f=2).flops(n, d)
    assert once == pytest.approx(2 * n * n * d, rel=0.01)
    assert (NNM(f=2) >> Krum(f=2)).flops(n, d) == pytest.approx(4 * n * n * d, rel=0.03)
    assert (Clipping(tau=1) >> Krum(f=2)).flops(n, d) == pytest.approx(once, rel=0.03)
    assert (Bucketing(s=2) >> Krum(f=2)).flops(n, d) == pytest.approx(once / 4, rel=0.05)
    assert Mean().flops(n, d) == 2 * n * d
