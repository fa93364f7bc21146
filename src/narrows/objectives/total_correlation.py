"""The decomposition of the KL divergence: mutual information, total correlation, dimension-wise KL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributions import Distribution

from narrows.bottlenecks.gaussian.diagonal import Diagonal, diagonal, log_densities
from narrows.core import Autoencoder, Objective, Pass
from narrows.core.check import RequestError, choice, whole
from narrows.core.schedules import Schedule

__all__ = ["TotalCorrelation", "decompose", "log_weights"]

SAMPLINGS = ("stratified", "weighted")
_NUMBERS = 1 << 21
"""The number of densities that are in memory at a time."""


def log_weights(batch: int, size: int | Tensor, sampling: str = "stratified") -> Tensor:
    r"""The log-weights of a batch's posteriors in the aggregate posterior of the whole data.

    .. math:: q(z_i) \approx \sum_j w_{ij}\, q(z_i | x_j)

    ``stratified``: w is 1/N for the example that z was drawn from and (N-1)/(N (B-1)) for each other one:
    unbiased. This is the paper's stratified estimator averaged over the order of the batch. ``weighted``: all
    w are 1/(N B), too small by about the factor N, which changes the values by a constant but not the
    gradients.

    Args:
        batch: size of the batch, B.
        size: size of the data set, N, at least B.
        sampling: ``stratified`` or ``weighted``.

    Returns:
        (B, B).

    Example:
        >>> log_weights(3, 10).exp()
        tensor([[0.1000, 0.4500, 0.4500],
                [0.4500, 0.1000, 0.4500],
                [0.4500, 0.4500, 0.1000]])
    """
    n = torch.as_tensor(size, dtype=torch.float32)
    if sampling == "weighted":
        return -(n * batch).log().expand(batch, batch)
    if batch == 1:
        return n.new_zeros(1, 1)
    others = (n - 1) / (n * (batch - 1))
    return torch.where(torch.eye(batch, dtype=torch.bool, device=n.device), 1 / n, others).log()


def decompose(
    z: Tensor, q: Diagonal, p: Distribution, size: int | Tensor = 0, sampling: str = "stratified"
) -> dict[str, Tensor]:
    r"""Three terms with the sum log q(z|x) - log p(z), whose mean is the mean KL divergence from the prior.

    .. math:: \underbrace{\log\frac{q(z|x)}{q(z)}}_{\text{mi}} +
              \underbrace{\log\frac{q(z)}{\prod_j q(z_j)}}_{\text{tc}} +
              \underbrace{\sum_j\log\frac{q(z_j)}{p(z_j)}}_{\text{dimwise}}

    The densities of all pairs of codes and posteriors are computed for some codes at a time, and again in the
    backward pass, so that memory grows with B^2, not with B^2 Z.

    Args:
        z: a draw from each posterior, (*samples, B, Z).
        q: the posteriors of the batch, (B, Z).
        p: the prior over one code.
        size: size of the data set, N; at least that of the batch.
        sampling: the estimator of the aggregate posterior, see `log_weights`.

    Returns:
        ``mi``, ``tc`` and ``dimwise``, nats, each (*samples, B).
    """
    batch = z.shape[-2]
    weights = log_weights(batch, torch.as_tensor(size).clamp(min=batch), sampling).to(z)
    joint, marginals = _aggregate(z, q, weights)
    own = q.log_prob(z)
    return {"mi": own - joint, "tc": joint - marginals, "dimwise": marginals - p.log_prob(z)}


def _aggregate(z: Tensor, q: Diagonal, weights: Tensor) -> tuple[Tensor, Tensor]:
    """log q(z) and log prod_j q(z_j) of codes (*samples, B, Z) under the mixture of posteriors, (*samples, B) each."""
    if z.numel() * len(weights) <= _NUMBERS:
        pairs = log_densities(z, q.base_dist.loc, q.base_dist.scale)
        whole = (pairs.sum(-1) + weights).logsumexp(-1)
        return whole, (pairs + weights.unsqueeze(-1)).logsumexp(-2).sum(-1)
    rows = z.flatten(0, -2)
    found = _Mixed.apply(rows, q.base_dist.loc, q.base_dist.scale, weights)
    joint, marginals = cast(tuple[Tensor, Tensor], found)
    return joint.view(z.shape[:-1]), marginals.sum(-1).view(z.shape[:-1])


class _Mixed(torch.autograd.Function):
    """The log-densities of codes (R, Z) under a mixture of Gaussians (B, Z), of codes (R,) and latents (R, Z).

    Row r of the codes has the weights of row r modulo B. All pairs are computed for some rows at a time, and again in
    the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, loc: Tensor, scale: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        joint, marginals = z.new_empty(len(z)), torch.empty_like(z)
        for rows, w in _pieces(z, weights):
            pairs = log_densities(z[rows], loc, scale)
            joint[rows] = (pairs.sum(-1) + w).logsumexp(-1)
            marginals[rows] = pairs.add_(w.unsqueeze(-1)).logsumexp(-2)
        ctx.save_for_backward(z, loc, scale, weights, joint, marginals)
        return joint, marginals

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_joint: Tensor, to_marginals: Tensor) -> tuple[Tensor | None, ...]:
        z, loc, scale, weights, joint, marginals = ctx.saved_tensors
        to_z, to_loc, to_scale = torch.empty_like(z), torch.zeros_like(loc), torch.zeros_like(scale)
        for rows, w in _pieces(z, weights):
            pairs = log_densities(z[rows], loc, scale)
            # The gradient of log sum exp is the softmax.
            share = (pairs.sum(-1) + w - joint[rows, None]).exp_() * to_joint[rows, None]
            each = (
                pairs.add_(w.unsqueeze(-1)).sub_(marginals[rows, None]).exp_().mul_(to_marginals[rows, None])
            )
            each.add_(share.unsqueeze(-1))
            away = (z[rows, None] - loc) / scale
            pulled = each * away
            to_z[rows] = -(pulled / scale).sum(1)
            to_loc += pulled.sum(0) / scale
            to_scale += (pulled.mul_(away).sub_(each)).sum(0) / scale
        return to_z, to_loc, to_scale, None


def _pieces(z: Tensor, weights: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Rows of the codes with their weights, so many that their pairs fit into a part of the memory."""
    batch = len(weights)
    size = max(1, _NUMBERS // (batch * z.shape[-1]))
    for first in range(0, len(z), batch):
        for start in range(0, batch, size):
            stop = min(start + size, batch)
            yield slice(first + start, first + stop), weights[start:stop]


class TotalCorrelation(Objective):
    r"""The evidence lower bound with a weight for each of the three terms of its KL divergence.

    .. math:: -E[\log p(x|z)] + \alpha\,\mathrm{mi} + \beta\,\mathrm{tc} + \gamma\,\mathrm{dimwise}

    Args:
        beta: weight of the total correlation.
        alpha: weight of the mutual information between the example's index and its code.
        gamma: weight of the dimension-wise KL divergence from the prior.
        sampling: ``stratified`` or ``weighted`` minibatch sampling, see `log_weights`.
        dataset_size: size of the data set, N. With 0 the trainer sets it, by `set_rows`; without a trainer,
            the batch's size is used.

    Raises:
        RequestError: an unknown `sampling`, or a negative `dataset_size`.

    Reference:
        Chen, Li, Grosse, Duvenaud, Isolating Sources of Disentanglement in Variational Autoencoders, 2018,
        section 3 and appendix C. arXiv:1802.04942
    """

    size: Tensor

    def __init__(
        self,
        *,
        beta: Schedule = 6.0,
        alpha: Schedule = 1.0,
        gamma: Schedule = 1.0,
        sampling: str = "stratified",
        dataset_size: int = 0,
    ) -> None:
        # One sample, in eval() too: the terms are expectations over draws, not values at the mean.
        super().__init__(samples=(1,), weights={"kl": 0.0, "mi": alpha, "tc": beta, "dimwise": gamma})
        self.sampling = choice("sampling", sampling, SAMPLINGS)
        size = torch.tensor(whole("dataset_size", dataset_size, low=0))
        self.register_buffer("size", size)  # saved with the weights

    def set_rows(self, rows: int) -> None:
        """Set N if the argument `dataset_size` was 0."""
        if not int(self.size):
            self.size.fill_(rows)

    def extra(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor]:
        """The three terms, each (1, B)."""
        if not diagonal(passed.code.q) or passed.code.p is None:
            raise RequestError("The total correlation needs a diagonal Gaussian posterior and a prior.")
        return decompose(passed.code.z, passed.code.q, passed.code.p, self.size, self.sampling)
