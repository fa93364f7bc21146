"""Entropic optimal transport between two sets of weighted points, by Sinkhorn's iterations in the log domain."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Transported", "transport"]

_SCALED = 9
"""The number of rounds on scaled kernels between two rounds in the log domain."""


class Transported(NamedTuple):
    """A plan of transport, and the potentials of both sides."""

    plan: Tensor
    """The mass moved from each point to each other, (N, K); its columns have the masses of the second side."""
    f: Tensor
    """The potential of the first side, (N,)."""
    g: Tensor
    """The potential of the second side, (K,): the derivative of the cost by its masses, up to a constant."""


@torch.no_grad()
def transport(cost: Tensor, a: Tensor, b: Tensor, *, smoothing: float, rounds: int = 30) -> Transported:
    r"""The entropic optimal transport between masses a and b.

    .. math:: \min_{P \ge 0,\, P 1 = a,\, P^\top 1 = b} \sum_{ik} P_{ik} C_{ik}
              + \epsilon \sum_{ik} P_{ik} \log \frac{P_{ik}}{a_i b_k},\qquad
              P_{ik} = a_i b_k\, e^{(f_i + g_k - C_{ik}) / \epsilon}

    Every tenth round sets the potentials by logsumexp, so that nothing over- or underflows; the rounds between
    are products with the plan, which is then near its end.

    Args:
        cost: C, (N, K).
        a: masses (N,), positive, of sum 1.
        b: masses (K,), positive, of sum 1.
        smoothing: epsilon, in units of the cost; the transport without entropy is the limit of 0.
        rounds: the number of rounds; the column sums are exact after each.

    Example:
        >>> even = torch.tensor([0.5, 0.5])
        >>> transport(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), even, even, smoothing=0.05).plan
        tensor([[5.0000e-01, 1.0306e-09],
                [1.0306e-09, 5.0000e-01]])

    Reference:
        Cuturi, Sinkhorn Distances, 2013. arXiv:1306.0895. Schmitzer, Stabilized Sparse Scaling Algorithms for
        Entropy Regularized Transport Problems, 2016. arXiv:1610.06519
    """
    scaled, first, second = cost / smoothing, a.log(), b.log()
    f, g = torch.zeros_like(a), torch.zeros_like(b)
    done = 0
    while done < rounds:
        f = -(second + g - scaled).logsumexp(1)
        g = -(first[:, None] + f[:, None] - scaled).logsumexp(0)
        done += 1
        more = min(_SCALED, rounds - done)
        if more:
            plan = (first[:, None] + f[:, None] + second + g - scaled).exp()
            u, v = torch.ones_like(f), torch.ones_like(g)
            tiny = torch.finfo(cost.dtype).tiny
            for _ in range(more):
                u = a / (plan @ v).clamp_min(tiny)
                v = b / (plan.T @ u).clamp_min(tiny)
            f, g = f + u.log(), g + v.log()
            done += more
    plan = (first[:, None] + f[:, None] + second + g - scaled).exp()
    return Transported(plan, f * smoothing, g * smoothing)
