"""A ``Grid`` that counts what passes."""

from __future__ import annotations

from collections.abc import Iterable

from flwr.app import Message
from flwr.serverapp import Grid

from decai_sim.flower import arrays
from decai_sim.flower.strategies.first_replies import View


class Recorded(View):
    """A view of another ``Grid`` that counts messages and bytes.

    Args:
        grid: the other one.
    """

    def __init__(self, grid: Grid) -> None:
        super().__init__(grid)
        self._selected = self._replied = self._up = self._down = 0

    def counts(self) -> dict[str, int]:
        """``n_selected, n_replied`` since they were asked for last, and ``bytes_up, bytes_down`` of all nodes so far."""
        counts = {"n_selected": self._selected, "n_replied": self._replied, "bytes_up": self._up, "bytes_down": self._down}
        self._selected = self._replied = 0
        return counts

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """As the other one."""
        return self._grid.push_messages(self._sent(messages))

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """As the other one."""
        return self._received(self._grid.pull_messages(message_ids))

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """As the other one."""
        return self._received(self._grid.send_and_receive(self._sent(messages), timeout=timeout))

    def _sent(self, messages: Iterable[Message]) -> list[Message]:
        sent = list(messages)
        sizes: dict[int, int] = {}  # all nodes of a round share one record
        for message in sent:
            key = id(message.content)
            self._down += sizes.setdefault(key, arrays.wire_bytes(message.content))
        self._selected += len(sent)
        return sent

    def _received(self, messages: Iterable[Message]) -> list[Message]:
        received = list(messages)
        contents = [message.content for message in received if message.has_content()]
        self._replied += len(contents)
        self._up += sum(map(arrays.wire_bytes, contents))
        return received
