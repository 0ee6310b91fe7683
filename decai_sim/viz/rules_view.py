"""Rules in the plane: a few honest points, an attacker to be dragged, and where each rule's aggregate goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import numpy as np
import traitlets

from decai_sim.errors import ScenarioError
from decai_sim.viz.palette import style

if TYPE_CHECKING:
    import pandas as pd

RULES: dict[str, Any] = {
    "mean": "mean",
    "median": "median",
    "trimmed mean": "trimmed_mean",
    "Krum": "krum",
    "geometric median": "geometric_median",
    "NNM + trimmed mean": ["nnm", "trimmed_mean"],
}
"""What is shown unless said otherwise."""
MAX_RULES = 8
"""More marks nobody could tell apart."""
_DIRECTORY = Path(__file__).parent


class RulesView(anywidget.AnyWidget):
    """A picture of aggregation in two dimensions, to play with: drag the attacker and see which rules follow.

    Every dot is an update of two numbers. The attacker is moved with the mouse, a finger or the arrow keys; the aggregates are
    computed by the real rules, in Python, and so need a kernel. A table says the same in figures, and pressing a rule's name in
    it shows which updates this rule left out.

    Args:
        honest: ``(h, 2)`` the honest updates.
        attacker: ``(2,)`` where the attackers begin.
        attackers: how many send what the one that is dragged sends.
        rules: by name, what a scenario takes as ``defense``; None: :data:`RULES`. Those that are not told ``f`` assume as many
            attackers as there are.
        reach: how far the picture goes in each direction; None: three times as far as the furthest honest point.
        title: shown above.

    Attributes:
        attacker: where the attackers are; set it to put them there.
        chosen: the rule whose left-out updates are crossed out; empty: none.

    Raises:
        ScenarioError: an argument does not fit.

    Example:
        >>> view = RulesView([[0, 0], [1, 0], [0, 1], [1, 1]], attacker=(0.5, 0.5), rules={"mean": "mean", "median": "median"})
        >>> view.attacker = [3.0, 0.5]
        >>> view.table()[["rule", "x", "off"]].round(2).values.tolist()
        [['mean', 1.0, 0.5], ['median', 1.0, 0.5]]
        >>> view.attacker = [-3.0, 0.5]
        >>> view.table()[["rule", "x", "off"]].round(2).values.tolist()
        [['mean', -0.2, 0.7], ['median', 0.0, 0.5]]
    """

    _esm = _DIRECTORY / "rules_view.js"
    _css = _DIRECTORY / "rules_view.css"

    about = traitlets.Dict().tag(sync=True)
    honest: Any = traitlets.List().tag(sync=True)
    attacker = traitlets.List(traitlets.Float(), minlen=2, maxlen=2).tag(sync=True)
    marks = traitlets.List(traitlets.Dict()).tag(sync=True)
    chosen = traitlets.Unicode("").tag(sync=True)

    def __init__(
        self,
        honest: np.ndarray | Sequence[Sequence[float]],
        attacker: Sequence[float] = (0.0, 0.0),
        *,
        attackers: int = 1,
        rules: Mapping[str, Any] | None = None,
        reach: float | None = None,
        title: str = "",
    ) -> None:
        points = np.asarray(honest, dtype=float)
        if points.ndim != 2 or points.shape[1:] != (2,) or not len(points) or not np.isfinite(points).all():
            raise ScenarioError(f"honest: shape {points.shape} is not allowed: finite points (h, 2), at least one")
        if not 1 <= attackers < len(points):
            raise ScenarioError(f"attackers: {attackers} is not allowed: from 1 to {len(points) - 1}, fewer than honest points")
        self._rules = _parsed(RULES if rules is None else rules)
        self._points, self._attackers = points, attackers
        far = float(np.abs(points).max())
        self._reach = float(reach if reach is not None else 3 * far or 1.0)
        if not far <= self._reach < np.inf:
            raise ScenarioError(
                f"reach: {reach!r} is not allowed: at least {far:g}, so that all honest points are in the picture"
            )
        looks = [style(index) for index in range(len(self._rules))]
        super().__init__(
            about={
                "title": str(title),
                "reach": self._reach,
                "attackers": attackers,
                "looks": [
                    {"name": n, "color": k["color"], "marker": k["marker"]} for n, k in zip(self._rules, looks, strict=True)
                ],
                "mean": points.mean(axis=0).tolist(),
            },
            honest=points.tolist(),
            attacker=[float(value) for value in attacker],
        )
        self._reckon()
        self.observe(lambda _: self._reckon(), "attacker")

    @traitlets.validate("attacker")
    def _valid_attacker(self, proposal: dict[str, Any]) -> list[float]:
        """Whoever goes beyond the picture stays at its edge."""
        values = np.asarray(proposal["value"], dtype=float)
        if not np.isfinite(values).all():
            raise ScenarioError(f"attacker: {proposal['value']} is not allowed: two finite numbers")
        found: list[float] = values.clip(-self._reach, self._reach).tolist()
        return found

    @traitlets.validate("chosen")
    def _valid_choice(self, proposal: dict[str, Any]) -> str:
        value = str(proposal["value"])
        if value and value not in self._rules:
            raise ScenarioError(f"chosen: {value!r} is not allowed: choose from {', '.join(self._rules)}, or '' for none")
        return value

    def table(self) -> pd.DataFrame:
        """Where the aggregates are.

        Returns:
            ``rule, x, y, off, left_out, error``: ``off`` is the distance from the mean of the honest updates, ``left_out`` how
            many updates the rule did not use; NaN, with an ``error``, where the rule refuses so few updates.
        """
        import pandas as pd

        rows = [
            {
                "rule": mark["name"],
                "x": mark["x"],
                "y": mark["y"],
                "off": mark["off"],
                "left_out": len(mark["out"]),
                "error": mark["error"] or None,
            }
            for mark in self.marks
        ]
        frame = pd.DataFrame(rows, columns=["rule", "x", "y", "off", "left_out", "error"])
        frame["error"] = pd.Series([row["error"] for row in rows], dtype=object)  # pandas would make None a number that is none
        return frame.astype({"x": float, "y": float, "off": float})

    def _reckon(self) -> None:
        import torch

        from decai_sim.defenses.base import Context

        rows = torch.tensor(np.vstack([self._points, np.tile(self.attacker, (self._attackers, 1))]))
        context, middle, marks = Context(f=self._attackers), self._points.mean(axis=0), []
        for name, rule in self._rules.items():
            mark: dict[str, Any] = {"name": name, "x": None, "y": None, "off": None, "out": [], "error": ""}
            try:
                found = rule.explain(rows, context)
            except ValueError as error:
                marks.append(mark | {"error": str(error)})
                continue
            value = found.value.numpy()
            off = float(np.linalg.norm(value - middle))
            out = (~found.kept).nonzero().flatten().tolist()
            marks.append(mark | {"x": float(value[0]), "y": float(value[1]), "off": off, "out": out})
        self.marks = marks


def _parsed(rules: Mapping[str, Any]) -> dict[str, Any]:
    """Rules by name, of which each can do with updates alone."""
    from pydantic import ValidationError

    from decai_sim.defenses.chain import parse_defense
    from decai_sim.errors import explain

    if not 1 <= len(rules) <= MAX_RULES:
        raise ScenarioError(f"rules: {len(rules)} are not allowed: from 1 to {MAX_RULES}")
    found = {}
    for name, value in rules.items():
        try:
            rule = parse_defense(value)
        except ValidationError as error:
            raise ScenarioError(f"rules.{name}: {explain(error)}") from None
        except ValueError as error:
            raise ScenarioError(f"rules.{name}: {error}") from None
        if rule is None or rule.needs:
            why = "a rule is wanted" if rule is None else f"it needs {', '.join(sorted(rule.needs))}, and there are only updates"
            raise ScenarioError(f"rules.{name}: {value!r} is not allowed: {why}")
        found[str(name)] = rule
    return found
