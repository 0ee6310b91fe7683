"""What a scenario refers to by a digest and no file holds: somebody's module or data, alive in this Python."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any
from weakref import WeakValueDictionary

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError


@dataclass(frozen=True)
class Kept:
    """A value and what tells it from others; equal digests are equal values.

    Attributes:
        digest: 16 hexadecimal digits of a SHA-256 over the content.
        value: the value.
    """

    digest: str
    value: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Kept) and other.digest == self.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __reduce__(self) -> tuple[Any, ...]:  # a worker that a scenario is sent to knows its parts from then on
        return keep, (self.digest, self.value)


_KEPT: WeakValueDictionary[str, Kept] = WeakValueDictionary()


def keep(digest: str, value: Any) -> Kept:
    """The value under its digest; as long as somebody holds it, :func:`held` finds it."""
    return _KEPT.setdefault(digest, Kept(digest, value))


def held(digest: str) -> Kept:
    """What is kept under ``digest``.

    Raises:
        KeyError: nobody holds such a thing.
    """
    return _KEPT[digest]


def Digest(what: str, how: str) -> Any:
    """The type of a field that holds the digest of something kept; anything else is refused.

    Args:
        what: what it stands for, in words.
        how: how somebody makes it again.
    """

    def known(digest: str) -> str:
        if digest not in _KEPT:
            raise PydanticCustomError(
                "not_kept",
                "it stands for {what} that lives in the Python which made it and in no file; make it again: {how}",
                {"what": what, "how": how},
            )
        return digest

    return Annotated[str, AfterValidator(known)]


def digest_of(parts: Iterable[bytes]) -> str:
    """A digest of a sequence of bytes, each told from the next.

    Example:
        >>> digest_of([b"a", b"b"]) == digest_of([b"a", b"b"]) != digest_of([b"ab"])
        True
    """
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "little"))
        total.update(part)
    return total.hexdigest()[:16]
