"""PIWAE: the tight bound for the decoder, several looser ones for the encoder."""

from narrows.core import Autoencoder, Likelihood, Spec, as_spec
from narrows.methods.variational._assemble import gaussian_autoencoder
from narrows.nets.kinds import Net
from narrows.objectives.importance import Partial


def piwae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 16,
    samples: int = 8,
    estimates: int = 8,
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""An IWAE whose decoder is trained on the bound of all M K samples, its encoder on the mean of M bounds.

    .. math:: \theta:\; E\Big[\log \frac1{MK} \sum_{m,k} w_{mk}\Big],\qquad
              \phi:\; E\Big[\frac1M \sum_m \log \frac1K \sum_k w_{mk}\Big]

    Both gradients are of one pass. The loss that is reported is that of the decoder.

    Args:
        samples: number of codes of each of the encoder's bounds, K.
        estimates: number of these bounds, M.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> model = piwae((8,), latent=2, samples=3, estimates=2)
        >>> model.objective.samples
        (3, 2)

    Reference:
        Rainforth et al., Tighter Variational Bounds are Not Necessarily Better, 2018. arXiv:1802.04537
    """
    objective = Partial(samples, estimates=estimates)
    return gaussian_autoencoder(as_spec(spec), objective, latent=latent, net=net, likelihood=likelihood)
