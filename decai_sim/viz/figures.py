"""Figures drawn from frames."""

from __future__ import annotations

import html
import io
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from decai_sim.errors import ScenarioError
from decai_sim.files import whole
from decai_sim.viz.palette import OKABE_ITO, style

if TYPE_CHECKING:
    import pandas as pd
    import scipy.sparse as sp
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_STEPS = 2000
"""Of longer curves that many places are drawn, evenly spaced: nobody sees more, and a page would be slow."""


def accuracy(ax: Axes, series: Mapping[str, pd.DataFrame], x: Literal["t_s", "bytes"] = "t_s") -> None:
    """Test accuracy of one or more series against virtual time or traffic, in units that suit the longest.

    Args:
        ax: where to draw.
        series: per label a ``rounds`` frame; with several ``run_id`` in it, the line is the median of the runs at each round and
            the band their range.
        x: ``t_s`` for virtual time, ``bytes`` for all that nodes have sent and received.
    """
    at = {label: rounds["t_s"] if x == "t_s" else _bytes(rounds) for label, rounds in series.items()}
    points = {label: rounds.assign(at=at[label], y=100 * rounds["accuracy"]) for label, rounds in series.items()}
    name = _lines(ax, points, _time_unit if x == "t_s" else _byte_unit)
    ax.set_xlabel(name if x == "t_s" else f"{name} sent and received")
    ax.set_ylabel("test accuracy (%)")
    ax.set_ylim(0, 100)


def traffic(ax: Axes, series: Mapping[str, pd.DataFrame]) -> None:
    """What all nodes have sent and received by when, of one or more series.

    Args:
        ax: where to draw.
        series: as for :func:`accuracy`.
    """
    unit, name = _byte_unit(_longest(_bytes(rounds) for rounds in series.values()))
    points = {label: rounds.assign(at=rounds["t_s"], y=_bytes(rounds) / unit) for label, rounds in series.items()}
    ax.set_xlabel(_lines(ax, points, _time_unit))
    ax.set_ylabel(f"{name} sent and received")
    ax.set_ylim(bottom=0)


def _bytes(rounds: pd.DataFrame) -> pd.Series:
    return rounds["bytes_up"] + rounds["bytes_down"]


def _longest(columns: Iterable[pd.Series]) -> float:
    return max((values.max() for values in columns if len(values)), default=0.0)


def _lines(ax: Axes, series: Mapping[str, pd.DataFrame], unit_of: Callable[[float], tuple[float, str]]) -> str:
    """A line per label through the medians of ``(at, y)`` at each round, a band over the range of the runs; names the unit."""
    unit, name = unit_of(_longest(points["at"] for points in series.values()))
    for index, (label, points) in enumerate(series.items()):
        if points.empty:
            continue
        by_round = points.assign(at=points["at"] / unit).groupby("round")
        middle = by_round[["at", "y"]].median()
        ax.plot(middle["at"], middle["y"], label=label, markersize=5, markevery=max(1, len(middle) // 8), **style(index))
        if points["run_id"].nunique() > 1:
            low, high = by_round["y"].min(), by_round["y"].max()
            ax.fill_between(middle["at"], low, high, alpha=0.15, color=style(index)["color"], linewidth=0)
    ax.set_xlim(left=0)
    ax.grid(alpha=0.3)
    return name


def online(ax: Axes, events: pd.DataFrame, n: int) -> None:
    """How many nodes were online when, from an ``events`` frame.

    Args:
        ax: where to draw.
        events: with kinds ``online`` and ``offline``.
        n: how many nodes there are.
    """
    end = float(events["t_s"].max()) if len(events) else 0.0
    unit, name = _time_unit(end)
    t, count = online_count(events)
    ax.step(np.append(t, end) / unit, np.append(count, count[-1:]), where="post", color=OKABE_ITO[0])
    ax.set_xlabel(name)
    ax.set_ylabel("nodes online")
    ax.set_ylim(0, n * 1.05)
    ax.set_xlim(left=0)
    ax.grid(alpha=0.3)


def online_count(events: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """When the number of nodes online changed, virtual seconds, and what it was from then on."""
    changes = events[events["kind"].isin(["online", "offline"]) & (events["node"] >= 0)]
    steps = np.where(changes["kind"] == "online", 1, -1)
    t, last = np.unique(changes["t_s"].to_numpy()[::-1], return_index=True)
    return t, steps.cumsum()[len(steps) - 1 - last]


def presence(ax: Axes, events: pd.DataFrame, n: int, shown: int = 60) -> None:
    """Who was online when: a line for each of the first ``shown`` nodes, broken where the node was away.

    Args:
        ax: where to draw.
        events: with kinds ``online`` and ``offline``.
        n: how many nodes there are.
        shown: how many to draw.
    """
    from matplotlib.ticker import MaxNLocator

    shown = min(shown, n)
    end = float(events["t_s"].max()) if len(events) else 0.0
    unit, name = _time_unit(end)
    spans: list[tuple[float, float, int]] = []
    mine = events[events["kind"].isin(["online", "offline"]) & (events["node"] < shown)]
    for node, changes in mine.groupby("node"):
        since: float | None = None
        for t, kind in zip(changes["t_s"], changes["kind"], strict=True):
            if kind == "online":
                since = t
            elif since is not None:
                spans.append((since / unit, t / unit, int(str(node))))
                since = None
        if since is not None and since < end:
            spans.append((since / unit, end / unit, int(str(node))))
    if spans:
        starts, stops, nodes = zip(*spans, strict=True)
        ax.hlines(nodes, starts, stops, color=OKABE_ITO[0], linewidth=2)
    ax.set_xlim(0, end / unit if end > 0 else None)
    ax.set_ylim(-1, shown)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel(name)
    ax.set_ylabel(f"node (the first {shown} of {n:,})")


def node_accuracy(ax: Axes, accuracy: Mapping[str, Sequence[float]]) -> None:
    """How unevenly models serve the nodes: of each series, the share of nodes that have at most a given accuracy.

    Args:
        ax: where to draw.
        accuracy: per label one accuracy a node, 0…1; nodes without one (NaN) are left out. The marker is at the worst decile.
    """
    for index, (label, values) in enumerate(accuracy.items()):
        known = np.sort([100 * value for value in values if not np.isnan(value)])
        if not len(known):
            continue
        share = 100 * np.arange(1, len(known) + 1) / len(known)
        look = {key: value for key, value in style(index).items() if key != "marker"}
        ax.step(np.append(known[0], known), np.append(0, share), where="post", label=label, **look)
        ax.plot(np.quantile(known, 0.1, method="inverted_cdf"), 10, style(index)["marker"], color=look["color"], markersize=8)
    ax.axhline(10, color="0.6", linewidth=0.8, linestyle=":")
    ax.annotate(
        "worst tenth", (0.99, 10), xycoords=("axes fraction", "data"), xytext=(0, 2), textcoords="offset points", ha="right"
    )
    ax.set_xlabel("accuracy on the node's own samples (%)")
    ax.set_ylabel("share of nodes at or below (%)")
    ax.set_xlim(0, 100)
    ax.set_ylim(0, 100)
    ax.grid(alpha=0.3)


def propagation(ax: Axes, delays: Mapping[str, np.ndarray | Sequence[float]]) -> None:
    """How fast news spread: the share of nodes that had it so long after its publication, marked where it is 50 % and 90 %.

    Args:
        ax: where to draw.
        delays: per label, one delay a node, seconds: ``inf`` (or not a number) if the news never came. Nodes of several items may
            be put together, in an array of any shape.
    """
    sorted_s = {label: np.sort(np.asarray(values, dtype=float), axis=None) for label, values in delays.items()}
    reached = {label: values[np.isfinite(values)] for label, values in sorted_s.items()}
    longest = max((values[-1] for values in reached.values() if len(values)), default=0.0)
    unit, name = (1e-3, "virtual milliseconds") if 0 < longest < 1 else _time_unit(longest)
    for mark in (50, 90):
        ax.axhline(mark, color="0.4", linewidth=0.8, linestyle=":", zorder=1)
    for index, (label, values) in enumerate(reached.items()):
        n = len(sorted_s[label])
        if not len(values):
            continue
        enough = np.array([-(-mark * n // 100) for mark in (50, 90)]) - 1  # who completes that share
        at = np.union1d(_some(len(values)), enough[enough < len(values)])
        share = np.concatenate([[0], 100 * (at + 1) / n, [100 * len(values) / n]])  # and goes on so
        marked = (np.flatnonzero(np.isin(at, enough)) + 1).tolist()
        look = {**style(index), "drawstyle": "steps-post", "markevery": marked, "markersize": 7}
        ax.plot(np.concatenate([[0], values[at], [longest]]) / unit, share, label=label, **look)
    ax.set_xlabel(f"{name} after publication")
    ax.set_ylabel("share of nodes reached (%)")
    ax.set_xlim(0, longest / unit * 1.02 if longest else None)
    ax.set_ylim(0, 104)
    ax.set_yticks([0, 25, 50, 75, 90, 100])
    ax.grid(alpha=0.3)


def _some(n: int) -> np.ndarray:
    """Places in a sorted array of ``n``, the first and the last included: all of them, or evenly spaced ones."""
    return np.unique(np.linspace(0, n - 1, min(n, MAX_STEPS)).round().astype(np.int64))


def degrees(ax: Axes, graphs: Mapping[str, sp.csr_array | np.ndarray]) -> None:
    """How unevenly links are spread: of each graph, the share of nodes with at least so many neighbours, both on log scales.

    A power law is a straight line here, an exponential falls off steeply, and a regular graph is a corner.

    Args:
        ax: where to draw.
        graphs: per label an ``(n, n)`` adjacency matrix as ``Topology.csr`` gives it, or the ``(n,)`` degrees. Nodes without any
            neighbour count among the nodes and have no place on the scale.
    """
    found = {label: _degrees(graph) for label, graph in graphs.items()}
    lowest = min((1 / len(degree) for degree in found.values() if len(degree)), default=0.1)
    for index, (label, degree) in enumerate(found.items()):
        k, first = np.unique(np.sort(degree), return_index=True)
        k, share = k[k > 0], (1 - first / max(len(degree), 1))[k > 0]
        if not len(k):
            continue
        # The share of at least x is that of the next degree from x on; below the smallest it is all, beyond the largest none.
        x, y = np.concatenate([[1], k, k[-1:]]), np.concatenate([share[:1], share, [lowest / 10]])
        marked = (np.unique(np.searchsorted(k, np.geomspace(k[0], k[-1], 9)).clip(max=len(k) - 1)) + 1).tolist()
        ax.plot(x, y, label=label, drawstyle="steps-pre", markevery=marked, markersize=5, **style(index))
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(left=1)
    ax.set_ylim(lowest * 0.7, 1.4)
    ax.set_xlabel("neighbours of a node (degree)")
    ax.set_ylabel("share of nodes with at least so many")
    ax.grid(alpha=0.3)


def _degrees(graph: sp.csr_array | np.ndarray) -> np.ndarray:
    return np.diff(graph.tocsr().indptr) if hasattr(graph, "tocsr") else np.asarray(graph)


def removal(curves: Mapping[str, Sequence[np.ndarray | Sequence[float]]]) -> Figure:
    """What is left of networks as their nodes go: the largest part, and how large the other parts are on average.

    Fragments stay small, grow where the network falls apart, and shrink again.

    Args:
        curves: per label the share of nodes removed, the largest part's share of all nodes, and the mean size of the other parts
            in nodes, each ``(k,)``; what follows them is ignored.
    """
    fig, (left, right) = panels(1, 2, (11, 4.0))
    for index, (label, (removed, largest, fragments, *_)) in enumerate(curves.items()):
        share = 100 * np.asarray(removed, dtype=float)
        look = {**style(index), "markersize": 5, "markevery": max(1, len(share) // 8)}
        left.plot(share, 100 * np.asarray(largest, dtype=float), label=label, **look)
        sizes = np.asarray(fragments, dtype=float)
        right.plot(share, np.where(sizes > 0, sizes, np.nan), label=label, **look)  # 0: there are no other parts
    for ax in (left, right):
        ax.set_xlabel("share of nodes removed (%)")
        ax.set_xlim(left=0)
        ax.grid(alpha=0.3)
    left.set_ylabel("largest part (% of all nodes)")
    left.set_ylim(0, 104)
    right.set_ylabel("mean size of the other parts (nodes)")
    if len(curves) > 1:
        _legend(fig, left)
    return fig


def _legend(fig: Figure, ax: Axes) -> None:
    handles, labels = ax.get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)


def _time_unit(longest_s: float) -> tuple[float, str]:
    if longest_s < 180:
        return 1.0, "virtual seconds"
    return (60.0, "virtual minutes") if longest_s < 10_800 else (3600.0, "virtual hours")


def _byte_unit(most: float) -> tuple[float, str]:
    return (1e6, "megabytes") if most < 1e9 else (1e9, "gigabytes")


def price(ax: Axes, final: Mapping[str, list[float]]) -> None:
    """Final accuracies side by side: what an attack cost and what a defense bought back.

    Args:
        ax: where to draw.
        final: per label the final accuracies of its runs; the bar is the median, the whisker the range.
    """
    for index, values in enumerate(final.values()):
        middle, low, high = 100 * np.median(values), 100 * np.min(values), 100 * np.max(values)
        whisker = None if len(values) == 1 else [[middle - low], [high - middle]]
        ax.bar(index, middle, yerr=whisker, color=style(index)["color"], width=0.65, capsize=4, alpha=0.85)
        side = 0 if whisker is None else -24  # beside the whisker, at the height it stands for
        ax.annotate(f"{middle:.1f}", (index, middle), xytext=(side, 4), textcoords="offset points", ha="center")
    ax.set_xticks(range(len(final)), [label.replace(", ", ",\n") for label in final], fontsize=9)
    ax.set_ylabel("final test accuracy (%)")
    ax.set_ylim(0, 100)
    ax.grid(alpha=0.3, axis="y")
    ax.set_axisbelow(True)


def overview(series: Mapping[str, pd.DataFrame], events: pd.DataFrame, n: int) -> Figure:
    """Accuracy against virtual time and against bytes, and how many nodes were online when.

    Args:
        series: per label a ``rounds`` frame.
        events: of one of the runs.
        n: how many nodes there are.
    """
    fig, axes = panels(1, 3, (13, 3.8))
    accuracy(axes[0], series, "t_s")
    accuracy(axes[1], series, "bytes")
    online(axes[2], events, n)
    if len(series) > 1:
        _legend(fig, axes[0])
    return fig


def comparison(series: Mapping[str, pd.DataFrame], final: Mapping[str, list[float]], events: pd.DataFrame, n: int) -> Figure:
    """Several scenarios side by side: accuracy against time and bytes, who was online when, and the final accuracies.

    Args:
        series: per label a ``rounds`` frame.
        final: per label the final accuracies of its runs.
        events: of one of the runs (under common random numbers they share their world).
        n: how many nodes there are.
    """
    fig, axes = panels(2, 2, (12, 8))
    accuracy(axes[0], series, "t_s")
    accuracy(axes[1], series, "bytes")
    presence(axes[2], events, n)
    price(axes[3], final)
    _legend(fig, axes[0])
    count = online_count(events)[1]
    there = f"{count.min():,} to {count.max():,} of {n:,} nodes online" if len(count) else "nobody was ever online"
    titles = (
        "Accuracy against time",
        "Accuracy against traffic",
        f"Who was online when: {there}",
        "What the attack cost, what the defense bought back",
    )
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title, loc="left", fontsize=11)
    return fig


def bands(ax: Axes, series: Mapping[str, pd.DataFrame], x: str, y: str) -> None:
    """Lines through middles with bands around them.

    Args:
        ax: where to draw.
        series: per label a frame with ``x``, ``y``, ``low`` and ``high``, ascending in ``x``; a band of no height is not drawn.
        x: what the horizontal axis shows.
        y: what the vertical one shows.
    """
    for index, (label, points) in enumerate(series.items()):
        known = points.dropna(subset=["y"])
        ax.plot(known["x"], known["y"], label=label, markersize=5, **style(index))
        if (known["high"] > known["low"]).any():
            ax.fill_between(known["x"], known["low"], known["high"], alpha=0.15, color=style(index)["color"], linewidth=0)
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.grid(alpha=0.3)
    if len(series) > 1:
        ax.legend(frameon=False, fontsize=9)


def heatmap(
    ax: Axes, cells: pd.DataFrame, title: str = "", low: float | None = None, high: float | None = None, digits: int | None = None
) -> None:
    """A table as colours, light for much, with the figures in it; cells without one (NaN) are hatched.

    Args:
        ax: where to draw.
        cells: rows and columns as they are drawn and named, one number a cell.
        title: what the numbers are.
        low: what is darkest; None: the least.
        high: what is lightest; None: the greatest.
        digits: after the point; None: three places that count.
    """
    from matplotlib.patches import Rectangle

    values = cells.to_numpy(dtype=float)
    known = values[np.isfinite(values)]
    low = low if low is not None else float(known.min()) if known.size else 0.0
    high = high if high is not None else float(known.max()) if known.size else 1.0
    picture = ax.imshow(values, cmap="viridis", vmin=low, vmax=high if high > low else low + 1, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if not np.isfinite(value):
            ax.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor="white", edgecolor="0.6", hatch="///", linewidth=0))
            continue
        shade = picture.cmap(picture.norm(value))
        light = 0.299 * shade[0] + 0.587 * shade[1] + 0.114 * shade[2] > 0.5
        text = f"{value:.3g}" if digits is None else f"{value:.{digits}f}"
        ax.text(column, row, text, ha="center", va="center", fontsize=8, color="black" if light else "white")
    turned = max((len(str(name)) for name in cells.columns), default=0) > 6
    ax.set_xticks(range(len(cells.columns)), [str(name) for name in cells.columns], fontsize=9)
    ax.tick_params(axis="x", rotation=40 if turned else 0)
    if turned:
        for label in ax.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(cells.index)), [str(name) for name in cells.index], fontsize=9)
    ax.set_xlabel(str(cells.columns.name or ""))
    ax.set_ylabel(str(cells.index.name or ""))
    ax.set_title(title, loc="left", fontsize=11)


def heatmap_size(cells: pd.DataFrame) -> tuple[float, float]:
    """Inches that suit a table of so many cells and such long names."""
    longest = [max((len(str(name)) for name in names), default=0) for names in (cells.index, cells.columns)]
    return 1.6 + 0.08 * longest[0] + 0.62 * len(cells.columns), 1.3 + 0.06 * longest[1] + 0.34 * len(cells.index)


def save(fig: Figure, path: str | Path, title: str = "") -> None:
    """Write a figure as PNG, SVG, PDF or HTML, by the ending of ``path``; it appears whole or not at all.

    Args:
        fig: the figure.
        path: where to; ``.html`` is a page of its own that needs nothing else.
        title: of the page, and what a reader who cannot see the figure is told.

    Raises:
        ScenarioError: the ending is another one, or the file cannot be written.
    """
    target = Path(path)
    ending = target.suffix.lower()
    if ending not in (".png", ".svg", ".pdf", ".html"):
        raise ScenarioError(f"path: {str(path)!r} is not allowed: end it in .png, .svg, .pdf or .html")
    with whole(target) as part:
        if ending == ".html":
            name = html.escape(title or target.stem)
            part.write_text(
                f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{name}</title>\n'
                f'<body style="margin: 1em">\n{svg(fig, title or target.stem)}\n</body>\n</html>\n',
                encoding="utf-8",
            )
        else:
            fig.savefig(part, dpi=110)


def svg(fig: Figure, title: str) -> str:
    """The figure as an ``<svg>`` element that stands in a page, named ``title`` for those who cannot see it."""
    text = io.StringIO()
    fig.savefig(text, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    element = text.getvalue()
    # Matplotlib's style sheet is for all of the page that the element stands in; on the element it is for the element alone.
    sheet = re.search(r"<defs>\s*<style[^>]*>\*\{([^}]*)\}</style>\s*</defs>\s*", element)
    look = "max-width: 100%; height: auto"
    if sheet is not None:
        element, look = element.replace(sheet[0], "", 1), f"{look}; {sheet[1]}"
    name = html.escape(title, quote=True)
    return element[element.index("<svg") :].replace("<svg", f'<svg role="img" aria-label="{name}" style="{look}"', 1)


def panels(
    rows: int, columns: int, size: tuple[float, float], layout: Literal["constrained"] | None = "constrained"
) -> tuple[Figure, list[Axes]]:
    """An empty figure of ``rows`` by ``columns`` panels, ``size`` inches wide and high, and the panels in reading order.

    Args:
        rows: of panels.
        columns: of panels.
        size: width and height, inches.
        layout: makes room for titles and labels; None: they are where they are.
    """
    # Without pyplot, whose list of figures is shared by all threads.
    from matplotlib.figure import Figure

    _teach_notebook(Figure)

    fig = Figure(figsize=size, layout=layout)
    return fig, list(np.atleast_1d(fig.subplots(rows, columns)).flat)


def _teach_notebook(figure: type[Figure]) -> None:
    """Tell the notebook, if this is one, how to show figures; pyplot would do so with its first figure."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None and shell.display_formatter.formatters["image/png"].for_type(figure) is None:
        from IPython.core.pylabtools import select_figure_formats

        select_figure_formats(shell, {"png"})  # type: ignore[no-untyped-call]


def agreement(ax: Axes, left: Mapping[str, pd.Series], at: str = "round") -> None:
    """How far apart models still are, on a logarithmic scale.

    Args:
        ax: where to draw.
        left: per label the distances by round or time, each until it is a hundred-thousandth: what is below is rounding.
        at: what the series' index is.
    """
    for index, (label, distances) in enumerate(left.items()):
        over = int((distances > 1e-5).to_numpy().argmin()) if (distances <= 1e-5).any() else len(distances)
        shown = distances.iloc[: over + 1].clip(lower=1e-5)
        ax.plot(shown.index, shown, label=label, markersize=5, markevery=max(1, len(shown) // 8), **style(index))
    ax.set_yscale("log")
    ax.set_xlim(left=0)
    ax.set_xlabel(at)
    ax.set_ylabel("distance left")
    ax.grid(alpha=0.3)


def survival(ax: Axes, lengths: Mapping[str, Sequence[float] | np.ndarray]) -> None:
    """How long periods last: the share that is longer than a given time, both on logarithmic scales.

    Args:
        ax: where to draw.
        lengths: per label lengths in seconds; those not known (NaN) are left out.
    """
    for index, (label, values) in enumerate(lengths.items()):
        known = np.sort(np.asarray(values, dtype=float))
        known = known[~np.isnan(known)]
        longer = 100 * (1 - np.arange(len(known)) / max(len(known), 1))
        look = {key: value for key, value in style(index).items() if key != "marker"}
        ax.step(known, longer, where="post", label=label, **look)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(left=1)  # shorter ones are drawn by models, not seen by people
    marks = {1: "1 s", 60: "1 min", 3600: "1 h", 86_400: "1 day"}
    ax.set_xticks(list(marks), list(marks.values()))
    ax.set_xticks([], minor=True)
    ax.set_yticks([0.1, 1, 10, 100], ["0.1", "1", "10", "100"])
    ax.set_xlabel("length")
    ax.set_ylabel("share that lasts longer (%)")
    ax.grid(alpha=0.3)


def reached(
    ax: Axes, propagation: Mapping[str, pd.DataFrame], n: int, trouble: tuple[float, float] | None = None, name: str = "trouble"
) -> None:
    """How many of the nodes each piece of news reached in the end, against the time of its publication.

    Args:
        ax: where to draw.
        propagation: per label a frame as of ``Run.propagation()``.
        n: how many nodes there are.
        trouble: from when to when something was wrong, virtual seconds; shaded.
        name: of that.
    """
    end = max((frame["t_s"].max() for frame in propagation.values() if len(frame)), default=0.0)
    unit, unit_name = _time_unit(max(end, *(trouble or (0.0, 0.0))))
    if trouble is not None:
        ax.axvspan(trouble[0] / unit, trouble[1] / unit, color="0.5", alpha=0.18, linewidth=0, label=name)
    for index, (label, frame) in enumerate(propagation.items()):
        ax.plot(frame["t_s"] / unit, 100 * frame["reached"] / n, label=label, markersize=6, **style(index))
    ax.set_xlabel(f"published at ({unit_name})")
    ax.set_ylabel("nodes reached in the end (%)")
    ax.set_ylim(0, 105)
    ax.grid(alpha=0.3)


def dots(ax: Axes, groups: Mapping[str, Sequence[float] | np.ndarray], name: str) -> None:
    """One dot a value, a row a group, a bar at each group's median: for values too few for a distribution.

    Args:
        ax: where to draw.
        groups: per label its values; the first group is at the top.
        name: of the values, with their unit.
    """
    for index, values in enumerate(groups.values()):
        color = style(index)["color"]
        ax.plot(values, np.full(len(values), -index), style(index)["marker"], color=color, markersize=8, alpha=0.7, linestyle="")
        if len(values):
            ax.plot([np.median(values)] * 2, [-index - 0.25, -index + 0.25], color=color, linewidth=2)
    ax.set_yticks([-index for index in range(len(groups))], list(groups))
    ax.set_ylim(-len(groups) + 0.5, 0.5)
    ax.set_xlabel(name)
    ax.set_xlim(left=0)
    ax.grid(alpha=0.3, axis="x")


def marks(ax: Axes, at: Mapping[str, float]) -> None:
    """Vertical lines at what others found, named in the legend.

    Args:
        ax: where to draw.
        at: per name where on the horizontal axis.
    """
    for index, (name, x) in enumerate(at.items()):
        ax.axvline(x, color="0.35", linewidth=1.2, linestyle=("--", ":", "-.")[index % 3], label=f"{name}: {x:g}")


def images(ax: Axes, rows: Mapping[str, np.ndarray | Sequence[np.ndarray]]) -> None:
    """Pictures in rows, such as what attackers make of samples below what these were.

    Args:
        ax: where to draw.
        rows: per label as many pictures ``(k, height, width)`` or ``(k, height, width, colours)``, drawn from dark to light; the
            first is at the top.
    """
    strips = []
    for label, pictures in rows.items():
        if not len(pictures):
            raise ScenarioError(f"rows: no pictures in {label!r}")
        shown = [np.asarray(picture, dtype=float) / max(float(np.max(picture)), 1.0) for picture in pictures]
        strips.append(np.concatenate([np.pad(one, [(1, 1), (1, 1)] + [(0, 0)] * (one.ndim - 2)) for one in shown], axis=1))
    if len({strip.shape for strip in strips}) != 1:
        raise ScenarioError("rows: as many pictures of one size are wanted in each row")
    height = strips[0].shape[0]
    ax.imshow(np.concatenate(strips), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    ax.set_yticks([height * (row + 0.5) - 0.5 for row in range(len(strips))], list(rows))
    ax.set_xticks([])
    ax.tick_params(length=0)
    for side in ax.spines.values():
        side.set_visible(False)


def backdoor(ax: Axes, series: Mapping[str, pd.DataFrame]) -> None:
    """Round by round, how often the model does what attackers want (markers) and how good it is otherwise (thin lines).

    Args:
        ax: where to draw.
        series: per label a ``rounds`` frame.
    """
    for index, (label, rounds) in enumerate(series.items()):
        look = style(index)
        every = max(1, len(rounds) // 8)
        ax.plot(rounds["round"], 100 * rounds["attack_success"], label=label, markersize=6, markevery=every, **look)
        ax.plot(
            rounds["round"], 100 * rounds["accuracy"], color=look["color"], linestyle=look["linestyle"], linewidth=0.9, alpha=0.7
        )
    ax.set_xlabel("round")
    ax.set_ylabel("attack success; thin: test accuracy (%)")
    ax.set_ylim(-2, 102)
    ax.set_xlim(left=0)
    ax.grid(alpha=0.3)


def moved(ax: Axes, series: Mapping[str, pd.Series], what: str) -> None:
    """How far aggregates are moved by something that grows, both on logarithmic scales.

    Args:
        ax: where to draw.
        series: per label the distances, by what grows; zeros have no place on the scale.
        what: it is that grows.
    """
    for index, (label, distances) in enumerate(series.items()):
        shown = distances[distances > 0]
        ax.plot(shown.index, shown, label=label, markersize=6, **style(index))
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel(what)
    ax.set_ylabel("distance from the honest mean")
    ax.grid(alpha=0.3)
