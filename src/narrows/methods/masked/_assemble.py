"""Common parts of masked autoencoders: the error on patches, and the model."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from narrows.bottlenecks.masked.mask_tokens import MaskTokens
from narrows.core import Autoencoder, Batch, Likelihood
from narrows.core.evidence import Hidden
from narrows.nets.masked_vit import MaskedEncoder
from narrows.nets.vit import Patches

__all__ = ["MaskedAutoencoder", "PatchSquared"]


class PatchSquared(Likelihood):
    r"""Squared error on patches, optionally with targets normalised per patch.

    .. math:: \sum_{l, d} w_{ld} (y_{ld} - t_{ld})^2,\qquad
              t_l = \frac{x_l - \mathrm{mean}(x_l)}{\sqrt{\mathrm{var}(x_l) + 10^{-6}}}

    with the unbiased variance of the D numbers of a patch; without normalisation t = x. The paper divides
    this sum by the number of masked numbers, a constant factor; here it is a sum as in all other likelihoods,
    so that learning rates, weights and gradient clipping have the same meaning.

    Args:
        patchify: divides examples into patches.
        normalise: whether the targets are normalised.
        unit: whether values lie between 0 and 1, to which means are clamped.
    """

    inside: Tensor
    typical: Tensor

    def __init__(self, patchify: Patches, normalise: bool = False, unit: bool = False) -> None:
        super().__init__(patchify.shape)
        self.patchify, self.normalise, self.bounded = patchify, normalise, unit
        self.register_buffer("inside", patchify.inside().float(), persistent=False)
        self.register_buffer("typical", torch.tensor([[0.0], [1.0]]).expand(2, patchify.count).clone())

    def statistics(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each patch, without padding, each (..., L, 1)."""
        count = self.inside.sum(-1, keepdim=True)
        mean = (patches * self.inside).sum(-1, keepdim=True) / count
        squares = ((patches - mean).square() * self.inside).sum(-1, keepdim=True)
        return mean, (squares / (count - 1).clamp(min=1) + 1e-6).sqrt()

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Measure the mean statistics of each position, for reconstructions without the example."""
        if self.normalise:
            means = [part.squeeze(-1).mean(0) for part in self.statistics(self.patchify(batch.target))]
            self.typical.copy_(torch.stack(means))

    def nll(self, parameters: Tensor, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """The sum of squared differences, (*samples, B)."""
        if self.normalise:
            patches = self.patchify(x)
            mean, deviation = self.statistics(patches)
            x = self.patchify.join((patches - mean) / deviation)
        return self.sum((parameters - x).square(), weight)

    def mean(self, parameters: Tensor) -> Tensor:
        """The image; normalised patches get the mean statistics of their position."""
        if not self.normalise:
            return self._clamped(parameters)
        mean, deviation = self.typical[..., None]
        return self._clamped(self.patchify.join(self.patchify(parameters) * deviation + mean))

    def sample(self, parameters: Tensor) -> Tensor:
        """The mean, since the paper has no noise model."""
        return self.mean(parameters)

    def paste(self, parameters: Tensor, x: Tensor, hidden: Tensor) -> Tensor:
        """The example with its masked patches (B, L) replaced by the prediction, in the example's units."""
        target, prediction = self.patchify(x), self.patchify(parameters)
        if self.normalise:
            mean, deviation = self.statistics(target)
            prediction = prediction * deviation + mean
        return self._clamped(self.patchify.join(torch.where(hidden[..., None], prediction, target)))

    def _clamped(self, x: Tensor) -> Tensor:
        return x.clamp(0, 1) if self.bounded else x


class MaskedAutoencoder(Autoencoder):
    """An autoencoder with features of the whole example, whose reconstruction keeps visible patches."""

    def reconstruct(self, batch: Batch) -> Tensor:
        """The example with its masked patches predicted by the decoder.

        If the targets are normalised, a prediction gets the true patch's mean and standard deviation (as in
        the paper's figures), so its error is too optimistic.
        """
        passed = self(batch)
        likelihood = cast(PatchSquared, self.likelihood)
        return likelihood.paste(passed.output, batch.target, passed.code[Hidden].mask)

    def features(self, batch: Batch) -> Tensor:
        """The class token, or the mean of the tokens, of the encoder without masking: (B, W)."""
        tokens = cast(MaskedEncoder, self.encoder).everything(batch.x)
        return tokens[:, 0] if cast(MaskTokens, self.bottleneck).lead else tokens.mean(1)
