"""The low-rank autoencoder."""

from narrows.bottlenecks.deterministic.low_rank import LowRank
from narrows.core import Autoencoder, Likelihood, Objective, Prior, Spec, as_spec
from narrows.core.schedules import Schedule
from narrows.methods.regularised._assemble import deterministic_autoencoder
from narrows.nets.build import code_width
from narrows.nets.kinds import Net
from narrows.objectives.nuclear import NuclearNorm


def lorae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 64,
    weight: Schedule = 0.03,
    factors: int = 1,
    prior: str | Prior = "gmm",
    net: str | Net = "auto",
    likelihood: str | Likelihood = "squared",
) -> Autoencoder:
    r"""LoRAE: a linear map between encoder and decoder, whose rank is penalised, so that the code finds its own width.

    .. math:: \min_{f, g, M} \; E_x \|x - g(M f(x))\|^2 + \lambda \|M\|_*

    Directions of the code that reconstruction does not need lose their singular value. The encoder's scale is free, so
    that the penalty is a number of directions rather than their size; the audit reports the effective rank of the
    codes. A mixture of Gaussians is fitted to the codes to draw samples.

    Args:
        weight: lambda, the weight of the nuclear norm, if there is one factor.
        factors: number of matrices whose product is M; with more than one there is no penalty, and gradient descent by
            itself prefers low ranks: the implicit rank-minimizing autoencoder has 4.
        prior: the density that is fitted to the codes.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> model = lorae((8,), latent=4)
        >>> model.sample(3).shape, model.bottleneck.matrix().shape
        (torch.Size([3, 8]), torch.Size([4, 4]))

    Reference:
        Mounayer et al., Learning Low-Rank Latent Spaces with Simple Deterministic Autoencoder, 2023. arXiv:2310.16194
    """
    spec = as_spec(spec)
    latent = code_width(latent, spec.shape)
    return deterministic_autoencoder(
        spec,
        latent,
        net=net,
        likelihood=likelihood,
        bottleneck=LowRank(latent, factors),
        objective=NuclearNorm(weight) if factors == 1 else Objective(),
        prior=prior,
    )
