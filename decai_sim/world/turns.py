"""Queues, first in, first out, as arrays: when everybody who comes to any of them gets a turn."""

from __future__ import annotations

import numpy as np

_FEW = 32
"""For fewer queues than these an operation on arrays takes longer than a loop."""


def turns(
    t_s: np.ndarray, service_s: np.ndarray, queue: np.ndarray, free_s: np.ndarray, longest_s: np.ndarray | None = None
) -> np.ndarray:
    """When each of those who come to queues, in this order, gets its turn: the later of when it comes and when the queue is free.

    Args:
        t_s: ``(m,)`` when they come.
        service_s: ``(m,)`` how long their turn lasts.
        queue: ``(m,)`` to which queue.
        free_s: when each queue is free; changed.
        longest_s: ``(m,)`` who would wait longer than that does not enter; None: everybody does.

    Returns:
        ``(m,)`` seconds; NaN: does not enter.

    Example:
        >>> free_s = np.zeros(2)
        >>> turns(np.array([0.0, 0.0, 1.0, 9.0]), np.array([2.0, 3.0, 2.0, 2.0]), np.array([0, 1, 0, 0]), free_s).tolist()
        [0.0, 0.0, 2.0, 9.0]
        >>> free_s.tolist()
        [11.0, 3.0]
    """
    if len(t_s) < 8 * _FEW:
        return _in_a_loop(t_s, service_s, queue, free_s, longest_s)
    starts = np.empty(len(t_s))
    order = np.argsort(queue, kind="stable")
    begins, lengths = runs(queue[order])
    longest_first = np.argsort(-lengths)
    begins, lengths = begins[longest_first], lengths[longest_first]
    queues = queue[order[begins]]
    free = free_s[queues]
    # All queues' first ones together, then the second ones, as long as there are many.
    nth, busy = 0, len(queues)
    while busy >= _FEW:
        which = order[begins[:busy] + nth]
        comes = t_s[which]
        start = np.maximum(comes, free[:busy])
        after = start + service_s[which]
        if longest_s is not None:
            drops = start - comes > longest_s[which]
            start, after = np.where(drops, np.nan, start), np.where(drops, free[:busy], after)
        starts[which], free[:busy] = start, after
        nth += 1
        busy = int(np.searchsorted(-lengths[:busy], -nth))
    free_s[queues] = free
    if busy:
        which = order[ranges(begins[:busy] + nth, begins[:busy] + lengths[:busy])[0]]
        longest_s = None if longest_s is None else longest_s[which]
        starts[which] = _in_a_loop(t_s[which], service_s[which], queue[which], free_s, longest_s)
    return starts


def _in_a_loop(
    t_s: np.ndarray, service_s: np.ndarray, queue: np.ndarray, free_s: np.ndarray, longest_s: np.ndarray | None
) -> np.ndarray:
    starts = t_s.tolist()
    columns = starts, service_s.tolist(), queue.tolist(), free_s[queue].tolist()
    free: dict[int, float] = {}
    patience = None if longest_s is None else longest_s.tolist()
    for i, (comes, lasts, which, first) in enumerate(zip(*columns, strict=True)):
        start = free.get(which, first)
        if comes >= start:
            start = comes
        elif patience is not None and start - comes > patience[i]:
            starts[i] = np.nan
            free[which] = start
            continue
        else:
            starts[i] = start
        free[which] = start + lasts
    free_s[list(free)] = list(free.values())
    return np.array(starts, dtype=float)


def ranges(begins: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All numbers from ``begins[i]`` to ``ends[i]``, for one ``i`` after the other, and which ``i`` each is of."""
    counts = ends - begins
    whose = np.repeat(np.arange(len(counts)), counts)
    first = np.cumsum(counts) - counts
    return np.arange(len(whose)) + (begins - first)[whose], whose


def rank(keys: np.ndarray) -> np.ndarray:
    """How manieth of its key each one is, from 0."""
    order = np.argsort(keys, kind="stable")
    begins, lengths = runs(keys[order])
    nth = np.empty(len(keys), dtype=np.int64)
    nth[order] = np.arange(len(keys)) - np.repeat(begins, lengths)
    return nth


def runs(ordered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where runs of equal numbers begin, and how long they are."""
    bounds = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    bounds = np.concatenate([[0], bounds, [len(ordered)]])
    return bounds[:-1], bounds[1:] - bounds[:-1]
