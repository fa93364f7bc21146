"""JetFormer: an invertible encoder and a causal transformer, trained together by exact likelihood."""

from __future__ import annotations

from narrows.core import Autoencoder, Batch, Pass, Spec, TokenLayout, as_spec
from narrows.core.check import refuse, whole
from narrows.core.schedules import Schedule
from narrows.likelihoods.rounded import Rounded
from narrows.nets.coupling import Couplings
from narrows.nets.invertible import FlowDecoder, FlowEncoder
from narrows.nets.vit import Patches
from narrows.objectives.curriculum import NoiseCurriculum
from narrows.priors.soft_tokens import SoftTokens

_LEVELS = {"unit": 256, "binary": 2, "real": 0}


class _Invertible(Autoencoder):
    """An autoencoder whose decoder is the inverse of its encoder: in training its output is known without it."""

    def forward(self, batch: Batch, samples: tuple[int, ...] = ()) -> Pass:
        if not self.training:
            return super().forward(batch, samples)
        batch = batch.visible()
        features = self.encoder(batch.x, batch.condition)
        return Pass(batch, self.bottleneck(features, samples), features["y"], features)


def jetformer(
    spec: Spec | tuple[int, ...],
    *,
    patch: int = 0,
    couplings: int = 4,
    redundant: int = 0,
    components: int = 16,
    width: int = 64,
    depth: int = 2,
    heads: int = 4,
    levels: int = 0,
    labels: bool = False,
    noise: Schedule = 0.0,
) -> Autoencoder:
    r"""An invertible encoder f of patches, and a causal transformer over its tokens, without a separate tokenizer.

    .. math:: -\log p(x) = -\log p_{\text{transformer}}(z)
              - \log\left|\det \frac{\partial f(x)}{\partial x}\right|,\qquad
              z = f(x),\quad f = f_K \circ \ldots \circ f_1

    f are affine couplings over all patches, each with a transformer block. A causal transformer reads tokens one after
    another and gives a mixture of Gaussians for the next (see `SoftTokens`); both are trained together on the
    likelihood of the data. Decoding is the inverse of f, and reconstructions are exact. Values that were rounded get
    uniform noise of the width of a level, so that the loss is a bound of -log P(x) of the levels, in nats (see
    `FlowEncoder`).

    Args:
        patch: side of a patch in pixels, or numbers of a vector; with 0 the largest of 4, 3 and 2 that divides the
            sides, of images of less than 16 pixels 2 or 3.
        couplings: number of couplings, K; with 0 the transformer models the patches themselves.
        redundant: how many numbers of a token are N(0, 1), which the transformer does not model.
        components: Gaussians of a token's mixture.
        width: channels of all transformers.
        depth: blocks of the causal transformer.
        heads: attention heads of all transformers.
        levels: number of levels of the data, equally spaced from 0 to 1; with 0 it is 256 for values from 0 to 1, 2 for
            binary ones, and real numbers get no noise.
        labels: whether the transformer is told the labels of the data, in its first token, but for a tenth of the rows
            in training, so that samples can be guided.
        noise: deviation of Gaussian noise on the data in training, a schedule that falls to 0, such as
            ``cosine:0.25:0:2000``.

    Raises:
        RequestError: the patches do not fill an example, or another argument is out of range.

    Example:
        >>> model = jetformer((1, 8, 8), patch=2, couplings=2, width=8, heads=2)
        >>> model.sample(3).shape
        torch.Size([3, 1, 8, 8])

    Reference:
        Tschannen, Pinto, Kolesnikov, JetFormer: An Autoregressive Generative Model of Raw Images and Text, 2024.
        arXiv:2411.19722
    """
    spec = as_spec(spec)
    if spec.values not in _LEVELS:
        raise refuse("data", spec.values, "real numbers, or numbers from 0 to 1")
    if spec.target is not None:
        raise refuse("target", spec.target, "left out", "An invertible encoder models its input alone.")
    if labels and spec.classes < 1:
        raise refuse("labels", labels, "left out", "The data have no labels.")
    patches = Patches(spec.shape, whole("patch", patch, low=0) or _patch(spec.shape))
    if not bool(patches.inside().all()):
        shape = " x ".join(map(str, spec.shape))
        raise refuse("patch", patch, f"a divisor of the sides of an example, {shape}")
    likelihood = Rounded(spec.shape, whole("levels", levels, low=0) or _LEVELS[spec.values])
    flow = Couplings(patches.count, patches.width, couplings, width=width, heads=heads)
    bottleneck = SoftTokens(
        TokenLayout((patches.grid,)),
        patches.width,
        redundant=redundant,
        components=components,
        classes=spec.classes if labels else 0,
        width=width,
        depth=depth,
        heads=heads,
    )
    encoder = FlowEncoder(patches, flow, likelihood.step, labels)
    told = ("labels",) if labels else ()
    objective = NoiseCurriculum(noise)
    return _Invertible(encoder, bottleneck, FlowDecoder(encoder), likelihood, objective, conditions=told)


def _patch(shape: tuple[int, ...]) -> int:
    """The side of a patch by default."""
    sides = [side for side in shape[-2:] if side > 1] or [1]
    sizes = (4, 3, 2) if min(sides) >= 16 or len(shape) == 1 else (2, 3)
    return next((size for size in sizes if all(side % size == 0 for side in sides)), max(sides))
