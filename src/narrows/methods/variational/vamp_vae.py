"""The VAE with a VampPrior."""

from torch import nn

from narrows.bottlenecks.priors.vamp import Vamp
from narrows.core import Autoencoder, Likelihood, Part, Spec, as_spec
from narrows.core.check import whole
from narrows.core.schedules import Schedule
from narrows.methods.variational._assemble import gaussian_autoencoder
from narrows.nets.kinds import Net
from narrows.objectives.elbo import Elbo


def vamp_vae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 0,
    pseudo: int = 500,
    beta: Schedule = 1.0,
    free_bits: float = 0.0,
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A VAE whose prior is the mean of the posteriors of learned pseudo-inputs.

    .. math:: p(z) = \frac1K \sum_{k=1}^K q(z \mid u_k)

    Each step encodes the pseudo-inputs as well as the batch.

    Args:
        pseudo: the number of pseudo-inputs, K, which start at training examples.
        beta: weight of log q(z|x) - log p(z), a number or a schedule; the paper warms it up from 0 to 1.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> model = vamp_vae((8,), latent=2, pseudo=5)
        >>> model.bottleneck.learned.inputs.shape, model.sample(3).shape
        (torch.Size([5, 8]), torch.Size([3, 8]))

    Reference:
        Tomczak and Welling, VAE with a VampPrior, 2018. arXiv:1705.07120
    """
    spec, count = as_spec(spec), whole("pseudo", pseudo)
    values = spec.values if spec.values in ("unit", "binary", "counts") else "real"

    def prior(encoder: nn.Module, latent: int) -> Part:
        return Vamp(encoder, spec.shape, count, values)

    objective = Elbo(beta=beta, free_bits=free_bits)
    return gaussian_autoencoder(spec, objective, latent=latent, net=net, likelihood=likelihood, prior=prior)
