"""How well the nodes' own models do, where there is no server whose model counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from decai_sim.runs import Run


def each_node(run: Run) -> pd.DataFrame:
    """A run's rounds, with the mean accuracy of the nodes that are there in place of that of the mean model."""
    mean = run.models[run.models["online"]].groupby("round")["accuracy"].mean()
    return run.rounds.assign(accuracy=run.rounds["round"].map(mean))
