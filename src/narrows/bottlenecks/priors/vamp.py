"""VampPrior: the prior is the mean of the posteriors of learned pseudo-inputs."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from narrows.bottlenecks.gaussian.diagonal import normal
from narrows.bottlenecks.priors.mixture import Mixture
from narrows.core import Autoencoder, Batch, Part
from narrows.core.check import choice, whole
from narrows.core.reference import ModuleReference

__all__ = ["Vamp"]

_MARGIN = 0.05
"""Distance of initial pseudo-inputs from the ends of the data's range, where they would have no gradient."""


def _logit(x: Tensor) -> Tensor:
    return x.clamp(_MARGIN, 1 - _MARGIN).logit()


def _of_counts(x: Tensor) -> Tensor:
    """The parameters whose softplus is log(1 + x)."""
    logarithm = x.log1p().clamp_min(_MARGIN)
    return logarithm + torch.log(-torch.expm1(-logarithm))


_RANGES: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "real": (lambda raw: raw, lambda x: x),
    "unit": (torch.sigmoid, _logit),
    "binary": (torch.sigmoid, _logit),
    "counts": (lambda raw: F.softplus(raw).expm1(), _of_counts),
}
"""Range of the data -> pseudo-inputs of parameters, and the inverse."""


class Vamp(Part):
    r"""The mixture of the posteriors of K pseudo-inputs, which are learned with the model.

    .. math:: p(z) = \frac1K \sum_{k=1}^K q(z \mid u_k)

    The encoder is the model's own, so that the prior moves with the posteriors. Pseudo-inputs start at training
    examples. For data between 0 and 1 they are a sigmoid of the parameters, and for counts log(1 + u) is a softplus of
    them, so that they remain in that range.

    Args:
        encoder: maps examples to means and log-variances, (K, 2Z); it belongs to the model.
        shape: shape of one example.
        pseudo: the number of pseudo-inputs, K.
        values: the range of the data: ``real``, ``counts``, or ``unit`` and ``binary`` for numbers from 0 to 1.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> Vamp(nn.Linear(3, 4), (3,), pseudo=5)().component_distribution.batch_shape
        torch.Size([5])

    Reference:
        Tomczak and Welling, VAE with a VampPrior, 2018, section 2.2. arXiv:1705.07120
    """

    def __init__(
        self, encoder: nn.Module, shape: tuple[int, ...], pseudo: int = 500, values: str = "real"
    ) -> None:
        super().__init__()
        self.encoder = ModuleReference(encoder)
        self.values = choice("values", values, tuple(_RANGES))
        self.raw = nn.Parameter(0.1 * torch.randn(whole("pseudo", pseudo), *shape))

    @property
    def inputs(self) -> Tensor:
        """The pseudo-inputs, (K, *shape of an example)."""
        return _RANGES[self.values][0](self.raw)

    @torch.no_grad()
    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Begin at examples of a batch; if it has fewer than K, the others stay where they are."""
        x = batch.x[: len(self.raw)]
        self.raw[: len(x)] = _RANGES[self.values][1](x)

    def forward(self) -> Mixture:
        """The mixture over one code."""
        each = normal(self.encoder.module(self.inputs))
        return Mixture(each.mean.new_zeros(len(self.raw)), each)
