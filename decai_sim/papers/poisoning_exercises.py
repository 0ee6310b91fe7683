"""The lessons on poisoning and defenses: what their tables are made of, and whether their exercises are solved."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from decai_sim.attacks.base import UpdateAttack, View
from decai_sim.defenses.base import Context, Rule
from decai_sim.defenses.chain import parse_defense
from decai_sim.errors import ScenarioError
from decai_sim.learning import inputs
from decai_sim.learning.problem import Problem
from decai_sim.learning.training import train_alone
from decai_sim.papers.curves import settled
from decai_sim.protocols import Federated
from decai_sim.seeding import Streams

if TYPE_CHECKING:
    from decai_sim.robustness_table import Robustness
    from decai_sim.runs import Run
    from decai_sim.scenario import Scenario
    from decai_sim.viz.rules_view import RulesView

LAST = 5
"""Accuracies are means over so many last rounds."""
LOUD_ENOUGH, MOST_SCALE = 0.3, 16.0
"""The first exercise on poisoning: below which accuracy one node is to push the model, and how loud it may be."""
SUCCESS, UNNOTICED = 0.9, 0.7
"""The second: how often the backdoor is to work at the end, and the accuracy that must be left."""
FAR = 1.0
"""The first exercise on defenses: how far from the honest mean Krum is to be led."""
FLOOR = 0.68
"""The second: the accuracy that a rule must keep under each of the attacks."""


# -- tables ---------------------------------------------------------------------------------------------------------------------


def updates(scenario: Scenario) -> torch.Tensor:
    """What each node would send in the first round, were all honest: ``(nodes, d)``, model after training less model before.

    Args:
        scenario: of a federation with a server.

    Raises:
        ScenarioError: there is no server that works in rounds.

    Example:
        >>> import decai_sim as ds
        >>> updates(ds.Scenario(nodes=4, task="digits", protocol={"kind": "federated", "local_steps": 1})).shape[0]
        4
    """
    protocol = scenario.protocol
    if not isinstance(protocol, Federated):
        raise ScenarioError(f"protocol: {protocol.kind!r} is not allowed: the lesson is about a server that works in rounds")
    problem = Problem(scenario.task, scenario.nodes, Streams(scenario.seed))
    model, plan = problem.initial(), protocol.plan()
    return torch.stack([train_alone(problem, model, node, 1, plan).row for node in range(scenario.nodes)]) - model


def crafted(attack: UpdateAttack, rows: torch.Tensor, attackers: int) -> torch.Tensor:
    """The rows ``(n, d)`` after the first so many of them were made by attackers who have seen all the others.

    Args:
        attack: on updates.
        rows: ``(n, d)`` what everybody would send if honest.
        attackers: how many lie.

    Example:
        >>> import decai_sim as ds
        >>> crafted(ds.attacks.SignFlip(scale=2), torch.tensor([[1.0], [2.0], [3.0]]), 1).tolist()
        [[-2.0], [2.0], [3.0]]
    """
    honest = rows[attackers:]
    view = View(own=rows[:attackers], omniscient=True, n=len(rows), f=attackers, round=1)
    return torch.cat([attack(honest, attackers, torch.Generator().manual_seed(0), view), honest])


def pushed(rows: torch.Tensor, direction: torch.Tensor, lengths: Sequence[float], rules: Mapping[str, Any]) -> pd.DataFrame:
    """How far one row moves aggregates, by its length: a row a length, a column a rule.

    Args:
        rows: ``(n, d)`` honest ones, of which the first is replaced.
        direction: ``(d,)`` in which the attacker pushes.
        lengths: of what it sends.
        rules: by name, what a scenario takes as ``defense``.

    Returns:
        Distances from the mean of the other rows.

    Example:
        >>> three = torch.tensor([[0.0], [0.0], [1.0], [2.0]])
        >>> pushed(three, torch.ones(1), [1.0, 9.0], {"mean": "mean", "median": "median"}).values.tolist()
        [[0.0, 0.0], [2.0, 0.5]]
    """
    middle, unit, context = rows[1:].mean(dim=0), direction / direction.norm(), Context(f=1)
    made = {name: _rule(rule) for name, rule in rules.items()}
    found = [
        {
            name: float((rule(torch.cat([(length * unit)[None], rows[1:]]), context) - middle).norm())
            for name, rule in made.items()
        }
        for length in lengths
    ]
    return pd.DataFrame(found, index=pd.Index(list(lengths), name="length"))


def outcomes(runs: Mapping[str, Run]) -> pd.DataFrame:
    """What runs came to, a row a run.

    Columns:
        ``accuracy`` and ``attack success``, means over the last five rounds, per cent; ``worst tenth``, accuracy on the own
        samples of the tenth of the nodes that are served worst; ``silenced``, how many honest nodes the rule silenced;
        ``seconds``, virtual, at the end. What no run has is left out.

    Args:
        runs: by label.
    """
    rows = [
        {
            "accuracy": 100 * settled(run.rounds, LAST),
            "attack success": 100 * float(run.rounds["attack_success"].tail(LAST).mean()),
            "worst tenth": 100 * run.worst_decile(),
            "silenced": run.silenced,
            "seconds": float(run.rounds["t_s"].iloc[-1]),
        }
        for run in runs.values()
    ]
    return pd.DataFrame(rows, index=pd.Index(list(runs))).dropna(axis="columns", how="all")


def says(runs: Mapping[str, Run], pictures: Mapping[str, torch.Tensor]) -> pd.DataFrame:
    """What final models take samples for: a row for each model and each kind of samples.

    Args:
        runs: by label, of the same task; each with a single final model.
        pictures: by label, samples ``(k, ...)`` as the data set stores them.

    Raises:
        ScenarioError: a run has no single final model.
    """
    found = {}
    for label, run in runs.items():
        if run.model is None:
            raise ScenarioError(f"runs: {label!r} has no single final model")
        problem, data = Problem(run.scenario.task, run.scenario.nodes, Streams(run.scenario.seed)), run.scenario.task.load()
        params = problem.layout.views(torch.as_tensor(run.model))
        for which, shown in pictures.items():
            standard = (shown * inputs.on("cpu", data.scale) - inputs.on("cpu", data.mean)) / inputs.on("cpu", data.std)
            answers = torch.func.functional_call(problem.module, params, (standard.float(),)).argmax(1)
            found[label, which] = [data.class_names[answer] for answer in answers.tolist()]
    return pd.DataFrame(found).T


def _rule(value: Any) -> Rule:
    rule = parse_defense(value)
    if not isinstance(rule, Rule):
        raise ScenarioError(f"rules: {value!r} is not allowed: give rules")
    return rule


# -- exercises ------------------------------------------------------------------------------------------------------------------


def check_loud(run: Run) -> str:
    """Poisoning, exercise 1: does one node in twenty ruin the mean, without shouting louder than sixteen times?

    Raises:
        ScenarioError: nobody attacks.
    """
    attack, nodes = _attack(run), int(run.nodes["byzantine"].sum())
    final, scale = settled(run.rounds, LAST), float(getattr(attack, "scale", math.nan))
    if nodes != 1 or run.scenario.nodes != 20 or attack.kind != "sign_flip" or _kind(run) != "mean":
        return "Not yet: one node of twenty flips signs, and the server takes the mean; change nothing but the scale."
    if final >= LOUD_ENOUGH:
        return f"Not yet: {final:.1%} with scale {scale:g}; it is to fall below {LOUD_ENOUGH:.0%}."
    if scale > MOST_SCALE:
        return f"Not yet: {final:.1%}, but {scale:g} times as loud is more than {MOST_SCALE:g}."
    return f"Solved: {final:.1%} with scale {scale:g}."


def check_backdoor(run: Run) -> str:
    """Poisoning, exercise 2: does one node's backdoor work, in a model that is nearly as good as before?

    Raises:
        ScenarioError: nobody attacks.
    """
    _attack(run)
    nodes, final = int(run.nodes["byzantine"].sum()), settled(run.rounds, LAST)
    success = float(run.rounds["attack_success"].iloc[-1])
    if nodes != 1 or run.scenario.nodes != 20 or _kind(run) != "mean":
        return "Not yet: one node of twenty attacks, and the server takes the mean."
    if math.isnan(success):
        return "Not yet: these attackers want nothing in particular; take an attack with a trigger."
    found = f"the trigger works on {success:.1%} of the pictures, and accuracy is {final:.1%}"
    if success < SUCCESS:
        return f"Not yet: {found}; {SUCCESS:.0%} are wanted."
    if final < UNNOTICED:
        return f"Not yet: {found}; below {UNNOTICED:.0%} somebody would notice."
    return f"Solved: {found}."


def check_krum(view: RulesView) -> str:
    """Defenses, exercise 1: does Krum follow the attackers, away from the honest?

    Raises:
        ScenarioError: the picture has no rule of that name.
    """
    table = view.table().set_index("rule")
    if "Krum" not in table.index:
        raise ScenarioError("view: no rule 'Krum' in it")
    krum = table.loc["Krum"]
    follows = np.allclose([krum["x"], krum["y"]], view.attacker)
    if not follows:
        return f"Not yet: Krum chose an honest update, {krum['off']:.2f} from the mean of the honest."
    if krum["off"] < FAR:
        return f"Not yet: Krum follows the attackers, but only {krum['off']:.2f} away; {FAR:g} is wanted."
    return f"Solved: Krum follows the attackers, {krum['off']:.2f} away from the mean of the honest."


def check_holds(runs: Mapping[str, Run], attacks: Sequence[str]) -> str:
    """Defenses, exercise 2: does one rule keep 68 % under each of the attacks?

    Args:
        runs: by the names of the attacks.
        attacks: which there must be.

    Raises:
        ScenarioError: nobody attacks in one of the runs.
    """
    missing = [name for name in attacks if name not in runs]
    if missing:
        return f"Not yet: no run under {', '.join(missing)}."
    for name in attacks:
        _attack(runs[name])
    rules = {str(runs[name].scenario.to_config()["defense"]) for name in attacks}
    if len(rules) > 1:
        return "Not yet: the server does not know who attacks; take one rule for all."
    accuracy = {name: settled(runs[name].rounds, LAST) for name in attacks}
    worst = min(accuracy, key=lambda name: accuracy[name])
    found = ", ".join(f"{name} {value:.1%}" for name, value in accuracy.items())
    if accuracy[worst] < FLOOR:
        return f"Not yet: {found}; {FLOOR:.0%} are wanted under each."
    return f"Solved: {found}."


def check_best(table: Robustness, setting: str, answer: str) -> str:
    """The exercise on the robustness table: is this the defense whose worst case is best, of those that were measured?

    Args:
        table: which.
        setting: of heterogeneity.
        answer: the name of a defense.

    Raises:
        ScenarioError: the table has no such setting.
    """
    worst = table.worst()
    mine = worst[worst["setting"] == setting].dropna(subset=["accuracy"]).set_index("defense")["accuracy"]
    if mine.empty:
        raise ScenarioError(f"setting: {setting!r} is not allowed: choose from {', '.join(worst['setting'].unique())}")
    if answer not in mine.index:
        return f"Not yet: {answer!r} is not in the table; choose from {', '.join(mine.index)}."
    if mine[answer] < mine.max():
        better = int((mine > mine[answer]).sum())
        return f"Not yet: the worst attack leaves {mine[answer]:.1%} of {answer}; {better} of the others are better."
    return f"Solved: the worst attack leaves {mine[answer]:.1%} of {answer}."


def _attack(run: Run) -> Any:
    if run.scenario.attack is None:
        raise ScenarioError("attack: None is not allowed: the exercise is about attackers")
    return run.scenario.attack


def _kind(run: Run) -> str:
    return "mean" if run.scenario.defense is None else run.scenario.defense.kind
