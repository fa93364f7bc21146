"""One decoder for several weights of the KL divergence, and training on decoded examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from narrows.bottlenecks.gaussian.multiscale import MultiscaleGaussian
from narrows.core import Autoencoder, Batch, Loss, Objective, Pass
from narrows.core.check import RequestError, number, refuse

__all__ = ["Multiscale"]


class Multiscale(Objective):
    r"""The mean of beta-VAE losses with several beta, each with a variance of its own around the same mean.

    .. math:: \frac1S \sum_s \Big( E_{q_s(z|x)}[-\log p(x|z)]
              + \beta_s\, \mathrm{KL}(q_s(z|x)\,\|\,p(z)) \Big)

    With one posterior for all scales it would be a single VAE with the mean of the betas. In training, a share of a
    batch may be replaced, as input and as target, by what the model decodes from the mean codes of these examples,
    without gradients.

    Args:
        betas: beta of each scale.
        augment: the share that is replaced.

    Raises:
        RequestError: no beta, a negative one, or a share outside 0 to 1.

    Reference:
        Chou, Generated Loss, Augmented Training, and Multiscale VAE, 2019, sections 4 and 5. arXiv:1904.10446
    """

    betas: Tensor

    def __init__(self, betas: Sequence[float], augment: float = 0.0) -> None:
        super().__init__()
        if not betas:
            raise refuse("betas", tuple(betas), "at least one number", "Try (0.1, 0.3, 1, 3).")
        weights = [number("betas", beta, low=0) for beta in betas]
        self.register_buffer("betas", torch.tensor(weights), persistent=False)
        self.augment = number("augment", augment, low=0, high=1)

    def forward(self, model: Autoencoder, batch: Batch, step: int = 0) -> Loss:
        """The loss of a batch."""
        batch = batch.visible()
        if self.training and self.augment:
            batch = self.augmented(model, batch)
        features = model.encoder(batch.x, batch.condition)
        if not isinstance(model.bottleneck, MultiscaleGaussian):
            raise RequestError("This objective needs a bottleneck with several scales.")
        code = model.bottleneck.every(features)
        return self.of(model, Pass(batch, code, model.decode(code.z, batch.condition), features), step)

    @torch.no_grad()
    def augmented(self, model: Autoencoder, batch: Batch) -> Batch:
        """The batch, its first examples replaced by what the model decodes from their mean codes.

        Raises:
            RequestError: the data have targets of their own.
        """
        if batch.target is not batch.x:
            raise RequestError(
                "``augment`` replaces examples by decoded ones, which have no target of their own."
            )
        count = round(self.augment * len(batch.x))
        features = model.encoder(batch.x, batch.condition)
        mean = model.bottleneck.features(model.bottleneck(features))
        made = model.likelihood.mean(model.decode(mean, batch.condition))
        changed = torch.arange(len(batch.x), device=batch.x.device) < count
        x = torch.where(changed.view(-1, *[1] * (batch.x.ndim - 1)), made, batch.x)
        return replace(batch, x=x, target=None).visible()

    def weigh(self, terms: Mapping[str, Tensor], step: int) -> Tensor:
        """The sum of the terms, (S, B), the KL divergence of each scale weighted by its beta."""
        weighted = {**terms, "kl": self.betas.to(terms["kl"]).unsqueeze(-1) * terms["kl"]}
        return super().weigh(weighted, step)
