"""Gaussian latents of which the k largest pass: the variational sparse autoencoder's narrow part."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from narrows.bottlenecks.sparse.latents import SparseBottleneck
from narrows.core import Sparse
from narrows.core.check import choice, refuse, whole
from narrows.kernels.batch import largest
from narrows.kernels.sparse import LazyLinear, top

__all__ = ["VariationalTopK"]

_LOW, _HIGH, _START = -6.0, 2.0, -2.0
"""Between which the learned log variance is clamped, and where it starts."""


class VariationalTopK(SparseBottleneck):
    r"""Latents are drawn from a Gaussian around the pre-activations, and the k largest by size pass.

    .. math:: \mu = \mathrm{ReLU}(W (x - b_d) + b_e), \qquad z = \mu + \sigma \epsilon, \qquad
        \mathrm{TopK}(|z|), \qquad KL = \tfrac12 \sum_j (\mu_j^2 + \sigma_j^2 - 1 - \log \sigma_j^2)

    With fixed variance sigma is 1 and the KL is :math:`\tfrac12 \|\mu\|^2`. Draws are made in training; in ``eval()``
    the code is that of the means. Without draws, and where the KL has no weight, this is TopK.

    Args:
        latents: how many, N.
        k: how many of them pass.
        width: how many numbers are encoded, for the head of a learned variance.
        sample: draw in training; else the means pass, as in the published code's published setting.
        variance: ``fixed`` at 1, or ``learned``: a second linear map to log sigma^2, clamped to [-6, 2], from -2.
        kl: the cost sums over ``all`` latents, or over those ``selected`` by TopK.
        rectify: no mean is negative.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> code = VariationalTopK(3, 1, sample=False)(torch.tensor([[3.0, -1.0, 2.0]]))
        >>> code.z.dense(), code.costs["kl"]
        (tensor([[3., 0., 0.]]), tensor([6.5000]))

    Reference:
        Baker, Li, Analysis of Variational Sparse Autoencoders, 2025. arXiv:2509.22994
    """

    unit: Tensor

    def __init__(
        self,
        latents: int,
        k: int,
        *,
        width: int = 0,
        sample: bool = True,
        variance: str = "fixed",
        kl: str = "all",
        rectify: bool = True,
    ) -> None:
        super().__init__(latents)
        self.k = whole("k", k, low=1, high=latents, fix="k cannot exceed ``latents``.")
        self.draws, self.rectify = sample, rectify
        self.learned = choice("variance", variance, ("fixed", "learned")) == "learned"
        self.selected = choice("kl", kl, ("all", "selected")) == "selected"
        # A latent's size may be in other units than its prior's, once scales are folded into the weights.
        self.register_buffer("unit", torch.ones(()))
        if self.learned:
            self.weight = nn.Parameter(torch.zeros(latents, whole("width", width)))
            self.bias = nn.Parameter(torch.full((latents,), _START))

    def activate(self, pre: Tensor | LazyLinear) -> tuple[Sparse, dict[str, Tensor]]:
        """The k largest of a draw by size, or of the means, and the KL."""
        drawn = self.draws and self.training
        code = None if drawn else self._top_means(pre)
        if code is not None and self.selected and not self.learned:
            return code, {"kl": 0.5 * (code.values / self.unit).square().sum(1)}
        means = pre.dense() if isinstance(pre, LazyLinear) else pre
        means = means.relu() if self.rectify else means
        kl, deviation = (means / self.unit).square(), self.unit
        if self.learned:
            logs = self.log_variance(pre)
            kl, deviation = kl + logs.exp() - 1 - logs, self.unit * (0.5 * logs).exp()
        if code is None:
            code = largest(means + deviation * torch.randn_like(means), self.k)
        return code, {"kl": 0.5 * (kl.gather(1, code.indices) if self.selected else kl).sum(1)}

    def _top_means(self, pre: Tensor | LazyLinear) -> Sparse:
        """Without a draw only the winners get a gradient, as in `TopK`: of a promise nothing else is kept."""
        if not self.rectify:
            return largest(pre, self.k)
        code = top(pre, self.k)
        return replace(code, values=code.values.relu())

    def log_variance(self, pre: Tensor | LazyLinear) -> Tensor:
        """The clamped log variance of each latent, (B, N).

        Raises:
            RequestError: the pre-activations are a tensor: what was encoded is not known.
        """
        if not isinstance(pre, LazyLinear):
            raise refuse("pre", type(pre).__name__, "a promise", "A learned variance reads what is encoded.")
        x = pre.x if pre.shift is None else pre.x - pre.shift
        return torch.nn.functional.linear(x, self.weight, self.bias).clamp(_LOW, _HIGH)

    def rescale(self, factor: Tensor) -> None:
        """Follow the latents into other units: the prior keeps its width, in the old ones."""
        self.unit.mul_(factor)
        if self.learned:
            self.weight.div_(factor)
