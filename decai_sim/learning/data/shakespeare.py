"""Shakespeare's plays, by speaking role."""

from __future__ import annotations

import gzip
from functools import lru_cache

from decai_sim.learning.data.base import Dataset, data_dir

VOCABULARY = " !%&'(),-.01235:;?ABCDEFGHIKLMNOPQRSTVWYZ[]`abcdefghijklmnopqrstuvwxyz|æ"
"""The 72 characters of the speeches. The folio prints I for J, and V for U at the beginning of a word."""
CONTEXT = 80
"""Characters that the next one is predicted from, as in LEAF."""
TRAINING_SHARE = 0.9
"""The first part of what a role says is for training, the rest for testing, as in LEAF."""


def speeches() -> dict[tuple[str, str], list[str]]:
    """What each role of each play says, in order, by the play's and the role's name.

    Example:
        >>> speeches()["hamlet", "Ham"][0]
        'A little more then kin, and lesse then kinde'
    """
    text = gzip.decompress((data_dir() / "shakespeare" / "speeches.tsv.gz").read_bytes()).decode()
    spoken: dict[tuple[str, str], list[str]] = {}
    for line in text.splitlines():
        play, role, speech = line.split("\t")
        spoken.setdefault((play, role), []).append(speech)
    return spoken


@lru_cache(maxsize=2)
def load(stride: int = 80, min_chars: int = 200) -> Dataset:
    """The next character after every 80 that a role says (Caldas et al. 2018), in 35 plays of the first folio.

    A role's speeches, joined by spaces, are one text. Of its characters after the first 80, every ``stride``-th is a sample:
    those in the first 90 % of the text for training, the others for testing. Test characters are not trained on; the 80 before
    them may be. Each sample belongs to its role.

    Args:
        stride: characters from one sample to the next; 1 for all.
        min_chars: the shortest text of a role.

    Example:
        >>> data = load()
        >>> "".join(data.class_names[token] for token in data.x_train[0]), data.class_names[data.y_train[0]]
        ('In deliuering my sonne from me, I burie a second husband What hope is there of h', 'i')
        >>> data.owner_names[0], len(data.owner_names)
        ('all_is_well_that_ends_well: Mo', 992)
    """
    import numpy as np

    number = np.zeros(256, np.uint8)
    number[np.frombuffer(VOCABULARY.encode("latin-1"), np.uint8)] = np.arange(len(VOCABULARY))
    texts = {role: " ".join(parts) for role, parts in speeches().items()}
    texts = {role: text for role, text in texts.items() if len(text) >= max(min_chars, CONTEXT + 2)}
    codes = number[np.frombuffer("".join(texts.values()).encode("latin-1"), np.uint8)]
    windows = np.lib.stride_tricks.sliding_window_view(codes, CONTEXT)
    parts: dict[bool, list[tuple[np.ndarray, np.ndarray]]] = {True: [], False: []}
    at = 0
    for owner, text in enumerate(texts.values()):
        end = at + len(text)
        cut = min(max(at + int(TRAINING_SHARE * len(text)), at + CONTEXT + 1), end - 1)
        for training, first, last in ((True, at + CONTEXT, cut), (False, cut, end)):
            targets = np.arange(first, last, stride)
            parts[training].append((targets, np.full(len(targets), owner)))
        at = end
    train, test = (tuple(map(np.concatenate, zip(*parts[training], strict=True))) for training in (True, False))
    x_train, x_test = (windows[targets - CONTEXT] for targets, _ in (train, test))
    y_train, y_test = (codes[targets].astype(np.int64) for targets, _ in (train, test))
    names = tuple(f"{play}: {role}" for play, role in texts)
    return Dataset(
        "shakespeare",
        x_train,
        y_train,
        x_test,
        y_test,
        class_names=tuple(VOCABULARY),
        tokens=True,
        owner=train[1],
        owner_test=test[1],
        owner_names=names,
    )
