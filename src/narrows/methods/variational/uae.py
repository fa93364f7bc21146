"""The unscented autoencoder."""

from narrows import likelihoods
from narrows.bottlenecks.gaussian.diagonal import Gaussian
from narrows.bottlenecks.gaussian.full import FullGaussian
from narrows.core import Autoencoder, Likelihood, Prior, Spec, Symbols, as_spec
from narrows.core.check import choice, whole
from narrows.core.schedules import Schedule
from narrows.nets.build import code_width, net_for
from narrows.nets.kinds import Net
from narrows.nets.logarithm import reading
from narrows.objectives.unscented import Unscented
from narrows.priors import make_prior

_POINTS = 8


def uae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 16,
    points: int = 0,
    covariance: str = "diagonal",
    weight: Schedule = 1e-2,
    smoothness: Schedule = 1e-2,
    prior: str | Prior = "gmm",
    net: str | Net = "auto",
    likelihood: str | Likelihood = "squared",
) -> Autoencoder:
    r"""A UAE: a posterior that is decoded at fixed points around its mean, not at random draws.

    .. math:: \Big\|x - \frac1S \sum_i f(z_i)\Big\|^2
              + w \left( \|\mu\|^2 + \|\Sigma^{1/2} - I\|_F^2 \right)
              + c\, \lambda_{\max}(\Sigma) \left\| \frac{\partial f(\mu)}{\partial \mu} \right\|_F^2,
              \qquad z_{j\pm} = \mu \pm \sqrt{Z}\, L_{:,j},\quad L L^T = \Sigma

    There are 2 Z sigma points, of which S are drawn for each example and step. Their decoded outputs are averaged. A
    mixture of 10 Gaussians is then fitted to the codes of the training data, to draw samples. There is no likelihood
    of x.

    Args:
        points: S, at most 2 Z; with 0 the smaller of 8 and 2 Z.
        covariance: ``diagonal`` or ``full``.
        weight: w, the weight of the squared Wasserstein distance of each posterior from N(0, I).
        smoothness: c, the weight of the squared norm of the decoder's Jacobian.
        prior: the density that is fitted to the codes.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> model = uae((8,), latent=2, covariance="full")
        >>> model.sample(3).shape, model.objective.points
        (torch.Size([3, 8]), 4)

    Reference:
        Janjos, Rosenbaum, Dolgov, Zoellner, Unscented Autoencoder, 2023. arXiv:2306.05256
    """
    spec = as_spec(spec)
    latent = code_width(latent, spec.shape)
    most = 2 * latent
    fix = f"A code of width {latent} has {most} sigma points; use fewer ``points`` or a larger ``latent``."
    points = whole("points", points, low=0, high=most, fix=fix) or min(_POINTS, most)
    full = choice("covariance", covariance, ("diagonal", "full")) == "full"
    output = likelihoods.likelihood(likelihood, spec.output_shape, spec.output_values)
    sides = [net_for(net, shape) for shape in (spec.shape, output.parameter_shape)]
    width = FullGaussian.features_of(latent) if full else most
    return Autoencoder(
        reading(spec, sides[0].encoder(spec.shape, width)),
        FullGaussian(latent) if full else Gaussian(latent),
        sides[1].decoder(latent, output.parameter_shape),
        output,
        Unscented(points, weight, smoothness),
        prior=make_prior(prior, Symbols((latent,)), spec.classes),
    )
