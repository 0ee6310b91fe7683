"""Every registered component of every family keeps its contract and has a card."""

from __future__ import annotations

import inspect
import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import decai_sim as ds
from decai_sim import testing
from decai_sim.component import _FAMILIES, Component, families, kinds
from decai_sim.learning import CIFAR10, FEMNIST, MNIST, SGD, Custom, Hub, Module
from decai_sim.world import Churn, EdgeList, Network, Topology, TraceReplay, access_rates
from decai_sim.world.link_rates import Table
from decai_sim.world.topologies import GraphML, wiring

# Importing the scenario, as above through ds.Scenario's schema, registers every family.
ds.Scenario()

COMPONENTS = [cls for family in families() for cls in kinds(family).values() if cls.__module__.startswith("decai_sim.")]
NEED_A_FILE = {EdgeList, GraphML, Table, access_rates.Table, TraceReplay, Hub, MNIST, CIFAR10, FEMNIST}  # or the hub
NEED_AN_OBJECT = {Custom, Module}


CASES = [
    pytest.param(cls, fields, id=f"{cls.family}-{cls.kind}-{i}") for cls in COMPONENTS for i, fields in enumerate(cls.examples)
]


@pytest.mark.parametrize(("cls", "fields"), CASES)
def test_component_keeps_its_contract(cls: type[Component], fields: dict[str, Any]) -> None:
    testing.check(cls(**fields))


def test_edge_list_keeps_its_contract(tmp_path: Path) -> None:
    path = tmp_path / "edges.txt"
    path.write_text("0 1\n1 2\n7 3\n")
    testing.check(EdgeList(path))


def test_graphml_keeps_its_contract(tmp_path: Path) -> None:
    import networkx as nx

    nx.write_graphml(nx.path_graph(20), tmp_path / "path.graphml")
    testing.check(GraphML(tmp_path / "path.graphml"))


def test_link_rates_of_a_file_keep_their_contract(tmp_path: Path) -> None:
    path = tmp_path / "links.csv"
    path.write_text("src,dst,bps\n0,1,1e6\n1,0,2e6\n-1,7,3e6\n")
    testing.check(Table(path))
    testing.check(Table(path, default_bps=1e9))


def test_access_rates_of_a_file_keep_their_contract(tmp_path: Path) -> None:
    path = tmp_path / "nodes.csv"
    path.write_text("node,bps\n" + "".join(f"{node},{node + 1}e6\n" for node in range(8)))
    testing.check(access_rates.Table(path))
    path.write_text("node,bps\n0,1e6\n7,3e6\n")
    testing.check(access_rates.Table(path, default_bps=1e9))


def test_churn_of_a_file_keeps_its_contract(tmp_path: Path) -> None:
    path = tmp_path / "sessions.csv"
    path.write_text("node,t_online,t_offline\n0,0,60\n2,30,90\n2,100,140\n12,5,inf\n")
    testing.check(TraceReplay(path))
    path.write_text("node,t_online,t_offline\n0,0,60\n2,30,90\n2,100,140\n12,5,150\n")
    testing.check(TraceReplay(path, repeat_s=150))


@pytest.mark.parametrize("cls", COMPONENTS, ids=lambda cls: f"{cls.family}-{cls.kind}")
def test_component_has_a_card_and_examples(cls: type[Component]) -> None:
    card = inspect.cleandoc(cls.__doc__ or "")
    of_family = ("Breaks down:", "Costs:") if cls.family == "defenses" else ()
    where = [card.find(f"\n{line}") for line in ("Source:", "Assumes:", "Deviations:", *of_family, "Example:")]
    assert -1 not in where, f"{cls.__name__} lacks part of its card"
    assert where == sorted(where)
    assert bool(cls.examples) != (cls in NEED_A_FILE | NEED_AN_OBJECT)
    for name in cls.model_fields:
        base = any(name in parent.model_fields for parent in cls.__mro__[1:] if issubclass(parent, Component))
        assert base or name in card, f"{cls.__name__}: the card does not explain {name}"


def test_every_family_has_a_check_and_at_least_one_component() -> None:
    assert set(families()) <= set(testing._CHECKS)
    for family in families():
        assert any(cls.family == family for cls in COMPONENTS), family


def test_every_public_check_is_exported() -> None:
    found = {name for name in vars(testing) if name == "check" or name.startswith("check_")}
    assert found == set(testing.__all__)


# -- the checks find what is wrong ------------------------------------------------------------------------------------------


@pytest.fixture
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    for family, members in list(_FAMILIES.items()):
        monkeypatch.setitem(_FAMILIES, family, dict(members))


CARD = "Wrong on purpose.\n\nSource: us.\nAssumes: nothing.\nDeviations: all.\n\nExample:\n    >>> 1\n    1\n"


def complaint(component: Component) -> str:
    with pytest.raises(AssertionError) as caught:
        testing.check(component)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.usefixtures("_registry")
def test_wrong_topologies_are_found() -> None:
    import networkx as nx

    class Wrong(Topology, kind="wrong"):
        __doc__ = CARD
        how: str

        def build(self, n: int, seed: int) -> nx.Graph:
            if self.how == "directed":
                return nx.cycle_graph(n, create_using=nx.DiGraph)
            if self.how == "loop":
                return nx.Graph([(i, i) for i in range(n)])
            if self.how == "nodes":
                return nx.path_graph(n + 1)
            return nx.gnp_random_graph(n, 0.5)  # from the global generator

    for how, message in (
        ("directed", "is directed"),
        ("loop", "to itself"),
        ("nodes", "its nodes are not"),
        ("global", "global random state"),
    ):
        assert message in complaint(Wrong(how=how))

    asked = itertools.count()

    class Odd(Topology, kind="odd"):
        __doc__ = CARD
        how: str
        time_varying = True

        def csr(self, n: int, seed: int) -> Any:
            ring = ds.topologies.Ring().csr(n, seed)
            if self.how == "weights":
                ring.data[:] = 2
            return wiring.from_arrows(n, np.arange(n - 1), np.arange(1, n)) if self.how == "arrow" else ring

        def at(self, n: int, seed: int, server_round: int) -> Any:
            if self.how == "restless":  # another graph each time it is asked
                return ds.topologies.ErdosRenyi(p=0.5).csr(n, next(asked))
            return ds.topologies.Star().csr(n, seed) if self.how == "elsewhere" else self.csr(n, seed)

        def period(self, n: int) -> int | None:
            return 1 if self.how == "elsewhere" else None

    for how, message in (
        ("weights", "other numbers than ones"),
        ("arrow", "not symmetric"),
        ("elsewhere", "the links of all rounds"),
        ("restless", "differs for the same seed"),
    ):
        assert message in complaint(Odd(how=how))

    class Still(ds.topologies.RandomEachRound, kind="still"):
        __doc__ = CARD

        def overlay(self, world: Any, seed: int) -> Any:
            made = super().overlay(world, seed)
            made.turn = lambda k: None
            return made if self.degree == 4 else None

    assert "stays as it is in a run" in complaint(Still())
    assert "has nothing that changes its links" in complaint(Still(degree=2))

    class Nowhere(Topology, kind="nowhere"):
        __doc__ = CARD

        def csr(self, n: int, seed: int) -> Any:
            raise ds.ScenarioError("topology.kind: 'nowhere' is not allowed: never")

    assert "has no graph on 20 nodes" in complaint(Nowhere())


@pytest.mark.usefixtures("_registry")
def test_wrong_networks_are_found() -> None:
    class Fickle(Network, kind="wrong"):
        __doc__ = CARD

        def paths(self, up: Any, down: Any, streams: Any) -> Any:
            rng = streams.of("x")
            made = ds.network.Ideal().paths(up, down, streams)
            made.base_s = lambda src, dst: float(rng.random())  # drawn in the order of asking
            return made

    assert "depends on what was asked before" in complaint(Fickle())


@pytest.mark.usefixtures("_registry")
def test_wrong_optimisers_are_found() -> None:
    class Wrong(SGD, kind="wrong"):
        __doc__ = CARD

        def step(self, params: Any, slopes: Any, kept: Any, steps: Any, lr: float) -> None:
            super().step(params, slopes, kept, steps, 2 * lr)

    assert "step 1 differs from SGD of PyTorch" in complaint(Wrong())

    class Forgetful(SGD, kind="forgetful"):
        __doc__ = CARD

        def step(self, params: Any, slopes: Any, kept: Any, steps: Any, lr: float) -> None:
            kept["momentum_buffer"]["bias"].zero_()
            super().step(params, slopes, kept, steps, lr)

    assert "step 2 differs from SGD of PyTorch" in complaint(Forgetful(momentum=0.9))


@pytest.mark.usefixtures("_registry")
def test_wrong_latencies_and_losses_are_found() -> None:
    class Wrong(ds.network.Latency, kind="wrong"):
        __doc__ = CARD
        how: str

        def one_way_s(self, src_region: np.ndarray, dst_region: np.ndarray, u: np.ndarray) -> np.ndarray:
            if self.how == "negative":
                return u - 0.5
            return u if self.how == "scalar" else 0 * u

        def one_s(self, src_region: str, dst_region: str, u: float) -> float:
            return u + 1e-9 if self.how == "scalar" else super().one_s(src_region, dst_region, u)

    for how, message in (
        ("negative", "negative"),
        ("scalar", "base_s and bases_s differ"),
        ("zero", "not above 0"),
    ):
        assert message in complaint(Wrong(how=how))

    class Ours(ds.network.Loss, kind="wrong"):
        __doc__ = CARD
        of_whom: str

        def table(self, size: int, generator: np.random.Generator) -> np.ndarray:
            if self.of_whom == "nobody":
                return np.zeros(size)
            return np.random.default_rng().random(size) < 0.5

    assert "bool" in complaint(Ours(of_whom="nobody"))
    assert "differs for the same generator" in complaint(Ours(of_whom="anybody"))


@pytest.mark.usefixtures("_registry")
def test_wrong_rules_are_found() -> None:
    drawn = np.random.default_rng(0)  # nobody's generator

    class Wrong(ds.defenses.Rule, kind="wrong"):
        __doc__ = CARD
        how: str

        def aggregate(self, rows: torch.Tensor, context: Any) -> Any:
            weights = torch.full_like(rows[:, 0], 1 / len(rows))
            kept = weights > 0
            value = rows.mean(dim=0)
            if self.how == "order":
                value, weights = rows[0].clone(), None
            elif self.how == "restless":
                value, weights = value + float(drawn.random()), None
            elif self.how == "view":
                value, weights = rows[len(rows) // 2], None
            elif self.how == "boast":
                weights = weights * 2
            elif self.how == "nobody":
                weights, kept = None, ~kept
            elif self.how == "unsure":
                return ds.defenses.Aggregation(value, weights, kept, weights * float("nan"))
            return ds.defenses.Aggregation(value, weights, kept)

    for how, message in (
        ("order", "depends on the order"),
        ("restless", "not deterministic"),
        ("view", "returns a view"),
        ("boast", "not the mean that its weights say"),
        ("nobody", "keeps no row"),
        ("unsure", "a score is not a number"),
    ):
        assert message in complaint(Wrong(how=how))

    class Credulous(Wrong, kind="credulous"):
        __doc__ = CARD
        robust = False

    class Careless(Wrong, kind="careless"):
        __doc__ = CARD

        def explain(self, updates: torch.Tensor, context: Any = None) -> Any:
            return self.aggregate(updates, context)

    testing.check(Credulous(how="mean"))  # it does not say that it is robust
    assert "is defeated by a row with nan" in complaint(Careless(how="mean"))

    class Free(Wrong, kind="free"):
        __doc__ = CARD

        def flops(self, n: int, d: int, f: int | None = None) -> float:
            return 0.0

    assert "flops" in complaint(Free(how="mean"))

    class Needy(Wrong, kind="needy"):
        __doc__ = CARD
        needs = frozenset({"money"})

    assert "needs ['money'], which no context has" in complaint(Needy(how="mean"))

    class Lax(Wrong, kind="lax"):
        __doc__ = CARD
        needs = frozenset({"server"})

        def given(self, context: Any) -> Any:
            return context or ds.defenses.Context()

    assert "does not ask for context.server" in complaint(Lax(how="mean"))

    class Lavish(ds.defenses.Filter, kind="lavish_filter"):
        __doc__ = CARD

        def weigh(self, update: torch.Tensor, context: Any) -> float:
            return float(update[0])

    assert "weight" in complaint(Lavish())


@pytest.mark.usefixtures("_registry")
def test_wrong_steps_are_found() -> None:
    class Wrong(ds.defenses.Mixing, kind="wrong"):
        __doc__ = CARD
        how: str

        def mixing(self, updates: torch.Tensor, context: Any = None) -> torch.Tensor:
            n = len(updates)
            matrix = torch.eye(n, dtype=updates.dtype)
            if self.how == "double":
                return 2 * matrix
            if self.how == "order":
                return matrix[:1].expand(n, n)
            return torch.cat([matrix, matrix])

    for how, message in (("double", "do not sum to 1"), ("order", "depends on the order"), ("more", "makes rows of shape")):
        assert message in complaint(Wrong(how=how))

    class Hidden(ds.defenses.Step, kind="hidden"):
        __doc__ = CARD

        def step(self, rows: torch.Tensor, context: Any) -> Any:
            return ds.defenses.Stepped(rows[1:] * 2, None)

    assert "without a matrix" in complaint(Hidden())


@pytest.mark.usefixtures("_registry")
def test_wrong_churn_is_found() -> None:
    class Herd(Churn, kind="wrong"):
        __doc__ = CARD
        length_s: float = 1.0

        def start(self, n: int, streams: Any) -> np.ndarray:
            return np.ones(n, bool)

        def periods(self, k: int, online: np.ndarray, began_s: np.ndarray, streams: Any) -> np.ndarray:
            return np.full(len(online), self.length_s * online.sum())

    assert "how many nodes" in complaint(Herd())
    assert "time would stand still" in complaint(Herd(length_s=0.0))


@pytest.mark.usefixtures("_registry")
def test_wrong_attacks_are_found() -> None:
    class Wrong(ds.attacks.UpdateAttack, kind="wrong"):
        __doc__ = CARD
        how: str

        def __call__(self, honest: torch.Tensor, n_byzantine: int, generator: Any, view: Any = None) -> torch.Tensor:
            if self.how == "nan":
                return honest.new_full((n_byzantine, honest.shape[1]), torch.nan)
            if self.how == "few":
                return honest[:1]
            if self.how == "writes" and view is not None and view.past is not None:
                view.past.zero_()
            return honest.new_zeros(n_byzantine, honest.shape[1])

        def claims(self, num_examples: int) -> int:
            return -1 if self.how == "claims" else num_examples

    for how, message in (
        ("nan", "not finite"),
        ("few", "returns (1, 11) instead of (3, 11)"),
        ("writes", "writes to its arguments"),
        ("claims", "claims -1 samples"),
    ):
        assert message in complaint(Wrong(how=how))

    class Tame(Wrong, kind="tame"):
        __doc__ = CARD
        finite = False

    assert "finite, though it says finite = False" in complaint(Tame(how="right"))

    class Backdoor(ds.attacks.BadNets, kind="backdoor"):
        __doc__ = CARD
        how: str

        def poison(self, x: Any, y: Any, generator: Any) -> Any:
            x_new, y_new = super().poison(x, y, generator)
            return (x_new[1:], y_new[1:]) if self.how == "fewer" else (x_new, y_new)

        def goal(self, x: Any, y: Any) -> Any:
            shown, wanted, which = super().goal(x, y)
            return shown, y if self.how == "right" else wanted, which.float() if self.how == "weights" else which

    for how, message in (
        ("fewer", "changes the number of samples"),
        ("right", "right as they are"),
        ("weights", "its goal has samples of another shape or dtype"),
    ):
        assert message in complaint(Backdoor(how=how))

    class Peer(ds.attacks.PeerAttack, kind="peer"):
        __doc__ = CARD
        how: str

        def to_neighbour(self, own: Any, models: Any, weights: Any, attackers: float, generator: Any) -> Any:
            if self.how == "random":
                return torch.rand(own.shape, dtype=own.dtype)
            return models if self.how == "shape" else None

        def claims_degree(self, degree: int) -> int:
            return 0

    for how, message in (("shape", "another shape"), ("random", "global random state"), ("degree", "claims 0 neighbours")):
        assert message in complaint(Peer(how=how))

    class Restless(ds.attacks.IPM, kind="restless"):
        __doc__ = CARD

        def active(self, server_round: int) -> bool:
            return server_round % 2 == 0

    assert "attacks and poisons in different rounds" in complaint(Restless(data={"kind": "label_flip"}))


@pytest.mark.usefixtures("_registry")
def test_wrong_adversaries_are_found() -> None:
    drawn = np.random.default_rng(0)  # not the world's

    class Wrong(ds.adversaries.Adversary, kind="wrong"):
        __doc__ = CARD
        how: str

        def act(self, world: Any, who: list[int], number: int) -> None:
            def hold_up(src: np.ndarray, dst: np.ndarray, kind: str) -> np.ndarray:
                return drawn.random(len(src)) if self.how == "restless" else np.full(len(src), 1e-3)

            if self.how == "wires":
                world.rewire(lambda graph: ds.topologies.Ring().csr(12, 0))
            if self.how not in ("idle", "wires"):
                world.links.tamper.append(hold_up)
                if self.how == "everybody":
                    world.links.tamper.append(lambda src, dst, kind: np.full(len(src), np.inf))

    for how, message in (
        ("idle", "changes nothing"),
        ("restless", "differs for the same seed"),
        ("everybody", "changes messages between others"),
        ("wires", "set rewires = True"),
    ):
        assert message in complaint(Wrong(how=how, share=0.3))


@pytest.mark.usefixtures("_registry")
def test_wrong_failure_detectors_are_found() -> None:
    from decai_sim.world.detections import Detections
    from decai_sim.world.listing import Listing

    class Wrong(ds.membership.Heartbeat, kind="wrong"):
        __doc__ = CARD
        how: str

        def watch(self, world: Any) -> Any:
            how, listing = self.how, super().watch(world)

            class Watch(Listing):
                def __init__(self) -> None:
                    pass

                def trust(self, node: int) -> float:
                    return {"credulous": 1.0, "paranoid": 0.0}.get(how, listing.trust(node))

                def detections(self) -> Any:
                    found = Detections(world.nodes)
                    if how == "silent":
                        return found.frame()
                    if how == "liar":
                        found.record(1.0, -1, 5, "suspect")
                    return found.frame() if how == "liar" else listing.detections()

            if how == "secretive":
                world.clock.at(1.0, world.links.send, 0, 1, 10, "check", int)
            return Watch()

    for how, message in (
        ("credulous", "still trusts a node"),
        ("paranoid", "does not trust a node that is there"),
        ("liar", "suspects a node that is there"),
        ("silent", "has not found out by itself"),
        ("secretive", "messages of other kinds"),
    ):
        assert message in complaint(Wrong(how=how))


@pytest.mark.usefixtures("_registry")
def test_wrong_partitions_are_found() -> None:
    class Greedy(ds.partitions.Partition, kind="wrong"):
        __doc__ = CARD

        def split(self, labels: Any, n: int, streams: Any) -> list[np.ndarray]:
            return [np.arange(len(labels))] * n

    class Lavish(Greedy, kind="lavish"):
        __doc__ = CARD
        whole = False  # some samples may belong to nobody, none to two

    assert "to several nodes" in complaint(Greedy())
    assert "to several nodes" in complaint(Lavish())


@pytest.mark.usefixtures("_registry")
def test_wrong_models_are_found() -> None:
    class Mixed(ds.models.MLP, kind="wrong"):
        __doc__ = CARD

        def stacked(self, module: Any, params: Any, x: Any) -> torch.Tensor:
            logits = super().stacked(module, params, x)
            return logits.mean(0, keepdim=True).expand_as(logits)

    assert "differs from each model alone" in complaint(Mixed())

    class Lazy(ds.models.MLP, kind="lazy"):
        __doc__ = CARD

        def sgd_step(self, module: Any, params: Any, x: Any, y: Any, mask: Any, lr: float) -> torch.Tensor:
            return super().sgd_step(module, params, x, y, mask, lr / 2)

    assert "sgd_step differs from automatic differentiation" in complaint(Lazy())

    class Forgetful(ds.models.Transformer, kind="forgetful"):
        __doc__ = CARD

        def stacked(self, module: Any, params: Any, x: Any) -> torch.Tensor:
            return super().stacked(module, params, x.flip(2))

    assert "differs from each model alone" in complaint(Forgetful())


@pytest.mark.usefixtures("_registry")
def test_wrong_devices_and_missing_cards_are_found() -> None:
    class Toaster(ds.devices.Devices, kind="wrong"):
        __doc__ = CARD

        def assign(self, n: int, streams: Any) -> np.ndarray:
            return np.full(n, "toaster")

    assert "no profile" in complaint(Toaster())

    class Cardless(Toaster):
        """Nothing said."""

    Cardless.__module__ = "decai_sim.mine"  # a notebook's class need only say what it does; ours carry a card
    assert "its docstring lacks Source:" in complaint(Cardless())


@pytest.mark.usefixtures("_registry")
def test_wrong_protocols_are_found() -> None:
    class Boast(ds.protocols.Federated, kind="wrong"):
        __doc__ = CARD

        @property
        def total_rounds(self) -> int:
            return self.rounds + 1

    assert "promises 2 rounds, makes 1" in complaint(Boast(rounds=1))

    class Lame(ds.protocols.GossipLearning, kind="lame"):
        __doc__ = CARD
        how: str

        def trained(self, at: Any, node: int, job: Any) -> None:
            before, here = at.models[node], len(at.here())
            super().trained(at, node, job)
            if here < at.n and self.how == "forgets":
                at.models[node] = before

        def woke(self, at: Any, node: int, number: int) -> None:
            if len(at.here()) == at.n or node in at.here()[:2] or self.how == "forgets":
                super().woke(at, node, number)

        def received(self, at: Any, node: int, src: int, payload: Any) -> None:
            if len(at.here()) == at.n or node in at.here()[:2] or self.how == "forgets":
                super().received(at, node, src, payload)

    assert "learns nothing more when nodes" in complaint(Lame(how="forgets"))
    assert re.search(r"nodes \[\d\] train no more when nodes 0, 1, 2 of 6 have left", complaint(Lame(how="sleeps")))

    class Halves(ds.protocols.DPSGD, kind="halves"):
        __doc__ = CARD
        agrees = False

        def combined(self, at: Any, node: int, own: Any, heard: Any) -> Any:
            near = {src: sent for src, sent in heard.items() if src // 3 == node // 3}
            return super().combined(at, node, own, near)

    assert "apart, after 40 rounds" in complaint(Halves())


@pytest.mark.usefixtures("_registry")
def test_a_defense_of_the_package_says_where_it_breaks_down_and_what_it_costs() -> None:
    class Careless(ds.defenses.Median):
        __doc__ = CARD

    assert not Careless.__module__.startswith("decai_sim.")
    testing.check(Careless())
    Careless.__module__ = "decai_sim.defenses.careless"
    assert "its docstring lacks Breaks down:, Costs:" in complaint(Careless())
