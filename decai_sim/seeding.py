"""Named random streams: one per purpose, so that adding a component never shifts another's draws.

There is no global seeding anywhere in the package. A stream is a NumPy generator whose ``SeedSequence`` carries the scenario's
seed as entropy and the stream's name as ``spawn_key`` (NumPy manual, "Parallel random number generation").
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch

_MASK = (1 << 64) - 1
_POOL = 4
"""Words of a ``SeedSequence``'s pool."""


class Streams:
    """Random streams of one run, each found by its name.

    Args:
        seed: the scenario's seed, 0 or more.

    Example:
        >>> a = Streams(7).of("churn", 3).random()
        >>> a == Streams(7).of("churn", 3).random(), a == Streams(7).of("churn", 4).random()
        (True, False)
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._entropy = [seed >> at & 0xFFFFFFFF for at in range(0, max(1, seed.bit_length()), 32)]

    def _key(self, name: tuple[str | int, ...]) -> tuple[int, ...]:
        words: list[int] = []
        for part in name:
            if isinstance(part, str):
                words += _words(part)
            else:
                words += [int(part) & 0xFFFFFFFF, (int(part) >> 32) & 0xFFFFFFFF]
        return tuple(words)

    def of(self, *name: str | int) -> np.random.Generator:
        """A fresh generator at the start of the stream ``name``."""
        import numpy as np

        key = self._key(name)
        # What SeedSequence(self.seed, spawn_key=key) puts together, in half the time.
        entropy = [*self._entropy, *[0] * (_POOL - len(self._entropy)), *key] if key else self._entropy
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(np.array(entropy, np.uint32))))

    def integer(self, *name: str | int) -> int:
        """A 63-bit integer from the stream ``name``: a seed for code that takes no generator."""
        return int(self.of(*name).integers(0, 2**63 - 1))

    def torch(self, *name: str | int) -> torch.Generator:
        """A CPU ``torch.Generator`` seeded from the stream ``name``."""
        import torch

        return torch.Generator().manual_seed(self.integer(*name))

    def counter(self, *name: str | int) -> Counter:
        """Counter-based uniforms keyed by the stream ``name``."""
        return Counter(self.integer(*name))


@cache
def _words(name: str) -> list[int]:
    words: list[int] = memoryview(hashlib.sha256(name.encode()).digest()[:8]).cast("I").tolist()
    return words


class Counter:
    """Uniform numbers addressed by integers instead of drawn in order (a keyed SplitMix64 hash; Steele et al. 2014).

    A link's latency and a message's jitter are looked up by (link, how manieth), so they do not depend on what else happened.

    Example:
        >>> u = Counter(1)
        >>> 0.0 < u(3, 4) < 1.0 and u(3, 4) == u(3, 4) != u(4, 3)
        True
    """

    __slots__ = ("_key",)

    def __init__(self, key: int) -> None:
        self._key = key & _MASK

    def __call__(self, *address: int) -> float:
        """A number in the open interval (0, 1)."""
        z = self._key
        for part in address:
            z = (z ^ (part & _MASK)) + 0x9E3779B97F4A7C15 & _MASK
            z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
            z = (z ^ (z >> 27)) * 0x94D049BB133111EB & _MASK
            z ^= z >> 31
        return ((z >> 12) + 0.5) / (1 << 52)  # exact: half a step away from 0 and from 1

    def array(self, *address: np.ndarray | int) -> np.ndarray:
        """The same numbers for many addresses at once.

        Args:
            address: the parts of the addresses, integers that broadcast against each other.

        Example:
            >>> import numpy as np
            >>> u = Counter(1)
            >>> u.array(3, np.array([4, 5])).tolist() == [u(3, 4), u(3, 5)]
            True
        """
        import numpy as np

        parts = [np.asarray(part, np.int64).view(np.uint64) for part in address]
        z = np.full(np.broadcast(*parts).shape, self._key, np.uint64)
        shifted = np.empty_like(z)
        # In place: where there are few addresses, making arrays takes longer than what is done with them.
        gamma, *mix, last, fraction = _constants()
        for part in parts:
            z ^= part
            z += gamma
            for shift, factor in mix:
                z ^= np.right_shift(z, shift, out=shifted)
                z *= factor
            z ^= np.right_shift(z, last, out=shifted)
        uniform: np.ndarray = ((z >> fraction) + 0.5) / (1 << 52)
        return uniform


@cache
def _constants() -> tuple[Any, ...]:
    """Those of SplitMix64, and how many bits are too many for a fraction."""
    import numpy as np

    word = np.uint64
    mix = (word(30), word(0xBF58476D1CE4E5B9)), (word(27), word(0x94D049BB133111EB))
    return word(0x9E3779B97F4A7C15), *mix, word(31), word(12)
