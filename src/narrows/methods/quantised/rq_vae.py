"""The residual-quantised autoencoder, with the RQ-Transformer."""

from __future__ import annotations

from narrows.bottlenecks.discrete.codebooks.base import Codebook
from narrows.bottlenecks.discrete.quantizer import Quantizer
from narrows.bottlenecks.discrete.residual import ResidualQuantizer
from narrows.core import Autoencoder, Likelihood, Objective, Prior, Spec, as_spec
from narrows.core.schedules import Schedule
from narrows.methods.quantised._assemble import token_autoencoder
from narrows.nets.kinds import Net


def rq_vae(
    spec: Spec | tuple[int, ...],
    *,
    codes: int = 256,
    depth: int = 4,
    shared: bool = True,
    width: int = 32,
    downsample: int = 4,
    beta: Schedule = 0.25,
    codebook: str | Codebook = "ema",
    gradient: str = "straight-through",
    prior: str | Prior = "rq-transformer",
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""An RQ-VAE: a grid of tokens, each a sum of D codes, and a prior over the stacks of indices.

    .. math:: -\log p(x \mid \hat z^{(D)}) + \beta \sum_{d=1}^{D} \|z - \mathrm{sg}(\hat z^{(d)})\|^2,\qquad
              \hat z^{(d)} = \sum_{i \le d} e_{k_i},\quad k_d = \arg\min_k \|z - \hat z^{(d-1)} - e_k\|^2

    The paper adds a perceptual and an adversarial loss to the first term, and trains its prior on soft
    labels. The second term is a sum over depths as in the paper's equation; the authors' code takes the mean, which is
    this with a D-th of the weight.

    Args:
        codes: size of a codebook, K.
        depth: number of codes of a token, D.
        shared: use one codebook for all depths, else one per depth.
        width: width of a code, d.

    Raises:
        RequestError: an argument out of range, or a prior on labels that the data do not have.

    Example:
        >>> model = rq_vae((1, 8, 8), codes=16, depth=3, width=4)
        >>> model.bottleneck.symbols.shape, model.sample(3).shape
        ((4, 3), torch.Size([3, 1, 8, 8]))

    Reference:
        Lee et al., Autoregressive Image Generation using Residual Quantization, 2022. arXiv:2203.01941
    """

    def quantizer(tokens: int) -> Quantizer:
        return ResidualQuantizer(
            width,
            codes=codes,
            tokens=tokens,
            depth=depth,
            shared=shared,
            codebook=codebook,
            gradient=gradient,
        )

    spec, objective = as_spec(spec), Objective(weights={"commitment": beta})
    return token_autoencoder(
        spec, quantizer, objective, width, downsample, prior=prior, net=net, likelihood=likelihood
    )
