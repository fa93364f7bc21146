"""Gaussian latents with TopK: the bottleneck of the variational sparse autoencoder."""

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
"""The range that the learned log-variance is clamped to, and its initial value."""


class VariationalTopK(SparseBottleneck):
    r"""Latents are drawn around the pre-activations, and the k of largest magnitude are active.

    .. math:: \mu = \mathrm{ReLU}(W (x - b_d) + b_e), \qquad z = \mu + \sigma \epsilon, \qquad
        \mathrm{TopK}(|z|), \qquad KL = \tfrac12 \sum_j (\mu_j^2 + \sigma_j^2 - 1 - \log \sigma_j^2)

    With fixed variance sigma is 1 and the KL is :math:`\tfrac12 \|\mu\|^2`. Draws are made in training; in
    ``eval()`` the code is that of the means. Without draws and with weight 0 of the KL, this is TopK.

    Args:
        latents: number of latents, N.
        k: number of active latents of an example.
        width: width of the input, for the head of a learned variance.
        sample: draw in training; else use the means, as in the released code's default setting.
        variance: ``fixed`` at 1, or ``learned``: a second linear map to log sigma^2, clamped to [-6, 2], from
            -2.
        kl: sum the cost over ``all`` latents, or over those ``selected`` by TopK.
        rectify: apply a ReLU to the means.

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
        # After scales are folded into the weights, latents and prior may be in different units.
        self.register_buffer("unit", torch.ones(()))
        if self.learned:
            self.weight = nn.Parameter(torch.zeros(latents, whole("width", width)))
            self.bias = nn.Parameter(torch.full((latents,), _START))

    def activate(self, pre: Tensor | LazyLinear) -> tuple[Sparse, dict[str, Tensor]]:
        """The k largest of a draw by magnitude, or of the means, and the KL."""
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
        """The k largest means, with gradients to those only, as in `TopK`; lazy pre-activations stay lazy."""
        if not self.rectify:
            return largest(pre, self.k)
        code = top(pre, self.k)
        return replace(code, values=code.values.relu())

    def log_variance(self, pre: Tensor | LazyLinear) -> Tensor:
        """The clamped log-variance of each latent, (B, N).

        Raises:
            RequestError: the pre-activations are a tensor, without the encoder's input.
        """
        if not isinstance(pre, LazyLinear):
            raise refuse(
                "pre", type(pre).__name__, "a LazyLinear", "A learned variance reads the encoder's input."
            )
        x = pre.x if pre.shift is None else pre.x - pre.shift
        return torch.nn.functional.linear(x, self.weight, self.bias).clamp(_LOW, _HIGH)

    def rescale(self, factor: Tensor) -> None:
        """Adapt to rescaled latents: the prior keeps its width in the old units."""
        self.unit.mul_(factor)
        if self.learned:
            self.weight.div_(factor)
