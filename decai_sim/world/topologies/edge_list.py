"""Graphs that somebody brings along."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from decai_sim.errors import ScenarioError
from decai_sim.world.topologies.base import Topology

if TYPE_CHECKING:
    import networkx as nx
    import scipy.sparse as sp


class EdgeList(Topology):
    r"""A graph read from a text file: one edge a line, two node numbers separated by white space; ``#`` begins a comment.

    Source: the edge-list format of NetworkX and SNAP.
    Assumes: nodes are numbered from 0; nodes without a line have no links.
    Deviations: further columns (weights) are refused rather than dropped.

    Attributes:
        path: the file.

    Raises:
        ScenarioError: the file is missing, is not such text, or names a node that the scenario does not have.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "triangle.txt"
        >>> _ = path.write_text("0 1\n1 2\n2 0\n")
        >>> EdgeList(path=path).build(3, seed=0).number_of_edges()
        3
    """

    examples = ()

    path: Path

    def __init__(self, path: Path | str | None = None, **fields: Any) -> None:
        super().__init__(**({} if path is None else {"path": path}), **fields)

    def csr(self, n: int, seed: int) -> sp.csr_array:
        """The graph of the file; ``seed`` changes nothing."""
        from decai_sim.world.topologies import wiring

        try:
            text = self.path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:  # ValueError: no text, or no name a file can have
            reason = "is not a text file" if isinstance(error, UnicodeDecodeError) else str(getattr(error, "strerror", error))
            raise ScenarioError(f"topology.path: {str(self.path)!r} is not allowed: {reason}") from None
        edges = []
        for number, line in enumerate(text.splitlines(), 1):
            words = line.partition("#")[0].split()
            if not words:
                continue
            if len(words) != 2 or not all(word.isdecimal() and len(word) < 20 for word in words):
                where = f"topology.path: line {number} of {str(self.path)!r}"
                raise ScenarioError(f"{where} is not allowed: {line.strip()[:60]!r} is not two node numbers")
            edges.append((int(words[0]), int(words[1])))
        return wiring.graph(n, edges, f"topology.path: {str(self.path)!r}")


class Given(Topology):
    """A graph given in the scenario itself; an ``nx.Graph`` assigned to ``topology`` becomes one.

    Source: the user.
    Assumes: nodes are numbered from 0.
    Deviations: edge and node attributes are not kept.

    Attributes:
        edges: pairs of node numbers; kept sorted, so that equal graphs are equal scenarios.
        nodes: how many nodes the graph has, if more than its edges name; a scenario with fewer is refused. None: not said.

    Raises:
        ScenarioError: the graph has nodes that the scenario does not have.

    Example:
        >>> import networkx as nx
        >>> Given.of(nx.path_graph(3)).edges
        ((0, 1), (1, 2))
    """

    examples = ({"edges": ((0, 1), (1, 2), (2, 3), (3, 4))},)

    edges: tuple[tuple[int, int], ...]
    nodes: int | None = Field(default=None, ge=1, exclude_if=lambda nodes: nodes is None)

    @model_validator(mode="before")
    @classmethod
    def _sorted(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("edges"), list | tuple):
            try:
                data = {**data, "edges": tuple(sorted({tuple(sorted(edge)) for edge in data["edges"]}))}
            except TypeError:
                return data
        return data

    @classmethod
    def of(cls, graph: nx.Graph) -> Given:
        """The topology of a NetworkX graph whose nodes are 0 … n−1."""
        edges = tuple(graph.edges())
        linked = {node for edge in edges for node in edge}
        alone = [node for node in graph if node not in linked]
        for node in alone:
            if isinstance(node, bool) or not hasattr(node, "__index__") or node < 0:
                raise ScenarioError(f"a node named {node!r:.60} is not allowed: nodes are numbered from 0")
        most = max((int(node) for node in alone), default=-1)
        named = max((int(node) for node in linked if hasattr(node, "__index__")), default=-1)
        return cls(edges=edges, nodes=most + 1 if most > named else None)

    def csr(self, n: int, seed: int) -> sp.csr_array:
        """The given graph; ``seed`` changes nothing."""
        from decai_sim.world.topologies import wiring

        if self.nodes is not None and self.nodes > n:
            raise ScenarioError(f"topology.nodes: {self.nodes} is not allowed: the scenario has nodes = {n}")
        return wiring.graph(n, list(self.edges), "topology.edges")
