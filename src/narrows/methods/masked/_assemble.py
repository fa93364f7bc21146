"""What autoencoders share that see some patches and must produce the rest: the error on patches, and the whole."""

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
    r"""Squared error on patches, each normalised by its own mean and variance if asked for.

    .. math:: \sum_{l, d} w_{ld} (y_{ld} - t_{ld})^2,\qquad
              t_l = \frac{x_l - \mathrm{mean}(x_l)}{\sqrt{\mathrm{var}(x_l) + 10^{-6}}}

    with the unbiased variance of the D numbers of a patch, and t = x where nothing is normalised. The paper divides
    this sum by the count of hidden numbers, which no optimizer with steps of its own size notices; the sum is what
    every other likelihood has, so that a learning rate, a weight or a clipped gradient means the same here.

    Args:
        cut: how examples are cut into patches.
        normalise: whether the targets are normalised.
        unit: whether values lie between 0 and 1, where means are kept.
    """

    inside: Tensor
    typical: Tensor

    def __init__(self, patchify: Patches, normalise: bool = False, unit: bool = False) -> None:
        super().__init__(patchify.shape)
        self.patchify, self.normalise, self.bounded = patchify, normalise, unit
        self.register_buffer("inside", patchify.inside().float(), persistent=False)
        self.register_buffer("typical", torch.tensor([[0.0], [1.0]]).expand(2, patchify.count).clone())

    def statistics(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation of each patch over what lies inside the example, each (..., L, 1)."""
        count = self.inside.sum(-1, keepdim=True)
        mean = (patches * self.inside).sum(-1, keepdim=True) / count
        squares = ((patches - mean).square() * self.inside).sum(-1, keepdim=True)
        return mean, (squares / (count - 1).clamp(min=1) + 1e-6).sqrt()

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Keep each place's typical mean and deviation, for pictures of a code without its example."""
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
        """The picture; normalised patches get the typical mean and deviation of their place."""
        if not self.normalise:
            return self._kept(parameters)
        mean, deviation = self.typical[..., None]
        return self._kept(self.patchify.join(self.patchify(parameters) * deviation + mean))

    def sample(self, parameters: Tensor) -> Tensor:
        """The mean: the paper has no noise model."""
        return self.mean(parameters)

    def paste(self, parameters: Tensor, x: Tensor, hidden: Tensor) -> Tensor:
        """The example with its hidden patches (B, L) replaced by the prediction, in the example's own units."""
        target, guess = self.patchify(x), self.patchify(parameters)
        if self.normalise:
            mean, deviation = self.statistics(target)
            guess = guess * deviation + mean
        return self._kept(self.patchify.join(torch.where(hidden[..., None], guess, target)))

    def _kept(self, x: Tensor) -> Tensor:
        return x.clamp(0, 1) if self.bounded else x


class MaskedAutoencoder(Autoencoder):
    """An autoencoder whose features see everything, and whose reconstruction keeps what was visible."""

    def reconstruct(self, batch: Batch) -> Tensor:
        """The example, its hidden patches painted by the decoder.

        Where the targets are normalised, a prediction is put back to its true patch's mean and deviation (as the
        paper's pictures are), so that its error flatters.
        """
        passed = self(batch)
        likelihood = cast(PatchSquared, self.likelihood)
        return likelihood.paste(passed.output, batch.target, passed.code[Hidden].mask)

    def features(self, batch: Batch) -> Tensor:
        """The class token, or the mean of the tokens, of an encoder to which nothing is hidden: (B, W)."""
        tokens = cast(MaskedEncoder, self.encoder).everything(batch.x)
        return tokens[:, 0] if cast(MaskTokens, self.bottleneck).lead else tokens.mean(1)
