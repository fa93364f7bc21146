"""VampPrior: the prior is the mean of the posteriors of learned pseudo-inputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from narrows.bottlenecks.gaussian.diagonal import normal
from narrows.bottlenecks.priors.mixture import Mixture
from narrows.core import Autoencoder, Batch, Part
from narrows.core.check import choice, whole
from narrows.core.reference import ModuleReference

__all__ = ["Vamp"]

_MARGIN = 0.05
"""Distance of initial pseudo-inputs from the ends of the data's range, where a sigmoid has no gradient."""


class Vamp(Part):
    r"""The mixture of the posteriors of K pseudo-inputs, which are learned with the model.

    .. math:: p(z) = \frac1K \sum_{k=1}^K q(z \mid u_k)

    The encoder is the model's own, so that the prior moves with the posteriors. Pseudo-inputs start at training
    examples. For data between 0 and 1 they are a sigmoid of the parameters, and remain in that range.

    Args:
        encoder: maps examples to means and log-variances, (K, 2Z); it belongs to the model.
        shape: shape of one example.
        pseudo: the number of pseudo-inputs, K.
        values: the range of the data: ``real``, or ``unit`` and ``binary`` for numbers from 0 to 1.

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
        self.bounded = choice("values", values, ("real", "unit", "binary")) != "real"
        self.raw = nn.Parameter(0.1 * torch.randn(whole("pseudo", pseudo), *shape))

    @property
    def inputs(self) -> Tensor:
        """The pseudo-inputs, (K, *shape of an example)."""
        return self.raw.sigmoid() if self.bounded else self.raw

    @torch.no_grad()
    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Begin at examples of a batch; if it has fewer than K, the others stay where they are."""
        x = batch.x[: len(self.raw)]
        if self.bounded:
            x = x.clamp(_MARGIN, 1 - _MARGIN).logit()
        self.raw[: len(x)] = x

    def forward(self) -> Mixture:
        """The mixture over one code."""
        each = normal(self.encoder.module(self.inputs))
        return Mixture(each.mean.new_zeros(len(self.raw)), each)
