"""FLTrust."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from decai_sim.defenses.base import Aggregation, Context, Rule
from decai_sim.defenses.distances import distances_to, products_with

if TYPE_CHECKING:
    import torch


class FLTrust(Rule, kind="fltrust"):
    """Trusts an update as far as it points where the server's own does: ``Σ t_i·x_i|x_0|/|x_i| / Σ t_i``, ``t_i = max(0, cos)``.

    Source: Cao, Fang, Liu and Gong, "FLTrust: Byzantine-robust Federated Learning via Trust Bootstrapping", NDSS 2021,
        Algorithm 2 and Equations 2 to 4.
    Assumes: a server with some clean data like the nodes', trained on as nodes train (``context.server``). Any number of
        attackers; ``f`` is not used.
    Deviations: none. Where nobody is trusted the result is zeros: the model stays.
    Breaks down: not by number: the result is never longer than ``|x_0|``, and a row that points away from ``x_0`` has no part in
        it. With clean data unlike the nodes', the honest are not trusted either.
    Costs: ``O(nd)``, and a training on the server's own samples for each aggregation; no distances.

    ``explain(...).scores`` are 1 less the cosine. Weights are what each row is multiplied by, and need not sum to 1.

    Example:
        >>> import torch
        >>> rows = torch.tensor([[2.0, 0], [0, 5], [-9, 0]])
        >>> FLTrust()(rows, Context(server=torch.tensor([1.0, 0]))).tolist()
        [1.0, 0.0]
    """

    needs: ClassVar[frozenset[str]] = frozenset({"server"})

    def aggregate(self, rows: torch.Tensor, context: Context | None) -> Aggregation:
        import torch

        server = self.given(context).server
        assert server is not None
        server = server.to(rows.device)
        length = server.double().norm()
        norms = distances_to(rows)
        inverse = norms.reciprocal().where(norms > 0, 0.0)
        # The product is taken with a direction, so that long rows do not overflow it.
        alike = products_with(rows, server.double() / length.clamp(min=torch.finfo(torch.float64).tiny)) * inverse
        trust = alike.clamp(0, 1)
        total = trust.sum()
        shares = (trust * length * inverse / total if bool(total > 0) else torch.zeros_like(trust)).to(rows.dtype)
        return Aggregation(shares @ rows, shares, shares != 0, 1 - alike)

    def work(self, n: int, d: int, f: int) -> float:
        return 6.0 * n * d
