"""What claims about learning read off a run's accuracies."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def reaching(rounds: pd.DataFrame, accuracy: float) -> dict[str, float]:
    """What it took to reach an accuracy for the first time.

    Args:
        rounds: as of a :class:`~decai_sim.Run`.
        accuracy: test accuracy, 0…1.

    Returns:
        ``round``, ``t_s`` (virtual seconds) and ``replies`` (models that nodes had sent in by then); ``inf`` if it never was.

    Example:
        >>> import pandas as pd
        >>> rounds = pd.DataFrame({"round": [1, 2, 3], "t_s": [4.0, 8.0, 9.0], "accuracy": [0.5, 0.7, 0.6], "n_replied": 5})
        >>> reaching(rounds, 0.6), reaching(rounds, 0.8)["round"]
        ({'round': 2.0, 't_s': 8.0, 'replies': 10.0}, inf)
    """
    there = (rounds["accuracy"] >= accuracy).to_numpy()
    if not there.any():
        return dict.fromkeys(("round", "t_s", "replies"), math.inf)
    first = int(there.argmax())
    replies = float(rounds["n_replied"].iloc[: first + 1].sum())
    return {"round": float(rounds["round"].iloc[first]), "t_s": float(rounds["t_s"].iloc[first]), "replies": replies}


def settled(rounds: pd.DataFrame, last: int = 10) -> float:
    """Mean accuracy of the last rounds in which it was measured: a single one may be luck.

    Args:
        rounds: as of a :class:`~decai_sim.Run`.
        last: how many.

    Example:
        >>> import pandas as pd
        >>> settled(pd.DataFrame({"accuracy": [0.1, 0.6, float("nan"), 0.8]}), last=2)
        0.7
    """
    return float(rounds["accuracy"].dropna().tail(last).mean())


def swing(rounds: pd.DataFrame, last: int = 20) -> float:
    """How much the accuracy changes from one round to the next, on average of the last rounds: 0 is a smooth curve.

    Args:
        rounds: as of a :class:`~decai_sim.Run`.
        last: of how many rounds.

    Example:
        >>> import pandas as pd
        >>> round(swing(pd.DataFrame({"accuracy": [0.1, 0.5, 0.7, 0.6]}), last=3), 3)
        0.15
    """
    return float(rounds["accuracy"].dropna().tail(last).diff().abs().mean())
