"""The quantised autoencoder whose codebook is one linear map of fixed vectors."""

from narrows.bottlenecks.discrete.codebooks.linear import LinearCodebook
from narrows.core import Autoencoder, Likelihood, Objective, Prior, Spec
from narrows.core.schedules import Schedule
from narrows.methods.quantised._assemble import vq_autoencoder
from narrows.nets.kinds import Net


def simvq(
    spec: Spec | tuple[int, ...],
    *,
    codes: int = 1024,
    width: int = 32,
    downsample: int = 4,
    bias: bool = True,
    beta: Schedule = 0.25,
    gradient: str = "straight-through",
    prior: str | Prior = "autoregressive",
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A SimVQ autoencoder: a VQ-VAE whose K codes are one learned linear map of fixed random vectors.

    .. math:: -\log p(x \mid z_q) + \|\mathrm{sg}(z_e) - e\|^2 + \beta \|z_e - \mathrm{sg}(e)\|^2,\qquad
              e_k = W c_k + b,\quad c_k \sim N(0, I / d) \text{ fixed}

    The gradient of any code moves all codes, so that few are unused however many there are. No code is started or
    restarted at tokens.

    Args:
        codes: size of the codebook, K.
        width: width of a code, d.
        bias: learn b, as the authors' code does; without, b is 0, as in the paper's equation.

    Raises:
        RequestError: an argument out of range, or a prior on labels that the data do not have.

    Example:
        >>> model = simvq((1, 8, 8), codes=64, width=4)
        >>> model.bottleneck.book.codebook.shape, model.sample(3).shape
        (torch.Size([64, 4]), torch.Size([3, 1, 8, 8]))

    Reference:
        Zhu et al., Addressing Representation Collapse in Vector Quantized Models with One Linear Layer, 2024.
        arXiv:2411.02038
    """
    return vq_autoencoder(
        spec,
        Objective(weights={"commitment": beta}),
        codes=codes,
        width=width,
        downsample=downsample,
        codebook=LinearCodebook(codes, width, bias=bias),
        gradient=gradient,
        prior=prior,
        net=net,
        likelihood=likelihood,
    )
