"""The masked autoencoder.

He, Chen, Xie, Li, Dollar and Girshick, Masked Autoencoders Are Scalable Vision Learners, CVPR 2022.
arXiv:2111.06377
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from narrows.bottlenecks.masked.mask_tokens import MaskTokens
from narrows.core import Autoencoder, Batch, Likelihood, Objective, Spec, as_spec
from narrows.core.check import choice, refuse, whole
from narrows.core.evidence import Hidden
from narrows.nets.axes import as_image
from narrows.nets.masked_vit import MaskedEncoder, auto_patch, visible_count
from narrows.nets.vit import Patches, ViTGridDecoder

__all__ = ["MaskedAutoencoder", "PatchSquared", "mae"]


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

    def __init__(self, cut: Patches, normalise: bool = False, unit: bool = False) -> None:
        super().__init__(cut.shape)
        self.cut, self.normalise, self.bounded = cut, normalise, unit
        self.register_buffer("inside", cut.inside().float(), persistent=False)
        self.register_buffer("typical", torch.tensor([[0.0], [1.0]]).expand(2, cut.count).clone())

    def statistics(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation of each patch over what lies inside the example, each (..., L, 1)."""
        count = self.inside.sum(-1, keepdim=True)
        mean = (patches * self.inside).sum(-1, keepdim=True) / count
        squares = ((patches - mean).square() * self.inside).sum(-1, keepdim=True)
        return mean, (squares / (count - 1).clamp(min=1) + 1e-6).sqrt()

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Keep each place's typical mean and deviation, for pictures of a code without its example."""
        if self.normalise:
            means = [part.squeeze(-1).mean(0) for part in self.statistics(self.cut(batch.target))]
            self.typical.copy_(torch.stack(means))

    def nll(self, parameters: Tensor, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """The sum of squared differences, (*samples, B)."""
        if self.normalise:
            patches = self.cut(x)
            mean, deviation = self.statistics(patches)
            x = self.cut.join((patches - mean) / deviation)
        return self.sum((parameters - x).square(), weight)

    def mean(self, parameters: Tensor) -> Tensor:
        """The picture; normalised patches get the typical mean and deviation of their place."""
        if not self.normalise:
            return self._kept(parameters)
        mean, deviation = self.typical[..., None]
        return self._kept(self.cut.join(self.cut(parameters) * deviation + mean))

    def sample(self, parameters: Tensor) -> Tensor:
        """The mean: the paper has no noise model."""
        return self.mean(parameters)

    def paste(self, parameters: Tensor, x: Tensor, hidden: Tensor) -> Tensor:
        """The example with its hidden patches (B, L) replaced by the prediction, in the example's own units."""
        target, guess = self.cut(x), self.cut(parameters)
        if self.normalise:
            mean, deviation = self.statistics(target)
            guess = guess * deviation + mean
        return self._kept(self.cut.join(torch.where(hidden[..., None], guess, target)))

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


def mae(
    spec: Spec | tuple[int, ...],
    *,
    patch: int = 0,
    mask_ratio: float = 0.75,
    width: int = 64,
    depth: int = 4,
    heads: int = 4,
    decoder_width: int = 32,
    decoder_depth: int = 1,
    decoder_heads: int = 4,
    normalise: bool = False,
    pool: str = "mean",
) -> MaskedAutoencoder:
    r"""A masked autoencoder: see a quarter of the patches, paint the rest.

    .. math:: \sum_{l \in H} \lVert g(f(x_V))_l - x_l \rVert^2,\qquad
              V \cup H = \{1 \ldots L\}, \; |H| \approx r L

    A large encoder sees the visible patches V alone; a light decoder gets their tokens, and one learned token with
    the position of every hidden patch in H. The loss counts the hidden patches only: it is their sum, where the
    paper has the mean over their pixels, |H| times a patch's pixels smaller. Sides that are no multiple of the
    patch are padded, and the padding never counts. Vectors and sequences are images of one row.

    Args:
        spec: what the data look like, or the shape of one example.
        patch: side of a patch in pixels; 0 chooses a power of two that gives 4 to 8 patches a side.
        mask_ratio: share of patches that are hidden, r; 0 hides nothing and counts every patch: a plain
            transformer autoencoder.
        width: channels of the encoder's tokens, W, a multiple of 4 and of `heads`.
        depth: blocks of the encoder.
        heads: heads of the encoder.
        decoder_width: channels of the decoder's tokens.
        decoder_depth: blocks of the decoder.
        decoder_heads: heads of the decoder.
        normalise: whether each target patch is normalised by its own mean and (unbiased) variance.
        pool: features are the ``mean`` of all tokens, or a class token (``cls``).

    Raises:
        RequestError: an argument out of range, a patch too large to hide anything, or data with another target.

    Example:
        >>> model = mae((1, 28, 28), depth=1)
        >>> model.features(Batch(torch.rand(2, 1, 28, 28))).shape, model.encoder.visible
        (torch.Size([2, 64]), 12)

    Reference:
        He et al., Masked Autoencoders Are Scalable Vision Learners, 2021. arXiv:2111.06377
    """
    spec = as_spec(spec)
    if spec.output_shape != spec.shape:
        raise refuse("spec", spec, "without another target", "A masked autoencoder produces its own input.")
    _, high, across = as_image(spec.shape)
    patch = whole("patch", patch, low=0, high=max(high, across)) or auto_patch(high, across)
    cut = Patches(spec.shape, patch)
    summary = choice("pool", pool, ("mean", "cls")) == "cls"
    visible = visible_count(cut.count, mask_ratio)
    bottleneck = MaskTokens(cut, width, summary)
    bottleneck.token.requires_grad_(visible < cut.count)  # where nothing is hidden, no token is read
    return MaskedAutoencoder(
        MaskedEncoder(cut, visible, width, depth, heads, summary),
        bottleneck,
        ViTGridDecoder(width, spec.shape, patch, decoder_width, decoder_depth, decoder_heads, int(summary)),
        PatchSquared(cut, normalise, spec.values != "real"),
        Objective(),
    )
