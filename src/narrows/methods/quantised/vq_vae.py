"""The vector-quantised autoencoder."""

from narrows.bottlenecks.discrete.codebooks.base import Codebook
from narrows.core import Autoencoder, Likelihood, Objective, Prior, Spec
from narrows.core.schedules import Schedule
from narrows.methods.quantised._assemble import vq_autoencoder
from narrows.nets.kinds import Net


def vq_vae(
    spec: Spec | tuple[int, ...],
    *,
    codes: int = 512,
    width: int = 32,
    downsample: int = 4,
    codebook: str | Codebook = "ema",
    beta: Schedule = 0.25,
    gradient: str = "straight-through",
    prior: str | Prior = "autoregressive",
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A VQ-VAE: a grid of tokens, each replaced by the nearest of K codes, and a prior over their indices.

    .. math:: -\log p(x \mid z_q) + \|\mathrm{sg}(z_e) - e\|^2 + \beta \|z_e - \mathrm{sg}(e)\|^2

    The middle term is used with ``codebook="gradient"`` and others that learn by gradient descent; with ``"ema"``
    codes are moving averages instead.

    Args:
        codes: size of the codebook, K.
        width: width of a code, d.

    Raises:
        RequestError: an argument out of range, or a prior on labels that the data do not have.

    Example:
        >>> model = vq_vae((1, 8, 8), codes=16, width=4)
        >>> model.sample(3).shape, len(model.stages())
        (torch.Size([3, 1, 8, 8]), 2)

    Reference:
        Van den Oord et al., Neural Discrete Representation Learning, 2017. arXiv:1711.00937
    """
    return vq_autoencoder(
        spec,
        Objective(weights={"commitment": beta}),
        codes=codes,
        width=width,
        downsample=downsample,
        codebook=codebook,
        gradient=gradient,
        prior=prior,
        net=net,
        likelihood=likelihood,
    )
