"""The product-quantised autoencoder."""

from __future__ import annotations

from narrows.bottlenecks.discrete.codebooks.base import Codebook
from narrows.bottlenecks.discrete.grouped import GroupedQuantizer
from narrows.bottlenecks.discrete.quantizer import Quantizer
from narrows.core import Autoencoder, Likelihood, Objective, Prior, Spec, as_spec
from narrows.core.check import refuse
from narrows.core.schedules import Schedule
from narrows.methods.quantised._assemble import token_autoencoder
from narrows.nets.kinds import Net


def product_vq(
    spec: Spec | tuple[int, ...],
    *,
    codes: int = 64,
    groups: int = 4,
    width: int = 32,
    downsample: int = 4,
    beta: Schedule = 0.25,
    codebook: str | Codebook = "ema",
    gradient: str = "straight-through",
    prior: str | Prior = "rq-transformer",
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A VQ-VAE with product quantisation: each of C groups of a token's channels has a codebook of its own.

    .. math:: -\log p(x \mid \hat z) + \beta \|z - \mathrm{sg}(\hat z)\|^2,\qquad
              \hat z = [e_1(k_1); \ldots; e_C(k_C)],\quad k_c = \arg\min_k \|z_c - e_c(k)\|^2

    The reference quantises given vectors; here the codebooks are learned with the encoder, as in a VQ-VAE.

    Args:
        codes: size of each codebook, K.
        groups: number of codebooks, C, at least 2; a divisor of `width`.
        width: width of a quantised token, d.

    Raises:
        RequestError: an argument out of range, or a prior on labels that the data do not have.

    Example:
        >>> model = product_vq((1, 8, 8), codes=16, groups=2, width=4)
        >>> model.bottleneck.symbols.shape, model.sample(3).shape
        ((4, 2), torch.Size([3, 1, 8, 8]))

    Reference:
        Jegou, Douze, Schmid, Product Quantization for Nearest Neighbor Search, 2011. doi:10.1109/TPAMI.2010.57
    """
    if groups == 1:
        raise refuse("groups", groups, "at least 2", "With a single codebook it is the method vq-vae.")

    def quantizer(tokens: int) -> Quantizer:
        return GroupedQuantizer(
            width,
            codes=codes,
            tokens=tokens,
            groups=groups,
            books="group",
            codebook=codebook,
            gradient=gradient,
        )

    spec, objective = as_spec(spec), Objective(weights={"commitment": beta})
    return token_autoencoder(
        spec, quantizer, objective, width, downsample, prior=prior, net=net, likelihood=likelihood
    )
