"""The description of an experiment: one schema for Python, YAML, JSON and widgets."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import yaml
from pydantic import BeforeValidator, Field, PlainSerializer, ValidationError
from pydantic_core import PydanticSerializationError

from decai_sim.attacks import Attack, PeerAttack
from decai_sim.component import Description, field_of, parse
from decai_sim.defenses import DefenseField
from decai_sim.errors import ScenarioError, explain, for_each
from decai_sim.learning import Task
from decai_sim.learning.tasks import FashionMNIST
from decai_sim.protocols import Federated, Protocol
from decai_sim.world import (
    Adversary,
    Churn,
    Devices,
    Fault,
    Given,
    Heartbeat,
    Ideal,
    Membership,
    Mix,
    Network,
    SmallWorld,
    Topology,
    adversaries,
    faults,
)
from decai_sim.world.adversaries import Carried, Flooding
from decai_sim.world.adversaries.flooding import JUNK
from decai_sim.world.targets import check_regions

if TYPE_CHECKING:
    import networkx as nx
    import scipy.sparse as sp


def _topology(value: Any) -> Any:
    if hasattr(value, "edges") and hasattr(value, "nodes") and not isinstance(value, Topology):
        return Given.of(value)  # an nx.Graph, recognised without importing NetworkX
    return parse("topologies", value)


class _Loader(yaml.SafeLoader):
    """YAML as people mean it: ``1e-3`` is a number, and a key that stands there twice is a mistake, not a choice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} is there twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Writes what :class:`_Loader` reads."""


_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$")
for _speaker in (_Loader, _Dumper):
    _speaker.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+.0123456789"))


def parse_yaml(text: str) -> Any:
    """Plain data from YAML (or JSON), read as a scenario file is.

    Raises:
        ScenarioError: it is not plain YAML; one line says where and why.

    Example:
        >>> parse_yaml("{kind: federated, lr: 1e-3}")
        {'kind': 'federated', 'lr': 0.001}
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark is not None else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "malformed"
        raise ScenarioError(f"not plain YAML{where}: {problem}") from None
    except ValueError as error:  # what looks like a date and is none
        raise ScenarioError(f"not plain YAML: {error}") from None
    except RecursionError:
        raise ScenarioError("not plain YAML: nested too deeply") from None


class Scenario(Description):
    """An experiment: who the nodes are, how they are wired, what they train, how they cooperate, who attacks, who defends.

    Every field takes a component, its plain data (``{"kind": "sign_flip", "scale": 4}``) or its bare kind. Scenarios are frozen;
    vary one with :meth:`but`. Equal scenarios have equal :attr:`id`.

    Attributes:
        nodes: how many there are, beside the server.
        seed: decides every random draw, through named streams.
        topology: who is wired to whom; an ``nx.Graph`` is taken as it is.
        network: latency, rates, loss.
        churn: when nodes are online; None: always.
        devices: how fast nodes compute.
        membership: who watches who is there; the server always keeps a list.
        faults: what goes wrong in the world, and when.
        adversaries: nodes that tamper with what the network carries.
        task: data, partition and model.
        protocol: how nodes cooperate.
        attack: what Byzantine nodes do; None: there are none.
        defense: an aggregation rule, or mixing steps and a rule in a list; None: the protocol's own way.

    Raises:
        pydantic.ValidationError: a field is wrong; the message names its dotted path, the value and what is allowed.

    Example:
        >>> s = Scenario(nodes=50, attack={"kind": "sign_flip", "scale": 4})
        >>> s.attack.scale, s.but(seed=1).seed, Scenario.model_validate(s.to_config()) == s
        (4.0, 1, True)
    """

    nodes: int = Field(default=100, ge=1, le=10_000_000)
    seed: int = Field(default=0, ge=0)
    topology: Annotated[
        Topology, BeforeValidator(_topology), PlainSerializer(lambda value: value.to_config(), return_type=Any)
    ] = SmallWorld()
    network: field_of(Network) = Ideal()  # type: ignore[valid-type]
    churn: field_of(Churn) | None = None  # type: ignore[valid-type]
    devices: field_of(Devices) = Mix(laptop=1.0)  # type: ignore[valid-type]
    membership: field_of(Membership) = Heartbeat()  # type: ignore[valid-type]
    faults: tuple[field_of(Fault), ...] = ()  # type: ignore[valid-type]
    adversaries: tuple[field_of(Adversary), ...] = ()  # type: ignore[valid-type]
    task: field_of(Task) = FashionMNIST()  # type: ignore[valid-type]
    protocol: field_of(Protocol) = Federated()  # type: ignore[valid-type]
    attack: field_of(Attack) | None = None  # type: ignore[valid-type]
    defense: DefenseField | None = Field(default=None, title="rule")

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits of the SHA-256 of the scenario's canonical JSON."""
        text = json.dumps(self.to_config(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def to_config(self) -> dict[str, Any]:
        """The scenario as plain data, as YAML and JSON hold it."""
        try:
            return self.model_dump(mode="json")
        except PydanticSerializationError as error:
            cause: BaseException | None = error
            while cause is not None:  # pydantic takes a Ctrl-C in one of our serialisers for an error of theirs
                if isinstance(cause, KeyboardInterrupt):
                    raise cause from None
                cause = cause.__cause__
            raise

    def to_yaml(self) -> str:
        """The scenario as YAML."""
        return yaml.dump(self.to_config(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None)

    def but(self, **changes: Any) -> Self:
        """The same scenario with fields changed, validated again.

        Args:
            changes: fields and their new values; ``protocol__rounds=5`` reaches into a component.

        Raises:
            ScenarioError: a path leads into what has no fields.
            pydantic.ValidationError: a new value is not allowed.
        """
        config = self.to_config()
        for path, value in changes.items():
            _put(config, path.split("__"), value, {})
        return type(self).model_validate(config)

    @classmethod
    def load(cls, path: str | Path, changes: dict[str, Any] | None = None) -> Self:
        """Read a scenario from a YAML (or JSON) file.

        Args:
            path: the file.
            changes: dotted fields to set, such as ``{"protocol.rounds": 5}``; the file need not mention the component.

        Raises:
            ScenarioError: the file cannot be read, is not YAML, or describes no valid scenario; one line says where and why.
        """
        path = Path(path)
        try:
            config = parse_yaml(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ScenarioError(f"{path}: cannot be read: {error.strerror or error}") from None
        except UnicodeDecodeError:
            raise ScenarioError(f"{path}: is not a text file; a scenario is YAML") from None
        except ScenarioError as error:
            raise ScenarioError(f"{path}: {error}") from None
        if config is None:
            config = {}
        if not isinstance(config, dict):
            raise ScenarioError(f"{path}: {type(config).__name__} is not allowed: a scenario is a mapping of fields")
        try:
            if changes:
                whole = cls.model_validate(config).to_config()
                for dotted, value in changes.items():
                    _put(config, dotted.split("."), value, whole)
            return cls.model_validate(config)
        except ValidationError as error:
            raise ScenarioError(explain(error)) from None

    def graph(self) -> nx.Graph:
        """The topology's graph as every run of this scenario sees it, with what adversaries have rewired.

        Raises:
            ScenarioError: the topology has no graph on so many nodes, or adversaries cannot be in it.
        """
        from decai_sim.seeding import Streams
        from decai_sim.world.topologies import wiring

        if any(adversary.rewires for adversary in self.adversaries):
            return wiring.as_graph(self.csr())
        return self.topology.build(self.nodes, Streams(self.seed).integer("topology") % 2**32)

    def csr(self) -> sp.csr_array:
        """The ``(nodes, nodes)`` adjacency matrix of :meth:`graph`, which is quicker for many nodes.

        Raises:
            ScenarioError: the topology has no graph on so many nodes, or adversaries cannot be in it.
        """
        from decai_sim.seeding import Streams

        streams = Streams(self.seed)
        if not any(adversary.rewires for adversary in self.adversaries):
            return self.topology.csr(self.nodes, streams.integer("topology") % 2**32)
        from decai_sim.world.world import World

        world = World(self.nodes, self.network, None, self.devices, streams, self.topology)
        adversaries.install_all(self.adversaries, world)
        return world.graph

    def check(self, *, foreign: bool = False) -> None:
        """Find what would stop a run before anything runs.

        Args:
            foreign: whether somebody's own Flower apps will run in the place of the protocol.

        Raises:
            ScenarioError: a file of the scenario is missing or wrong, the topology is not connected and must be, or has nodes
                that the scenario does not have, a fault or an adversary is about nodes that there are not, an adversary tampers
                with what nobody sends, or protocol, attack, defense and task do not suit each other.
        """
        self.protocol.check(self.nodes, self.attack, self.defense)
        if foreign and isinstance(self.attack, PeerAttack):
            raise ScenarioError(
                f"attack.kind: {self.attack.kind!r} is not allowed with Flower apps: it is for nodes that send each other "
                "models, and theirs answer a server"
            )
        faults.check_all(self.faults, self.nodes)
        adversaries.check_all(self.adversaries, self.nodes, self._carried(foreign))
        self.network.check(self.nodes)
        known = self.network.places
        if known is not None:
            for family, parts in (("faults", self.faults), ("adversaries", self.adversaries)):
                for_each(family, parts, lambda _, part: check_regions(part, known))
        if self.churn is not None:
            self.churn.check(self.nodes)
        if self.attack is not None and self.attack.on_data is not None:
            self.attack.check(self.task.load())
        if self.protocol.needs_connected or isinstance(self.topology, Given) or hasattr(self.topology, "path"):
            import networkx as nx

            graph = self.graph()
            # Rounds of a time-varying topology need not be connected each.
            if self.protocol.needs_connected and not self.topology.time_varying and not nx.is_connected(graph):
                parts = nx.number_connected_components(graph)
                raise ScenarioError(
                    f"topology: {_brief(self.topology)} is not allowed: protocol {self.protocol.kind!r} needs a connected graph, "
                    f"this one has {parts} parts"
                )
        elif self.protocol.uses_topology and not foreign:
            self.csr()

    def _carried(self, foreign: bool) -> Carried:
        """What the network will carry."""
        queueing = "nowhere" if isinstance(self.network, Ideal) else getattr(self.network, "queueing", None)
        if foreign:
            return Carried("flower", self.membership.among_nodes, relayed=False, queueing=queueing)
        protocol, kinds = self.protocol, self.protocol.kinds
        if self.topology.time_varying:
            kinds = None  # keeping links up may take messages of its own
        if kinds is not None:
            kinds |= {*self.membership.kinds}
        if kinds is not None and any(isinstance(adversary, Flooding) for adversary in self.adversaries):
            kinds |= {JUNK}
        among_nodes = protocol.uses_topology or self.membership.among_nodes
        return Carried(protocol.kind, among_nodes, protocol.relays, kinds, queueing)


def _brief(topology: Topology) -> str:
    text = json.dumps(topology.to_config())
    return text if len(text) <= 80 else text[:79] + "…"


def _put(config: dict[str, Any], path: list[str], value: Any, whole: Any) -> None:
    """Set the field at ``path``; components on the way that ``config`` does not mention are taken from ``whole``."""
    *parents, last = path
    at: Any = config
    for name in parents:
        whole = whole.get(name) if isinstance(whole, dict) else None
        step = at[_place(path, name, at)] if isinstance(at, list) else at.get(name, whole)
        step = {"kind": step} if isinstance(step, str) else step
        if not isinstance(step, dict | list):
            raise ScenarioError(f"{'.'.join(path)}: cannot be set: {name!r} is {step!r}, not a component with fields")
        at[_place(path, name, at)] = step
        at = step
    at[_place(path, last, at)] = value


def _place(path: list[str], name: str, within: Any) -> Any:
    """Where ``name`` is found: in a list, its number."""
    if not isinstance(within, list):
        return name
    if not (name.isdecimal() and int(name) < len(within)):
        there = f"from 0 to {len(within) - 1}" if within else "none, the list is empty"
        raise ScenarioError(f"{'.'.join(path)}: cannot be set: {name!r} is not one of the list's numbers, {there}")
    return int(name)
