"""One palette for everything, safe for colour-blind readers, with a second channel beside colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
"""Okabe & Ito, "Color universal design" (2008); yellow last, being hard to see on white."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (5, 5)))


def style(index: int) -> dict[str, Any]:
    """Colour, marker and dash of the ``index``-th series, for matplotlib."""
    return {
        "color": OKABE_ITO[index % len(OKABE_ITO)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": LINES[index % len(LINES)],
    }


ONLINE, TRAINING, BYZANTINE, REJECTED, INFORMED = 1, 2, 4, 8, 16
"""The bits of a node's state, which is one byte."""
LEVEL_BITS = (2, 8, 16, 32, 64)
"""Instead of what a node does, the byte may say how far something has come at it: the bits of all levels but the last."""
LEVEL_COLORS = ("#fde725", "#7ad151", "#22a884", "#2a788e", "#414487", "#440154")
"""Viridis (van der Walt & Smith, 2015), light to dark: in order without colours, too."""


@dataclass(frozen=True)
class NodeState:
    """What a node is shown as.

    Attributes:
        name: what it is called.
        color: of its mark.
        drawn: how it is drawn, in words.
        bit: the bit of the state byte that decides; 0 if none has to.
        when: what that bit must be.
        filled: whether the mark is.
        extra: what is added to the mark: ``ring``, ``cross``, ``dot`` or nothing.
    """

    name: str
    color: str
    drawn: str
    bit: int = 0
    when: bool = True
    filled: bool = True
    extra: str = ""


STATES = (
    NodeState("offline", "#8a8a8a", "a small hollow mark", ONLINE, when=False, filled=False),
    NodeState("rejected", "#CC79A7", "struck through: the rule did not use its update this round", REJECTED, extra="cross"),
    NodeState("training", "#009E73", "filled, with a ring around it", TRAINING, extra="ring"),
    NodeState("informed", "#E69F00", "filled, with a dark dot in the middle: has the newest item", INFORMED, extra="dot"),
    NodeState("byzantine", "#D55E00", "a filled triangle", BYZANTINE),
    NodeState("online", "#0072B2", "a filled disc"),
)
"""What nodes are shown as; the first that fits counts. Byzantine nodes are triangles in every state, all others are round."""


def levels(names: Sequence[str]) -> tuple[NodeState, ...]:
    """A legend of levels, light to dark, instead of :data:`STATES`.

    Args:
        names: of the levels, as many as :data:`LEVEL_COLORS`.

    Example:
        >>> [state.name for state in levels("abcdef")]
        ['offline', 'a', 'b', 'c', 'd', 'e', 'f']
    """
    bits = (*LEVEL_BITS, 0)
    marks = zip(names, LEVEL_COLORS, bits, strict=True)
    return (STATES[0], *(NodeState(name, color, f"filled: {name}", bit) for name, color, bit in marks))


def shown_as(states: np.ndarray, legend: Sequence[NodeState] = STATES) -> np.ndarray:
    """Which of a legend's entries each state byte is shown as.

    Example:
        >>> codes = shown_as(np.array([0, ONLINE, ONLINE | TRAINING | BYZANTINE], dtype=np.uint8))
        >>> [STATES[code].name for code in codes]
        ['offline', 'online', 'training']
    """
    fits = [np.full(states.shape, True) if not s.bit else ((states & s.bit) != 0) == s.when for s in legend]
    first: np.ndarray = np.argmax(fits, axis=0)
    return first
