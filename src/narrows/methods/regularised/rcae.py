"""The reconstruction-contractive autoencoder."""

from narrows.core import Autoencoder, Likelihood, Spec, as_spec
from narrows.methods.regularised._assemble import deterministic_autoencoder
from narrows.nets.kinds import Net
from narrows.objectives.contraction import Contraction


def rcae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 64,
    sigma: float = 0.1,
    probes: int = 1,
    net: str | Net = "auto",
    likelihood: str | Likelihood = "squared",
) -> Autoencoder:
    r"""An RCAE: a reconstruction that hardly depends on its input, and so points towards where data are dense.

    .. math:: \min_r \; E_x \left[ \|r(x) - x\|^2
              + \sigma^2 \left\| \frac{\partial r(x)}{\partial x} \right\|_F^2 \right],\qquad
              \frac{r(x) - x}{\sigma^2} \to \nabla \log p(x)\quad (\sigma \to 0)

    The code may be wider than the data: the penalty, not its width, keeps r from being the identity. A denoising
    autoencoder with Gaussian noise of the same sigma has the same limit; its optimum is the score of the data with
    noise, for any sigma.

    Args:
        sigma: the square root of the penalty's weight, in units of the data.
        probes: random directions with which the norm is estimated at each step.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> rcae((2,), latent=8).reconstruct(Batch(torch.zeros(3, 2))).shape
        torch.Size([3, 2])

    Reference:
        Alain and Bengio, What Regularized Auto-Encoders Learn from the Data Generating Distribution, 2014.
        arXiv:1211.4246
    """
    return deterministic_autoencoder(
        as_spec(spec), latent, net=net, likelihood=likelihood, objective=Contraction(sigma, probes)
    )
