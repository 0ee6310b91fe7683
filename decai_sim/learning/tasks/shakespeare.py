"""What the roles of Shakespeare's plays say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from decai_sim.component import field_of
from decai_sim.learning.data import shakespeare
from decai_sim.learning.models import Model, Transformer
from decai_sim.learning.partitions import Natural, Partition
from decai_sim.learning.tasks.base import Task

if TYPE_CHECKING:
    from decai_sim.learning.data import Dataset


class Shakespeare(Task):
    """Predict the next character of what a role of a play by Shakespeare says, from the 80 before it.

    Roles are the natural clients: 992 of 35 plays. With the partition ``natural``, a node's own test samples are its role's.

    Source: McMahan et al. (AISTATS 2017), section 3; Caldas et al., "LEAF: a benchmark for federated settings", arXiv:1812.01097.
        The plays as the first folio (1623) prints them, transcribed by Project Gutenberg (public domain); shipped in ``data/``.
    Assumes: a role's last words are like its first: the first 90 % of them are for training, the rest for testing.
    Deviations: another edition than LEAF's; roles are told apart by the folio's speech prefixes; a role has at least
        ``min_chars`` characters; every ``stride``-th character is predicted by default instead of every one; the 80 characters
        before a test character may be training text.

    Attributes:
        stride: characters from one sample to the next. The default, 80, lets samples hardly overlap and fits a notebook: 43,472
            to train on, 5,385 to test; 1 is the whole corpus: 3,438,219 and 391,343.
        min_chars: the shortest text of a role, in characters.

    Example:
        >>> data = Shakespeare().load()
        >>> data.owner_names[166], data.classes
        ('hamlet: Fran', 72)
    """

    partition: field_of(Partition) = Natural()  # type: ignore[valid-type]
    model: field_of(Model) = Transformer(width=32)  # type: ignore[valid-type]
    stride: int = Field(default=80, ge=1)
    min_chars: int = Field(default=200, ge=shakespeare.CONTEXT + 2)

    def load(self) -> Dataset:
        """The shipped file."""
        return shakespeare.load(self.stride, self.min_chars)
