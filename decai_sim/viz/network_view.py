"""The interactive network view: who is linked to whom, and what every node was doing when."""

from __future__ import annotations

import base64
import dataclasses
import html
import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import numpy as np
import traitlets

from decai_sim.errors import ScenarioError
from decai_sim.files import whole
from decai_sim.viz.layout import each_once, positions
from decai_sim.viz.palette import BYZANTINE, ONLINE, shown_as
from decai_sim.viz.replay import Replay

if TYPE_CHECKING:
    import networkx as nx
    import pandas as pd
    import scipy.sparse as sp

MAX_LINKS = 60_000
"""More links than these are not all drawn: the map would be one grey patch, and slow."""
MAX_SENT = 1_000_000
"""Of more links than these the browser gets only those that are drawn, and how many neighbours every node really has."""
_TEXTS = ("region", "device")
_NUMBERS = ("n_samples", "online_s", "bytes_up", "bytes_down")
_JS, _CSS = (Path(__file__).with_name(f"network_view.{ending}") for ending in ("js", "css"))


class NetworkView(anywidget.AnyWidget):
    """A map of a network to look around in, with a replay of what its nodes did.

    Nodes can be clicked, the map zoomed and moved, the time dragged or played; the same is there as a table. Everything but
    :meth:`states` and :meth:`table` works without a kernel, and so in the page that :meth:`save` writes.

    Args:
        graph: who is linked to whom: a networkx graph on the nodes 0 … n−1, a sparse ``(n, n)`` adjacency matrix, or a pair of n
            and the links ``(m, 2)``. Directions, weights and links of a node with itself are ignored.
        nodes: what is known of each node, a frame like ``Run.nodes``; any of its columns may be missing.
        class_counts: ``(n, classes)``, how many samples of which class each node holds.
        class_names: what the classes are called.
        replay: the states to show; without one all nodes are online.
        title: shown above.
        caption: shown below.
        height_px: of the map.

    Attributes:
        t_s: the time shown, virtual seconds; set it to go there.
        selected: the node looked at, −1 for none; set it to look at another.
        playing: whether the replay runs.

    Raises:
        ScenarioError: the arguments do not fit together.

    Example:
        >>> view = NetworkView((4, [[0, 1], [1, 2], [2, 3], [3, 0]]), title="four in a ring")
        >>> view.selected = 2
        >>> view.states()
        {'offline': 0, 'rejected': 0, 'training': 0, 'informed': 0, 'byzantine': 0, 'online': 4}
        >>> view.table()["neighbours"].tolist()
        [2, 2, 2, 2]
    """

    _esm = _JS
    _css = _CSS

    about = traitlets.Dict().tag(sync=True)
    legend = traitlets.List(traitlets.Dict()).tag(sync=True)
    positions = traitlets.Bytes().tag(sync=True)
    edges = traitlets.Bytes().tag(sync=True)
    degrees = traitlets.Bytes().tag(sync=True)
    numbers = traitlets.Bytes().tag(sync=True)
    class_counts = traitlets.Bytes().tag(sync=True)
    initial = traitlets.Bytes().tag(sync=True)
    change_t_s = traitlets.Bytes().tag(sync=True)
    change_node = traitlets.Bytes().tag(sync=True)
    change_state = traitlets.Bytes().tag(sync=True)
    t_s = traitlets.Float(0.0).tag(sync=True)
    selected = traitlets.Int(-1).tag(sync=True)
    playing = traitlets.Bool(False).tag(sync=True)
    player = traitlets.Unicode("").tag(sync=True)  # which of its displays plays, where there are several

    def __init__(
        self,
        graph: nx.Graph | sp.sparray | tuple[int, Any],
        *,
        nodes: pd.DataFrame | None = None,
        class_counts: np.ndarray | None = None,
        class_names: Sequence[str] | None = None,
        replay: Replay | None = None,
        title: str = "",
        caption: str = "",
        height_px: int = 520,
    ) -> None:
        n, edges = _links(graph)
        nodes = None if nodes is None else _in_order(nodes, n)
        if replay is None:
            replay = _at_rest(n, nodes)
        elif replay.n != n:
            raise ScenarioError(f"replay.n: {replay.n} is not allowed: the graph has {n} nodes")
        counts = _counts(class_counts, n)
        names = [] if class_names is None else [str(name) for name in class_names]
        if names and len(names) != counts.shape[1]:
            raise ScenarioError(f"class_names: {len(names)} names are not allowed: class_counts has {counts.shape[1]} classes")
        if not 200 <= height_px <= 4000:
            raise ScenarioError(f"height_px: {height_px!r} is not allowed: from 200 to 4000")
        columns, texts = _columns(nodes)
        self._replay, self._nodes, self._degrees = replay, nodes, np.bincount(edges.ravel(), minlength=n)
        placed, links = positions(n, edges), len(edges)
        if links > MAX_SENT:
            edges = edges[np.arange(MAX_LINKS) * links // MAX_LINKS]
        super().__init__(
            about={
                "n": n,
                "links": links,
                "end_s": replay.end_s,
                "title": str(title),
                "caption": str(caption),
                "height_px": int(height_px),
                "max_links": MAX_LINKS,
                "numbers": list(columns),
                "texts": texts,
                "classes": counts.shape[1],
                "class_names": names,
                "byzantine": BYZANTINE,
            },
            legend=[dataclasses.asdict(state) for state in replay.legend],
            positions=_bytes(placed, "<f4"),
            edges=_bytes(edges, "<u4"),
            degrees=_bytes(self._degrees, "<u4"),
            numbers=b"".join(_bytes(values, "<f8") for values in columns.values()),
            class_counts=_bytes(counts, "<u4"),
            initial=_bytes(replay.initial, "u1"),
            change_t_s=_bytes(replay.t_s, "<f8"),
            change_node=_bytes(replay.node, "<u4"),
            change_state=_bytes(replay.state, "u1"),
        )

    @traitlets.validate("t_s")
    def _valid_time(self, proposal: dict[str, Any]) -> float:
        value = float(proposal["value"])
        if not 0.0 <= value <= self._replay.end_s * (1 + 1e-9):
            raise ScenarioError(f"t_s: {value} is not allowed: from 0 to {self._replay.end_s} virtual seconds")
        return min(value, self._replay.end_s)

    @traitlets.validate("selected")
    def _valid_node(self, proposal: dict[str, Any]) -> int:
        value = int(proposal["value"])
        if not -1 <= value < self._replay.n:
            raise ScenarioError(f"selected: {value} is not allowed: a node from 0 to {self._replay.n - 1}, or -1 for none")
        return value

    def states(self) -> dict[str, int]:
        """How many nodes are shown as what at the time shown."""
        return self._replay.counts(self.t_s)

    def table(self) -> pd.DataFrame:
        """What the map shows: ``node, state, byzantine``, what is known of the nodes, and ``neighbours``, how many there are."""
        import pandas as pd

        states = self._replay.states(self.t_s)
        names = np.array([state.name for state in self._replay.legend], dtype=object)
        frame = pd.DataFrame(
            {
                "node": np.arange(self._replay.n),
                "state": names[shown_as(states, self._replay.legend)],
                "byzantine": (states & BYZANTINE) != 0,
            }
        )
        if self._nodes is not None:
            for name in (*_TEXTS, *_NUMBERS):
                if name in self._nodes:
                    frame[name] = self._nodes[name]
        frame["neighbours"] = self._degrees
        return frame

    def save(self, path: str | Path) -> Path:
        """Write the view as one HTML page that needs nothing else: no server, no kernel, no network.

        Args:
            path: the file; one that is there is replaced, and it appears whole or not at all.

        Returns:
            The file.

        Raises:
            ScenarioError: it cannot be written.
        """
        target = Path(path)
        values = {name: getattr(self, name) for name in _SAVED}
        state = {
            name: {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
            for name, value in values.items()
        }
        page = _page(self.about["title"] or "Network", state)
        with whole(target) as part:
            part.write_text(page, encoding="utf-8")
        return target


_SAVED = (
    *("about", "legend", "positions", "edges", "degrees", "numbers", "class_counts", "initial"),
    *("change_t_s", "change_node", "change_state", "t_s", "selected"),
)


def _links(graph: Any) -> tuple[int, np.ndarray]:
    """How many nodes there are, and every link once: ``(m, 2)``, ascending."""
    if isinstance(graph, tuple):
        if len(graph) != 2:
            raise ScenarioError(f"graph: a tuple of {len(graph)} is not allowed: n and the links (m, 2)")
        n, pairs = int(graph[0]), np.asarray(graph[1])
        if pairs.size and (pairs.ndim != 2 or pairs.shape[1] != 2 or not np.issubdtype(pairs.dtype, np.integer)):
            raise ScenarioError(
                f"graph: links of shape {pairs.shape} and type {pairs.dtype} are not allowed: whole numbers, (m, 2)"
            )
        u, v = pairs.reshape(-1, 2).T
    elif hasattr(graph, "tocoo"):
        if graph.ndim != 2 or graph.shape[0] != graph.shape[1]:
            raise ScenarioError(f"graph: a matrix of shape {graph.shape} is not allowed: as many rows as columns")
        matrix = graph.tocoo()
        n, u, v = graph.shape[0], matrix.row, matrix.col
        if np.count_nonzero(matrix.data) < len(u):
            u, v = u[matrix.data != 0], v[matrix.data != 0]
    elif hasattr(graph, "number_of_nodes"):
        n = graph.number_of_nodes()
        if set(graph) != set(range(n)):
            raise ScenarioError(f"graph: the node names {_some(graph)} are not allowed: the numbers 0 to {n - 1}")
        u, v = np.fromiter(chain.from_iterable(graph.edges()), dtype=np.int64).reshape(-1, 2).T
    else:
        raise ScenarioError(
            f"graph: type {type(graph).__name__} is not allowed: a networkx graph, a sparse adjacency matrix or (n, links)"
        )
    if n < 1:
        raise ScenarioError(f"graph: {n} nodes are not allowed: at least 1")
    if len(u) == 0:
        return n, np.zeros((0, 2), dtype=np.int64)
    low, high = min(u.min(), v.min()), max(u.max(), v.max())
    if low < 0 or high >= n:
        raise ScenarioError(f"graph: a link of node {low if low < 0 else high} is not allowed: nodes are numbered 0 to {n - 1}")
    return n, each_once(n, u, v)


def _some(graph: Any) -> str:
    names = [repr(name) for name, _ in zip(graph, range(4), strict=False)]
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _in_order(nodes: pd.DataFrame, n: int) -> pd.DataFrame:
    """One row per node, in order of the nodes."""
    if len(nodes) != n:
        raise ScenarioError(f"nodes: {len(nodes)} rows are not allowed: the graph has {n} nodes")
    if "node" in nodes:
        nodes = nodes.sort_values("node")
        if nodes["node"].tolist() != list(range(n)):
            raise ScenarioError(f"nodes.node: must be the numbers 0 to {n - 1}, each once")
    return nodes.reset_index(drop=True)


def _at_rest(n: int, nodes: pd.DataFrame | None) -> Replay:
    """Everybody online for no time at all."""
    initial = np.full(n, ONLINE, dtype=np.uint8)
    if nodes is not None and "byzantine" in nodes:
        initial[nodes["byzantine"].to_numpy(dtype=bool)] |= BYZANTINE
    return Replay(n, 0.0, initial, np.zeros(0), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.uint8))


def _counts(class_counts: Any, n: int) -> np.ndarray:
    if class_counts is None:
        return np.zeros((n, 0), dtype=np.uint32)
    counts = np.asarray(class_counts)
    if counts.ndim != 2 or len(counts) != n:
        raise ScenarioError(f"class_counts: shape {counts.shape} is not allowed: (n, classes) with n = {n}")
    if not np.issubdtype(counts.dtype, np.integer) or (counts.size and counts.min() < 0):
        raise ScenarioError("class_counts: must be whole numbers, none below 0")
    return counts


def _columns(nodes: pd.DataFrame | None) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
    """Every column as numbers, not-a-number where nothing is known; for words, the numbers of the words in the second answer."""
    columns: dict[str, np.ndarray] = {}
    texts: dict[str, list[str]] = {}
    if nodes is None:
        return columns, texts
    for name in _TEXTS:
        if name in nodes:
            words = nodes[name].astype("category").cat
            codes = words.codes.to_numpy()
            columns[name] = np.where(codes < 0, np.nan, codes)
            texts[name] = [str(word) for word in words.categories]
    for name in _NUMBERS:
        if name in nodes:
            columns[name] = nodes[name].astype("Float64").to_numpy(dtype=float, na_value=np.nan)
    return columns, texts


def _bytes(values: np.ndarray, dtype: str) -> bytes:
    return np.ascontiguousarray(values, dtype=dtype).tobytes()


def _page(title: str, state: dict[str, Any]) -> str:
    # "<" ends a script only in front of "/script" or "!--", and in JSON it may always be written otherwise.
    data = json.dumps(state, allow_nan=False).replace("<", "\\u003c")
    script = _JS.read_text(encoding="utf-8").replace("export default { render };", _SHIM)
    return _PAGE.format(title=html.escape(title), css=_CSS.read_text(encoding="utf-8"), data=data, script=script)


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ margin: 16px; background: Canvas; }}
{css}
</style>
</head>
<body>
<main id="view"></main>
<script type="application/json" id="state">{data}</script>
<script type="module">
{script}
</script>
</body>
</html>
"""

_SHIM = """// In a page of its own there is no kernel: this is all the view asks of one.
const state = JSON.parse(document.getElementById("state").textContent);
for (const [name, value] of Object.entries(state))
  if (value?.base64 !== undefined) state[name] = new DataView(Uint8Array.from(atob(value.base64), (c) => c.charCodeAt(0)).buffer);
const handlers = {};
const model = {
  get: (name) => state[name],
  set(name, value) {
    state[name] = value;
    for (const handler of handlers[`change:${name}`] ?? []) handler();
  },
  on: (event, handler) => (handlers[event] ??= new Set()).add(handler),
  off: (event, handler) => handlers[event]?.delete(handler),
  save_changes() {},
};
render({ model, el: document.getElementById("view") });
"""
