"""Laws of period lengths: how long a period lasts, and how long one that is found under way still does."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np


class Law(Protocol):
    """A law of positive lengths, by its quantile functions.

    Whoever looks at a process that has gone on forever finds a long period under way more often than a short one (the inspection
    paradox). What remains of it has the *equilibrium* distribution, with density (1 − F(x)) / mean (Cox, "Renewal Theory", 1962,
    ch. 5).
    """

    @property
    def mean_s(self) -> float:
        """Mean length, seconds."""

    def length_s(self, u: np.ndarray) -> np.ndarray:
        """The lengths at quantiles ``u`` in (0, 1), seconds."""

    def rest_s(self, u: np.ndarray) -> np.ndarray:
        """What remains of a period found under way, at quantiles ``u`` in (0, 1) of the equilibrium distribution, seconds."""


@dataclass(frozen=True)
class WeibullLaw:
    """F(x) = 1 − exp(−(x / scale)^shape); shape 1 is the exponential law.

    Its equilibrium distribution is P(1 / shape, (x / scale)^shape), the regularised lower incomplete gamma function: substitute
    y = (x / scale)^shape in the integral of 1 − F.
    """

    shape: float
    scale_s: float

    @classmethod
    def with_mean(cls, shape: float, mean_s: float) -> WeibullLaw:
        """The law of this ``shape`` and mean."""
        return cls(shape, mean_s / math.gamma(1 + 1 / shape))

    @property
    def mean_s(self) -> float:
        return self.scale_s * math.gamma(1 + 1 / self.shape)

    def length_s(self, u: np.ndarray) -> np.ndarray:
        import numpy as np

        found: np.ndarray = self.scale_s * (-np.log1p(-u)) ** (1 / self.shape)
        return found

    def rest_s(self, u: np.ndarray) -> np.ndarray:
        from scipy.special import gammaincinv

        found: np.ndarray = self.scale_s * gammaincinv(1 / self.shape, u) ** (1 / self.shape)
        return found


@dataclass(frozen=True)
class ParetoLaw:
    """F(x) = 1 − (1 + x / scale)^−shape, the Pareto law shifted to begin at 0 (Lomax), for shape > 1.

    Its equilibrium distribution is the same law with shape − 1.
    """

    shape: float
    scale_s: float

    @classmethod
    def with_mean(cls, shape: float, mean_s: float) -> ParetoLaw:
        """The law of this ``shape`` and mean."""
        return cls(shape, mean_s * (shape - 1))

    @property
    def mean_s(self) -> float:
        return self.scale_s / (self.shape - 1)

    def length_s(self, u: np.ndarray) -> np.ndarray:
        import numpy as np

        found: np.ndarray = self.scale_s * np.expm1(-np.log1p(-u) / self.shape)
        return found

    def rest_s(self, u: np.ndarray) -> np.ndarray:
        return ParetoLaw(self.shape - 1, self.scale_s).length_s(u)
