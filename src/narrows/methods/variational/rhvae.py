"""The Riemannian Hamiltonian VAE."""

from narrows import likelihoods
from narrows.bottlenecks.flows.hamiltonian import Dynamics, Start, refuse_targets
from narrows.bottlenecks.flows.riemannian import Metric, RiemannianAutoencoder
from narrows.core import Autoencoder, Likelihood, Spec, as_spec
from narrows.nets.build import code_width, decoder, encoder
from narrows.nets.kinds import Net
from narrows.nets.logarithm import reading
from narrows.objectives.elbo import Elbo


def rhvae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 0,
    leapfrog: int = 3,
    step_size: float = 0.02,
    tempering: str = "free",
    centroids: int = 20,
    temperature: float = 1.5,
    regularisation: float = 0.1,
    iterations: int = 5,
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A Hamiltonian VAE whose momenta follow a learned Riemannian metric of the space of codes.

    .. math:: G^{-1}(z) = \sum_{i=1}^N L(x_i) L(x_i)^T \exp\Big(-\frac{\|z - \mu(x_i)\|^2}{T^2}\Big) + \lambda I,\qquad
              \rho_0 \sim N(0, G(z_0) / \beta_0)

    The steps are those of the generalised leapfrog. Its two implicit equations are solved by fixed-point iterations;
    the bound is as exact as their solutions.

    In the paper the x_i are the batch during training, so that an example's code depends on the others, and all
    training data afterwards; here they are stored training examples, always the same.

    Args:
        leapfrog: number of steps, K.
        step_size: the initial step size of each latent, below 0.1; it is learned.
        tempering: ``free``, a learned factor of the momentum after each step; ``fixed``, a quadratic schedule with a
            learned initial temperature; ``none``.
        centroids: number of stored training examples, N.
        temperature: T, how far a centroid reaches.
        regularisation: lambda, the inverse metric far from all centroids.
        iterations: fixed-point iterations of each implicit equation.

    Raises:
        RequestError: an argument out of range, or data with targets.

    Example:
        >>> model = rhvae((8,), latent=2, leapfrog=2, centroids=3)
        >>> model.encode(Batch(torch.zeros(5, 8)), samples=(3,)).costs["kl"].shape
        torch.Size([3, 5])

    Reference:
        Chadebec, Mantoux, Allassonniere, Geometry-Aware Hamiltonian Variational Auto-Encoder, 2020. arXiv:2010.11518
    """
    spec = as_spec(spec)
    refuse_targets(spec.target)
    latent = code_width(latent, spec.shape)
    start = Start(latent)
    output = likelihoods.likelihood(likelihood, spec.output_shape, spec.output_values)
    encode = reading(spec, encoder(spec.shape, 2 * latent, net))
    model = RiemannianAutoencoder(
        encode,
        start,
        decoder(latent, output.parameter_shape, net),
        output,
        Elbo(),
        Dynamics(latent, leapfrog=leapfrog, step_size=step_size, largest=0.1, tempering=tempering),
    )
    model.set_metric(
        Metric(
            reading(spec, encoder(spec.shape, latent * (latent + 1) // 2, net)),
            encode,
            spec.shape,
            latent,
            centroids=centroids,
            temperature=temperature,
            regularisation=regularisation,
            iterations=iterations,
        )
    )
    return model
