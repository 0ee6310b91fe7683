"""Churn that has gone on forever: online and offline periods of any law, in turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decai_sim.world.churn.base import Churn

if TYPE_CHECKING:
    import numpy as np

    from decai_sim.seeding import Streams
    from decai_sim.world.churn.laws import Law


class Renewal(Churn, abstract=True):
    """Base of alternating renewal processes that are in equilibrium at time 0 (Cox, "Renewal Theory", 1962, chs. 5 and 7).

    A subclass says what the laws are. A node is online at time 0 with probability mean_online / (mean_online + mean_offline), and
    its period under way then lasts as long as the equilibrium distribution of its law says; later ones follow the law itself.
    """

    def laws(self) -> tuple[Law, Law]:
        """The law of online periods and the law of offline periods."""
        raise NotImplementedError

    def start(self, n: int, streams: Streams) -> np.ndarray:
        online, offline = self.laws()
        return streams.of("churn", "start").random(n) < online.mean_s / (online.mean_s + offline.mean_s)

    def periods(self, k: int, online: np.ndarray, began_s: np.ndarray, streams: Streams) -> np.ndarray:
        import numpy as np

        # One draw a node whatever its state; never exactly 0, which would be a period of no length.
        u = np.maximum(streams.of("churn", "period", k).random(len(online)), 2.0**-54)
        here, away = (law.length_s if k else law.rest_s for law in self.laws())
        lengths = np.empty(len(u))
        lengths[online], lengths[~online] = here(u[online]), away(u[~online])
        return np.maximum(lengths, np.finfo(float).tiny)
