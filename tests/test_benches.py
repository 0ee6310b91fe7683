"""Benches at the size of a toy: that they work, and say what they are to say. Nothing is asserted about time."""

from __future__ import annotations

import math
import sys
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from decai_sim.benches import peer_to_peer, training
from decai_sim.benches.bench import alternating, benches
from decai_sim.benches.flood import flood, flood_one_by_one, peak_memory_bytes
from decai_sim.benches.peers import bare_heap, simpy_inbox
from decai_sim.benches.world import measure
from decai_sim.papers.rows import report
from decai_sim.world import Ring


def test_the_bench_of_the_world_gives_every_figure_of_the_design() -> None:
    rows = list(measure(nodes=200, items=2, few=50, many=400, messages=3_000, heap_events=2_000, repeats=2))
    targets = {row.name: row.target for row in rows if row.target}
    of_ways = ["≥ 0.18", "≥ 0.13", "≥ 0.18", "≥ 0.18", "≥ 0.18", "≥ 0.13", *["≥ 0.18"] * 4, "≥ 0.13"]
    assert list(targets.values()) == ["≥ 0.18", "≥ 0.13", "≥ 4", *of_ways, "≤ 1", "≤ 2", *["≥ 8"] * 6]
    assert all(math.isfinite(row.value) and row.value > 0 for row in rows)
    assert all(row.source for row in rows if row.target)
    keys = ["name", "value", "unit", "target", "meets", "source"]
    assert all(list(row) == keys for row in report(rows)["rows"])


def test_the_bench_of_learning_without_a_server_gives_every_figure_of_the_design(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("decai_sim.benches.gossipy_peer.installed", lambda: False)
    rows = {row.name: row for row in peer_to_peer.measure(nodes=24, rounds=2, many=12, repeats=1)}
    assert [row.target for row in rows.values() if row.target] == ["≥ 10", "≤ 0.45", "≤ 8"]
    peak_gb = rows["peak memory of 12 nodes with softmax regression, 5 rounds"].value
    assert 0.1 < peak_gb < 4
    assert rows["D-PSGD, 24 nodes, 8 neighbours, 2 rounds"].value > 0


def test_the_bench_of_training_gives_every_figure_that_needs_no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("decai_sim.benches.pfl_peer.installed", lambda: False)
    monkeypatch.setenv("DECAI_SIM_PATH", "stacked:4")  # and nothing is measured beforehand
    rows = {row.name: row for row in training.measure(nodes=8, cnn_nodes=4, many=12, asked=4, repeats=1, engine=False)}
    targets = {name: row.target for name, row in rows.items() if row.target}
    assert targets == {
        "MLP, 8 nodes, ours / plain loop": "≥ 8",
        "MLP, 8 nodes, ours / bound": "≥ 0.4",
        "MLP, 8 nodes, cohorts alone / bound": "≥ 0.6",
        "CNN, 4 nodes, cohorts / bound": "≥ 0.8",
        "MLP, rounds of 50 of 8 nodes, ours / pfl": "≥ 3",
        "peak memory of 12 models of 50,890 parameters / their raw bytes": "≤ 2.5",
    }
    missing = rows.pop("MLP, rounds of 50 of 8 nodes, ours / pfl")
    assert math.isnan(missing.value)
    assert "pip install pfl" in missing.source
    assert all(math.isfinite(row.value) and row.value > 0 for row in rows.values())
    assert all(row.source for row in rows.values() if row.target)


def test_a_peer_is_held_against_whole_rounds_with_as_many_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr("decai_sim.benches.pfl_peer.installed", lambda: True)
    monkeypatch.setattr("decai_sim.benches.pfl_peer.nodes_per_s", lambda problem, cohort: float(cohort))
    monkeypatch.setattr(training.Work, "through_flower", lambda self, strategy, few: asked.append(few) or 150.0)
    rows = list(training.pfl(60, repeats=1))
    assert asked == [50]
    assert rows[-1].value == 3.0


@pytest.fixture
def gossipy(monkeypatch: pytest.MonkeyPatch) -> type:
    """A stand-in for ``gossipy`` with the names that the bench uses; every node trains once a round."""

    class TorchModel(torch.nn.Module):
        pass

    class TorchModelHandler:
        def __init__(self, net: TorchModel, **how: object) -> None:
            self.net, self.how = net, how

        def copy(self) -> TorchModelHandler:
            return self

        def _update(self, data: tuple[torch.Tensor, torch.Tensor]) -> None:
            loss = torch.nn.functional.cross_entropy(self.net(data[0]), data[1])
            loss.backward()

    class GossipSimulator:
        seen: ClassVar[dict[str, object]] = {}

        def __init__(self, nodes: dict[int, SimpleNamespace], **how: object) -> None:
            self.nodes = nodes
            self.seen.update(how, nodes=len(nodes), edges=nodes[0].p2p_net.topology.sum() / 2)

        def init_nodes(self) -> None:
            pass

        def start(self, n_rounds: int) -> None:
            np.random.random()
            for _ in range(n_rounds):
                for node in self.nodes.values():
                    node.model_handler._update(node.data[0])

    parts = {
        "gossipy": {},
        "gossipy.core": {
            "AntiEntropyProtocol": SimpleNamespace(PUSH="push"),
            "ConstantDelay": int,
            "CreateModelMode": SimpleNamespace(MERGE_UPDATE="merge"),
            "StaticP2PNetwork": lambda nodes, topology: SimpleNamespace(topology=topology),
        },
        "gossipy.model": {"TorchModel": TorchModel},
        "gossipy.model.handler": {"TorchModelHandler": TorchModelHandler},
        "gossipy.node": {"GossipNode": SimpleNamespace},
        "gossipy.simul": {"GossipSimulator": GossipSimulator},
    }
    for name, values in parts.items():
        module = ModuleType(name)
        module.__dict__.update(values)
        monkeypatch.setitem(sys.modules, name, module)
    return GossipSimulator


def test_the_other_simulator_is_given_the_same_work(gossipy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from decai_sim.benches import gossipy_peer
    from decai_sim.benches.training import Work
    from decai_sim.learning import MLP

    work, drawn = Work.of(MLP(hidden=(8,)), 20, 60), np.random.get_state()[1].copy()
    assert gossipy_peer.updates_per_s(work.problem, 12, 4) > 0
    assert (gossipy.seen["nodes"], gossipy.seen["edges"]) == (12, 24)
    assert np.array_equal(np.random.get_state()[1], drawn), "what it draws is given back"
    assert getattr(sys.modules.get("torchvision"), "__spec__", sys) is not None, "nobody takes the stand-in for torchvision"
    monkeypatch.setattr(gossipy_peer, "installed", lambda: True)
    rows = {row.name: row for row in peer_to_peer.measure(nodes=24, rounds=1, many=12, few=12, repeats=1)}
    assert rows["gossipy, 12 nodes, one message a node and round"].value > 0
    assert math.isfinite(rows["D-PSGD, ours / gossipy"].value)


def test_benches_are_found_by_name() -> None:
    assert set(benches()) >= {"world"}
    assert all(one.name == name and one.about for name, one in benches().items())


@pytest.mark.parametrize("queueing", ["uplink", "both"])
def test_the_flood_is_the_whole_thing(queueing: str) -> None:
    done = flood(300, 3, queueing=queueing)  # type: ignore[arg-type]
    # Each of some 80 % of nodes sends each item to 7 or 8 others; of what is sent, a fifth is for nodes that are away.
    assert 0.6 * 300 * 7 * 3 < done.sent < 300 * 8 * 3
    assert 0.6 * done.sent < done.delivered < 0.9 * done.sent


def test_floods_one_by_one_are_as_large() -> None:
    # Other draws of loss and jitter along links: as many messages but for those, and for who hears of an item from whom first.
    arrays, single = flood(300, 3, mean_online_s=20.0), flood_one_by_one(300, 3)
    assert single.sent == pytest.approx(arrays.sent, rel=0.05)
    assert single.delivered == pytest.approx(arrays.delivered, rel=0.05)


def test_nodes_come_and_go_where_they_stay_as_long_as_the_run_lasts() -> None:
    assert flood(300, 3, mean_online_s=20.0).sent != flood(300, 3).sent


def test_the_flood_is_the_same_every_time() -> None:
    assert flood(200, 2).delivered == flood(200, 2).delivered


def test_peers_do_their_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("decai_sim.benches.peers.cpu_s", lambda work: (work(), 1.0)[1])
    assert bare_heap(10, 500) == 500
    # On a ring each item comes to its origin from outside and to everybody else over both links at most: n − 1 others, and the
    # two waves meet in two messages more than are needed, or on an even ring in one.
    assert simpy_inbox(Ring().csr(9, 0), items=3, rate_per_s=1.0) == 3 * (1 + 8 + 2)


def test_turns_alternate() -> None:
    seen: list[str] = []
    turns = alternating(2, lambda: seen.append("a") or 1.0, lambda: seen.append("b") or 2.0)  # type: ignore[func-returns-value]
    assert (seen, turns) == (["a", "b", "a", "b"], [(1.0, 2.0), (1.0, 2.0)])


def test_memory_is_that_of_this_process() -> None:
    before = peak_memory_bytes()
    block = bytearray(60_000_000)
    assert before > 30_000_000
    assert peak_memory_bytes() >= max(before, len(block))
