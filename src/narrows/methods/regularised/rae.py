"""The regularised autoencoder, sampled by a mixture that is fitted to its codes."""

from narrows.core import Autoencoder, Likelihood, Prior, Spec, as_spec
from narrows.core.check import choice
from narrows.core.schedules import Schedule
from narrows.methods.regularised._assemble import deterministic_autoencoder
from narrows.nets.build import code_width
from narrows.nets.kinds import Net
from narrows.nets.spectral import spectral_norm
from narrows.objectives.smooth_decoder import SmoothDecoder


def rae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 16,
    penalty: str = "gp",
    beta: Schedule = 1e-2,
    weight: Schedule = 1e-3,
    prior: str | Prior = "gmm",
    net: str | Net = "auto",
    likelihood: str | Likelihood = "squared",
) -> Autoencoder:
    r"""An RAE: a deterministic code of small norm, a smooth decoder, and a density fitted to the codes.

    .. math:: \min_{f, g} \; E_x \left[ \|x - g(f(x))\|^2 + \frac{\beta}{2} \|f(x)\|^2 \right] + \lambda R(g)

    R keeps the decoder smooth, in place of a VAE's noise. A mixture of 10 Gaussians is then fitted to the codes of
    the training data, to draw samples. There is no likelihood of x.

    Args:
        penalty: R: ``gp``, the squared norm of the decoder's Jacobian at the codes; ``l2``, that of its weights;
            ``sn``, none, but all layers of the decoder are divided by their spectral norms; ``none``.
        beta: weight of half the squared norm of the code.
        weight: lambda, the weight of ``gp`` or ``l2``.
        prior: the density that is fitted to the codes.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> model = rae((8,), latent=2, penalty="sn")
        >>> model.sample(3).shape, [stage.name for stage in model.stages()]
        (torch.Size([3, 8]), ['autoencoder', 'prior'])

    Reference:
        Ghosh et al., From Variational to Deterministic Autoencoders, 2020. arXiv:1903.12436
    """
    spec = as_spec(spec)
    latent = code_width(latent, spec.shape)
    spectral = choice("penalty", penalty, ("gp", "l2", "sn", "none")) == "sn"
    objective = SmoothDecoder("none" if spectral else penalty, beta, weight)
    model = deterministic_autoencoder(
        spec, latent, net=net, likelihood=likelihood, objective=objective, prior=prior
    )
    if spectral:
        spectral_norm(model.decoder)
    return model
