"""Couplings of codes and noise in a batch: by optimal transport, or by weights."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.core.check import optional

__all__ = ["COUPLINGS", "gibbs_weights", "transported"]

COUPLINGS = ("independent", "ot", "gibbs")
"""How codes and noise of a batch belong together."""


def transported(z: Tensor, noise: Tensor, labels: Tensor | None = None) -> Tensor:
    r"""Noise in the order in which the sum of squared distances from the codes is smallest.

    .. math:: \min_\pi \sum_i \|z_i - \epsilon_{\pi(i)}\|^2

    Noise is exchanged within a class only. Over classes the noise of a row would say something of its label, whereas
    sampling draws both independently: samples of a class would be biased.

    Args:
        z: codes, (n, ...).
        noise: as many draws of N(0, I), (n, ...).
        labels: one-hot labels of the codes, (n, G), or None. Rows of zeros, which have none, are a group of their own.

    Raises:
        WorkError: scipy is not installed.

    Example:
        >>> transported(torch.tensor([[0.0], [3.0]]), torch.tensor([[2.0], [1.0]])).tolist()
        [[1.0], [2.0]]

    Reference:
        Tong et al., Improving and Generalizing Flow-Based Generative Models with Minibatch Optimal Transport, 2023.
        arXiv:2302.00482
    """
    optimize = optional("scipy.optimize", "report", "couple codes and noise by optimal transport")
    found = noise.clone()
    groups = torch.zeros(len(z), dtype=torch.long, device=z.device)
    if labels is not None:
        groups = torch.where(labels.sum(1) > 0, labels.argmax(1), -1)
    for group in groups.unique():
        rows = (groups == group).nonzero()[:, 0]
        own = noise[rows]
        # the squares of both sides are the same for all orders: what differs are the products
        _, order = optimize.linear_sum_assignment((-(z[rows].flatten(1) @ own.flatten(1).T)).cpu().numpy())
        found[rows] = own[torch.as_tensor(order, device=z.device)]
    return found


def gibbs_weights(z: Tensor, noise: Tensor, eps: float) -> Tensor:
    r"""Weights of pairs of codes and noise, (n,), with mean 1: large where they are near.

    .. math:: w_i \propto \exp\left(-\frac{\|z_i - \epsilon_i\|}{\varepsilon}\right)

    Independent pairs with these weights are distributed as the coupling of entropic optimal transport with the distance
    as cost, but for its marginals: codes and noise far from all others count less.

    Args:
        z: standardised codes, (n, ...).
        noise: a draw of N(0, I) for each, (n, ...).
        eps: epsilon, in units of the standardised codes. The smaller, the nearer to optimal transport, and the more do
            the marginals change.

    Example:
        >>> gibbs_weights(torch.zeros(2, 1), torch.tensor([[0.0], [1.0]]), 1.0)
        tensor([1.4621, 0.5379])

    Reference:
        Calvo-Ordonez et al., Weighted Conditional Flow Matching, 2025. arXiv:2507.22270
    """
    return (-(z - noise).flatten(1).norm(dim=1) / eps).softmax(0) * len(z)
