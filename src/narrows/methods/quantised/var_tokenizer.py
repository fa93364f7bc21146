"""The multi-scale residual tokenizer of visual autoregressive models."""

from __future__ import annotations

from narrows.bottlenecks.discrete.codebooks.base import Codebook
from narrows.bottlenecks.discrete.quantizer import Quantizer
from narrows.bottlenecks.discrete.scales import ScaleQuantizer
from narrows.core import Autoencoder, Likelihood, Objective, Prior, Spec, as_spec
from narrows.core.check import whole
from narrows.core.schedules import Schedule
from narrows.methods.quantised._assemble import token_autoencoder
from narrows.nets import build
from narrows.nets.conv import halvings
from narrows.nets.kinds import Net


def var_tokenizer(
    spec: Spec | tuple[int, ...],
    *,
    codes: int = 512,
    scales: int = 3,
    width: int = 32,
    downsample: int = 4,
    beta: Schedule = 0.25,
    codebook: str | Codebook = "gradient",
    gradient: str = "straight-through",
    prior: str | Prior = "next-scale",
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A grid of tokens as a sum of grids of codes, from coarse to fine, and a prior that draws one grid at a time.

    .. math:: -\log p(x \mid \hat z^{(S)}) + \sum_s \|\mathrm{sg}(z) - \hat z^{(s)}\|^2
              + \beta \sum_s \|z - \mathrm{sg}(\hat z^{(s)})\|^2,\qquad
              \hat z^{(s)} = \hat z^{(s-1)} + \phi_s(\mathrm{up}(e_{k_s}))

    k_s are the nearest codes to the mean of what is left, z - z^(s-1), over the cells of grid s: see `ScaleQuantizer`.
    The paper adds a perceptual and an adversarial loss.

    Args:
        codes: size of the codebook, which all grids share, K.
        scales: number of grids, S; each has half the rows and columns of the next.
        width: width of a code, d.

    Raises:
        RequestError: an argument out of range, or a prior on labels that the data do not have.

    Example:
        >>> model = var_tokenizer((1, 16, 16), codes=16, width=4)
        >>> model.bottleneck.symbols.layout.grids, model.sample(3).shape
        (((1, 1), (2, 2), (4, 4)), torch.Size([3, 1, 16, 16]))

    Reference:
        Tian et al., Visual Autoregressive Modeling: Scalable Image Generation via Next-Scale Prediction, 2024.
        arXiv:2404.02905
    """
    spec, objective = as_spec(spec), Objective(weights={"commitment": beta})
    grids = halvings(*build.grid_of(spec.shape, downsample, net), whole("scales", scales) - 1)[::-1]

    def quantizer(tokens: int) -> Quantizer:
        return ScaleQuantizer(width, codes=codes, grids=grids, codebook=codebook, gradient=gradient)

    return token_autoencoder(
        spec, quantizer, objective, width, downsample, prior=prior, net=net, likelihood=likelihood
    )
