"""The description of an experiment: one schema for Python, YAML, JSON and widgets."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from decai_sim.attacks import Attack
from decai_sim.component import field_of, parse
from decai_sim.defenses import DefenseField
from decai_sim.errors import ScenarioError, explain
from decai_sim.learning import Task
from decai_sim.learning.tasks import FashionMNIST
from decai_sim.protocols import Federated, Protocol
from decai_sim.world import Churn, Devices, Given, Ideal, Mix, Network, SmallWorld, Topology


def _topology(value: Any) -> Any:
    if hasattr(value, "edges") and hasattr(value, "nodes") and not isinstance(value, Topology):
        return Given.of(value)  # an nx.Graph, recognised without importing NetworkX
    return parse("topologies", value)


def _show(value: Any) -> Any:
    return None if value is None else value.to_config()


class Scenario(BaseModel):
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

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    nodes: int = Field(default=100, ge=1)
    seed: int = Field(default=0, ge=0)
    topology: Annotated[Topology, BeforeValidator(_topology), PlainSerializer(_show, return_type=Any)] = SmallWorld()
    network: field_of(Network) = Ideal()  # type: ignore[valid-type]
    churn: field_of(Churn) | None = None  # type: ignore[valid-type]
    devices: field_of(Devices) = Mix(laptop=1.0)  # type: ignore[valid-type]
    task: field_of(Task) = FashionMNIST()  # type: ignore[valid-type]
    protocol: field_of(Protocol) = Federated()  # type: ignore[valid-type]
    attack: field_of(Attack) | None = None  # type: ignore[valid-type]
    defense: DefenseField | None = None

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits of the SHA-256 of the scenario's canonical JSON."""
        text = json.dumps(self.to_config(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def to_config(self) -> dict[str, Any]:
        """The scenario as plain data, as YAML and JSON hold it."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """The scenario as YAML."""
        import yaml

        return yaml.safe_dump(self.to_config(), sort_keys=False, allow_unicode=True, default_flow_style=None)

    def but(self, **changes: Any) -> Self:
        """The same scenario with fields changed, validated again.

        Args:
            changes: fields and their new values; ``protocol__rounds=5`` reaches into a component.
        """
        config = self.to_config()
        for path, value in changes.items():
            _put(config, path.split("__"), value)
        return type(self).model_validate(config)

    @classmethod
    def load(cls, path: str | Path, changes: dict[str, Any] | None = None) -> Self:
        """Read a scenario from a YAML (or JSON) file.

        Args:
            path: the file.
            changes: dotted fields to set, such as ``{"protocol.rounds": 5}``.

        Raises:
            ScenarioError: the file cannot be read, is not YAML, or describes no valid scenario; one line says where and why.
        """
        import yaml

        path = Path(path)
        try:
            config = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ScenarioError(f"{path}: cannot be read: {error.strerror or error}") from None
        except UnicodeDecodeError:
            raise ScenarioError(f"{path}: is not a text file; a scenario is YAML") from None
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark is not None else ""
            problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "malformed"
            raise ScenarioError(f"{path}: is not plain YAML{where}: {problem}") from None
        if config is None:
            config = {}
        if not isinstance(config, dict):
            raise ScenarioError(f"{path}: {type(config).__name__} is not allowed: a scenario is a mapping of fields")
        for dotted, value in (changes or {}).items():
            _put(config, dotted.split("."), value)
        try:
            return cls.model_validate(config)
        except ValidationError as error:
            raise ScenarioError(explain(error)) from None

    def check(self) -> None:
        """Find what would stop a run before anything runs.

        Raises:
            ScenarioError: a file of the scenario is missing or wrong, or the topology is not connected and must be.
        """
        if self.protocol.needs_connected or isinstance(self.topology, Given) or hasattr(self.topology, "path"):
            import networkx as nx

            from decai_sim.seeding import Streams

            graph = self.topology.build(self.nodes, Streams(self.seed).integer("topology") % 2**32)
            if self.protocol.needs_connected and not nx.is_connected(graph):
                parts = nx.number_connected_components(graph)
                raise ScenarioError(
                    f"topology: {_brief(self.topology)} is not allowed: protocol {self.protocol.kind!r} needs a connected graph, "
                    f"this one has {parts} parts"
                )


def _brief(topology: Topology) -> str:
    text = json.dumps(topology.to_config())
    return text if len(text) <= 80 else text[:79] + "…"


def _put(config: Any, path: list[str], value: Any) -> None:
    *parents, last = path
    at = config
    for name in parents:
        step = at.get(name) if isinstance(at, dict) else None
        if isinstance(step, str):
            step = at[name] = {"kind": step}
        if not isinstance(step, dict):
            raise ScenarioError(f"{'.'.join(path)}: cannot be set: {name!r} is {step!r}, not a component with fields")
        at = step
    at[last] = value
