"""Where rules of the same name differ between libraries, found by running them: the table in ``docs/rules_compared.md``.

``DECAI_SIM_WRITE=1 pytest tests/defenses/test_compared.py`` writes the table anew.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import flwr
import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, MetricRecord, RecordDict
from flwr.serverapp import strategy
from flwr.serverapp.strategy import multikrum

from decai_sim.benches import byzfl_rules
from decai_sim.defenses import (
    ARC,
    MDA,
    NNM,
    SMEA,
    Bucketing,
    Bulyan,
    CenteredClipping,
    Clipping,
    Context,
    GeometricMedian,
    Krum,
    Meamed,
    Mean,
    Median,
    MultiKrum,
    TrimmedMean,
)
from tests.defenses.test_defenses import normal

DOCUMENT = Path(__file__).parents[2] / "docs" / "rules_compared.md"
SHAPES = ((11, 2), (16, 3), (23, 5))
"""Rows and attackers of each comparison; of each, four draws of 30 coordinates."""

Function = Callable[[torch.Tensor, int], Any]


@dataclass(frozen=True)
class Comparison:
    """A rule of ours and of another library.

    Attributes:
        name: what ours is called.
        elsewhere: what theirs is called.
        ours: from rows and ``f`` to a result.
        theirs: the same.
        why: where they differ.
        translated: ours again, as it must be to agree with ``other``; and how one says so.
        other: theirs again.
    """

    name: str
    elsewhere: str
    ours: Function
    theirs: Function
    why: str = ""
    how: str = ""
    translated: Function | None = None
    other: Function | None = None
    shapes: tuple[tuple[int, int], ...] = SHAPES


def same(ours: Function, theirs: Function, shapes: tuple[tuple[int, int], ...]) -> bool:
    for n, f in shapes:
        for seed in range(4):
            x = normal(n, 30, seed)  # byzfl makes everything float32
            torch.manual_seed(seed)
            if not np.allclose(np.asarray(ours(x.clone(), f)), np.asarray(theirs(x.clone(), f)), rtol=1e-5, atol=1e-6):
                return False
    return True


def of_byzfl() -> list[Comparison]:
    rules, steps = byzfl_rules.rules(), byzfl_rules.rules("preaggregators")
    small = ((8, 2), (9, 2))

    def sorted_rows(rows: Any) -> np.ndarray:
        array = np.asarray(rows)
        return array[np.lexsort(array.T)]

    return [
        Comparison("mean", "Average", lambda x, f: Mean()(x), lambda x, f: rules.Average()(x)),
        Comparison("median", "Median", lambda x, f: Median()(x), lambda x, f: rules.Median()(x)),
        Comparison("trimmed_mean", "TrMean", lambda x, f: TrimmedMean(f=f)(x), lambda x, f: rules.TrMean(f=f)(x)),
        Comparison("meamed", "Meamed", lambda x, f: Meamed(f=f)(x), lambda x, f: rules.Meamed(f=f)(x)),
        Comparison(
            "geometric_median",
            "GeometricMedian",
            lambda x, f: GeometricMedian()(x),
            lambda x, f: rules.GeometricMedian()(x),
            "three steps from zeros, with ν = 0.1; ours goes on until it has settled",
            'ours with nu=0.1, iterations=3, start="origin"',
            lambda x, f: GeometricMedian(nu=0.1, iterations=3, start="origin")(x),
            lambda x, f: rules.GeometricMedian()(x),
        ),
        Comparison(
            "krum",
            "Krum",
            lambda x, f: Krum(f=f)(x),
            lambda x, f: rules.Krum(f=f)(x),
            "sums over n - f - 1 neighbours, the paper over n - f - 2",
            "theirs with f + 1",
            lambda x, f: Krum(f=f)(x),
            lambda x, f: rules.Krum(f=f + 1)(x),
        ),
        Comparison(
            "multi_krum",
            "MultiKrum",
            lambda x, f: MultiKrum(f=f)(x),
            lambda x, f: rules.MultiKrum(f=f)(x),
            "its scores, as above",
            "ours with m = n - f - 1, theirs with f + 1",
            lambda x, f: MultiKrum(f=f, m=len(x) - f - 1)(x),
            lambda x, f: rules.MultiKrum(f=f + 1)(x),
        ),
        Comparison(
            "centered_clipping",
            "CenteredClipping",
            lambda x, f: CenteredClipping()(x),
            lambda x, f: rules.CenteredClipping()(x),
            "keeps the last result itself; ours is told it by `context.previous`",
        ),
        Comparison(
            "mda",
            "MDA",
            lambda x, f: MDA(f=f)(x),
            lambda x, f: rules.MDA(f=f)(x),
            "of subsets equally wide it takes the first; ours the one whose squared distances sum to the least",
            shapes=small,
        ),
        Comparison(
            "smea",
            "SMEA",
            lambda x, f: SMEA(f=f)(x),
            lambda x, f: rules.SMEA(f=f)(x),
            "one step of power iteration from a random vector; ours has the eigenvalues",
            shapes=small,
        ),
        Comparison("nnm", "NNM", lambda x, f: NNM(f=f)(x), lambda x, f: steps.NNM(f=f)(x)),
        Comparison(
            "bucketing",
            "Bucketing",
            lambda x, f: sorted_rows(Bucketing(s=2)(x)),
            lambda x, f: sorted_rows(steps.Bucketing(s=2)(x)),
            "draws from the global random state; ours from `context.generator`",
            "s=1, but for the order of the rows",
            lambda x, f: sorted_rows(Bucketing(s=1)(x)),
            lambda x, f: sorted_rows(steps.Bucketing(s=1)(x)),
        ),
        Comparison(
            "clipping",
            "Clipping",
            lambda x, f: Clipping()(x),
            lambda x, f: steps.Clipping()(x),
            "writes to the rows it is given",
        ),
        Comparison("arc", "ARC", lambda x, f: ARC(f=f)(x), lambda x, f: steps.ARC(f=f)(x), "writes to the rows it is given"),
    ]


def aggregated(plan: Any, x: torch.Tensor, counts: list[int] | None = None) -> np.ndarray:
    """What a strategy of Flower makes of rows as replies with so many samples each."""
    replies = []
    for row, count in zip(x, counts or [1] * len(x), strict=True):
        content = {"arrays": ArrayRecord([row.numpy().copy()]), "metrics": MetricRecord({"num-examples": count})}
        # All that strategies ask of a reply; real ones come only of a run.
        reply: Any = SimpleNamespace(content=RecordDict(content), has_error=lambda: False, has_content=lambda: True)
        replies.append(reply)
    arrays, _ = plan.aggregate_train(1, replies)
    assert arrays is not None
    return np.asarray(arrays.to_numpy_ndarrays()[0])


def of_flower() -> list[Comparison]:
    def uneven(x: torch.Tensor) -> list[int]:
        return [1 + number % 3 for number in range(len(x))]

    return [
        Comparison(
            "mean",
            "FedAvg",
            lambda x, f: Mean()(x),
            lambda x, f: aggregated(strategy.FedAvg(), x, uneven(x)),
            "weighs by sample counts",
            "ours with weighted=True",
            lambda x, f: Mean(weighted=True)(x, Context(num_examples=torch.tensor(uneven(x)))),
            lambda x, f: aggregated(strategy.FedAvg(), x, uneven(x)),
        ),
        Comparison("median", "FedMedian", lambda x, f: Median()(x), lambda x, f: aggregated(strategy.FedMedian(), x)),
        Comparison(
            "trimmed_mean",
            "FedTrimmedAvg",
            lambda x, f: TrimmedMean(f=f)(x),
            lambda x, f: aggregated(strategy.FedTrimmedAvg(), x),
            "trims a share β at each end, 0.2 if not said",
            "theirs with β = f/n",
            lambda x, f: TrimmedMean(f=f)(x),
            lambda x, f: aggregated(strategy.FedTrimmedAvg(beta=(f + 0.5) / len(x)), x),
        ),
        Comparison(
            "krum",
            "Krum",
            lambda x, f: Krum(f=f)(x),
            lambda x, f: aggregated(strategy.Krum(num_malicious_nodes=f), x),
            "none; but its distances are not centred, so that small updates far from the origin are told apart less well",
        ),
        Comparison(
            "multi_krum",
            "MultiKrum",
            lambda x, f: MultiKrum(f=f)(x),
            lambda x, f: aggregated(strategy.MultiKrum(num_malicious_nodes=f), x, uneven(x)),
            "keeps one if not told how many, and weighs by sample counts",
            "theirs with n - f nodes to select, all with as many samples",
            lambda x, f: MultiKrum(f=f)(x),
            lambda x, f: aggregated(strategy.MultiKrum(num_malicious_nodes=f, num_nodes_to_select=len(x) - f), x),
        ),
        Comparison(
            "bulyan",
            "Bulyan",
            lambda x, f: Bulyan(f=f)(x),
            lambda x, f: aggregated(strategy.Bulyan(num_malicious_nodes=f), x),
            "picks n - 2f at once by their first scores; the paper one by one among those left",
            "f = 0",
            lambda x, f: Bulyan(f=0)(x),
            lambda x, f: aggregated(strategy.Bulyan(num_malicious_nodes=0), x),
        ),
    ]


def table(library: str, comparisons: list[Comparison]) -> list[str]:
    lines = [f"| ours | {library} | same as it is | where they differ | the same with |", "|---|---|---|---|---|"]
    for one in comparisons:
        agree = same(one.ours, one.theirs, one.shapes)
        assert agree or one.why, f"{one.name} differs, and nobody says why"
        if one.translated is not None:
            assert one.other is not None
            assert same(one.translated, one.other, one.shapes), f"{one.name} differs also with {one.how}"
            assert not agree, f"{one.name} needs no translation"
        lines.append(f"| `{one.name}` | `{one.elsewhere}` | {'yes' if agree else 'no'} | {one.why} | {one.how} |")
    return lines


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_page_says_what_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    # Flower collects garbage several times an aggregation: 200 times a third of a second here.
    monkeypatch.setattr("gc.collect", lambda *generation: 0)
    if not byzfl_rules.installed():
        pytest.skip("byzfl is not installed")
    version = ".".join(flwr.__version__.split(".")[:2])
    text = [
        "# Rules of the same name, here and elsewhere",
        "",
        "Found by `tests/defenses/test_compared.py`, which runs both on rows drawn at random and compares this page with what",
        "came of it. *Same as it is*: with the same `f` and nothing else said.",
        "",
        *table("byzfl 0.0.11", of_byzfl()),
        "",
        *table(f"Flower {version}", of_flower()),
        "",
    ]
    if os.environ.get("DECAI_SIM_WRITE"):
        DOCUMENT.write_text("\n".join(text))
    assert DOCUMENT.read_text() == "\n".join(text)


def test_flower_tells_small_updates_apart_less_well() -> None:
    """What the page says of Krum: of twenty draws in float32, with updates of norm .001 beside models of norm 11."""
    theirs = ours = 0
    for seed in range(20):
        offset = normal(1, 2000, 1000 + seed)
        x = 11 * offset / offset.norm() + 0.001 * torch.nn.functional.normalize(normal(30, 2000, seed))
        best = Krum(f=5).explain(x.double()).value.float()
        ours += torch.equal(Krum(f=5)(x), best)
        contents = [RecordDict({"arrays": ArrayRecord([row.numpy()])}) for row in x]
        chosen = multikrum.select_multikrum(contents, 5, 1)[0]["arrays"]
        assert isinstance(chosen, ArrayRecord)
        theirs += np.array_equal(chosen.to_numpy_ndarrays()[0], best.numpy())
    assert ours == 20
    assert theirs < 10
