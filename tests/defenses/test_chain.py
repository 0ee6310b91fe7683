"""Chains: composition, what they explain, and how they are read from and written to plain data."""

from __future__ import annotations

import json
import math

import pytest
import torch
import yaml
from pydantic import BaseModel, ValidationError

from decai_sim.defenses import (
    NNM,
    Chain,
    Context,
    DefenseField,
    Krum,
    Mean,
    Median,
    Mixing,
    MixingChain,
    TrimmedMean,
    parse_defense,
)
from decai_sim.errors import explain
from decai_sim.testing import check_defense


class Scenario(BaseModel, frozen=True):
    defense: DefenseField | None = None


def normal(n: int, d: int = 5, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_a_chain_is_its_steps_one_after_the_other() -> None:
    x = normal(9)
    assert torch.equal((NNM(f=2) >> TrimmedMean(f=2))(x), TrimmedMean(f=2)(NNM(f=2)(x)))
    twice = NNM(f=2) >> NNM(f=1) >> Median()
    assert torch.allclose(twice(x), Median()(NNM(f=1)(NNM(f=2)(x))), atol=1e-6)


def test_joining_flattens() -> None:
    steps = (NNM(f=1), NNM(f=2), Krum(f=1))
    a, b, c = steps
    assert isinstance(a >> b, MixingChain)
    assert (a >> b >> c).steps == steps
    assert (a >> (b >> c)).steps == steps
    assert Chain(steps=(a, b, c)) == a >> b >> c
    assert hash(Chain(steps=(a, b, c))) == hash(a >> b >> c)


def test_a_rule_ends_a_chain() -> None:
    with pytest.raises(TypeError, match="krum is a rule and ends a chain"):
        Krum(f=1) >> NNM(f=1)
    with pytest.raises(TypeError):
        NNM(f=1) >> 3  # type: ignore[operator]
    for steps, message in (
        ([], "an empty chain"),
        ([NNM()], "nnm only mixes; end the chain with a rule"),
        ([Krum(), Median()], "krum is a rule and ends a chain"),
    ):
        with pytest.raises(ValidationError, match=message):
            Chain(steps=steps)
    with pytest.raises(ValidationError, match="krum is a rule; only mixing steps"):
        MixingChain(steps=(NNM(), Krum()))


@pytest.mark.parametrize(
    "chain",
    [
        NNM(f=1) >> NNM(f=2),
        NNM(f=2) >> Median(),
        Chain.model_validate({"steps": ["krum"]}),
        Chain.model_validate({"steps": ["nnm", "krum"], "f": 2}),
    ],
)
def test_conformance_of_joined_steps(chain: Chain | MixingChain) -> None:
    check_defense(chain)


def test_explain_speaks_of_the_rows_that_came_in() -> None:
    x = normal(7)
    x[5:] = 1e8
    result = (NNM(f=2) >> Krum(f=2)).explain(x)
    assert result.weights is not None
    assert result.scores is not None
    assert result.kept.tolist() == [True] * 5 + [False] * 2
    assert torch.allclose(result.weights, torch.tensor([0.2] * 5 + [0.0] * 2))
    assert result.scores[5:].min() > result.scores[:5].max()
    median = (NNM(f=2) >> Median()).explain(x)
    assert median.weights is None
    assert median.kept.all()  # the attackers' own mixed rows hold them, and the median used every mixed row


def test_rows_are_dropped_before_mixing_even_for_the_mean() -> None:
    x = normal(7)
    poisoned = x.clone()
    poisoned[2] = math.nan
    others = [i for i in range(7) if i != 2]
    for rule in (Mean(), Median(), Krum(f=2), TrimmedMean(f=2)):
        expected = (NNM(f=1) >> (rule if rule.f is None else rule.model_copy(update={"f": 1})))(x[others])
        result = (NNM(f=2) >> rule).explain(poisoned)
        assert torch.equal(result.value, expected)
        assert not result.kept[2]
    assert Chain(steps=(Mean(),))(poisoned).isnan().all()


def test_f_of_the_chain_and_of_the_context() -> None:
    x = normal(9)
    expected = (NNM(f=2) >> Krum(f=2))(x)
    assert torch.equal(Chain(steps=("nnm", "krum"), f=2)(x), expected)
    assert torch.equal(Chain(steps=("nnm", "krum"))(x, Context(f=2)), expected)
    with pytest.raises(ValueError, match=r"nnm\.f: None"):
        Chain(steps=("nnm", "krum"))(x)


def test_counts_are_mixed_with_the_rows() -> None:
    x = torch.tensor([[0.0], [1.0], [10.0], [11.0]])
    counts = Context(num_examples=torch.tensor([1, 3, 10, 10]))
    # Mixed rows .5 .5 10.5 10.5 with counts 2 2 10 10.
    assert (NNM(f=2) >> Mean(weighted=True))(x, counts).tolist() == pytest.approx([(2 * 0.5 * 2 + 2 * 10.5 * 10) / 24])


def test_a_mixing_step_may_return_fewer_rows() -> None:
    class Pairs(Mixing, abstract=True):
        def mixing(self, updates: torch.Tensor, context: Context | None = None) -> torch.Tensor:
            return torch.eye(len(updates) // 2).repeat_interleave(2, dim=1) / 2

    Pairs.kind = "pairs"
    x = torch.tensor([[1.0], [3.0], [10.0], [20.0], [5.0], [5.0]])
    result = (Pairs() >> Krum(f=0)).explain(x)
    assert result.value.tolist() == [2.0]
    assert result.weights is not None
    assert result.weights.tolist() == [0.5, 0.5, 0, 0, 0, 0]
    assert result.kept.tolist() == [True, True, False, False, False, False]
    assert result.scores is None


# ---- plain data


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("median", Median()),
        ({"kind": "krum", "f": 2}, Krum(f=2)),
        (Krum(f=2), Krum(f=2)),
        (["median"], Median()),
        ([{"kind": "nnm"}, {"kind": "trimmed_mean"}], NNM() >> TrimmedMean()),
        (("nnm", Krum(f=1)), NNM() >> Krum(f=1)),
        (["nnm", ["nnm"]], "error"),
        ({"kind": "chain", "f": 2, "steps": ["nnm", "krum"]}, Chain(f=2, steps=("nnm", "krum"))),
    ],
)
def test_reading(value: object, expected: object) -> None:
    if expected == "error":
        with pytest.raises(ValidationError):
            Scenario(defense=value)  # type: ignore[arg-type]
        return
    scenario = Scenario(defense=value)  # type: ignore[arg-type]
    assert scenario.defense == expected
    text = yaml.safe_dump(scenario.model_dump(mode="json"))
    assert Scenario(**yaml.safe_load(text)) == scenario
    assert Scenario.model_validate_json(scenario.model_dump_json()) == scenario


def test_a_chain_is_written_as_a_list() -> None:
    scenario = Scenario(defense=NNM(f=1) >> Krum(f=1))
    assert json.loads(scenario.model_dump_json()) == {"defense": [{"kind": "nnm", "f": 1}, {"kind": "krum", "f": 1}]}
    assert (NNM() >> NNM()).to_config() == [{"kind": "nnm", "f": None}, {"kind": "nnm", "f": None}]


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("nnm", "defense: 'nnm' is not allowed: nnm only mixes; end the chain with a rule such as trimmed_mean"),
        (["nnm", "nnm"], "defense: ['nnm', 'nnm'] is not allowed: nnm only mixes; end the chain with a rule such as"),
        ([], "defense: [] is not allowed: an empty chain is not allowed; say null for no defense"),
        (["krum", "median"], "defense: ['krum', 'median'] is not allowed: krum is a rule and ends a chain; only mixing"),
        ([{"kind": "nnm", "f": -1}, "krum"], "defense.0.f: -1 is not allowed: input should be greater than or equal to 0"),
        (["nnm", {"kind": "krum", "g": 1}], "defense.1.g: unknown key (value 1)"),
        (["nnm", "crum"], "defense.1.kind: 'crum' is not allowed: choose one of "),
        ({"kind": "krum", "f": "x"}, "defense.f: 'x' is not allowed"),
        ("krun", "defense.kind: 'krun' is not allowed: choose one of "),
        (7, "defense: 7 is not allowed"),
    ],
)
def test_errors_name_the_place(value: object, line: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Scenario(defense=value)  # type: ignore[arg-type]
    assert explain(caught.value).startswith(line)


def test_parse_defense_passes_none_and_rules_through() -> None:
    rule = Krum(f=1)
    assert parse_defense(None) is None
    assert parse_defense(rule) is rule
