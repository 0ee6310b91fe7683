"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from decai_sim.errors import ScenarioError


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """A file beside ``path``, of the same ending, that takes its place at the end, unless something went wrong.

    Args:
        path: where the content goes; what is there is replaced.

    Raises:
        ScenarioError: it cannot be written there.

    Example:
        >>> import pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> with whole(folder / "a.txt") as part:
        ...     _ = part.write_text("all of it")
        >>> [p.name for p in folder.iterdir()]
        ['a.txt']
    """
    target = Path(path)
    part = target.with_name(f".{target.stem}.{os.getpid()}.part{target.suffix}")
    try:
        yield part
        os.replace(part, target)
    except OSError as error:
        raise ScenarioError(f"path: {str(target)!r} is not allowed: {error.strerror or error}") from None
    finally:
        if part.is_file():
            part.unlink()
