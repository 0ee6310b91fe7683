"""Graphs from GraphML files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.parsers import expat

from decai_sim.errors import ScenarioError
from decai_sim.world.topologies.base import Topology

if TYPE_CHECKING:
    import scipy.sparse as sp


class GraphML(Topology, kind="graphml"):
    """A graph read from a GraphML file, as NetworkX, igraph, Gephi and the Internet Topology Zoo write them.

    If the nodes' identifiers are exactly 0 … n−1, or n0 … as igraph writes them, those are their numbers; else they are
    numbered in the order of the file.

    Source: the GraphML format (graphml.graphdrawing.org).
    Assumes: the file has as many nodes as the scenario.
    Deviations: links go both ways and count once, attributes are not kept; nested graphs, hyperedges and document type
    definitions (which can make a parser read other files, or fill the memory) are refused.

    Attributes:
        path: the file.

    Raises:
        ScenarioError: the file is missing, is not such a graph, or does not have the scenario's number of nodes.

    Example:
        >>> import pathlib, tempfile
        >>> import networkx as nx
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "path.graphml"
        >>> nx.write_graphml(nx.path_graph(["a", "b", "c"]), path)
        >>> sorted(GraphML(path).build(3, seed=0).edges())
        [(0, 1), (1, 2)]
    """

    examples = ()

    path: Path

    def __init__(self, path: Path | str | None = None, **fields: Any) -> None:
        super().__init__(**({} if path is None else {"path": path}), **fields)

    def csr(self, n: int, seed: int) -> sp.csr_array:
        """The graph of the file; ``seed`` changes nothing."""
        from decai_sim.world.topologies import wiring

        where = f"topology.path: {str(self.path)!r}"
        reader = _Reader()
        try:
            reader.parser.Parse(self.path.read_bytes(), True)
        except (OSError, ValueError, expat.ExpatError) as error:
            raise ScenarioError(f"{where} is not allowed: {getattr(error, 'strerror', None) or error}") from None
        if not reader.graphs:
            raise ScenarioError(f"{where} is not allowed: there is no graph in it")
        if len(reader.nodes) != n:
            raise ScenarioError(f"{where} is not allowed: it has {len(reader.nodes)} nodes, the scenario nodes = {n}")
        number = _numbers(reader.nodes)
        for end in (end for edge in reader.edges for end in edge):
            if end not in number:
                raise ScenarioError(f"{where} is not allowed: an edge names {end[:60]!r}, which is no node")
        return wiring.graph(n, [(number[a], number[b]) for a, b in reader.edges], where)


def _numbers(names: list[str]) -> dict[str, int]:
    for prefix in ("", "n"):
        numbered = {f"{prefix}{k}": k for k in range(len(names))}
        if numbered.keys() == set(names):
            return numbered
    return {name: k for k, name in enumerate(names)}


class _Reader:
    """Collects nodes and edges; what is between is passed over."""

    def __init__(self) -> None:
        self.nodes: list[str] = []
        self.edges: list[tuple[str, str]] = []
        self.graphs = 0
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self.parser.StartElementHandler = self._start
        self.parser.StartDoctypeDeclHandler = self._refuse_definitions
        self._seen: set[str] = set()

    def _refuse_definitions(self, *declaration: Any) -> None:
        raise ValueError("it has a document type definition")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        tag = name.rpartition(" ")[2]
        if tag == "graph":
            self.graphs += 1
            if self.graphs > 1:
                raise ValueError("it has more than one graph")
        elif tag == "node":
            node = self._of(attributes, "id", tag)
            if node in self._seen:
                raise ValueError(f"it has node {node[:60]!r} twice")
            self._seen.add(node)
            self.nodes.append(node)
        elif tag == "edge":
            self.edges.append((self._of(attributes, "source", tag), self._of(attributes, "target", tag)))
        elif tag == "hyperedge":
            raise ValueError("it has hyperedges")

    def _of(self, attributes: dict[str, str], key: str, tag: str) -> str:
        if key not in attributes:
            raise ValueError(f"line {self.parser.CurrentLineNumber}: a {tag} without {key}")
        return attributes[key]
