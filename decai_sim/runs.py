"""Runs: a scenario goes in, tidy tables come out."""

from __future__ import annotations

import html
import itertools
import json
import math
import os
import platform
import subprocess
import threading
import time
import warnings
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from decai_sim import garbage
from decai_sim.component import whole_share
from decai_sim.errors import RunStoppedError, ScenarioError, StalledError
from decai_sim.files import whole
from decai_sim.learning import paths
from decai_sim.learning.execution import Execution
from decai_sim.learning.journal import Journal
from decai_sim.protocols.base import Lab
from decai_sim.protocols.served import Served
from decai_sim.scenario import Scenario
from decai_sim.seeding import Streams
from decai_sim.viz import figures
from decai_sim.viz.palette import ONLINE
from decai_sim.world import adversaries, faults
from decai_sim.world.world import World

if TYPE_CHECKING:
    import scipy.sparse as sp
    from flwr.clientapp import ClientApp
    from flwr.serverapp import ServerApp
    from matplotlib.figure import Figure

    from decai_sim.attacks import Attack
    from decai_sim.defenses import Rule
    from decai_sim.flower.engine_model import EngineModel
    from decai_sim.learning.problem import Problem
    from decai_sim.viz.network_view import NetworkView
    from decai_sim.viz.replay import Replay

STALLED = "the run stalled"
"""How the warning of it begins."""
FRAMES = ("rounds", "nodes", "events", "messages", "traffic", "detections", "models", "hops", "links", "verdicts")
_MODEL_COLUMNS = {
    "round": int,
    "t_s": float,
    "node": int,
    "online": bool,
    "accuracy": float,
    "attack_success": float,
    "distance": float,
    "updates": int,
    "waited_s": float,
}
_HOP_COLUMNS = {"round": int, "t_s": float, "hop": int, "accuracy": float, "tried": int}
_VERDICT_COLUMNS = {
    "round": int,
    "t_s": float,
    "observer": int,
    "node": int,
    "byzantine": bool,
    "attacks": bool,
    "kept": bool,
    "weight": float,
    "score": float,
}
_LINK_COLUMNS = {"t_s": float, "src": int, "dst": int}
_LATER: dict[str, dict[str, Any]] = {
    "models": _MODEL_COLUMNS,
    "hops": _HOP_COLUMNS,
    "links": _LINK_COLUMNS,
    "verdicts": _VERDICT_COLUMNS,
}
"""Frames that runs saved by earlier versions lack; they are empty then."""
_ROUND_COLUMNS = (
    *("round", "t_s", "accuracy", "loss", "n_selected", "n_replied", "n_byzantine", "bytes_up", "bytes_down", "attack_success"),
    "passed_over",
)
_LEVELS = {"distance": (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2), "accuracy": (1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6)}
"""What of nodes' models a map shows, and where levels end, as shares of the largest value."""
_VERSIONED = ("decai_sim", "flwr", "flwr-datasets", "torch", "simpy", "numpy", "pandas", "networkx", "pydantic")


@dataclass(eq=False)
class Run:
    """What a scenario gave: tables, figures, and where they come from.

    All times are virtual seconds, all sizes bytes; every frame's first column is ``run_id``.

    Attributes:
        scenario: what was run.
        rounds: ``round, t_s, accuracy, loss, n_selected, n_replied, n_byzantine, bytes_up, bytes_down, attack_success,
            passed_over``; bytes
            are cumulative and count what all nodes (not the server) have sent and received; ``n_byzantine`` counts attackers
            among the replies; ``attack_success`` is the share of those test samples that attackers want to be taken for something
            else that the model takes for it (backdoors, targeted label flips), NaN where they want nothing particular;
            ``passed_over`` is how many times somebody had too few updates for the rule, and nothing came of them.
        nodes: ``node, region, device, byzantine, adversary, n_samples, online_s, bytes_up, bytes_down,
            own_accuracy``; ``adversary`` is the kind of network adversary that a node is, or None; ``own_accuracy`` that of the
            last model on the node's own test samples with the parameters that the node keeps, where there are such.
        events: ``t_s, node, kind, detail``.
        messages: ``t_sent_s, t_delivered_s, src, dst, kind, bytes, outcome``; the server is node −1. Of more than four million
            messages every second, fourth, … is kept: ``messages.attrs["every"]`` says which.
        traffic: what all messages of each kind amount to: ``kind, messages, bytes, bytes_sent, delivered, lost, offline, expired,
            bytes_delivered, mean_delay_s, mean_queued_s, max_queued_s``. ``bytes`` counts each message once, ``bytes_sent`` and
            the nodes' ``bytes_up`` every time it was sent again.
        detections: what failure detectors found: ``t_s, observer, node, state, wrong, delay_s, first``. State ``suspect``: the
            observer (−1: the server) has not heard of the node for too long; ``dead``: it has given it up. ``wrong``: the node
            was there; otherwise ``delay_s`` says for how long it had been gone, and ``first`` that nobody had found out before.
        models: how each node's own model did, where there is no server: ``round, t_s, node, online, accuracy, attack_success,
            distance, updates, waited_s``. ``online``: whether the node was there when the last of the others had finished the
            round; ``accuracy`` is on ``protocol.node_tests`` samples of the central test set, the same for all,
            ``attack_success`` on as many of those that attackers want something of; ``distance`` that from
            the mean of the models of those that were there (Euclidean), which ``rounds.accuracy`` is of; ``updates`` how often
            the node has trained, and ``waited_s`` how long it has waited for others, so far.
        hops: how far knowledge has come, where there is no server: ``round, t_s, hop, accuracy, tried``. A row is about all
            nodes and the test samples of the classes that somebody ``hop`` links away holds, and nobody nearer (0: the node
            itself), as links lead; ``accuracy`` is that of the nodes' own models, ``tried`` how often one was tried on one
            sample. Under protocols that use no links everybody is one hop away; of links that change from round to round nothing
            is said.
        links: links that change as time goes by: ``t_s, src, dst``, all there were from ``t_s`` on, ``src`` being who sends along
            them; of up to 100 changes, evenly spread, and of the last; of fewer where there are many links. Empty where links
            stay, which are :meth:`Scenario.csr`, and where nodes count rounds for themselves.
        verdicts: what rules made of updates: ``round, t_s, observer, node, byzantine, attacks, kept, weight, score``. The
            observer is who aggregated (−1: the server); ``byzantine``: the node is an attacker; ``attacks``: it was one in the
            round of this update, and not honest for the time being; ``weight`` is the update's share of the aggregate and
            ``score`` the rule's suspicion, NaN where the rule has none. A rule that works on single coordinates keeps every
            update.
        trace_digest: SHA-256 over events and messages: equal digests, equal histories. Left out are the events that a tensor's
            content decides, those of kind ``rejected`` (a rule did not use the node's update).
        complete: False if the run was stopped before its end, or stalled: see :attr:`stalled`.
        provenance: scenario, seed, versions, git state, wall and virtual time.
        model: the final model's parameters ``(d,)``, where there is a single one.
    """

    scenario: Scenario
    rounds: pd.DataFrame
    nodes: pd.DataFrame
    events: pd.DataFrame
    messages: pd.DataFrame
    traffic: pd.DataFrame
    detections: pd.DataFrame
    models: pd.DataFrame
    hops: pd.DataFrame
    links: pd.DataFrame
    verdicts: pd.DataFrame
    trace_digest: str
    complete: bool
    provenance: dict[str, Any] = field(repr=False)
    model: np.ndarray | None = field(default=None, repr=False)

    @property
    def run_id(self) -> str:
        """The scenario's :attr:`~decai_sim.Scenario.id`, which covers the seed."""
        return self.scenario.id

    @property
    def accuracy(self) -> float:
        """Test accuracy after the last round, 0…1; not a number if there was none."""
        return float(self.rounds["accuracy"].iloc[-1]) if len(self.rounds) else float("nan")

    @property
    def stalled(self) -> str | None:
        """Who waited, in virtual time, for what could not come, if that is how the run ended; None: it is not."""
        reason: str | None = self.provenance.get("stalled")
        return reason

    def summary(self) -> dict[str, Any]:
        """The run in a few figures."""
        last = self.rounds.iloc[-1] if len(self.rounds) else None
        return {
            "run_id": self.run_id,
            "complete": self.complete,
            "rounds": len(self.rounds),
            "accuracy": self.accuracy,
            "virtual_hours": 0.0 if last is None else float(last["t_s"]) / 3600,
            "gigabytes": 0.0 if last is None else float(last["bytes_up"] + last["bytes_down"]) / 1e9,
            "messages": int(self.traffic["messages"].sum()),
            "wall_s": self.provenance["wall_s"],
        }

    def __repr__(self) -> str:
        s = self.summary()
        state = "" if self.complete else ", stopped early"
        return (
            f"<Run {self.run_id}: {self.scenario.nodes} nodes, {s['rounds']} rounds{state}, {self._result()}, "
            f"{duration(3600 * s['virtual_hours'])} of virtual time, {s['gigabytes']:.2f} GB>"
        )

    def _repr_html_(self) -> str:
        s = self.summary()
        sc = self.scenario
        cells = {
            "nodes": f"{sc.nodes:,}",
            "protocol": sc.protocol.kind,
            "attack": "none" if sc.attack is None else f"{sc.attack.kind}, {sc.attack.fraction:.0%} of nodes",
            "defense": "none" if sc.defense is None else short(sc.defense),
            "rounds": f"{s['rounds']}" + ("" if self.complete else " (stopped early)"),
            "result": self._result(),
            "virtual time": duration(3600 * s["virtual_hours"]),
            "traffic": f"{s['gigabytes']:.2f} GB in {s['messages']:,} messages",
        }
        if self.stalled:
            cells["ended early"] = self.stalled
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(k)}</th><td style='text-align:left'>{html.escape(v)}</td></tr>"
            for k, v in cells.items()
        )
        return f"<table><caption style='text-align:left'>run <code>{self.run_id}</code></caption>{rows}</table>"

    def _result(self) -> str:
        if self.scenario.protocol.learns:
            return f"accuracy {self.accuracy:.1%}"
        median_s = self.propagation()["t50_s"].median()
        return f"half of the nodes reached in {median_s:.3g} s" if math.isfinite(median_s) else "half of the nodes not reached"

    def replay(self, show: str = "states") -> Replay:
        """What state every node was in when, or what its model was like; for the network view.

        Network adversaries are marked as Byzantine.

        Args:
            show: ``states``: online, informed, training, rejected by the rule; ``distance``: how far each node's model is from
                the mean of all, beside the largest distance of the run; ``accuracy``: how well it does. The last two are those of
                :attr:`models`, of protocols without a server.

        Raises:
            ScenarioError: there is no such thing to show.
        """
        from decai_sim.viz.replay import Replay

        byzantine = self.nodes["byzantine"].to_numpy(dtype=bool)
        if "adversary" in self.nodes:  # not in runs saved before there was the column
            byzantine = byzantine | self.nodes["adversary"].notna().to_numpy()
        end_s = self.provenance["virtual_s"]
        if show == "states":
            return Replay.of(self.events, byzantine, end_s, self.rounds["t_s"].to_numpy())
        if show not in _LEVELS:
            raise ScenarioError(f"show: {show!r} is not allowed: choose from states, {', '.join(_LEVELS)}")
        values = self.models.rename(columns={show: "value"})[["t_s", "node", "value"]]
        if values["value"].dropna().empty:
            raise ScenarioError(f"show: {show!r} is not allowed: there is no {show} of each node's own model in this run")
        edges = [share * float(values["value"].max()) for share in _LEVELS[show]]
        ends = [f"{edge:.2g}" for edge in edges]
        between = [f"{low} to {high}" for low, high in itertools.pairwise(ends)]
        names = [f"{show} {range_}" for range_ in (f"below {ends[0]}", *between, f"from {ends[-1]}")]
        return Replay.of_levels(self.events, byzantine, values, edges, names, end_s)

    def online(self) -> pd.DataFrame:
        """How many nodes were online when: ``t_s, online``, a row for every change, the first at 0."""
        t_s, online = figures.online_count(self.events)
        if not len(t_s) or t_s[0] > 0:
            t_s, online = np.append(0.0, t_s), np.append(0, online)
        return pd.DataFrame({"run_id": self.run_id, "t_s": t_s, "online": online})

    def reachability(self, times_s: Sequence[float] | None = None) -> pd.DataFrame:
        """How much of the network could reach each other, over the topology's links and through nodes that were online.

        While the network is partitioned, links between its parts do not count. Where links change as time goes by, counted are
        those of the last change that :attr:`links` knows of by then; under protocols whose nodes count rounds for themselves,
        those of all rounds. What adversaries drop and what is lost at random does not show here.

        Args:
            times_s: when; by default 21 times from the beginning to the end.

        Returns:
            ``t_s, online, largest, pairs``: the number of nodes online, the largest share of them that reach each other, and the
            share of pairs of them that do; not a number where fewer than two are online.

        Raises:
            ScenarioError: the topology has no graph on so many nodes.
        """
        from decai_sim.world.graphs import components
        from decai_sim.world.topologies import wiring

        replay = self.replay()
        changes = list(self.links.groupby("t_s"))
        begun_s = self.links["t_s"].unique().tolist()
        graph = self.scenario.csr() if not changes else wiring.from_links(self.scenario.nodes, *_ends(changes[0][1]))
        shown = 0
        low, high = wiring.links(graph)
        moves = self.events[(self.events["kind"] == "part") & (self.events["node"] >= 0)]
        moved_s, who = moves["t_s"].to_numpy(dtype=float), moves["node"].to_numpy(dtype=np.int64)
        to = moves["detail"].astype(str).str.removeprefix("part ").astype(np.int64).to_numpy()
        rows = []
        for t_s in np.linspace(0, self.provenance["virtual_s"], 21) if times_s is None else times_s:
            alive = (replay.states(float(t_s)) & ONLINE) > 0
            latest = max(0, bisect_right(begun_s, t_s) - 1)
            if latest != shown:
                shown, graph = latest, wiring.from_links(self.scenario.nodes, *_ends(changes[latest][1]))
                low, high = wiring.links(graph)
            part = np.zeros(len(alive), dtype=np.int64)
            known = int(np.searchsorted(moved_s, t_s, side="right"))
            part[who[:known]] = to[:known]  # of several assignments the last stays
            whole = part[low] == part[high]
            there = graph if whole.all() else wiring.from_links(len(alive), low[whole], high[whole])
            sizes, n = components(there, alive), int(alive.sum())
            pairs = float((sizes * (sizes - 1.0)).sum() / (n * (n - 1.0))) if n > 1 else math.nan
            rows.append({"t_s": float(t_s), "online": n, "largest": sizes.max() / n if n > 1 else math.nan, "pairs": pairs})
        return self._mine(pd.DataFrame(rows, columns=["t_s", "online", "largest", "pairs"]))

    def propagation(self) -> pd.DataFrame:
        """How fast news spread: ``item, origin, t_s, reached, t50_s, t90_s, t_all_s``, one row for every item published.

        Times count from the publication until that share of all nodes had the item; ``inf`` where that never was.
        """
        n, rows = self.scenario.nodes, []
        for item, (origin, t_s, delays) in self._news().items():
            when = {f"t{share}_s": delays[-(-share * n // 100) - 1] for share in (50, 90)}
            reached = int(np.isfinite(delays).sum())
            rows.append({"item": item, "origin": origin, "t_s": t_s, "reached": reached, **when, "t_all_s": delays[-1]})
        columns = ["item", "origin", "t_s", "reached", "t50_s", "t90_s", "t_all_s"]
        return self._mine(pd.DataFrame(rows, columns=columns))

    def _mine(self, frame: pd.DataFrame) -> pd.DataFrame:
        frame.insert(0, "run_id", self.run_id)
        return frame

    def _news(self) -> dict[int, tuple[int, float, np.ndarray]]:
        """Per item who published it, when, and after how many seconds the nodes had it, ascending; ``inf``: never."""
        named = self.events[self.events["kind"].isin(["published", "informed"])]
        news = {}
        for item, events in named.groupby("detail", observed=True, sort=False):
            ((began_s, origin),) = events.loc[events["kind"] == "published", ["t_s", "node"]].to_numpy().tolist()
            delays = np.full(self.scenario.nodes, np.inf)
            came = np.sort(events.loc[events["kind"] == "informed", "t_s"].to_numpy() - began_s)
            delays[: len(came)] = came
            news[int(str(item).removeprefix("item "))] = int(origin), began_s, delays
        return news

    def network_view(self, title: str = "", show: str = "states") -> NetworkView:
        """An interactive map of the network that replays the run; see :class:`~decai_sim.viz.network_view.NetworkView`.

        A topology that the protocol does not use is drawn all the same, and the caption says so; one that has no graph on so many
        nodes is left out.

        Args:
            title: shown above.
            show: what colours mean, as for :meth:`replay`.

        Raises:
            ScenarioError: a file of the scenario cannot be read here, or there is no such thing to show.
        """
        from decai_sim.viz.network_view import NetworkView

        scenario, kind = self.scenario, self.scenario.topology.kind.replace("_", " ")
        used = scenario.protocol.uses_topology
        talks = (
            "all nodes talk to a server"
            if isinstance(scenario.protocol, Served)
            else "nodes talk to others that the protocol draws"
        )
        graph: Any
        try:
            graph = scenario.graph()
            varies = "; they change as the run goes on, drawn as at its beginning" if scenario.topology.time_varying else ""
            caption = f"Links: {kind}{varies if used else '; not used here, where ' + talks}."
        except ScenarioError as error:
            if used:
                raise
            graph, caption = (scenario.nodes, []), f"No links ({error}): {talks}."
        problem = self._problem()
        return NetworkView(
            graph,
            nodes=self.nodes,
            class_counts=None if problem is None else problem.class_counts(),
            class_names=None if problem is None else problem.class_names,
            replay=self.replay(show),
            title=title,
            caption=caption,
        )

    def node_accuracy(self) -> pd.Series:
        """How well the final model does on each node's own test samples, 0…1: who is served, and who is not.

        Where nodes keep parameters of their own (``protocol.personal``) each is tested with these. Test samples are those of the
        task's ``holdout``, or a natural client's own, or else what the node trains on, before any attack on them; a node without
        any has no accuracy (NaN).

        Raises:
            ScenarioError: the run has no single final model of the scenario's task.

        Example:
            >>> import decai_sim as ds
            >>> scenario = ds.Scenario(nodes=4, task="digits", protocol={"kind": "federated", "rounds": 2, "fraction": 1})
            >>> bool(ds.run(scenario, progress=False).node_accuracy().between(0.3, 1).all())
            True
        """
        import torch

        from decai_sim.learning.evaluation import one_for_all

        if "own_accuracy" in self.nodes and self.nodes["own_accuracy"].notna().any():
            return pd.Series(self.nodes["own_accuracy"].to_numpy(), name="accuracy").rename_axis("node")
        problem = self._problem()
        if self.model is None or problem is None:
            raise ScenarioError("node_accuracy: this run has no single final model of its scenario's task")
        accuracy, _ = one_for_all(problem, torch.as_tensor(self.model), problem.own_tests)
        return pd.Series(accuracy, name="accuracy").rename_axis("node")

    def worst_decile(self) -> float:
        """Mean accuracy of the tenth of the nodes, rounded up, whose accuracy is least.

        Of :meth:`node_accuracy`; where there is no server, of the own models of the nodes that were there at the end, on test
        samples that are the same for all. The measure of Li, Sanjabi, Beirami & Smith, "Fair resource allocation in federated
        learning" (ICLR 2020), Table 1.

        Raises:
            ScenarioError: no node's accuracy is known.

        Example:
            >>> import decai_sim as ds
            >>> scenario = ds.Scenario(nodes=20, task="digits", protocol={"kind": "federated", "rounds": 2, "fraction": 1})
            >>> run = ds.run(scenario, progress=False)
            >>> bool(run.worst_decile() == run.node_accuracy().nsmallest(2).mean())
            True
        """
        if len(self.models):
            last = self.models[(self.models["round"] == self.models["round"].iloc[-1]) & self.models["online"]]
            known = last["accuracy"].dropna()
        else:
            known = self.node_accuracy().dropna()
        if known.empty:
            raise ScenarioError("worst_decile: no node's accuracy is known")
        return float(known.nsmallest(-(-len(known) // 10)).mean())

    def detection(self) -> pd.Series:
        """How well the rule told attacks from honest updates: an update that it did not use counts as found out.

        What attackers send in rounds in which they do not attack (``from_round``, ``until_round``, ``every``) is honest: leaving
        it out is a false alarm.

        Returns:
            ``precision``: of the updates left out, those that were attacks; ``recall``: of attacks, those left out;
            ``false_alarms``: of honest updates, those left out; ``auc``: how often an attack's score is higher than an honest
            update's of the same aggregation (½: no better than chance); ``time_to_detect_s``: median over attackers of virtual
            seconds from a node's first attack to the first one left out; ``found``: the share of those who attacked of whom one
            ever was. NaN where there is nothing to tell.

        Example:
            >>> import decai_sim as ds
            >>> base = ds.Scenario(nodes=20, task="digits", protocol={"kind": "federated", "rounds": 2, "fraction": 1})
            >>> run = ds.run(base.but(attack={"kind": "sign_flip", "scale": 4}, defense="krum"), progress=False)
            >>> float(run.detection()["recall"])
            1.0
        """
        seen = self.verdicts
        out, bad = ~seen["kept"].astype(bool), seen["attacks"].astype(bool)
        first = seen[bad].groupby("node")["t_s"].min()
        caught = seen[bad & out].groupby("node")["t_s"].min()
        return pd.Series(
            {
                "precision": bad[out].mean(),
                "recall": out[bad].mean(),
                "false_alarms": out[~bad].mean(),
                "auc": _auc(seen),
                "time_to_detect_s": (caught - first).median(),
                "found": len(caught) / len(first) if len(first) else math.nan,
            },
            dtype=float,
        )

    def spread(self) -> pd.DataFrame:
        """How far a backdoor has come, where there is no server: nodes by how many links away the nearest attacker is.

        Returns:
            ``round, t_s, hop, nodes, attack_success, accuracy``: means over the nodes of each distance that were there, as links
            lead from attackers; nodes that no attacker reaches are left out. Empty where attackers want nothing particular.

        Raises:
            ScenarioError: the topology has no graph on so many nodes.

        Example:
            >>> import decai_sim as ds
            >>> ring = ds.Scenario(nodes=9, topology={"kind": "ring"}, task="digits", protocol={"kind": "dpsgd", "rounds": 1})
            >>> ds.run(ring.but(attack={"kind": "badnets", "nodes": [0]}), progress=False).spread().hop.tolist()
            [0, 1, 2, 3, 4]
        """
        from scipy.sparse.csgraph import dijkstra

        told = self.models.dropna(subset=["attack_success"])
        told = told[told["online"].astype(bool)]
        attackers = self.nodes.loc[self.nodes["byzantine"].astype(bool), "node"].to_numpy()
        hop = np.full(self.scenario.nodes, np.inf)
        if len(told) and len(attackers):
            hop = dijkstra(self.scenario.csr(), unweighted=True, indices=attackers, min_only=True)
        told = told.assign(hop=hop[told["node"].to_numpy(dtype=np.int64)])
        by_hop = told[np.isfinite(told["hop"])].groupby(["round", "t_s", "hop"], as_index=False)
        found = by_hop.agg(nodes=("node", "size"), attack_success=("attack_success", "mean"), accuracy=("accuracy", "mean"))
        return self._mine(found.astype({"hop": int}))

    @property
    def silenced(self) -> float:
        """How many honest nodes the rule has silenced: less than half of what they sent was used. NaN if there was no rule.

        Of several who aggregate, as in protocols without a server, each uses or leaves out an update by itself.
        """
        if not len(self.verdicts):
            return math.nan
        honest = self.verdicts[~self.verdicts["byzantine"].astype(bool)]
        return float((honest.groupby("node")["kept"].mean() < 0.5).sum())

    @property
    def passed_over(self) -> float:
        """The share of aggregations that came to nothing, as the rule had too few rows, 0…1. NaN if there was no rule.

        If it is 1, nothing was learned: accuracies are those of the models that there were at the beginning.
        """
        known = self.provenance.get("passed_over")  # in rounds that did not come to an end, too
        if known is None:
            known = self.rounds["passed_over"].sum() if "passed_over" in self.rounds else 0  # not in runs saved long ago
        missed = int(known)
        every = missed + len(self.verdicts[["observer", "round"]].drop_duplicates())
        return missed / every if every else math.nan

    def _problem(self) -> Problem | None:
        """The task as the scenario lays it out, before any attack; None if another ``ClientApp`` brought its own."""
        from decai_sim.learning.problem import Problem

        if self.nodes["n_samples"].isna().any():
            return None
        return Problem(self.scenario.task, self.scenario.nodes, Streams(self.scenario.seed))

    def plot(self) -> Figure:
        """Accuracy against virtual time and against bytes, or how fast news spread; and who was online when."""
        if not self.scenario.protocol.learns:
            fig, (left, right) = figures.panels(1, 2, (11, 3.8))
            delays = [delays for _, _, delays in self._news().values()]
            figures.propagation(left, {f"{len(delays)} items": np.concatenate(delays)} if delays else {})
            figures.online(right, self.events, self.scenario.nodes)
            return fig
        label = "run" if self.scenario.attack is None else self.scenario.attack.kind
        return figures.overview({label: self.rounds}, self.events, self.scenario.nodes)

    def save(self, folder: str | Path) -> Path:
        """Write the frames as Parquet, ``provenance.json`` and, where there is one, ``model.npy``.

        Each file appears whole or not at all; ``provenance.json`` comes last, and without it the folder holds no run.

        Args:
            folder: made if missing; a run saved there before is replaced, unless this one was stopped early and that one was not.

        Returns:
            The folder.

        Raises:
            ScenarioError: ``folder`` cannot be written to, or holds a complete run that this partial one would replace.

        Example:
            >>> import tempfile
            >>> import decai_sim as ds
            >>> scenario = ds.Scenario(nodes=4, task="digits", protocol={"kind": "federated", "rounds": 1, "fraction": 1})
            >>> run = ds.run(scenario, progress=False)
            >>> ds.Run.load(run.save(tempfile.mkdtemp())).trace_digest == run.trace_digest
            True
        """
        folder = writable(folder)
        provenance = folder / "provenance.json"
        if provenance.is_file():
            if not self.complete and json.loads(provenance.read_text(encoding="utf-8")).get("complete"):
                raise ScenarioError(f"{folder}: holds a complete run; save this one, which was stopped early, somewhere else")
            provenance.unlink()
            (folder / "model.npy").unlink(missing_ok=True)
        for name in FRAMES:
            with whole(folder / f"{name}.parquet") as part:
                getattr(self, name).to_parquet(part, index=False)
        if self.model is not None:
            with whole(folder / "model.npy") as part:
                np.save(part, self.model, allow_pickle=False)
        text = json.dumps(self.provenance, indent=2, ensure_ascii=False)
        with whole(provenance) as part:
            part.write_text(text + "\n", encoding="utf-8")
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> Run:
        """Read a run that :meth:`save` wrote.

        Raises:
            ScenarioError: there is no complete set of files.
        """
        folder = Path(folder)
        there = [name for name in FRAMES if (folder / f"{name}.parquet").is_file()]
        wanted = [name for name in FRAMES if name not in _LATER]
        missing = [f"{name}.parquet" for name in wanted if name not in there]
        if not (folder / "provenance.json").is_file():
            missing = ["provenance.json", *missing]
        if missing:
            raise ScenarioError(f"{folder}: is not a saved run: {', '.join(missing)} missing")
        provenance = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
        frames = {name: _stacked([], {"run_id": object, **columns}) for name, columns in _LATER.items()}
        frames |= {name: pd.read_parquet(folder / f"{name}.parquet") for name in there}
        model = folder / "model.npy"
        scenario = Scenario.model_validate(provenance["scenario"])
        verdicts = frames["verdicts"]
        if "attacks" not in verdicts:  # saved by an earlier version
            active = [scenario.attack is not None and scenario.attack.active(number) for number in verdicts["round"].tolist()]
            attacks = verdicts["byzantine"].astype(bool) & np.array(active, dtype=bool)
            verdicts.insert(list(verdicts.columns).index("byzantine") + 1, "attacks", attacks)
        return cls(
            scenario=scenario,
            **frames,
            trace_digest=provenance["trace_digest"],
            complete=provenance["complete"],
            provenance=provenance,
            model=np.load(model, allow_pickle=False) if model.is_file() else None,
        )


def run(
    scenario: Scenario,
    *,
    progress: bool = True,
    live: bool = False,
    on_round: Callable[[dict[str, Any]], object] | None = None,
    stop: threading.Event | None = None,
    device: str = "auto",
    workers: int = 0,
    path: str | None = None,
    journal: str | Path | None = None,
    engine: EngineModel | None = None,
) -> Run:
    """Run a scenario.

    Args:
        scenario: what to run.
        progress: show a progress bar.
        live: in a notebook, draw the accuracy as rounds finish.
        on_round: called after each round with its row of :attr:`Run.rounds`.
        stop: ends the run within about a second when set.
        device: where tensors live: ``cpu``, ``cuda``, or ``auto`` for a GPU where there is one.
        workers: how many processes of Ray train the nodes, each with a GPU of its own where ``device`` is one; 0: this process.
            After ``ray.init(address=...)`` other machines take part.
        path: how cohorts are computed, such as ``vmap:8``: see :class:`~decai_sim.learning.paths.Path`; None: as was measured to
            be the fastest, or as is usual.
        journal: a folder where results of training are kept, and looked for first: a run that was interrupted goes on from there
            when it is run again, to the same end. It grows by the size of a model for every training of a node.
        engine: what Flower's own engine would add to the work of a ``federated`` scenario: polls, and processes that start for
            every message; None: nothing.

    Returns:
        The :class:`Run`; after Ctrl-C or ``stop``, what there is of it, with ``complete`` False; likewise, with a warning, if
        somebody waits in virtual time for what cannot come, such as for a server that has crashed for good:
        :attr:`Run.stalled` says who.

    Raises:
        ScenarioError: the scenario cannot be run, or ``live`` was asked for outside a notebook; nothing has been run then.

    Example:
        >>> import decai_sim as ds
        >>> r = ds.run(ds.Scenario(nodes=10, task="digits", protocol={"kind": "federated", "rounds": 2, "fraction": 0.5}),
        ...            progress=False)
        >>> len(r.rounds), r.complete, r.accuracy > 0.3
        (2, True, True)
    """
    if engine is not None and scenario.protocol.kind != "federated":
        raise ScenarioError(f"engine: {engine!r} is not allowed with protocol {scenario.protocol.kind!r}: only with 'federated'")
    watchers = [] if on_round is None else [on_round]
    if live:
        from decai_sim.viz.live import LiveFigure

        scenario.check()
        figure = LiveFigure.displayed()
        watchers.append(figure.add)
    if workers < 0:
        raise ScenarioError(f"workers: {workers} is not allowed: at least 0")
    execution = Execution(
        path=None if path is None else paths.Path.of(path),
        workers=workers,
        journal=None if journal is None else Journal(journal, scenario.id),
    )
    total = scenario.protocol.total_rounds
    options: dict[str, Any] = {"engine": engine, "execution": execution}
    result = _execute(scenario, lambda lab: scenario.protocol.run(lab), progress, stop, device, total, watchers, **options)
    if live:
        figure.draw()
    return result


def run_apps(
    server_app: ServerApp | str,
    client_app: ClientApp | None,
    scenario: Scenario | None,
    *,
    run_config: Mapping[str, Any] | None = None,
    work_flops: float | None = None,
) -> Run:
    """See :func:`decai_sim.flower.run`."""
    from decai_sim.flower import compat
    from decai_sim.flower.hosting import Host

    config: dict[str, Any] = {}
    if isinstance(server_app, str | os.PathLike):
        folder = Path(server_app)
        if not (folder / "pyproject.toml").is_file():
            raise ScenarioError(f"server_app: {str(folder)!r} is not allowed: a Flower app's folder holds a pyproject.toml")
        server_app, client_app, config = compat.load_folder(str(folder))
    if client_app is None:
        raise ScenarioError("client_app: None is not allowed with a ServerApp object; give both apps, or an app's folder")
    config |= dict(run_config or {})
    scenario = scenario if scenario is not None else Scenario()
    apps = server_app, client_app

    def work(lab: Lab) -> None:
        host = Host(
            lab.world,
            lab.streams,
            lambda: lab.problem,
            lab.attack,
            lab.byzantine,
            run_config=config,
            work_flops=work_flops,
            stop=lab.stop,
        )
        try:
            host.run(*apps)
        finally:
            lab.rounds += host.grid.rounds if host.grid is not None else []

    return _execute(scenario, work, False, None, "auto", None, foreign=True)


def run_peers(
    client_app: ClientApp, scenario: Scenario, *, run_config: Mapping[str, Any] | None = None, work_flops: float | None = None
) -> Run:
    """See :func:`decai_sim.flower.run_peers`."""
    from decai_sim.flower.own_work import trainer_of
    from decai_sim.protocols.peer_to_peer import PeerToPeer

    if not isinstance(scenario.protocol, PeerToPeer):
        raise ScenarioError(
            f"protocol.kind: {scenario.protocol.kind!r} is not allowed: it has a server; run its apps with ds.flower.run"
        )

    def work(lab: Lab) -> None:
        world = lab.world
        lab.trainer = lambda checkpoint: trainer_of(
            *(client_app, lab.problem, lab.streams, lab.execution, lambda: world.clock.now, checkpoint),
            attack=lab.attack,
            run_config=dict(run_config or {}),
            work_flops=work_flops,
        )
        scenario.protocol.run(lab)

    return _execute(scenario, work, False, None, "auto", None)


@garbage.its_own()
def _execute(
    scenario: Scenario,
    work: Any,
    progress: bool,
    stop: threading.Event | None,
    device: str,
    total: int | None,
    watchers: Sequence[Callable[[dict[str, Any]], object]] = (),
    *,
    foreign: bool = False,
    engine: EngineModel | None = None,
    execution: Execution | None = None,
) -> Run:
    from tqdm.auto import tqdm

    scenario.check(foreign=foreign)
    began = time.perf_counter()
    streams = Streams(scenario.seed)
    world = World(
        scenario.nodes, scenario.network, scenario.churn, scenario.devices, streams, scenario.topology, scenario.membership
    )
    adversaries.install_all(scenario.adversaries, world)
    faults.install_all(scenario.faults, world)
    world.watch()
    byzantine: frozenset[int] = frozenset()
    if scenario.attack is not None:
        byzantine = _attackers(scenario.attack, world)
    bar = tqdm(total=total, unit="round", disable=not progress, leave=False)

    def on_round(record: dict[str, Any]) -> None:
        row = _row(record, byzantine, lab.passed_over)
        for watch in watchers:
            watch(row)
        result = f"accuracy {record['accuracy']:.3f}" if scenario.protocol.learns else f"{record['n_replied']} reached"
        bar.set_postfix_str(f"{result}, virtual time {duration(record['t_s'])}", refresh=False)
        bar.update()

    lab = Lab(
        world=world,
        task=scenario.task,
        streams=streams,
        topology=scenario.topology,
        attack=scenario.attack,
        byzantine=byzantine,
        defense=scenario.defense,
        device=_device(device),
        stop=stop,
        engine=engine,
        execution=execution or Execution(),
        on_round=on_round,
    )
    complete, stall = True, None
    with bar:
        try:
            work(lab)
        except (KeyboardInterrupt, RunStoppedError):
            complete = False
        except StalledError as error:
            complete, stall = False, error
    result = _collect(scenario, lab, complete, None if stall is None else str(stall), time.perf_counter() - began)
    if stall is not None and foreign:
        stall.run = result
        raise stall
    if stall is not None:
        # Past the wrapper, to who called run.
        warnings.warn(f"{STALLED} after {len(result.rounds)} rounds: {stall}", RuntimeWarning, stacklevel=4)
    if complete:
        _warn_of_adversaries_in_vain(result)
    return result


def _attackers(attack: Attack, world: World) -> frozenset[int]:
    """Who they are.

    Raises:
        ScenarioError: there are no such nodes, or not as many.
    """
    from decai_sim.world.placement import place
    from decai_sim.world.targets import check_nodes

    if attack.nodes is not None:
        check_nodes(attack.nodes, world.n, "attack.nodes", server_too=False)
        return frozenset(attack.nodes)
    where = attack.by if attack.region is None else f"region:{attack.region}"
    count = whole_share(attack.fraction, world.n)
    field = "attack.by" if attack.region is None else "attack.region"
    graph = world.graph if attack.by != "random" else sp.csr_array((world.n, world.n))  # type: ignore[no-untyped-call]
    return frozenset(place(where, count, graph, world.paths.regions, world.streams.of("attack"), field).tolist())


def _warn_of_adversaries_in_vain(run: Run) -> None:
    kinds = frozenset(run.traffic["kind"])
    for number, adversary in enumerate(run.scenario.adversaries):
        missed = adversary.in_vain(kinds)
        if missed:
            warnings.warn(f"adversaries.{number}.{missed}", RuntimeWarning, stacklevel=5)


def writable(folder: str | Path) -> Path:
    """``folder``, made if missing.

    Raises:
        ScenarioError: it cannot be made or written to.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ScenarioError(f"{str(folder)!r} is not allowed as a folder to save in: {error.strerror or error}") from None
    return folder


def duration(seconds: float) -> str:
    """A time in words, in the unit that suits it.

    Example:
        >>> duration(90), duration(5000)
        ('90.0 s', '83.3 min')
    """
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 3 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def short(defense: Rule) -> str:
    """A rule in a few words, such as ``nnm >> trimmed_mean``."""
    config = defense.to_config()
    return " >> ".join(step["kind"] for step in config) if isinstance(config, list) else str(config["kind"])


def _device(name: str) -> str:
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name


def _row(record: dict[str, Any], byzantine: frozenset[int], passed_over: Counter[int]) -> dict[str, Any]:
    """A protocol's record of a round as a row of ``rounds``."""
    counted = {"n_byzantine": sum(node in byzantine for node in record["replied"]), "passed_over": passed_over[record["round"]]}
    whole = {**record, **counted}
    return {name: whole.get(name, math.nan) for name in _ROUND_COLUMNS}


def _collect(scenario: Scenario, lab: Lab, complete: bool, stalled: str | None, wall_s: float) -> Run:
    world = lab.world
    n = world.n
    known = "problem" in vars(lab)
    events = world.trace.events()
    frames = {
        "rounds": pd.DataFrame(
            [_row(record, lab.byzantine, lab.passed_over) for record in lab.rounds], columns=list(_ROUND_COLUMNS)
        ),
        "nodes": pd.DataFrame(
            {
                "node": np.arange(n),
                "region": world.paths.regions[:-1],
                "device": world.devices,
                "byzantine": [node in lab.byzantine for node in range(n)],
                "adversary": _adversaries(events, n),
                "n_samples": lab.problem.n_samples if known else pd.array([pd.NA] * n, dtype="Int64"),
                "online_s": world.nodes.online_s(),
                "bytes_up": world.links.bytes_up[:-1],
                "bytes_down": world.links.bytes_down[:-1],
                "own_accuracy": np.nan if lab.own_accuracy is None else lab.own_accuracy,
            }
        ),
        "events": events,
        "messages": world.trace.messages(),
        "traffic": world.trace.traffic(),
        "detections": world.watch().detections(),
        "models": _stacked(lab.models, _MODEL_COLUMNS),
        "hops": _stacked(lab.hops, _HOP_COLUMNS),
        "links": _stacked([_arrows(*past) for past in world.past_links()], _LINK_COLUMNS),
        "verdicts": _stacked(lab.verdicts, _VERDICT_COLUMNS),
    }
    for frame in frames.values():
        frame.insert(0, "run_id", scenario.id)
    digest = world.trace.digest()
    provenance = {
        **provenance_of(scenario),
        "passed_over": sum(lab.passed_over.values()),
        "complete": complete,
        "stalled": stalled,
        "trace_digest": digest,
        "virtual_s": world.clock.now,
        "wall_s": round(wall_s, 3),
        "device": lab.device,
        "path": None if lab.execution.path is None else str(lab.execution.path),
        "engine": None if lab.engine is None else lab.engine.model_dump(),
    }
    model = lab.model.cpu().numpy() if lab.model is not None else None
    return Run(scenario, **frames, trace_digest=digest, complete=complete, provenance=provenance, model=model)


def _auc(seen: pd.DataFrame) -> float:
    """Over aggregations with scores and both kinds of updates, the mean area under the receiver operating characteristic."""
    from sklearn.metrics import roc_auc_score

    areas = []
    for _, one in seen.dropna(subset=["score"]).groupby(["observer", "round"]):
        bad = one["attacks"].astype(bool)
        if bad.any() and not bad.all():
            areas.append(roc_auc_score(bad, one["score"].rank()))
    return float(np.mean(areas)) if areas else math.nan


def _ends(links: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    return links["src"].to_numpy(dtype=np.int64), links["dst"].to_numpy(dtype=np.int64)


def _arrows(t_s: float, graph: sp.csr_array) -> dict[str, Any]:
    """A graph's links as columns of ``Run.links``."""
    return {"t_s": t_s, "src": np.repeat(np.arange(graph.shape[0]), np.diff(graph.indptr)), "dst": graph.indices}


def _stacked(parts: list[dict[str, Any]], columns: dict[str, type]) -> pd.DataFrame:
    none = pd.DataFrame({name: np.zeros(0, dtype) for name, dtype in columns.items()})
    return pd.concat([pd.DataFrame(one) for one in parts], ignore_index=True) if parts else none


def _adversaries(events: pd.DataFrame, n: int) -> list[str | None]:
    """What kind of network adversary each node is; kinds of one node are joined."""
    found: list[str | None] = [None] * n
    noted = events[events["kind"] == "adversary"]
    for node, kind in zip(noted["node"].tolist(), noted["detail"].astype(str), strict=True):
        found[node] = kind if found[node] is None else f"{found[node]}, {kind}"
    return found


def provenance_of(scenario: Scenario) -> dict[str, Any]:
    """Where results of a scenario come from: the scenario, its seed, versions, git state."""
    return {
        "run_id": scenario.id,
        "scenario": scenario.to_config(),
        "seed": scenario.seed,
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _VERSIONED}},
        "git": _git_state(),
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _git_state() -> dict[str, Any] | None:
    here = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "--", str(here)))}
    except (OSError, subprocess.SubprocessError):
        return None  # installed without its history
