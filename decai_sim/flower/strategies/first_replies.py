"""A ``Grid`` whose rounds end early."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from flwr.app import Message
from flwr.serverapp import Grid

from decai_sim.flower.grid import SimGrid


def poll(grid: Grid, message_ids: Iterable[str], poll_s: float = 1.0) -> list[Message]:
    """Replies to any of ``message_ids`` that have come; none after ``poll_s`` seconds in which there were none.

    ``SimGrid`` waits by itself, in virtual time.
    """
    replies = list(grid.pull_messages(message_ids))
    if not replies and not isinstance(grid, SimGrid):
        time.sleep(poll_s)
    return replies


class View(Grid):
    """Another ``Grid``, seen through: all it is asked, the other one does.

    Args:
        grid: the other one.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid

    def set_run(self, run: Any) -> None:
        """As the other one."""
        self._grid.set_run(run)

    @property
    def run(self) -> Any:
        """As the other one."""
        return self._grid.run

    def create_message(self, *arguments: Any, **options: Any) -> Message:
        """As the other one."""
        return self._grid.create_message(*arguments, **options)

    def get_node_ids(self) -> Iterable[int]:
        """As the other one."""
        return self._grid.get_node_ids()

    def get_nodes(self) -> Any:
        """As the other one."""
        return self._grid.get_nodes()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """As the other one."""
        return self._grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """As the other one."""
        return self._grid.pull_messages(message_ids)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """As the other one."""
        return self._grid.send_and_receive(messages, timeout=timeout)


class FirstReplies(View):
    """A view of another ``Grid`` that does not wait for more replies than are wanted; later ones are never read.

    Args:
        grid: the other one.
        wanted: how many replies with content end a wait.

    Example:
        :class:`~decai_sim.flower.CappedFedAvg` uses it for over-selection.

        >>> from flwr.serverapp import Grid
        >>> issubclass(FirstReplies, Grid)
        True
    """

    def __init__(self, grid: Grid, wanted: int) -> None:
        super().__init__(grid)
        self._wanted = wanted

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Push messages and wait for as many replies as are wanted, for all, or for ``timeout`` seconds."""
        if isinstance(self._grid, SimGrid):
            return self._grid.first_replies(messages, self._wanted, timeout)
        waiting = set(self._grid.push_messages(messages))
        replies: list[Message] = []
        ends = time.time() + timeout if timeout is not None else float("inf")
        while waiting and sum(reply.has_content() for reply in replies) < self._wanted and time.time() < ends:
            came = poll(self._grid, waiting)
            replies += came
            waiting -= {reply.metadata.reply_to_message_id for reply in came}
        return replies
